/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/background.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/apply.h"
#include "replicate/internal.h"

/*
 * So often a listing of the tree may be overtaken by changes; then they have to wait for the next
 * one.
 */
#define DEEP_OVERTAKEN_MAX 2
/* So often it may fail though there is a link; then it is left to the next link. */
#define DEEP_FAILED_MAX 5

/* So often what is stale is looked for without a reason. */
#define LOOK_US (2 * US_PER_S)

/* ---- the whole tree ---- */

static void deep_try(struct background *b)
{
	struct replicate *r = b->replicate;

	if (!b->is_started || !b->is_deep_wanted || b->is_deep_running ||
	    !quality_pace(&r->quality).may_list || list_is_linked(&b->deep_timer.node))
		return;
	if (b->deep_tries >= DEEP_OVERTAKEN_MAX)
		pull_pause(&r->pull, true);
	b->is_deep_running = true;
	b->deep.cache = r->cache;
	b->deep.http = &r->http;
	b->deep.ino = ROOT_INO;
	b->deep.oid = KML_ROOT;
	b->deep.is_deep = true;
	listing_start(&b->deep);
}

static void deep_done(struct listing *listing, int err)
{
	struct background *b = container_of(listing, struct background, deep);
	struct replicate *r = b->replicate;

	b->is_deep_running = false;
	pull_pause(&r->pull, false);
	if (err && err != LISTING_OVERTAKEN && replicate_lost_by(r, err, listing->request.trouble))
		return;
	if (!err) {
		log_info("fetch: the whole tree is listed");
		b->is_deep_wanted = b->is_reset = false;
		b->deep_tries = 0;
	} else if (++b->deep_tries > DEEP_FAILED_MAX) {
		log_warn("fetch: the tree cannot be listed as a whole, directories come as they "
			 "are asked for: %s",
			 err == LISTING_OVERTAKEN      ? "it changes too fast"
			 : listing->request.trouble[0] ? listing->request.trouble
						       : strerror(-err));
		b->is_deep_wanted = b->is_reset = false;
	} else {
		loop_timer_set(r->loop, &b->deep_timer,
			       clock_us() + link_backoff_us(b->deep_tries - 1, replicate_random()));
	}
	background_kick(b);
}

static void deep_fired(struct loop_timer *timer)
{
	deep_try(container_of(timer, struct background, deep_timer));
}

void background_want_tree(struct background *b, bool after_reset)
{
	b->is_deep_wanted = true;
	b->is_reset |= after_reset;
	b->deep_tries = 0;
}

/* ---- what is stale ---- */

static void slot_free(struct stale_slot *slot)
{
	slot->step = STALE_FREE;
	slot->background->stale_tries = 0;
	background_kick(slot->background);
}

/*
 * Once more later: a listing was answered and will be given out again, an object is ours until it
 * is answered.
 */
static void slot_failed(struct stale_slot *slot, int err, const char *trouble)
{
	struct background *b = slot->background;
	struct replicate *r = b->replicate;
	uint64_t pause = link_backoff_us(b->stale_tries++, replicate_random());

	slot->step = slot->is_dir ? STALE_FREE : STALE_LATER;
	if (replicate_lost_by(r, err, trouble))
		return;
	log_debug(LOG_FETCH, "fetch: stale object not refreshed, again in %llu s: err=%d",
		  (unsigned long long)(pause / US_PER_S), err);
	loop_timer_set(r->loop, &b->stale_timer, clock_us() + pause);
}

static void stale_listed(struct listing *listing, int err)
{
	struct stale_slot *slot = container_of(listing, struct stale_slot, listing);

	if (err == LISTING_OVERTAKEN) {
		/* Not answered yet; the failure makes the cache give it out again. */
		listing_cancel(listing, -EIO);
		slot_failed(slot, -EREMOTEIO, "overtaken");
		return;
	}
	/* Who waits for it has been told; with what is in it, it goes by this. */
	if (err == -ENOENT || err == -EIDRM)
		err = apply_object(slot->background->replicate->cache, &slot->oid, NULL, 0) ? -ECANCELED : 0;
	if (err)
		slot_failed(slot, err, listing->request.trouble);
	else
		slot_free(slot);
}

static void stale_object_came(struct http_request *request, int err)
{
	struct stale_slot *slot = container_of(request, struct stale_slot, request);
	struct replicate *r = slot->background->replicate;
	struct kml_object object = { 0 };

	if (err == -ENOENT || err == -EIDRM) {
		err = apply_object(r->cache, &slot->oid, NULL, 0) ? -ECANCELED : 0;
	} else if (!err) {
		err = kml_object_decode(request->answer.data, request->answer.len, &object);
		if (!err) {
			err = apply_object(r->cache, &slot->oid, &object, request->has_position ? request->position : 0) ? -ECANCELED : 0;
			kml_object_release(&object);
		}
	}
	if (err)
		slot_failed(slot, err, request->trouble);
	else
		slot_free(slot);
}

