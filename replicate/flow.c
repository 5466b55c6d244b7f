/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/flow.h"

#include <string.h>
#include "base/mem.h"

#define LOOK_US (200 * US_PER_MS)	/* what waits for another's end is told of that; this is for what it is not told of */
#define PIECE_WEAK (16u << 10)
#define PIECES 8			/* of a second's bytes */

/* ---- a bucket ---- */

/* At that time; a second of the rate is the most that it holds. */
static int64_t level_at(const struct bucket *bucket, uint64_t now_us)
{
	uint64_t past_us = now_us > bucket->at_us ? now_us - bucket->at_us : 0;
	int64_t full = (int64_t)bucket->rate;

	/* From far below it may take longer than a second. */
	if ((double)past_us * (double)bucket->rate / US_PER_S >= (double)(full - bucket->level))
		return full;
	return bucket->level + (int64_t)((double)past_us * (double)bucket->rate / US_PER_S);
}

/* Until there is so much in it. */
static uint64_t bucket_wait_us(const struct bucket *bucket, int64_t wanted, uint64_t now_us)
{
	int64_t level = level_at(bucket, now_us);

	if (!bucket->rate || level >= wanted)
		return 0;
	return (uint64_t)((double)(wanted - level) * US_PER_S / (double)bucket->rate) + 1;
}

/* ---- the flow ---- */

void flow_init(struct flow *flow)
{
	memset(flow, 0, sizeof(*flow));
	flow->share = 100;
}

void flow_limit(struct flow *flow, enum flow_way way, uint64_t rate, uint64_t now_us)
{
	struct bucket *bucket = &flow->buckets[way];

	if (bucket->rate == rate)
		return;
	/* A bucket that is new is as good as empty: changing limits often gives nothing. */
	*bucket = (struct bucket){ .rate = rate, .at_us = now_us };
}

void flow_set_share(struct flow *flow, unsigned share)
{
	flow->share = share;
	if (share >= 100)
		flow->rest_until_us = 0;
}

static bool has_its_turn(uint64_t since_us, uint64_t now_us)
{
	return since_us && now_us >= since_us + FLOW_TURN_US;
}

/* What nobody waits for, on a weak link, beside what somebody does. */
static bool is_behind(const struct flow *flow, enum flow_class class)
{
	return class == FLOW_AHEAD && flow->share < 100 && flow->asked;
}

uint64_t flow_start_wait_us(const struct flow *flow, enum flow_class class, uint64_t since_us, uint64_t now_us)
{
	if (class != FLOW_AHEAD)
		return 0;
	if (flow->rest_until_us > now_us)
		return flow->rest_until_us - now_us;
	return is_behind(flow, class) && !has_its_turn(since_us, now_us) ? LOOK_US : 0;
}

uint64_t flow_wait_us(const struct flow *flow, enum flow_class class, enum flow_way way, uint64_t since_us, uint64_t now_us)
{
	const struct bucket *bucket = &flow->buckets[way];
	uint64_t wait_us;

	if (class == FLOW_CONTROL)
		return 0;
	if (has_its_turn(since_us, now_us))
		class = FLOW_ASKED;
	if (is_behind(flow, class))
		return LOOK_US;
	/* What nobody waits for leaves half of the bucket to who does. */
	wait_us = bucket_wait_us(bucket, class == FLOW_AHEAD ? (int64_t)bucket->rate / 2 : 1, now_us);
	return class == FLOW_AHEAD ? MIN(wait_us, (uint64_t)FLOW_TURN_US) : wait_us;
}

size_t flow_piece(const struct flow *flow, enum flow_way way, size_t most)
{
	uint64_t rate = flow->buckets[way].rate;

	/* Small ones on a weak link, too, for what is given to the kernel goes ahead of whoever comes. */
	if (flow->share < 100)
		most = MIN(most, (size_t)PIECE_WEAK);
	return rate ? MIN(most, (size_t)MAX(rate / PIECES, (uint64_t)1)) : most;
}

void flow_moved(struct flow *flow, enum flow_way way, size_t bytes, uint64_t now_us)
{
	struct bucket *bucket = &flow->buckets[way];

	if (!bucket->rate)
		return;
	bucket->level = level_at(bucket, now_us) - (int64_t)bytes;
	bucket->at_us = now_us;
}

void flow_began(struct flow *flow, enum flow_class class)
{
	flow->asked += class == FLOW_ASKED;
}

void flow_ended(struct flow *flow, enum flow_class class, uint64_t body, uint64_t took_us, uint64_t now_us)
{
	uint64_t rest_us;

	flow->asked -= class == FLOW_ASKED;
	if (class != FLOW_AHEAD || !body || flow->share >= 100)
		return;
	rest_us = MIN(took_us * (100 - flow->share) / flow->share, (uint64_t)FLOW_REST_MAX_US);
	flow->rest_until_us = MAX(flow->rest_until_us, now_us + rest_us);
}
