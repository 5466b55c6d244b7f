/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cache/db.h"
#include "cache/token.h"

/*
 * 2: column acl; 3: counters in meta, in place of AUTOINCREMENT; 4: index name_local; 5: content_log, drc a ring;
 * 6: cml.was, was_to, forward; 7: hoard, conflict_side; 8: cml.gone, gone_names, gone_at; 9: base, merge; 10: digest; 11: detach.
 */
#define FORMAT 11
#define APPLICATION_ID 0x697a6f63	/* "izoc" */
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x

/* Those that a format after the first one has changed. */
static const char inode_table[] =
	"CREATE TABLE inode ("
	" ino INTEGER PRIMARY KEY,"
	" oid_origin INTEGER NOT NULL, oid_number INTEGER NOT NULL,"
	" type INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,"
	" major INTEGER NOT NULL, minor INTEGER NOT NULL,"
	" nlink INTEGER NOT NULL, links_up INTEGER NOT NULL, parent INTEGER NOT NULL,"
	" size INTEGER NOT NULL,"
	" atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,"
	" data_version INTEGER NOT NULL, attr_version INTEGER NOT NULL,"
	" data_seq INTEGER NOT NULL, attr_seq INTEGER NOT NULL,"
	" is_stale INTEGER NOT NULL, is_listed INTEGER NOT NULL, listed_at INTEGER NOT NULL,"
	" is_dirty INTEGER NOT NULL, gen INTEGER NOT NULL, keep_size INTEGER NOT NULL,"
	" present BLOB, dirty BLOB, dirty_next BLOB, target BLOB, verifier BLOB, acl BLOB);"
	"CREATE UNIQUE INDEX inode_oid ON inode (oid_origin, oid_number);"
	"CREATE INDEX inode_stale ON inode (ino) WHERE is_stale <> 0;"
	"CREATE INDEX inode_unlisted ON inode (ino) WHERE type = 2 AND is_listed = 0;"
	"CREATE INDEX inode_dirty ON inode (ino) WHERE is_dirty <> 0;";

static const char cml_table[] =
	"CREATE TABLE cml (seq INTEGER PRIMARY KEY, op INTEGER NOT NULL,"
	" ino INTEGER NOT NULL, time INTEGER NOT NULL, record BLOB NOT NULL);"
	"CREATE INDEX cml_ino ON cml (ino);";

static const char name_local_index[] =
	"CREATE INDEX name_local ON name (ino) WHERE length(name) = 28 AND substr(name, 1, 4) = x'2e6e6673';";

static const char content_log_table[] =
	"CREATE TABLE content_log (ino INTEGER NOT NULL, id INTEGER NOT NULL, gen INTEGER NOT NULL, start INTEGER NOT NULL,"
	" bytes BLOB NOT NULL, PRIMARY KEY (ino, id)) WITHOUT ROWID;";

static const char hoard_table[] =
	"CREATE TABLE hoard (path BLOB NOT NULL, is_configured INTEGER NOT NULL, depth INTEGER NOT NULL, priority INTEGER NOT NULL,"
	" PRIMARY KEY (path, is_configured)) WITHOUT ROWID;";

static const char drc_table[] =
	"CREATE TABLE drc (row INTEGER PRIMARY KEY, id INTEGER NOT NULL, token BLOB NOT NULL, ino INTEGER NOT NULL);";
/* The last of them, by age. */
static const char from_4_old[] = "ALTER TABLE drc RENAME TO drc_4;";
static const char from_4_copy[] =
	"INSERT OR REPLACE INTO drc (row, id, token, ino) SELECT n % " TEXT(TOKENS_KEPT) ", n, token, ino FROM"
	" (SELECT row_number() OVER (ORDER BY at) AS n, token, ino FROM drc_4) ORDER BY n;"
	"DROP TABLE drc_4;";

/* What they say is asked only of records that were never sent; those of an older format may have been. */
static const char cml_was[] =
	"ALTER TABLE cml ADD COLUMN was INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE cml ADD COLUMN was_to INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX cml_rename ON cml (seq) WHERE op = 8;"
	"CREATE TABLE forward (dir INTEGER PRIMARY KEY);";

/* Of what was removed before nothing is known: it is not made anew. */
static const char cml_gone[] =
	"ALTER TABLE cml ADD COLUMN gone BLOB;"
	"ALTER TABLE cml ADD COLUMN gone_names BLOB;"
	"ALTER TABLE cml ADD COLUMN gone_at INTEGER NOT NULL DEFAULT 0;";

