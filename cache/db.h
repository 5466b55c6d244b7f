/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * db: connections to cache.db, their statements, and SQLite's codes as errnos.
 *
 * The writer thread has one connection, which alone writes; readers share another under cache->lock.
 */
#ifndef CACHE_DB_H
#define CACHE_DB_H

#include <sqlite3.h>
#include <stdint.h>
#include "base/mem.h"

/* SQLite's result code (extended ones too) as -errno; 0 for SQLITE_OK, ROW, DONE.  FULL: -ENOSPC; the rest of trouble: -EIO. */
int db_errno(int rc);

/*
 * A statement, prepared at first use and kept: declare it static in the function that uses it
 *	static struct db_stmt s = { "UPDATE ..." };    -- not that: see below
 * Statements belong to a connection, so they live in a table there: 'sql' must be a string literal
 * (its address is the key).  Bound values are cleared and the statement is reset on return of db_prepare().
 */
struct db;
int db_prepare(struct db *db, const char *sql, sqlite3_stmt **ret_stmt);

/* Bind in order: "i" int64_t, "b" struct slice (blob; data NULL: NULL), "t" const char *.  Then step to the end. */
int db_run(struct db *db, const char *sql, const char *types, ...);
/* As db_run, and stop at the first row: 1 with the statement in *ret_stmt (to read columns; then db_done()), 0: no row, or -errno. */
int db_query(struct db *db, sqlite3_stmt **ret_stmt, const char *sql, const char *types, ...);
/* The next row of a db_query(): 1, 0 or -errno. */
int db_next(sqlite3_stmt *stmt);
void db_done(sqlite3_stmt *stmt);

int64_t db_last_id(struct db *db);

#endif
