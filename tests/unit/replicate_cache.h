/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replicate_cache: a double of the cache, as replicate/ sees it: a log in memory, and a note of
 * what was applied.
 *
 * It defines the functions of cache/{cml,apply,fetcher}.h, so that nothing of the real cache is
 * linked.
 */
#ifndef TESTS_REPLICATE_CACHE_H
#define TESTS_REPLICATE_CACHE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/fs.h"
#include "cache/apply.h"
#include "cache/cml.h"
#include "cache/fetcher.h"
#include "tests/unit/until.h"

#define UNUSED __attribute__((unused))
#define CLIENT 0xabcdull
#define RECORDS_MAX 64
#define CONTENT_MAX (4u << 20)

struct cache {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const struct fetcher *fetcher;
	void *fetcher_arg;
	void (*wakeup)(void *);
	void *wakeup_arg;

	bool is_offline, has_acls;
	unsigned link_word;
	char upstream_id[40];
	uint64_t position, last_seq, acked;
	struct kml_mark mark;

	/* the log: those with seq 0 are retired */
	struct logged {
	bool is_detach;			/* set by the test, of one that is no store */
		uint64_t seq;
		uint64_t number;	/* its first seq: what it is known by */
		bool was_taken;
		int fd;			/* of a store */
		uint64_t size;		/* all of it is one range */
		int changes;		/* so often it changes while it is read; -1: always */
		uint32_t status;	/* retired with */
		uint64_t born_us;
	} log[RECORDS_MAX];
	size_t n;
	uint64_t out_seq;		/* the last that is out; as the cache's own */
	size_t n_out;			/* records */
	unsigned given_back, taken;
	bool takes_last;		/* what takes from it has not ended while this is so; "changed" tells */
	uint64_t most_bytes;		/* that were ever allowed in a batch */
	bool stands_aside;		/* large stores do */
	unsigned moved, looks;

	/* applied */
	unsigned entries, resets, link_lost, listings, deep_listings, objects, objects_gone;
	uint64_t listed;		/* entries of finished listings */
	int overtaken;			/* so many listings are refused with -EAGAIN */
	int lists_failed, list_err;
	int contents_ended, content_err;
	unsigned char content[CONTENT_MAX];
	uint64_t content_len;
	int content_apply_err;
	unsigned wholes;		/* contents that came with others, */
	uint64_t whole_inos[64];	/* in order */
	unsigned whole_batches;
	struct {
		uint64_t ino;
		int err;
	} ends[64];			/* of the first wishes that were answered */
	struct {
		struct kml_oid oid;
		uint64_t ino;
		bool is_dir, is_out;
	} stale[4];
	size_t n_stale;
};

#define LOCKED(cache, ...) do { \
		pthread_mutex_lock(&(cache)->lock); \
		__VA_ARGS__; \
		pthread_cond_broadcast(&(cache)->changed); \
		pthread_mutex_unlock(&(cache)->lock); \
	} while (0)

/* Wait until it holds; with a bound. */
#define WAIT_FOR(cache, seconds, condition)                                                        \
	do {                                                                                       \
		struct timespec end_;                                                              \
		int timed_out_ = 0;                                                                \
		clock_gettime(CLOCK_REALTIME, &end_);                                              \
		end_.tv_sec += patient_s(seconds);                                                 \
		pthread_mutex_lock(&(cache)->lock);                                                \
		while (!(condition) && !timed_out_)                                                \
			timed_out_ =                                                               \
				pthread_cond_timedwait(&(cache)->changed, &(cache)->lock, &end_);  \
		pthread_mutex_unlock(&(cache)->lock);                                              \
		if (timed_out_)                                                                    \
			fail_msg("not within %u s: %s", patient_s(seconds), #condition);           \
	} while (0)

static UNUSED struct cache *double_new(void)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	assert_non_null(cache);
	pthread_mutex_init(&cache->lock, NULL);
	pthread_cond_init(&cache->changed, NULL);
	return cache;
}

