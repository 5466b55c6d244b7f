/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/park.h"

#include <errno.h>
#include <inttypes.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/reserve.h"
#include "base/thread.h"
#include "cache/ahead.h"
#include "cache/hoard_table.h"
#include "cache/internal.h"
#include "cache/op.h"
#include "cache/readahead.h"
#include "cache/space.h"
#include "cache/writer.h"

/* Content is asked for in pieces of this size, at multiples of it. */
#define CHUNK (1ull << 20)
#define WHOLE_MAX (4 * CHUNK)		/* a file up to this size is asked for as a whole */
#define BLOCK (64ull << 10)		/* of a large file that is read here and there, at multiples of this */
#define PIECES 32			/* told to the fetcher at a time */

enum wait_kind { FOR_LISTING, FOR_CONTENT };

/* What has been asked of the fetcher and not answered. */
struct wish {
	struct list node;
	enum wait_kind kind;
	uint64_t ino, version, offset, len;	/* a listing: only ino */
	enum fetch_class class;
	bool is_hoarded;			/* asked for by the hoard's walk */
};

/* Who waits: op->priv.num[2], num[3] are the range that a reader wants. */
struct wait {
	struct list node;
	enum wait_kind kind;
	uint64_t ino;
	struct list ops;
};

struct park {
	struct cache *cache;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct list wishes, waits;
	struct readahead_readers readers;	/* of large files */
	bool is_stopping;
};

static struct wait *wait_find(struct park *park, enum wait_kind kind, uint64_t ino)
{
	struct wait *wait;

	list_each(wait, &park->waits, node) {
		if (wait->kind == kind && wait->ino == ino)
			return wait;
	}
	return NULL;
}

static int wait_add(struct park *park, enum wait_kind kind, uint64_t ino, struct cache_op *op,
		    uint64_t *for_what)
{
	struct wait *wait = wait_find(park, kind, ino);

	if (park->is_stopping)
		return -EIO;
	if (!wait) {
		wait = calloc(1, sizeof(*wait));
		if (!wait)
			return -ENOMEM;
		wait->kind = kind;
		wait->ino = ino;
		list_init(&wait->ops);
		list_append(&park->waits, &wait->node);
	}
	op_waits(op, for_what);
	list_append(&wait->ops, &op->priv.node);
	log_debug(LOG_CACHE, "cache: an operation waits for %s: ino=%" PRIu64,
		  for_what == &op->waited.commit_us ? "a commit" :
		  kind == FOR_LISTING ? "a listing" : "content", ino);
	pthread_cond_signal(&park->wake);	/* its deadline may be the nearest */
	return CACHE_WAITS;
}

static void wait_free_if_empty(struct wait *wait)
{
	if (!list_is_empty(&wait->ops))
		return;
	list_del(&wait->node);
	free(wait);
}

static struct wish *wish_find(struct park *park, enum wait_kind kind, uint64_t ino,
			      uint64_t version, uint64_t at)
{
	struct wish *wish;

	list_each(wish, &park->wishes, node) {
		if (wish->kind != kind || wish->ino != ino)
			continue;
		if (kind == FOR_LISTING || (wish->version == version && at >= wish->offset &&
					    at - wish->offset < wish->len))
			return wish;
	}
	return NULL;
}

static int wish_add(struct park *park, const struct wish *from)
{
	struct wish *wish = malloc(sizeof(*wish));

	if (!wish)
		return -ENOMEM;
	*wish = *from;
	list_append(&park->wishes, &wish->node);
	return 0;
}

static bool has_link(struct cache *cache)
{
	return cache->fetcher && cache->fetcher->has_link(cache->fetcher_arg);
}

int park_listing(struct cache *cache, struct cache_op *op, const struct inode *dir)
{
	struct park *park = cache->park;
	int got = CACHE_WAITS;

	if (!has_link(cache))
		return -EIO;
	pthread_mutex_lock(&park->lock);
	if (!wish_find(park, FOR_LISTING, dir->ino, 0, 0)) {
		got = wish_add(park, &(struct wish){ .kind = FOR_LISTING, .ino = dir->ino });
		if (!got)
			cache->fetcher->list(cache->fetcher_arg, dir->ino, &dir->v.oid);
	}
	if (got >= 0)
		got = wait_add(park, FOR_LISTING, dir->ino, op, &op->waited.fetch_us);
	pthread_mutex_unlock(&park->lock);
	return got;
}

int park_commit(struct cache *cache, struct cache_op *op, const struct inode *dir)
{
	struct park *park = cache->park;
	int got;

	pthread_mutex_lock(&park->lock);
	got = wait_add(park, FOR_LISTING, dir->ino, op, &op->waited.commit_us);
	pthread_mutex_unlock(&park->lock);
	return got;
}

