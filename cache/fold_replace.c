/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folding of files that are written anew: one file takes the place of another, which becomes a STORE of that other.
 *
 * The new inode becomes the old object: it takes its oid, its versions and what waits about it, so that the STORE is
 * certified on what the old one was.  The inode stays what programs have open.
 */
#include <errno.h>
#include "cache/acl.h"
#include "cache/base.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/detach.h"
#include "cache/fold_rules.h"
#include "cache/fold_removed.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/merge.h"
#include "cache/nameop.h"
#include "cache/record.h"
#include "cache/setacl.h"
#include "cache/setattr.h"
#include "cache/stale.h"
#include "cache/writer.h"

/* One file in the place of another. */
struct replacement {
	struct change *change;
	struct inode_edit *edit;	/* the new one */
	struct history *history;	/* what the log says of it; NULL: nothing yet */
	struct old_object old;
	struct inode_edit *victim;	/* the old one's inode, which goes; NULL: it is gone */
	uint64_t dir;			/* where it stands */
	struct slice name;
};

static bool has_uncommitted(struct cache *cache, const struct inode *inode)
{
	bool has;

	pthread_mutex_lock(&cache->lock);
	has = inode->work->has_uncommitted;
	pthread_mutex_unlock(&cache->lock);
	return has;
}

/* What of the new file's attributes is to be said of the other: which, as SET_*.  mtime comes with the STORE. */
static unsigned other_attrs(const struct replacement *r)
{
	const struct inode_values *v = &r->edit->v;
	const struct old_object *old = &r->old;
	bool has_own_atime = r->history ? history_has_own_atime(r->history) : v->atime != r->change->now;
	unsigned set = has_own_atime ? SET_ATIME : 0;

	set |= v->mode != old->mode ? SET_MODE : 0;
	set |= v->uid != old->uid ? SET_UID : 0;
	set |= v->gid != old->gid ? SET_GID : 0;
	return set;
}

/* The records that wait about the old one's object are about the other inode's from now on; its content is nobody's. */
static int take_records(const struct replacement *r)
{
	struct db *db = writer_db(r->change->cache);
	int64_t ino = (int64_t)r->edit->inode->ino, old = (int64_t)r->old.ino;
	int err;

	err = db_run(db, "DELETE FROM cml WHERE ino = ?1 AND op = ?2", "ii", old, (int64_t)KML_STORE);
	if (!err)
		err = cml_count_records(r->change, -(int64_t)sqlite3_changes(db_handle(db)));
	return err ? err : db_run(db, "UPDATE cml SET ino = ?1 WHERE ino = ?2", "ii", ino, old);
}

/* The inode becomes the old object. */
static int become(const struct replacement *r)
{
	struct inode_edit *dir, *edit = r->edit;
	int err = r->victim ? base_keep_replaced(r->change, r->victim, edit->inode->ino, true) : 0;

	if (!err)
		err = take_records(r);
	if (!err && r->victim)
		err = merge_drop(r->change, r->victim);
	if (!err)
		err = inode_set_oid(r->change, edit, r->old.oid);
	if (err)
		return err;
	EDIT(edit, data_version, r->old.data_version);
	dir = inode_edit(r->change, r->dir, &err);
	if (!dir)
		return err;
	err = detach_note(r->change, edit, r->old.ino, dir, r->name);
	if (err)
		return err;
	EDIT(edit, attr_version, r->old.attr_version);
	EDIT(edit, attr_seq, r->old.attr_seq);
	EDIT(edit, data_seq, 0);
	return r->old.is_stale ? stale_ask(r->change, edit->inode->ino) : 0;
}

static int replace(const struct replacement *r)
{
	bool has_other_acls = !acls_equal(r->edit->v.acls, r->old.acls);
	struct inode_edit *edit = r->edit;
	unsigned set = other_attrs(r);
	int err;

	err = EDIT_MAPS(edit);
	if (!err && r->history)
		err = history_drop(r->history);
	if (!err)
		err = become(r);
	if (!err)
		err = setattr_log(r->change, edit, set);
	if (!err && has_other_acls)
		err = setacl_log(r->change, edit);
	if (err)
		return err;
	/* The maps that go into the row speak of what no COMMIT has followed, too. */
	EDIT(edit, size, edit->v.size);
	EDIT(edit, mtime, edit->v.mtime);
	edit->is_committed = true;
	return cml_append_store(r->change, edit);
}

