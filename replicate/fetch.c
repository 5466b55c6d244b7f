/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/apply.h"
#include "cache/fetcher.h"
#include "replicate/internal.h"

/* A listing that a change overtook is asked for again after this, then twice, ... */
#define OVERTAKEN_US (20 * US_PER_MS)
#define OVERTAKEN_MAX_US (2 * US_PER_S)

struct wish {
	struct list node;
	bool is_listing;
	uint64_t ino;
	struct kml_oid oid;
	uint64_t version, offset, len;	/* of content */
};

static void answer_unserved(struct fetch *fetch, struct wish *wish, int err)
{
	struct cache *cache = fetch->replicate->cache;

	if (wish->is_listing)
		apply_listing_failed(cache, wish->ino, err);
	else
		apply_content_end(cache, wish->ino, wish->version, wish->offset, err);
	free(wish);
}

/* ---- the slots ---- */

static void serve(struct fetch *fetch);

static void slot_begin(struct fetch_slot *slot)
{
	struct replicate *r = slot->fetch->replicate;
	const struct wish *wish = slot->wish;

	if (wish->is_listing) {
		slot->listing.cache = r->cache;
		slot->listing.http = &r->http;
		slot->listing.ino = wish->ino;
		slot->listing.oid = wish->oid;
		listing_start(&slot->listing);
	} else {
		slot->content.cache = r->cache;
		slot->content.http = &r->http;
		slot->content.ino = wish->ino;
		slot->content.oid = wish->oid;
		slot->content.version = wish->version;
		slot->content.offset = wish->offset;
		slot->content.len = wish->len;
		content_start(&slot->content);
	}
}

/* The wish was answered; err as the request ended. */
static void slot_end(struct fetch_slot *slot, int err)
{
	struct fetch *fetch = slot->fetch;
	const char *trouble = slot->wish->is_listing ? slot->listing.request.trouble :
						       slot->content.request.trouble;

	free(slot->wish);
	slot->wish = NULL;
	slot->tries = 0;
	if (err && replicate_lost_by(fetch->replicate, err, trouble))
		return;
	serve(fetch);
}

static void listing_done(struct listing *listing, int err)
{
	struct fetch_slot *slot = container_of(listing, struct fetch_slot, listing);

	if (err == LISTING_OVERTAKEN) {
		uint64_t pause = MIN(OVERTAKEN_MAX_US, OVERTAKEN_US << MIN(slot->tries, 10u));

		slot->tries++;
		loop_timer_set(slot->fetch->replicate->loop, &slot->again, clock_us() + pause);
		return;
	}
	slot_end(slot, err);
}

static void content_done(struct content *content, int err)
{
	struct fetch_slot *slot = container_of(content, struct fetch_slot, content);

	replicate_note_fetched(slot->fetch->replicate, content->given);
	slot_end(slot, err);
}

static void again_fired(struct loop_timer *timer)
{
	slot_begin(container_of(timer, struct fetch_slot, again));
}

static void serve(struct fetch *fetch)
{
	for (size_t i = 0; i < FETCH_SLOTS && fetch->has_link; i++) {
		struct fetch_slot *slot = &fetch->slots[i];
		struct wish *wish = list_first(&fetch->waiting, struct wish, node);

		if (!wish)
			return;
		if (slot->wish)
			continue;
		list_del(&wish->node);
		slot->wish = wish;
		slot_begin(slot);
	}
}

/* ---- the cache's side: any thread, locks held ---- */

static bool has_link(void *arg)
{
	struct fetch *fetch = arg;

	return atomic_load(&fetch->takes_wishes);
}

static bool may_hoard(void *arg)
{
	struct fetch *fetch = arg;

	return atomic_load(&fetch->replicate->quality.may_hoard);
}

static void add_wish(struct fetch *fetch, const struct wish *from)
{
	struct wish *wish = malloc(sizeof(*wish));
	bool must_post;

	if (!wish) {
		/* It cannot be answered from here; those who wait end at their deadline. */
		log_error("fetch: no memory for a request, it is dropped: ino=%llu",
			  (unsigned long long)from->ino);
		return;
	}
	*wish = *from;
	pthread_mutex_lock(&fetch->lock);
	list_append(&fetch->come, &wish->node);
	must_post = !fetch->is_job_posted;
	fetch->is_job_posted = true;
	if (must_post)
		loop_post(fetch->replicate->loop, &fetch->job);
	pthread_mutex_unlock(&fetch->lock);
}

