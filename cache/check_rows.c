/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of the database: do they decode, and agree with each other? */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cache/check_state.h"
#include "cache/extent.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "rpcgen/kml_codec.h"

#define FURTHER (1ll << 32)	/* so far behind what is seen counting goes on, where its bound was lost */

/* ---- what there is once ---- */

static int number(struct check *check, const char *sql, int64_t *ret)
{
	sqlite3_stmt *stmt;
	int got = db_query(check->db, &stmt, sql, "");

	if (got <= 0)
		return got ? got : -EUCLEAN;
	*ret = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}

/* A bound that is not above all numbers in use would have one given out twice. */
static int check_bound(struct check *check, const char *key, const char *highest)
{
	int64_t bound = 0, seen = 0;
	int got = meta_get_int(check->db, key, &bound), err;

	if (got < 0 && got != -EUCLEAN)
		return got;
	err = number(check, highest, &seen);
	if (err || (got > 0 && bound > seen))
		return err;
	if (check_found(check, "%s is %" PRId64 ", and %" PRId64 " is in use already", key, bound, seen))
		err = meta_put_int(check->db, key, seen + FURTHER);
	return err;
}

int check_meta(struct check *check)
{
	int64_t client = 0, tree = 0;
	uint8_t key[32];
	int err = 0;

	/* Another client's id would make all records another's; another key would make handles stale that are in use. */
	if (meta_get_int(check->db, "client_id", &client) <= 0 || !client)
		check_lost(check, "the id of this cache is lost: its log can be sent no more; its content is all there is to save");
	if (meta_get_int(check->db, "tree_id", &tree) <= 0 || meta_get_blob(check->db, "handle_key", key, sizeof(key)) <= 0)
		check_lost(check, "the key of this cache's handles is lost: no daemon can start on it; its content is all there is to save");
	err = check_bound(check, "next_ino", "SELECT coalesce(max(ino), 2) FROM inode");
	if (!err)
		err = check_bound(check, "next_cookie", "SELECT coalesce(max(cookie), 2) FROM name");
	if (!err)
		err = check_bound(check, "next_seq", "SELECT max(coalesce((SELECT max(seq) FROM cml), 0),"
						     " coalesce((SELECT value FROM meta WHERE key = 'acked'), 0))");
	if (!err)
		err = check_bound(check, "next_oid", "SELECT coalesce(max(oid_number), 0) FROM inode WHERE oid_origin ="
						     " (SELECT value FROM meta WHERE key = 'client_id')");
	return err;
}

/* ---- inodes ---- */

/* The three maps of a row, from that column on: decoded and below the largest size.  */
static bool maps_are_sound(sqlite3_stmt *stmt, int column)
{
	struct extent_map map = { 0 };
	bool is_sound = true;

	for (int i = 0; i < 3 && is_sound; i++)
		is_sound = !extent_decode(&map, db_column(stmt, column + i)) &&
			   (!map.n || map.v[map.n - 1].end <= CACHE_SIZE_MAX);
	extent_release(&map);
	return is_sound;
}

static int check_root(struct check *check)
{
	int64_t n = 0;
	int err = number(check, "SELECT count(*) FROM inode WHERE ino = 2 AND type = 2", &n);

	if (!err && !n)
		check_lost(check, "the root directory is lost: no daemon can start on this cache; its content is all there is to save");
	return err;
}

/* Which bytes are here, and which are ours, is not known any more: nothing may be sent or shown of it. */
static int mend_maps(struct check *check, struct buf *bad)
{
	for (size_t at = 0; at < bad->len; at += sizeof(uint64_t)) {
		sqlite3_stmt *stmt;
		uint64_t ino;
		int got, err = 0;

		memcpy(&ino, bad->data + at, sizeof(ino));
		got = db_query(check->db, &stmt, "SELECT gen FROM inode WHERE ino = ?1", "i", (int64_t)ino);
		if (got > 0) {
			err = check_keep_content(check, ino, (uint32_t)sqlite3_column_int64(stmt, 0));
			db_done(stmt);
		}
		if (got < 0 || (err && err != -ENOENT))
			return got < 0 ? got : err;
		err = db_run(check->db, "DELETE FROM cml WHERE ino = ?1 AND op = 10", "i", (int64_t)ino);
		if (err)
			return err;
	}
	return check_each(check, bad, "UPDATE inode SET present = NULL, dirty = NULL, dirty_next = NULL, is_dirty = 0, data_seq = 0,"
				      " gen = gen + 1, keep_size = size, is_stale = 1 WHERE ino = ?1");
}

