/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/conflict_note.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "cache/base.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/writer.h"

/* Where it is now, or what was not done to it. */
static void path_of(const struct conflict_note *n, char path[CML_PATH_MAX])
{
	struct cache *cache = n->change->cache;
	struct cml_place places[2];
	unsigned n_places = cml_places_of(n->record, places);

	if (n->edit && !n->edit->is_removed && name_count_of(cache, n->edit->inode->ino) > 0)
		name_path(cache, n->edit->inode->ino, path, CML_PATH_MAX);
	else if (n_places)
		cml_place_path(cache, &places[n_places - 1], "", path, CML_PATH_MAX);
	else
		path[0] = '\0';
}

static int note_side(const struct conflict_note *n, int64_t id)
{
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = kml_record_encode(&buf, n->record);
	if (!err)
		err = db_run(writer_db(n->change->cache),
			     "INSERT INTO conflict_side (id, kind, status, ours, dir, name, record)"
			     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
			     "iiiiibb", id, (int64_t)n->kind, (int64_t)n->answer->status, (int64_t)n->ino, (int64_t)n->dir, n->name,
			     (struct slice){ buf.data, buf.len });
	buf_release(&buf);
	return err;
}

int conflict_note(const struct conflict_note *n, const char *format, va_list args)
{
	struct db *db = writer_db(n->change->cache);
	AUTO_FREE char *path = malloc(CML_PATH_MAX);
	char what[256];
	int64_t id;
	int err;

	if (!path)
		return -ENOMEM;
	(void)vsnprintf(what, sizeof(what), format, args);
	path_of(n, path);
	log_info("conflict: %s: %s: seq=%llu %s %s", path, what, (unsigned long long)n->record->seq,
		 kml_op_name(n->record->body.op), kml_status_name(n->answer->status));
	err = db_run(db, "INSERT INTO conflict (at, path, what) VALUES (?1, ?2, ?3)", "ibt",
		     n->change->now / 1000000000, (struct slice){ path, strlen(path) }, what);
	if (err)
		return err;
	id = sqlite3_last_insert_rowid(db_handle(db));
	err = note_side(n, id);
	return !err && n->kind == CONFLICT_COPY ? base_give_to_conflict(n->change, n->ino, n->record, id) : err;
}

static int side_fill(sqlite3_stmt *stmt, struct conflict_side *ret)
{
	struct slice name = db_column(stmt, 3), record = db_column(stmt, 4);
	int err;

	ret->kind = (enum conflict_kind)sqlite3_column_int(stmt, 0);
	ret->ours = sqlite3_column_int64(stmt, 1);
	ret->dir = sqlite3_column_int64(stmt, 2);
	ret->len = MIN(name.len, sizeof(ret->name));
	if (ret->len)
		memcpy(ret->name, name.data, ret->len);
	err = kml_record_decode(record.data, record.len, &ret->record);
	return err && err != -ENOMEM ? -EUCLEAN : err;
}

int conflict_side_get(struct cache *cache, uint64_t id, struct conflict_side *ret)
{
	sqlite3_stmt *stmt;
	int got, err;

	memset(ret, 0, sizeof(*ret));
	ret->id = id;
	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt, "SELECT kind, ours, dir, name, record FROM conflict_side WHERE id = ?1", "i",
		       (int64_t)id);
	if (got > 0) {
		err = side_fill(stmt, ret);
		db_done(stmt);
		got = err ? err : 1;
	}
	pthread_mutex_unlock(&cache->lock);
	return got;
}

int conflict_side_remove(struct change *change, uint64_t id)
{
	struct db *db = writer_db(change->cache);
	int err;

	err = db_run(db, "DELETE FROM conflict WHERE id = ?1", "i", (int64_t)id);
	if (!err)
		err = db_run(db, "DELETE FROM conflict_side WHERE id = ?1", "i", (int64_t)id);
	if (!err)
		err = db_run(db, "DELETE FROM merge WHERE id = ?1", "i", (int64_t)id);
	return err ? err : base_conflict_ended(change, (int64_t)id);
}

static int done_run(struct change *change)
{
	return conflict_side_remove(change, *(const uint64_t *)change->arg);
}

int conflict_side_done(struct cache *cache, uint64_t id)
{
	return writer_call(cache, done_run, &id);
}
