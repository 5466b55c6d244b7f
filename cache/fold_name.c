/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folding of names: the rules, each a function. */
#include <errno.h>
#include <string.h>
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/detach.h"
#include "cache/fold.h"
#include "cache/fold_history.h"
#include "cache/fold_rules.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/nameop.h"
#include "cache/record.h"
#include "cache/writer.h"

/* ---- what several of them do ---- */

int fold_make_again(struct history *h, struct inode_edit *dir, struct slice name, uint64_t *ret_seq)
{
	uint64_t seq;
	int err;

	/* Else this would look like one set by hand, for the next rule. */
	if (!history_has_own_atime(h))
		EDIT(h->edit, atime, h->change->now);
	err = history_drop(h);
	if (!err)
		err = nameop_log_make(h->change, h->edit, dir, name, ret_seq);
	if (err || !h->store)
		return err;
	/* Its row is a mark only: what it stands for is the inode's. */
	err = cml_append(h->change, h->edit->inode->ino, h->store, NULL, &seq);
	if (!err)
		EDIT(h->edit, data_seq, seq);
	return err;
}

/* ---- identity, and the other name ---- */

static int stop_if_alive(void *arg, struct slice name, const struct name_info *info)
{
	uint64_t alive;
	int err;

	(void)name;
	err = mark_alive(arg, info->seq, &alive);
	return err ? err : alive != 0;
}

/* Is there a record in the log about a name in it?  Then the log must go on having the directory. */
static int has_marked_names(struct change *change, const struct inode_edit *edit)
{
	return edit->v.type == TYPE_DIR ? name_each_in(change->cache, edit->inode->ino, stop_if_alive, change) : 0;
}

static int other_is(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct other_name *other = arg;
	struct spot here = { .dir = dir, .name = name }, not = { .dir = other->not_dir, .name = other->not_name };

	if (spot_is_same(&here, &not) || name_is_local(name) || (other->older_than && info->seq >= other->older_than))
		return 0;
	other->dir = dir;
	memcpy(other->text, name.data, name.len);
	other->name = (struct slice){ other->text, name.len };
	return 1;
}

int fold_find_other(struct change *change, uint64_t ino, struct other_name *other)
{
	return name_each_of(change->cache, ino, other_is, other);
}

int fold_make_under_other(struct history *h, uint64_t dir, struct slice name)
{
	struct other_name other = { .not_dir = dir, .not_name = name };
	struct change *change = h->change;
	struct inode_edit *other_dir;
	uint64_t seq;
	int got;

	got = fold_find_other(change, h->edit->inode->ino, &other);
	if (got <= 0)
		return got;
	other_dir = inode_edit(change, other.dir, &got);
	if (!other_dir)
		return got;
	got = fold_make_again(h, other_dir, other.name, &seq);
	if (!got)
		got = name_mark(change, other.dir, other.name, seq);
	if (got)
		return got;
	nameop_dir_changed(change, other_dir, false);	/* as the record will do it upstream */
	return 1;
}

/* Its last name goes. */
static int forget(struct history *h)
{
	int got = has_marked_names(h->change, h->edit);

	if (got)
		return MIN(got, 0);
	got = history_drop(h);
	return got ? got : 1;
}

static int fold_unlink_new(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name)
{
	struct history *h;
	int got;

	got = history_of_new(change, edit, &h);
	if (got > 0 && edit->v.links_up == 1)
		got = forget(h);
	else if (got > 0)
		got = edit->v.links_up == 2 ? fold_make_under_other(h, dir, name) : 0;
	history_release(h);
	return got;
}

/* ---- a link that comes and goes ---- */

/*
 * Without the LINK the object must have had a name all the time: one that is older, and still there.
 */
