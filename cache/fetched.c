/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/fetched.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/writer.h"

#define ENOUGH 1024		/* files: do not gather longer */
#define AT_ONCE 128		/* files in one change, which holds their content */
#define SYNC_EACH_MAX 8		/* more files than this: sync the file system as a whole */
/*
 * A file of which more comes all the time is noted in every so many rounds: then what came since the sync is synced
 * on the writer thread, where others wait.
 */
#define CHASE_EVERY 8

struct fetched {
	struct cache *cache;
	pthread_t thread;
	pthread_cond_t wake;
	/* under cache->lock */
	struct buf queue;	/* uint64_t inos */
	uint64_t since_us;	/* when the first of them came */
	unsigned rounds;
	bool is_stopping;
};

/* A file whose map is to be noted, as far as it had come when the sync began. */
struct note {
	uint64_t ino, write_gen;
};

struct notes {
	struct note *v;
	size_t n;
	bool is_chase;		/* also those that have moved on since */
};

void fetched_add(struct cache *cache, struct inode *inode)
{
	struct fetched *fetched = cache->fetched;

	inode->work->fetched_gen = inode->work->write_gen;
	inode->work->last_fetch_us = clock_us();
	if (inode->work->has_fetched)
		return;
	/* No memory: then it is not noted, and fetched once more after a restart. */
	if (buf_append(&fetched->queue, &inode->ino, sizeof(inode->ino))) {
		fetched->queue.error = 0;	/* the others are still there */
		return;
	}
	inode->work->has_fetched = true;
	if (fetched->queue.len == sizeof(inode->ino)) {
		fetched->since_us = clock_us();
		pthread_cond_signal(&fetched->wake);
	} else if (fetched->queue.len == ENOUGH * sizeof(inode->ino)) {
		pthread_cond_signal(&fetched->wake);
	}
}

/* ---- noting ---- */

