/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * background: what is asked of the upstream without anybody waiting for it.
 *
 * The whole tree's names and attributes, after each start and reset, so that all of it can be
 * listed without a link; and what the cache marked as stale (apply_next_stale()).  Both run
 * beside the slots of fetch.h, so that they never stand in the way of somebody who waits.
 */
#ifndef REPLICATE_BACKGROUND_H
#define REPLICATE_BACKGROUND_H

#include "replicate/listing.h"

#define STALE_SLOTS 4

struct replicate;

enum stale_step { STALE_FREE, STALE_LISTING, STALE_OBJECT, STALE_LATER };

struct stale_slot {
	struct background *background;
	enum stale_step step;
	bool is_dir;
	struct kml_oid oid;
	struct listing listing;
	struct http_request request;
};

struct background {
	struct replicate *replicate;
	/* replicate thread */
	bool is_started;
	bool is_deep_wanted, is_deep_running;
	bool is_reset; /* nearly all is stale: the whole tree's listing comes first */
	unsigned deep_tries;
	struct listing deep;
	struct loop_timer deep_timer;
	struct loop_timer look_timer;
	unsigned stale_tries;		/* failures in a row */
	struct loop_timer stale_timer;	/* set: no new ones before it fires */
	struct stale_slot slots[STALE_SLOTS];
};

void background_init(struct background *background, struct replicate *replicate);
void background_release(struct background *background);

/* after_reset: everything listed is stale. */
void background_want_tree(struct background *background, bool after_reset);
void background_start(struct background *background);
void background_stop(struct background *background);
/* There may be something stale now. */
void background_kick(struct background *background);

#endif