static UNUSED void double_free(struct cache *cache)
{
	for (size_t i = 0; i < cache->n; i++)
		if (cache->log[i].fd >= 0)
			close(cache->log[i].fd);
	free(cache);
}

/* A small file's; its inode has its oid's number here. */
static UNUSED unsigned char small_at(uint64_t number, uint64_t offset)
{
	return (unsigned char)(number * 17 + offset);
}

/* The content of test files: each byte follows from its place and the record. */
static UNUSED unsigned char byte_at(uint64_t seq, uint64_t offset)
{
	return (unsigned char)(offset * 31 + (offset >> 12) + seq * 7);
}

static UNUSED void logged_fill(struct logged *logged)
{
	unsigned char *data = malloc(logged->size + 1);

	for (uint64_t i = 0; i < logged->size; i++)
		data[i] = byte_at(logged->number, i);
	assert_int_equal(fs_pwrite_all(logged->fd, data, logged->size, 0), 0);
	free(data);
}

/* A MKDIR, or a STORE of size bytes. */
static UNUSED uint64_t double_append(struct cache *cache, bool is_store, uint64_t size, int changes)
{
	struct logged *logged;
	uint64_t seq;

	pthread_mutex_lock(&cache->lock);
	assert_true(cache->n < RECORDS_MAX);
	logged = &cache->log[cache->n];
	*logged = (struct logged){ .seq = ++cache->last_seq, .fd = -1, .size = size, .changes = changes,
				    .born_us = clock_us() };
	logged->number = logged->seq;
	if (is_store) {
		logged->fd = memfd_create("content", MFD_CLOEXEC);
		logged_fill(logged);
	}
	seq = logged->seq;
	cache->n++;
	if (cache->wakeup)
		cache->wakeup(cache->wakeup_arg);
	pthread_mutex_unlock(&cache->lock);
	return seq;
}

static UNUSED size_t double_waiting(struct cache *cache)
{
	size_t n = 0;

	for (size_t i = 0; i < cache->n; i++)
		n += cache->log[i].seq != 0;
	return n;
}

/* ---- cml.h ---- */

static void item_fill(struct cml_item *item, const struct logged *logged)
{
	struct kml_record *record = &item->record;
	char name[32];

	*item = (struct cml_item){ .fd = -1, .ino = logged->number + 100, .write_gen = logged->size };
	record->format = KML_VERSION;
	record->seq = logged->seq;
	if (logged->is_detach) {
		struct kml_detach *detach = &record->body.kml_body_u.detach;

		record->body.op = KML_DETACH;
		detach->parent = KML_ROOT;
		detach->oid = (struct kml_oid){ CLIENT, logged->seq + 1 };
		assert_int_equal(kml_name_set(&detach->name, (struct slice){ "name", 4 }), 0);
		return;
	}
	if (logged->fd < 0) {
		struct kml_make *make = &record->body.kml_body_u.make;

		record->body.op = KML_MKDIR;
		make->parent = KML_ROOT;
		make->oid = (struct kml_oid){ CLIENT, logged->seq };
		snprintf(name, sizeof(name), "dir%llu", (unsigned long long)logged->seq);
		assert_int_equal(kml_name_set(&make->name, (struct slice){ name, strlen(name) }),
				 0);
		return;
	}
	record->body.op = KML_STORE;
	record->body.kml_body_u.store = (struct kml_store){
		.oid = { CLIENT, logged->seq }, .size = logged->size,
	};
	if (logged->size) {
		struct kml_range *range = calloc(1, sizeof(*range));

		*range = (struct kml_range){ 0, logged->size };
		record->body.kml_body_u.store.ranges.ranges_val = range;
		record->body.kml_body_u.store.ranges.ranges_len = 1;
	}
	item->bytes = logged->size;
	item->fd = dup(logged->fd);
}

static bool can_go(const struct cache *cache, const struct logged *logged, const struct cml_wants *wants)
{
	if (!cache->stands_aside || logged->fd < 0 || logged->size <= wants->large || logged->was_taken)
		return true;
	for (size_t i = 0; i < wants->n_ready; i++)
		if (wants->ready[i].ino == logged->number + 100)
			return !wants->ready[i].write_gen || wants->ready[i].write_gen == logged->size;
	return false;
}

