/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache_fixture: a cache in a directory of its own, and its operations as plain calls that wait.
 *
 * Operations run on the test's own loop, in the test's thread.  Each gives 0 or -errno; results are
 * in f->op.
 */
#ifndef TESTS_CACHE_FIXTURE_H
#define TESTS_CACHE_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/loop.h"
#include "cache/cache.h"
#include "cache/cml.h"
#include "cache/db.h"
#include "cache/fetcher.h"
#include "tests/unit/where.h"

#define ROOT 2ull
#define UNUSED __attribute__((unused))

struct fixture {
	struct cache_config config;
	char dir[64];
	struct cache *cache;
	struct loop *loop;
	struct cache_op op;
	struct cred cred;		/* of the next operations */
	uint64_t wait_us;		/* their deadline, from now */
	bool has_token;			/* and their token */
	uint8_t token[CACHE_TOKEN_LEN];
	bool is_done;
};

static UNUSED struct slice text(const char *s)
{
	return (struct slice){ s, strlen(s) };
}

static UNUSED void f_open(struct fixture *f)
{
	char *why = NULL;
	int err;

	assert_int_equal(loop_new(&f->loop), 0);
	err = cache_open(&f->config, &f->cache, &why);
	if (err)
		print_error("cache_open: %d %s\n", err, why ? why : "");
	assert_int_equal(err, 0);
	free(why);
}

static UNUSED void f_close(struct fixture *f)
{
	cache_close(f->cache);
	loop_free(f->loop);
	f->cache = NULL;
	f->loop = NULL;
}

static UNUSED void f_reopen(struct fixture *f)
{
	f_close(f);
	f_open(f);
}

/* For tests of something else: the log keeps what could be folded. */
static UNUSED void f_keep_records(struct fixture *f)
{
	f->config.no_fold = true;
	f_reopen(f);
}

static UNUSED void f_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "%s/izo-cache-XXXXXX", test_dir());
	assert_non_null(mkdtemp(f->dir));
	f->config = (struct cache_config){ .dir = f->dir, .no_sync = true, .starts_empty = true };
	f->wait_us = 2 * US_PER_S;
}

static UNUSED void f_remove_dir(struct fixture *f)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
}

static UNUSED int f_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f_init(f);
	f_open(f);
	*state = f;
	return 0;
}

static UNUSED int f_teardown(void **state)
{
	struct fixture *f = *state;

	if (f->cache)
		f_close(f);
	f_remove_dir(f);
	free(f);
	return 0;
}

/* On a cache that is closed. */
static UNUSED void exec_sql(struct fixture *f, const char *sql)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/cache.db", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* ---- operations ---- */

static UNUSED void f_op_done(struct cache_op *op)
{
	struct fixture *f = container_of(op, struct fixture, op);

	f->is_done = true;
	loop_stop(f->loop);
}

static UNUSED struct cache_op *f_begin(struct fixture *f)
{
	memset(&f->op, 0, sizeof(f->op));
	f->op.done = f_op_done;
	f->op.loop = f->loop;
	f->op.deadline_us = clock_us() + f->wait_us;
	f->op.cred = f->cred;
	f->op.has_token = f->has_token;
	memcpy(f->op.token, f->token, sizeof(f->token));
	f->is_done = false;
	return &f->op;
}

static UNUSED int f_wait(struct fixture *f, int got)
{
	if (got != CACHE_WAITS)
		return got;
	while (!f->is_done)
		assert_int_equal(loop_run(f->loop), 0);
	return f->op.err;
}

static UNUSED int f_getattr(struct fixture *f, uint64_t ino)
{
	return f_wait(f, cache_getattr(f->cache, f_begin(f), ino));
}

static UNUSED int f_setattr(struct fixture *f, uint64_t ino, const struct attr_change *change)
{
	return f_wait(f, cache_setattr(f->cache, f_begin(f), ino, change, NULL));
}

static UNUSED int f_truncate(struct fixture *f, uint64_t ino, uint64_t size)
{
	struct attr_change change = { .set = SET_SIZE, .size = size };

	return f_setattr(f, ino, &change);
}

static UNUSED int f_chmod(struct fixture *f, uint64_t ino, uint32_t mode)
{
	struct attr_change change = { .set = SET_MODE, .mode = mode };

	return f_setattr(f, ino, &change);
}

static UNUSED int f_lookup(struct fixture *f, uint64_t dir, const char *name)
{
	return f_wait(f, cache_lookup(f->cache, f_begin(f), dir, text(name)));
}

