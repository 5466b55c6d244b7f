/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a cache that no daemon has, from its directory: see cml_export.h.
 *
 * What a start would mend (recover.h) is taken as mended, and nothing is written: of a file whose content was being written
 * all that is present counts as changed, in a record of its own; bytes in the content log lie over what the content
 * files have.
 */
#include "cache/cml_export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "base/fs.h"
#include "base/why.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/counter.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "cache/schema.h"


struct cml_dead {
	int dirfd, lock_fd;
	struct db *db;
	uint64_t after;			/* seq of the last record given */
	uint64_t unlogged_after;	/* ino of the last one of those without a record, once the log is through */
	uint64_t first_aside;		/* the cache has given none from here on */
	uint64_t next_aside;		/* seq for the next of them */
	bool is_through;		/* the log is */
	bool is_detached;		/* the next of them has been given its DETACH */
	int fd;				/* content file of fd_ino, fd_gen, or -1 */
	uint64_t fd_ino;
	uint32_t fd_gen;
	bool has_content_log;		/* of fd_ino */
};

/* ---- open ---- */

static int take_lock(struct cml_dead *dead, const char *dir, char **ret_why)
{
	dead->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dead->dirfd >= 0)
		dead->lock_fd = openat(dead->dirfd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (dead->lock_fd < 0) {
		int err = -errno;

		return why_fail(ret_why, err, "%s: %s", dir, err == -ENOENT ? "there is no cache here" : strerror(-err));
	}
	/* Shared: two may read, and no daemon starts meanwhile. */
	if (flock(dead->lock_fd, LOCK_SH | LOCK_NB) < 0)
		return why_fail(ret_why, -EBUSY, "%s: a daemon is using this cache", dir);
	return 0;
}