/* To the end, under another number. */
static void move_aside(struct cache *cache, size_t at)
{
	struct logged logged = cache->log[at];

	memmove(&cache->log[at], &cache->log[at + 1], (cache->n - at - 1) * sizeof(logged));
	logged.seq = ++cache->last_seq;
	cache->log[cache->n - 1] = logged;
	cache->moved++;
}

/* It cannot go: true when it has moved, and another one is in its place; false: that is the end. */
static bool step_aside(struct cache *cache, size_t at, const struct cml_wants *wants, struct cml_taken *taken)
{
	for (size_t i = at + 1; i < cache->n; i++) {
		if (!cache->log[i].seq || !can_go(cache, &cache->log[i], wants))
			continue;
		taken->is_held = !wants->may_move;
		if (taken->is_held)
			return false;
		if (taken->n_aside < CML_ASIDES)
			taken->aside[taken->n_aside++] = cache->log[at].number + 100;
		move_aside(cache, at);
		taken->n_moved++;
		return true;
	}
	taken->n_aside = 0;
	for (size_t i = at; i < cache->n && taken->n_aside < CML_ASIDES; i++)
		taken->aside[taken->n_aside++] = cache->log[i].number + 100;
	return false;
}

int cml_take_wanted(struct cache *cache, struct cml_wants *wants, struct cml_taken *ret_taken)
{
	struct cml_batch *batch = calloc(1, sizeof(*batch));
	uint64_t bytes = 0;
	size_t i = 0;

	batch->items = calloc(RECORDS_MAX, sizeof(*batch->items));
	*ret_taken = (struct cml_taken){ 0 };
	pthread_mutex_lock(&cache->lock);
	cache->most_bytes = MAX(cache->most_bytes, wants->max_bytes);
	while (i < cache->n && batch->n < wants->max_records && bytes <= wants->max_bytes) {
		uint64_t of_age_us = cache->log[i].born_us + wants->min_age_s * US_PER_S, now_us = clock_us();

		if (cache->log[i].seq <= cache->out_seq) {
			i++;
			continue;
		}
		if (wants->min_age_s && of_age_us > now_us) {
			ret_taken->young_us = batch->n ? 0 : of_age_us - now_us;
			break;
		}
		if (!can_go(cache, &cache->log[i], wants)) {
			if (!step_aside(cache, i, wants, ret_taken))
				break;
			continue;
		}
		item_fill(&batch->items[batch->n], &cache->log[i]);
		/* A take that was asked for before what is behind was given back finds some of that again; none of it is sent. */
		cache->log[i].was_taken = true;
		bytes += batch->items[batch->n++].bytes;
		i++;
	}
	if (batch->n) {
		cache->out_seq = batch->items[batch->n - 1].record.seq;
		cache->n_out += batch->n;
	}
	cache->taken++;
	while (cache->takes_last)
		pthread_cond_wait(&cache->changed, &cache->lock);
	pthread_mutex_unlock(&cache->lock);
	if (!batch->n) {
		free(batch->items);
		free(batch);
		batch = NULL;
	}
	ret_taken->batch = batch;
	return 0;
}

static struct logged *logged_of(struct cache *cache, uint64_t ino)
{
	for (size_t i = 0; i < cache->n; i++)
		if (cache->log[i].seq && cache->log[i].number + 100 == ino)
			return &cache->log[i];
	return NULL;
}

int cml_aside_look(struct cache *cache, uint64_t ino, struct cml_item **ret_item)
{
	struct cml_item *item = calloc(1, sizeof(*item));
	struct logged *logged;

	pthread_mutex_lock(&cache->lock);
	cache->looks++;
	logged = logged_of(cache, ino);
	if (logged && !logged->was_taken)
		item_fill(item, logged);
	pthread_mutex_unlock(&cache->lock);
	if (!item->ino) {
		free(item);
		return -ENOENT;
	}
	*ret_item = item;
	return 0;
}

