/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/adopt.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/adopt_state.h"
#include "cache/content_log.h"
#include "cache/counter.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/meta.h"

/* ---- rows ---- */

static int copy_column(sqlite3_stmt *stmt, int column, struct buf *buf)
{
	struct slice value = db_column(stmt, column);

	return value.len ? buf_append(buf, value.data, value.len) : 0;
}

static int fill(sqlite3_stmt *stmt, struct adopt_inode *ret)
{
	int err;

	ret->type = (enum file_type)sqlite3_column_int(stmt, 0);
	ret->mode = (uint32_t)sqlite3_column_int64(stmt, 1);
	ret->uid = (uint32_t)sqlite3_column_int64(stmt, 2);
	ret->gid = (uint32_t)sqlite3_column_int64(stmt, 3);
	ret->major = (uint32_t)sqlite3_column_int64(stmt, 4);
	ret->minor = (uint32_t)sqlite3_column_int64(stmt, 5);
	ret->gen = (uint32_t)sqlite3_column_int64(stmt, 6);
	ret->size = (uint64_t)sqlite3_column_int64(stmt, 7);
	ret->atime = sqlite3_column_int64(stmt, 8);
	ret->mtime = sqlite3_column_int64(stmt, 9);
	ret->is_dirty = sqlite3_column_int(stmt, 10);
	ret->oid.origin = (uint64_t)sqlite3_column_int64(stmt, 11);
	ret->oid.number = (uint64_t)sqlite3_column_int64(stmt, 12);
	ret->kind = (enum adopt_kind)sqlite3_column_int(stmt, 13);
	err = extent_decode(&ret->present, db_column(stmt, 14));
	if (!err)
		err = copy_column(stmt, 15, &ret->target);
	return err ? err : copy_column(stmt, 16, &ret->acl);
}

int adopt_inode_get(struct adopt *a, uint64_t ino, struct adopt_inode *ret)
{
	sqlite3_stmt *stmt;
	int got, err;

	*ret = (struct adopt_inode){ .ino = ino };
	buf_init(&ret->target, 0);
	buf_init(&ret->acl, 0);
	got = db_query(a->db, &stmt,
		       "SELECT type, mode, uid, gid, major, minor, gen, size, atime, mtime, is_dirty, oid_origin, oid_number,"
		       " coalesce(kind, 0), present, target, acl FROM inode LEFT JOIN temp.adopt_ino USING (ino) WHERE ino = ?1",
		       "i", (int64_t)ino);
	if (got <= 0)
		return got;
	err = fill(stmt, ret);
	db_done(stmt);
	if (!err)
		return 1;
	adopt_inode_release(ret);
	return err;
}

void adopt_inode_release(struct adopt_inode *inode)
{
	extent_release(&inode->present);
	buf_release(&inode->target);
	buf_release(&inode->acl);
}

bool adopt_is_whole(const struct adopt_inode *inode)
{
	struct extent gap;

	return inode->type == TYPE_REG && !extent_first_gap(&inode->present, 0, inode->size, &gap);
}

int adopt_set_kind(struct adopt *a, uint64_t ino, enum adopt_kind kind)
{
	return db_run(a->db, "INSERT OR REPLACE INTO temp.adopt_ino (ino, kind) VALUES (?1, ?2)", "ii", (int64_t)ino, (int64_t)kind);
}

/* The number that the query has found, 0: none. */
static int one_number(int got, sqlite3_stmt *stmt, uint64_t *ret)
{
	if (got < 0)
		return got;
	*ret = got ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
	if (got)
		db_done(stmt);
	return 0;
}

int adopt_find_name(struct adopt *a, uint64_t dir, struct slice name, uint64_t *ret_ino)
{
	sqlite3_stmt *stmt;
	int got = db_query(a->db, &stmt, "SELECT ino FROM name WHERE dir = ?1 AND name = ?2", "ib", (int64_t)dir, name);

	return one_number(got, stmt, ret_ino);
}

