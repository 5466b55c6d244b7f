/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/syncer.h"

#include <assert.h>
#include <errno.h>
#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/cml.h"
#include "cache/content_log.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/op.h"
#include "cache/record.h"

#define THREADS 4			/* fdatasyncs at once: a file system does them in one go */
#define LOOK_EVERY_US (250 * US_PER_MS)	/* for files that have become quiet */
#define QUIET_AT_ONCE 256

/* Somebody who waits for several commits. */
struct flush {
	pthread_mutex_t lock;
	pthread_cond_t over;
	unsigned under_way;
	int err;			/* the first one */
};

struct commit {
	struct change change;
	struct list node;		/* in the queue */
	uint64_t ino;
	struct cache_op *op;		/* may be NULL */
	struct flush *flush;		/* may be NULL */
	bool is_quiet;			/* nobody writes to it any more: is_dirty ends */
	bool is_loose;			/* answered before the content is on the disk */
};

struct syncer {
	struct cache *cache;
	pthread_t threads[THREADS];
	unsigned n_threads;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct list queue;
	bool is_stopping;
	bool has_written;		/* cache->written may have something */
	bool has_looker;		/* a thread waits for the next look at it */
};

/* ---- the change ---- */

static int commit_run(struct change *change)
{
	struct commit *commit = change->arg;
	const struct inode_work *work;
	struct inode_edit *edit;
	bool is_hot, has_new;
	int err;

	edit = inode_edit(change, commit->ino, &err);
	if (!edit)
		return err;
	err = EDIT_MAPS(edit);
	if (err)
		return err;
	/* Held now: nobody else changes these. */
	work = edit->inode->work;
	has_new = work->has_uncommitted;
	is_hot = work->last_commit_us && clock_us() - work->last_commit_us < QUIET_US;
	if (has_new) {
		EDIT(edit, size, edit->v.size);
		EDIT(edit, mtime, edit->v.mtime);
		EDIT(edit, ctime, edit->v.ctime);
		err = cml_append_store(change, edit);
		if (err)
			return err;
		edit->is_committed = true;
	}
	/*
	 * The note that it is being written to costs a transaction each time.  A file that is
	 * committed again and again keeps it, until it is quiet.
	 */
	if (edit->v.is_dirty && (commit->is_quiet || !is_hot))
		EDIT(edit, is_dirty, false);
	return 0;
}

static void commit_answer(struct commit *commit, int err)
{
	struct cache *cache = commit->change.cache;
	struct cache_op *op = commit->op;
	struct inode *inode;
	int ignored;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, commit->ino, &ignored);
	if (inode) {
		op_wcc_now(op, 0, inode, false);
		op_result_now(op, inode);
	}
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	cache_op_finish(op, err);
}

static void sync_later(struct commit *commit);

static void commit_done(struct change *change, int err)
{
	struct commit *commit = change->arg;
	struct flush *flush = commit->flush;

	if (commit->op)
		commit_answer(commit, err);
	if (commit->is_loose && !err) {
		sync_later(commit);
		return;
	}
	if (flush) {
		pthread_mutex_lock(&flush->lock);
		if (err && err != -ESTALE && !flush->err)
			flush->err = err;
		if (!--flush->under_way)
			pthread_cond_signal(&flush->over);
		pthread_mutex_unlock(&flush->lock);
	}
	free(commit);
}

static void commit_init(struct commit *commit, struct cache *cache, uint64_t ino)
{
	/* No op in the change: a commit is nobody's call to be remembered. */
	*commit = (struct commit){
		.ino = ino,
		.change = { .run = commit_run, .done = commit_done, .arg = commit, .cache = cache }
	};
}

static struct commit *commit_new(struct cache *cache, uint64_t ino)
{
	struct commit *commit = malloc(sizeof(*commit));

	if (commit)
		commit_init(commit, cache, ino);
	return commit;
}

/* Is its content durable, or small enough to become so with the change? */
static bool is_little(struct cache *cache, uint64_t ino)
{
	struct inode *inode;
	bool is = false;
	int ignored;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &ignored);
	if (inode)
		is = inode_is_durable(inode) || content_log_takes(cache, inode);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

/*
 * DURABILITY_ASYNC, a stable WRITE: the answer waits for nothing; but within the second after which all is on the disk that goes for
 * the content too.
 */
