/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/db.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/hash.h"
#include "cache/page_cache.h"
#include "cache/wal_vfs.h"

/*
 * Memory for pages: SQLite takes negative numbers as KiB.  The writer's pages are nearly all written again soon; others look for
 * what memory does not have, and that is locked.
 */
static const char writer_memory[] = "PRAGMA cache_size = -32768;", other_memory[] = "PRAGMA cache_size = -8192;";

struct db {
	sqlite3 *handle;
	struct hash_table statements;
};

struct kept {
	struct hash_node node;
	const char *sql;
	sqlite3_stmt *stmt;
};

int db_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

int db_error(struct db *db, int rc)
{
	if ((rc & 0xff) == SQLITE_IOERR) {
		int sys = sqlite3_system_errno(db->handle);

		if (sys == ENOSPC || sys == EDQUOT)
			return -ENOSPC;
	}
	return db_errno(rc);
}

/* With nothing open yet. */
static int db_new(struct db **ret_db)
{
	struct db *db;
	int err;

	page_cache_install();
	db = calloc(1, sizeof(*db));
	if (!db)
		return -ENOMEM;
	err = hash_init(&db->statements);
	if (err)
		free(db);
	else
		*ret_db = db;
	return err;
}

int db_open(const char *path, enum db_kind kind, bool may_make, struct db **ret_db)
{
	/*
	 * Every connection has one thread at a time: SQLite's own locking of it would be for
	 * nothing.
	 */
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE;
	struct db *db;
	int rc, err;

	err = db_new(&db);
	if (err)
		return err;
	if (kind == DB_WRITER && may_make)
		flags |= SQLITE_OPEN_CREATE;
	rc = sqlite3_open_v2(path, &db->handle, flags, kind == DB_WRITER ? wal_vfs() : WAL_VFS_SYSTEM);
	if (rc != SQLITE_OK) {
		err = (rc & 0xff) == SQLITE_CANTOPEN && access(path, F_OK) < 0 ? -ENOENT
									       : db_errno(rc);
		goto fail;
	}
	(void)sqlite3_busy_timeout(db->handle, 10000);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_QPSG, 1, NULL);	/* see db.h; known to every SQLite we build with */
	err = db_exec(db, "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 0;"
			  "PRAGMA secure_delete = OFF;");
	if (!err)
		err = db_exec(db, kind == DB_WRITER ? writer_memory : other_memory);
	if (!err && kind == DB_READER)
		err = db_exec(db, "PRAGMA query_only = ON");
	if (err)
		goto fail;
	*ret_db = db;
	return 0;
fail:
	db_close(db);
	return err;
}

static char *file_uri(const char *path, const char *query)
{
	static const char digits[] = "0123456789ABCDEF";
	char *uri = malloc(8 + 3 * strlen(path) + strlen(query)), *to;

	if (!uri)
		return NULL;
	to = stpcpy(uri, "file:");
	for (; *path; path++) {
		if (strchr("?#%", *path)) {
			*to++ = '%';
			*to++ = digits[(unsigned char)*path >> 4];
			*to++ = digits[(unsigned char)*path & 15];
		} else {
			*to++ = *path;
		}
	}
	(void)strcpy(to, query);
	return uri;
}

/*
 * Without its log it is opened as one that never changes: else SQLite would make an empty log.  With one: that is read
 * into memory (exclusive), by the VFS that takes no locks (those need to write), and stays as it is at the end.
 */
static int open_aside(struct db *db, const char *path)
{
	const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READONLY | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI;
	AUTO_FREE char *wal = NULL, *uri = NULL;
	bool has_log;
	struct stat st;
	int rc;

	if (asprintf(&wal, "%s-wal", path) < 0) {
		wal = NULL;
		return -ENOMEM;
	}
	has_log = stat(wal, &st) == 0 && st.st_size > 0;
	uri = file_uri(path, has_log ? "" : "?immutable=1");
	if (!uri)
		return -ENOMEM;
	rc = sqlite3_open_v2(uri, &db->handle, flags, has_log ? "unix-none" : NULL);
	if (rc != SQLITE_OK)
		return (rc & 0xff) == SQLITE_CANTOPEN && access(path, F_OK) < 0 ? -ENOENT : db_errno(rc);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);	/* known to every SQLite we build with */
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	return db_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;");
}

int db_open_aside(const char *path, struct db **ret_db)
{
	struct db *db;
	int err;

	err = db_new(&db);
	if (err)
		return err;
	err = open_aside(db, path);
	if (err) {
		db_close(db);
		return err;
	}
	*ret_db = db;
	return 0;
}

