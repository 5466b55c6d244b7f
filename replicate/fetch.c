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

/* A wish is begun only when fewer requests than this are under way; by its class. */
static const unsigned slots_for[FETCH_CLASSES] = {
	[FETCH_ASKED] = FETCH_SLOTS,
	[FETCH_GUESS] = FETCH_SLOTS - 4,
	[FETCH_HOARD] = FETCH_SLOTS - 8,
};

struct wish {
	struct list node;
	enum fetch_class class;
	bool is_listing;	/* of range.oid, range.ino */
	bool is_hurry;		/* no wish: the one for the same is wanted at once */
	bool is_alone;		/* not to be asked for with others */
	struct fetch_range range;
};

static void answer_unserved(struct fetch *fetch, struct wish *wish, int err)
{
	struct cache *cache = fetch->replicate->cache;

	if (wish->is_listing)
		apply_listing_failed(cache, wish->range.ino, err);
	else
		apply_content_end(cache, wish->range.ino, wish->range.version, wish->range.offset, err);
	free(wish);
}

/* ---- the slots ---- */

static void serve(struct fetch *fetch);

static bool is_small(const struct fetch *fetch, const struct wish *wish)
{
	return fetch->has_contents && !wish->is_alone && wish->class != FETCH_ASKED && wish->range.is_whole &&
	       wish->range.len <= CONTENTS_SMALL;
}

/* From the queue into a free slot: one wish, or many that can go in one request. */
static void slot_fill(struct fetch_slot *slot, struct list *waiting)
{
	struct wish *first = list_first(waiting, struct wish, node), *wish, *next;
	uint64_t bytes = first->range.len;

	list_del(&first->node);
	slot->wishes[0] = first;
	slot->n = 1;
	slot->kind = first->is_listing ? FETCH_LISTING : FETCH_CONTENT;
	if (!is_small(slot->fetch, first))
		return;
	list_each_safe(wish, next, waiting, node) {
		if (slot->n == CONTENTS_MOST || bytes >= CONTENTS_BYTES)
			break;
		if (!is_small(slot->fetch, wish))
			continue;
		list_del(&wish->node);
		bytes += wish->range.len;
		slot->wishes[slot->n++] = wish;
		slot->kind = FETCH_CONTENTS;
	}
}

static void slot_begin_contents(struct fetch_slot *slot)
{
	struct replicate *r = slot->fetch->replicate;
	struct contents *contents = &slot->contents;

	contents->cache = r->cache;
	contents->http = &r->http;
	contents->n = slot->n;
	for (size_t i = 0; i < slot->n; i++)
		contents->wishes[i] = slot->wishes[i]->range;
	if (contents_start(contents))
		contents->done(contents, -ENOMEM);
}

static void slot_begin(struct fetch_slot *slot)
{
	struct replicate *r = slot->fetch->replicate;
	const struct fetch_range *range = &slot->wishes[0]->range;

	if (slot->kind == FETCH_LISTING) {
		slot->listing.cache = r->cache;
		slot->listing.http = &r->http;
		slot->listing.ino = range->ino;
		slot->listing.oid = range->oid;
		listing_start(&slot->listing);
	} else if (slot->kind == FETCH_CONTENT) {
		slot->content.cache = r->cache;
		slot->content.http = &r->http;
		slot->content.ino = range->ino;
		slot->content.oid = range->oid;
		slot->content.version = range->version;
		slot->content.offset = range->offset;
		slot->content.len = range->len;
		content_start(&slot->content);
	} else {
		slot_begin_contents(slot);
	}
}

/* Its wishes have been answered, or are somebody else's; err as the request ended. */
static void slot_end(struct fetch_slot *slot, int err, const char *trouble)
{
	struct fetch *fetch = slot->fetch;

	slot->kind = FETCH_NOTHING;
	slot->n = 0;
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
	free(slot->wishes[0]);
	slot_end(slot, err, listing->request.trouble);
}

static void content_done(struct content *content, int err)
{
	struct fetch_slot *slot = container_of(content, struct fetch_slot, content);

	replicate_note_fetched(slot->fetch->replicate, content->given);
	free(slot->wishes[0]);
	slot_end(slot, err, content->request.trouble);
}

/* It did not come with the others.  Alone it will, or the answer says why not. */
static void try_alone(struct fetch *fetch, struct wish *wish)
{
	wish->is_alone = true;
	list_prepend(&fetch->waiting[wish->class], &wish->node);
}