static void wish_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	add_wish(arg, &(struct wish){ .is_listing = true, .ino = ino, .oid = *dir });
}

static void wish_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version,
		      uint64_t offset, uint64_t len)
{
	add_wish(arg, &(struct wish){ .ino = ino, .oid = *oid, .version = version,
				      .offset = offset, .len = len });
}

static const struct fetcher fetcher = { .has_link = has_link,
					.list = wish_list,
					.data = wish_data,
					.may_hoard = may_hoard };

/* Wishes have come. */
static void take_wishes(struct loop_job *job)
{
	struct fetch *fetch = container_of(job, struct fetch, job);
	struct list come;
	struct wish *wish, *next;

	list_init(&come);
	pthread_mutex_lock(&fetch->lock);
	list_splice(&come, &fetch->come);
	fetch->is_job_posted = false;
	pthread_mutex_unlock(&fetch->lock);

	list_each_safe(wish, next, &come, node) {
		list_del(&wish->node);
		log_debug(LOG_FETCH, "fetch: wanted: %s of ino=%llu version=%llu offset=%llu len=%llu",
			  wish->is_listing ? "listing" : "content", (unsigned long long)wish->ino,
			  (unsigned long long)wish->version, (unsigned long long)wish->offset,
			  (unsigned long long)wish->len);
		if (!atomic_load(&fetch->takes_wishes))
			answer_unserved(fetch, wish, -EIO);
		else if (!wish->is_listing && !wish->len)
			answer_unserved(fetch, wish, 0);
		else
			list_append(&fetch->waiting, &wish->node);
	}
	serve(fetch);
}

/* ---- start and stop ---- */

void fetch_init(struct fetch *fetch, struct replicate *replicate)
{
	fetch->replicate = replicate;
	atomic_init(&fetch->takes_wishes, false);
	list_init(&fetch->waiting);
	list_init(&fetch->come);
	pthread_mutex_init(&fetch->lock, NULL);
	fetch->job.run = take_wishes;
	for (size_t i = 0; i < FETCH_SLOTS; i++) {
		struct fetch_slot *slot = &fetch->slots[i];

		memset(slot, 0, sizeof(*slot));
		slot->fetch = fetch;
		slot->again.fire = again_fired;
		slot->listing.done = listing_done;
		slot->content.done = content_done;
	}
	cache_set_fetcher(replicate->cache, &fetcher, fetch);
}

void fetch_expect(struct fetch *fetch)
{
	atomic_store(&fetch->takes_wishes, true);
}

void fetch_start(struct fetch *fetch)
{
	fetch->has_link = true;
	atomic_store(&fetch->takes_wishes, true);
	serve(fetch);
}

void fetch_stop(struct fetch *fetch)
{
	struct wish *wish, *next;

	/* First, so that nobody wishes for more because he was answered. */
	atomic_store(&fetch->takes_wishes, false);
	fetch->has_link = false;
	for (size_t i = 0; i < FETCH_SLOTS; i++) {
		struct fetch_slot *slot = &fetch->slots[i];

		if (!slot->wish)
			continue;
		loop_timer_cancel(fetch->replicate->loop, &slot->again);
		if (slot->wish->is_listing)
			listing_cancel(&slot->listing, -EIO);
		else
			content_cancel(&slot->content, -EIO);
		free(slot->wish);
		slot->wish = NULL;
		slot->tries = 0;
	}
	list_each_safe(wish, next, &fetch->waiting, node) {
		list_del(&wish->node);
		answer_unserved(fetch, wish, -EIO);
	}
}

void fetch_release(struct fetch *fetch)
{
	struct wish *wish, *next;

	if (!fetch->replicate)
		return;
	fetch_stop(fetch);
	cache_set_fetcher(fetch->replicate->cache, NULL, NULL);
	list_each_safe(wish, next, &fetch->come, node) {
		list_del(&wish->node);
		answer_unserved(fetch, wish, -EIO);
	}
	for (size_t i = 0; i < FETCH_SLOTS; i++) {
		listing_release(&fetch->slots[i].listing);
		content_release(&fetch->slots[i].content);
	}
	pthread_mutex_destroy(&fetch->lock);
}
