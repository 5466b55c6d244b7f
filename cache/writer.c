/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order within a group, which everything about crashes rests on:
 *
 * (1) Each change writes its SQL; memory is changed after that, never before.  One that fails having written something is
 *     undone: with the whole transaction, which is then done anew, each change in a savepoint of its own.  (Nearly all that fail
 *     have written nothing yet, and savepoints cost a tenth of a change.)
 * (2) What a change puts into memory is pinned until the transaction has ended, so that a miss
 *     never reads an older state from the disk beside it.
 * (3) Nobody is told anything, and no file is removed or cut, before COMMIT has returned, and before that is on the disk
 *     (DURABILITY_SYNC): the flusher sees to that, while the next group is under way.
 * (4) A failed transaction takes back memory, newest change first, before anybody is told.
 */
#include "cache/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/reserve.h"
#include "base/thread.h"
#include "cache/checkpoint.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/flusher.h"
#include "cache/internal.h"
#include "cache/token.h"

#define GROUP_MAX 1000 /* changes in one transaction: bounds how long the first one waits */
#define GROUP_MIN 8 /* changes that a commit is worth, when more wait and the flusher has nothing to do */

struct writer {
	struct cache *cache;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct list queue;
	bool is_stopping;
	bool is_busy;			/* somebody is the writer now */
	bool wants_care;		/* housekeeping is due */
	bool is_kick_deferred;
	struct loop_job kick;
	/* who is the writer */
	struct change *current;
	bool is_guest;			/* an event loop's thread: it must not wait */
	bool is_careful;		/* the next group: in savepoints */
	int64_t last_now;
	uint64_t wal_pages, page_size;
	struct tokens *tokens;
};

struct after {
	struct list node;
	void (*fn)(struct cache *cache, void *arg);
	void *arg;
};

static __thread struct writer *self;	/* as whose writer this thread acts now */

bool writer_is_self(struct cache *cache)
{
	return self && self == cache->writer;
}

bool writer_must_not_wait(struct cache *cache)
{
	return writer_is_self(cache) && self->is_guest;
}

struct change *writer_current(struct cache *cache)
{
	return writer_is_self(cache) ? self->current : NULL;
}

struct db *writer_db(struct cache *cache)
{
	return cache->write_db;
}

struct db *writer_db_or_read(struct cache *cache)
{
	return writer_is_self(cache) ? cache->write_db : cache->read_db;
}

int writer_after_commit(struct change *change, void (*fn)(struct cache *cache, void *arg),
			void *arg)
{
	struct after *after = malloc(sizeof(*after));

	if (!after)
		return -ENOMEM;
	*after = (struct after){ .fn = fn, .arg = arg };
	list_append(&change->after, &after->node);
	return 0;
}

void change_run_after(struct change *change, bool is_committed)
{
	struct after *after, *next;

	list_each_safe(after, next, &change->after, node) {
		list_del(&after->node);
		if (is_committed)
			after->fn(change->cache, after->arg);
		free(after);
	}
}

/* ---- one change ---- */

static bool transaction_is_gone(struct cache *cache)
{
	/* SQLite rolls back by itself on some errors (full disk, no memory, I/O). */
	return sqlite3_get_autocommit(db_handle(cache->write_db));
}

static sqlite3_int64 rows_changed(struct cache *cache)
{
	return sqlite3_total_changes64(db_handle(cache->write_db));
}

