/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stage: one large content, sent ahead as one stream that is gone on with after a break (docs/PROTOCOL.md 8).
 *
 * The worker reads it, and packs it where that pays, a piece at a time and one ahead of what is being sent, so that
 * neither the disk nor a round trip leaves the link idle.
 *
 * Where the upstream has another version of it, the difference from that is sent, if that is much less (delta.h).
 *
 * What is sent is one state of the file.  First it is read as it is; when it was written
 * meanwhile all of it is sent again, STAGE_LIVE times; then a clone or copy of it is made and
 * sent.
 *
 * The key of a staged content is made of the file's number, the record's ranges, and the object file's
 * number and ctime: the same again after a restart, or when its record has got another seq meanwhile, as long as
 * nobody wrote to the file, so what had arrived need not be sent again.  A file that was written a moment ago could be written once
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

#define STAGE_PIECE (1u << 20)		/* bytes of the content that are read, and packed, at a time */
#define STAGE_ALL (8u << 20)
#define STAGE_LIVE 2

/* Bytes as they go over the wire. */
struct stage_piece {
	struct buf body;
	size_t taken;			/* of them, so many have been given to be sent */
};

/*
 * A link that never holds for long enough must not keep a file from going in pieces: how often differences of a record broke
 * off, since more of one had arrived than before.
 */
struct stage_losses {
	struct stage_loss { uint64_t seq, sent; unsigned n; } v[8];
	unsigned next;
};

struct stage {
	/* the caller's, before stage_start() */
	struct cache *cache;
	struct http *http;
	struct worker *worker;
	uint64_t client;
	bool may_pack;			/* the upstream takes zstd */
	struct cml_item *item;
	const uint64_t *portion;	/* bytes of the next PUT, as they are then; from STAGE_ALL on, and where it is NULL: all of it */
	bool may_delta;			/* the upstream puts differences together */
	struct stage_losses *losses;	/* the caller's, for all of them */
	/*
	 * Its record was not taken, and will be once all is there: so only what that will find again is sent.  Of a file that
	 * does not keep still no copy is made, and what could only have a random key is not sent: -EBUSY.
	 */
	bool is_ahead;
	bool was_sent;			/* in that way: ask before any of it is sent again */
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
	uint64_t total;
	uint64_t portion_to;		/* the PUT that is under way ends there */
	uint64_t read_to;		/* bytes of the content that are read, or there already */
	unsigned rounds;		/* states of the file that were tried */
	unsigned asked;			/* GETs in this round */
	int snapshot;			/* descriptor, or -1 */
	bool is_packed;			/* this round's bytes go by zstd */
	bool is_streaming;		/* the PUT is under way */
	int stream_err;			/* what it ended with */
	struct stage_piece pieces[2];	/* in turn; the worker's while it fills one */
	unsigned first, n_full;		/* of them: being sent, or next; and so many are read */
	struct stage_piece *filling;	/* the worker's */
	unsigned char *plain;		/* owned, the worker's: a piece before it is packed */
	int work_err;
	bool has_changed;
	bool is_working;
	struct work work;
	struct http_request request;
	bool tried_delta;		/* in this round */
	bool is_in_delta;		/* delta has it */
	struct delta delta;
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