void cml_item_free(struct cml_item *item)
{
	if (!item)
		return;
	kml_record_release(&item->record);
	if (item->fd >= 0)
		close(item->fd);
	free(item);
}

int cml_split(struct cml_batch *batch, size_t at, struct cml_batch **ret_rest)
{
	struct cml_batch *rest = calloc(1, sizeof(*rest));

	assert_true(at > 0 && at < batch->n);
	/* It is sent with what it is for. */
	assert_int_not_equal(batch->items[at - 1].record.body.op, KML_DETACH);
	rest->n = batch->n - at;
	rest->items = calloc(rest->n, sizeof(*rest->items));
	memcpy(rest->items, batch->items + at, rest->n * sizeof(*rest->items));
	batch->n = at;
	*ret_rest = rest;
	return 0;
}

static void batch_drop(struct cml_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++) {
		kml_record_release(&batch->items[i].record);
		if (batch->items[i].fd >= 0)
			close(batch->items[i].fd);
	}
	free(batch->items);
	free(batch);
}

static UNUSED struct logged *logged_find(struct cache *cache, uint64_t seq)
{
	for (size_t i = 0; i < cache->n; i++)
		if (cache->log[i].seq == seq)
			return &cache->log[i];
	fail_msg("no record %llu", (unsigned long long)seq);
	return NULL;
}

/* Each change makes the file a byte longer, with other bytes all over. */
bool cml_refresh(struct cache *cache, struct cml_item *item)
{
	struct logged *logged;
	bool has_changed = false;

	pthread_mutex_lock(&cache->lock);
	logged = logged_of(cache, item->ino);
	assert_non_null(logged);
	if (logged->changes) {
		has_changed = true;
		if (logged->changes > 0)
			logged->changes--;
		logged->size++;
		logged_fill(logged);
		item->record.body.kml_body_u.store.size = logged->size;
		item->record.body.kml_body_u.store.ranges.ranges_val[0].length = logged->size;
		item->bytes = item->write_gen = logged->size;
		pthread_cond_broadcast(&cache->changed);
	}
	pthread_mutex_unlock(&cache->lock);
	return has_changed;
}

int cml_retire(struct cache *cache, struct cml_batch *batch, const struct kml_answer *answers,
	       size_t n_answers)
{
	pthread_mutex_lock(&cache->lock);
	assert_true(n_answers <= batch->n);
	for (size_t i = 0; i < n_answers; i++) {
		struct logged *logged = logged_find(cache, batch->items[i].record.seq);

		assert_int_equal(answers[i].seq, logged->seq);
		assert_int_not_equal(answers[i].status, KML_RETRY);
		/* in order, whatever is out */
		assert_true(logged->seq > cache->acked);
		for (size_t k = 0; k < cache->n; k++)
			assert_true(!cache->log[k].seq || cache->log[k].seq >= logged->seq);
		logged->status = answers[i].status;
		cache->acked = logged->seq;
		logged->seq = 0;
	}
	if (n_answers < batch->n)
		cache->out_seq = MIN(cache->out_seq, batch->items[n_answers].record.seq - 1);
	cache->n_out -= batch->n;
	pthread_cond_broadcast(&cache->changed);
	pthread_mutex_unlock(&cache->lock);
	batch_drop(batch);
	return 0;
}

void cml_give_back(struct cache *cache, struct cml_batch *batch)
{
	LOCKED(cache, cache->out_seq = MIN(cache->out_seq, batch->items[0].record.seq - 1), cache->n_out -= batch->n, cache->given_back++);
	batch_drop(batch);
}

void cml_totals(struct cache *cache, struct cml_totals *ret)
{
	*ret = (struct cml_totals){ 0 };
	LOCKED(cache, ret->last_seq = ret->frozen_seq = cache->last_seq, ret->records = double_waiting(cache));
}

void cml_set_wakeup(struct cache *cache, void (*fn)(void *arg), void *arg)
{
	LOCKED(cache, cache->wakeup = fn, cache->wakeup_arg = arg);
}

int cml_flush(struct cache *cache)
{
	(void)cache;
	return 0;
}