static void begin_loose(struct cache *cache, struct commit *commit)
{
	if (is_little(cache, commit->ino))
		commit->change.wants_content = true;
	else
		commit->is_loose = !cache->no_sync;
	writer_submit(cache, &commit->change);
}

/* It has been answered: now its content.  When the program ends all contents are synced anyway. */
static void sync_later(struct commit *commit)
{
	struct cache *cache = commit->change.cache;
	struct syncer *syncer;
	bool is_queued = false;
	uint64_t ino = commit->ino;

	commit_init(commit, cache, ino);
	pthread_mutex_lock(&cache->lock);
	syncer = cache->syncer;
	if (syncer) {
		pthread_mutex_lock(&syncer->lock);
		is_queued = !syncer->is_stopping;
		if (is_queued) {
			list_append(&syncer->queue, &commit->node);
			pthread_cond_signal(&syncer->wake);
		}
		pthread_mutex_unlock(&syncer->lock);
	}
	pthread_mutex_unlock(&cache->lock);
	if (!is_queued)
		free(commit);
}

/* The content is to be durable, too: as a thread here makes it, or, when there is little of it, the change itself. */
static void begin_synced(struct cache *cache, struct commit *commit)
{
	struct syncer *syncer = cache->syncer;

	commit->change.wants_sync = true;
	if (cache->no_sync || is_little(cache, commit->ino)) {
		writer_submit(cache, &commit->change);
		return;
	}
	pthread_mutex_lock(&syncer->lock);
	assert(!syncer->is_stopping);
	list_append(&syncer->queue, &commit->node);
	pthread_cond_signal(&syncer->wake);
	pthread_mutex_unlock(&syncer->lock);
}

int syncer_commit(struct cache *cache, uint64_t ino, bool is_synced, struct cache_op *op)
{
	struct commit *commit = commit_new(cache, ino);

	if (!commit)
		return -ENOMEM;
	commit->op = op;
	if (op) {
		commit->change.loop = op->loop;
		op_waits(op, &op->waited.commit_us);
	}
	if (is_synced)
		begin_synced(cache, commit);
	else
		begin_loose(cache, commit);
	return 0;
}

/* ---- the threads ---- */

static void sync_content(struct cache *cache, struct commit *commit)
{
	struct inode *inode;
	int err;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, commit->ino, &err);
	pthread_mutex_unlock(&cache->lock);
	if (!inode)
		return;		/* the change will say that it is gone */
	/* A failure has put the cache into its error state: the change fails. */
	(void)object_sync_inode(cache, inode);
	pthread_mutex_lock(&cache->lock);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
}

/*
 * Begin commits for files that nobody has written to for long.  Gives false when none are left to
 * look after.
 */
static bool commit_quiet(struct cache *cache)
{
	uint64_t now_us = clock_us();
	struct inode_work *work, *next;
	struct list found;
	unsigned n = 0;
	bool has_more;

	list_init(&found);
	pthread_mutex_lock(&cache->lock);
	list_each_safe(work, next, &cache->written, quiet) {
		struct commit *commit;

		if (work->last_write_us + QUIET_US > now_us || n++ >= QUIET_AT_ONCE)
			break;
		/* Once more after another QUIET_US, should this one fail. */
		work->last_write_us = now_us;
		list_del(&work->quiet);
		list_append(&cache->written, &work->quiet);
		commit = commit_new(cache, work->inode->ino);
		if (!commit)
			break;
		commit->is_quiet = true;
		list_append(&found, &commit->node);
	}
	has_more = !list_is_empty(&cache->written);
	pthread_mutex_unlock(&cache->lock);
	while (!list_is_empty(&found)) {
		struct commit *commit = list_first(&found, struct commit, node);

		list_del(&commit->node);
		begin_synced(cache, commit);
	}
	return has_more;
}

