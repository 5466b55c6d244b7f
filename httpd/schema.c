/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORMAT 2	/* 2: column acl */
#define APPLICATION_ID 0x697a6f75	/* "izou" */
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

/* docs/DISK-FORMAT.md says what the columns mean. */
static const char tables[] =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"CREATE TABLE object (id INTEGER PRIMARY KEY AUTOINCREMENT, origin INTEGER NOT NULL, "
	"number INTEGER NOT NULL,"
	" type INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,"
	" nlink INTEGER NOT NULL, major INTEGER NOT NULL, minor INTEGER NOT NULL, size INTEGER NOT "
	"NULL,"
	" atime INTEGER NOT NULL, mtime INTEGER NOT NULL,"
	" data_version INTEGER NOT NULL, attr_version INTEGER NOT NULL, data_by INTEGER NOT NULL, "
	"attr_by INTEGER NOT NULL,"
	" gone INTEGER NOT NULL, was_dir INTEGER NOT NULL, was_name BLOB,"
	" ino INTEGER NOT NULL, btime INTEGER NOT NULL, ctime INTEGER NOT NULL, file_nlink INTEGER "
	"NOT NULL,"
	" is_racy INTEGER NOT NULL, target BLOB, acl BLOB);"
	"CREATE UNIQUE INDEX object_oid ON object (origin, number);"
	"CREATE INDEX object_ino ON object (ino) WHERE gone = 0;"
	"CREATE TABLE name (dir INTEGER NOT NULL, name BLOB NOT NULL, object INTEGER NOT NULL, by "
	"INTEGER NOT NULL,"
	" wanted BLOB, PRIMARY KEY (dir, name)) WITHOUT ROWID;"
	"CREATE INDEX name_object ON name (object);"
	"CREATE TABLE alias (origin INTEGER NOT NULL, number INTEGER NOT NULL, object INTEGER NOT "
	"NULL,"
	" PRIMARY KEY (origin, number)) WITHOUT ROWID;"
	"CREATE TABLE journal (position INTEGER PRIMARY KEY, entry BLOB NOT NULL);"
	"CREATE TABLE client (client INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, host TEXT NOT "
	"NULL,"
	" seen INTEGER NOT NULL);"
	"CREATE TABLE answer (client INTEGER NOT NULL, seq INTEGER NOT NULL, answer BLOB NOT NULL,"
	" PRIMARY KEY (client, seq)) WITHOUT ROWID;"
	"CREATE TABLE intent (one INTEGER PRIMARY KEY CHECK (one = 1), batch BLOB NOT NULL, plan "
	"BLOB NOT NULL);"
	"PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
							"PRAGMA user_version = " TEXT(FORMAT) ";";

/* From format 1.  ctime 0: every file is looked at closely, for lists that were there already. */
static const char migration[] = "ALTER TABLE object ADD COLUMN acl BLOB;"
				"UPDATE object SET ctime = 0 WHERE gone = 0;"
				"PRAGMA user_version = 2;";

static const char *const wanted[] = { "meta",	 "object", "name",   "alias",
				      "journal", "client", "answer", "intent" };

static void say(char **ret_why, const char *format, const char *path, const char *detail)
{
	if (asprintf(ret_why, format, path, detail) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
}

static int check(struct sql *sql, const char *path, char **ret_why)
{
	sqlite3_stmt *stmt;
	int got;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		got = sql_query(sql, &stmt,
				"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
				"t", wanted[i]);
		if (got > 0) {
			sql_done(stmt);
			continue;
		}
		say(ret_why,
		    "%s: damaged, table %s is missing; restore it, or move it away to let clients "
		    "list the "
		    "tree anew",
		    path, wanted[i]);
		return got ? got : -EUCLEAN;
	}
	return 0;
}

static int migrate(struct sql *sql, const char *path, char **ret_why)
{
	int err = sql_exec(sql, "BEGIN IMMEDIATE");

	if (!err)
		err = sql_exec(sql, migration);
	if (!err)
		err = sql_exec(sql, "COMMIT");
	if (err) {
		say(ret_why, "%s: cannot be brought up to date: %s", path, sql_message(sql));
		(void)sql_exec(sql, "ROLLBACK");	/* fails when SQLite has done it already */
	}
	return err;
}

int schema_open(struct sql *sql, const char *path, char **ret_why)
{
	int64_t format = 0, application = 0, n_tables = 0;
	char text[24];
	int err;

	err = sql_int(sql, "PRAGMA user_version", &format);
	if (!err)
		err = sql_int(sql, "PRAGMA application_id", &application);
	if (!err)
		err = sql_int(sql, "SELECT count(*) FROM sqlite_master", &n_tables);
	if (err) {
		say(ret_why, "%s: cannot be read as an export's database: %s", path,
		    sql_message(sql));
		return err;
	}
	if (!format && !n_tables) {
		err = sql_exec(sql, "PRAGMA journal_mode = WAL");
		if (!err)
			err = sql_exec(sql, "BEGIN IMMEDIATE");
		if (!err)
			err = sql_exec(sql, tables);
		if (!err)
			err = sql_exec(sql, "COMMIT");
		if (err)
			say(ret_why, "%s: cannot be made: %s", path, sql_message(sql));
		return err;
	}
	if (application != APPLICATION_ID || format < 1) {
		say(ret_why, "%s: is not the database of an izo export%s", path, "");
		return -EUCLEAN;
	}
	if (format > FORMAT) {
		(void)snprintf(text, sizeof(text), "%lld", (long long)format);
		say(ret_why,
		    "%s: has format %s, which is newer than this program knows (" TEXT(
			    FORMAT) "); "
				    "use the newer izo-httpd",
		    path, text);
		return -EPROTO;
	}
	err = check(sql, path, ret_why);
	return err || format == FORMAT ? err : migrate(sql, path, ret_why);
}