static int fold_link(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name)
{
	struct other_name other = { .not_dir = dir, .not_name = name };
	struct history_row row = { 0 };
	uint64_t was;
	int got;

	if (change->cache->no_fold || edit->v.type == TYPE_DIR || edit->v.links_up < 2)
		return 0;
	got = history_last_on(change, edit->inode->ino, dir, name, &row);
	if (got <= 0)
		return got;
	got = row.record.body.op == KML_LINK && kml_oid_equal(cml_oid_of(&row.record), edit->v.oid);
	other.older_than = row.record.seq;
	if (got)
		got = fold_find_other(change, edit->inode->ino, &other);
	if (got > 0) {
		got = cml_drop(change, row.record.seq);
		if (!got)
			got = mark_alive(change, row.was[0], &was);
		if (!got)
			got = mark_put(change, dir, name, was);
		if (!got)
			got = forward_note(change, dir);
		got = got ? got : 1;
	}
	kml_record_release(&row.record);
	return got;
}

/* ---- renamed, and removed ---- */

/* Is there a record about one of its names after that one? */
static int has_name_after(struct change *change, uint64_t ino, uint64_t seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml WHERE ino = ?1 AND seq > ?2 AND op IN (?3, ?4, ?5) LIMIT 1",
		       "iiiii", (int64_t)ino, (int64_t)seq, (int64_t)KML_LINK, (int64_t)KML_REMOVE, (int64_t)KML_RENAME);
	if (got > 0)
		db_done(stmt);
	return got;
}

/* The RENAME becomes the REMOVE of the name that it was renamed from. */
static int remove_in_place(struct change *change, const struct inode_edit *edit, const struct history_row *row)
{
	const struct kml_rename *rename = &row->record.body.kml_body_u.rename;
	struct kml_record record = row->record;

	record.body.op = KML_REMOVE;
	record.body.kml_body_u.unlink = (struct kml_unlink){
		.parent = rename->from_parent, .name = rename->from_name, .oid = rename->oid, .data_base = edit->v.data_version,
	};
	return cml_row_replace(change, &record, row->was[0]);
}

static int remove_renamed(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name,
			  const struct history_row *row)
{
	uint64_t was;
	int got;

	if (row->record.body.op != KML_RENAME || record_replaces(&row->record) || !kml_oid_equal(cml_oid_of(&row->record), edit->v.oid))
		return 0;
	got = has_name_after(change, edit->inode->ino, row->record.seq);
	if (got)
		return MIN(got, 0);
	got = remove_in_place(change, edit, row);
	if (!got)
		got = fold_note_removed(change, edit, row->record.seq);
	if (!got)
		got = mark_alive(change, row->was[1], &was);
	if (!got)
		got = mark_put(change, dir, name, was);
	if (!got)
		got = forward_note(change, dir);
	return got ? got : 1;
}

/*
 * What it was renamed to was free, and nobody has used that name since; so it may as well go from where it was, and when it
 * left there.  What else the log says of it after that goes with its last name.
 */
static int fold_renamed(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name)
{
	struct history_row row = { 0 };
	int got;

	/* A directory is empty only now. */
	if (change->cache->no_fold || edit->v.type == TYPE_DIR || edit->v.links_up != 1 || edit->v.nlink != 1)
		return 0;
	got = history_last_on(change, edit->inode->ino, dir, name, &row);
	if (got > 0)
		got = remove_renamed(change, edit, dir, name, &row);
	kml_record_release(&row.record);
	return got;
}

int fold_unlink(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark)
{
	int got, err;

	got = fold_unlink_new(change, edit, dir, name);
	if (!got)
		got = fold_link(change, edit, dir, name);
	if (!got)
		got = fold_renamed(change, edit, dir, name);
	if (got <= 0)
		return got;
	err = mark_get(change, dir, name, ret_mark);
	return err ? err : 1;
}

/* ---- a new object that is renamed ---- */

static int make_renamed(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	int got;

	if (h->edit->v.links_up != 1)
		return 0;
	got = h->edit->v.type == TYPE_DIR ? fold_move_dir(h, move, ret_from, ret_to) : fold_remake(h, move, ret_from, ret_to);
	if (got)
		return got;
	got = has_marked_names(h->change, h->edit);
	if (got)
		return MIN(got, 0);
	got = fold_make_again(h, move->to_dir, move->to, ret_to);
	if (!got)
		got = mark_get(h->change, move->from_dir->inode->ino, move->from, ret_from);
	return got ? got : 1;
}