static void *syncer_run(void *arg)
{
	struct syncer *syncer = arg;
	struct cache *cache = syncer->cache;
	struct commit *commit;

	pthread_mutex_lock(&syncer->lock);
	for (;;) {
		commit = list_first(&syncer->queue, struct commit, node);
		if (commit) {
			list_del(&commit->node);
			pthread_mutex_unlock(&syncer->lock);
			sync_content(cache, commit);
			writer_submit_here(cache, &commit->change);
			pthread_mutex_lock(&syncer->lock);
			continue;
		}
		if (syncer->is_stopping)
			break;
		if (!syncer->has_written || syncer->has_looker) {
			cond_wait(&syncer->wake, &syncer->lock, CLOCK_NEVER);
			continue;
		}
		/* This thread looks, the others wait for work. */
		syncer->has_looker = true;
		cond_wait(&syncer->wake, &syncer->lock, clock_us() + LOOK_EVERY_US);
		syncer->has_looker = false;
		if (!list_is_empty(&syncer->queue) || syncer->is_stopping)
			continue;
		syncer->has_written = false;
		pthread_mutex_unlock(&syncer->lock);
		bool has_more = commit_quiet(cache);
		pthread_mutex_lock(&syncer->lock);
		syncer->has_written |= has_more;
	}
	pthread_mutex_unlock(&syncer->lock);
	return NULL;
}

void syncer_poke(struct cache *cache)
{
	struct syncer *syncer = cache->syncer;

	if (!syncer)
		return;
	pthread_mutex_lock(&syncer->lock);
	if (!syncer->has_written) {
		syncer->has_written = true;
		pthread_cond_signal(&syncer->wake);
	}
	pthread_mutex_unlock(&syncer->lock);
}

int syncer_start(struct cache *cache)
{
	struct syncer *syncer;
	int err;

	syncer = calloc(1, sizeof(*syncer));
	if (!syncer)
		return -ENOMEM;
	syncer->cache = cache;
	list_init(&syncer->queue);
	err = cond_init(&syncer->wake);
	if (err) {
		free(syncer);
		return err;
	}
	(void)pthread_mutex_init(&syncer->lock, NULL);	/* cannot fail with default attributes */
	cache->syncer = syncer;
	for (unsigned i = 0; i < THREADS; i++) {
		err = thread_start(&syncer->threads[i], "izo-sync", syncer_run, syncer);
		if (err) {
			syncer_stop(cache);
			return err;
		}
		syncer->n_threads++;
	}
	return 0;
}

void syncer_stop(struct cache *cache)
{
	struct syncer *syncer = cache->syncer;

	if (!syncer)
		return;
	pthread_mutex_lock(&syncer->lock);
	syncer->is_stopping = true;
	pthread_cond_broadcast(&syncer->wake);
	pthread_mutex_unlock(&syncer->lock);
	for (unsigned i = 0; i < syncer->n_threads; i++)
		pthread_join(syncer->threads[i], NULL);
	pthread_mutex_destroy(&syncer->lock);
	pthread_cond_destroy(&syncer->wake);
	free(syncer);
	pthread_mutex_lock(&cache->lock);
	cache->syncer = NULL;
	pthread_mutex_unlock(&cache->lock);
}

/* ---- all that was written ---- */

static int flush_written(struct cache *cache, bool is_quiet)
{
	struct flush flush = { .under_way = 1 };
	struct inode_work *work;
	struct list found;

	list_init(&found);
	pthread_mutex_lock(&cache->lock);
	list_each(work, &cache->written, quiet) {
		struct commit *commit;

		/*
		 * One that is not uncommitted but pinned is in a transaction that is not over: wait
		 * for it.
		 */
		if (!is_quiet && !work->has_uncommitted && !work->inode->pins && !work->n_writing)
			continue;
		commit = commit_new(cache, work->inode->ino);
		if (!commit) {
			flush.err = -ENOMEM;
			break;
		}
		commit->flush = &flush;
		commit->is_quiet = is_quiet;
		list_append(&found, &commit->node);
		flush.under_way++;
	}
	pthread_mutex_unlock(&cache->lock);

	(void)pthread_mutex_init(&flush.lock, NULL);	/* cannot fail with default attributes */
	(void)pthread_cond_init(&flush.over, NULL);
	while (!list_is_empty(&found)) {
		struct commit *commit = list_first(&found, struct commit, node);

		list_del(&commit->node);
		begin_synced(cache, commit);
	}
	pthread_mutex_lock(&flush.lock);
	flush.under_way--;
	while (flush.under_way)
		pthread_cond_wait(&flush.over, &flush.lock);
	pthread_mutex_unlock(&flush.lock);
	pthread_mutex_destroy(&flush.lock);
	pthread_cond_destroy(&flush.over);
	return flush.err;
}

int cml_flush(struct cache *cache)
{
	return flush_written(cache, false);
}

int syncer_flush(struct cache *cache)
{
	return flush_written(cache, true);
}