/* Pieces that the fetcher is to be told of. */
struct pieces {
	struct cache *cache;
	enum fetch_class class;
	struct fetch_range v[PIECES];
	size_t n;
	int total;
};

static void pieces_tell(struct pieces *pieces)
{
	const struct fetcher *fetcher = pieces->cache->fetcher;
	void *arg = pieces->cache->fetcher_arg;

	if (pieces->class != FETCH_ASKED && fetcher->ahead && pieces->n)
		fetcher->ahead(arg, pieces->v, pieces->n, pieces->class);
	for (size_t i = 0; (pieces->class == FETCH_ASKED || !fetcher->ahead) && i < pieces->n; i++)
		fetcher->data(arg, pieces->v[i].ino, &pieces->v[i].oid, pieces->v[i].version, pieces->v[i].offset,
			      pieces->v[i].len);
	pieces->n = 0;
}

static int piece_add(struct pieces *pieces, const struct inode *inode, uint64_t start, uint64_t end)
{
	int err = wish_add(pieces->cache->park, &(struct wish){
		.kind = FOR_CONTENT, .ino = inode->ino, .version = inode->v.data_version, .offset = start, .len = end - start,
		.class = pieces->class, .is_hoarded = pieces->class == FETCH_HOARD });

	if (err)
		return err;
	if (pieces->n == PIECES)
		pieces_tell(pieces);
	pieces->v[pieces->n++] = (struct fetch_range){
		.ino = inode->ino, .version = inode->v.data_version, .offset = start, .len = end - start, .oid = inode->v.oid,
		.is_whole = !start && end == inode->v.size };
	pieces->total++;
	return 0;
}

/* Somebody waits for what nobody was waiting for. */
static void wish_hurry(struct park *park, struct wish *wish)
{
	struct cache *cache = park->cache;

	if (wish->class == FETCH_ASKED)
		return;
	wish->class = FETCH_ASKED;
	if (cache->fetcher->hurry)
		cache->fetcher->hurry(cache->fetcher_arg, wish->ino, wish->version, wish->offset);
}

/* Add what is missing of [start, end), piece by piece, but for what has been asked for.  -ENOMEM. */
static int add_missing(struct pieces *pieces, const struct inode *inode, uint64_t start, uint64_t end)
{
	struct park *park = pieces->cache->park;
	struct extent gap;
	int err = 0;

	while (!err && extent_first_gap(&inode->present, start, end, &gap)) {
		uint64_t chunk_end = MIN(gap.start / CHUNK * CHUNK + CHUNK, end);
		struct wish *wish =
			wish_find(park, FOR_CONTENT, inode->ino, inode->v.data_version, gap.start);

		if (wish) {
			if (pieces->class == FETCH_ASKED)
				wish_hurry(park, wish);
			start = wish->offset + wish->len;
			continue;
		}
		if (inode->v.size <= WHOLE_MAX)
			chunk_end = inode->v.size;
		/* The front of a chunk may be here: then its rest is enough. */
		err = piece_add(pieces, inode, gap.start, chunk_end);
		start = chunk_end;
	}
	return err;
}

/* The same, and tell the fetcher.  Gives how many, or -ENOMEM. */
static int ask_content(struct cache *cache, const struct inode *inode, uint64_t start, uint64_t end, enum fetch_class class)
{
	struct pieces pieces = { .cache = cache, .class = class };
	int err = add_missing(&pieces, inode, start, end);

	pieces_tell(&pieces);
	return err ? err : pieces.total;
}

int park_hoard(struct cache *cache, const struct inode *inode, uint64_t offset, uint64_t end)
{
	struct park *park = cache->park;
	int got;

	pthread_mutex_lock(&park->lock);
	got = park->is_stopping ? -EIO : ask_content(cache, inode, offset, end, FETCH_HOARD);
	pthread_mutex_unlock(&park->lock);
	return got;
}

bool park_wants(struct cache *cache, uint64_t ino)
{
	struct park *park = cache->park;
	bool is = false;
	struct wish *wish;

	pthread_mutex_lock(&park->lock);
	list_each(wish, &park->wishes, node)
		is |= wish->kind == FOR_CONTENT && wish->ino == ino;
	is |= wait_find(park, FOR_CONTENT, ino) != NULL;
	pthread_mutex_unlock(&park->lock);
	return is;
}

bool park_is_waited_for(struct cache *cache)
{
	struct park *park = cache->park;
	bool is;

	pthread_mutex_lock(&park->lock);
	is = !list_is_empty(&park->waits);
	pthread_mutex_unlock(&park->lock);
	return is;
}

/* ---- ahead of who reads ---- */

