/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Large contents let small records pass.
 *
 * The upstream takes records in the order of their numbers, and a STORE only once its content is there.  So a STORE of a large
 * content that is still to be sent ahead stands aside: it goes to the end of the log, under a new number, and what stood behind it
 * is taken meanwhile.  It stays in the log as any other record that was never taken: it folds, it is in order with what comes
 * after it, and after a crash it is taken, or stands aside, as if nothing had been.
 *
 * (1) Only what was never taken moves (cml.c (2)), and only to the end: so what had to come before it still does.
 * (2) What had to come after it moves with it, in order: all later records of the same object.  A rename is what makes a new
 *     content the one with that name, and nobody is to see the name with half of it.
 * (3) One about a name moves only if nothing that stays depends on it: it is the last record on each of its names, their
 *     directories are there, and no record sets attributes (mtime) of these after it; what a RENAME replaced has no name left.
 *     A LINK never does: it may be what keeps the object in being when another takes the place of its first name.
 *     On a STORE by itself nothing can depend but (2): it names its object by the oid, and says the mtime as it is then.
 * (4) Where (3) does not hold it does not stand aside, and what is behind it waits.
 * (5) It moves only while something is behind it that can go (cml->last_other), so a take ends.  When its content is there
 *     it does not move any more, and what is before it by then is taken some time: so its turn comes.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/cml.h"
#include "cache/cml_aside.h"
#include "cache/cml_state.h"
#include "cache/counter.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/writer.h"

#define FOLLOWERS_MAX 16	/* later records of one object; with more it does not stand aside */
#define LOOK_MAX 64		/* records that are looked through for STOREs that stand aside */

struct row {
	struct kml_record record;	/* owned */
	uint64_t dirs[2];		/* of the names that it is about */
	unsigned n_dirs;
};

struct group {
	struct change *change;
	struct inode_edit *edit;
	struct row rows[1 + FOLLOWERS_MAX];
	unsigned n;
};

static void group_release(struct group *group)
{
	for (unsigned i = 0; i < group->n; i++)
		kml_record_release(&group->rows[i].record);
}

/* ---- which move ---- */

/* 1: all are read; 0: too many, or of what the inode was before it became another object. */
static int group_read(struct group *group, uint64_t ino, uint64_t seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(group->change->cache), &stmt, "SELECT record FROM cml WHERE ino = ?1 AND seq >= ?2 ORDER BY seq", "ii",
		       (int64_t)ino, (int64_t)seq);
	while (got > 0) {
		struct row *row = &group->rows[group->n];
		struct slice text = db_column(stmt, 0);
		int err;

		if (group->n == ARRAY_SIZE(group->rows)) {
			db_done(stmt);
			return 0;
		}
		err = kml_record_decode(text.data, text.len, &row->record);
		if (err) {
			db_done(stmt);
			return err == -ENOMEM ? err : -EUCLEAN;
		}
		group->n++;
		if (!kml_oid_equal(cml_oid_of(&row->record), group->edit->v.oid)) {
			db_done(stmt);
			return 0;
		}
		got = db_next(stmt);
	}
	return got < 0 ? got : 1;
}