int adopt_find_oid(struct adopt *a, struct kml_oid oid, uint64_t *ret_ino)
{
	sqlite3_stmt *stmt;
	int got = db_query(a->db, &stmt, "SELECT ino FROM inode WHERE oid_origin = ?1 AND oid_number = ?2", "ii", (int64_t)oid.origin,
			   (int64_t)oid.number);

	return one_number(got, stmt, ret_ino);
}

/* ---- the steps ---- */

/* One after the other; each in a table, so that what is done can be read in one place. */
static int run_all(struct adopt *a, const char *const *steps, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = db_exec(a->db, steps[i]);
	return err;
}

static int get_counter(struct adopt *a, const char *key, uint64_t *ret)
{
	int64_t value = 0;
	int got = meta_get_int(a->db, key, &value);

	if (got < 0)
		return got;
	*ret = (uint64_t)value;
	return got && value > 0 ? 0 : -EUCLEAN;
}

static int begin(struct adopt *a)
{
	static const char *const tables[] = {
		"CREATE TEMP TABLE IF NOT EXISTS adopt_ino (ino INTEGER PRIMARY KEY, kind INTEGER NOT NULL)",
		("CREATE TEMP TABLE IF NOT EXISTS adopt_undone (seq INTEGER PRIMARY KEY, ino INTEGER NOT NULL, record BLOB NOT NULL,"
		 " from_dir INTEGER NOT NULL, dir INTEGER NOT NULL)"),
		"CREATE TEMP TABLE IF NOT EXISTS adopt_path (ino INTEGER PRIMARY KEY, path BLOB NOT NULL)",
		"DELETE FROM temp.adopt_ino; DELETE FROM temp.adopt_undone; DELETE FROM temp.adopt_path",
	};
	int err = run_all(a, tables, ARRAY_SIZE(tables));

	if (!err)
		err = get_counter(a, "next_ino", &a->next_ino);
	if (!err)
		err = get_counter(a, "next_oid", &a->next_oid);
	if (!err)
		err = get_counter(a, "next_cookie", &a->next_cookie);
	if (!err)
		err = get_counter(a, "next_seq", &a->next_seq);
	/* Behind what a log that was exported from the directory may have given away (counter.h). */
	a->next_seq += COUNTER_SEQS_ASIDE;
	a->frozen = a->next_seq - 1;
	do {
		if (getrandom(&a->client, sizeof(a->client), 0) != sizeof(a->client))
			return -EIO;
	} while (!a->client);
	return err;
}

/* What is to be sent: what was made here and not acknowledged, what was written here, what was refused; and where it stands. */
static int find_ours(struct adopt *a)
{
	static const char *const steps[] = {
		"INSERT OR IGNORE INTO temp.adopt_ino (ino, kind) SELECT ino, 1 FROM inode WHERE ino <> 2 AND"
		" (is_dirty <> 0 OR data_seq <> 0 OR length(dirty) > 0 OR length(dirty_next) > 0)",
		"INSERT OR IGNORE INTO temp.adopt_ino (ino, kind) SELECT ino, 1 FROM cml WHERE op IN (1, 2, 3, 4)"
		" AND ino <> 2 AND ino IN (SELECT ino FROM inode)",
		"DELETE FROM temp.adopt_ino WHERE NOT EXISTS (SELECT 1 FROM name WHERE name.ino = adopt_ino.ino AND name.ino > 0"
		" AND NOT " ADOPT_IS_LOCAL ")",
		"INSERT OR IGNORE INTO temp.adopt_ino (ino, kind) WITH RECURSIVE up (ino) AS"
		" (SELECT dir FROM name WHERE name.ino > 0 AND name.ino IN (SELECT ino FROM temp.adopt_ino) AND NOT " ADOPT_IS_LOCAL
		" UNION SELECT name.dir FROM name, up WHERE name.ino = up.ino AND name.ino > 0)"
		" SELECT ino, 3 FROM up WHERE ino <> 2",
	};

	return run_all(a, steps, ARRAY_SIZE(steps));
}

