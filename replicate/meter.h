/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * meter: how good the link is, judged by what goes over it anyway: the round trip, the rate either way, weak or not.
 *
 * What is seen is never better than the link and often worse: a busy server, a window of TCP that has yet to open, others on
 * the same line.  So of the last few round trips the least is taken, of the last two rates the higher one; these are
 * smoothed, a round trip that gets longer as in RFC 6298, 2 (gain 1/8, variation 1/4), one that gets shorter, and
 * rates, which are few, with gain 1/2.  A transfer that
 * took fewer than METER_ROUND_TRIPS of them tells how TCP begins (RFC 5681, 3.1), not how fast the link is: it
 * can only raise the rate.
 *
 * Weak is what is below one mark, strong again what is above another one, twice as good, in METER_AGREE samples in a row:
 * so that a link in between does not go to and fro.
 *
 * Pure: the caller says what was seen.  Threads: the caller's.
 */
#ifndef REPLICATE_METER_H
#define REPLICATE_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METER_WEAK_RATE (128u << 10)	/* bytes a second, about 1 Mbit/s, either way; less is weak */
#define METER_STRONG_RATE (256u << 10)
#define METER_WEAK_US 500000u		/* a round trip; more is weak.  By satellite it is about 600 ms */
#define METER_STRONG_US 250000u
#define METER_AGREE 3
#define METER_ROUND_TRIPS 8
#define METER_LARGE (64u << 10)		/* bytes; a smaller transfer says nothing of the rate */
#define METER_LEAST_OF 4		/* round trips */

enum meter_way { METER_UP, METER_DOWN, METER_WAYS };

struct meter {
	uint64_t round_trip_us, variation_us;	/* 0: not known */
	uint64_t rate[METER_WAYS];		/* bytes a second; 0: not known */
	bool is_weak;

	/* the module's */
	uint64_t seen_us[METER_LEAST_OF];	/* the last round trips; 0: none */
	unsigned n_seen;
	uint64_t before[METER_WAYS];		/* the last rate that was seen; 0: none */
	unsigned against;			/* samples in a row that say that it is not as is_weak has it */
};

/* A small request was answered after us, in which the server did next to nothing. */
void meter_round_trip(struct meter *meter, uint64_t us);
/* So many bytes took so long, beyond the round trip.  What is smaller than METER_LARGE is not looked at. */
void meter_transfer(struct meter *meter, enum meter_way way, uint64_t bytes, uint64_t us);
/*
 * The link was lost; the next may be by another network.  Figures are forgotten.  What was weak is strong again by the first
 * sample that says so; for the reverse it takes as many as ever, for at first many things are slow.
 */
void meter_forget(struct meter *meter);

/* "round trip 812 ms, 37 KiB/s up", of what is known; "" when nothing is.  Cut to fit. */
void meter_print(const struct meter *meter, char *ret_text, size_t size);

#endif
