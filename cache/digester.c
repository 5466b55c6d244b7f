/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/digester.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/cond.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/db.h"
#include "cache/digest.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "cache/object.h"
#include "cache/writer.h"

#define DUE_MAX 65536u			/* in the queue: with more, a walk finds them */
#define SAVED_MAX 4096u			/* of those are written down at the end */
#define AT_ONCE 64u			/* digests in one change */
#define AT_ONCE_BYTES (64ull << 20)	/* and read for it */
#define BURST (4ull << 20)		/* bytes, then a pause */
#define FILE_COSTS (16ull << 10)	/* a file counts as so many bytes at least */
#define WINDOW 20000ull			/* inodes that the walk looks at, then a pause */
#define WINDOW_PAUSE_US (100 * US_PER_MS)
#define SOON_US US_PER_S
#define WALK_IS_OVER UINT64_MAX

struct due {
	uint64_t ino, at_us;
};

struct digester {
	struct cache *cache;
	struct db *db;			/* the thread's */
	pthread_t thread;
	bool has_thread;
	bool has_rows;			/* the writer's: there may be some */
	/* the thread's */
	uint64_t burst_us, burst_bytes;
	/* under cache->lock */
	pthread_cond_t wake, idle;
	struct buf due;			/* struct due */
	uint64_t walk_at;		/* the walk's next inode */
	uint64_t walk_us;		/* and when it goes on */
	uint64_t wakes_us;		/* until then the thread sleeps; 0: it does not */
	bool is_stopping;
};

/* One that is being made. */
struct made {
	struct digester *digester;
	struct inode *inode;		/* referenced and awake */
	uint64_t write_gen;
	struct digest digest;
};

struct batch {
	struct made v[AT_ONCE];
	unsigned n;
	uint64_t bytes;
};

/* ---- the queue; under the lock ---- */

static unsigned n_due(const struct digester *d)
{
	return (unsigned)(d->due.len / sizeof(struct due));
}

static void wake_before(struct digester *d, uint64_t at_us)
{
	if (d->wakes_us > at_us)
		pthread_cond_signal(&d->wake);
}

static void begin_walk(struct digester *d, uint64_t at_us)
{
	d->walk_at = 0;
	d->walk_us = at_us;
	wake_before(d, at_us);
}

static bool put_due(struct digester *d, uint64_t ino, uint64_t at_us)
{
	const struct due due = { ino, at_us };

	if (n_due(d) >= DUE_MAX || buf_append(&d->due, &due, sizeof(due))) {
		d->due.error = 0;	/* the others are still there */
		begin_walk(d, at_us);
		return false;
	}
	wake_before(d, at_us);
	return true;
}

/* So long it has to have been at rest. */
static uint64_t rest_us(const struct inode *inode)
{
	if (FAULT("digest.rest"))	/* tests of programs do not wait */
		return 0;
	return MAX(DIGEST_REST_US, extent_bytes(&inode->present) / (DIGEST_RATE / US_PER_S));
}

void digester_later(struct cache *cache, struct inode *inode)
{
	struct digester *d = cache->digester;

	if (inode->is_digest_due || inode->is_gone || inode->v.type != TYPE_REG || !inode->v.gen || !inode->present.n || inode->v.is_dirty)
		return;
	inode->is_digest_due = put_due(d, inode->ino, clock_us() + rest_us(inode));
}

/* Take what is due out of it, at most AT_ONCE.  Gives how many; else *ret_next_us: when some will be. */
static unsigned take_due(struct digester *d, uint64_t *inos, uint64_t *ret_next_us)
{
	struct due *due = (struct due *)d->due.data;
	uint64_t now_us = clock_us();
	unsigned n = 0, left = 0;

	*ret_next_us = CLOCK_NEVER;
	for (unsigned i = 0; i < n_due(d); i++) {
		struct inode *inode;

		if (due[i].at_us > now_us || n == AT_ONCE) {
			*ret_next_us = MIN(*ret_next_us, due[i].at_us);
			due[left++] = due[i];
			continue;
		}
		inode = inode_find(d->cache, due[i].ino);
		if (inode)
			inode->is_digest_due = false;
		inos[n++] = due[i].ino;
	}
	d->due.len = left * sizeof(*due);
	return n;
}

