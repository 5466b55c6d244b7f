/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log, written a transaction at a time: what is committed is what others read, whatever its size; what cannot be written
 * is an error and changes nothing.
 */
#include "tests/unit/cache_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "cache/db.h"
#include "cache/wal_vfs.h"

struct pair {
	char dir[64], path[80], wal[90];
	struct db *writer, *reader;
};

static void open_pair(struct pair *pair)
{
	strcpy(pair->dir, "/tmp/izo-wal-XXXXXX");
	assert_non_null(mkdtemp(pair->dir));
	snprintf(pair->path, sizeof(pair->path), "%s/db", pair->dir);
	snprintf(pair->wal, sizeof(pair->wal), "%s-wal", pair->path);
	assert_int_equal(db_open(pair->path, DB_WRITER, true, &pair->writer), 0);
	assert_int_equal(db_exec(pair->writer, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
					       "PRAGMA cache_size = 10; CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB)"), 0);
	assert_int_equal(db_open(pair->path, DB_READER, false, &pair->reader), 0);
}

static void close_pair(struct pair *pair)
{
	char command[100];

	db_close(pair->reader);
	db_close(pair->writer);
	snprintf(command, sizeof(command), "rm -r %s", pair->dir);
	assert_int_equal(system(command), 0);
}

static int64_t number(struct db *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t n;

	assert_int_equal(db_query(db, &stmt, sql, ""), 1);
	n = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return n;
}

static int add(struct db *db, unsigned rows)
{
	for (unsigned i = 0; i < rows; i++) {
		int err = db_run(db, "INSERT INTO t (x) VALUES (randomblob(3000))", "");

		if (err)
			return err;
	}
	return 0;
}

static const char count[] = "SELECT count(*) FROM t";

/* From one row to far more than is gathered or than the connection's memory holds, which is then read back. */
static void committed_is_read(void **state)
{
	static const unsigned sizes[] = { 1, 2, 15, 16, 17, 200, 1000, 1 };
	struct pair pair;
	int64_t total = 0;

	(void)state;
	assert_string_equal(wal_vfs(), "izo-wal");
	open_pair(&pair);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(db_exec(pair.writer, "BEGIN IMMEDIATE"), 0);
		assert_int_equal(add(pair.writer, sizes[i]), 0);
		/* Half of it taken back and made again, over pages that were written out. */
		assert_int_equal(db_exec(pair.writer, "SAVEPOINT half"), 0);
		assert_int_equal(add(pair.writer, sizes[i]), 0);
		assert_int_equal(db_exec(pair.writer, "ROLLBACK TO half; RELEASE half"), 0);
		assert_int_equal(number(pair.writer, count), total + sizes[i]);
		assert_int_equal(number(pair.reader, count), total);
		assert_int_equal(db_exec(pair.writer, "COMMIT"), 0);
		total += sizes[i];
		assert_int_equal(number(pair.reader, count), total);
		if (i == 5)	/* then the log begins anew */
			assert_int_equal(sqlite3_wal_checkpoint_v2(db_handle(pair.reader), "main", SQLITE_CHECKPOINT_PASSIVE,
								   NULL, NULL), SQLITE_OK);
	}
	assert_int_equal(number(pair.reader, "SELECT count(*) FROM t WHERE length(x) = 3000"), total);
	close_pair(&pair);
}

/* Each page of a transaction and the log's frames: one write of the file each would be many more than one. */
static void one_write_for_a_commit(void **state)
{
	char before[2000] = "", after[2000] = "";
	unsigned long was, is;
	struct pair pair;
	FILE *io;

	(void)state;
	open_pair(&pair);
	io = fopen("/proc/thread-self/io", "r");
	if (!io) {
		close_pair(&pair);
		skip();
	}
	setvbuf(io, NULL, _IONBF, 0);
	assert_true(fread(before, 1, sizeof(before) - 1, io) > 0);
	assert_int_equal(db_exec(pair.writer, "BEGIN IMMEDIATE"), 0);
	assert_int_equal(add(pair.writer, 4), 0);
	assert_int_equal(db_exec(pair.writer, "COMMIT"), 0);
	rewind(io);
	assert_true(fread(after, 1, sizeof(after) - 1, io) > 0);
	fclose(io);
	assert_non_null(strstr(before, "syscw: "));
	assert_non_null(strstr(after, "syscw: "));
	was = strtoul(strstr(before, "syscw: ") + 7, NULL, 10);
	is = strtoul(strstr(after, "syscw: ") + 7, NULL, 10);
	assert_in_range(is - was, 1, 2);	/* and the header of a log that begins */
	close_pair(&pair);
}

/* The log's file grows by large pieces: a commit within one of them does not change its size. */
static void grows_by_pieces(void **state)
{
	struct stat first, st;
	struct pair pair;

	(void)state;
	open_pair(&pair);
	assert_int_equal(add(pair.writer, 1), 0);
	assert_int_equal(stat(pair.wal, &first), 0);
	assert_true(first.st_size > 1 << 20);
	assert_true((uint64_t)first.st_blocks * 512 >= 1 << 20);	/* no hole, which would have to be filled later */
	assert_int_equal(add(pair.writer, 10), 0);
	assert_int_equal(stat(pair.wal, &st), 0);
	assert_int_equal(st.st_size, first.st_size);
	assert_int_equal(add(pair.writer, 400), 0);
	assert_int_equal(stat(pair.wal, &st), 0);
	assert_true(st.st_size > first.st_size);
	close_pair(&pair);
}

static int log_pages(void *arg, sqlite3 *handle, const char *name, int pages)
{
	(void)handle;
	(void)name;
	*(int *)arg = pages;
	return SQLITE_OK;
}

/* No room for all of a transaction: an error, nothing of it is there, and the next one goes where it was to go. */
static void no_room(void **state)
{
	struct rlimit was, is;
	uint64_t page_size;
	struct pair pair;
	int pages = 0;
	rlim_t end;

	(void)state;
	open_pair(&pair);
	(void)sqlite3_wal_hook(db_handle(pair.writer), log_pages, &pages);
	assert_int_equal(db_page_size(pair.writer, &page_size), 0);
	assert_int_equal(add(pair.writer, 3), 0);
	end = 32 + (rlim_t)pages * (24 + page_size);	/* the file has zeros from there on */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	for (unsigned rows = 1; rows < 100; rows = rows * 3 + 1) {
		is = was;
		is.rlim_cur = end + 2000;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &is), 0);
		assert_int_equal(db_exec(pair.writer, "BEGIN IMMEDIATE"), 0);
		assert_true(add(pair.writer, rows) || db_exec(pair.writer, "COMMIT"));
		if (!sqlite3_get_autocommit(db_handle(pair.writer)))
			assert_int_equal(db_exec(pair.writer, "ROLLBACK"), 0);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
		assert_int_equal(number(pair.reader, count), 3);
		assert_int_equal(number(pair.writer, count), 3);
	}
	assert_int_equal(add(pair.writer, 50), 0);
	assert_int_equal(number(pair.reader, count), 53);
	db_close(pair.reader);
	db_close(pair.writer);
	assert_int_equal(db_open(pair.path, DB_WRITER, false, &pair.writer), 0);
	assert_int_equal(db_open(pair.path, DB_READER, false, &pair.reader), 0);
	assert_int_equal(number(pair.writer, count), 53);
	assert_int_equal(number(pair.writer, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
	close_pair(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(committed_is_read),
		cmocka_unit_test(one_write_for_a_commit),
		cmocka_unit_test(grows_by_pieces), cmocka_unit_test(no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
