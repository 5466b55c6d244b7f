/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread that has what is hoarded fetched, and what it knows. */
#include "cache/hoard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/reserve.h"
#include "base/thread.h"
#include "cache/db.h"
#include "cache/hoard_table.h"
#include "cache/internal.h"
#include "cache/park.h"
#include "cache/space.h"

#define CHUNK (1ull << 20)
#define WHOLE_MAX (4 * CHUNK)		/* as in park.c: asked for as a whole */
#define GATHER_US (500 * US_PER_MS)	/* changes come together */
#define EVERY_US (600 * US_PER_S)
#define RETRY_US (10 * US_PER_S)	/* something is missing still */
#define NO_LINK_US (2 * US_PER_S)	/* whether there is one again */
#define DUTY 20				/* a walk for changes waits so many times as long as the last one took */
#define TURN_US (20 * US_PER_MS)	/* whether somebody waits is looked at again */
#define TURN_MOST_US (2 * US_PER_S)	/* then one piece goes all the same */
#define ANSWER_US (60 * US_PER_S)	/* for the last ones that were asked for */
#define ROOM_TRIES 50			/* a tenth of a second each: what is on its way to the disk can be evicted soon */

struct hoard {
	struct cache *cache;
	char *db_path;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;		/* the last one: others are held when it is taken */
	pthread_cond_t wake;
	bool is_stopping;		/* atomic */
	uint64_t n_entries;		/* atomic */
	/* under lock */
	unsigned under_way;		/* wishes not answered */
	uint64_t under_way_bytes;	/* what they are about */
	bool is_poked, is_changed;
	struct hoard_status status;
};

uint64_t hoard_count(struct cache *cache)
{
	return cache->hoard ? __atomic_load_n(&cache->hoard->n_entries, __ATOMIC_RELAXED) : 0;
}

static bool is_stopping(const struct hoard *hoard)
{
	return __atomic_load_n(&hoard->is_stopping, __ATOMIC_RELAXED);
}

/* Under cache->lock, which comes before ours. */
static bool has_link_locked(struct cache *cache)
{
	const struct fetcher *fetcher = cache->fetcher;

	return fetcher && fetcher->has_link(cache->fetcher_arg) &&
	       (!fetcher->may_hoard || fetcher->may_hoard(cache->fetcher_arg));
}

static bool has_link(struct cache *cache)
{
	bool has;

	pthread_mutex_lock(&cache->lock);
	has = has_link_locked(cache);
	pthread_mutex_unlock(&cache->lock);
	return has;
}

/* ---- what others say ---- */

void hoard_poke(struct cache *cache)
{
	struct hoard *hoard = cache->hoard;

	if (!hoard_count(cache))
		return;
	pthread_mutex_lock(&hoard->lock);
	hoard->is_poked = true;
	pthread_cond_signal(&hoard->wake);
	pthread_mutex_unlock(&hoard->lock);
}

void hoard_changed(struct cache *cache, uint64_t entries)
{
	struct hoard *hoard = cache->hoard;

	__atomic_store_n(&hoard->n_entries, entries, __ATOMIC_RELAXED);
	pthread_mutex_lock(&hoard->lock);
	hoard->is_changed = true;
	hoard->status.entries = entries;
	hoard->status.is_known = false;
	pthread_cond_signal(&hoard->wake);
	pthread_mutex_unlock(&hoard->lock);
	space_poke(cache);
}

void hoard_answered(struct cache *cache, uint64_t bytes)
{
	struct hoard *hoard = cache->hoard;

	if (!hoard)
		return;
	pthread_mutex_lock(&hoard->lock);
	hoard->under_way--;
	hoard->under_way_bytes -= bytes;
	pthread_cond_signal(&hoard->wake);
	pthread_mutex_unlock(&hoard->lock);
}

void hoard_get_status(struct cache *cache, struct hoard_status *ret)
{
	struct hoard *hoard = cache->hoard;

	*ret = (struct hoard_status){ 0 };
	if (!hoard)
		return;
	pthread_mutex_lock(&hoard->lock);
	*ret = hoard->status;
	pthread_mutex_unlock(&hoard->lock);
}

/* ---- looking ---- */

/* Each entry in its turn.  fn gives 0 to go on. */
static int each_entry(struct db *db, int (*fn)(void *arg, struct hoard_entry *entry), void *arg)
{
	struct hoard_entry *entry = malloc(sizeof(*entry));
	int got, err = 0;

	if (!entry)
		return -ENOMEM;
	*entry = (struct hoard_entry){ .priority = UINT32_MAX };
	while (!err && (got = hoard_next(db, entry)) > 0)
		err = fn(arg, entry);
	free(entry);
	return err ? err : got;
}

struct listing {
	struct hoard_walk walk;
	void (*fn)(void *arg, const struct hoard_entry *entry);
	void *arg;
};

