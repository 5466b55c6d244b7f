/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/flusher.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/cond.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cache/dentry.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/writer.h"

struct flusher {
	struct cache *cache;
	pthread_t thread;
	bool has_thread;
	int wal_fd;			/* its own: the writer's is not asked while it writes */
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	/* under lock */
	struct list taken;		/* struct change */
	struct buf removed;		/* struct content_file: they go after the next sync */
	uint64_t at_us;			/* when to sync for nobody; 0: never */
	bool is_busy, is_stopping;
};

struct content_file {
	uint64_t ino;
	uint32_t gen;
};

/* ---- the end of a transaction ---- */

void changes_settle(struct cache *cache, struct list *changes, bool is_kept)
{
	struct change *change;

	list_each(change, changes, node) {
		if (change->err)
			continue;
		inode_edits_committed(change, is_kept);
		change_run_after(change, is_kept);
	}
	pthread_mutex_lock(&cache->lock);
	list_each(change, changes, node) {
		if (change->err)
			continue;
		inode_edits_release(change, true);
		names_release(change, true);
	}
	pthread_mutex_unlock(&cache->lock);
}

void changes_tell(struct list *changes)
{
	struct change *change, *next;

	list_each_safe(change, next, changes, node) {
		list_del(&change->node);
		change->done(change, change->err);
	}
}

/* ---- a sync ---- */

static int sync_log(struct flusher *flusher)
{
	struct cache *cache = flusher->cache;
	bool is_failed;
	int err;

	if (cache->no_sync)
		return 0;
	/* The kernel tells of lost bytes once: a sync that succeeds after that says nothing about them. */
	pthread_mutex_lock(&cache->lock);
	is_failed = cache->is_failed;
	pthread_mutex_unlock(&cache->lock);
	if (is_failed)
		return -EIO;
	err = FAULT("flusher.sync");
	if (!err && fdatasync(flusher->wal_fd) < 0)
		err = -errno;
	if (err)
		cache_fail(cache, "the database's log could not be synced", err);
	return err ? -EIO : 0;
}

static int flush(struct flusher *flusher, struct list *changes)
{
	struct cache *cache = flusher->cache;
	int err = sync_log(flusher);
	struct change *change;

	/* Where that has failed the disk may have what was before, and needs the files that go with it. */
	if (cache->durability == DURABILITY_SYNC)
		changes_settle(cache, changes, !err);
	list_each(change, changes, node)
		change->err = change->err ? change->err : err;
	changes_tell(changes);
	return err;
}

static void remove_files(struct cache *cache, const struct buf *removed)
{
	for (size_t at = 0; at < removed->len; at += sizeof(struct content_file)) {
		struct content_file file;

		memcpy(&file, removed->data + at, sizeof(file));
		object_unlink(cache, file.ino, file.gen);
	}
}

/* ---- the thread ---- */

/* Under the lock, which is let go meanwhile. */
static void work(struct flusher *flusher)
{
	struct buf removed = flusher->removed;
	struct list changes;

	list_init(&changes);
	list_splice(&changes, &flusher->taken);
	buf_init(&flusher->removed, 0);
	flusher->at_us = 0;
	flusher->is_busy = true;
	pthread_mutex_unlock(&flusher->lock);
	if (!flush(flusher, &changes))
		remove_files(flusher->cache, &removed);
	buf_release(&removed);
	pthread_mutex_lock(&flusher->lock);
	flusher->is_busy = false;
	pthread_cond_broadcast(&flusher->idle);
}

static void *flusher_run(void *arg)
{
	struct flusher *flusher = arg;

	pthread_mutex_lock(&flusher->lock);
	for (;;) {
		bool is_due = flusher->at_us && (flusher->is_stopping || clock_us() >= flusher->at_us);

		if (is_due || !list_is_empty(&flusher->taken))
			work(flusher);
		else if (flusher->is_stopping)
			break;
		else
			cond_wait(&flusher->wake, &flusher->lock, flusher->at_us ? flusher->at_us : CLOCK_NEVER);
	}
	pthread_mutex_unlock(&flusher->lock);
	return NULL;
}

