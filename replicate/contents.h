/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * contents: whole contents of many small files in one request (docs/PROTOCOL.md 6), on their way into the cache.
 *
 * Each that comes is taken in with those that came in the same piece of the answer, and its wish is over at once: whoever waits for it
 * need not wait for the rest.  What the upstream leaves out, or what had not come when the request ended, is the caller's:
 * its wish is not answered here.
 */
#ifndef REPLICATE_CONTENTS_H
#define REPLICATE_CONTENTS_H

#include "cache/fetcher.h"
#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

#define CONTENTS_SMALL (128u << 10)	/* files up to this many bytes are asked for in this way */
#define CONTENTS_MOST 128		/* of them at a time, */
#define CONTENTS_BYTES (512u << 10)	/* and so many bytes, about: who asks meanwhile has to share the line with them */

struct cache;

/* One that came. */
struct contents_came {
	struct kml_given given;
	size_t i;		/* of which wish */
};

struct contents {
	/* the caller's, before contents_start() */
	struct cache *cache;
	struct http *http;
	struct fetch_range wishes[CONTENTS_MOST];
	size_t n;
	/* It is over; err as http_errno() has it, or the cache's (-ECANCELED, -ENOSPC).  is_answered[] says what is left. */
	void (*done)(struct contents *contents, int err);

	/* results */
	bool is_answered[CONTENTS_MOST];
	uint64_t given;			/* bytes given to the cache */
	bool is_unknown;		/* with err: the upstream does not know this request */

	/* the module's */
	struct http_request request;
	struct buf body;
	struct frames frames;
	struct contents_came came[CONTENTS_MOST];
	size_t n_came, next;		/* next: the wish that may come next; they come in order */
};

/* 0 or -ENOMEM: then done() is not called, and nothing is answered. */
int contents_start(struct contents *contents);
/* done() is not called; what is not answered is left to the caller. */
void contents_cancel(struct contents *contents);
void contents_release(struct contents *contents);

#endif