static int list_one(void *arg, struct hoard_entry *entry)
{
	struct listing *listing = arg;
	int err;

	listing->walk.entry = entry;
	err = hoard_walk(&listing->walk);
	if (!err)
		listing->fn(listing->arg, entry);
	return err;
}

int hoard_list(struct cache *cache, void (*fn)(void *arg, const struct hoard_entry *entry), void *arg)
{
	struct listing listing = { .walk = { .cache = cache }, .fn = fn, .arg = arg };
	int err = db_open(cache->hoard->db_path, DB_READER, false, &listing.walk.db);

	if (err)
		return err;
	err = each_entry(listing.walk.db, list_one, &listing);
	db_close(listing.walk.db);
	return err;
}

/* ---- fetching ---- */

struct round {
	struct hoard *hoard;
	struct db *db;
	struct hoard_status found;
	uint64_t count_us;		/* how long it took to look at all */
	uint32_t no_room;		/* of this priority and below nothing more has room */
};

/* Under the lock. */
static bool may_ask_more(const struct hoard *hoard)
{
	return hoard->under_way < HOARD_AT_ONCE ||
	       (hoard->under_way < HOARD_SMALL_AT_ONCE && hoard->under_way_bytes < HOARD_SMALL_BYTES);
}

/* Until it is our turn: behind those who wait themselves, with room among our wishes.  -ECANCELED, -ENOTCONN. */
static int wait_for_turn(struct hoard *hoard)
{
	uint64_t since_us = clock_us();
	bool is_turn = false;

	while (!is_turn) {
		bool is_behind = park_is_waited_for(hoard->cache);

		if (!has_link(hoard->cache))
			return -ENOTCONN;
		pthread_mutex_lock(&hoard->lock);
		if (clock_us() - since_us >= TURN_MOST_US)
			is_turn = !hoard->under_way;
		else
			is_turn = !is_behind && may_ask_more(hoard);
		if (!is_turn && !is_stopping(hoard))
			cond_wait(&hoard->wake, &hoard->lock, clock_us() + TURN_US);
		pthread_mutex_unlock(&hoard->lock);
		if (is_stopping(hoard))
			return -ECANCELED;
	}
	return 0;
}

/* Under cache->lock: the next piece from 'at' on.  False: nothing is missing there, or it cannot be had. */
static bool next_piece(const struct inode *inode, uint64_t at, struct extent *ret)
{
	uint64_t size = inode->v.size;

	if (inode->v.type != TYPE_REG || !inode->v.data_version || at >= size ||
	    !extent_first_gap(&inode->present, at, size, ret))
		return false;
	/* park.c asks for a small one as a whole, and for pieces of a large one at multiples of their size. */
	ret->end = size <= WHOLE_MAX ? size : MIN(ret->start / CHUNK * CHUNK + CHUNK, size);
	return true;
}

static int wait_for_room(struct hoard *hoard, uint64_t bytes, uint32_t priority)
{
	struct cache *cache = hoard->cache;
	unsigned tries = 0;
	int err;

	pthread_mutex_lock(&hoard->lock);
	bytes += hoard->under_way_bytes;
	pthread_mutex_unlock(&hoard->lock);
	while ((err = reserve_is_tight(cache->reserve) ? -ENOSPC : space_make_room(cache, bytes, priority)) == -EAGAIN) {
		if (++tries == ROOM_TRIES)
			return -ENOSPC;
		pthread_mutex_lock(&hoard->lock);
		if (!is_stopping(hoard))
			cond_wait(&hoard->wake, &hoard->lock, clock_us() + 100 * US_PER_MS);
		pthread_mutex_unlock(&hoard->lock);
		if (is_stopping(hoard))
			return -ECANCELED;
	}
	return err;
}

/* Ask for the piece from 'at' on.  1 and its end, 0: there is none, -errno. */
static int ask_piece(struct hoard *hoard, uint64_t ino, uint64_t *io_at, uint32_t priority)
{
	struct cache *cache = hoard->cache;
	struct extent piece = { 0 };
	struct inode *inode;
	int got = 0;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &got);
	if (inode)
		got = next_piece(inode, *io_at, &piece);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	if (got <= 0)
		return got == -ESTALE ? 0 : got;
	got = wait_for_room(hoard, piece.end - piece.start, priority);
	if (got)
		return got;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &got);
	if (inode && next_piece(inode, *io_at, &piece) && has_link_locked(cache)) {
		/* Counted before: it may be answered at once. */
		pthread_mutex_lock(&hoard->lock);
		hoard->under_way++;
		hoard->under_way_bytes += piece.end - piece.start;
		pthread_mutex_unlock(&hoard->lock);
		got = park_hoard(cache, inode, piece.start, piece.end);
		if (got != 1)
			hoard_answered(cache, piece.end - piece.start);	/* somebody has asked for it already, or nobody can */
	}
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	*io_at = piece.end;
	return got < 0 ? (got == -ESTALE ? 0 : got) : 1;
}

