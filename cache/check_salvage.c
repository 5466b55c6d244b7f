/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A database that SQLite finds damaged: every row that can still be read goes into a new one.
 *
 * A table is read from its beginning, and where that breaks off from its end, so that one bad page costs the rows on it only.
 * Indices are made anew.  The old one is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "cache/check_state.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "cache/schema.h"

#define NEW "cache.db.new"
#define OLD "cache.db.damaged"

static const struct table {
	const char *name, *up, *down;
} tables[] = {
#define TABLE(name, key, key_down) \
	{ name, "SELECT * FROM " name " ORDER BY " key, "SELECT * FROM " name " ORDER BY " key_down }
	TABLE("meta", "key", "key DESC"),
	TABLE("inode", "ino", "ino DESC"),
	TABLE("name", "dir, name", "dir DESC, name DESC"),
	TABLE("cml", "seq", "seq DESC"),
	TABLE("content_log", "ino, id", "ino DESC, id DESC"),
	TABLE("drc", "row", "row DESC"),
	TABLE("conflict", "id", "id DESC"),
	TABLE("forward", "dir", "dir DESC"),
	TABLE("hoard", "path", "path DESC"),
	TABLE("conflict_side", "id", "id DESC"),
	TABLE("base", "id", "id DESC"),
	TABLE("merge", "id", "id DESC"),
	TABLE("digest", "ino", "ino DESC"),
#undef TABLE
};

/* A statement that takes a row of the table, with as many columns as it has. */
static int prepare_put(struct db *to, const char *name, sqlite3_stmt **ret_stmt)
{
	sqlite3_stmt *stmt;
	struct buf text;
	int rc, n = 0;

	buf_init(&text, 0);
	(void)buf_printf(&text, "SELECT * FROM %s", name);	/* errors stick */
	(void)buf_append(&text, "", 1);
	rc = buf_error(&text) ? SQLITE_NOMEM : sqlite3_prepare_v2(db_handle(to), (const char *)text.data, -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		n = sqlite3_column_count(stmt);
		(void)sqlite3_finalize(stmt);	/* was never run */
	}
	buf_reset(&text);
	(void)buf_printf(&text, "INSERT OR IGNORE INTO %s VALUES (?", name);
	while (n-- > 1)
		(void)buf_printf(&text, ",?");
	(void)buf_append(&text, ")", 2);
	if (rc == SQLITE_OK)
		rc = buf_error(&text) ? SQLITE_NOMEM : sqlite3_prepare_v2(db_handle(to), (const char *)text.data, -1, ret_stmt, NULL);
	buf_release(&text);
	return db_errno(rc);
}

/* Gives 0 at the table's end, else how reading broke off; *ret_err: the new database would not take a row. */
static int copy_rows(struct db *from, struct db *to, const char *get, sqlite3_stmt *into, uint64_t *io_n, int *ret_err)
{
	sqlite3_stmt *row;
	int got = db_query(from, &row, get, "");

	while (got > 0 && !*ret_err) {
		for (int i = 0; i < sqlite3_column_count(row) && !*ret_err; i++)
			*ret_err = db_errno(sqlite3_bind_value(into, i + 1, sqlite3_column_value(row, i)));
		if (!*ret_err) {
			int rc = sqlite3_step(into);

			/* A row that breaks a rule of its table (NOT NULL) is none. */
			if (rc == SQLITE_DONE)
				*io_n += (uint64_t)sqlite3_changes(db_handle(to));
			else if ((rc & 0xff) != SQLITE_CONSTRAINT && (rc & 0xff) != SQLITE_MISMATCH)
				*ret_err = db_errno(rc);
			db_done(into);
		}
		if (!*ret_err)
			got = db_next(row);
	}
	return MIN(got, 0);
}

static int copy_table(struct check *check, struct db *to, const struct table *table)
{
	uint64_t n = 0;
	sqlite3_stmt *into = NULL;
	int broke_off = 0, err = prepare_put(to, table->name, &into);

	if (!err)
		broke_off = copy_rows(check->db, to, table->up, into, &n, &err);
	if (broke_off && !err)
		(void)copy_rows(check->db, to, table->down, into, &n, &err);
	(void)sqlite3_finalize(into);	/* repeats an error that has been told */
	if (broke_off && !err)
		check_note(check, "cache.db: table %s is damaged; %llu rows of it could be read", table->name, (unsigned long long)n);
	return err;
}

static int fill(struct check *check, struct db *to)
{
	int64_t client = 0;
	int err = db_exec(to, "BEGIN IMMEDIATE");

	for (size_t i = 0; i < ARRAY_SIZE(tables) && !err; i++)
		err = copy_table(check, to, &tables[i]);
	/* Without it what there is cannot be used as a cache. */
	if (!err && (meta_get_int(to, "client_id", &client) <= 0 || !client))
		err = -EUCLEAN;
	if (!err)
		err = db_exec(to, "COMMIT");
	return err ? err : db_exec(to, "PRAGMA wal_checkpoint(TRUNCATE)");
}

static void remove_new(struct check *check)
{
	(void)unlinkat(check->dirfd, NEW, 0);		/* as far as there is one */
	(void)unlinkat(check->dirfd, NEW "-wal", 0);
}

/* The old one and its log get a name that is free. */
int check_put_away(struct check *check)
{
	char name[64], wal[80];
	struct stat st;

	for (unsigned n = 1; n < 1000; n++) {
		(void)snprintf(name, sizeof(name), n > 1 ? OLD "-%u" : OLD, n);
		if (fstatat(check->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		(void)snprintf(wal, sizeof(wal), "%s-wal", name);
		/* The log first: the new database must never be opened with it. */
		if (renameat(check->dirfd, "cache.db-wal", check->dirfd, wal) < 0 && errno != ENOENT)
			return -errno;
		if (linkat(check->dirfd, "cache.db", check->dirfd, name, 0) < 0)
			return errno == ENOENT ? 0 : -errno;	/* it was gone */
		check_note(check, "the damaged database is kept as %s/%s", check->config->dir, name);
		return 0;
	}
	return -EEXIST;
}

int check_salvage(struct check *check)
{
	AUTO_FREE char *path = NULL;
	struct db *to = NULL;
	char *why = NULL;
	bool is_new;
	int err;

	if (!check->db)
		return -EUCLEAN;
	if (asprintf(&path, "%s/" NEW, check->config->dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	remove_new(check);
	err = db_open(path, DB_WRITER, true, &to);
	if (!err)
		err = schema_open(to, path, &is_new, &why);
	if (!err)
		err = fill(check, to);
	db_close(to);
	free(why);
	db_close(check->db);
	check->db = NULL;
	if (!err)
		err = check_put_away(check);
	if (!err && renameat(check->dirfd, NEW, check->dirfd, "cache.db") < 0)
		err = -errno;
	if (!err && fsync(check->dirfd) < 0)
		err = -errno;
	remove_new(check);
	return err;
}