static int open_db(struct cml_dead *dead, const char *dir, char **ret_why)
{
	AUTO_FREE char *path = NULL;
	int err;

	if (asprintf(&path, "%s/cache.db", dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	err = db_open_aside(path, &dead->db);
	if (err)
		return why_fail(ret_why, err, "%s: the database cannot be opened: %s", path, strerror(-err));
	return schema_look(dead->db, path, ret_why);
}

int cml_dead_open(const char *dir, struct cml_dead **ret_dead, char **ret_why)
{
	struct cml_dead *dead = calloc(1, sizeof(*dead));
	int64_t next_seq = 0;
	int err;

	*ret_why = NULL;
	if (!dead)
		return -ENOMEM;
	dead->dirfd = dead->lock_fd = dead->fd = -1;
	err = take_lock(dead, dir, ret_why);
	if (!err)
		err = open_db(dead, dir, ret_why);
	if (!err) {
		int got = meta_get_int(dead->db, "next_seq", &next_seq);

		err = got < 0 ? got : got && next_seq > 0 ? 0 : -EUCLEAN;
		if (err)
			(void)why_fail(ret_why, err, "%s: its database is damaged: %s", dir, strerror(-err));
	}
	if (err) {
		cml_dead_close(dead);
		return err;
	}
	dead->first_aside = dead->next_aside = (uint64_t)next_seq;
	*ret_dead = dead;
	return 0;
}

void cml_dead_close(struct cml_dead *dead)
{
	if (!dead)
		return;
	db_close(dead->db);
	mem_close_fd(&dead->fd);
	mem_close_fd(&dead->lock_fd);
	mem_close_fd(&dead->dirfd);
	free(dead);
}

static int number(struct db *db, const char *sql, uint64_t *ret)
{
	sqlite3_stmt *stmt;
	int got = db_query(db, &stmt, sql, "");

	if (got <= 0)
		return got ? got : -EUCLEAN;
	*ret = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}

static int meta_number(struct db *db, const char *key, uint64_t *ret)
{
	int64_t value = 0;
	int got = meta_get_int(db, key, &value);

	*ret = (uint64_t)value;
	return MIN(got, 0);
}

/* Files with content that has no record, and names that upstream knows or will know. */
#define UNLOGGED "is_dirty <> 0 AND links_up > 0 AND type = 1"

int cml_dead_head(struct cml_dead *dead, struct cml_export_head *ret_head)
{
	struct cml_export_head head = { 0 };
	char upstream[40] = "", host[KML_HOST_MAX + 1] = "";
	uint64_t unlogged = 0;
	int err;

	err = meta_number(dead->db, "client_id", &head.head.client);
	if (!err && !head.head.client)
		err = -EUCLEAN;
	if (!err)
		err = meta_number(dead->db, "position", &head.head.position);
	if (!err)
		err = meta_number(dead->db, "acked", &head.head.acked);
	if (!err)
		err = MIN(meta_get_text(dead->db, "upstream_id", upstream, sizeof(upstream)), 0);
	if (!err)
		err = number(dead->db, "SELECT count(*) FROM cml", &head.records);
	if (!err)
		err = number(dead->db, "SELECT count(*) FROM inode WHERE " UNLOGGED, &unlogged);
	if (!err)
		err = number(dead->db, "SELECT coalesce(max(seq), 0) FROM cml", &head.last_seq);
	if (err)
		return err;
	head.records += unlogged;
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	head.head.host = strdup(host);
	head.head.upstream = strdup(upstream);
	head.head.tree = strdup("");
	head.head.made = cml_time(cache_now_ns());
	if (!head.head.host || !head.head.upstream || !head.head.tree) {
		cml_export_head_release(&head);
		return -ENOMEM;
	}
	*ret_head = head;
	return 0;
}

/* ---- paths, for people ---- */

static uint64_t ino_of(struct cml_dead *dead, struct kml_oid oid)
{
	sqlite3_stmt *stmt;
	uint64_t ino = 0;

	if (db_query(dead->db, &stmt, "SELECT ino FROM inode WHERE oid_origin = ?1 AND oid_number = ?2", "ii",
		     (int64_t)oid.origin, (int64_t)oid.number) > 0) {
		ino = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	return ino;
}

static int fill_path(struct cml_dead *dead, struct cml_exported *exported)
{
	AUTO_FREE char *path = malloc(CML_PATH_MAX);
	size_t start = CML_PATH_MAX - 1;
	struct cml_place places[2];

	if (!path)
		return -ENOMEM;
	path[start] = '\0';
	if (cml_places_of(&exported->saved.record, places)) {
		start -= places[0].name.len;
		memcpy(path + start, places[0].name.data, places[0].name.len);
		path[--start] = '/';
		name_path_before(dead->db, ino_of(dead, places[0].dir), path, &start);
	} else {
		name_path_before(dead->db, exported->ino, path, &start);
	}
	exported->saved.path = strdup(path + start);
	return exported->saved.path ? 0 : -ENOMEM;
}

/* ---- stores ---- */

/* What the row says of the file. */
struct row {
	struct kml_object object;	/* nothing in it is owned */
	uint64_t keep_size;
	uint32_t gen;
	struct extent_map present, changed;	/* owned; changed: dirty and dirty_next */
};

static void row_release(struct row *row)
{
	extent_release(&row->present);
	extent_release(&row->changed);
}

static int row_maps(sqlite3_stmt *stmt, struct row *row)
{
	struct extent_map next = { 0 };
	int err = extent_decode(&row->present, db_column(stmt, 12));

	if (!err)
		err = extent_decode(&row->changed, db_column(stmt, 13));
	if (!err)
		err = extent_decode(&next, db_column(stmt, 14));
	if (!err)
		err = extent_union(&row->changed, &next);
	extent_release(&next);
	return err;
}

/* 1; 0: it is gone. */
static int row_read(struct cml_dead *dead, uint64_t ino, struct row *row)
{
	struct kml_attr *attr = &row->object.attr;
	sqlite3_stmt *stmt;
	int got, err;

	*row = (struct row){ 0 };
	got = db_query(dead->db, &stmt,
		       "SELECT oid_origin, oid_number, mode, uid, gid, nlink, size, mtime, data_version, attr_version,"
		       " keep_size, gen, present, dirty, dirty_next, atime FROM inode WHERE ino = ?1 AND type = 1", "i", (int64_t)ino);
	if (got <= 0)
		return got;
	row->object.oid = (struct kml_oid){ sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1) };
	attr->type = KML_REG;
	attr->mode = sqlite3_column_int64(stmt, 2) & 07777;
	attr->uid = sqlite3_column_int64(stmt, 3);
	attr->gid = sqlite3_column_int64(stmt, 4);
	attr->nlink = sqlite3_column_int64(stmt, 5);
	attr->size = sqlite3_column_int64(stmt, 6);
	attr->mtime = cml_time(sqlite3_column_int64(stmt, 7));
	attr->atime = cml_time(sqlite3_column_int64(stmt, 15));
	row->object.data_version = sqlite3_column_int64(stmt, 8);
	row->object.attr_version = sqlite3_column_int64(stmt, 9);
	row->keep_size = sqlite3_column_int64(stmt, 10);
	row->gen = sqlite3_column_int64(stmt, 11);
	err = attr->size > INT64_MAX ? -EUCLEAN : row_maps(stmt, row);
	db_done(stmt);
	if (err)
		row_release(row);
	return err ? (err == -EUCLEAN ? -EBADMSG : err) : 1;
}

static int fill_about(struct cml_dead *dead, const struct row *row, struct cml_exported *exported)
{
	struct kml_listed *about;
	sqlite3_stmt *stmt;
	int got, err = 0;

	got = db_query(dead->db, &stmt, "SELECT n.name, d.oid_origin, d.oid_number FROM name n JOIN inode d ON d.ino = n.dir"
					" WHERE n.ino = ?1 AND n.ino > 0", "i", (int64_t)exported->ino);
	while (got > 0 && name_is_local(db_column(stmt, 0)))
		got = db_next(stmt);
	if (got <= 0)
		return got;
	about = calloc(1, sizeof(*about));
	if (about) {
		about->parent = (struct kml_oid){ sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2) };
		about->object = row->object;
		err = kml_name_set(&about->name, db_column(stmt, 0));
	}
	db_done(stmt);
	exported->saved.about = about;
	return about ? err : -ENOMEM;
}

static int fill_ranges(struct kml_store *store, const struct extent_map *map)
{
	if (map->n > KML_RANGES_MAX)
		return -EFBIG;
	store->ranges.ranges_val = calloc(MAX(map->n, 1u), sizeof(struct kml_range));
	if (!store->ranges.ranges_val)
		return -ENOMEM;
	store->ranges.ranges_len = map->n;
	for (uint32_t i = 0; i < map->n; i++)
		store->ranges.ranges_val[i] = (struct kml_range){ map->v[i].start, map->v[i].end - map->v[i].start };
	return 0;
}

/* As cml_freeze_store() and cml_fill_store() would do it.  all: everything that is present counts as changed.  1; 0: the file is gone. */
static int fill_store(struct cml_dead *dead, struct cml_exported *exported, bool all)
{
	struct kml_store *store = &exported->saved.record.body.kml_body_u.store;
	struct row row;
	int err, got = row_read(dead, exported->ino, &row);

	if (got <= 0)
		return got;
	if (all)
		store->oid = row.object.oid;
	if (store->keep_size == CML_NOT_TAKEN) {
		store->keep_size = row.keep_size;
		store->data_base = row.object.data_version;
	}
	err = all ? extent_copy(&row.changed, &row.present) : 0;
	store->size = row.object.attr.size;
	store->mtime = row.object.attr.mtime;
	store->keep_size = MIN(MIN(store->keep_size, row.keep_size), store->size);
	extent_cut(&row.changed, store->size);
	if (!err)
		err = fill_ranges(store, &row.changed);
	if (!err)
		err = cml_export_rest(&exported->saved, &row.present);
	if (!err)
		err = fill_about(dead, &row, exported);
	exported->gen = row.gen;
	row_release(&row);
	return err ? err : 1;
}

/* ---- records ---- */

/* The next one of the log: 1, 0: there is none. */
static int next_logged(struct cml_dead *dead, struct cml_exported *exported)
{
	sqlite3_stmt *stmt;
	struct slice text;
	uint64_t before;
	int got, err;

	got = db_query(dead->db, &stmt, "SELECT seq, ino, record FROM cml WHERE seq > ?1 ORDER BY seq LIMIT 1", "i", (int64_t)dead->after);
	if (got <= 0)
		return got;
	before = dead->after;
	dead->after = sqlite3_column_int64(stmt, 0);
	exported->ino = sqlite3_column_int64(stmt, 1);
	text = db_column(stmt, 2);
	err = kml_record_decode(text.data, text.len, &exported->saved.record);
	db_done(stmt);
	if (!err && exported->saved.record.seq != dead->after)
		err = -EBADMSG;
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	err = cml_export_detach(dead->db, before, exported);
	dead->after = exported->saved.record.seq;
	if (err < 0)
		kml_record_release(&exported->saved.record);
	return err < 0 ? err : 1;
}

/* A record for the next file with content that has none, as a start would make it: 1, 0: there is none. */
static int next_unlogged(struct cml_dead *dead, struct cml_exported *exported)
{
	struct kml_record *record = &exported->saved.record;
	uint64_t last = MAX(dead->after, dead->next_aside - 1);
	sqlite3_stmt *stmt;
	int64_t mtime;
	int got;

	got = db_query(dead->db, &stmt,
		       "SELECT ino, uid, mtime, oid_origin, oid_number FROM inode WHERE " UNLOGGED " AND ino > ?1 ORDER BY ino LIMIT 1", "i",
		       (int64_t)dead->unlogged_after);
	if (got <= 0)
		return got;
	exported->ino = sqlite3_column_int64(stmt, 0);
	record->uid = sqlite3_column_int64(stmt, 1);
	mtime = sqlite3_column_int64(stmt, 2);
	record->body.kml_body_u.store.oid = (struct kml_oid){ (uint64_t)sqlite3_column_int64(stmt, 3), (uint64_t)sqlite3_column_int64(stmt, 4) };
	db_done(stmt);
	/* The log has a seq from the bound on: no cache of ours wrote that. */
	if (last >= dead->next_aside)
		return -EUCLEAN;
	record->format = KML_VERSION;
	record->seq = dead->next_aside + 1;
	record->time = cml_time(mtime);
	record->body.op = KML_STORE;
	record->body.kml_body_u.store.keep_size = CML_NOT_TAKEN;
	got = dead->is_detached ? 0 : cml_export_detach(dead->db, last, exported);
	if (got < 0)
		return got;
	dead->is_detached = got > 0;
	if (!dead->is_detached) {
		record->seq = dead->next_aside;
		dead->unlogged_after = exported->ino;
	}
	dead->next_aside++;
	return 1;
}

int cml_dead_next(struct cml_dead *dead, struct cml_exported *ret_exported)
{
	for (;;) {
		struct cml_exported exported = { 0 };
		bool is_unlogged;
		int got = 0;

		if (!dead->is_through)
			got = next_logged(dead, &exported);
		is_unlogged = !got;
		if (!got) {
			dead->is_through = true;
			got = next_unlogged(dead, &exported);
		}
		if (got <= 0)
			return got;
		got = exported.saved.record.body.op == KML_STORE ? fill_store(dead, &exported, is_unlogged) : 1;
		if (got > 0)
			got = fill_path(dead, &exported) ? -ENOMEM : 1;
		if (got > 0) {
			*ret_exported = exported;
			return 1;
		}
		cml_exported_release(&exported);
		if (got < 0)
			return got;
		/* Its file is gone, the REMOVE comes later in the log. */
	}
}

/* ---- the mark ---- */

int cml_exported_seq(int dirfd, uint64_t *ret_seq)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	char *end;
	int err = fs_read_file(dirfd, CML_EXPORTED, 64, &text, &len);

	*ret_seq = 0;
	if (err)
		return err == -ENOENT ? 0 : err;
	*ret_seq = strtoull(text, &end, 10);
	return end == text || *ret_seq > INT64_MAX ? -EUCLEAN : 0;
}