static void contents_done(struct contents *contents, int err)
{
	struct fetch_slot *slot = container_of(contents, struct fetch_slot, contents);
	struct fetch *fetch = slot->fetch;

	replicate_note_fetched(fetch->replicate, contents->given);
	if (contents->is_unknown) {
		log_info("fetch: this upstream does not know requests for many files, each is asked for alone; a newer izo-httpd there is faster");
		fetch->has_contents = false;
		err = 0;
	}
	for (size_t i = slot->n; i-- > 0;) {
		struct wish *wish = slot->wishes[i];

		if (contents->is_answered[i])
			free(wish);
		else if (wish->class == FETCH_GUESS && fetch->has_contents)
			answer_unserved(fetch, wish, 0);	/* who came to wait for it meanwhile asks himself */
		else
			try_alone(fetch, wish);
	}
	slot_end(slot, err, contents->request.trouble);
}

static void again_fired(struct loop_timer *timer)
{
	slot_begin(container_of(timer, struct fetch_slot, again));
}

static struct fetch_slot *free_slot(struct fetch *fetch, enum fetch_class class)
{
	struct fetch_slot *found = NULL;
	unsigned busy = 0;

	for (size_t i = 0; i < FETCH_SLOTS; i++) {
		if (fetch->slots[i].kind == FETCH_NOTHING)
			found = &fetch->slots[i];
		else
			busy++;
	}
	return busy < slots_for[class] ? found : NULL;
}

static void serve(struct fetch *fetch)
{
	for (enum fetch_class class = 0; class < FETCH_CLASSES; class++) {
		struct fetch_slot *slot;

		/* Each that begins may lose the link at once. */
		while (fetch->has_link && !list_is_empty(&fetch->waiting[class]) && (slot = free_slot(fetch, class))) {
			slot_fill(slot, &fetch->waiting[class]);
			slot_begin(slot);
		}
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

/* What keeps the hoard off the link keeps off all that nobody has asked for. */
static bool may_guess(void *arg)
{
	return has_link(arg) && may_hoard(arg);
}

/* Takes them over. */
static void add_wishes(struct fetch *fetch, struct list *wishes)
{
	bool must_post;

	pthread_mutex_lock(&fetch->lock);
	list_splice(&fetch->come, wishes);
	must_post = !fetch->is_job_posted;
	fetch->is_job_posted = true;
	if (must_post)
		loop_post(fetch->replicate->loop, &fetch->job);
	pthread_mutex_unlock(&fetch->lock);
}

static void make_wish(struct list *wishes, const struct wish *from)
{
	struct wish *wish = malloc(sizeof(*wish));

	if (!wish) {
		/* It cannot be answered from here; those who wait end at their deadline. */
		log_error("fetch: no memory for a request, it is dropped: ino=%llu",
			  (unsigned long long)from->range.ino);
		return;
	}
	*wish = *from;
	list_append(wishes, &wish->node);
}

static void add_wish(struct fetch *fetch, const struct wish *from)
{
	struct list wishes;

	list_init(&wishes);
	make_wish(&wishes, from);
	add_wishes(fetch, &wishes);
}

static void wish_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	add_wish(arg, &(struct wish){ .is_listing = true, .range = { .ino = ino, .oid = *dir } });
}

static void wish_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version,
		      uint64_t offset, uint64_t len)
{
	add_wish(arg, &(struct wish){ .range = { .ino = ino, .oid = *oid, .version = version,
						 .offset = offset, .len = len } });
}

/* All at once, so that the first ones do not go alone. */
static void wish_ahead(void *arg, const struct fetch_range *ranges, size_t n, enum fetch_class class)
{
	struct list wishes;

	list_init(&wishes);
	for (size_t i = 0; i < n; i++)
		make_wish(&wishes, &(struct wish){ .class = class, .range = ranges[i] });
	add_wishes(arg, &wishes);
}

static void hurry(void *arg, uint64_t ino, uint64_t version, uint64_t offset)
{
	add_wish(arg, &(struct wish){ .is_hurry = true,
				      .range = { .ino = ino, .version = version, .offset = offset } });
}

static const struct fetcher fetcher = { .has_link = has_link,
					.list = wish_list,
					.data = wish_data,
					.may_hoard = may_hoard,
					.may_guess = may_guess,
					.ahead = wish_ahead,
					.hurry = hurry };

static bool is_same(const struct wish *wish, const struct fetch_range *range)
{
	return !wish->is_listing && wish->range.ino == range->ino && wish->range.version == range->version &&
	       wish->range.offset == range->offset;
}

