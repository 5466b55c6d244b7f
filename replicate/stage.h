/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stage: one large content, sent ahead in pieces that resume after a break (docs/PROTOCOL.md 8).
 *
 * Where the upstream has another version of it, the difference from that is sent, if that is much less (delta.h).
 *
 * What is sent is one state of the file.  First it is read as it is; when it was written
 * meanwhile all of it is sent again, STAGE_LIVE times; then a clone or copy of it is made and
 * sent.
 *
 * The key of a staged content is made of the record's seq, its ranges, and the object file's
 * number and ctime: the same again after a restart, as long as nobody wrote to the file, so what
 * had arrived need not be sent again.  A file that was written a moment ago could be written once
 * more within the same tick of its ctime; it gets a random key, which nothing will ever resume.
 *
 * Threads: the loop's; reading runs on the worker.
 */
#ifndef REPLICATE_STAGE_H
#define REPLICATE_STAGE_H

#include <stdatomic.h>
#include "base/worker.h"
#include "cache/cml.h"
#include "replicate/delta.h"
#include "replicate/http.h"

#define STAGE_CHUNK (8u << 20)		/* most bytes of a piece */
#define STAGE_LIVE 2

struct stage {
	/* the caller's, before stage_start() */
	struct cache *cache;
	struct http *http;
	struct worker *worker;
	uint64_t client;
	struct cml_item *item;
	const uint64_t *piece;		/* bytes of the next piece, as they are then; NULL: STAGE_CHUNK, which is the most */
	bool may_delta;			/* the upstream puts differences together */
	/*
	 * err 0: all of it is there, under stage->key, and item says what it is; an empty key: it
	 * is small by now, and was not sent.  -EBUSY: the file does not keep still;
	 * -ECANCELED: after stage_cancel(); -EIO, ...: reading failed, with is_local; else as in
	 * http_errno().
	 */
	void (*done)(struct stage *stage, int err);
	char key[KML_KEY_MAX + 1];
	bool is_local;			/* with err: it is not the network's */

	/* the module's */
	atomic_bool is_cancelled;
	bool is_resumable;
	uint64_t total, sent;
	unsigned rounds;		/* states of the file that were tried */
	unsigned asked;			/* GETs in this round */
	int snapshot;			/* descriptor, or -1 */
	unsigned char *chunk;		/* owned */
	size_t chunk_len;
	int work_err;
	bool has_changed;
	bool is_working;
	struct work work;
	struct http_request request;
	bool tried_delta;		/* in this round */
	bool is_in_delta;		/* delta has it */
	struct delta delta;
	/* A link that never holds for long enough must not keep a file from going in pieces. */
	uint64_t lost_seq;		/* of this record differences broke off */
	unsigned losses;		/* so often, since more of one had arrived than before */
	uint64_t lost_sent;
};

void stage_init(struct stage *stage);
void stage_release(struct stage *stage);

void stage_start(struct stage *stage);
/*
 * Give up.  true: it is over, done() is not called.  false: the worker has it, done(-ECANCELED)
 * will be called when it is through.
 */
bool stage_cancel(struct stage *stage);

#endif
