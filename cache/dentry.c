/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/dentry.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <errno.h>
#include <string.h>
#include "base/buf.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/writer.h"

#define SWEEP 16		/* names looked at for one that comes */
#define PATH_DEPTH_MAX 4096	/* a longer way up is a circle */

struct touch;

struct dentry {
	struct hash_node node;
	struct name_info info;
	struct touch *touch;		/* writer thread: what the present change makes of it */
	uint64_t dir;
	uint32_t pins;			/* by transactions that have not committed */
	bool is_known;		/* else the row is to be read */
	bool exists;		/* there is a row; a tombstone too */
	bool is_recent;		/* used since the sweep came by */
	uint8_t len;
	char name[];
};

/* A name in change->names. */
struct touch {
	struct list node;
	struct dentry *dentry;
	bool exists;
	struct name_info info;
};

/* ---- memory; under the lock ---- */

static uint64_t name_hash(uint64_t dir, struct slice name)
{
	return hash_bytes(name.data, name.len, hash_u64(dir));
}

/* Names that are not there count too, and files with several. */
static uint64_t dentries_max(const struct cache *cache)
{
	return cache->max_inodes * 2;
}

static void dentry_free(struct cache *cache, struct dentry *dentry)
{
	hash_remove(&cache->dentries, &dentry->node);
	cache->n_dentries--;
	free(dentry);
}

/* As inodes are swept (inode.c). */
static bool dentry_swept(struct hash_node *node, void *arg)
{
	struct dentry *dentry = container_of(node, struct dentry, node);
	struct cache *cache = arg;

	if (dentry->is_recent)
		dentry->is_recent = false;
	else if (!dentry->pins && !dentry->touch)
		dentry_free(cache, dentry);
	return cache->n_dentries >= dentries_max(cache);
}

static void dentry_shrink(struct cache *cache)
{
	if (cache->n_dentries >= dentries_max(cache))
		hash_sweep(&cache->dentries, &cache->dentry_hand, SWEEP, dentry_swept, cache);
}

static struct dentry *dentry_find(struct cache *cache, uint64_t dir, struct slice name)
{
	for (struct hash_node *n = hash_first(&cache->dentries, name_hash(dir, name)); n;
	     n = hash_next(n)) {
		struct dentry *dentry = container_of(n, struct dentry, node);

		if (dentry->dir != dir || dentry->len != name.len ||
		    memcmp(dentry->name, name.data, name.len))
			continue;
		dentry->is_recent = true;
		return dentry;
	}
	return NULL;
}

static struct dentry *dentry_make(struct cache *cache, uint64_t dir, struct slice name)
{
	struct dentry *dentry;

	assert(name.len && name.len <= CACHE_NAME_MAX);
	dentry_shrink(cache);
	dentry = calloc(1, sizeof(*dentry) + name.len);
	if (!dentry)
		return NULL;
	dentry->dir = dir;
	dentry->len = name.len;
	memcpy(dentry->name, name.data, name.len);
	hash_insert(&cache->dentries, &dentry->node, name_hash(dir, name));
	cache->n_dentries++;
	return dentry;
}

static int dentry_read(struct cache *cache, struct dentry *dentry)
{
	struct slice name = { dentry->name, dentry->len };
	sqlite3_stmt *stmt;
	int got;

	/* Either connection gives the same: what the open transaction has touched is pinned in memory, and not read. */
	got = db_query(writer_db_or_read(cache), &stmt,
		       "SELECT ino, cookie, seq FROM name WHERE dir = ?1 AND name = ?2", "ib",
		       (int64_t)dentry->dir, name);
	if (got < 0)
		return got == -ENOMEM ? got : -EIO;
	dentry->exists = got;
	dentry->info = (struct name_info){ 0 };
	if (got) {
		dentry->info.ino = sqlite3_column_int64(stmt, 0);
		dentry->info.cookie = sqlite3_column_int64(stmt, 1);
		dentry->info.seq = sqlite3_column_int64(stmt, 2);
		db_done(stmt);
	}
	dentry->is_known = true;
	return 0;
}