/* *ret_must_undo: it has failed, and what it has written is in the transaction still. */
static int change_run(struct cache *cache, struct writer *w, struct change *change, bool is_careful, bool *ret_must_undo)
{
	sqlite3_int64 rows = rows_changed(cache);
	int err, got;

	change->now = MAX(cache_now_ns(), w->last_now + 1);
	w->last_now = change->now;
	change->was_done_before = false;
	got = token_find(w->tokens, change);
	if (got) {
		change->was_done_before = got > 0;
		return MIN(got, 0);
	}
	err = is_careful ? db_run(cache->write_db, "SAVEPOINT change", "") : 0;
	if (err)
		return err;
	w->current = change;
	err = FAULT("writer.change");
	if (!err)
		err = change->run(change);
	w->current = NULL;
	if (!err && w->is_guest && inode_edits_take_long(change)) {
		change->wants_rerun = true;
		err = -EAGAIN;
	}
	if (!err)
		err = inode_edits_flush(change);
	if (!err)
		err = token_store(w->tokens, change);
	/* A change that cannot be taken back takes the whole group with it: group_run() looks. */
	if (err && is_careful && !transaction_is_gone(cache) && db_run(cache->write_db, "ROLLBACK TO change", ""))
		(void)db_run(cache->write_db, "ROLLBACK", "");
	if (is_careful && !transaction_is_gone(cache)) {
		got = db_run(cache->write_db, "RELEASE change", "");
		err = err ? err : got;
	}
	*ret_must_undo = err && !is_careful && rows_changed(cache) != rows && !transaction_is_gone(cache);

	pthread_mutex_lock(&cache->lock);
	if (err) {
		inode_edits_release(change, false);
		names_release(change, false);
	} else {
		inode_edits_apply(change);	/* keeps (1), (2) */
		names_apply(change);
	}
	pthread_mutex_unlock(&cache->lock);
	if (err)
		change_run_after(change, false);
	return err;
}

/* ---- a group of them ---- */

static int group_commit(struct cache *cache)
{
	int err;

	err = counters_store(cache);
	if (!err)
		err = FAULT("writer.commit");
	if (!err)
		err = db_run(cache->write_db, "COMMIT", "");
	if (err)
		return err;
	counters_committed(cache);
	return 0;
}

/* keeps (4).  -EIO: it cannot be rolled back. */
static int group_undo(struct cache *cache, struct list *done)
{
	int err = 0;

	if (!transaction_is_gone(cache) && db_run(cache->write_db, "ROLLBACK", ""))
		err = -EIO;
	pthread_mutex_lock(&cache->lock);
	for (struct list *node = done->prev; node != done; node = node->prev) {
		struct change *change = list_entry(node, struct change, node);

		if (change->err)
			continue;
		names_revert(change);
		inode_edits_revert(change);
		change_run_after(change, false);
	}
	pthread_mutex_unlock(&cache->lock);
	return err;
}

static void group_fail(struct cache *cache, int err)
{
	cache_fail(cache, "the database could not be written", err);
}

/* DURABILITY_ASYNC: those that wait for the disk although the others do not. */
static void take_synced(struct list *done, struct list *ret_synced)
{
	struct change *change, *next;

	list_init(ret_synced);
	list_each_safe(change, next, done, node) {
		if (change->err || !change->wants_sync)
			continue;
		list_del(&change->node);
		list_append(ret_synced, &change->node);
	}
}

/*
 * keeps (3).  Without a row changed too, when somebody is told that what was done before, in a transaction that may be on its way
 * to the disk, is done.
 */
static void group_finish(struct cache *cache, struct writer *w, struct list *done, bool has_good, bool has_rows, bool is_last)
{
	bool is_idle = flusher_is_idle(cache);
	struct list synced;

	if (cache->durability == DURABILITY_SYNC && has_good && (has_rows || !is_idle)) {
		pthread_mutex_lock(&w->lock);
		is_last = is_last && list_is_empty(&w->queue);
		pthread_mutex_unlock(&w->lock);
		/* With nothing else to do meanwhile, handing them over would only take time. */
		if (is_idle && is_last)
			flusher_take_here(cache, done);
		else
			flusher_take(cache, done);
		return;
	}
	changes_settle(cache, done, true);
	if (cache->durability == DURABILITY_ASYNC) {
		take_synced(done, &synced);
		if (!list_is_empty(&synced))
			flusher_take(cache, &synced);
		else if (has_rows)
			flusher_later(cache);
	}
	changes_tell(done);
}