/* What is written and not committed gets its map with the commit; what came since the sync, next time. */
static bool is_due(struct cache *cache, const struct inode *inode, const struct note *note,
		   bool is_chase)
{
	bool is;

	pthread_mutex_lock(&cache->lock);
	is = !inode->work->has_uncommitted && (is_chase || inode->work->write_gen == note->write_gen);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

static int note_run(struct change *change)
{
	struct notes *notes = change->arg;

	for (size_t i = 0; i < notes->n; i++) {
		const struct note *note = &notes->v[i];
		struct inode_edit *edit;
		int err;

		edit = inode_edit(change, note->ino, &err);
		if (!edit && err == -ESTALE)
			continue;
		if (!edit)
			return err;
		if (!is_due(change->cache, edit->inode, note, notes->is_chase))
			continue;
		err = EDIT_MAPS(edit);
		if (err)
			return err;
		if (edit->inode->work->has_uncommitted) {	/* since: a map never goes beyond the size beside it */
			EDIT(edit, size, edit->v.size);
			EDIT(edit, mtime, edit->v.mtime);
			EDIT(edit, ctime, edit->v.ctime);
		}
	}
	return 0;
}

/* Only what was synced is noted: keeps a row from speaking of bytes that are not on the disk. */
static void sync_all(struct cache *cache, struct notes *notes)
{
	bool is_synced = cache->no_sync;

	if (!is_synced && notes->n > SYNC_EACH_MAX) {
		if (FAULT("fetched.sync") || object_sync_all(cache)) {
			cache_fail(cache, "the content files could not be synced", -EIO);
			return;
		}
		is_synced = true;
	}
	for (size_t i = 0; i < notes->n; i++) {
		struct inode *inode;
		int err;

		pthread_mutex_lock(&cache->lock);
		inode = inode_get(cache, notes->v[i].ino, &err);
		if (inode && is_synced)
			inode->work->synced_gen = MAX(inode->work->synced_gen, notes->v[i].write_gen);
		pthread_mutex_unlock(&cache->lock);
		if (inode && !is_synced)
			(void)object_sync_inode(cache, inode);	/* the error state keeps it from being noted */
		pthread_mutex_lock(&cache->lock);
		inode_put(cache, inode);
		pthread_mutex_unlock(&cache->lock);
	}
}

/* Under the lock: those that are not done come again, if there is something to be done for them. */
static void take_back(struct cache *cache, struct notes *notes, int result)
{
	for (size_t i = 0; i < notes->n; i++) {
		struct note *note = &notes->v[i];
		struct inode *inode;
		int err;

		inode = inode_get(cache, note->ino, &err);
		if (!inode)
			continue;
		inode->work->has_fetched = false;
		if (!result && inode->work->write_gen != note->write_gen && !inode->work->has_uncommitted)
			fetched_add(cache, inode);
		inode_put(cache, inode);
	}
}

/* Under the lock: how far each has come. */
static void look(struct cache *cache, struct notes *notes)
{
	int err;

	for (size_t i = 0; i < notes->n; i++) {
		struct inode *inode = inode_get(cache, notes->v[i].ino, &err);

		if (inode)
			notes->v[i].write_gen = inode->work->write_gen;
		inode_put(cache, inode);
	}
}

/* notes->v[].ino is set.  Under the lock, which is let go meanwhile. */
static void note_some(struct cache *cache, struct notes *notes)
{
	int err = 0;

	look(cache, notes);
	pthread_mutex_unlock(&cache->lock);
	sync_all(cache, notes);
	if (notes->is_chase) {	/* once more, so that little is left */
		pthread_mutex_lock(&cache->lock);
		look(cache, notes);
		pthread_mutex_unlock(&cache->lock);
		sync_all(cache, notes);
	}
	for (size_t at = 0; at < notes->n && !err; at += AT_ONCE) {
		struct notes some = { notes->v + at, MIN(notes->n - at, (size_t)AT_ONCE),
				      notes->is_chase };

		err = writer_call(cache, note_run, &some);
	}
	pthread_mutex_lock(&cache->lock);
	take_back(cache, notes, err);
}

/* Under the lock: without being noted.  They are in memory as long as has_fetched says so. */
static void forget_all(struct fetched *fetched)
{
	for (size_t at = 0; at < fetched->queue.len; at += sizeof(uint64_t)) {
		struct inode *inode;
		uint64_t ino;
		int err;

		memcpy(&ino, fetched->queue.data + at, sizeof(ino));
		inode = inode_get(fetched->cache, ino, &err);
		if (inode)
			inode->work->has_fetched = false;
		inode_put(fetched->cache, inode);
	}
	buf_reset(&fetched->queue);
}

/* Under the lock, which is let go meanwhile. */
static void note_all(struct fetched *fetched)
{
	struct cache *cache = fetched->cache;
	struct notes notes = {
		.n = fetched->queue.len / sizeof(uint64_t),
		.is_chase = ++fetched->rounds % CHASE_EVERY == 0,
	};

	notes.v = calloc(notes.n, sizeof(*notes.v));
	if (!notes.v) {
		forget_all(fetched);
		return;
	}
	for (size_t i = 0; i < notes.n; i++)
		memcpy(&notes.v[i].ino, fetched->queue.data + i * sizeof(uint64_t),
		       sizeof(uint64_t));
	buf_reset(&fetched->queue);
	note_some(cache, &notes);
	free(notes.v);
	fetched->since_us = clock_us();
}

static void *fetched_run(void *arg)
{
	struct fetched *fetched = arg;
	struct cache *cache = fetched->cache;

	pthread_mutex_lock(&cache->lock);
	for (;;) {
		uint64_t at_us = fetched->queue.len ? fetched->since_us + cache->gather_us : CLOCK_NEVER;

		if (fetched->is_stopping)
			break;
		if (fetched->queue.len >= ENOUGH * sizeof(uint64_t) || clock_us() >= at_us)
			note_all(fetched);
		else
			cond_wait(&fetched->wake, &cache->lock, at_us);
	}
	/* Nothing comes any more: the fetcher has stopped. */
	if (fetched->queue.len)
		note_all(fetched);
	pthread_mutex_unlock(&cache->lock);
	return NULL;
}

int fetched_start(struct cache *cache)
{
	struct fetched *fetched = calloc(1, sizeof(*fetched));
	int err;

	if (!fetched)
		return -ENOMEM;
	fetched->cache = cache;
	buf_init(&fetched->queue, 0);
	err = cond_init(&fetched->wake);
	if (err) {
		free(fetched);
		return err;
	}
	cache->fetched = fetched;
	err = thread_start(&fetched->thread, "izo-fetched", fetched_run, fetched);
	if (err) {
		pthread_cond_destroy(&fetched->wake);
		free(fetched);
		cache->fetched = NULL;
	}
	return err;
}

void fetched_stop(struct cache *cache)
{
	struct fetched *fetched = cache->fetched;

	if (!fetched)
		return;
	thread_stop(fetched->thread, &cache->lock, &fetched->wake, &fetched->is_stopping);
	buf_release(&fetched->queue);
	pthread_cond_destroy(&fetched->wake);
	free(fetched);
	cache->fetched = NULL;
}
