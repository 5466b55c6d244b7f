/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Link counts against the names that there are, and what is on record of conflicts.
 *
 * links_up counts the names here that are not local ones, exactly; a file with too low a one would be taken for one that the upstream
 * does not know, and what is written to it would not be sent.  nlink is the upstream's for the most part: too low is damage, too high may be
 * names in directories that are not listed here; a listed directory's is counted here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "cache/check_state.h"
#include "cache/dentry.h"
#include "rpcgen/kml_codec.h"

#define IS_LOCAL "(length(name) = 28 AND substr(name, 1, 4) = x'2e6e6673')"
#define NAMES "(SELECT count(*) FROM name WHERE name.ino = inode.ino AND name.ino > 0)"
#define LOCAL_NAMES "(SELECT count(*) FROM name WHERE name.ino = inode.ino AND name.ino > 0 AND " IS_LOCAL ")"
#define SUBDIRS \
	"(SELECT count(*) FROM name JOIN inode AS below ON below.ino = name.ino WHERE name.dir = inode.ino AND name.ino > 0 AND below.type = 2)"

/* A kind of wrong count: what finds it, what mends it. */
struct rule {
	const char *find;		/* gives ino, what it has, what it should have */
	const char *mend;
	const char *what;
};

static const struct rule rules[] = {
	{ "SELECT ino, links_up, " NAMES " - " LOCAL_NAMES " FROM inode WHERE ino <> 2 AND type <> 2 AND links_up <> " NAMES " - " LOCAL_NAMES
	  " AND " NAMES " > 0",
	  "UPDATE inode SET links_up = " NAMES " - " LOCAL_NAMES " WHERE ino = ?1", "names that the server knows" },
	{ "SELECT ino, nlink, " NAMES " FROM inode WHERE type <> 2 AND nlink < " NAMES
	  " AND is_stale = 0 AND NOT EXISTS (SELECT 1 FROM cml WHERE cml.ino = inode.ino)",
	  "UPDATE inode SET nlink = " NAMES " WHERE ino = ?1", "links" },
	{ "SELECT ino, nlink, 2 + " SUBDIRS " FROM inode WHERE type = 2 AND is_listed <> 0 AND nlink <> 2 + " SUBDIRS,
	  "UPDATE inode SET nlink = 2 + " SUBDIRS " WHERE ino = ?1", "links" },
};

static int check_rule(struct check *check, const struct rule *rule)
{
	char path[CHECK_ROOM];
	struct buf bad;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&bad, 0);
	got = db_query(check->db, &stmt, rule->find, "");
	while (got > 0 && !err) {
		uint64_t ino = sqlite3_column_int64(stmt, 0);

		if (check_found(check, "%s: has a count of %lld %s, and should have %lld", check_path(check, ino, path),
				(long long)sqlite3_column_int64(stmt, 1), rule->what, (long long)sqlite3_column_int64(stmt, 2)))
			err = check_add(&bad, ino);
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &bad, rule->mend);
	buf_release(&bad);
	return err;
}

int check_links(struct check *check)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rules) && !err; i++) {
		check_begin(check);
		err = check_rule(check, &rules[i]);
	}
	return err;
}

/* ---- conflicts ---- */

/* What settles one: it decodes, and the conflict is on record. */
static bool side_is_sound(sqlite3_stmt *stmt)
{
	struct slice text = db_column(stmt, 1);
	int64_t kind = sqlite3_column_int64(stmt, 3);
	struct kml_record record;

	if (kind < 1 || kind > 4 || !sqlite3_column_int(stmt, 2) || kml_record_decode(text.data, text.len, &record))
		return false;
	kml_record_release(&record);
	return true;
}

static int keep_side(struct check *check, sqlite3_stmt *stmt, struct buf *bad)
{
	char name[40];
	int err;

	(void)snprintf(name, sizeof(name), "conflict-%lld", (long long)sqlite3_column_int64(stmt, 0));
	err = check_keep_bytes(check, name, db_column(stmt, 1));
	return err ? err : check_add(bad, (uint64_t)sqlite3_column_int64(stmt, 0));
}

int check_conflicts(struct check *check)
{
	struct buf bad;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&bad, 0);
	got = db_query(check->db, &stmt, "SELECT id, record, EXISTS (SELECT 1 FROM conflict WHERE conflict.id = conflict_side.id), kind"
					 " FROM conflict_side ORDER BY id", "");
	while (got > 0 && !err) {
		if (!side_is_sound(stmt) &&
		    check_found(check, "what conflict %lld is about is not readable: it is kept in lost+found; what was changed on both sides"
				" is where it is, and can only be settled by hand", (long long)sqlite3_column_int64(stmt, 0)))
			err = keep_side(check, stmt, &bad);
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &bad, "DELETE FROM conflict_side WHERE id = ?1");
	buf_release(&bad);
	return err;
}