/* ---- one content ---- */

/* Under the lock, or on the writer thread too: nothing goes on with it that a row must not be committed beside. */
static bool is_at_rest(const struct inode *inode)
{
	const struct inode_work *work = inode->work;

	return !inode->is_gone && inode->v.type == TYPE_REG && inode->v.gen && inode->present.n && !inode->v.is_dirty &&
	       !work->has_uncommitted && !work->has_fetched && !work->n_writing && !work->cut_pending;
}

/* Under the lock.  1: it is to be made; 0: not, and what ends what goes on with it puts it into the queue anew; -errno. */
static int look(struct digester *d, struct made *made, uint64_t ino)
{
	struct inode *inode;
	uint64_t since_us;
	int err = 0;

	inode = inode_get(d->cache, ino, &err);
	if (!inode)
		return err == -ESTALE ? 0 : err;
	since_us = MAX(inode->work->last_write_us, inode->work->last_fetch_us);
	if (!inode->pins && !is_at_rest(inode))
		goto put;
	if (inode->pins || (since_us && clock_us() < since_us + rest_us(inode))) {
		if (!inode->is_digest_due)
			inode->is_digest_due = put_due(d, ino, inode->pins ? clock_us() + SOON_US : since_us + rest_us(inode));
		goto put;
	}
	err = inode_wake(d->cache, inode);
	if (!err)
		err = extent_copy(&made->digest.ranges, &inode->present);
	if (err)
		goto put;
	made->digester = d;
	made->inode = inode;
	made->write_gen = inode->work->write_gen;
	made->digest.ino = ino;
	made->digest.gen = inode->v.gen;
	return 1;
put:
	inode_put(d->cache, inode);
	return err;
}

static bool is_same(const struct made *made)
{
	const struct inode *inode = made->inode;

	return is_at_rest(inode) && inode->v.gen == made->digest.gen && inode->work->write_gen == made->write_gen;
}

/* Between two chunks: not too fast. */
static int pace(void *arg, uint64_t bytes)
{
	struct made *made = arg;
	struct digester *d = made->digester;
	struct cache *cache = d->cache;
	int err = 0;

	d->burst_bytes += bytes;
	pthread_mutex_lock(&cache->lock);
	if (d->burst_bytes >= BURST) {
		uint64_t until_us = d->burst_us + d->burst_bytes / (DIGEST_RATE / US_PER_S);

		while (!d->is_stopping && clock_us() < until_us)
			cond_wait(&d->wake, &cache->lock, until_us);
		d->burst_us = clock_us();
		d->burst_bytes = 0;
	}
	if (d->is_stopping)
		err = -ECANCELED;
	else if (!is_same(made))
		err = -EAGAIN;
	pthread_mutex_unlock(&cache->lock);
	return err;
}

/* 1: the row there is says all of it already. */
static int has_row(struct digester *d, const struct digest *digest)
{
	struct digest row = { 0 };
	int got = digest_get(d->db, digest->ino, &row);
	bool is = got > 0 && row.gen == digest->gen && digest_is_within(&digest->ranges, &row.ranges);

	digest_release(&row);
	return got == -EUCLEAN ? 0 : MIN(got, (int)is);
}

/* keeps (2) */
static int settle(struct digester *d, struct made *made)
{
	struct cache *cache = d->cache;
	bool is_synced;

	pthread_mutex_lock(&cache->lock);
	is_synced = cache->no_sync || inode_is_durable(made->inode);
	pthread_mutex_unlock(&cache->lock);
	return is_synced ? 0 : object_sync_inode(cache, made->inode);
}