/* The dentry, its state known. */
static int dentry_get(struct cache *cache, uint64_t dir, struct slice name,
		      struct dentry **ret_dentry)
{
	struct dentry *dentry;
	int err;

	dentry = dentry_find(cache, dir, name);
	if (!dentry)
		dentry = dentry_make(cache, dir, name);
	if (!dentry)
		return -ENOMEM;
	if (!dentry->is_known && !dentry->touch) {
		err = dentry_read(cache, dentry);
		if (err)
			return err;
	}
	*ret_dentry = dentry;
	return 0;
}

int name_get(struct cache *cache, uint64_t dir, struct slice name, struct name_info *ret)
{
	struct dentry *dentry;
	bool exists;
	int err;

	err = dentry_get(cache, dir, name, &dentry);
	if (err)
		return err;
	if (dentry->touch && writer_is_self(cache)) {
		exists = dentry->touch->exists;
		if (exists)
			*ret = dentry->touch->info;
		return exists;
	}
	if (!dentry->is_known) {
		err = dentry_read(cache, dentry);
		if (err)
			return err;
	}
	if (dentry->exists)
		*ret = dentry->info;
	return dentry->exists;
}

/* ---- touching, on the writer thread ---- */

/* The name as this change has it so far, to be changed. */
static int name_touch(struct change *change, uint64_t dir, struct slice name,
		      struct touch **ret_touch)
{
	struct cache *cache = change->cache;
	struct dentry *dentry;
	struct touch *touch;
	int err;

	pthread_mutex_lock(&cache->lock);
	err = dentry_get(cache, dir, name, &dentry);
	if (err || dentry->touch)
		goto out;
	touch = calloc(1, sizeof(*touch));
	if (!touch) {
		err = -ENOMEM;
		goto out;
	}
	touch->dentry = dentry;
	touch->exists = dentry->exists;
	touch->info = dentry->info;
	dentry->touch = touch;
	list_append(&change->names, &touch->node);
out:
	pthread_mutex_unlock(&cache->lock);
	if (!err)
		*ret_touch = dentry->touch;
	return err;
}

static int name_put(struct change *change, uint64_t dir, struct slice name, struct touch *touch,
		    struct name_info info)
{
	int err;

	err = db_run(
		writer_db(change->cache),
		"INSERT OR REPLACE INTO name (dir, name, ino, cookie, seq) VALUES (?1, ?2, ?3, ?4,"
		" ?5)",
		"ibiii", (int64_t)dir, name, (int64_t)info.ino, (int64_t)info.cookie,
		(int64_t)info.seq);
	if (err)
		return err;
	touch->exists = true;
	touch->info = info;
	return 0;
}

static int name_delete(struct change *change, uint64_t dir, struct slice name, struct touch *touch)
{
	int err;

	err = db_run(writer_db(change->cache), "DELETE FROM name WHERE dir = ?1 AND name = ?2",
		     "ib", (int64_t)dir, name);
	if (err)
		return err;
	touch->exists = false;
	touch->info = (struct name_info){ 0 };
	return 0;
}

int name_bind(struct change *change, uint64_t dir, struct slice name, uint64_t ino, uint64_t seq)
{
	struct name_info info = { .ino = ino, .seq = seq };
	struct touch *touch;
	int err;

	err = name_touch(change, dir, name, &touch);
	if (err)
		return err;
	/*
	 * A name that comes back is a new entry: a listing that had passed the old one must find
	 * it.
	 */
	if (touch->exists && touch->info.ino)
		info.cookie = touch->info.cookie;
	else
		info.cookie = counter_take(change->cache, COUNTER_COOKIE);
	return name_put(change, dir, name, touch, info);
}

