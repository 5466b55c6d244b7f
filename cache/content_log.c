/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/content_log.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/reserve.h"
#include "base/worker.h"
#include "cache/db.h"
#include "cache/extent.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/writer.h"

struct content_log {
	struct cache *cache;
	struct worker *worker;
	struct work drain;
	bool is_draining;		/* atomic */
	bool is_closed;			/* the writer's: the worker is about to end */
	uint64_t bytes, rows;		/* in the table; written by the writer, read by all: atomic */
	int64_t last_id;		/* the writer's */
	unsigned char *room;		/* for one row */
};

static uint64_t bytes_of(const struct content_log *log)
{
	return __atomic_load_n(&log->bytes, __ATOMIC_RELAXED);
}

static uint64_t rows_of(const struct content_log *log)
{
	return __atomic_load_n(&log->rows, __ATOMIC_RELAXED);
}

static void count(struct content_log *log, uint64_t rows, uint64_t bytes)
{
	__atomic_store_n(&log->rows, rows, __ATOMIC_RELAXED);
	__atomic_store_n(&log->bytes, bytes, __ATOMIC_RELAXED);
}

/* ---- into the content files ---- */

struct drain {
	struct content_log *log;
	int64_t up_to;
};

static int begin_run(struct change *change)
{
	struct drain *drain = change->arg;

	/* All that is in the table by now is committed when this change is over. */
	drain->up_to = drain->log->last_id;
	return 0;
}

static int remove_run(struct change *change)
{
	struct drain *drain = change->arg;
	struct db *db = writer_db(change->cache);
	sqlite3_stmt *stmt;
	int err, got;

	err = db_run(db, "DELETE FROM content_log WHERE id <= ?1", "i", drain->up_to);
	if (err)
		return err;
	got = db_query(db, &stmt, "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM content_log", "");
	if (got <= 0)
		return got ? got : -EIO;
	/* Should the transaction fail, these are too low, until it is tried again. */
	count(drain->log, sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1));
	db_done(stmt);
	return 0;
}

static void drain_run(struct work *work)
{
	struct content_log *log = container_of(work, struct content_log, drain);
	struct drain drain = { .log = log };
	struct cache *cache = log->cache;
	int err;

	err = writer_call(cache, begin_run, &drain);
	if (!err && (FAULT("content_log.sync") || object_sync_all(cache))) {
		cache_fail(cache, "the content files could not be synced", -EIO);
		err = -EIO;
	}
	if (!err)
		err = writer_call(cache, remove_run, &drain);
	log_debug(LOG_CACHE, "content log: drained up to %lld: %d", (long long)drain.up_to, err);
	__atomic_store_n(&log->is_draining, false, __ATOMIC_RELEASE);
}

/* ---- a change ---- */

bool content_log_takes(struct cache *cache, const struct inode *inode)
{
	const struct content_log *log = cache->content_log;
	const struct inode_work *work = inode->work;
	struct extent gap;

	if (!log || work->unsynced.end - work->unsynced.start > CONTENT_LOG_WRITE_MAX ||
	    work->unsynced.start >= MIN(work->unsynced.end, inode->v.size))
		return false;
	/* Bytes that were fetched are not among them. */
	if (work->synced_gen < work->fetched_gen && work->logged_gen < work->fetched_gen)
		return false;
	if (bytes_of(log) >= CONTENT_LOG_MAX_BYTES || rows_of(log) >= CONTENT_LOG_MAX_ROWS)
		return false;
	/* What is absent may come, be synced, and must not be written over then. */
	return !extent_first_gap(&inode->present, work->unsynced.start, MIN(work->unsynced.end, inode->v.size), &gap);
}

int content_log_append(struct change *change, struct inode_edit *edit)
{
	struct cache *cache = change->cache;
	struct content_log *log = cache->content_log;
	struct inode *inode = edit->inode;
	struct object *object;
	uint64_t start, len;
	int err;

	pthread_mutex_lock(&cache->lock);
	start = inode->work->unsynced.start;
	len = MIN(inode->work->unsynced.end, inode->v.size) - start;
	object = object_get(cache, inode, false, &err);
	pthread_mutex_unlock(&cache->lock);
	if (!object)
		return err == -ENOENT ? -EIO : err;
	err = object_read(object, log->room, len, start);
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	pthread_mutex_unlock(&cache->lock);
	if (err)
		return err;
	err = FAULT("content_log.append");
	if (!err)
		err = db_run(writer_db(cache),
			     "INSERT INTO content_log (ino, id, gen, start, bytes) VALUES (?1, ?2, ?3, ?4, ?5)", "iiiib",
			     (int64_t)inode->ino, ++log->last_id, (int64_t)inode->v.gen, (int64_t)start,
			     (struct slice){ (char *)log->room, len });
	if (err)
		return err;
	count(log, rows_of(log) + 1, bytes_of(log) + len);
	if (log->is_closed)
		return 0;
	if ((bytes_of(log) >= CONTENT_LOG_DRAIN_BYTES || rows_of(log) >= CONTENT_LOG_DRAIN_ROWS) &&
	    !__atomic_exchange_n(&log->is_draining, true, __ATOMIC_ACQ_REL))
		worker_post(log->worker, &log->drain, drain_run, NULL);
	return 0;
}