static int fold_rename_new(struct change *change, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	struct history *h;
	int got;

	got = history_of_new(change, move->edit, &h);
	if (got > 0)
		got = move->victim ? fold_replace(h, move, ret_from, ret_to) : make_renamed(h, move, ret_from, ret_to);
	history_release(h);
	return got;
}

/* ---- chains ---- */

/* Where it was before the last RENAME. */
struct origin {
	struct inode_edit *dir;
	struct slice name;		/* in the record */
};

/*
 * May that RENAME be forgotten for one from there?  Its old place must have been left alone since, and still be in a directory.
 * 1, 0, -errno.
 */
static int find_origin(struct change *change, const struct fold_move *move, const struct history_row *row, struct origin *ret)
{
	const struct kml_rename *rename = &row->record.body.kml_body_u.rename;
	struct spot from = { .dir = move->from_dir->inode->ino, .name = move->from },
		    to = { .name = kml_name_get(&rename->to_name) };
	uint64_t ino, mark;
	int got;

	if (row->record.body.op != KML_RENAME || record_replaces(&row->record) || !kml_oid_equal(rename->oid, move->edit->v.oid))
		return 0;
	to.dir = cml_find_oid(change->cache, rename->to_parent);
	ino = cml_find_oid(change->cache, rename->from_parent);
	if (!ino || !spot_is_same(&from, &to))
		return 0;
	ret->name = kml_name_get(&rename->from_name);
	got = mark_get(change, ino, ret->name, &mark);
	if (got || mark != row->record.seq)
		return got;
	got = move->edit->v.type == TYPE_DIR ? fold_has_dir_moved(change, row->record.seq) : 0;
	if (got)
		return MIN(got, 0);
	ret->dir = inode_edit(change, ino, &got);
	if (!ret->dir)
		return got == -ESTALE ? 0 : got;
	return 1;
}

static int rename_from_origin(struct change *change, const struct fold_move *move, const struct history_row *row,
			      const struct origin *origin, uint64_t *ret_from, uint64_t *ret_to)
{
	struct spot at = { .dir = origin->dir->inode->ino, .name = origin->name },
		    to = { .dir = move->to_dir->inode->ino, .name = move->to };
	uint64_t was;
	int err;

	err = cml_drop(change, row->record.seq);
	if (!err)
		err = mark_alive(change, row->was[0], &was);
	if (!err)
		err = mark_put(change, at.dir, at.name, was);
	if (!err)
		err = mark_alive(change, row->was[1], ret_from);
	if (!err)
		err = mark_put(change, move->from_dir->inode->ino, move->from, *ret_from);
	if (!err)
		err = forward_note(change, move->from_dir->inode->ino);
	/* What the log says of it after that RENAME finds it where it was. */
	if (!err)
		err = detach_renamed(change, move->edit->inode->ino, origin->dir, origin->name);
	if (err)
		return err;
	if (spot_is_same(&at, &to)) {
		*ret_to = was;
		return forward_note(change, at.dir);
	}
	err = nameop_log_rename(change, move->edit, origin->dir, origin->name, move->to_dir, move->to, move->victim, ret_to);
	if (!err)
		err = name_unbind(change, at.dir, at.name, *ret_to);
	if (!err)
		nameop_dir_changed(change, origin->dir, false);	/* as the record will do it upstream */
	return err;
}

static int fold_chain(struct change *change, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	struct origin origin;
	struct history_row row = { 0 };
	int got;

	if (change->cache->no_fold)
		return 0;
	got = history_last_on(change, move->edit->inode->ino, move->from_dir->inode->ino, move->from, &row);
	if (got <= 0)
		return got;
	got = find_origin(change, move, &row, &origin);
	if (got > 0) {
		got = rename_from_origin(change, move, &row, &origin, ret_from, ret_to);
		got = got ? got : 1;
	}
	kml_record_release(&row.record);
	return got;
}

int fold_rename(struct change *change, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	int got = fold_rename_new(change, move, ret_from, ret_to);

	return got ? got : fold_chain(change, move, ret_from, ret_to);
}