bool park_may_guess(struct cache *cache, uint64_t bytes)
{
	return has_link(cache) && cache->fetcher->may_guess && cache->fetcher->may_guess(cache->fetcher_arg) &&
	       !reserve_is_tight(cache->reserve) && space_has_room_ahead(cache, bytes);
}

/* Under park's lock too: [from, to) of a large file is expected to be read next. */
static void ask_ahead(struct cache *cache, const struct inode *inode, uint64_t from, uint64_t to)
{
	to = MIN(to, inode->v.size);
	if (from < to && park_may_guess(cache, to - from))
		(void)ask_content(cache, inode, from, to, FETCH_GUESS);	/* what was not asked for is when it is read */
}

void park_read_on(struct cache *cache, const struct inode *inode, uint64_t offset, uint64_t end)
{
	struct park *park = cache->park;
	const struct extent_map *here = &inode->present;

	if (inode->v.size <= WHOLE_MAX || !inode->v.data_version)
		return;
	if (here->n == 1 && !here->v[0].start && here->v[0].end >= inode->v.size)
		return;
	pthread_mutex_lock(&park->lock);
	if (!park->is_stopping)
		ask_ahead(cache, inode, end, readahead_read(&park->readers, inode->ino, offset, end));
	pthread_mutex_unlock(&park->lock);
}

static bool may_be_guessed(const struct inode *inode)
{
	return inode->v.type == TYPE_REG && inode->v.data_version && inode->v.size && inode->v.size <= AHEAD_SMALL &&
	       !inode->present.n && !inode->is_gone;
}

void park_guess(struct cache *cache, struct inode *const *inodes, size_t n)
{
	struct park *park = cache->park;
	struct pieces pieces = { .cache = cache, .class = FETCH_GUESS };

	pthread_mutex_lock(&park->lock);
	for (size_t i = 0; i < n && !park->is_stopping; i++) {
		int before = pieces.total;

		if (!may_be_guessed(inodes[i]) || add_missing(&pieces, inodes[i], 0, inodes[i]->v.size))
			continue;
		inodes[i]->is_guessed |= pieces.total > before;
	}
	pieces_tell(&pieces);
	pthread_mutex_unlock(&park->lock);
}

/* Under park's lock too: the fetcher is asked for all that is read, and for what is read next. */
static int ask_for_reader(struct cache *cache, struct inode *inode, uint64_t offset, uint64_t end)
{
	struct park *park = cache->park;
	uint64_t ahead, size = inode->v.size;
	int got;

	if (size <= WHOLE_MAX)
		return ask_content(cache, inode, 0, size, FETCH_ASKED);
	ahead = readahead_read(&park->readers, inode->ino, offset, end);
	offset = offset / BLOCK * BLOCK;
	end = MIN((end + BLOCK - 1) / BLOCK * BLOCK, size);
	got = ask_content(cache, inode, offset, end, FETCH_ASKED);
	if (got >= 0)
		ask_ahead(cache, inode, end, ahead);
	return got;
}

int park_content(struct cache *cache, struct cache_op *op, struct inode *inode,
		 uint64_t offset, uint64_t end)
{
	struct park *park = cache->park;
	bool was_guessed = inode->is_guessed;
	int got;

	if (!has_link(cache) || !inode->v.data_version)
		return -EIO;
	got = space_admit_fetch(cache, op, inode->v.size <= WHOLE_MAX ? inode->v.size : end - offset);
	if (got)
		return got;
	pthread_mutex_lock(&park->lock);
	got = ask_for_reader(cache, inode, offset, end);
	if (got >= 0) {
		ahead_note_read(cache, inode, !was_guessed);
		got = wait_add(park, FOR_CONTENT, inode->ino, op, &op->waited.fetch_us);
	}
	pthread_mutex_unlock(&park->lock);
	return got;
}

/* ---- waking ---- */

/* End, or begin anew (err 0), those of the wait that want something in [start, end). */
static void wait_wake(struct park *park, struct wait *wait, uint64_t start, uint64_t end, int err)
{
	struct cache_op *op, *next;

	list_each_safe(op, next, &wait->ops, priv.node) {
		if (wait->kind == FOR_CONTENT && err &&
		    (op->priv.num[2] >= end || op->priv.num[2] + op->priv.num[3] <= start))
			continue;
		list_del(&op->priv.node);
		if (err && park->is_stopping)
			cache_op_finish(op, err);	/* the cache may be gone when its loop hears of it */
		else if (err)
			cache_op_give_up(op, err);
		else
			cache_op_again(op);
	}
	wait_free_if_empty(wait);
}