int content_log_has(struct cache *cache, uint64_t ino)
{
	sqlite3_stmt *stmt;
	int got;

	if (!cache->content_log || !rows_of(cache->content_log))
		return 0;
	got = db_query(writer_db(cache), &stmt, "SELECT 1 FROM content_log WHERE ino = ?1 LIMIT 1", "i", (int64_t)ino);
	if (got > 0)
		db_done(stmt);
	return got;
}

int content_log_forget(struct change *change, uint64_t ino)
{
	struct cache *cache = change->cache;

	if (!cache->content_log || !rows_of(cache->content_log))
		return 0;
	return db_run(writer_db(cache), "DELETE FROM content_log WHERE ino = ?1", "i", (int64_t)ino);
}

int content_log_cut(struct change *change, uint64_t ino, uint64_t size)
{
	struct cache *cache = change->cache;
	int err;

	if (!cache->content_log || !rows_of(cache->content_log))
		return 0;
	err = db_run(writer_db(cache), "DELETE FROM content_log WHERE ino = ?1 AND start >= ?2", "ii", (int64_t)ino, (int64_t)size);
	if (err)
		return err;
	return db_run(writer_db(cache), "UPDATE content_log SET bytes = substr(bytes, 1, ?2 - start) WHERE ino = ?1"
					" AND start + length(bytes) > ?2", "ii", (int64_t)ino, (int64_t)size);
}

/* ---- start and stop ---- */

/* The statement stands on a row. */
static int redo(struct cache *cache, sqlite3_stmt *stmt)
{
	uint64_t ino = sqlite3_column_int64(stmt, 0), start = sqlite3_column_int64(stmt, 2), size = sqlite3_column_int64(stmt, 4);
	uint32_t gen = (uint32_t)sqlite3_column_int64(stmt, 1);
	struct slice bytes = db_column(stmt, 3);
	int err;

	if (start >= size)
		return 0;
	bytes.len = MIN(bytes.len, size - start);
	err = FAULT("content_log.redo");
	if (!err)
		err = object_write(cache, ino, gen, bytes, start);
	if (err == -ENOSPC && reserve_give_up(cache->reserve))
		err = object_write(cache, ino, gen, bytes, start);
	return err;
}

int content_log_recover(struct cache *cache)
{
	uint64_t n = 0;
	sqlite3_stmt *stmt;
	int got, err = 0;

	/* Those of a content that has been replaced since, or of a file that is gone, are nobody's any more. */
	got = db_query(cache->write_db, &stmt,
		       "SELECT l.ino, l.gen, l.start, l.bytes, i.size FROM content_log l JOIN inode i USING (ino)"
		       " WHERE l.gen = i.gen ORDER BY l.ino, l.id", "");
	while (got > 0) {
		err = redo(cache, stmt);
		if (err) {
			db_done(stmt);
			return err;
		}
		n++;
		got = db_next(stmt);
	}
	if (got < 0)
		return got;
	if (n && (FAULT("content_log.sync") || object_sync_all(cache)))
		return -EIO;
	if (n)
		log_info("cache: what was written last has been put into its files: dir=%s writes=%llu", cache->dir,
			 (unsigned long long)n);
	return content_log_clear(cache);
}

int content_log_clear(struct cache *cache)
{
	return db_run(cache->write_db, "DELETE FROM content_log", "");
}

int content_log_start(struct cache *cache)
{
	struct content_log *log = calloc(1, sizeof(*log));
	int err;

	if (!log)
		return -ENOMEM;
	log->cache = cache;
	log->room = malloc(CONTENT_LOG_WRITE_MAX);
	err = log->room ? worker_start(NULL, "izo-drain", 1, &log->worker) : -ENOMEM;
	if (err) {
		free(log->room);
		free(log);
		return err;
	}
	cache->content_log = log;
	return 0;
}

static int close_run(struct change *change)
{
	change->cache->content_log->is_closed = true;
	return 0;
}

void content_log_stop(struct cache *cache)
{
	struct content_log *log = cache->content_log;

	if (!log)
		return;
	(void)writer_call(cache, close_run, NULL);	/* in the error state nothing is appended any more */
	worker_stop(log->worker);
	log->worker = NULL;
}

void content_log_free(struct cache *cache)
{
	struct content_log *log = cache->content_log;

	if (!log)
		return;
	free(log->room);
	free(log);
	cache->content_log = NULL;
}
