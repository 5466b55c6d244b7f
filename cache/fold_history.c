/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/fold_history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/record.h"
#include "cache/writer.h"

static void spots_add(struct history *h, const struct history_row *row)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(&row->record, places);

	for (unsigned i = 0; i < n; i++) {
		uint64_t dir = cml_find_oid(h->change->cache, places[i].dir);

		/* A directory that is gone has taken its names with it. */
		if (dir)
			h->spots[h->n_spots++] = (struct spot){ dir, places[i].name, row->record.seq, row->was[i] };
	}
}

bool record_replaces(const struct kml_record *record)
{
	return record->body.op == KML_RENAME && !kml_oid_is_none(record->body.kml_body_u.rename.replaced);
}

/* 1: more; 0: it is left as it is; -errno. */
static int row_read(struct history *h, sqlite3_stmt *stmt)
{
	struct slice text = db_column(stmt, 2);
	struct history_row *row = &h->rows[h->n];
	int err;

	*row = (struct history_row){ .was = { sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1) } };
	err = kml_record_decode(text.data, text.len, &row->record);
	if (err)
		return err == -ENOMEM ? err : -EUCLEAN;
	/* What this inode was before it became a new object. */
	if (!kml_oid_equal(cml_oid_of(&row->record), h->edit->v.oid)) {
		kml_record_release(&row->record);
		return 1;
	}
	h->n++;
	if (cml_make_of(&row->record))
		h->make = &row->record;
	if (row->record.body.op == KML_STORE)
		h->store = &row->record;
	return !record_replaces(&row->record) && h->n < HISTORY_ROWS_MAX;
}

void history_release(struct history *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->n; i++)
		kml_record_release(&h->rows[i].record);
	free(h);
}

bool spot_is_same(const struct spot *a, const struct spot *b)
{
	return a->dir == b->dir && a->name.len == b->name.len && !memcmp(a->name.data, b->name.data, a->name.len);
}

/* Follow the name's chain through this history: how many of its records, and the mark before them. */
static unsigned chain_follow(const struct history *h, const struct spot *spot, uint64_t mark, uint64_t *ret_was)
{
	unsigned n = 0;

	for (unsigned i = h->n_spots; i-- > 0;) {
		if (h->spots[i].seq == mark && spot_is_same(&h->spots[i], spot)) {
			mark = h->spots[i].was;
			n++;
		}
	}
	*ret_was = mark;
	return n;
}

uint64_t history_mark_before(const struct history *h, const struct spot *spot, uint64_t mark)
{
	(void)chain_follow(h, spot, mark, &mark);
	return mark;
}

/* keeps (3) of fold.h: 1, 0, -errno. */
static int has_last_words(struct history *h)
{
	for (unsigned i = 0; i < h->n_spots; i++) {
		const struct spot *spot = &h->spots[i];
		uint64_t mark, was;
		unsigned n = 0;
		int err;

		for (unsigned j = 0; j < h->n_spots; j++)
			n += spot_is_same(&h->spots[j], spot);
		err = mark_get(h->change, spot->dir, spot->name, &mark);
		if (err)
			return err;
		if (chain_follow(h, spot, mark, &was) != n)
			return 0;
	}
	return 1;
}

int history_of_new(struct change *change, struct inode_edit *edit, struct history **ret_history)
{
	struct history *h;
	sqlite3_stmt *stmt;
	int got;

	*ret_history = NULL;
	if (change->cache->no_fold || edit->v.data_version || edit->v.attr_version)
		return 0;
	*ret_history = h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->change = change;
	h->edit = edit;
	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT was, was_to, record FROM cml WHERE ino = ?1 AND seq > ?2 ORDER BY seq", "ii",
		       (int64_t)edit->inode->ino, (int64_t)change->cache->cml->frozen_seq);
	while (got > 0) {
		got = row_read(h, stmt);
		if (got <= 0) {
			db_done(stmt);
			return got;
		}
		got = db_next(stmt);
	}
	if (got || !h->make)
		return got;
	for (unsigned i = 0; i < h->n; i++)
		spots_add(h, &h->rows[i]);
	return has_last_words(h);
}

bool history_has_own_atime(const struct history *h)
{
	const struct kml_make *make = cml_make_of(h->make);

	for (unsigned i = 0; i < h->n; i++) {
		if (h->rows[i].record.body.op == KML_SETATTR && h->rows[i].record.body.kml_body_u.setattr.set & KML_SET_ATIME)
			return true;
	}
	return make->atime.sec != h->make->time.sec || make->atime.nsec != h->make->time.nsec;
}

int history_drop(struct history *h)
{
	int err = 0;

	for (unsigned i = 0; i < h->n && !err; i++) {
		log_debug(LOG_CML, "cml: folded: seq=%llu %s ino=%llu", (unsigned long long)h->rows[i].record.seq,
			  kml_op_name(h->rows[i].record.body.op), (unsigned long long)h->edit->inode->ino);
		err = cml_drop(h->change, h->rows[i].record.seq);
	}
	for (unsigned i = 0; i < h->n_spots && !err; i++) {
		const struct spot *spot = &h->spots[i];
		uint64_t mark, was;

		err = mark_get(h->change, spot->dir, spot->name, &mark);
		if (err || !chain_follow(h, spot, mark, &was))
			continue;	/* of an earlier spot, on the same name */
		err = mark_alive(h->change, was, &was);
		if (!err)
			err = mark_put(h->change, spot->dir, spot->name, was);
		if (!err)
			err = forward_note(h->change, spot->dir);
	}
	return err;
}

int history_last_on(struct change *change, uint64_t ino, uint64_t dir, struct slice name, struct history_row *ret_row)
{
	sqlite3_stmt *stmt;
	uint64_t mark;
	int got;

	got = mark_get(change, dir, name, &mark);
	if (got || mark <= change->cache->cml->frozen_seq)
		return got;
	got = db_query(writer_db(change->cache), &stmt, "SELECT was, was_to, record FROM cml WHERE seq = ?1 AND ino = ?2", "ii",
		       (int64_t)mark, (int64_t)ino);
	if (got <= 0)
		return got;
	*ret_row = (struct history_row){ .was = { sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1) } };
	return cml_row_record(stmt, 2, &ret_row->record);
}
