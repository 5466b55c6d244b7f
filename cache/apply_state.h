/* SPDX-License-Identifier: GPL-2.0-or-later */
/* apply_state: cache->apply, for the files of apply only. */
#ifndef CACHE_APPLY_STATE_H
#define CACHE_APPLY_STATE_H

struct merge;
struct stale;

struct apply {
	struct merge *merge;	/* merge.c's */
	struct stale *stale;	/* stale.c's */
};

#endif