/* 1: made; 0: there is nothing to be made; -errno. */
static int make(struct digester *d, struct made *made)
{
	AUTO_CLOSE int fd = -1;
	int err = has_row(d, &made->digest);

	if (err)
		return MIN(err, 0);
	fd = object_open_aside(d->cache, made->digest.ino, made->digest.gen);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	err = settle(d, made);
	if (!err)
		err = FAULT("digest.read");
	if (!err)
		err = digest_read(fd, &made->digest, pace, made);
	return err ? err : 1;
}

/* ---- many of them ---- */

static int commit_run(struct change *change)
{
	struct batch *batch = change->arg;
	struct cache *cache = change->cache;
	int err = FAULT("digest.commit");

	for (unsigned i = 0; i < batch->n && !err; i++) {
		struct made *made = &batch->v[i];
		struct inode_edit *edit = inode_edit(change, made->digest.ino, &err);
		bool is;

		if (!edit && err == -ESTALE)
			err = 0;
		if (!edit)
			continue;
		/* By what is true for all that comes behind this change: a WRITE from here on has to take the row away first. */
		pthread_mutex_lock(&cache->lock);
		is = is_same(made) && !edit->v.is_dirty && edit->v.gen == made->digest.gen;
		pthread_mutex_unlock(&cache->lock);
		if (!is)
			continue;
		cache->digester->has_rows = true;
		err = digest_put(writer_db(cache), &made->digest);
	}
	return err;
}

static void commit(struct digester *d, struct batch *batch)
{
	int err = batch->n ? writer_call(d->cache, commit_run, batch) : 0;

	if (err)
		log_debug(LOG_CACHE, "digest: not noted: files=%u: %s", batch->n, strerror(-err));
	else if (batch->n)
		log_debug(LOG_CACHE, "digest: noted: files=%u bytes=%" PRIu64, batch->n, batch->bytes);
	pthread_mutex_lock(&d->cache->lock);
	for (unsigned i = 0; i < batch->n; i++)
		inode_put(d->cache, batch->v[i].inode);
	pthread_mutex_unlock(&d->cache->lock);
	for (unsigned i = 0; i < batch->n; i++)
		digest_release(&batch->v[i].digest);
	batch->n = 0;
	batch->bytes = 0;
}

/* Gives -ECANCELED when it is to end; nothing else is worth telling: what has no digest is found again after the next crash at the latest. */
static int make_one(struct digester *d, struct batch *batch, uint64_t ino)
{
	struct made *made = &batch->v[batch->n];
	uint64_t bytes;
	int got;

	*made = (struct made){ 0 };
	pthread_mutex_lock(&d->cache->lock);
	got = d->is_stopping ? -ECANCELED : look(d, made, ino);
	pthread_mutex_unlock(&d->cache->lock);
	if (got <= 0)
		return got;
	bytes = extent_bytes(&made->digest.ranges);
	d->burst_bytes += FILE_COSTS;
	got = make(d, made);
	if (got > 0) {
		batch->n++;
		batch->bytes += bytes;
		return 0;
	}
	if (got && got != -ECANCELED)
		log_debug(LOG_CACHE, "digest: not made: ino=%" PRIu64 ": %s", ino, strerror(-got));
	pthread_mutex_lock(&d->cache->lock);
	inode_put(d->cache, made->inode);
	pthread_mutex_unlock(&d->cache->lock);
	digest_release(&made->digest);
	return got;
}

/* What was not come to goes back into the queue. */
static void make_all(struct digester *d, const uint64_t *inos, unsigned n)
{
	struct batch batch = { .n = 0 };
	unsigned i;

	for (i = 0; i < n && make_one(d, &batch, inos[i]) != -ECANCELED; i++)
		if (batch.bytes >= AT_ONCE_BYTES)
			commit(d, &batch);
	commit(d, &batch);
	pthread_mutex_lock(&d->cache->lock);
	for (; i < n; i++)
		(void)put_due(d, inos[i], clock_us());
	pthread_mutex_unlock(&d->cache->lock);
}

/* ---- the walk ---- */