void flusher_take(struct cache *cache, struct list *changes)
{
	struct flusher *flusher = cache->flusher;

	pthread_mutex_lock(&flusher->lock);
	list_splice(&flusher->taken, changes);
	if (!flusher->is_busy)
		pthread_cond_signal(&flusher->wake);
	pthread_mutex_unlock(&flusher->lock);
}

void flusher_take_here(struct cache *cache, struct list *changes)
{
	(void)flush(cache->flusher, changes);	/* who waits is told */
}

/* Under the lock: a sync is due now, or before long. */
static void set_due(struct flusher *flusher, bool is_soon)
{
	if (flusher->at_us && !is_soon)
		return;
	flusher->at_us = clock_us() + (is_soon ? 0 : FLUSH_AFTER_US);
	if (!flusher->is_busy)
		pthread_cond_signal(&flusher->wake);
}

void flusher_later(struct cache *cache)
{
	struct flusher *flusher = cache->flusher;

	pthread_mutex_lock(&flusher->lock);
	set_due(flusher, false);
	pthread_mutex_unlock(&flusher->lock);
}

void flusher_remove(struct cache *cache, uint64_t ino, uint32_t gen, bool is_soon)
{
	const struct content_file file = { .ino = ino, .gen = gen };
	struct flusher *flusher = cache->flusher;

	pthread_mutex_lock(&flusher->lock);
	(void)buf_append(&flusher->removed, &file, sizeof(file));	/* without memory it is left to the next start */
	set_due(flusher, is_soon);
	pthread_mutex_unlock(&flusher->lock);
}

int flusher_sync(struct cache *cache)
{
	return sync_log(cache->flusher);
}

bool flusher_is_idle(struct cache *cache)
{
	struct flusher *flusher = cache->flusher;
	bool is_idle;

	pthread_mutex_lock(&flusher->lock);
	is_idle = !flusher->is_busy && list_is_empty(&flusher->taken);
	pthread_mutex_unlock(&flusher->lock);
	return is_idle;
}

void flusher_wait(struct cache *cache)
{
	struct flusher *flusher = cache->flusher;

	pthread_mutex_lock(&flusher->lock);
	while (flusher->is_busy || !list_is_empty(&flusher->taken))
		pthread_cond_wait(&flusher->idle, &flusher->lock);
	pthread_mutex_unlock(&flusher->lock);
}

int flusher_start(struct cache *cache)
{
	struct flusher *flusher = calloc(1, sizeof(*flusher));
	int err;

	if (!flusher)
		return -ENOMEM;
	flusher->cache = cache;
	list_init(&flusher->taken);
	buf_init(&flusher->removed, 0);
	flusher->wal_fd = openat(cache->dirfd, "cache.db-wal", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	err = flusher->wal_fd < 0 ? -errno : 0;
	if (!err)
		err = cond_init(&flusher->wake);
	if (err)
		goto no_cond;
	(void)pthread_cond_init(&flusher->idle, NULL);	/* cannot fail with default attributes */
	(void)pthread_mutex_init(&flusher->lock, NULL);
	cache->flusher = flusher;
	err = thread_start(&flusher->thread, "izo-flush", flusher_run, flusher);
	flusher->has_thread = !err;
	if (err)
		flusher_stop(cache);
	return err;

no_cond:
	mem_close_fd(&flusher->wal_fd);
	free(flusher);
	return err;
}

void flusher_stop(struct cache *cache)
{
	struct flusher *flusher = cache->flusher;

	if (!flusher)
		return;
	if (flusher->has_thread)
		thread_stop(flusher->thread, &flusher->lock, &flusher->wake, &flusher->is_stopping);
	pthread_mutex_destroy(&flusher->lock);
	pthread_cond_destroy(&flusher->wake);
	pthread_cond_destroy(&flusher->idle);
	mem_close_fd(&flusher->wal_fd);
	free(flusher);
	cache->flusher = NULL;
}
