/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sql: connections to upstream.db, their statements, and SQLite's codes as errnos.
 *
 * One connection writes, under the tree's lock; readers have others, from a pool, each with a
 * snapshot of its own.
 *
 * Statements are prepared at first use and kept; the address of the SQL text is the key, so it must
 * be a string literal.  Threads: a connection belongs to one thread at a time.
 */
#ifndef HTTPD_SQL_H
#define HTTPD_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"

struct sql;

/*
 * SQLite's result code (extended ones too) as -errno; 0 for OK, ROW and DONE.  FULL: -ENOSPC; the
 * rest of trouble: -EIO.
 */
int sql_errno(int rc);

/* The one that writes makes the file when it is missing. */
int sql_open(const char *path, bool may_write, struct sql **ret_sql);
void sql_close(struct sql *sql);
/* What SQLite said last, for people. */
const char *sql_message(struct sql *sql);
/* Any number of statements without parameters; not kept. */
int sql_exec(struct sql *sql, const char *text);

/*
 * Bind in order: "i" int64_t, "b" struct slice (blob; data NULL: NULL), "t" const char *.  Then
 * step to the end.
 */
int sql_run(struct sql *sql, const char *text, const char *types, ...);
/*
 * As sql_run(), and stop at the first row: 1 with the statement in *ret_stmt (to read columns, then
 * sql_done()), 0: no row, or -errno.  What was bound must live until then.  A statement may not be
 * used again before sql_done().
 */
int sql_query(struct sql *sql, sqlite3_stmt **ret_stmt, const char *text, const char *types, ...);
/* The next row of a sql_query(): 1, 0 (then it is done) or -errno. */
int sql_next(sqlite3_stmt *stmt);
void sql_done(sqlite3_stmt *stmt);
/* A blob or text column as bytes, valid until the next step. */
struct slice sql_column(sqlite3_stmt *stmt, int column);
/* The first column of the first row; 0 when there is none. */
int sql_int(struct sql *sql, const char *text, int64_t *ret);

int64_t sql_last_id(struct sql *sql);

#endif