void park_wake_listing(struct cache *cache, uint64_t dir, int err)
{
	struct park *park = cache->park;
	struct wait *wait;
	struct wish *wish;

	pthread_mutex_lock(&park->lock);
	wish = wish_find(park, FOR_LISTING, dir, 0, 0);
	if (wish) {
		list_del(&wish->node);
		free(wish);
	}
	wait = wait_find(park, FOR_LISTING, dir);
	if (wait)
		wait_wake(park, wait, 0, UINT64_MAX, err ? -EIO : 0);
	pthread_mutex_unlock(&park->lock);
}

void park_wake_content(struct cache *cache, uint64_t ino, int err)
{
	struct park *park = cache->park;
	struct wait *wait;

	pthread_mutex_lock(&park->lock);
	wait = wait_find(park, FOR_CONTENT, ino);
	if (wait)
		wait_wake(park, wait, 0, UINT64_MAX, err ? -EIO : 0);
	pthread_mutex_unlock(&park->lock);
}

static void content_changed(struct cache *cache, void *arg)
{
	park_wake_content(cache, (uintptr_t)arg, 0);
}

int park_wake_content_after(struct change *change, uint64_t ino)
{
	return writer_after_commit(change, content_changed, (void *)(uintptr_t)ino);
}

void park_content_done(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		       int err)
{
	struct park *park = cache->park;
	uint64_t start = offset, end = offset;
	struct wait *wait;
	struct wish *wish;

	/* Whoever waits asks again, and waits for room first (space.h). */
	if (err == -ENOSPC && space_fetch_again(cache, CHUNK))
		err = 0;
	pthread_mutex_lock(&park->lock);
	wish = wish_find(park, FOR_CONTENT, ino, version, offset);
	if (wish) {
		start = wish->offset;
		end = start + wish->len;
		if (wish->is_hoarded)
			hoard_answered(cache, wish->len);
		list_del(&wish->node);
		free(wish);
	}
	wait = wait_find(park, FOR_CONTENT, ino);
	if (wait && err != -ESTALE)
		wait_wake(park, wait, start, end, err ? -EIO : 0);
	pthread_mutex_unlock(&park->lock);
}

static void wake_all(struct park *park)
{
	struct wait *wait, *next;

	list_each_safe(wait, next, &park->waits, node)
		wait_wake(park, wait, 0, UINT64_MAX, -EIO);
}

void cache_link_lost(struct cache *cache)
{
	struct park *park = cache->park;

	pthread_mutex_lock(&park->lock);
	wake_all(park);
	pthread_mutex_unlock(&park->lock);
}

/* ---- deadlines ---- */

/* Ends what is late; gives the nearest deadline of the rest. */
static uint64_t end_late(struct park *park, uint64_t now_us)
{
	uint64_t nearest = CLOCK_NEVER;
	struct wait *wait, *next_wait;
	struct cache_op *op, *next;

	list_each_safe(wait, next_wait, &park->waits, node) {
		list_each_safe(op, next, &wait->ops, priv.node) {
			if (op->deadline_us > now_us) {
				nearest = MIN(nearest, op->deadline_us);
				continue;
			}
			list_del(&op->priv.node);
			cache_op_give_up(op, -EIO);
		}
		wait_free_if_empty(wait);
	}
	return nearest;
}

static void *park_run(void *arg)
{
	struct park *park = arg;

	pthread_mutex_lock(&park->lock);
	while (!park->is_stopping) {
		uint64_t nearest_us = end_late(park, clock_us());

		cond_wait(&park->wake, &park->lock, nearest_us);
	}
	pthread_mutex_unlock(&park->lock);
	return NULL;
}

int park_start(struct cache *cache)
{
	struct park *park;
	int err;

	park = calloc(1, sizeof(*park));
	if (!park)
		return -ENOMEM;
	park->cache = cache;
	list_init(&park->wishes);
	list_init(&park->waits);
	err = cond_init(&park->wake);
	if (err) {
		free(park);
		return err;
	}
	(void)pthread_mutex_init(&park->lock, NULL);	/* cannot fail with default attributes */
	err = thread_start(&park->thread, "izo-park", park_run, park);
	if (err) {
		pthread_mutex_destroy(&park->lock);
		pthread_cond_destroy(&park->wake);
		free(park);
		return err;
	}
	cache->park = park;
	return 0;
}

void park_stop(struct cache *cache)
{
	struct park *park = cache->park;
	struct wish *wish, *next;

	if (!park)
		return;
	pthread_mutex_lock(&park->lock);
	park->is_stopping = true;
	wake_all(park);
	pthread_cond_signal(&park->wake);
	pthread_mutex_unlock(&park->lock);
	pthread_join(park->thread, NULL);
	list_each_safe(wish, next, &park->wishes, node)
		free(wish);
	pthread_mutex_destroy(&park->lock);
	pthread_cond_destroy(&park->wake);
	free(park);
	cache->park = NULL;
}