static void kept_free(struct hash_node *node, void *arg)
{
	struct kept *kept = container_of(node, struct kept, node);

	(void)arg;
	(void)sqlite3_finalize(kept->stmt);	/* repeats the error of the last step */
	free(kept);
}

void db_close(struct db *db)
{
	if (!db)
		return;
	hash_drain(&db->statements, kept_free, NULL);
	hash_release(&db->statements);
	(void)sqlite3_close_v2(db->handle);	/* all statements are finalized: cannot be busy */
	free(db);
}

sqlite3 *db_handle(struct db *db)
{
	return db->handle;
}

const char *db_message(struct db *db)
{
	return sqlite3_errmsg(db->handle);
}

int db_exec(struct db *db, const char *sql)
{
	return db_error(db, sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

int db_prepare(struct db *db, const char *sql, sqlite3_stmt **ret_stmt)
{
	uint64_t value = hash_u64((uintptr_t)sql);
	struct kept *kept;
	int rc;

	for (struct hash_node *n = hash_first(&db->statements, value); n; n = hash_next(n)) {
		kept = container_of(n, struct kept, node);
		if (kept->sql != sql)
			continue;
		(void)sqlite3_reset(kept->stmt);	/* repeats the error of the last step */
		(void)sqlite3_clear_bindings(kept->stmt);
		*ret_stmt = kept->stmt;
		return 0;
	}
	kept = calloc(1, sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &kept->stmt, NULL);
	if (rc != SQLITE_OK) {
		free(kept);
		return db_error(db, rc);
	}
	kept->sql = sql;
	hash_insert(&db->statements, &kept->node, value);
	*ret_stmt = kept->stmt;
	return 0;
}

static int bind_all(struct db *db, sqlite3_stmt *stmt, const char *types, va_list args)
{
	int rc = SQLITE_OK;

	for (int i = 1; types && *types && rc == SQLITE_OK; types++, i++) {
		struct slice blob;

		switch (*types) {
		case 'i':
			rc = sqlite3_bind_int64(stmt, i, va_arg(args, int64_t));
			break;
		case 'b':
			blob = va_arg(args, struct slice);
			rc = sqlite3_bind_blob64(stmt, i, blob.data, blob.len, SQLITE_STATIC);
			break;
		case 't':
			rc = sqlite3_bind_text(stmt, i, va_arg(args, const char *), -1,
					       SQLITE_STATIC);
			break;
		default:
			assert(!"unknown type of parameter");
		}
	}
	return db_error(db, rc);
}

static int step(struct db *db, sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE) {
		(void)sqlite3_reset(stmt);
		return 0;
	}
	rc = db_error(db, rc);
	(void)sqlite3_reset(stmt);
	return rc;
}

int db_run(struct db *db, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list args;
	int got;

	got = db_prepare(db, sql, &stmt);
	if (got)
		return got;
	va_start(args, types);
	got = bind_all(db, stmt, types, args);
	va_end(args);
	if (got)
		return got;
	while ((got = step(db, stmt)) > 0)
		;
	return got;
}

int db_query(struct db *db, sqlite3_stmt **ret_stmt, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list args;
	int got;

	got = db_prepare(db, sql, &stmt);
	if (got)
		return got;
	va_start(args, types);
	got = bind_all(db, stmt, types, args);
	va_end(args);
	if (got)
		return got;
	got = step(db, stmt);
	if (got > 0)
		*ret_stmt = stmt;
	return got;
}

int db_next(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW)
		return 1;
	(void)sqlite3_reset(stmt);
	return db_errno(rc);
}

void db_done(sqlite3_stmt *stmt)
{
	(void)sqlite3_reset(stmt);	/* an error of the last step has been told already */
}

struct slice db_column(sqlite3_stmt *stmt, int column)
{
	struct slice got;

	got.data = sqlite3_column_blob(stmt, column);
	got.len = sqlite3_column_bytes(stmt, column);
	if (!got.data)
		got.data = "";	/* memcpy() must not be given NULL, whatever the length */
	return got;
}

int db_page_size(struct db *db, uint64_t *ret_bytes)
{
	sqlite3_stmt *stmt;
	int got = db_query(db, &stmt, "PRAGMA page_size", "");

	if (got <= 0)
		return got ? got : -EIO;
	*ret_bytes = (uint64_t)sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}