static bool group_make_room(struct cache *cache)
{
	if (!reserve_give_up(cache->reserve))
		return false;
	/* Then the log begins anew and needs no more room.  As far as it works. */
	(void)sqlite3_wal_checkpoint_v2(db_handle(cache->write_db), "main",
					SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return true;
}

/* What was done is undone, nobody has been told anything: all of it goes before what is to be run later. */
static void group_again(struct list *done, struct list *group, struct list *later)
{
	list_splice(done, group);
	list_splice(done, later);
	list_splice(later, done);
}

/*
 * With more that waits, the disk is to be kept busy: what the group has by now is committed, and the next one is carried out
 * while the flusher syncs.
 */
static bool is_enough(struct cache *cache, unsigned n)
{
	return n >= GROUP_MIN && cache->durability == DURABILITY_SYNC && flusher_is_idle(cache);
}

/* What is left in group has not been begun. */
static void group_run(struct cache *cache, struct writer *w, struct list *group, struct list *later)
{
	uint64_t began_us = log_is_traced(LOG_CACHE) ? clock_us() : 0;
	sqlite3_int64 rows = rows_changed(cache);
	bool is_careful = w->is_careful, must_undo = false, has_rows;
	unsigned n = 0, n_good = 0;
	struct change *change;
	struct list done;
	int err;

	w->is_careful = false;
	list_init(&done);
	pthread_mutex_lock(&cache->lock);
	err = cache->is_failed ? -EIO : 0;
	pthread_mutex_unlock(&cache->lock);
	if (!err)
		err = db_run(cache->write_db, "BEGIN IMMEDIATE", "");

	while ((change = list_first(group, struct change, node))) {
		list_del(&change->node);
		change->err = err;
		if (!err) {
			change->err = change_run(cache, w, change, is_careful, &must_undo);
			if (transaction_is_gone(cache))
				err = change->err ? change->err : -EIO;
		}
		if (change->err && change->wants_rerun && !err) {
			change->wants_rerun = false;
			list_append(later, &change->node);
		} else {
			list_append(&done, &change->node);
		}
		n++;
		n_good += !change->err;
		/* One that is the only one goes with its transaction. */
		if (must_undo && (n_good || !list_is_empty(group)))
			break;
		must_undo = false;
		if (is_enough(cache, n_good))
			break;
	}

	/* Where no row has changed, there is nothing to wait for the disk for. */
	has_rows = rows_changed(cache) != rows;
	if (!err && !must_undo && n_good && has_rows)
		err = group_commit(cache);
	else if (!err && !must_undo)
		err = db_run(cache->write_db, "ROLLBACK", "");
	if (began_us)
		log_debug(LOG_CACHE, "writer: group: changes=%u rows=%lld us=%" PRIu64 " err=%d%s", n,
			  (long long)(rows_changed(cache) - rows), clock_us() - began_us, err,
			  must_undo ? " and once more, with savepoints" : "");
	if (must_undo) {
		w->is_careful = true;
		err = group_undo(cache, &done);
		if (err)
			group_fail(cache, err);		/* then each is refused when it is run again */
		group_again(&done, group, later);
		return;
	}
	if (err) {
		if (group_undo(cache, &done))
			err = -EIO;
		if (err == -ENOSPC && group_make_room(cache)) {
			group_again(&done, group, later);
			return;
		}
		if (err != -ENOSPC) {
			group_fail(cache, err);
			err = -EIO;
		}
		list_each(change, &done, node)
			change->err = change->err ? change->err : err;
	} else {
		(void)FAULT("writer.committed");	/* only to be killed at */
	}
	group_finish(cache, w, &done, !err && n_good, has_rows, list_is_empty(group));
}

/* ---- the thread ---- */

static int wal_grew(void *arg, sqlite3 *handle, const char *name, int pages)
{
	struct cache *cache = arg;

	(void)handle;
	(void)name;
	cache->writer->wal_pages = (uint64_t)pages;
	return SQLITE_OK;
}

static bool log_is_too_long(const struct writer *w)
{
	return w->wal_pages * w->page_size >= CHECKPOINT_BYTES_MAX;
}

static void writer_housekeeping(struct cache *cache, struct writer *w)
{
	if (log_is_too_long(w))
		(void)sqlite3_wal_checkpoint_v2(db_handle(cache->write_db), "main",
						SQLITE_CHECKPOINT_PASSIVE, NULL,
						NULL); /* the log grows until it works */
	checkpoint_poke(cache, w->wal_pages, w->page_size);
	w->wal_pages = 0;
}

/* Under the lock: what is to share the next commit. */
static void take_group(struct writer *w, struct list *group)
{
	list_init(group);
	for (unsigned n = 0; n < GROUP_MAX && !list_is_empty(&w->queue); n++) {
		struct list *node = w->queue.next;

		list_del(node);
		list_append(group, node);
	}
}

/* Under the lock, which is let go meanwhile: be the writer for what is in group. */
static void work(struct cache *cache, struct writer *w, struct list *group, bool is_guest)
{
	struct list later;

	list_init(&later);
	w->is_busy = true;
	pthread_mutex_unlock(&w->lock);
	self = w;
	w->is_guest = is_guest;
	if (!list_is_empty(group))
		group_run(cache, w, group, &later);
	if (is_guest)
		checkpoint_poke(cache, w->wal_pages, w->page_size);
	else
		writer_housekeeping(cache, w);
	w->is_guest = false;
	self = NULL;
	/* What they are to be run again after may be with the flusher. */
	if (!list_is_empty(&later) && !is_guest)
		flusher_wait(cache);
	pthread_mutex_lock(&w->lock);
	w->is_busy = false;
	w->wants_care = is_guest && log_is_too_long(w);
	/* What is run again goes before what has not been begun, and that before what came meanwhile. */
	list_splice(&later, group);
	list_splice(&later, &w->queue);
	list_splice(&w->queue, &later);
}

static bool is_due(const struct writer *w)
{
	return !list_is_empty(&w->queue) || w->wants_care;
}

/* Under the lock, after work() elsewhere than on the thread: what is left is the thread's. */
static void leave_rest(struct writer *w)
{
	if (is_due(w) || w->is_stopping)
		pthread_cond_signal(&w->wake);
}

static void *writer_run(void *arg)
{
	struct cache *cache = arg;
	struct writer *w = cache->writer;
	struct list group;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		if (!w->is_busy && is_due(w)) {
			take_group(w, &group);
			work(cache, w, &group, false);
			continue;
		}
		if (!w->is_busy && w->is_stopping)
			break;
		/* Who is the writer meanwhile wakes us up when there is something to do. */
		pthread_cond_wait(&w->wake, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/*
 * The loop that has submitted changes has nothing else to do now.  A single one, whose commit does not wait for the disk,
 * it carries out itself: handing it over and back would take as long as the change.  More than one share a commit, on the
 * writer thread.
 */
static void kick(struct loop_job *job)
{
	struct writer *w = container_of(job, struct writer, kick);
	struct cache *cache = w->cache;
	struct list group;

	pthread_mutex_lock(&w->lock);
	w->is_kick_deferred = false;
	if (w->is_busy || list_is_empty(&w->queue)) {
		pthread_mutex_unlock(&w->lock);
		return;		/* whoever is busy looks again */
	}
	if (cache->durability == DURABILITY_ASYNC && w->queue.next->next == &w->queue) {
		list_init(&group);
		list_splice(&group, &w->queue);
		work(cache, w, &group, true);
	}
	leave_rest(w);
	pthread_mutex_unlock(&w->lock);
}

static void change_init(struct cache *cache, struct change *change)
{
	change->cache = cache;
	change->err = 0;
	change->was_done_before = change->wants_rerun = false;
	list_init(&change->edits);
	list_init(&change->names);
	list_init(&change->after);
}

void writer_submit_here(struct cache *cache, struct change *change)
{
	struct writer *w = cache->writer;
	struct list group;

	change_init(cache, change);
	pthread_mutex_lock(&w->lock);
	list_append(&w->queue, &change->node);
	if (!w->is_busy) {
		take_group(w, &group);
		work(cache, w, &group, false);
		leave_rest(w);
	}
	pthread_mutex_unlock(&w->lock);
}

void writer_submit(struct cache *cache, struct change *change)
{
	struct writer *w = cache->writer;

	change_init(cache, change);
	pthread_mutex_lock(&w->lock);
	list_append(&w->queue, &change->node);
	if (!change->loop || !loop_is_here(change->loop)) {
		if (!w->is_busy)
			pthread_cond_signal(&w->wake);
	} else if (!w->is_kick_deferred) {
		w->is_kick_deferred = true;
		loop_defer(change->loop, &w->kick);
	}
	pthread_mutex_unlock(&w->lock);
}

struct call {
	struct change change;
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool is_over;
	int err;
};

static void call_done(struct change *change, int err)
{
	struct call *call = container_of(change, struct call, change);

	pthread_mutex_lock(&call->lock);
	call->is_over = true;
	call->err = err;
	pthread_cond_signal(&call->over);
	pthread_mutex_unlock(&call->lock);
}

int writer_call(struct cache *cache, int (*run)(struct change *change), void *arg)
{
	struct call call = { .change = { .run = run, .done = call_done, .arg = arg } };

	assert(!writer_is_self(cache));
	(void)pthread_mutex_init(&call.lock, NULL);	/* cannot fail with default attributes */
	(void)pthread_cond_init(&call.over, NULL);
	writer_submit(cache, &call.change);
	pthread_mutex_lock(&call.lock);
	while (!call.is_over)
		pthread_cond_wait(&call.over, &call.lock);
	pthread_mutex_unlock(&call.lock);
	pthread_mutex_destroy(&call.lock);
	pthread_cond_destroy(&call.over);
	return call.err;
}

static void writer_free(struct cache *cache)
{
	struct writer *w = cache->writer;

	flusher_stop(cache);
	(void)sqlite3_wal_hook(db_handle(cache->write_db), NULL, NULL);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->wake);
	tokens_free(w->tokens);
	free(w);
	cache->writer = NULL;
}

int writer_start(struct cache *cache)
{
	uint64_t page_size;
	struct writer *w;
	int err;

	err = db_page_size(cache->write_db, &page_size);
	if (err)
		return err;
	/* A commit does not sync the log: the flusher does. */
	err = db_exec(cache->write_db, cache->no_sync ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = NORMAL");
	if (err)
		return err;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->tokens = tokens_new(cache->write_db, &err);
	if (!err)
		err = cond_init(&w->wake);
	if (err) {
		tokens_free(w->tokens);
		free(w);
		return err;
	}
	(void)pthread_mutex_init(&w->lock, NULL);	/* cannot fail with default attributes */
	list_init(&w->queue);
	w->cache = cache;
	w->kick.run = kick;
	w->page_size = page_size;
	(void)sqlite3_wal_hook(db_handle(cache->write_db), wal_grew, cache);
	cache->writer = w;
	err = flusher_start(cache);
	if (!err)
		err = thread_start(&w->thread, "izo-writer", writer_run, cache);
	if (err)
		writer_free(cache);
	return err;
}

void writer_stop(struct cache *cache)
{
	struct writer *w = cache->writer;

	if (!w)
		return;
	thread_stop(w->thread, &w->lock, &w->wake, &w->is_stopping);
	writer_free(cache);
}