static void slot_begin(struct stale_slot *slot)
{
	struct replicate *r = slot->background->replicate;
	char oid[KML_OID_TEXT];

	if (slot->is_dir) {
		slot->step = STALE_LISTING;
		slot->listing.cache = r->cache;
		slot->listing.http = &r->http;
		slot->listing.oid = slot->oid;
		listing_start(&slot->listing);
		return;
	}
	slot->step = STALE_OBJECT;
	kml_oid_print(slot->oid, oid);
	slot->request.method = "GET";
	slot->request.done = stale_object_came;
	snprintf(slot->request.path, sizeof(slot->request.path), "/izo/v1/object/%s", oid);
	if (http_start(&r->http, &slot->request))
		slot_failed(slot, -ENOMEM, "no memory");
}

static unsigned slots_busy(const struct background *b)
{
	unsigned n = 0;

	for (size_t i = 0; i < STALE_SLOTS; i++)
		n += b->slots[i].step == STALE_LISTING || b->slots[i].step == STALE_OBJECT;
	return n;
}

void background_kick(struct background *b)
{
	struct replicate *r = b->replicate;

	if (!b->is_started)
		return;
	deep_try(b);
	if (b->is_reset)
		return;
	for (size_t i = 0; i < STALE_SLOTS; i++) {
		struct stale_slot *slot = &b->slots[i];
		bool is_old = slot->step == STALE_LATER;

		/* Each may fail, or lose the link, at once. */
		if (!b->is_started || list_is_linked(&b->stale_timer.node) ||
		    slots_busy(b) >= quality_pace(&r->quality).stale)
			return;
		if (slot->step == STALE_LISTING || slot->step == STALE_OBJECT)
			continue;
		if (!is_old &&
		    !apply_next_stale(r->cache, &slot->listing.ino, &slot->oid, &slot->is_dir))
			continue;
		slot_begin(slot);
	}
}

/* Not all that becomes stale, or may be asked for at last, comes with an event of ours. */
static void look_again(struct background *b)
{
	loop_timer_set(b->replicate->loop, &b->look_timer, clock_us() + LOOK_US);
}

static void look_fired(struct loop_timer *timer)
{
	struct background *b = container_of(timer, struct background, look_timer);

	look_again(b);
	background_kick(b);
}

static void stale_fired(struct loop_timer *timer)
{
	background_kick(container_of(timer, struct background, stale_timer));
}

/* ---- start and stop ---- */

void background_init(struct background *b, struct replicate *replicate)
{
	memset(b, 0, sizeof(*b));
	b->replicate = replicate;
	b->deep.done = deep_done;
	b->deep.request.class = FLOW_AHEAD;
	b->deep_timer.fire = deep_fired;
	b->stale_timer.fire = stale_fired;
	b->look_timer.fire = look_fired;
	for (size_t i = 0; i < STALE_SLOTS; i++) {
		b->slots[i].background = b;
		b->slots[i].listing.done = stale_listed;
		b->slots[i].listing.request.class = b->slots[i].request.class = FLOW_AHEAD;
		b->slots[i].request.is_quick = true;
	}
}

void background_start(struct background *b)
{
	b->is_started = true;
	look_again(b);
	background_kick(b);
}

void background_stop(struct background *b)
{
	struct loop *loop = b->replicate->loop;

	b->is_started = false;
	loop_timer_cancel(loop, &b->look_timer);
	loop_timer_cancel(loop, &b->deep_timer);
	loop_timer_cancel(loop, &b->stale_timer);
	if (b->is_deep_running)
		listing_cancel(&b->deep, -EIO);
	b->is_deep_running = false;
	b->deep_tries = b->stale_tries = 0;
	pull_pause(&b->replicate->pull, false);
	for (size_t i = 0; i < STALE_SLOTS; i++) {
		struct stale_slot *slot = &b->slots[i];

		if (slot->step == STALE_LISTING) {
			listing_cancel(&slot->listing, -EIO);
			slot->step = STALE_FREE;
		} else if (slot->step == STALE_OBJECT) {
			http_cancel(&slot->request);
			slot->step = STALE_LATER;
		}
	}
}

void background_release(struct background *b)
{
	if (!b->replicate)
		return;
	listing_release(&b->deep);
	for (size_t i = 0; i < STALE_SLOTS; i++) {
		listing_release(&b->slots[i].listing);
		http_request_release(&b->slots[i].request);
	}
}