/*
 * Nothing is known of the upstream any more.  The root alone has the same oid everywhere; the others get new ones, for those that
 * they had may be another object's there.
 */
static int forget_upstream(struct adopt *a)
{
	static const char *const steps[] = {
		"DELETE FROM cml", "DELETE FROM forward", "DELETE FROM detach", "DELETE FROM base WHERE conflict = 0", "DELETE FROM name WHERE ino = 0",
		"UPDATE name SET seq = 0 WHERE seq <> 0", "DELETE FROM meta WHERE key >= 'merged ' AND key < 'merged!'",
		"UPDATE inode SET data_version = 0, attr_version = 0, data_seq = 0, attr_seq = 0, is_stale = 0, listed_at = 0",
	};
	int err = run_all(a, steps, ARRAY_SIZE(steps));

	if (!err)
		err = db_run(a->db, "UPDATE inode SET oid_origin = ?1, oid_number = ?2 + ino WHERE ino <> 2", "ii", (int64_t)a->client,
			     (int64_t)a->next_oid);
	a->next_oid += a->next_ino;
	return err;
}

/* Each name that is not in the listing, of what is not ours: as far as it has content, that is kept. */
static int keep_left(struct adopt *a)
{
	char name_room[CACHE_NAME_MAX];
	uint64_t dir = 0;
	struct slice name = { name_room, 0 };
	int got;

	for (;;) {
		struct adopt_inode inode;
		sqlite3_stmt *stmt;
		struct slice found;
		uint64_t ino;

		/* A row at a time: what is done about it asks the same tables. */
		got = db_query(a->db, &stmt,
			       "SELECT dir, name, ino FROM name WHERE (dir, name) > (?1, ?2) AND seq = 0 AND ino > 0 AND NOT " ADOPT_IS_LOCAL
			       " AND ino NOT IN (SELECT ino FROM temp.adopt_ino) ORDER BY dir, name LIMIT 1", "ib", (int64_t)dir, name);
		if (got <= 0)
			return got;
		dir = (uint64_t)sqlite3_column_int64(stmt, 0);
		found = db_column(stmt, 1);
		name.len = MIN(found.len, sizeof(name_room));
		memcpy(name_room, found.data, name.len);
		ino = (uint64_t)sqlite3_column_int64(stmt, 2);
		db_done(stmt);
		got = adopt_inode_get(a, ino, &inode);
		if (got > 0) {
			got = adopt_keep(a, &inode, dir, name);
			adopt_inode_release(&inode);
		}
		if (got < 0)
			return got;
	}
}

/* What nobody has any more goes; content files are removed by the recovery, which looks at all of them. */
static int drop_left(struct adopt *a)
{
	static const char *const steps[] = {
		"UPDATE temp.adopt_ino SET kind = 1 WHERE kind = 3",
		"DELETE FROM name WHERE seq = 0 AND NOT " ADOPT_IS_LOCAL
		" AND ino NOT IN (SELECT ino FROM temp.adopt_ino WHERE kind = 1)",
		"DELETE FROM inode WHERE ino <> 2 AND NOT EXISTS (SELECT 1 FROM name WHERE name.ino = inode.ino AND name.ino > 0)",
		/* An open file that was removed, in a directory that is gone. */
		"DELETE FROM name WHERE dir NOT IN (SELECT ino FROM inode)",
		"DELETE FROM inode WHERE ino <> 2 AND NOT EXISTS (SELECT 1 FROM name WHERE name.ino = inode.ino AND name.ino > 0)",
		"UPDATE name SET seq = 0 WHERE seq <> 0",
		"UPDATE inode SET is_listed = 1 WHERE type = 2 AND ino IN (SELECT ino FROM temp.adopt_ino WHERE kind = 1)",
		"UPDATE inode SET links_up = (SELECT count(*) FROM name WHERE name.ino = inode.ino AND name.ino > 0 AND NOT " ADOPT_IS_LOCAL
		") WHERE ino <> 2",
		/* nlink of what is taken is the upstream's so far. */
		"UPDATE inode SET nlink = 2 + (SELECT count(*) FROM name JOIN inode AS below ON below.ino = name.ino"
		" WHERE name.dir = inode.ino AND name.ino > 0 AND below.type = 2) WHERE type = 2",
		"UPDATE inode SET nlink = 0 WHERE type <> 2 AND ino NOT IN (SELECT ino FROM temp.adopt_ino WHERE kind = 2)",
		"UPDATE inode SET nlink = max(nlink, links_up) +"
		" (SELECT count(*) FROM name WHERE name.ino = inode.ino AND name.ino > 0) - links_up WHERE type <> 2",
		"DELETE FROM digest WHERE NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = digest.ino AND inode.gen = digest.gen)",
	};

	return run_all(a, steps, ARRAY_SIZE(steps));
}