static int fetch_file(struct round *round, uint64_t ino, uint32_t priority)
{
	uint64_t at = 0;
	int got;

	do {
		got = wait_for_turn(round->hoard);
		if (!got)
			got = ask_piece(round->hoard, ino, &at, priority);
	} while (got > 0);
	return got;
}

static int fetch_missing(struct hoard_walk *walk, uint64_t ino, bool is_dir)
{
	struct round *round = walk->arg;
	uint32_t priority = walk->entry->priority;
	int err;

	/* Names come with the listing of the whole tree, or when somebody looks there (replicate/background.h). */
	if (is_dir || priority <= round->no_room)
		return 0;
	err = fetch_file(round, ino, priority);
	if (err == -ENOSPC) {
		round->no_room = priority;
		return 0;
	}
	return err;
}

static int fetch_entry(void *arg, struct hoard_entry *entry)
{
	struct round *round = arg;
	struct hoard_walk walk = { .cache = round->hoard->cache, .db = round->db, .entry = entry, .missing = fetch_missing,
				   .is_stopping = &round->hoard->is_stopping, .arg = round };

	return hoard_walk(&walk);
}

/* All that was asked for has been answered: by its bytes, or because the link is gone. */
static void wait_for_answers(struct hoard *hoard)
{
	uint64_t until_us = clock_us() + ANSWER_US;

	pthread_mutex_lock(&hoard->lock);
	/* What takes longer, on a slow line, is counted with the next round. */
	while (hoard->under_way && !is_stopping(hoard) && clock_us() < until_us)
		cond_wait(&hoard->wake, &hoard->lock, until_us);
	pthread_mutex_unlock(&hoard->lock);
}

/* ---- a round ---- */

static int count_entry(void *arg, struct hoard_entry *entry)
{
	struct round *round = arg;
	struct hoard_status *found = &round->found;
	struct hoard_walk walk = { .cache = round->hoard->cache, .db = round->db, .entry = entry,
				   .is_stopping = &round->hoard->is_stopping };
	int err = hoard_walk(&walk);

	found->files += entry->files;
	found->bytes += entry->bytes;
	found->missing_files += entry->missing_files;
	found->missing_bytes += entry->missing_bytes;
	found->unlisted += entry->unlisted;
	found->absent += !entry->is_there;
	if (entry->priority <= round->no_room)
		found->no_room_bytes += entry->missing_bytes;
	return err;
}

static int count_all(struct round *round, bool is_fetching)
{
	struct hoard *hoard = round->hoard;
	uint64_t missing, began_us = clock_us();
	int err;

	round->found = (struct hoard_status){ 0 };
	err = each_entry(round->db, count_entry, round);
	round->count_us = clock_us() - began_us;
	if (err)
		return err;
	pthread_mutex_lock(&hoard->lock);
	missing = hoard->status.is_known && hoard->status.missing_bytes > round->found.missing_bytes ?
			  hoard->status.missing_bytes - round->found.missing_bytes : 0;
	round->found.entries = hoard->status.entries;
	round->found.fetched_bytes = hoard->status.fetched_bytes + (is_fetching ? missing : 0);
	round->found.is_walking = true;
	round->found.is_fetching = is_fetching;
	round->found.is_known = !hoard->is_changed;
	hoard->status = round->found;
	pthread_mutex_unlock(&hoard->lock);
	return 0;
}

static void say_missing(const struct round *round, bool was_complete)
{
	const struct hoard_status *found = &round->found;

	if (found->no_room_bytes)
		log_warn("hoard: what is hoarded does not fit: dir=%s: %llu bytes more are needed: raise cache_limit, or --unhoard something",
			 round->hoard->cache->dir, (unsigned long long)found->no_room_bytes);
	else if (!found->missing_files && !was_complete)
		log_info("hoard: all that is hoarded is here: dir=%s files=%llu bytes=%llu", round->hoard->cache->dir,
			 (unsigned long long)found->files, (unsigned long long)found->bytes);
}

static int walk_all(struct hoard *hoard, struct round *round)
{
	bool was_complete;
	int err;

	err = count_all(round, false);
	was_complete = !round->found.missing_files;
	if (!err && round->found.missing_files && has_link(hoard->cache)) {
		pthread_mutex_lock(&hoard->lock);
		hoard->status.is_fetching = true;
		pthread_mutex_unlock(&hoard->lock);
		err = each_entry(round->db, fetch_entry, round);
		wait_for_answers(hoard);
		if (!is_stopping(hoard))
			err = count_all(round, true);
	}
	if (!err)
		say_missing(round, was_complete);
	return err;
}