int cml_dead_mark(struct cml_dead *dead)
{
	uint64_t before, last = dead->next_aside > dead->first_aside ? dead->next_aside - 1 : dead->after;
	char text[32];
	int len, err = cml_exported_seq(dead->dirfd, &before);

	/* One that says nothing is written over. */
	if ((err && err != -EUCLEAN) || (!err && before >= last))
		return err;
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", last);
	return fs_replace(dead->dirfd, CML_EXPORTED, text, (size_t)len);
}

/* ---- content ---- */

static int open_content(struct cml_dead *dead, const struct cml_exported *exported)
{
	char name[64];
	sqlite3_stmt *stmt;
	int got;

	if (dead->fd_ino == exported->ino && dead->fd_gen == exported->gen)
		return 0;
	mem_close_fd(&dead->fd);
	(void)snprintf(name, sizeof(name), "objects/%02x/%" PRIu64 ".%" PRIu32, (unsigned)(exported->ino % 256), exported->ino,
		       exported->gen);
	dead->fd_ino = 0;
	dead->fd = openat(dead->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (dead->fd < 0 && errno != ENOENT)
		return -errno;
	got = db_query(dead->db, &stmt, "SELECT 1 FROM content_log WHERE ino = ?1 AND gen = ?2 LIMIT 1", "ii",
		       (int64_t)exported->ino, (int64_t)exported->gen);
	if (got < 0)
		return got;
	if (got)
		db_done(stmt);
	dead->has_content_log = got;
	dead->fd_ino = exported->ino;
	dead->fd_gen = exported->gen;
	return 0;
}

/* What the content log has of it, in the order in which it was written. */
static int lay_over(struct cml_dead *dead, const struct cml_exported *exported, unsigned char *data, size_t len, uint64_t offset)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(dead->db, &stmt, "SELECT start, bytes FROM content_log WHERE ino = ?1 AND gen = ?2 ORDER BY id", "ii",
		       (int64_t)exported->ino, (int64_t)exported->gen);
	while (got > 0) {
		uint64_t start = sqlite3_column_int64(stmt, 0), from, to;
		struct slice bytes = db_column(stmt, 1);

		from = MAX(start, offset);
		to = MIN(start + bytes.len, offset + len);
		if (from < to)
			memcpy(data + (from - offset), (const char *)bytes.data + (from - start), to - from);
		got = db_next(stmt);
	}
	return got;
}

int cml_dead_read(struct cml_dead *dead, const struct cml_exported *exported, void *data, size_t len, uint64_t offset,
		  bool *ret_missing)
{
	ssize_t got = 0;
	int err = open_content(dead, exported);

	if (err)
		return err;
	if (dead->fd >= 0)
		got = fs_pread_full(dead->fd, data, len, offset);
	if (got < 0)
		return (int)got;
	memset((char *)data + got, 0, len - (size_t)got);
	*ret_missing = dead->fd < 0 && !dead->has_content_log;
	return dead->has_content_log ? lay_over(dead, exported, data, len, offset) : 0;
}
