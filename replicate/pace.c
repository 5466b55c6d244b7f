/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/pace.h"

#include "base/mem.h"

#define STALE_AT_ONCE 4

static uint64_t portion(enum link_state state, uint64_t rate)
{
	if (!rate)
		return state == LINK_WEAK ? PACE_BYTES_WEAK : PACE_BYTES_FIRST;
	return MIN(MAX(rate * PACE_STEP_S, (uint64_t)PACE_BYTES_MIN), (uint64_t)PACE_BYTES_MAX);
}

struct pace pace_of(enum link_state state, bool is_paid, bool is_asked, uint64_t up_rate, uint64_t window_s)
{
	struct pace pace = {
		.may_replay = true,
		.bytes = portion(state, up_rate),
		.share = 100,
		.stale = STALE_AT_ONCE,
		.may_list = true,
		.may_hoard = true,
	};

	if (state == LINK_WEAK) {
		pace.batches = 1;
		pace.stale = 1;
		pace.min_age_s = is_asked ? 0 : window_s;
		/* Who asked for it does not want it to rest; who reads goes ahead of it all the same, so it is not 100. */
		pace.share = is_asked ? 99 : PACE_SHARE;
	}
	if (is_paid) {
		pace.may_replay = is_asked;
		pace.min_age_s = 0;
		pace.stale = 1;
		pace.may_list = pace.may_hoard = false;
		pace.pull_us = PACE_PULL_US;
	}
	return pace;
}
