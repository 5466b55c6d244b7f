/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/space.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/evict.h"
#include "cache/hoard.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/op.h"

#define LOOK_EVERY_US (100 * US_PER_MS)	/* at the disk */
#define ROUND_EVERY_US US_PER_S		/* the thread looks whether there is something to do */
#define LATER_US (100 * US_PER_MS)	/* what cannot be evicted now is tried again */
#define LATER_MOST_US (5 * US_PER_S)	/* then what it holds up counts as what must stay */
#define AGAIN_US (30 * US_PER_S)	/* with nothing to evict, and no reason to think that there is something now */
#define POKED_AGAIN_US (200 * US_PER_MS)	/* with one */
#define READS_MOST 4096			/* in the queue: further ones are not noted on disk */
#define HOUR_S 3600u

/* A content file that was read, to be noted on the disk. */
struct read {
	uint64_t ino;
	uint32_t gen, at_s;
};

struct space {
	struct cache *cache;
	uint64_t limit, floor;		/* constant */
	struct db *db;			/* under evicting */
	pthread_t thread;
	pthread_mutex_t evicting;	/* one at a time; before cache->lock */
	bool is_stopping;		/* atomic */
	pthread_cond_t wake;

	/* under cache->lock */
	struct list waiting;		/* cache_op.priv.node */
	struct buf reads;		/* struct read */
	bool is_counted;
	uint64_t avail, avail_used;	/* free on the disk, and content_used, when that was looked at */
	uint64_t look_at_us;
	bool is_exhausted;		/* nothing was left to evict when 'pokes' was exhausted_pokes */
	uint64_t pokes, exhausted_pokes, exhausted_us;
	uint64_t refused;		/* bytes that were refused last; then all is, that needs room, until so many would have it */
	uint64_t later_since_us;	/* evictable things were not yet so since then; 0: no */
	uint64_t dirty_bytes, hoarded_bytes, evicted_files, evicted_bytes;
};

/* ---- figures; under the lock ---- */

static int64_t counted(const struct space *space)
{
	return __atomic_load_n(&space->cache->content_used, __ATOMIC_RELAXED);
}

static uint64_t used(const struct space *space)
{
	return (uint64_t)MAX(counted(space), 0);	/* below that before all has been counted */
}

/* Free on the disk: as seen a moment ago, less what has come since. */
static uint64_t avail(struct space *space)
{
	uint64_t now_us = clock_us(), now_used = used(space), more;
	struct statvfs st;

	if (now_us >= space->look_at_us && !fstatvfs(space->cache->dirfd, &st)) {
		space->avail = (uint64_t)st.f_bavail * st.f_frsize;
		space->avail_used = now_used;
		space->look_at_us = now_us + LOOK_EVERY_US;
	}
	more = now_used > space->avail_used ? now_used - space->avail_used : 0;
	return space->avail > more ? space->avail - more : 0;
}

/* So much above the limit it would be with so much more, 0: it fits. */
static uint64_t above_limit(const struct space *space, uint64_t more)
{
	uint64_t now = used(space) + more;

	return space->limit && space->is_counted && now > space->limit ? now - space->limit : 0;
}

/* So much would be missing of the floor. */
static uint64_t below_floor(struct space *space, uint64_t more)
{
	uint64_t now, want = space->floor + more;

	if (!space->floor)
		return 0;
	now = avail(space);
	return want > now ? want - now : 0;
}

/* So much too much it would be with so much more, 0: it fits. */
static uint64_t lacks(struct space *space, uint64_t more)
{
	return MAX(above_limit(space, more), below_floor(space, more));
}

/* So much is to be evicted, to reach the low mark, when the high one has been passed; else 0. */
static uint64_t to_evict(struct space *space)
{
	uint64_t by_limit = 0, by_floor = 0, now;

	if (space->limit && space->is_counted) {
		now = used(space);
		by_limit = now > space->limit - space->limit / 16 ? now - (space->limit - space->limit / 8) : 0;
	}
	if (space->floor) {
		now = avail(space);
		by_floor = now < space->floor ? space->floor + space->floor / 4 - now : 0;
	}
	return MAX(by_limit, by_floor);
}

static bool is_exhausted(const struct space *space)
{
	return space->is_exhausted && space->pokes == space->exhausted_pokes;
}

/* Nothing can be evicted, and somebody was told, or would be. */
static bool is_full(struct space *space)
{
	return is_exhausted(space) && lacks(space, MAX(space->refused, 1));
}

static void poke_thread(struct space *space)
{
	pthread_cond_signal(&space->wake);
}

/* ---- who needs room ---- */

