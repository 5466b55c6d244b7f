/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pace: what may be done over the link by itself, and in what portions: by the link's state, and by what the user said of it.
 *
 * Pure.  replicate/quality.c asks, and sees to it.
 */
#ifndef REPLICATE_PACE_H
#define REPLICATE_PACE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "replicate/replicate.h"

#define PACE_STEP_S 2			/* a batch, or a piece of a large file, takes the link so long */
#define PACE_BYTES_MIN (64u << 10)
#define PACE_BYTES_MAX (8u << 20)
#define PACE_BYTES_FIRST (1u << 20)	/* nothing is known of the rate yet; */
#define PACE_BYTES_WEAK (256u << 10)	/* but that the link is weak */
#define PACE_SHARE 50			/* per cent of a weak link's time for what nobody waits for */
#define PACE_PULL_US (300 * US_PER_S)

struct pace {
	bool may_replay;	/* records go by themselves */
	uint64_t min_age_s;	/* of those that go */
	unsigned batches;	/* most under way at a time; 0: as many as are of use */
	uint64_t bytes;		/* of content in a batch, but for the last; in one piece of a large file */
	unsigned share;		/* for flow_set_share() */
	unsigned stale;		/* refreshed at a time, of what is known to be stale */
	bool may_list;		/* the whole tree, before anybody asks */
	bool may_hoard;
	uint64_t pull_us;	/* between two looks at the journal; 0: it is watched all the time */
};

/*
 * is_paid: the link costs by the byte.  is_asked: somebody asked for everything to be sent now.  up_rate: bytes a second as
 * measured, 0: not known.  window_s: the aging window of a weak link.
 */
struct pace pace_of(enum link_state state, bool is_paid, bool is_asked, uint64_t up_rate, uint64_t window_s);

#endif
