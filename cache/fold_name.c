/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folding of names: the rules, each a function. */
#include <errno.h>
#include <string.h>
#include "cache/acl.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/fold.h"
#include "cache/fold_history.h"
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

/* ---- what several of them do ---- */

/* It is made under this name, as it is now, and all that was said of it before is said by that. */
static int make_again(struct history *h, struct inode_edit *dir, struct slice name, uint64_t *ret_seq)
{
	uint64_t seq;
	int err;

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

struct other {
	uint64_t dir, not_dir;
	struct slice not_name;
	uint64_t older_than;		/* 0: any; else only one whose mark is older */
	uint8_t len;
	char name[CACHE_NAME_MAX];
};

static int other_find(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct other *other = arg;
	struct spot here = { .dir = dir, .name = name }, not = { .dir = other->not_dir, .name = other->not_name };

	if (spot_is_same(&here, &not) || name_is_local(name) || (other->older_than && info->seq >= other->older_than))
		return 0;
	other->dir = dir;
	other->len = name.len;
	memcpy(other->name, name.data, name.len);
	return 1;
}

/* It has two names, one of which goes. */
static int make_under_other(struct history *h, uint64_t dir, struct slice name)
{
	struct other other = { .not_dir = dir, .not_name = name };
	struct change *change = h->change;
	struct inode_edit *other_dir;
	struct slice other_name;
	uint64_t seq;
	int got;

	got = name_each_of(change->cache, h->edit->inode->ino, other_find, &other);
	if (got <= 0)
		return got;
	other_dir = inode_edit(change, other.dir, &got);
	if (!other_dir)
		return got;
	other_name = (struct slice){ other.name, other.len };
	got = make_again(h, other_dir, other_name, &seq);
	if (!got)
		got = name_mark(change, other.dir, other_name, seq);
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
		got = edit->v.links_up == 2 ? make_under_other(h, dir, name) : 0;
	history_release(h);
	return got;
}

/* ---- a link that comes and goes ---- */

/*
 * Without the LINK the object must have had a name all the time: one that is older, and still there.
 */
static int fold_link(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name)
{
	struct other other = { .not_dir = dir, .not_name = name };
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
		got = name_each_of(change->cache, edit->inode->ino, other_find, &other);
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

int fold_unlink(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark)
{
	int got, err;

	got = fold_unlink_new(change, edit, dir, name);
	if (!got)
		got = fold_link(change, edit, dir, name);
	if (got <= 0)
		return got;
	err = mark_get(change, dir, name, ret_mark);
	return err ? err : 1;
}

/* ---- replacement ---- */

/* Does the upstream have it, or will it by records that all wait, and is nothing on its way to it?  1, 0, -errno. */
static int can_be_stored_to(struct change *change, const struct inode_edit *victim)
{
	uint64_t seqs[] = { victim->v.data_seq, victim->v.attr_seq }, alive;
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml WHERE ino = ?1 AND seq <= ?2 LIMIT 1", "ii",
		       (int64_t)victim->inode->ino, (int64_t)change->cache->cml->frozen_seq);
	if (got > 0)
		db_done(stmt);
	if (got)
		return MIN(got, 0);
	/* A mark without its record: what the upstream has refused. */
	for (size_t i = 0; i < ARRAY_SIZE(seqs); i++) {
		got = mark_alive(change, seqs[i], &alive);
		if (got || alive != seqs[i])
			return got;
	}
	return 1;
}

static bool has_uncommitted(struct cache *cache, const struct inode *inode)
{
	bool has;

	pthread_mutex_lock(&cache->lock);
	has = inode->work->has_uncommitted;
	pthread_mutex_unlock(&cache->lock);
	return has;
}

static bool has_one_name(const struct inode_edit *edit)
{
	return edit->v.type == TYPE_REG && edit->v.links_up == 1 && edit->v.nlink == 1;
}

/* What of the new file's attributes is to be said of the other: which, as SET_*. */
static unsigned other_attrs(const struct history *h, const struct inode_edit *victim)
{
	const struct inode_values *v = &h->edit->v, *old = &victim->v;
	const struct kml_make *make = cml_make_of(h->make);
	unsigned set = 0;

	set |= v->mode != old->mode ? SET_MODE : 0;
	set |= v->uid != old->uid ? SET_UID : 0;
	set |= v->gid != old->gid ? SET_GID : 0;
	/* Set by hand, then or since: rsync and cp -p do.  mtime comes with the STORE. */
	for (unsigned i = 0; i < h->n; i++) {
		if (h->rows[i].record.body.op == KML_SETATTR && h->rows[i].record.body.kml_body_u.setattr.set & KML_SET_ATIME)
			set |= SET_ATIME;
	}
	if (make->atime.sec != h->make->time.sec || make->atime.nsec != h->make->time.nsec)
		set |= SET_ATIME;
	return set;
}

/* The records that wait about the victim's object are about the other inode's from now on; its content is nobody's. */
static int take_records(struct change *change, const struct inode_edit *victim, uint64_t ino)
{
	struct db *db = writer_db(change->cache);
	int err;

	err = db_run(db, "DELETE FROM cml WHERE ino = ?1 AND op = ?2", "ii", (int64_t)victim->inode->ino, (int64_t)KML_STORE);
	if (!err)
		err = cml_count_records(change, -(int64_t)sqlite3_changes(db_handle(db)));
	if (!err)
		err = db_run(db, "UPDATE cml SET ino = ?1 WHERE ino = ?2", "ii", (int64_t)ino, (int64_t)victim->inode->ino);
	return err;
}

/* The inode becomes the victim's object. */
static int become(struct history *h, struct inode_edit *victim)
{
	const struct inode_values was = victim->v;
	struct change *change = h->change;
	struct inode_edit *edit = h->edit;
	int err;

	err = take_records(change, victim, edit->inode->ino);
	if (!err)
		err = merge_drop(change, victim);
	if (!err)
		err = inode_set_oid(change, edit, was.oid);
	if (err)
		return err;
	EDIT(edit, data_version, was.data_version);
	EDIT(edit, attr_version, was.attr_version);
	EDIT(edit, attr_seq, was.attr_seq);
	EDIT(edit, data_seq, 0);
	return was.is_stale ? stale_ask(change, edit->inode->ino) : 0;
}

static int replace(struct history *h, const struct fold_move *move)
{
	bool has_other_acls = !acls_equal(move->edit->v.acls, move->victim->v.acls);
	unsigned set = other_attrs(h, move->victim);
	struct inode_edit *edit = move->edit;
	int err;

	err = EDIT_MAPS(edit);
	if (!err)
		err = history_drop(h);
	if (!err)
		err = become(h, move->victim);
	if (!err)
		err = setattr_log(h->change, edit, set);
	if (!err && has_other_acls)
		err = setacl_log(h->change, edit);
	if (err)
		return err;
	/* The maps that go into the row speak of what no COMMIT has followed, too. */
	EDIT(edit, size, edit->v.size);
	EDIT(edit, mtime, edit->v.mtime);
	edit->is_committed = true;
	return cml_append_store(h->change, edit);
}

static int fold_replace(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	struct change *change = h->change;
	int got;

	if (!has_one_name(move->edit) || !has_one_name(move->victim) || has_uncommitted(change->cache, move->edit->inode))
		return 0;
	got = can_be_stored_to(change, move->victim);
	if (got <= 0)
		return got;
	got = replace(h, move);
	if (!got)
		got = mark_get(change, move->from_dir->inode->ino, move->from, ret_from);
	if (!got)
		got = mark_get(change, move->to_dir->inode->ino, move->to, ret_to);
	if (!got)
		got = forward_note(change, move->to_dir->inode->ino);
	return got ? got : 1;
}

/* ---- a new object that is renamed ---- */

static int make_renamed(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	int got;

	if (h->edit->v.links_up != 1)
		return 0;
	got = has_marked_names(h->change, h->edit);
	if (got)
		return MIN(got, 0);
	got = make_again(h, move->to_dir, move->to, ret_to);
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

/* A directory that moved meanwhile might find this one above itself. */
static int has_rename_after(struct change *change, uint64_t seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml WHERE op = 8 AND seq > ?1 LIMIT 1", "i", (int64_t)seq);
	if (got > 0)
		db_done(stmt);
	return got;
}

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
	got = move->edit->v.type == TYPE_DIR ? has_rename_after(change, row->record.seq) : 0;
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