/* A new file of one name, whose content is in the log; that and its history can go. */
static bool can_become(const struct history *h)
{
	return file_has_one_name(h->edit) && !has_uncommitted(h->change->cache, h->edit->inode);
}

/* ---- replacement: a new file is renamed over another ---- */

static int replace_victim(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	struct replacement r = { h->change, h->edit, h, .victim = move->victim, .dir = move->to_dir->inode->ino, .name = move->to };
	int got = old_object_now(h->change, move->victim, &r.old);

	if (got <= 0)
		return got;
	got = replace(&r);
	if (!got)
		got = mark_get(h->change, move->from_dir->inode->ino, move->from, ret_from);
	if (!got)
		got = mark_get(h->change, move->to_dir->inode->ino, move->to, ret_to);
	if (!got)
		got = forward_note(h->change, move->to_dir->inode->ino);
	return got ? got : 1;
}

/* ---- a backup that is a link: made, and then its file is replaced (dpkg) ---- */

/* The link is a RENAME to there. */
static int rename_to_link(struct change *change, const struct fold_move *move, const struct other_name *other,
			  const struct history_row *row)
{
	struct inode_edit *dir;
	uint64_t seq, was;
	int err;

	dir = inode_edit(change, other->dir, &err);
	if (!dir)
		return err;
	err = cml_drop(change, row->record.seq);
	if (!err)
		err = mark_alive(change, row->was[0], &was);
	if (!err)
		err = name_mark(change, other->dir, other->name, was);
	if (!err)
		err = nameop_log_rename(change, move->victim, move->to_dir, move->to, dir, other->name, NULL, &seq);
	if (!err)
		err = name_mark(change, other->dir, other->name, seq);
	if (!err)
		err = name_mark(change, move->to_dir->inode->ino, move->to, seq);
	if (err)
		return err;
	nameop_dir_changed(change, dir, false);	/* as the record will do it upstream */
	return 1;
}

/*
 * The victim, of two names, leaves this one for the other, which is a LINK inside the log.  As in fold_link(): without that LINK it
 * must have had this name all the time, or a third one that was removed between would have been its last.
 */
static int leave_to_link(struct change *change, const struct fold_move *move)
{
	struct other_name other = { .not_dir = move->to_dir->inode->ino, .not_name = move->to };
	struct history_row row = { 0 };
	uint64_t mark;
	int got;

	got = mark_get(change, move->to_dir->inode->ino, move->to, &mark);
	if (got)
		return got;
	got = fold_find_other(change, move->victim->inode->ino, &other);
	if (got > 0)
		got = history_last_on(change, move->victim->inode->ino, other.dir, other.name, &row);
	if (got <= 0)
		return got;
	got = 0;
	if (row.record.body.op == KML_LINK && mark < row.record.seq && kml_oid_equal(cml_oid_of(&row.record), move->victim->v.oid))
		got = rename_to_link(change, move, &other, &row);
	kml_record_release(&row.record);
	return got;
}

static int move_victim(struct change *change, const struct fold_move *move)
{
	struct history *h;
	int got = history_of_new(change, move->victim, &h);

	if (got > 0)
		got = fold_make_under_other(h, move->to_dir->inode->ino, move->to);
	else if (!got)
		got = leave_to_link(change, move);
	history_release(h);
	return got;
}

/* The old file is renamed to its backup's name, and the new one made in its place. */
static int make_in_place(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	int got = move_victim(h->change, move);

	if (got <= 0)
		return got;
	got = fold_make_again(h, move->to_dir, move->to, ret_to);
	if (!got)
		got = mark_get(h->change, move->from_dir->inode->ino, move->from, ret_from);
	return got ? got : 1;
}

int fold_replace(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	const struct inode_values *v = &move->victim->v;

	if (!file_has_one_name(h->edit) || v->type != TYPE_REG)
		return 0;
	if (v->links_up == 2 && v->nlink == 2)
		return make_in_place(h, move, ret_from, ret_to);
	return file_has_one_name(move->victim) && can_become(h) ? replace_victim(h, move, ret_from, ret_to) : 0;
}

/* ---- a backup that goes: it was renamed to that, and its name given to a new file (vim, and dpkg by the rule before) ---- */

