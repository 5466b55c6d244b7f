/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flow: which bytes may go over the link now, and which wait for others.
 *
 * Limits are token buckets (a second deep), one each way for all requests together.  What somebody waits for goes ahead of
 * what nobody does: that gets, under a limit, only what is left over, and on a weak link nothing while a request of the
 * first kind is under way.  Held back for FLOW_TURN_US it gets one piece all the same, so that it is late but does not starve,
 * and does not look broken off.
 *
 * On a weak link what nobody waits for has a share of the time: after a body that took 2 s to send, at a share of 50 per
 * cent, the next begins after 2 s of rest.  A body goes at full rate, not at half of it: so that its rate can be measured.
 *
 * Pure: the caller says what time it is (clock_us()) and does the waiting.  Threads: the caller's.
 */
#ifndef REPLICATE_FLOW_H
#define REPLICATE_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"

#define FLOW_TURN_US (5 * US_PER_S)
#define FLOW_REST_MAX_US (60 * US_PER_S)
#define FLOW_RATE_MIN 1024u		/* bytes a second: the least limit */

enum flow_way { FLOW_UP, FLOW_DOWN, FLOW_WAYS };

enum flow_class {
	FLOW_ASKED,	/* somebody waits for it; the default */
	FLOW_AHEAD,	/* nobody does: replay, and what is fetched before it is asked for */
	FLOW_CONTROL	/* who is there, what has changed: small, and never held back */
};

struct bucket {
	uint64_t rate;			/* bytes a second; 0: no limit */
	int64_t level;			/* bytes that may go now; below 0: went ahead */
	uint64_t at_us;			/* when that was so */
};

struct flow {
	struct bucket buckets[FLOW_WAYS];
	unsigned asked;			/* FLOW_ASKED requests under way */
	unsigned share;			/* per cent, 1 to 100; less than that: the link is weak */
	uint64_t rest_until_us;
};

void flow_init(struct flow *flow);
/* rate: bytes a second, 0: no limit. */
void flow_limit(struct flow *flow, enum flow_way way, uint64_t rate, uint64_t now_us);
/* share: per cent of the time for what nobody waits for; 100: no matter. */
void flow_set_share(struct flow *flow, unsigned share);

/*
 * How long must a request wait before it begins?  0: not at all.  since_us: when it first had to, 0: it did not yet.
 * No wait is longer than it takes until something may have changed.
 */
uint64_t flow_start_wait_us(const struct flow *flow, enum flow_class class, uint64_t since_us, uint64_t now_us);
/* The same of more bytes of one that is under way. */
uint64_t flow_wait_us(const struct flow *flow, enum flow_class class, enum flow_way way, uint64_t since_us, uint64_t now_us);
/* How many bytes may go at once, of those that may. */
size_t flow_piece(const struct flow *flow, enum flow_way way, size_t most);
/* So many went. */
void flow_moved(struct flow *flow, enum flow_way way, size_t bytes, uint64_t now_us);

void flow_began(struct flow *flow, enum flow_class class);
/* body: bytes of the request's; took_us: from its first to the answer's. */
void flow_ended(struct flow *flow, enum flow_class class, uint64_t body, uint64_t took_us, uint64_t now_us);

#endif
