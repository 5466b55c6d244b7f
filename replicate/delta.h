/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * delta: a large content, sent ahead as its difference from what the upstream has of that object, or of the one in whose
 * place it is going to be put (docs/PROTOCOL.md 8).
 *
 * The upstream's signature of its present version is asked for, the delta made from it and from the file, sent, and put together
 * there: after that the content is staged under its key, as if all of it had been sent, and the store that names it knows
 * nothing of this.  So nothing depends on it: where it does not work, or does not pay, the content is sent whole.
 *
 * The delta is made of one state of the file, and its hash with it, in one reading: what has been put together has that hash or
 * is thrown away.  The delta's key is made of that hash and of the version it is based on: the same again after a
 * restart, so what had arrived of it need not be sent again, and never that of another delta.
 *
 * Threads: the loop's; reading and comparing runs on the worker, in pieces, for others need that too.
 */
#ifndef REPLICATE_DELTA_H
#define REPLICATE_DELTA_H

#include <blake2.h>
#include <stdatomic.h>
#include "base/rdiff.h"
#include "base/worker.h"
#include "cache/cml.h"
#include "replicate/http.h"

#define DELTA_HASH 32		/* bytes of BLAKE2b */

enum {
	DELTA_SENT = 0,
	DELTA_WHOLE = 1,	/* send the content itself */
	DELTA_CHANGED = 2,	/* the file was written meanwhile; the item has been refreshed */
};

struct delta {
	/* the caller's, before delta_start() */
	struct cache *cache;
	struct http *http;
	struct worker *worker;
	uint64_t client;
	struct cml_item *item;
	int source;		/* item->fd, or a copy of what it holds, which nobody writes to */
	const uint64_t *piece;	/* as in stage.h */
	const char *key;	/* what the content is to be staged under */
	/*
	 * One of the above; -ECANCELED: after delta_cancel(); other -errno: with is_local, else as in http_errno(), and
	 * request.trouble.
	 */
	void (*done)(struct delta *delta, int result);
	bool is_local;

	/* the module's */
	struct http_request request;
	struct work work;
	struct loop_timer timer;
	atomic_bool is_cancelled;
	bool is_working;
	unsigned waits;			/* for a busy upstream */
	unsigned asked;			/* how much of the delta is there */
	unsigned block;
	uint64_t base;			/* the version the signature is of */
	struct rdiff_job *job;		/* owned */
	uint64_t read, slice_end;	/* of the content */
	blake2b_state state;
	unsigned char hash[DELTA_HASH];	/* of the content */
	int file;			/* the delta; descriptor, or -1 */
	uint64_t size, limit;		/* of the delta; limit: it is not worth more */
	uint64_t sent;
	char delta_key[KML_KEY_MAX + 1];
	unsigned char *chunk;		/* owned */
	size_t chunk_len;
	int result;			/* of the work */
};

/* Is that content worth trying, by what the record says? */
bool delta_is_worth(const struct cml_item *item);

void delta_init(struct delta *delta);
void delta_start(struct delta *delta);
/* As stage_cancel(). */
bool delta_cancel(struct delta *delta);

#endif