static const char other_tables[] =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"CREATE TABLE name (dir INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL,"
	" cookie INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (dir, name)) WITHOUT ROWID;"
	"CREATE UNIQUE INDEX name_cookie ON name (dir, cookie);"
	"CREATE INDEX name_ino ON name (ino) WHERE ino > 0;"
	"CREATE TABLE conflict (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,"
	" path BLOB NOT NULL, what TEXT NOT NULL);";

static const char conflict_side_table[] =
	"CREATE TABLE conflict_side (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, status INTEGER NOT NULL,"
	" ours INTEGER NOT NULL, dir INTEGER NOT NULL, name BLOB, record BLOB NOT NULL);";

static const char base_tables[] =
	"CREATE TABLE base (id INTEGER PRIMARY KEY AUTOINCREMENT, ino INTEGER NOT NULL, version INTEGER NOT NULL, size INTEGER NOT NULL,"
	" conflict INTEGER NOT NULL, hash BLOB);"
	"CREATE INDEX base_ino ON base (ino);"
	"CREATE TABLE merge (id INTEGER PRIMARY KEY, why TEXT NOT NULL);";

static const char digest_table[] =
	"CREATE TABLE digest (ino INTEGER PRIMARY KEY, gen INTEGER NOT NULL, ranges BLOB NOT NULL, hash BLOB NOT NULL, seal INTEGER NOT NULL);"
	/* Contents that are here have none yet: they are looked for from the beginning. */
	"DELETE FROM meta WHERE key = 'digest_walk';";

static const char detach_table[] =
	"CREATE TABLE detach (ino INTEGER PRIMARY KEY, origin INTEGER NOT NULL, number INTEGER NOT NULL, parent_origin INTEGER NOT NULL,"
	" parent_number INTEGER NOT NULL, name BLOB NOT NULL, data_base INTEGER NOT NULL);";

static const char format_marks[] =
	"PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
	"PRAGMA user_version = " TEXT(FORMAT) ";";

static const char *const wanted[] = { "meta", "inode", "name", "cml", "content_log", "drc", "conflict", "forward", "hoard",
				      "conflict_side", "base", "merge", "digest", "detach" };

static const char from_1[] = "ALTER TABLE inode ADD COLUMN acl BLOB;";

/* The columns have the same order in both.  An index keeps its name when its table is renamed. */
static const char from_2_old[] =
	"INSERT INTO meta (key, value) SELECT 'next_ino', max(coalesce(max(seq), 0), 2) + 1 FROM sqlite_sequence WHERE name = 'inode';"
	"INSERT INTO meta (key, value) SELECT 'next_seq', coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'cml';"
	"DROP INDEX inode_oid; DROP INDEX inode_stale; DROP INDEX inode_unlisted; DROP INDEX inode_dirty;"
	"DROP INDEX cml_ino;"
	"ALTER TABLE inode RENAME TO inode_2;"
	"ALTER TABLE cml RENAME TO cml_2;";
static const char from_2_copy[] =
	"INSERT INTO inode SELECT * FROM inode_2;"
	"INSERT INTO cml SELECT * FROM cml_2;"
	"DROP TABLE inode_2;"
	"DROP TABLE cml_2;";

static int pragma_int(struct db *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(db, &stmt, sql, "");
	if (got < 0)
		return got;
	*ret = got ? sqlite3_column_int64(stmt, 0) : 0;
	if (got)
		db_done(stmt);
	return 0;
}

#define WHAT_TO_DO "; izo-nfsd --check --repair keeps what can be kept"
#define UNREADABLE "%s: cannot be read as a cache's database: %s" WHAT_TO_DO

static void say(char **ret_why, const char *format, const char *path, const char *detail)
{
	if (ret_why && asprintf(ret_why, format, path, detail) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
}

static int check(struct db *db, const char *path, char **ret_why)
{
	sqlite3_stmt *stmt;
	int got;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		got = db_query(db, &stmt,
			       "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
			       "t", wanted[i]);
		if (got > 0) {
			db_done(stmt);
			continue;
		}
		say(ret_why, "%s: damaged, table %s is missing" WHAT_TO_DO, path, wanted[i]);
		return got ? got : -EUCLEAN;
	}
	return 0;
}