static int put_meta(struct adopt *a)
{
	struct db *db = a->db;
	int err;

	err = meta_put_int(db, "client_id", (int64_t)a->client);
	if (!err)
		err = db_run(db, "INSERT OR REPLACE INTO meta (key, value) VALUES ('upstream_id', ?1)", "t", a->given->id);
	if (!err)
		err = meta_put_int(db, "position", (int64_t)a->given->position);
	if (!err)
		err = meta_put_int(db, "has_acls", a->given->has_acls);
	if (!err)
		err = meta_put_int(db, "acked", 0);
	if (!err)
		err = meta_put_int(db, "frozen", (int64_t)a->frozen);
	if (!err)
		err = meta_put_int(db, "next_ino", (int64_t)a->next_ino);
	if (!err)
		err = meta_put_int(db, "next_oid", (int64_t)a->next_oid);
	if (!err)
		err = meta_put_int(db, "next_cookie", (int64_t)a->next_cookie);
	if (!err)
		err = meta_put_int(db, "next_seq", (int64_t)a->next_seq);
	/* The recovery has to look at everything. */
	return err ? err : db_exec(db, "DELETE FROM meta WHERE key IN ('closed', 'own_position', 'mark', 'mark_at')");
}

static int adopt_run(struct adopt *a)
{
	int err;

	err = begin(a);
	if (!err)
		err = find_ours(a);
	if (!err)
		err = adopt_log_read(a);
	if (!err)
		err = forget_upstream(a);
	if (!err)
		err = adopt_list(a);
	if (!err)
		err = FAULT("adopt.listed");
	if (!err)
		err = keep_left(a);
	if (!err)
		err = drop_left(a);
	if (!err)
		err = adopt_log_write(a);
	if (!err)
		err = adopt_log_undone(a);
	if (!err)
		err = put_meta(a);
	if (!err)
		err = adopt_keep_end(a);
	return err ? err : FAULT("adopt.commit");
}

int adopt_upstream(struct cache *cache, const struct cache_adopt *given)
{
	struct adopt a = {
		.cache = cache, .db = cache->write_db, .given = given, .now = cache_now_ns(), .kept_fd = -1, .files_fd = -1,
	};
	int err;

	/* The content files have everything: they are what is kept. */
	err = content_log_recover(cache);
	if (!err)
		err = db_exec(a.db, "BEGIN IMMEDIATE");
	if (err)
		return err;
	err = adopt_run(&a);
	if (!err)
		err = db_exec(a.db, "COMMIT");
	if (err) {
		(void)db_exec(a.db, "ROLLBACK");	/* fails when SQLite has done it already */
		adopt_keep_undo(&a);
	}
	mem_close_fd(&a.files_fd);
	mem_close_fd(&a.kept_fd);
	if (!err)
		log_warn("cache: %s goes on with upstream %s from position %llu, as it was told to:"
			 " to_send=%llu not_done=%llu kept=%llu", cache->dir, given->id, (unsigned long long)given->position,
			 (unsigned long long)a.sent, (unsigned long long)a.undone, (unsigned long long)a.kept);
	return err;
}
