/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * content: one range of one version of a file on its way into the cache (docs/PROTOCOL.md 6).
 *
 * apply_content_end() is called exactly once for it.
 */
#ifndef REPLICATE_CONTENT_H
#define REPLICATE_CONTENT_H

#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

#define CONTENT_CHUNK (256u << 10)	/* goes to the cache in pieces of this */
#define CONTENT_TRIES 3			/* for an answer that breaks off in its middle */

struct cache;

struct content {
	/* the caller's, before content_start() */
	struct cache *cache;
	struct http *http;
	uint64_t ino, version, offset, len;
	struct kml_oid oid;
	/*
	 * It is answered; err is what happened: as in http_errno(), or the cache's (-ECANCELED,
	 * -ESTALE, -ENOSPC).
	 */
	void (*done)(struct content *content, int err);

	/* the module's */
	struct http_request request;
	struct buf chunk;
	uint64_t got;		/* bytes given to the cache or in chunk */
	uint64_t given;		/* bytes given to the cache, all attempts */
	uint64_t skip;		/* bytes before the range, of a server that sends all */
	unsigned tries;
	bool is_owed;
};

void content_start(struct content *content);
/* Answers with err, if an answer is owed; done() is not called. */
void content_cancel(struct content *content, int err);
void content_release(struct content *content);

#endif
