/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SQLite's codes, statements, formats that are refused, the lock, and values that last as long as
 * the cache.
 */
#include "tests/unit/cache_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "cache/internal.h"
#include "cache/writer.h"

static const struct {
	int rc, want;
} code_cases[] = {
	{ SQLITE_OK, 0 },
	{ SQLITE_ROW, 0 },
	{ SQLITE_DONE, 0 },
	{ SQLITE_FULL, -ENOSPC },
	{ SQLITE_NOMEM, -ENOMEM },
	{ SQLITE_IOERR_NOMEM, -EIO },
	{ SQLITE_IOERR, -EIO },
	{ SQLITE_IOERR_FSYNC, -EIO },
	{ SQLITE_BUSY, -EBUSY },
	{ SQLITE_LOCKED, -EBUSY },
	{ SQLITE_BUSY_SNAPSHOT, -EBUSY },
	{ SQLITE_CONSTRAINT_UNIQUE, -EEXIST },
	{ SQLITE_CORRUPT, -EUCLEAN },
	{ SQLITE_CORRUPT_INDEX, -EUCLEAN },
	{ SQLITE_NOTADB, -EUCLEAN },
	{ SQLITE_TOOBIG, -EFBIG },
	{ SQLITE_ERROR, -EIO },
	{ SQLITE_MISUSE, -EIO },
	{ SQLITE_READONLY, -EIO },
	{ SQLITE_CANTOPEN, -EIO },
	{ SQLITE_PROTOCOL, -EIO },
	{ SQLITE_SCHEMA, -EIO },
	{ SQLITE_INTERRUPT, -EIO },
};

static void codes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(code_cases); i++)
		assert_int_equal(db_errno(code_cases[i].rc), code_cases[i].want);
	/* Whatever else there is or will be: an error, never 0. */
	for (int rc = 1; rc < 100; rc++)
		assert_true(db_errno(rc) < 0);
}

static void statements(void **state)
{
	static const char get[] = "SELECT value FROM meta WHERE key = ?1";
	struct fixture *f = *state;
	sqlite3_stmt *stmt, *again;
	struct db *db;
	char path[128];

	snprintf(path, sizeof(path), "%s/cache.db", f->dir);
	assert_int_equal(db_open("/nowhere/cache.db", DB_WRITER, true, &db), -ENOENT);
	assert_int_equal(db_open(path, DB_WRITER, false, &db), 0);
	assert_int_equal(db_run(db, "INSERT INTO meta VALUES (?1, ?2)", "ti", "k", (int64_t)-7), 0);
	assert_int_equal(db_run(db, "INSERT INTO meta VALUES (?1, ?2)", "tb", "k", text("v")),
			 -EEXIST);
	assert_int_equal(db_query(db, &stmt, get, "t", "k"), 1);
	assert_int_equal(sqlite3_column_int64(stmt, 0), -7);
	assert_int_equal(db_next(stmt), 0);
	assert_int_equal(db_query(db, &again, get, "t", "none"), 0);
	assert_int_equal(db_prepare(db, get, &again), 0);
	assert_ptr_equal(stmt, again);
	assert_int_equal(db_run(db, "nonsense", ""), -EIO);
	db_close(db);
	/* A reader cannot write. */
	assert_int_equal(db_open(path, DB_READER, false, &db), 0);
	assert_true(db_run(db, "DELETE FROM meta", "") < 0);
	db_close(db);
}

static void assert_refused(struct fixture *f, int err, const char *word)
{
	struct cache *cache;
	char *why = NULL;

	assert_int_equal(cache_open(&f->config, &cache, &why), err);
	assert_non_null(why);
	if (!strstr(why, word))
		fail_msg("%s", why);
	free(why);
}

static void refused_formats(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int fd;

	f_close(f);
	exec_sql(f, "PRAGMA user_version = 12");
	assert_refused(f, -EPROTO, "newer");
	exec_sql(f, "PRAGMA user_version = 11; PRAGMA application_id = 5");
	assert_refused(f, -EUCLEAN, "not the database of an izo cache");
	exec_sql(f, "PRAGMA application_id = 0x697a6f63; ALTER TABLE name RENAME TO eman");
	assert_refused(f, -EUCLEAN, "table name is missing");
	exec_sql(f, "ALTER TABLE eman RENAME TO name; DELETE FROM meta WHERE key = 'handle_key'");
	assert_refused(f, -EUCLEAN, "");
	snprintf(path, sizeof(path), "%s/cache.db", f->dir);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "this is no database", 19, 0), 19);
	close(fd);
	assert_refused(f, -EUCLEAN, "cache.db");
}

static void one_daemon(void **state)
{
	struct fixture *f = *state;
	char *why = NULL;

	assert_refused(f, -EBUSY, "another daemon");
	assert_int_equal(cml_mark_offline(f->dir, true, &why), -EBUSY);
	assert_non_null(why);
	free(why);
	assert_false(cml_is_offline(f->cache));
}

