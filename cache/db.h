/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * db: connections to cache.db, their statements, and SQLite's codes as errnos.
 *
 * Who is the writer (writer.h) has one connection, which alone writes, its log through wal_vfs.h; readers share another under
 * cache->lock; the checkpointer has a third.
 *
 * Statements are prepared at first use and kept, in a table of the connection; the address of the
 * SQL text is the key, so it must be a string literal (or live as long as the connection).
 * Threads: a connection belongs to one thread at a time.
 */
#ifndef CACHE_DB_H
#define CACHE_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"

struct db;

/*
 * SQLite's result code (extended ones too) as -errno; 0 for SQLITE_OK, ROW, DONE.  FULL: -ENOSPC;
 * the rest of trouble: -EIO.
 */
int db_errno(int rc);
/* As db_errno(), and an I/O error of a full disk is -ENOSPC too. */
int db_error(struct db *db, int rc);

/*
 * With query planner stability (SQLITE_DBCONFIG_ENABLE_QPSG): without it a statement that compares a parameter with a column of a partial
 * index, such as cml.op, is compiled anew each time that it is bound, which took longer than running it.  So a statement that
 * is to use such an index says the constant itself.
 */
enum db_kind { DB_WRITER, DB_READER, DB_CHECKPOINTER };
/* may_make: of a DB_WRITER, make it when it is missing; else -ENOENT. */
int db_open(const char *path, enum db_kind kind, bool may_make, struct db **ret_db);
/*
 * To read from a database that no daemon has, wherever it lies: nothing is written to it or made beside it.  Its log counts.
 * The caller has the cache's lock.
 */
int db_open_aside(const char *path, struct db **ret_db);
void db_close(struct db *db);
sqlite3 *db_handle(struct db *db);
/* What SQLite said last, for people. */
const char *db_message(struct db *db);
/* Any number of statements without parameters; not kept. */
int db_exec(struct db *db, const char *sql);
int db_page_size(struct db *db, uint64_t *ret_bytes);

/* The statement, reset and with nothing bound. */
int db_prepare(struct db *db, const char *sql, sqlite3_stmt **ret_stmt);

/*
 * Bind in order: "i" int64_t, "b" struct slice (blob; data NULL: NULL), "t" const char *.  Then
 * step to the end.
 */
int db_run(struct db *db, const char *sql, const char *types, ...);
/*
 * As db_run, and stop at the first row: 1 with the statement in *ret_stmt (to read columns; then
 * db_done()), 0: no row, or -errno.
 * What was bound must live until then.
 */
int db_query(struct db *db, sqlite3_stmt **ret_stmt, const char *sql, const char *types, ...);
/* The next row of a db_query(): 1, 0 or -errno. */
int db_next(sqlite3_stmt *stmt);
void db_done(sqlite3_stmt *stmt);
/* A blob or text column as bytes, valid until the next step. */
struct slice db_column(sqlite3_stmt *stmt, int column);

#endif