void cml_set_host(struct cache *cache, const char *host)
{
	(void)cache;
	assert_string_equal(host, "testhost");
}

uint64_t cml_client_id(struct cache *cache)
{
	(void)cache;
	return CLIENT;
}

uint64_t cml_acked(struct cache *cache)
{
	uint64_t acked;

	LOCKED(cache, acked = cache->acked);
	return acked;
}

bool cml_is_offline(struct cache *cache)
{
	bool is_offline;

	LOCKED(cache, is_offline = cache->is_offline);
	return is_offline;
}

unsigned cml_link_word(struct cache *cache)
{
	unsigned word;

	LOCKED(cache, word = cache->link_word);
	return word;
}

int cml_set_link_word(struct cache *cache, unsigned word)
{
	LOCKED(cache, cache->link_word = word);
	return 0;
}

int cml_set_offline(struct cache *cache, bool is_offline)
{
	LOCKED(cache, cache->is_offline = is_offline);
	return 0;
}

/* ---- apply.h ---- */

int apply_upstream(struct cache *cache, const char *upstream_id, uint64_t position_there,
		   const struct kml_object *root)
{
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	if (!cache->upstream_id[0])
		assert_true(kml_oid_equal(root->oid, KML_ROOT));
	if (!cache->upstream_id[0])
		snprintf(cache->upstream_id, sizeof(cache->upstream_id), "%s", upstream_id);
	if (strcmp(cache->upstream_id, upstream_id))
		err = -EXDEV;
	else if (position_there < cache->position)
		err = -ESTALE;
	pthread_mutex_unlock(&cache->lock);
	return err;
}

bool apply_has_upstream(struct cache *cache)
{
	bool has;

	LOCKED(cache, has = cache->upstream_id[0]);
	return has;
}

void apply_known(struct cache *cache, char ret_id[40], uint64_t *ret_position)
{
	LOCKED(cache, snprintf(ret_id, 40, "%s", cache->upstream_id), *ret_position = cache->position);
}

void apply_mark(struct cache *cache, struct kml_mark *ret_mark)
{
	LOCKED(cache, *ret_mark = cache->mark);
}

void apply_next_mark(struct cache *cache, const struct kml_mark *mark)
{
	LOCKED(cache, cache->mark = *mark);
}

int apply_has_acls(struct cache *cache, bool has_acls)
{
	LOCKED(cache, cache->has_acls = has_acls);
	return 0;
}

bool apply_tree_is_listed(struct cache *cache)
{
	(void)cache;
	return false;
}

uint64_t apply_position(struct cache *cache)
{
	uint64_t position;

	LOCKED(cache, position = cache->position);
	return position;
}

int apply_entries(struct cache *cache, const struct kml_entry *entries, size_t n, uint64_t position)
{
	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < n; i++) {
		assert_true(entries[i].position > cache->position);
		cache->position = entries[i].position;
	}
	assert_true(position >= cache->position);
	cache->position = position;
	cache->entries += n;
	pthread_cond_broadcast(&cache->changed);
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

int apply_reset(struct cache *cache, uint64_t position)
{
	LOCKED(cache, cache->position = position, cache->resets++);
	return 0;
}

struct apply_listing {
	struct cache *cache;
	uint64_t ino;
	bool is_deep;
	uint64_t n;
};

int apply_listing_begin(struct cache *cache, uint64_t ino, uint64_t position, bool is_deep,
			struct apply_listing **ret_listing)
{
	struct apply_listing *listing = calloc(1, sizeof(*listing));

	(void)position;
	*listing = (struct apply_listing){ .cache = cache, .ino = ino, .is_deep = is_deep };
	*ret_listing = listing;
	return 0;
}

int apply_listing_add(struct apply_listing *listing, const struct kml_listed *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_false(kml_oid_is_none(entries[i].object.oid));
	listing->n += n;
	return 0;
}

static void stale_answered(struct cache *cache, uint64_t ino, bool is_gone)
{
	for (size_t i = 0; i < cache->n_stale; i++)
		if (cache->stale[i].ino == ino && cache->stale[i].is_dir) {
			cache->stale[i].is_out = false;
			if (is_gone)
				cache->stale[i] = cache->stale[--cache->n_stale];
			return;
		}
}

