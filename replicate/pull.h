/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pull: the upstream's journal, from where the cache stands, for as long as there is a link.
 *
 * One long-poll at a time (docs/PROTOCOL.md 4), or a look now and then, where the link is paid for (pace.h).  What comes is taken in every PULL_CHUNK entries,
 * each time with the position reached, so that a body that breaks off has not been in vain.
 */
#ifndef REPLICATE_PULL_H
#define REPLICATE_PULL_H

#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

#define PULL_WAIT_S 30
#define PULL_CHUNK 512

struct replicate;

struct pull {
	struct replicate *replicate;
	/* replicate thread */
	bool is_started, is_paused;
	struct http_request request;
	struct frames frames;
	struct kml_entry *entries;	/* owned; room for PULL_CHUNK */
	size_t n;
	uint64_t at;			/* position of the last entry that came */
	struct kml_mark mark;		/* its mark */
	uint64_t started_us;
	uint64_t reset_us;		/* when the journal last did not reach back */
	struct loop_timer again;
};

int pull_init(struct pull *pull, struct replicate *replicate);
void pull_release(struct pull *pull);

/* Begin, or begin anew from where the cache stands now. */
void pull_start(struct pull *pull);
void pull_stop(struct pull *pull);
/* While a listing of the whole tree must not be overtaken (background.h). */
void pull_pause(struct pull *pull, bool is_paused);

#endif
