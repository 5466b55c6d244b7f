/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/sql.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include "base/hash.h"

struct sql {
	sqlite3 *handle;
	struct hash_table statements;
};

struct kept {
	struct hash_node node;
	const char *text;
	sqlite3_stmt *stmt;
};

int sql_errno(int rc)
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
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

/* An I/O error of a full disk is a full disk. */
static int error_of(struct sql *sql, int rc)
{
	int sys;

	if ((rc & 0xff) == SQLITE_IOERR) {
		sys = sqlite3_system_errno(sql->handle);
		if (sys == ENOSPC || sys == EDQUOT)
			return -ENOSPC;
	}
	return sql_errno(rc);
}

int sql_open(const char *path, bool may_write, struct sql **ret_sql)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE;
	struct sql *sql;
	int rc, err;

	sql = calloc(1, sizeof(*sql));
	if (!sql)
		return -ENOMEM;
	err = hash_init(&sql->statements);
	if (err) {
		free(sql);
		return err;
	}
	if (may_write)
		flags |= SQLITE_OPEN_CREATE;
	rc = sqlite3_open_v2(path, &sql->handle, flags, NULL);
	if (rc != SQLITE_OK) {
		err = error_of(sql, rc);
		goto fail;
	}
	(void)sqlite3_busy_timeout(sql->handle, 10000);
	/* A statement is compiled once, whatever it is given (cache/db.h says more); known to every SQLite we build with. */
	(void)sqlite3_db_config(sql->handle, SQLITE_DBCONFIG_ENABLE_QPSG, 1, NULL);
	err = sql_exec(sql, "PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY; PRAGMA "
			    "foreign_keys = OFF;");
	if (!err)
		err = sql_exec(sql,
			       may_write ? "PRAGMA synchronous = FULL" : "PRAGMA query_only = ON");
	if (err)
		goto fail;
	*ret_sql = sql;
	return 0;
fail:
	sql_close(sql);
	return err;
}

static void kept_free(struct hash_node *node, void *arg)
{
	struct kept *kept = container_of(node, struct kept, node);

	(void)arg;
	(void)sqlite3_finalize(kept->stmt);	/* repeats the error of the last step */
	free(kept);
}

void sql_close(struct sql *sql)
{
	if (!sql)
		return;
	hash_drain(&sql->statements, kept_free, NULL);
	hash_release(&sql->statements);
	(void)sqlite3_close_v2(sql->handle);	/* all statements are finalized: cannot be busy */
	free(sql);
}

const char *sql_message(struct sql *sql)
{
	return sqlite3_errmsg(sql->handle);
}

int sql_exec(struct sql *sql, const char *text)
{
	return error_of(sql, sqlite3_exec(sql->handle, text, NULL, NULL, NULL));
}

static int prepare(struct sql *sql, const char *text, sqlite3_stmt **ret_stmt)
{
	uint64_t value = hash_u64((uintptr_t)text);
	struct kept *kept;
	int rc;

	for (struct hash_node *n = hash_first(&sql->statements, value); n; n = hash_next(n)) {
		kept = container_of(n, struct kept, node);
		if (kept->text != text)
			continue;
		assert(!sqlite3_stmt_busy(kept->stmt));	/* somebody still reads its rows */
		(void)sqlite3_clear_bindings(kept->stmt);	/* cannot fail */
		*ret_stmt = kept->stmt;
		return 0;
	}
	kept = calloc(1, sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	rc = sqlite3_prepare_v3(sql->handle, text, -1, SQLITE_PREPARE_PERSISTENT, &kept->stmt,
				NULL);
	if (rc != SQLITE_OK) {
		free(kept);
		return error_of(sql, rc);
	}
	kept->text = text;
	hash_insert(&sql->statements, &kept->node, value);
	*ret_stmt = kept->stmt;
	return 0;
}

static int bind_all(struct sql *sql, sqlite3_stmt *stmt, const char *types, va_list args)
{
	int rc = SQLITE_OK;

	for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
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
	return error_of(sql, rc);
}

static int step(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);
	int sys;

	if (rc == SQLITE_ROW)
		return 1;
	(void)sqlite3_reset(stmt);	/* repeats the error */
	if ((rc & 0xff) == SQLITE_IOERR) {
		sys = sqlite3_system_errno(sqlite3_db_handle(stmt));
		if (sys == ENOSPC || sys == EDQUOT)
			return -ENOSPC;
	}
	return sql_errno(rc);
}

int sql_run(struct sql *sql, const char *text, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list args;
	int got;

	got = prepare(sql, text, &stmt);
	if (got)
		return got;
	va_start(args, types);
	got = bind_all(sql, stmt, types, args);
	va_end(args);
	if (got)
		return got;
	while ((got = step(stmt)) > 0)
		;
	return got;
}

int sql_query(struct sql *sql, sqlite3_stmt **ret_stmt, const char *text, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list args;
	int got;

	got = prepare(sql, text, &stmt);
	if (got)
		return got;
	va_start(args, types);
	got = bind_all(sql, stmt, types, args);
	va_end(args);
	if (got)
		return got;
	got = step(stmt);
	if (got > 0)
		*ret_stmt = stmt;
	return got;
}

int sql_next(sqlite3_stmt *stmt)
{
	return step(stmt);
}

void sql_done(sqlite3_stmt *stmt)
{
	(void)sqlite3_reset(stmt);	/* an error of the last step has been told already */
}

struct slice sql_column(sqlite3_stmt *stmt, int column)
{
	struct slice got;

	got.data = sqlite3_column_blob(stmt, column);
	got.len = (size_t)sqlite3_column_bytes(stmt, column);
	if (!got.data)
		got.data = "";	/* memcpy() must not be given NULL, whatever the length */
	return got;
}

int sql_int(struct sql *sql, const char *text, int64_t *ret)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt, text, "");

	if (got < 0)
		return got;
	*ret = got ? sqlite3_column_int64(stmt, 0) : 0;
	if (got)
		sql_done(stmt);
	return 0;
}

int64_t sql_last_id(struct sql *sql)
{
	return sqlite3_last_insert_rowid(sql->handle);
}