/* Those in the window go into the queue.  Gives where it ends; -errno. */
static int walk_window(struct digester *d, uint64_t from, uint64_t *ret_to)
{
	struct cache *cache = d->cache;
	int64_t last = 0;
	sqlite3_stmt *stmt;
	int got;

	got = db_query(d->db, &stmt, "SELECT coalesce(max(ino), 0) FROM inode", "");
	if (got <= 0)
		return got ? got : -EIO;
	last = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	*ret_to = from + WINDOW > (uint64_t)last ? WALK_IS_OVER : from + WINDOW;
	got = db_query(d->db, &stmt,
		       "SELECT i.ino FROM inode i LEFT JOIN digest d ON d.ino = i.ino WHERE i.ino >= ?1 AND i.ino < ?2 AND i.type = 1"
		       " AND length(i.present) > 0 AND (d.ino IS NULL OR d.gen <> i.gen OR d.ranges <> i.present)", "ii", (int64_t)from,
		       (int64_t)(from + WINDOW));
	while (got > 0) {
		pthread_mutex_lock(&cache->lock);
		(void)put_due(d, (uint64_t)sqlite3_column_int64(stmt, 0), clock_us());
		pthread_mutex_unlock(&cache->lock);
		got = db_next(stmt);
	}
	return got;
}

/* Under the lock, which is let go meanwhile. */
static void walk(struct digester *d)
{
	uint64_t from = d->walk_at, to = WALK_IS_OVER;
	int err;

	d->walk_at = WALK_IS_OVER;	/* begin_walk() may change it meanwhile */
	pthread_mutex_unlock(&d->cache->lock);
	err = walk_window(d, from, &to);
	if (err)
		log_debug(LOG_CACHE, "digest: the walk broke off at %" PRIu64 ": %s", from, strerror(-err));
	pthread_mutex_lock(&d->cache->lock);
	if (d->walk_at != WALK_IS_OVER)
		return;
	d->walk_at = err ? from : to;
	d->walk_us = clock_us() + (err ? DIGEST_REST_US : WINDOW_PAUSE_US);
}

/* ---- the thread ---- */

/* Under the lock. */
static bool walks(const struct digester *d)
{
	return d->walk_at != WALK_IS_OVER && n_due(d) <= DUE_MAX / 2;
}

static void *digester_run(void *arg)
{
	struct digester *d = arg;
	struct cache *cache = d->cache;
	uint64_t inos[AT_ONCE], next_us;
	unsigned n;

	pthread_mutex_lock(&cache->lock);
	while (!d->is_stopping) {
		d->wakes_us = 0;
		n = take_due(d, inos, &next_us);
		if (n) {
			pthread_mutex_unlock(&cache->lock);
			make_all(d, inos, n);
			pthread_mutex_lock(&cache->lock);
		} else if (walks(d) && clock_us() >= d->walk_us) {
			walk(d);
		} else {
			d->wakes_us = walks(d) ? MIN(next_us, d->walk_us) : next_us;
			pthread_cond_broadcast(&d->idle);
			cond_wait(&d->wake, &cache->lock, d->wakes_us);
			d->burst_us = clock_us();
			d->burst_bytes = 0;
		}
	}
	d->wakes_us = 0;
	pthread_mutex_unlock(&cache->lock);
	return NULL;
}

/* Under the lock: is there something that should have been done by now? */
static bool is_behind(const struct digester *d)
{
	const struct due *due = (const struct due *)d->due.data;
	uint64_t now_us = clock_us();

	if (!d->wakes_us || (walks(d) && now_us >= d->walk_us))
		return true;
	for (unsigned i = 0; i < n_due(d); i++)
		if (due[i].at_us <= now_us)
			return true;
	return d->walk_at != WALK_IS_OVER && d->walk_us <= now_us + WINDOW_PAUSE_US;
}

void digester_wait(struct cache *cache)
{
	struct digester *d = cache->digester;

	pthread_mutex_lock(&cache->lock);
	while (is_behind(d)) {
		pthread_cond_signal(&d->wake);
		cond_wait(&d->idle, &cache->lock, clock_us() + US_PER_S);
	}
	pthread_mutex_unlock(&cache->lock);
}