/* What stands now where that RENAME took the file from, if it is all new: 1 and its history, 0, -errno.  To be released in either case. */
static int find_new_one(struct change *change, const struct history_row *row, struct spot *ret_at, struct history **ret_history)
{
	const struct kml_rename *rename = &row->record.body.kml_body_u.rename;
	struct inode_edit *edit;
	struct name_info info;
	int got;

	ret_at->dir = cml_find_oid(change->cache, rename->from_parent);
	ret_at->name = kml_name_get(&rename->from_name);
	if (!ret_at->dir)
		return 0;
	pthread_mutex_lock(&change->cache->lock);
	got = name_get(change->cache, ret_at->dir, ret_at->name, &info);
	pthread_mutex_unlock(&change->cache->lock);
	if (got <= 0 || !info.ino)
		return MIN(got, 0);
	edit = inode_edit(change, info.ino, &got);
	if (!edit)
		return got;
	got = history_of_new(change, edit, ret_history);
	if (got <= 0)
		return got;
	return history_mark_before(*ret_history, ret_at, info.seq) == row->record.seq;
}

/* The RENAME goes: the file was where it was all the time, and another content came. */
static int forget_rename(struct change *change, const struct history_row *row, const struct spot *from, uint64_t dir, uint64_t *ret_mark)
{
	uint64_t was;
	int err = cml_drop(change, row->record.seq);

	if (!err)
		err = mark_alive(change, row->was[0], &was);
	if (!err)
		err = mark_put(change, from->dir, from->name, was);
	if (!err)
		err = mark_alive(change, row->was[1], ret_mark);
	return err ? err : forward_note(change, dir);
}

static int replace_renamed(struct change *change, struct inode_edit *edit, const struct history_row *row, uint64_t dir, uint64_t *ret_mark)
{
	struct replacement r = { .change = change, .victim = edit };
	struct spot at;
	int got;

	if (row->record.body.op != KML_RENAME || record_replaces(&row->record) || !kml_oid_equal(cml_oid_of(&row->record), edit->v.oid))
		return 0;
	got = find_new_one(change, row, &at, &r.history);
	if (got > 0 && can_become(r.history)) {
		r.edit = r.history->edit;
		r.dir = at.dir;
		r.name = at.name;
		got = old_object_now(change, edit, &r.old);
		if (got > 0) {
			got = replace(&r);
			if (!got)
				got = forget_rename(change, row, &at, dir, ret_mark);
			got = got ? got : 1;
		}
	} else {
		got = MIN(got, 0);
	}
	history_release(r.history);
	return got;
}

int fold_remove(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark)
{
	struct history_row row = { 0 };
	int got;

	if (change->cache->no_fold || !file_has_one_name(edit))
		return 0;
	got = history_last_on(change, edit->inode->ino, dir, name, &row);
	if (got > 0)
		got = replace_renamed(change, edit, &row, dir, ret_mark);
	kml_record_release(&row.record);
	return got;
}

/* ---- removed, and made anew ---- */

/* The REMOVE goes, and the name is the old file's again. */
static int remake(struct replacement *r, uint64_t seq, uint64_t was, uint64_t *ret_mark)
{
	int err = cml_drop(r->change, seq);

	if (!err)
		err = replace(r);
	if (!err)
		err = mark_alive(r->change, was, ret_mark);
	return err ? err : forward_note(r->change, r->dir);
}

int fold_make(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark)
{
	struct replacement r = { .change = change, .edit = edit, .dir = dir, .name = name };
	uint64_t seq, was;
	int got;

	if (change->cache->no_fold || (edit->v.type != TYPE_REG && edit->v.type != TYPE_DIR))
		return 0;
	if (edit->v.type == TYPE_DIR)
		return fold_make_dir(change, edit, dir, name, ret_mark);
	got = old_object_removed(change, dir, name, TYPE_REG, &r.old, &seq, &was);
	if (got <= 0)
		return got;
	got = remake(&r, seq, was, ret_mark);
	return got ? got : 1;
}

int fold_remake(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	struct replacement r = { h->change, h->edit, h, .dir = move->to_dir->inode->ino, .name = move->to };
	uint64_t seq, was;
	int got;

	if (!can_become(h))
		return 0;
	got = old_object_removed(h->change, move->to_dir->inode->ino, move->to, TYPE_REG, &r.old, &seq, &was);
	if (got <= 0)
		return got;
	got = remake(&r, seq, was, ret_to);
	if (!got)
		got = mark_get(h->change, move->from_dir->inode->ino, move->from, ret_from);
	return got ? got : 1;
}
