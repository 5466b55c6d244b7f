/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/apply.h"

static int give_entries(struct listing *listing)
{
	int err = 0;

	if (listing->n)
		err = apply_listing_add(listing->into, listing->entries, listing->n) ? -ECANCELED
										     : 0;
	for (size_t i = 0; i < listing->n; i++)
		kml_listed_release(&listing->entries[i]);
	listing->n = 0;
	return err;
}

static int frame_came(void *arg, struct slice body)
{
	struct listing *listing = arg;
	int err;

	err = kml_listed_decode(body.data, body.len, &listing->entries[listing->n]);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	return ++listing->n == LISTING_CHUNK ? give_entries(listing) : 0;
}

static int head_came(struct http_request *request)
{
	struct listing *listing = container_of(request, struct listing, request);

	if (!request->has_position)
		return -EBADMSG;
	return apply_listing_begin(listing->cache, listing->ino, request->position,
				   listing->is_deep, &listing->into) ? -ECANCELED : 0;
}

static int bytes_came(struct http_request *request, const void *data, size_t len)
{
	struct listing *listing = container_of(request, struct listing, request);

	return frames_feed(&listing->frames, data, len, frame_came, listing);
}

static void drop(struct listing *listing)
{
	for (size_t i = 0; i < listing->n; i++)
		kml_listed_release(&listing->entries[i]);
	listing->n = 0;
	free(listing->entries);
	listing->entries = NULL;
	frames_release(&listing->frames);
}

/* What the cache is told: an object that is gone, or anything else. */
static int for_cache(int err)
{
	return err == -ENOENT || err == -EIDRM || err == -ESTALE ? -ESTALE : -EIO;
}

/* Answer the cache; gives its verdict on a listing that came well. */
static int answer(struct listing *listing, int err)
{
	struct apply_listing *into = listing->into;

	drop(listing);
	listing->into = NULL;
	if (!listing->is_owed)
		return err;
	if (into) {
		int end_err = apply_listing_end(into, err ? for_cache(err) : 0);

		if (!err && end_err)
			err = end_err == -EAGAIN ? LISTING_OVERTAKEN : -ECANCELED;
	} else if (!listing->is_deep) {
		apply_listing_failed(listing->cache, listing->ino, for_cache(err));
	}
	listing->is_owed = err == LISTING_OVERTAKEN && !listing->is_deep;
	return err;
}

static void ended(struct http_request *request, int err)
{
	struct listing *listing = container_of(request, struct listing, request);

	if (!err && !listing->frames.is_ended)
		err = -ECONNRESET;
	if (!err)
		err = FAULT("listing.end");
	if (!err)
		err = give_entries(listing);
	err = answer(listing, err);
	log_debug(LOG_FETCH, "fetch: listing of ino=%llu deep=%d: err=%d",
		  (unsigned long long)listing->ino, listing->is_deep, err);
	listing->done(listing, err);
}

void listing_start(struct listing *listing)
{
	struct http_request *request = &listing->request;
	char oid[KML_OID_TEXT];
	int err = -ENOMEM;

	listing->is_owed = true;
	listing->n = 0;
	frames_init(&listing->frames);
	kml_oid_print(listing->oid, oid);
	request->method = "GET";
	request->head = head_came;
	request->sink = bytes_came;
	request->done = ended;
	/* A whole tree takes the upstream a while to look at before the first byte. */
	request->stall_s = listing->is_deep ? 4 * HTTP_STALL_S : 0;
	snprintf(request->path, sizeof(request->path), "/izo/v1/list/%s?depth=%s", oid,
		 listing->is_deep ? "all" : "1");
	listing->entries = calloc(LISTING_CHUNK, sizeof(*listing->entries));
	if (listing->entries)
		err = http_start(listing->http, request);
	if (err) {
		err = answer(listing, err);
		listing->done(listing, err);
	}
}

void listing_cancel(struct listing *listing, int err)
{
	http_cancel(&listing->request);
	(void)answer(listing, err);	/* there is nobody left to hear the verdict */
	listing->is_owed = false;
}

void listing_release(struct listing *listing)
{
	drop(listing);
	http_request_release(&listing->request);
}