int check_inodes(struct check *check)
{
	char path[CHECK_ROOM];
	struct buf bad;
	sqlite3_stmt *stmt;
	int got = check_root(check), err = 0;

	if (got)
		return got;
	buf_init(&bad, 0);
	got = db_query(check->db, &stmt, "SELECT ino, type, size, present, dirty, dirty_next FROM inode WHERE type = 1 OR type NOT BETWEEN 1 AND 7"
					 " OR size < 0", "");
	while (got > 0 && !err) {
		uint64_t ino = sqlite3_column_int64(stmt, 0);

		if (sqlite3_column_int64(stmt, 1) != 1 || sqlite3_column_int64(stmt, 2) < 0)
			check_lost(check, "%s: its row in the database has values that cannot be", check_path(check, ino, path));
		else if (!maps_are_sound(stmt, 3) && check_found(check, "%s: which parts of its content are here is not readable;"
							 " the content is kept in lost+found", check_path(check, ino, path)))
			err = check_add(&bad, ino);
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = mend_maps(check, &bad);
	buf_release(&bad);
	return err;
}

/* ---- names ---- */

static bool name_is_sound(struct slice name)
{
	return name.len >= 1 && name.len <= CACHE_NAME_MAX && !memchr(name.data, '/', name.len) && !memchr(name.data, '\0', name.len);
}

/* As check_ends() finds it: where numbers have been altered another name may have the same one. */
#define NO_NAME \
	"(NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = name.dir AND inode.type = 2)" \
	" OR (name.ino <> 0 AND NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = name.ino))" \
	" OR length(name.name) NOT BETWEEN 1 AND 255 OR instr(name.name, x'2f') OR instr(name.name, x'00'))"

/* Names whose directory or object is not there.  The row's number is its cookie. */
static int check_ends(struct check *check)
{
	char path[CHECK_ROOM];
	struct buf bad;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&bad, 0);
	got = db_query(check->db, &stmt,
		       "SELECT n.cookie, n.dir, n.name, d.type, o.ino, n.ino FROM name n LEFT JOIN inode d ON d.ino = n.dir"
		       " LEFT JOIN inode o ON o.ino = n.ino AND n.ino > 0", "");
	while (got > 0 && !err) {
		struct slice name = db_column(stmt, 2);
		bool is_bad = sqlite3_column_int64(stmt, 3) != TYPE_DIR || !name_is_sound(name) ||
			      (sqlite3_column_int64(stmt, 5) && sqlite3_column_type(stmt, 4) == SQLITE_NULL);

		if (is_bad && check_found(check, "the name %.*s in %s belongs to nothing, or is in no directory; it goes",
					  (int)MIN(name.len, 255u), (const char *)name.data,
					  check_path(check, sqlite3_column_int64(stmt, 1), path)))
			err = check_add(&bad, sqlite3_column_int64(stmt, 0));
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &bad, "DELETE FROM name WHERE cookie = ?1 AND " NO_NAME);
	buf_release(&bad);
	return err;
}