static void offline_is_sticky(void **state)
{
	struct fixture *f = *state;
	char *why = NULL;

	assert_int_equal(cml_set_offline(f->cache, true), 0);
	assert_true(cml_is_offline(f->cache));
	f_reopen(f);
	assert_true(cml_is_offline(f->cache));
	f_close(f);
	assert_int_equal(cml_mark_offline(f->dir, false, NULL), 0);
	f_open(f);
	assert_false(cml_is_offline(f->cache));
	assert_int_equal(cml_mark_offline("/nowhere", true, &why), -ENOENT);
	assert_non_null(why);
	free(why);
}

static void identity(void **state)
{
	struct fixture *f = *state, other;
	uint8_t key[32], again[32];
	uint64_t client = cml_client_id(f->cache);
	uint32_t tree = cache_tree_id(f->cache);

	cache_handle_key(f->cache, key);
	assert_true(client != 0);
	f_reopen(f);
	cache_handle_key(f->cache, again);
	assert_memory_equal(key, again, 32);
	assert_true(cml_client_id(f->cache) == client);
	assert_int_equal(cache_tree_id(f->cache), tree);
	f_init(&other);
	f_open(&other);
	assert_true(cml_client_id(other.cache) != client);
	f_close(&other);
	f_remove_dir(&other);
}

/* Root's alone: one that is made, and one that somebody made beforehand. */
static void is_private(void **state)
{
	struct fixture *f = *state;
	mode_t before = umask(0);
	char path[100];

	f_close(f);
	snprintf(path, sizeof(path), "%s/made/below", f->dir);
	f->config.dir = path;
	for (int i = 0; i < 2; i++) {
		struct stat st;

		f_open(f);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
		f_close(f);
		assert_int_equal(chmod(path, 0755), 0);
	}
	(void)umask(before);
	f->config.dir = f->dir;
}

/* Without starts_empty the root is there, and what is in it is not known. */
static void new_cache_knows_nothing(void **state)
{
	struct fixture f;

	(void)state;
	f_init(&f);
	f.config.starts_empty = false;
	f_open(&f);
	assert_int_equal(f_getattr(&f, ROOT), 0);
	assert_int_equal(f.op.attr.type, TYPE_DIR);
	assert_int_equal(f_lookup(&f, ROOT, "x"), -EIO);
	f_close(&f);
	f_remove_dir(&f);
}

static void facts(void **state)
{
	struct fixture *f = *state;
	struct cache_status status;
	struct cache_fsstat st;

	made(f, ROOT, "a", "content");
	assert_int_equal(cache_fsstat(f->cache, &st), 0);
	assert_true(st.total_bytes >= st.free_bytes && st.free_bytes >= st.avail_bytes &&
		    st.total_files > 0);
	cache_status(f->cache, &status);
	assert_int_equal(status.inodes, 2);
	assert_int_equal(status.objects, 1);
	assert_true(status.content_bytes > 0);
	assert_false(status.is_failed);
	assert_string_equal(status.upstream_id, "");
}

/* ---- statements are compiled once ---- */

/* How often any of its statements was compiled again. */
static unsigned compiled_again(struct db *db)
{
	unsigned times = 0;

	for (sqlite3_stmt *stmt = sqlite3_next_stmt(db_handle(db), NULL); stmt; stmt = sqlite3_next_stmt(db_handle(db), stmt)) {
		unsigned n = (unsigned)sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_REPREPARE, 0);

		if (n)
			print_message("%u times: %s\n", n, sqlite3_sql(stmt));
		times += n;
	}
	return times;
}

static void compiled_once(void **state)
{
	struct fixture *f = *state;
	unsigned again;
	char name[20];

	for (unsigned i = 0; i < 10; i++) {
		struct kml_answer answers[20] = { 0 };
		struct cml_batch *batch;
		uint64_t ino;

		snprintf(name, sizeof(name), "f%u", i);
		ino = made(f, ROOT, name, "content");
		assert_int_equal(f_rename(f, ROOT, name, ROOT, "same"), 0);
		assert_int_equal(f_chmod(f, ino, 0600), 0);
		assert_int_equal(f_write(f, ino, 3, "more"), 0);
		assert_int_equal(f_commit(f, ino), 0);
		assert_int_equal(cml_take(f->cache, 20, UINT64_MAX, &batch), 0);
		for (size_t k = 0; k < batch->n; k++)
			answers[k] = (struct kml_answer){ .seq = batch->items[k].record.seq, .made_version = 10 + i };
		assert_int_equal(cml_retire(f->cache, batch, answers, batch->n), 0);
	}
	pthread_mutex_lock(&f->cache->lock);
	again = compiled_again(f->cache->write_db) + compiled_again(f->cache->read_db);
	pthread_mutex_unlock(&f->cache->lock);
	assert_int_equal(again, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes),
		T(statements),
		T(refused_formats),
		T(one_daemon),
		T(offline_is_sticky),
		T(identity),
		T(is_private),
		cmocka_unit_test(new_cache_knows_nothing),
		T(facts),
		T(compiled_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