/* keeps (3) for one of its names. */
static int place_allows(struct group *group, struct row *row, const struct cml_place *place)
{
	struct change *change = group->change;
	uint64_t mark, dir = cml_find_oid(change->cache, place->dir);
	struct inode_edit *edit;
	int err;

	if (!dir)
		return 0;
	edit = inode_edit(change, dir, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	if (edit->v.attr_seq > row->record.seq)
		return 0;
	row->dirs[row->n_dirs++] = dir;
	err = mark_get(change, dir, place->name, &mark);
	return err ? err : mark == row->record.seq;
}

/* keeps (3): 1, 0, -errno. */
static int row_allows(struct group *group, struct row *row)
{
	const struct kml_record *record = &row->record;
	struct cml_place places[2];
	unsigned n = cml_places_of(record, places);
	int got = 1;

	if (cml_make_of(record) || record->body.op == KML_STORE || record->body.op == KML_LINK)
		return 0;
	if (record->body.op == KML_RENAME && cml_find_oid(group->change->cache, record->body.kml_body_u.rename.replaced))
		return 0;
	for (unsigned i = 0; i < n && got > 0; i++)
		got = place_allows(group, row, &places[i]);
	return got;
}

/* ---- moving them ---- */

/* The marks that say its number. */
static int marks_move(struct group *group, const struct row *row, uint64_t from)
{
	uint64_t to = row->record.seq;
	struct cml_place places[2];
	int err = 0;

	if (group->edit->v.data_seq == from)
		EDIT(group->edit, data_seq, to);
	if (group->edit->v.attr_seq == from)
		EDIT(group->edit, attr_seq, to);
	(void)cml_places_of(&row->record, places);
	for (unsigned i = 0; i < row->n_dirs && !err; i++)
		err = mark_put(group->change, row->dirs[i], places[i].name, to);
	return err;
}

static int row_move(struct group *group, struct row *row)
{
	struct cache *cache = group->change->cache;
	uint64_t from = row->record.seq;
	int err = FAULT("cml.aside");

	row->record.seq = cml_next_seq(cache, row->record.body.op);
	if (!err)
		err = db_run(writer_db(cache), "UPDATE cml SET seq = ?1 WHERE seq = ?2", "ii", (int64_t)row->record.seq, (int64_t)from);
	if (!err)
		err = cml_row_update(group->change, &row->record);
	if (!err)
		err = marks_move(group, row, from);
	if (err)
		return err;
	__atomic_store_n(&cache->cml->last_seq, row->record.seq, __ATOMIC_RELAXED);
	log_debug(LOG_CML, "cml: stands aside: seq=%llu to=%llu %s ino=%llu", (unsigned long long)from,
		  (unsigned long long)row->record.seq, kml_op_name(row->record.body.op), (unsigned long long)group->edit->inode->ino);
	return 0;
}

int cml_aside_move(struct change *change, uint64_t ino, uint64_t seq)
{
	struct group group = { .change = change };
	int got;

	group.edit = inode_edit(change, ino, &got);
	if (!group.edit)
		return got == -ESTALE ? 0 : got;
	got = group_read(&group, ino, seq);
	for (unsigned i = 1; i < group.n && got > 0; i++)
		got = row_allows(&group, &group.rows[i]);
	for (unsigned i = 0; i < group.n && got > 0; i++) {
		got = row_move(&group, &group.rows[i]);
		got = got ? got : 1;
	}
	if (got > 0)
		got = (int)group.n;
	group_release(&group);
	return got;
}

/* ---- which stand aside ---- */

int cml_aside_list(struct change *change, uint64_t seq, const struct cml_wants *wants, struct cml_taken *taken)
{
	struct cache *cache = change->cache;
	unsigned looked = 0;
	sqlite3_stmt *stmt;
	int got;

	taken->n_aside = 0;
	got = db_query(writer_db(cache), &stmt, "SELECT ino, op FROM cml WHERE seq >= ?1 ORDER BY seq", "i", (int64_t)seq);
	while (got > 0) {
		uint64_t ino = sqlite3_column_int64(stmt, 0);
		bool is_large = sqlite3_column_int(stmt, 1) == KML_STORE && cml_aside_is_large(cache, ino, wants);

		if (is_large)
			taken->aside[taken->n_aside++] = ino;
		if (taken->n_aside == CML_ASIDES || ++looked == LOOK_MAX) {
			db_done(stmt);
			break;
		}
		got = db_next(stmt);
	}
	return MIN(got, 0);
}

bool cml_aside_is_large(struct cache *cache, uint64_t ino, const struct cml_wants *wants)
{
	uint64_t bytes;

	pthread_mutex_lock(&cache->lock);
	bytes = cml_bytes_of(cache->cml, ino);
	pthread_mutex_unlock(&cache->lock);
	return bytes > wants->large;
}

/* ---- reading one, to send its content ahead ---- */

struct look {
	uint64_t ino;
	struct cml_item *item;
};

/* The STORE in the log that was never taken. */
static int look_row(struct change *change, struct cml_item *item)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT record FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3 ORDER BY seq DESC LIMIT 1", "iii",
		       (int64_t)item->ino, (int64_t)KML_STORE, (int64_t)change->cache->cml->frozen_seq);
	if (got <= 0)
		return got ? got : -ENOENT;
	got = cml_row_record(stmt, 0, &item->record);
	return MIN(got, 0);
}

static int look_run(struct change *change)
{
	struct look *look = change->arg;
	struct cml_item *item = look->item;
	struct kml_store *store = &item->record.body.kml_body_u.store;
	struct inode_edit *edit;
	int err;

	/* It may be run again. */
	cml_item_clear(item);
	item->ino = look->ino;
	edit = inode_edit(change, item->ino, &err);
	if (!edit)
		return err == -ESTALE ? -ENOENT : err;
	err = look_row(change, item);
	if (err)
		return err;
	/* As it will be when it is taken (cml_freeze_store()), if nobody writes to the file. */
	if (store->keep_size == CML_NOT_TAKEN) {
		store->keep_size = edit->v.keep_size;
		store->data_base = edit->v.data_version;
	}
	err = cml_item_fill(change, edit, edit->v.keep_size, item);
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || !err ? err : -EIO;
}

int cml_aside_look(struct cache *cache, uint64_t ino, struct cml_item **ret_item)
{
	struct cml_item *item = calloc(1, sizeof(*item));
	struct look look = { ino, item };
	int err;

	if (!item)
		return -ENOMEM;
	item->fd = -1;
	err = writer_call(cache, look_run, &look);
	if (err) {
		cml_item_free(item);
		return err;
	}
	*ret_item = item;
	return 0;
}

void cml_item_free(struct cml_item *item)
{
	if (item)
		cml_item_clear(item);
	free(item);
}
