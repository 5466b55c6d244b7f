/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * listing: one listing on its way from the upstream into the cache (docs/PROTOCOL.md 5,
 * cache/apply.h).
 *
 * It is answered to the cache exactly once, by apply_listing_end() or apply_listing_failed(); the
 * exception is a deep one that never began, which nobody waits for.
 */
#ifndef REPLICATE_LISTING_H
#define REPLICATE_LISTING_H

#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

#define LISTING_CHUNK 512
/* What was pulled meanwhile is newer: ask again. */
#define LISTING_OVERTAKEN 1

struct apply_listing;
struct cache;

struct listing {
	/* the caller's, before listing_start() */
	struct cache *cache;
	struct http *http;
	uint64_t ino;
	struct kml_oid oid;
	bool is_deep;
	/*
	 * LISTING_OVERTAKEN: not answered yet, to be started again (or cancelled).  Else it is
	 * answered, and err is what happened: as in http_errno(), -EBADMSG malformed, -ECANCELED
	 * the cache would not have it.
	 */
	void (*done)(struct listing *listing, int err);

	/* the module's */
	struct http_request request;
	struct frames frames;
	struct apply_listing *into;
	struct kml_listed *entries;	/* owned while it runs */
	size_t n;
	bool is_owed;			/* an answer */
};

/* Failures come through done() too, on this very stack only when there is no memory. */
void listing_start(struct listing *listing);
/* Answers with err, if an answer is owed; done() is not called. */
void listing_cancel(struct listing *listing, int err);
/* Not while an answer is owed. */
void listing_release(struct listing *listing);

#endif
