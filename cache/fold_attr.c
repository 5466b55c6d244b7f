/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folding of attributes.
 *
 * (1) The record that makes an object says its attributes: until it is taken they are changed there.  Of a directory
 *     only as long as the log has nothing in it: a mode that lets nobody write to it, or an mtime, is for what it is when
 *     all is in it.
 * (2) Else a SETATTR takes an older one of its object into itself; but not that one's mtime when a STORE came between the
 *     two, for a STORE sets mtime too, and not its mode when a SETACL did.
 */
#include <errno.h>
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/fold.h"
#include "cache/internal.h"
#include "cache/record.h"
#include "cache/writer.h"

/* Where one of its records says what its attributes are, the last one is attr_seq. */
static int last_attr_record(struct change *change, const struct inode_edit *edit, struct kml_record *ret_record)
{
	sqlite3_stmt *stmt;
	int got;

	if (edit->v.attr_seq <= change->cache->cml->frozen_seq)
		return 0;
	got = db_query(writer_db(change->cache), &stmt, "SELECT record FROM cml WHERE seq = ?1 AND ino = ?2", "ii",
		       (int64_t)edit->v.attr_seq, (int64_t)edit->inode->ino);
	return got <= 0 ? got : cml_row_record(stmt, 0, ret_record);
}

/* What 'set' says of the one goes into the other. */
static void take_over(const struct kml_setattr *from, unsigned set, struct kml_setattr *to)
{
	if (set & KML_SET_MODE)
		to->mode = from->mode;
	if (set & KML_SET_UID)
		to->uid = from->uid;
	if (set & KML_SET_GID)
		to->gid = from->gid;
	if (set & KML_SET_ATIME)
		to->atime = from->atime;
	if (set & KML_SET_MTIME)
		to->mtime = from->mtime;
	to->set |= set;
}

/* ---- (1) ---- */

/* Has it names, or are there records of some that it had? */
static int has_names(struct change *change, uint64_t dir)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM name WHERE dir = ?1 LIMIT 1", "i", (int64_t)dir);
	if (got > 0)
		db_done(stmt);
	return got;
}

/* The part that all of them have. */
static struct kml_make *make_of(struct kml_record *record)
{
	switch (record->body.op) {
	case KML_SYMLINK:
		return &record->body.kml_body_u.symlink.make;
	case KML_MKNOD:
		return &record->body.kml_body_u.mknod.make;
	default:
		return &record->body.kml_body_u.make;
	}
}

static int change_make(struct change *change, const struct inode_edit *edit, struct kml_record *record,
		       const struct kml_setattr *setattr)
{
	struct kml_make *make = make_of(record);
	struct kml_setattr all = {
		.mode = make->mode, .uid = make->uid, .gid = make->gid, .atime = make->atime, .mtime = make->mtime,
	};
	int got;

	if (!kml_oid_equal(make->oid, setattr->oid))
		return 0;	/* what this inode was before it became a new object */
	got = edit->v.type == TYPE_DIR ? has_names(change, edit->inode->ino) : 0;
	if (got)
		return MIN(got, 0);
	take_over(setattr, setattr->set, &all);
	make->mode = all.mode;
	make->uid = all.uid;
	make->gid = all.gid;
	make->atime = all.atime;
	make->mtime = all.mtime;
	got = cml_row_update(change, record);
	return got ? got : 1;
}

/* ---- (2) ---- */

/*
 * The object's last SETATTR that was not taken, when a SETACL may have come after it: 1 and what it says, and whether a STORE or
 * SETACL did.
 */
static int waiting_setattr_before(struct change *change, uint64_t ino, struct kml_record *ret_record, bool *ret_has_store,
			   bool *ret_has_setacl)
{
	sqlite3_stmt *stmt;
	int got;

	*ret_has_store = *ret_has_setacl = false;
	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT op, record FROM cml WHERE ino = ?1 AND op IN (?2, ?3, ?4) AND seq > ?5 ORDER BY seq DESC", "iiiii",
		       (int64_t)ino, (int64_t)KML_SETATTR, (int64_t)KML_STORE, (int64_t)KML_SETACL,
		       (int64_t)change->cache->cml->frozen_seq);
	while (got > 0) {
		int op = sqlite3_column_int(stmt, 0);

		if (op == KML_SETATTR)
			break;
		*ret_has_store |= op == KML_STORE;
		*ret_has_setacl |= op == KML_SETACL;
		got = db_next(stmt);
	}
	return got <= 0 ? got : cml_row_record(stmt, 1, ret_record);
}

static int fold_into(struct change *change, const struct kml_record *older, struct kml_setattr *setattr, bool has_store,
		     bool has_setacl)
{
	const struct kml_setattr *old = &older->body.kml_body_u.setattr;
	unsigned take = old->set & ~setattr->set;

	if (!kml_oid_equal(old->oid, setattr->oid))
		return 0;
	if (has_store)
		take &= ~(unsigned)KML_SET_MTIME;
	if (has_setacl)
		take &= ~(unsigned)KML_SET_MODE;
	take_over(old, take, setattr);
	setattr->attr_base = old->attr_base;
	return cml_drop(change, older->seq);
}

static int fold_last(struct change *change, const struct inode_edit *edit, struct kml_record *last, struct kml_setattr *setattr)
{
	struct kml_record older = { 0 };
	bool has_store, has_setacl;
	int got;

	if (cml_make_of(last))
		return change_make(change, edit, last, setattr);
	if (last->body.op == KML_SETATTR)
		return fold_into(change, last, setattr, edit->v.data_seq > edit->v.attr_seq, false);
	got = waiting_setattr_before(change, edit->inode->ino, &older, &has_store, &has_setacl);
	if (got > 0) {
		got = fold_into(change, &older, setattr, has_store, has_setacl);
		kml_record_release(&older);
	}
	return got;
}

int fold_setattr(struct change *change, uint64_t ino, struct kml_setattr *setattr, uint64_t *ret_seq)
{
	struct kml_record last = { 0 };
	struct inode_edit *edit;
	int got;

	if (change->cache->no_fold)
		return 0;
	edit = inode_edit(change, ino, &got);
	if (!edit)
		return got;
	got = last_attr_record(change, edit, &last);
	if (got <= 0)
		return got;
	got = fold_last(change, edit, &last, setattr);
	if (got > 0)
		*ret_seq = last.seq;
	kml_record_release(&last);
	return got;
}

/* The object's last SETACL, if it was not taken: 1 and what it says. */
static int waiting_setacl(struct change *change, uint64_t ino, struct kml_record *ret_record)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT record FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3 ORDER BY seq DESC LIMIT 1", "iii",
		       (int64_t)ino, (int64_t)KML_SETACL, (int64_t)change->cache->cml->frozen_seq);
	return got <= 0 ? got : cml_row_record(stmt, 0, ret_record);
}

int fold_setacl(struct change *change, uint64_t ino, struct kml_setacl *setacl)
{
	struct kml_record record = { 0 };
	const struct kml_setacl *old = &record.body.kml_body_u.setacl;
	int got;

	if (change->cache->no_fold)
		return 0;
	got = waiting_setacl(change, ino, &record);
	if (got <= 0)
		return got;
	got = 0;
	if (kml_oid_equal(old->oid, setacl->oid)) {
		setacl->attr_base = old->attr_base;
		got = cml_drop(change, record.seq);
	}
	kml_record_release(&record);
	return got;
}
