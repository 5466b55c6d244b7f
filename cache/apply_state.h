/* SPDX-License-Identifier: GPL-2.0-or-later */
/* apply_state: cache->apply, for the files of apply only. */
#ifndef CACHE_APPLY_STATE_H
#define CACHE_APPLY_STATE_H

#include "rpcgen/kml_codec.h"

struct change;
struct merge;
struct stale;

struct apply {
	struct merge *merge;	/* merge_sweep.c's */
	struct stale *stale;	/* stale.c's */
};

/* One journal entry, inside a change. */
int apply_entry(struct change *change, const struct kml_entry *entry);

#endif
