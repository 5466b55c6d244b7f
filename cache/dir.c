/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listing a directory.
 *
 * Names come from the readers' connection in the order of their cookies, some at a time, so that
 * the lock is held shortly; attributes from memory.  A name whose transaction has not committed yet
 * is not seen: nobody has been told of it.
 */
#include <errno.h>
#include <string.h>
#include "cache/access.h"
#include "cache/cache.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/op.h"
#include "cache/park.h"

#define AT_ONCE 32	/* entries under one hold of the lock */

struct entry {
	uint64_t ino, cookie;
	struct attr attr;
	uint8_t len;
	char name[CACHE_NAME_MAX];
};

/* The caller's. */
struct listing {
	struct cache *cache;
	struct cache_op *op;
	bool (*emit)(void *arg, const struct cache_dirent *entry);
	void *arg;
	uint64_t dir, parent;
	bool want_attrs;
};

/* Under the lock.  1: filled in; 0: it is gone by now. */
static int entry_attr(struct listing *l, struct entry *entry)
{
	struct inode *inode;
	int err;

	if (!l->want_attrs)
		return 1;
	inode = inode_get(l->cache, entry->ino, &err);
	if (!inode)
		return err == -ESTALE ? 0 : err;
	inode_attr(inode, &entry->attr);
	inode_put(l->cache, inode);
	return 1;
}

static bool entry_emit(struct listing *l, const struct entry *entry)
{
	struct cache_dirent dirent = {
		.name = { entry->name, entry->len },
		.ino = entry->ino,
		.cookie = entry->cookie,
		.attr = l->want_attrs ? &entry->attr : NULL,
	};

	return l->emit(l->arg, &dirent);
}

/* "." or "..": 1 emitted, 0 did not fit. */
static int emit_dots(struct listing *l, uint64_t cookie)
{
	struct entry entry = { .ino = cookie == 1 ? l->dir : l->parent,
			       .cookie = cookie,
			       .len = cookie };
	int got;

	memcpy(entry.name, "..", cookie);
	pthread_mutex_lock(&l->cache->lock);
	got = entry_attr(l, &entry);
	pthread_mutex_unlock(&l->cache->lock);
	if (got <= 0)
		return got ? got : 1;
	return entry_emit(l, &entry);
}

/*
 * Up to AT_ONCE entries after the cookie.  *ret_read: rows seen, for some of which there may be no
 * entry.
 */
static int read_some(struct listing *l, uint64_t cookie, struct entry *entries, unsigned *ret_n,
		     unsigned *ret_read, uint64_t *ret_cookie)
{
	unsigned n = 0, rows = 0;
	sqlite3_stmt *stmt;
	int got;

	pthread_mutex_lock(&l->cache->lock);
	got = db_query(
		l->cache->read_db, &stmt,
		"SELECT name, ino, cookie FROM name WHERE dir = ?1 AND cookie > ?2 AND ino > 0"
		" ORDER BY cookie LIMIT ?3",
		"iii", (int64_t)l->dir, (int64_t)cookie, (int64_t)AT_ONCE);
	while (got > 0) {
		struct entry *entry = &entries[n];
		struct slice name = db_column(stmt, 0);

		entry->len = MIN(name.len, (size_t)CACHE_NAME_MAX);
		memcpy(entry->name, name.data, entry->len);
		entry->ino = sqlite3_column_int64(stmt, 1);
		entry->cookie = *ret_cookie = sqlite3_column_int64(stmt, 2);
		rows++;
		got = entry_attr(l, entry);
		if (got < 0) {
			db_done(stmt);
			break;
		}
		n += got;
		got = db_next(stmt);
	}
	pthread_mutex_unlock(&l->cache->lock);
	*ret_n = n;
	*ret_read = rows;
	return got;
}

static int list_from(struct listing *l, uint64_t cookie)
{
	struct entry entries[AT_ONCE];
	unsigned n, rows;
	int got;

	for (; cookie < 2; cookie++) {
		got = emit_dots(l, cookie + 1);
		if (got <= 0)
			return got;
	}
	do {
		got = read_some(l, cookie, entries, &n, &rows, &cookie);
		if (got < 0)
			return got == -ENOMEM ? got : -EIO;
		for (unsigned i = 0; i < n; i++) {
			if (!entry_emit(l, &entries[i]))
				return 0;
		}
	} while (rows == AT_ONCE);
	l->op->is_eof = true;
	return 0;
}

/*
 * Arguments: num[0] directory, num[2] cookie, num[3] attributes are wanted, args[0] emit,
 * priv.extra its arg.
 */
static int readdir_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct listing l = { .cache = cache, .op = op, .dir = op->priv.num[0] };
	struct inode *dir;
	int got;

	memcpy(&l.emit, &op->priv.args[0], sizeof(l.emit));
	l.arg = op->priv.extra;
	l.want_attrs = op->priv.num[3];
	pthread_mutex_lock(&cache->lock);
	dir = op_get_dir(op, l.dir, &got);
	if (dir) {
		got = access_check(&op->cred, &dir->v, WANT_READ);	/* 0: go on */
		l.parent = dir->ino == CACHE_ROOT ? CACHE_ROOT : dir->v.parent;
		op_result_now(op, dir);
		inode_put(cache, dir);
	}
	pthread_mutex_unlock(&cache->lock);
	if (!dir && got != CACHE_WAITS)
		return op_refuse(op, got);
	if (got)
		return got;
	return list_from(&l, op->priv.num[2]);
}

int cache_readdir(struct cache *cache, struct cache_op *op, uint64_t dir, uint64_t cookie,
		  bool want_attrs, bool (*emit)(void *arg, const struct cache_dirent *entry),
		  void *arg)
{
	op_begin(cache, op, readdir_again);
	op->priv.num[0] = op->priv.object = dir;
	op->priv.num[2] = MIN(cookie, CACHE_COOKIE_MAX);	/* a negative one would list all of it again */
	op->priv.num[3] = want_attrs;
	memcpy(&op->priv.args[0], &emit, sizeof(emit));
	op->priv.extra = arg;
	return readdir_again(op);
}