int apply_listing_end(struct apply_listing *listing, int err)
{
	struct cache *cache = listing->cache;
	int ret = 0;

	pthread_mutex_lock(&cache->lock);
	if (!err && cache->overtaken) {
		cache->overtaken--;
		ret = -EAGAIN;
	} else if (err) {
		cache->lists_failed++;
		cache->list_err = err;
		stale_answered(cache, listing->ino, false);
	} else {
		if (listing->is_deep)
			cache->deep_listings++;
		else
			cache->listings++;
		cache->listed += listing->n;
		stale_answered(cache, listing->ino, true);
	}
	pthread_cond_broadcast(&cache->changed);
	pthread_mutex_unlock(&cache->lock);
	free(listing);
	return ret;
}

void apply_listing_failed(struct cache *cache, uint64_t ino, int err)
{
	LOCKED(cache, cache->lists_failed++, cache->list_err = err,
	       stale_answered(cache, ino, false));
}

int apply_content(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		  const void *data, size_t len)
{
	int err;

	(void)ino;
	(void)version;
	LOCKED(cache, err = cache->content_apply_err);
	if (err)
		return err;
	assert_true(offset + len <= CONTENT_MAX);
	memcpy(cache->content + offset, data, len);
	LOCKED(cache, cache->content_len += len);
	return 0;
}

void apply_contents(struct cache *cache, struct apply_whole *contents, size_t n)
{
	pthread_mutex_lock(&cache->lock);
	cache->whole_batches++;
	for (size_t i = 0; i < n; i++) {
		contents[i].err = cache->content_apply_err;
		if (contents[i].err)
			continue;
		cache->content_len += contents[i].len;
		for (size_t k = 0; k < contents[i].len; k++)
			assert_int_equal(((const unsigned char *)contents[i].data)[k], small_at(contents[i].ino, k));
		if (cache->wholes < 64)
			cache->whole_inos[cache->wholes] = contents[i].ino;
		cache->wholes++;
	}
	pthread_mutex_unlock(&cache->lock);
}

void apply_content_end(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		       int err)
{
	(void)version;
	(void)offset;
	pthread_mutex_lock(&cache->lock);
	if (cache->contents_ended < 64) {
		cache->ends[cache->contents_ended].ino = ino;
		cache->ends[cache->contents_ended].err = err;
	}
	cache->contents_ended++;
	cache->content_err = err;
	pthread_cond_broadcast(&cache->changed);
	pthread_mutex_unlock(&cache->lock);
}

int apply_object(struct cache *cache, const struct kml_oid *oid, const struct kml_object *object, uint64_t position)
{
	(void)position;
	pthread_mutex_lock(&cache->lock);
	if (object)
		cache->objects++;
	else
		cache->objects_gone++;
	for (size_t i = 0; i < cache->n_stale; i++)
		if (kml_oid_equal(cache->stale[i].oid, *oid)) {
			cache->stale[i] = cache->stale[--cache->n_stale];
			break;
		}
	pthread_cond_broadcast(&cache->changed);
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

bool apply_next_stale(struct cache *cache, uint64_t *ret_ino, struct kml_oid *ret_oid,
		      bool *ret_is_dir)
{
	bool found = false;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < cache->n_stale && !found; i++) {
		if (cache->stale[i].is_out)
			continue;
		cache->stale[i].is_out = found = true;
		*ret_ino = cache->stale[i].ino;
		*ret_oid = cache->stale[i].oid;
		*ret_is_dir = cache->stale[i].is_dir;
	}
	pthread_mutex_unlock(&cache->lock);
	return found;
}

/* ---- fetcher.h ---- */

void cache_set_fetcher(struct cache *cache, const struct fetcher *fetcher, void *arg)
{
	cache->fetcher = fetcher;
	cache->fetcher_arg = arg;
}

void cache_link_lost(struct cache *cache)
{
	LOCKED(cache, cache->link_lost++);
}

#endif