/* What is under way stays so; it only counts as asked for should it not come. */
static void hurry_up(struct fetch *fetch, const struct fetch_range *range)
{
	struct wish *wish, *next;

	for (enum fetch_class class = FETCH_ASKED + 1; class < FETCH_CLASSES; class++) {
		list_each_safe(wish, next, &fetch->waiting[class], node) {
			if (!is_same(wish, range))
				continue;
			list_del(&wish->node);
			wish->class = FETCH_ASKED;
			list_append(&fetch->waiting[FETCH_ASKED], &wish->node);
			return;
		}
	}
	for (size_t i = 0; i < FETCH_SLOTS; i++)
		for (size_t k = 0; k < fetch->slots[i].n; k++)
			if (is_same(fetch->slots[i].wishes[k], range))
				fetch->slots[i].wishes[k]->class = FETCH_ASKED;
}

static void take_wish(struct fetch *fetch, struct wish *wish)
{
	const struct fetch_range *range = &wish->range;

	log_debug(LOG_FETCH, "fetch: %s: %s of ino=%llu version=%llu offset=%llu len=%llu",
		  wish->is_hurry ? "waited for" : wish->class == FETCH_ASKED ? "wanted" : "wanted ahead",
		  wish->is_listing ? "listing" : "content", (unsigned long long)range->ino,
		  (unsigned long long)range->version, (unsigned long long)range->offset,
		  (unsigned long long)range->len);
	if (wish->is_hurry) {
		hurry_up(fetch, range);
		free(wish);
	} else if (!atomic_load(&fetch->takes_wishes)) {
		answer_unserved(fetch, wish, -EIO);
	} else if (!wish->is_listing && !range->len) {
		answer_unserved(fetch, wish, 0);
	} else {
		list_append(&fetch->waiting[wish->class], &wish->node);
	}
}

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
		take_wish(fetch, wish);
	}
	serve(fetch);
}

/* ---- start and stop ---- */

void fetch_init(struct fetch *fetch, struct replicate *replicate)
{
	fetch->replicate = replicate;
	atomic_init(&fetch->takes_wishes, false);
	for (size_t i = 0; i < FETCH_CLASSES; i++)
		list_init(&fetch->waiting[i]);
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
		slot->contents.done = contents_done;
	}
	cache_set_fetcher(replicate->cache, &fetcher, fetch);
}

void fetch_expect(struct fetch *fetch)
{
	atomic_store(&fetch->takes_wishes, true);
}

void fetch_start(struct fetch *fetch)
{
	fetch->has_link = fetch->has_contents = true;
	atomic_store(&fetch->takes_wishes, true);
	serve(fetch);
}

static void slot_stop(struct fetch_slot *slot)
{
	loop_timer_cancel(slot->fetch->replicate->loop, &slot->again);
	if (slot->kind == FETCH_LISTING)
		listing_cancel(&slot->listing, -EIO);
	else if (slot->kind == FETCH_CONTENT)
		content_cancel(&slot->content, -EIO);
	else if (slot->kind == FETCH_CONTENTS)
		contents_cancel(&slot->contents);
	for (size_t i = 0; i < slot->n; i++) {
		if (slot->kind == FETCH_CONTENTS && !slot->contents.is_answered[i])
			answer_unserved(slot->fetch, slot->wishes[i], -EIO);
		else
			free(slot->wishes[i]);
	}
	slot->kind = FETCH_NOTHING;
	slot->n = 0;
	slot->tries = 0;
}

void fetch_stop(struct fetch *fetch)
{
	struct wish *wish, *next;

	/* First, so that nobody wishes for more because he was answered. */
	atomic_store(&fetch->takes_wishes, false);
	fetch->has_link = false;
	for (size_t i = 0; i < FETCH_SLOTS; i++)
		slot_stop(&fetch->slots[i]);
	for (size_t i = 0; i < FETCH_CLASSES; i++) {
		list_each_safe(wish, next, &fetch->waiting[i], node) {
			list_del(&wish->node);
			answer_unserved(fetch, wish, -EIO);
		}
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
		if (wish->is_hurry)
			free(wish);
		else
			answer_unserved(fetch, wish, -EIO);
	}
	for (size_t i = 0; i < FETCH_SLOTS; i++) {
		listing_release(&fetch->slots[i].listing);
		content_release(&fetch->slots[i].content);
		contents_release(&fetch->slots[i].contents);
	}
	pthread_mutex_destroy(&fetch->lock);
}