/* One after the other, in one transaction, which with an error has not ended: closing the connection does that too. */
static int exec_all(struct db *db, const char *const *steps, size_t n)
{
	int err = db_exec(db, "BEGIN IMMEDIATE");

	for (size_t i = 0; i < n && !err; i++)
		err = db_exec(db, steps[i]);
	return err ? err : db_exec(db, "COMMIT");
}

static int migrate(struct db *db, int64_t format, const char *path, char **ret_why)
{
	const char *const steps[] = { from_1, from_2_old, inode_table, cml_table, from_2_copy, name_local_index,
				      content_log_table, from_4_old, drc_table, from_4_copy, cml_was, hoard_table, conflict_side_table,
				      cml_gone, base_tables, digest_table, detach_table, format_marks };
	static const size_t first[FORMAT] = { [1] = 0, [2] = 1, [3] = 5, [4] = 6, [5] = 10, [6] = 11, [7] = 13, [8] = 14, [9] = 15, [10] = 16 };	/* of each format before this one */
	size_t skip = first[format];
	int err = exec_all(db, steps + skip, ARRAY_SIZE(steps) - skip);

	if (err) {
		say(ret_why, "%s: cannot be brought up to date: %s", path, db_message(db));
		(void)db_exec(db, "ROLLBACK");	/* fails when SQLite has done it already */
	}
	return err;
}

static int say_newer(const char *path, int64_t format, char **ret_why)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%lld", (long long)format);
	say(ret_why, "%s: has format %s, which is newer than this program knows ("
		     TEXT(FORMAT) "); use the newer izo-nfsd", path, text);
	return -EPROTO;
}

/* Whose database it is, and of which format; both 0 of an empty one. */
static int read_marks(struct db *db, const char *path, int64_t *ret_application, int64_t *ret_format, char **ret_why)
{
	int err = pragma_int(db, "PRAGMA user_version", ret_format);

	if (!err)
		err = pragma_int(db, "PRAGMA application_id", ret_application);
	if (err)
		say(ret_why, UNREADABLE, path, db_message(db));
	return err;
}

/* One that this program can make something of. */
static int check_marks(const char *path, int64_t application, int64_t format, char **ret_why)
{
	if (application != APPLICATION_ID || format < 1) {
		say(ret_why, "%s: is not the database of an izo cache%s", path, "");
		return -EUCLEAN;
	}
	return format > FORMAT ? say_newer(path, format, ret_why) : 0;
}

int schema_look(struct db *db, const char *path, char **ret_why)
{
	int64_t format = 0, application = 0;
	int err = read_marks(db, path, &application, &format, ret_why);

	if (!err)
		err = check_marks(path, application, format, ret_why);
	if (err)
		return err;
	if (format < FORMAT) {
		say(ret_why, "%s: was written by an older izo-nfsd; start this one on it once%s", path, "");
		return -EPROTO;
	}
	return check(db, path, ret_why);
}

int schema_open(struct db *db, const char *path, bool *ret_is_new, char **ret_why)
{
	static const char *const steps[] = { inode_table, cml_table, other_tables, name_local_index, content_log_table, drc_table, cml_was,
					     hoard_table, conflict_side_table, cml_gone, base_tables, digest_table, detach_table, format_marks };
	int64_t format = 0, application = 0, n_tables = 0;
	int err;

	err = read_marks(db, path, &application, &format, ret_why);
	if (err)
		return err;
	err = pragma_int(db, "SELECT count(*) FROM sqlite_master", &n_tables);
	if (err) {
		say(ret_why, UNREADABLE, path, db_message(db));
		return err;
	}
	*ret_is_new = !format && !n_tables;
	if (*ret_is_new) {
		/*
		 * A change touches a row here and a row there, and each page that it touches goes to the log as a whole:
		 * with small pages a CREATE writes 10 KiB, where SQLite's default of 4096 makes it 40.
		 */
		err = db_exec(db, "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL");
		if (!err)
			err = exec_all(db, steps, ARRAY_SIZE(steps));
		if (err)
			say(ret_why, "%s: cannot be made: %s", path, db_message(db));
		return err;
	}
	err = check_marks(path, application, format, ret_why);
	if (err)
		return err;
	err = format == FORMAT ? 0 : migrate(db, format, path, ret_why);
	return err ? err : check(db, path, ret_why);
}