bool digester_has_rows(const struct cache *cache)
{
	return cache->digester->has_rows;
}

/* ---- start and stop ---- */

static int has_rows_run(struct change *change)
{
	struct digester *d = change->arg;
	sqlite3_stmt *stmt;
	int got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM digest LIMIT 1", "");

	if (got > 0)
		db_done(stmt);
	d->has_rows = got != 0;
	return MIN(got, 0);
}

/* What waited when it was stopped; all is looked for where that is not known. */
static int load(struct digester *d)
{
	uint64_t at_us = clock_us() + (FAULT("digest.rest") ? 0 : DIGEST_REST_US);
	struct cache *cache = d->cache;
	struct slice inos = { 0 };
	int64_t walk_at = 0;
	sqlite3_stmt *stmt;
	int got = 0;

	if (cache->was_closed)
		got = meta_get_int(d->db, "digest_walk", &walk_at);
	if (got > 0)
		got = db_query(d->db, &stmt, "SELECT value FROM meta WHERE key = 'digest_due'", "");
	if (got < 0)
		return got;
	if (got)
		inos = db_column(stmt, 0);
	pthread_mutex_lock(&cache->lock);
	d->walk_at = walk_at < 0 ? WALK_IS_OVER : (uint64_t)walk_at;
	d->walk_us = at_us;
	for (size_t at = 0; at + sizeof(uint64_t) <= inos.len; at += sizeof(uint64_t)) {
		uint64_t ino;

		memcpy(&ino, (const char *)inos.data + at, sizeof(ino));
		(void)put_due(d, ino, at_us);
	}
	pthread_mutex_unlock(&cache->lock);
	if (got)
		db_done(stmt);
	return 0;
}

int digester_save(struct cache *cache)
{
	struct digester *d = cache->digester;
	const struct due *due = (const struct due *)d->due.data;
	bool fits = n_due(d) <= SAVED_MAX;
	struct buf inos;
	int err;

	buf_init(&inos, 0);
	for (unsigned i = 0; fits && i < n_due(d); i++)
		(void)buf_append(&inos, &due[i].ino, sizeof(due[i].ino));	/* errors stick */
	fits &= !buf_error(&inos);
	err = meta_put_blob(cache->write_db, "digest_due", inos.data, fits ? inos.len : 0);
	if (!err)
		err = meta_put_int(cache->write_db, "digest_walk", !fits ? 0 : d->walk_at == WALK_IS_OVER ? -1 : (int64_t)d->walk_at);
	buf_release(&inos);
	return err;
}

int digester_open(struct cache *cache)
{
	struct digester *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->cache = cache;
	d->has_rows = true;		/* until it has been looked at */
	d->walk_at = WALK_IS_OVER;
	buf_init(&d->due, 0);
	err = cond_init(&d->wake);
	if (err)
		goto no_wake;
	err = cond_init(&d->idle);
	if (err)
		goto no_idle;
	cache->digester = d;
	return 0;

no_idle:
	pthread_cond_destroy(&d->wake);
no_wake:
	free(d);
	return err;
}

int digester_start(struct cache *cache, const char *db_path)
{
	struct digester *d = cache->digester;
	int err;

	err = db_open(db_path, DB_READER, false, &d->db);
	if (!err)
		err = writer_call(cache, has_rows_run, d);
	if (!err)
		err = load(d);
	if (!err)
		err = thread_start(&d->thread, "izo-digest", digester_run, d);
	d->has_thread = !err;
	return err;
}

void digester_stop(struct cache *cache)
{
	struct digester *d = cache->digester;

	if (!d || !d->has_thread)
		return;
	thread_stop(d->thread, &cache->lock, &d->wake, &d->is_stopping);
	d->has_thread = false;
}

void digester_free(struct cache *cache)
{
	struct digester *d = cache->digester;

	if (!d)
		return;
	cache->digester = NULL;
	buf_release(&d->due);
	pthread_cond_destroy(&d->wake);
	pthread_cond_destroy(&d->idle);
	db_close(d->db);
	free(d);
}