static int wait_for_room(struct space *space, struct cache_op *op)
{
	if (space->is_stopping)
		return -EIO;
	op_waits(op, &op->waited.commit_us);
	list_append(&space->waiting, &op->priv.node);
	poke_thread(space);
	return CACHE_WAITS;
}

int space_admit_write(struct cache *cache, struct cache_op *op, uint64_t bytes)
{
	struct space *space = cache->space;

	if (!space || !lacks(space, bytes))
		return 0;
	if (is_exhausted(space)) {
		space->refused = bytes;
		return -ENOSPC;
	}
	op->priv.num[5] = bytes;
	return wait_for_room(space, op);
}

int space_admit_fetch(struct cache *cache, struct cache_op *op, uint64_t bytes)
{
	struct space *space = cache->space;

	/* Above the limit it may go for a moment; on the disk there has to be room: half of the floor is for that. */
	if (!space || is_exhausted(space) ||
	    (above_limit(space, 0) <= SPACE_OVER && below_floor(space, bytes) <= space->floor / 2))
		return 0;
	op->priv.num[5] = bytes;
	return wait_for_room(space, op);
}

bool space_fetch_again(struct cache *cache, uint64_t bytes)
{
	struct space *space = cache->space;
	bool is;

	if (!space)
		return false;
	pthread_mutex_lock(&cache->lock);
	space->look_at_us = 0;
	is = !is_exhausted(space) && below_floor(space, bytes);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

bool space_has_room_ahead(struct cache *cache, uint64_t bytes)
{
	struct space *space = cache->space;

	if (!space)
		return true;
	if (space->limit && (!space->is_counted || used(space) + bytes > space->limit - space->limit / 16))
		return false;
	return !below_floor(space, bytes);
}

bool space_is_full(struct cache *cache)
{
	struct space *space = cache->space;
	bool is;

	if (!space)
		return false;
	pthread_mutex_lock(&cache->lock);
	is = is_full(space);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

void space_poke(struct cache *cache)
{
	struct space *space = cache->space;

	if (!space)
		return;
	pthread_mutex_lock(&cache->lock);
	space->pokes++;
	if (space->is_exhausted)
		poke_thread(space);
	pthread_mutex_unlock(&cache->lock);
}

void space_note_read(struct cache *cache, struct inode *inode)
{
	struct space *space = cache->space;
	struct read read;

	if (!space)
		return;
	read = (struct read){ inode->ino, inode->v.gen, (uint32_t)clock_wall().tv_sec };
	if (inode->read_s / HOUR_S != read.at_s / HOUR_S && space->reads.len < READS_MOST * sizeof(read) &&
	    buf_append(&space->reads, &read, sizeof(read)))
		space->reads.error = 0;		/* no memory: the others are still there */
	inode->read_s = read.at_s;
}

/* ---- evicting ---- */

/* With 'evicting' held. */
static int evict_once(struct space *space, uint64_t need, uint32_t priority, struct evict *ret)
{
	struct cache *cache = space->cache;
	int64_t before = counted(space);
	int err;

	*ret = (struct evict){ .cache = cache, .db = space->db, .need = need, .priority = priority, .is_stopping = &space->is_stopping };
	err = evict(ret);
	pthread_mutex_lock(&cache->lock);
	/*
	 * The walk has counted all, so small mistakes of the counting do not add up.  What came and went meanwhile it may
	 * have seen or not: so only where nothing did.  The first count takes what there is.
	 */
	if (!err && (!space->is_counted || counted(space) + (int64_t)ret->freed_bytes == before)) {
		__atomic_add_fetch(&cache->content_used, (int64_t)ret->total_bytes - before, __ATOMIC_RELAXED);
		space->is_counted = true;
	}
	if (!err && need && priority == 1) {
		space->dirty_bytes = ret->dirty_bytes;
		space->hoarded_bytes = ret->hoarded_bytes;
	}
	space->evicted_files += ret->freed_files;
	space->evicted_bytes += ret->freed_bytes;
	space->look_at_us = 0;
	pthread_mutex_unlock(&cache->lock);
	return err;
}

/* What the operations that wait need at least. */
static uint64_t waited_for(struct space *space)
{
	uint64_t most = 0;
	struct cache_op *op;

	list_each(op, &space->waiting, priv.node)
		most = MAX(most, lacks(space, op->priv.num[5]));
	return most;
}

/* Under the lock. */
static void wake_waiting(struct space *space, int err)
{
	struct cache_op *op, *next;

	list_each_safe(op, next, &space->waiting, priv.node) {
		list_del(&op->priv.node);
		if (err)
			cache_op_finish(op, err);
		else
			cache_op_again(op);
	}
}

static void conclude(struct space *space, uint64_t pokes, bool is_exhausted)
{
	bool was = space->is_exhausted;

	space->is_exhausted = is_exhausted;
	space->exhausted_pokes = pokes;
	space->exhausted_us = clock_us();
	space->later_since_us = 0;
	if (!is_exhausted)
		space->refused = 0;
	if (was != is_exhausted && is_exhausted && waited_for(space))
		log_warn("cache: %s is full of what must stay, writes are refused: changes=%llu hoarded=%llu", space->cache->dir,
			 (unsigned long long)space->dirty_bytes, (unsigned long long)space->hoarded_bytes);
	wake_waiting(space, 0);
}

/* One round.  Under the lock, which is let go meanwhile.  Gives when to look again. */
static uint64_t make_room(struct space *space, uint64_t need)
{
	struct cache *cache = space->cache;
	uint64_t pokes = space->pokes, began_us = clock_us(), now_us;
	struct evict result;
	int err;

	pthread_mutex_unlock(&cache->lock);
	pthread_mutex_lock(&space->evicting);
	err = evict_once(space, need, 1, &result);
	pthread_mutex_unlock(&space->evicting);
	pthread_mutex_lock(&cache->lock);
	now_us = clock_us();
	if (result.freed_files) {
		conclude(space, pokes, false);
		return now_us;
	}
	if (!err && result.has_later) {
		if (!space->later_since_us)
			space->later_since_us = now_us;
		if (now_us - space->later_since_us < LATER_MOST_US)
			return now_us + MAX(LATER_US, 4 * (now_us - began_us));	/* a long walk is not for each moment */
	}
	if (err && err != -ECANCELED)
		log_warn("cache: room could not be made, trying again: dir=%s: %s", cache->dir, strerror(-err));
	conclude(space, pokes, true);
	return now_us + POKED_AGAIN_US;
}

int space_make_room(struct cache *cache, uint64_t bytes, uint32_t priority)
{
	struct space *space = cache->space;
	struct evict result;
	uint64_t need, limit;
	int err;

	if (!space)
		return 0;
	pthread_mutex_lock(&space->evicting);
	for (;;) {
		pthread_mutex_lock(&cache->lock);
		/* The sixteenth below the limit stays for what is not hoarded. */
		limit = space->limit;
		need = lacks(space, bytes + limit / 16);
		pthread_mutex_unlock(&cache->lock);
		if (!need) {
			err = 0;
			break;
		}
		err = evict_once(space, need, priority, &result);
		if (!err && !result.freed_files)
			err = result.has_later ? -EAGAIN : -ENOSPC;
		if (err)
			break;
	}
	pthread_mutex_unlock(&space->evicting);
	return err;
}

/* ---- the thread ---- */

/* Under the lock, which is let go meanwhile. */
static void note_reads(struct space *space)
{
	struct cache *cache = space->cache;
	struct buf reads = space->reads;

	buf_init(&space->reads, 0);
	pthread_mutex_unlock(&cache->lock);
	for (size_t at = 0; at < reads.len; at += sizeof(struct read)) {
		struct read read;

		memcpy(&read, reads.data + at, sizeof(read));
		object_note_read(cache, read.ino, read.gen, read.at_s);
	}
	buf_release(&reads);
	pthread_mutex_lock(&cache->lock);
}

static bool may_try(const struct space *space, uint64_t now_us)
{
	uint64_t pause = space->pokes == space->exhausted_pokes ? AGAIN_US : POKED_AGAIN_US;

	return !space->is_exhausted || now_us >= space->exhausted_us + pause;
}

static void *space_run(void *arg)
{
	struct space *space = arg;
	struct cache *cache = space->cache;
	uint64_t again_us = 0, now_us, need;
	struct evict ignored;

	/* Counts; where it cannot, an eviction will.  With only a floor nothing is worth looking at all files. */
	pthread_mutex_lock(&space->evicting);
	if (space->limit)
		(void)evict_once(space, 0, 1, &ignored);
	pthread_mutex_unlock(&space->evicting);
	pthread_mutex_lock(&cache->lock);
	while (!space->is_stopping) {
		if (space->reads.len)
			note_reads(space);
		now_us = clock_us();
		need = MAX(to_evict(space), waited_for(space));
		if (need && now_us >= again_us && may_try(space, now_us)) {
			again_us = make_room(space, need);
			continue;
		}
		if (!need)
			wake_waiting(space, 0);		/* others have made room */
		else if (is_exhausted(space))
			wake_waiting(space, 0);		/* to be refused */
		cond_wait(&space->wake, &cache->lock,
				need ? MAX(again_us, now_us + LATER_US) : now_us + ROUND_EVERY_US);
	}
	wake_waiting(space, -EIO);
	if (space->reads.len)
		note_reads(space);
	pthread_mutex_unlock(&cache->lock);
	return NULL;
}

/* ---- what is told of it ---- */

static void say_full(struct space *space, struct space_status *ret)
{
	if (!is_full(space))
		return;
	(void)snprintf(ret->full, sizeof(ret->full),
		       "%s, and what is left must stay: %llu MiB that wait to be replayed, %llu MiB that are hoarded; %s",
		       space->limit && used(space) + MAX(space->refused, 1) > space->limit ? "cache_limit is reached" : "the disk is filled up to disk_floor",
		       (unsigned long long)(space->dirty_bytes >> 20), (unsigned long long)(space->hoarded_bytes >> 20),
		       "connect and --sync, --unhoard or remove something, or raise that limit");
}

void space_get_status(struct cache *cache, struct space_status *ret)
{
	struct space *space = cache->space;

	*ret = (struct space_status){ 0 };
	if (!space)
		return;
	pthread_mutex_lock(&cache->lock);
	ret->limit_bytes = space->limit;
	ret->floor_bytes = space->floor;
	ret->is_counted = space->is_counted;
	ret->used_bytes = used(space);
	ret->avail_bytes = avail(space);
	ret->dirty_bytes = space->dirty_bytes;
	ret->hoarded_bytes = space->hoarded_bytes;
	ret->evicted_files = space->evicted_files;
	ret->evicted_bytes = space->evicted_bytes;
	say_full(space, ret);
	pthread_mutex_unlock(&cache->lock);
}

/*
 * What can be evicted counts as free: whoever asks wants to know what he may write.  What cannot is known about: what the log
 * has, and what is hoarded.
 */
void space_fsstat(struct cache *cache, struct cache_fsstat *stat)
{
	struct space *space = cache->space;
	struct hoard_status hoard;
	uint64_t stays, gives, most;

	if (!space)
		return;
	hoard_get_status(cache, &hoard);
	pthread_mutex_lock(&cache->lock);
	stays = MIN(used(space), cache->cml->waiting_bytes + hoard.bytes - MIN(hoard.bytes, hoard.missing_bytes));
	gives = space->is_counted ? used(space) - stays : 0;
	most = avail(space) + gives;
	most = most > space->floor ? most - space->floor : 0;
	if (space->limit) {
		most = MIN(most, space->limit > stays ? space->limit - stays : 0);
		stat->total_bytes = MIN(stat->total_bytes, space->limit);
	}
	if (is_full(space))
		most = 0;
	pthread_mutex_unlock(&cache->lock);
	stat->avail_bytes = MIN(most, stat->total_bytes);
	stat->free_bytes = space->limit ? stat->avail_bytes : MAX(stat->free_bytes, stat->avail_bytes);
}

/* ---- start and stop ---- */

static uint64_t floor_of(const struct cache *cache, const struct cache_config *config)
{
	uint64_t floor = config->floor_bytes, part;
	struct statvfs st;

	if (!config->floor_percent || fstatvfs(cache->dirfd, &st) < 0)
		return floor;
	part = (uint64_t)st.f_blocks * st.f_frsize / 100 * config->floor_percent;
	return floor ? MIN(floor, part) : part;
}

int space_start(struct cache *cache, const struct cache_config *config, const char *db_path)
{
	uint64_t floor = floor_of(cache, config);
	struct space *space;
	int err;

	if (!config->content_limit && !floor)
		return 0;
	space = calloc(1, sizeof(*space));
	if (!space)
		return -ENOMEM;
	space->cache = cache;
	space->limit = config->content_limit;
	space->floor = floor;
	list_init(&space->waiting);
	buf_init(&space->reads, 0);
	(void)pthread_mutex_init(&space->evicting, NULL);	/* cannot fail with default attributes */
	err = db_open(db_path, DB_READER, false, &space->db);
	if (err)
		goto no_db;
	err = cond_init(&space->wake);
	if (err)
		goto no_cond;
	cache->space = space;
	err = thread_start(&space->thread, "izo-space", space_run, space);
	if (!err)
		return 0;
	cache->space = NULL;
	pthread_cond_destroy(&space->wake);
no_cond:
	db_close(space->db);
no_db:
	pthread_mutex_destroy(&space->evicting);
	free(space);
	return err;
}

void space_stop(struct cache *cache)
{
	struct space *space = cache->space;

	if (!space)
		return;
	thread_stop(space->thread, &cache->lock, &space->wake, &space->is_stopping);
	pthread_mutex_lock(&cache->lock);
	cache->space = NULL;	/* others look for it under the lock */
	pthread_mutex_unlock(&cache->lock);
	buf_release(&space->reads);
	pthread_cond_destroy(&space->wake);
	pthread_mutex_destroy(&space->evicting);
	db_close(space->db);
	free(space);
}