/* A file without a name, but with content of ours, would be forgotten at the next start, and its content with it. */
static int check_nameless(struct check *check)
{
	struct buf bad;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&bad, 0);
	got = db_query(check->db, &stmt,
		       "SELECT ino, gen FROM inode WHERE type = 1 AND links_up > 0 AND (length(dirty) > 0 OR length(dirty_next) > 0 OR is_dirty <> 0)"
		       " AND NOT EXISTS (SELECT 1 FROM name WHERE name.ino = inode.ino AND name.ino > 0)"
		       " AND NOT EXISTS (SELECT 1 FROM cml WHERE cml.ino = inode.ino)", "");
	while (got > 0 && !err) {
		uint64_t ino = sqlite3_column_int64(stmt, 0);

		if (check_found(check, "inode %" PRIu64 " was changed and has lost its name; its content is kept in lost+found", ino)) {
			err = check_keep_content(check, ino, (uint32_t)sqlite3_column_int64(stmt, 1));
			err = err && err != -ENOENT ? err : check_add(&bad, ino);
		}
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &bad, "DELETE FROM inode WHERE ino = ?1");
	buf_release(&bad);
	return err;
}

int check_names(struct check *check)
{
	int err = check_ends(check);

	check_begin(check);
	return err ? err : check_nameless(check);
}

/* ---- the log ---- */

static int mend_record(struct check *check, sqlite3_stmt *stmt, struct buf *bad, struct buf *stores)
{
	uint64_t seq = sqlite3_column_int64(stmt, 0);
	char name[40];
	int err;

	(void)snprintf(name, sizeof(name), "record-%" PRIu64, seq);
	err = check_keep_bytes(check, name, db_column(stmt, 3));
	if (!err)
		err = check_add(bad, seq);
	if (!err && sqlite3_column_int64(stmt, 1) == KML_STORE)
		err = check_add(stores, sqlite3_column_int64(stmt, 2));
	return err;
}

static bool record_is_sound(sqlite3_stmt *stmt)
{
	struct slice text = db_column(stmt, 3);
	struct kml_record record;
	bool is_sound;

	if (kml_record_decode(text.data, text.len, &record))
		return false;
	is_sound = record.seq == (uint64_t)sqlite3_column_int64(stmt, 0) && record.body.op == (enum kml_op)sqlite3_column_int64(stmt, 1);
	kml_record_release(&record);
	return is_sound;
}

/* A store that is lost is made anew from the content: as after a crash, all of it counts as changed. */
static int check_records(struct check *check)
{
	char path[CHECK_ROOM];
	struct buf bad, stores;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&bad, 0);
	buf_init(&stores, 0);
	got = db_query(check->db, &stmt, "SELECT seq, op, ino, record FROM cml ORDER BY seq", "");
	while (got > 0 && !err) {
		if (!record_is_sound(stmt) &&
		    check_found(check, "record %lld of the log, about %s, is not one that this program knows; it is kept in lost+found%s",
				(long long)sqlite3_column_int64(stmt, 0), check_path(check, sqlite3_column_int64(stmt, 2), path),
				sqlite3_column_int64(stmt, 1) == KML_STORE ? ", and made anew from the content" : ""))
			err = mend_record(check, stmt, &bad, &stores);
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &bad, "DELETE FROM cml WHERE seq = ?1");
	if (!err)
		err = check_each(check, &stores, "UPDATE inode SET is_dirty = 1 WHERE ino = ?1");
	buf_release(&bad);
	buf_release(&stores);
	return err;
}

/* Changed content that no record speaks of, nor the note that there will be one.  (Refused ones have data_seq.) */
static int check_unlogged(struct check *check)
{
	char path[CHECK_ROOM];
	struct buf bad;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&bad, 0);
	got = db_query(check->db, &stmt,
		       "SELECT ino FROM inode WHERE type = 1 AND links_up > 0 AND is_dirty = 0 AND data_seq = 0"
		       " AND (length(dirty) > 0 OR length(dirty_next) > 0)"
		       " AND NOT EXISTS (SELECT 1 FROM cml WHERE cml.ino = inode.ino AND op = 10)", "");
	while (got > 0 && !err) {
		uint64_t ino = sqlite3_column_int64(stmt, 0);

		if (check_found(check, "%s: was changed, and no record says so; the next start makes one", check_path(check, ino, path)))
			err = check_add(&bad, ino);
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &bad, "UPDATE inode SET is_dirty = 1 WHERE ino = ?1");
	buf_release(&bad);
	return err;
}

int check_log(struct check *check)
{
	int err = check_records(check);

	check_begin(check);
	return err ? err : check_unlogged(check);
}