/* Gives whether there is something to be done soon. */
static bool walk_once(struct hoard *hoard, uint64_t *ret_count_us)
{
	struct round round = { .hoard = hoard };
	int err;

	err = db_open(hoard->db_path, DB_READER, false, &round.db);
	if (!err)
		err = walk_all(hoard, &round);
	db_close(round.db);
	if (err && err != -ECANCELED && err != -ENOTCONN)
		log_warn("hoard: the walk through what is hoarded ended early, again later: dir=%s: %s", hoard->cache->dir, strerror(-err));
	pthread_mutex_lock(&hoard->lock);
	hoard->status.is_walking = hoard->status.is_fetching = false;
	pthread_mutex_unlock(&hoard->lock);
	*ret_count_us = round.count_us;
	return err || round.found.missing_files;
}

/* ---- the thread ---- */

/* Under the lock, which is let go meanwhile. */
static bool look_for_link(struct hoard *hoard)
{
	bool has;

	pthread_mutex_unlock(&hoard->lock);
	has = has_link(hoard->cache);
	pthread_mutex_lock(&hoard->lock);
	return has;
}

/* Until there is a reason.  Under the lock.  False: it is to end. */
static bool wait_for_reason(struct hoard *hoard, uint64_t poked_us, uint64_t timer_us, bool wants_link)
{
	for (;;) {
		bool is_back = wants_link && look_for_link(hoard);
		uint64_t now_us = clock_us(), at_us = hoard->is_poked ? MIN(poked_us, timer_us) : timer_us;

		if (is_stopping(hoard))
			return false;
		if (hoard->is_changed)
			return true;
		if (!__atomic_load_n(&hoard->n_entries, __ATOMIC_RELAXED))
			at_us = CLOCK_NEVER;
		else if (now_us >= at_us || is_back)
			return true;
		else if (wants_link)
			at_us = MIN(at_us, now_us + NO_LINK_US);
		cond_wait(&hoard->wake, &hoard->lock, at_us);
	}
}

static void *hoard_run(void *arg)
{
	struct hoard *hoard = arg;
	uint64_t poked_us = 0, timer_us = 0, count_us = 0, now_us;
	bool is_wanting = false;

	pthread_mutex_lock(&hoard->lock);
	while (wait_for_reason(hoard, poked_us, timer_us, is_wanting && !look_for_link(hoard))) {
		hoard->is_poked = hoard->is_changed = false;
		hoard->status.is_walking = true;
		pthread_mutex_unlock(&hoard->lock);
		is_wanting = walk_once(hoard, &count_us);
		now_us = clock_us();
		poked_us = now_us + MAX(GATHER_US, MIN(DUTY * count_us, EVERY_US));
		timer_us = now_us + (is_wanting ? RETRY_US : EVERY_US);
		pthread_mutex_lock(&hoard->lock);
	}
	pthread_mutex_unlock(&hoard->lock);
	return NULL;
}

static int count_entries(struct cache *cache, uint64_t *ret)
{
	sqlite3_stmt *stmt;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt, "SELECT count(*) FROM hoard", "");
	if (got > 0) {
		*ret = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return MIN(got, 0);
}

int hoard_open(struct cache *cache, const char *db_path)
{
	struct hoard *hoard = calloc(1, sizeof(*hoard));
	int err;

	if (!hoard)
		return -ENOMEM;
	hoard->cache = cache;
	hoard->db_path = strdup(db_path);
	err = hoard->db_path ? count_entries(cache, &hoard->n_entries) : -ENOMEM;
	hoard->status.entries = hoard->n_entries;
	if (!err)
		err = cond_init(&hoard->wake);
	if (err) {
		free(hoard->db_path);
		free(hoard);
		return err;
	}
	(void)pthread_mutex_init(&hoard->lock, NULL);	/* cannot fail with default attributes */
	cache->hoard = hoard;
	return 0;
}

int hoard_start(struct cache *cache)
{
	struct hoard *hoard = cache->hoard;
	int err = thread_start(&hoard->thread, "izo-hoard", hoard_run, hoard);

	hoard->has_thread = !err;
	return err;
}

void hoard_stop(struct cache *cache)
{
	struct hoard *hoard = cache->hoard;

	if (!hoard || !hoard->has_thread)
		return;
	thread_stop(hoard->thread, &hoard->lock, &hoard->wake, &hoard->is_stopping);
}

/* Stopped. */
void hoard_free(struct cache *cache)
{
	struct hoard *hoard = cache->hoard;

	if (!hoard)
		return;
	cache->hoard = NULL;
	pthread_mutex_destroy(&hoard->lock);
	pthread_cond_destroy(&hoard->wake);
	free(hoard->db_path);
	free(hoard);
}