static UNUSED int f_create(struct fixture *f, uint64_t dir, const char *name, uint32_t mode)
{
	struct attr_change change = { .set = SET_MODE, .mode = mode };

	return f_wait(f, cache_create(f->cache, f_begin(f), dir, text(name), CREATE_GUARDED,
				      &change, NULL));
}

static UNUSED int f_mkdir(struct fixture *f, uint64_t dir, const char *name, uint32_t mode)
{
	struct attr_change change = { .set = SET_MODE, .mode = mode };

	return f_wait(f, cache_mkdir(f->cache, f_begin(f), dir, text(name), &change));
}

static UNUSED int f_symlink(struct fixture *f, uint64_t dir, const char *name, const char *target)
{
	return f_wait(f, cache_symlink(f->cache, f_begin(f), dir, text(name), text(target), NULL));
}

static UNUSED int f_remove(struct fixture *f, uint64_t dir, const char *name)
{
	return f_wait(f, cache_remove(f->cache, f_begin(f), dir, text(name)));
}

static UNUSED int f_rmdir(struct fixture *f, uint64_t dir, const char *name)
{
	return f_wait(f, cache_rmdir(f->cache, f_begin(f), dir, text(name)));
}

static UNUSED int f_rename(struct fixture *f, uint64_t from_dir, const char *from, uint64_t to_dir,
			   const char *to)
{
	return f_wait(f,
		      cache_rename(f->cache, f_begin(f), from_dir, text(from), to_dir, text(to)));
}

static UNUSED int f_link(struct fixture *f, uint64_t ino, uint64_t dir, const char *name)
{
	return f_wait(f, cache_link(f->cache, f_begin(f), ino, dir, text(name)));
}

static UNUSED int f_write_as(struct fixture *f, uint64_t ino, uint64_t offset, const void *data,
			     uint32_t len, enum stability want)
{
	return f_wait(f, cache_write(f->cache, f_begin(f), ino, offset, data, len, want));
}

static UNUSED int f_write(struct fixture *f, uint64_t ino, uint64_t offset, const char *data)
{
	return f_write_as(f, ino, offset, data, strlen(data), UNSTABLE);
}

static UNUSED int f_commit(struct fixture *f, uint64_t ino)
{
	return f_wait(f, cache_commit(f->cache, f_begin(f), ino));
}

static UNUSED int f_read(struct fixture *f, uint64_t ino, uint64_t offset, void *data, uint32_t len)
{
	return f_wait(f, cache_read(f->cache, f_begin(f), ino, offset, data, len));
}

/* ---- the same, for what must work ---- */

/* Makes a file with content and gives its number. */
static UNUSED uint64_t made(struct fixture *f, uint64_t dir, const char *name, const char *content)
{
	uint64_t ino;

	assert_int_equal(f_create(f, dir, name, 0644), 0);
	ino = f->op.ino;
	if (content) {
		assert_int_equal(f_write(f, ino, 0, content), 0);
		assert_int_equal(f_commit(f, ino), 0);
	}
	return ino;
}

static UNUSED uint64_t made_dir(struct fixture *f, uint64_t dir, const char *name)
{
	assert_int_equal(f_mkdir(f, dir, name, 0755), 0);
	return f->op.ino;
}

static UNUSED uint64_t found(struct fixture *f, uint64_t dir, const char *name)
{
	return f_lookup(f, dir, name) ? 0 : f->op.ino;
}

static UNUSED void assert_content(struct fixture *f, uint64_t ino, const char *want)
{
	char got[4096] = { 0 };

	assert_int_equal(f_read(f, ino, 0, got, sizeof(got) - 1), 0);
	assert_int_equal(f->op.count, strlen(want));
	assert_true(f->op.is_eof);
	assert_string_equal(got, want);
}

/* How many content files there are; removes them, too. */
static UNUSED unsigned f_content_files(struct fixture *f, bool is_removing)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 256; i++) {
		struct dirent *entry;
		char path[128];
		DIR *dir;

		snprintf(path, sizeof(path), "%s/objects/%02x", f->dir, i);
		dir = opendir(path);
		assert_non_null(dir);
		while ((entry = readdir(dir))) {
			if (entry->d_name[0] == '.')
				continue;
			n++;
			if (is_removing)
				assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
		}
		closedir(dir);
	}
	return n;
}

/* The database of a cache, which may be open. */
static UNUSED sqlite3 *open_db(struct fixture *f)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/cache.db", f->dir);
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
	return db;
}

/* One number from it. */
static UNUSED int64_t query(struct fixture *f, const char *sql)
{
	sqlite3 *db = open_db(f);
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return value;
}

#endif