int name_unbind(struct change *change, uint64_t dir, struct slice name, uint64_t seq)
{
	struct touch *touch;
	int err;

	err = name_touch(change, dir, name, &touch);
	if (err)
		return err;
	if (!seq)
		return touch->exists ? name_delete(change, dir, name, touch) : 0;
	return name_put(change, dir, name, touch, (struct name_info){
		.cookie = touch->exists ? touch->info.cookie : counter_take(change->cache, COUNTER_COOKIE),
		.seq = seq,
	});
}

int name_mark(struct change *change, uint64_t dir, struct slice name, uint64_t seq)
{
	struct name_info info;
	struct touch *touch;
	int err;

	err = name_touch(change, dir, name, &touch);
	if (err)
		return err;
	if (!touch->exists)
		return -ENOENT;
	info = touch->info;
	info.seq = seq;
	return name_put(change, dir, name, touch, info);
}

int name_retire(struct change *change, uint64_t dir, struct slice name, uint64_t seq)
{
	struct name_info info;
	struct touch *touch;
	int err;

	err = name_touch(change, dir, name, &touch);
	if (err)
		return err;
	if (!touch->exists || touch->info.seq != seq)
		return 0;
	if (!touch->info.ino)
		return name_delete(change, dir, name, touch);
	info = touch->info;
	info.seq = 0;
	return name_put(change, dir, name, touch, info);
}

void names_apply(struct change *change)
{
	struct touch *touch;

	list_each(touch, &change->names, node) {
		struct dentry *dentry = touch->dentry;

		dentry->exists = touch->exists;
		dentry->info = touch->info;
		dentry->is_known = true;
		dentry->touch = NULL;
		dentry->pins++;
	}
}

void names_release(struct change *change, bool is_applied)
{
	struct touch *touch, *next;

	list_each_safe(touch, next, &change->names, node) {
		if (is_applied)
			touch->dentry->pins--;
		else
			touch->dentry->touch = NULL;
		list_del(&touch->node);
		free(touch);
	}
}

void names_revert(struct change *change)
{
	struct touch *touch;

	list_each(touch, &change->names, node)
		touch->dentry->is_known = false;
	names_release(change, true);
}

static void dentry_drain(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct dentry, node));
}

void name_cache_release(struct cache *cache)
{
	hash_drain(&cache->dentries, dentry_drain, NULL);
	hash_release(&cache->dentries);
	cache->n_dentries = 0;
}

/* ---- many names ---- */

/* One row, copied, for the callbacks may use the same statements. */
struct row {
	uint64_t dir;
	struct name_info info;
	uint32_t len;
};

static int rows_read(struct db *db, const char *sql, uint64_t key, struct buf *buf)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(db, &stmt, sql, "i", (int64_t)key);
	while (got > 0) {
		struct slice name = db_column(stmt, 1);
		struct row row = {
			.dir = sqlite3_column_int64(stmt, 0),
			.info = {
				.ino = sqlite3_column_int64(stmt, 2),
				.cookie = sqlite3_column_int64(stmt, 3),
				.seq = sqlite3_column_int64(stmt, 4),
			},
			.len = name.len,
		};

		(void)buf_append(buf, &row, sizeof(row));	/* the error sticks */
		(void)buf_append(buf, name.data, name.len);
		if (buf_error(buf)) {
			db_done(stmt);
			return buf_error(buf);
		}
		got = db_next(stmt);
	}
	return got;
}

static bool rows_next(const struct buf *buf, size_t *at, struct row *ret_row,
		      struct slice *ret_name)
{
	if (*at >= buf->len)
		return false;
	memcpy(ret_row, buf->data + *at, sizeof(*ret_row));
	*ret_name = (struct slice){ buf->data + *at + sizeof(*ret_row), ret_row->len };
	*at += sizeof(*ret_row) + ret_row->len;
	return true;
}

int name_each_of(struct cache *cache, uint64_t ino,
		 int (*fn)(void *arg, uint64_t dir, struct slice name,
			   const struct name_info *info),
		 void *arg)
{
	struct slice name;
	struct row row;
	struct buf buf;
	size_t at = 0;
	int err;

	buf_init(&buf, 0);
	err = rows_read(writer_db_or_read(cache),
			"SELECT dir, name, ino, cookie, seq FROM name WHERE ino = ?1 AND ino > 0",
			ino, &buf);
	while (!err && rows_next(&buf, &at, &row, &name))
		err = fn(arg, row.dir, name, &row.info);
	buf_release(&buf);
	return err;
}

int name_each_in(struct cache *cache, uint64_t dir,
		 int (*fn)(void *arg, struct slice name, const struct name_info *info), void *arg)
{
	struct slice name;
	struct row row;
	struct buf buf;
	size_t at = 0;
	int err;

	buf_init(&buf, 0);
	err = rows_read(writer_db_or_read(cache),
			"SELECT dir, name, ino, cookie, seq FROM name WHERE dir = ?1", dir, &buf);
	while (!err && rows_next(&buf, &at, &row, &name))
		err = fn(arg, name, &row.info);
	buf_release(&buf);
	return err;
}

int name_any_in(struct cache *cache, uint64_t dir)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db_or_read(cache), &stmt,
		       "SELECT 1 FROM name WHERE dir = ?1 AND ino > 0 LIMIT 1", "i", (int64_t)dir);
	if (got > 0)
		db_done(stmt);
	return got;
}

int name_any_marked_in(struct cache *cache, uint64_t dir)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db_or_read(cache), &stmt, "SELECT 1 FROM name WHERE dir = ?1 AND seq <> 0 LIMIT 1", "i", (int64_t)dir);
	if (got > 0)
		db_done(stmt);
	return got;
}

int64_t name_count_of(struct cache *cache, uint64_t ino)
{
	sqlite3_stmt *stmt;
	int64_t n = 0;
	int got;

	got = db_query(writer_db_or_read(cache), &stmt,
		       "SELECT count(*) FROM name WHERE ino = ?1 AND ino > 0", "i", (int64_t)ino);
	if (got <= 0)
		return got;
	n = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return n;
}

void name_path_before(struct db *db, uint64_t ino, char *path, size_t *io_start)
{
	for (unsigned depth = 0; ino != CACHE_ROOT && depth < PATH_DEPTH_MAX; depth++) {
		struct slice name;
		sqlite3_stmt *stmt;

		if (db_query(db, &stmt, "SELECT dir, name FROM name WHERE ino = ?1 AND ino > 0 LIMIT 1", "i", (int64_t)ino) <= 0)
			break;
		ino = sqlite3_column_int64(stmt, 0);
		name = db_column(stmt, 1);
		if (name.len + 1 > *io_start || memchr(name.data, '\0', name.len)) {
			db_done(stmt);
			break;
		}
		*io_start -= name.len;
		memcpy(path + *io_start, name.data, name.len);
		path[--*io_start] = '/';
		db_done(stmt);
	}
}

void name_path(struct cache *cache, uint64_t ino, char *ret_path, uint64_t size)
{
	size_t start = size - 1;

	ret_path[start] = '\0';
	name_path_before(writer_db_or_read(cache), ino, ret_path, &start);
	if (start == size - 1 && start > 0)
		ret_path[--start] = '/';
	memmove(ret_path, ret_path + start, size - start);
}

void name_path_in(struct cache *cache, uint64_t dir, struct slice name, char *ret_path, uint64_t size)
{
	size_t len;

	name_path(cache, dir, ret_path, size);
	len = strlen(ret_path);
	len -= len && ret_path[len - 1] == '/';		/* the root's */
	(void)snprintf(ret_path + len, size - len, "/%.*s", (int)name.len, (const char *)name.data);
}

bool name_is_local(struct slice name)
{
	const char *text = name.data;

	if (name.len != 28 || memcmp(text, ".nfs", 4))
		return false;
	for (size_t i = 4; i < name.len; i++) {
		if (!isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}
