/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/fold_removed.h"

#include <errno.h>
#include "cache/apply.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/fold_rules.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/writer.h"

#define NOT_KNOWN UINT32_MAX	/* for the owner: nor is the mode or the group known; no user has that number */

bool file_has_one_name(const struct inode_edit *edit)
{
	return edit->v.type == TYPE_REG && edit->v.links_up == 1 && edit->v.nlink == 1;
}

int old_object_is_out(struct change *change, uint64_t ino)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml WHERE ino = ?1 AND seq <= ?2 LIMIT 1", "ii",
		       (int64_t)ino, (int64_t)change->cache->cml->frozen_seq);
	if (got > 0)
		db_done(stmt);
	return got;
}

/* Does the upstream have it, or will it by records that all wait, and is nothing on its way to it?  1, 0, -errno. */
static int can_be_stored_to(struct change *change, const struct inode_edit *edit)
{
	uint64_t seqs[] = { edit->v.data_seq, edit->v.attr_seq }, alive;
	int got = old_object_is_out(change, edit->inode->ino);

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

int old_object_now(struct change *change, const struct inode_edit *edit, struct old_object *ret_old)
{
	const struct inode_values *v = &edit->v;
	int got = can_be_stored_to(change, edit);

	if (got > 0)
		*ret_old = (struct old_object){
			.oid = v->oid, .ino = edit->inode->ino, .data_version = v->data_version, .attr_version = v->attr_version,
			.attr_seq = v->attr_seq, .mode = v->mode, .uid = v->uid, .gid = v->gid, .acls = v->acls, .is_stale = v->is_stale,
		};
	return got;
}

/* ---- removed ones ---- */

/* Its SETATTRs that wait go with it: then nobody knows here what the upstream has. */
int old_object_note(struct change *change, const struct inode_edit *edit, uint64_t seq)
{
	const struct inode_values *v = &edit->v;
	struct kml_object object = {
		.oid = v->oid, .data_version = v->data_version, .attr_version = v->attr_version,
		.attr = {
			.type = (enum kml_type)v->type, .mode = v->mode, .uid = v->attr_seq ? NOT_KNOWN : v->uid, .gid = v->gid, .nlink = 1,
			.size = v->size, .atime = cml_time(v->atime), .mtime = cml_time(v->mtime),
		},
	};
	int64_t at = v->is_stale ? -1 : (int64_t)apply_position(change->cache);
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = kml_object_encode(&buf, &object);
	if (!err)
		err = db_run(writer_db(change->cache), "UPDATE cml SET gone = ?1, gone_at = ?2 WHERE seq = ?3", "bii",
			     (struct slice){ buf.data, buf.len }, at, (int64_t)seq);
	buf_release(&buf);
	return err;
}

int fold_note_removed(struct change *change, const struct inode_edit *edit, uint64_t seq)
{
	int got;

	/* Of what the upstream has not got yet, and of what has lists, too much would have to be kept. */
	if (change->cache->no_fold || !edit->v.data_version || !edit->v.attr_version || edit->v.acls)
		return 0;
	if (edit->v.type == TYPE_DIR)
		return fold_note_removed_dir(change, edit, seq);
	if (!file_has_one_name(edit))
		return 0;
	got = can_be_stored_to(change, edit);
	return got > 0 ? old_object_note(change, edit, seq) : got;
}

static int row_read(struct change *change, sqlite3_stmt *stmt, enum file_type type, struct old_object *ret_old, uint64_t *ret_was)
{
	struct slice text = db_column(stmt, 3);
	struct kml_object object;
	int err = kml_object_decode(text.data, text.len, &object);
	bool is_it = !err && (enum file_type)object.attr.type == type;

	if (!err) {
		*ret_old = (struct old_object){
			.oid = object.oid, .ino = sqlite3_column_int64(stmt, 0), .data_version = object.data_version,
			.attr_version = object.attr_version, .mode = object.attr.mode, .uid = object.attr.uid, .gid = object.attr.gid,
			/* What came from the upstream since has found nobody. */
			.is_stale = sqlite3_column_int64(stmt, 2) != (int64_t)apply_position(change->cache),
		};
		if (ret_old->uid == NOT_KNOWN)
			ret_old->mode = ret_old->gid = NOT_KNOWN;
		*ret_was = sqlite3_column_int64(stmt, 1);
		kml_object_release(&object);
	}
	db_done(stmt);
	return err == -ENOMEM ? err : is_it;	/* what does not decode is not known */
}

int old_object_removed(struct change *change, uint64_t dir, struct slice name, enum file_type type, struct old_object *ret_old,
		       uint64_t *ret_seq, uint64_t *ret_was)
{
	sqlite3_stmt *stmt;
	int got = mark_get(change, dir, name, ret_seq);

	if (got || *ret_seq <= change->cache->cml->frozen_seq)
		return got;
	got = db_query(writer_db(change->cache), &stmt, "SELECT ino, was, gone_at, gone FROM cml WHERE seq = ?1 AND gone NOT NULL", "i",
		       (int64_t)*ret_seq);
	if (got > 0)
		got = row_read(change, stmt, type, ret_old, ret_was);
	if (got <= 0)
		return got;
	if (inode_find_oid(change->cache, &ret_old->oid))
		return 0;
	got = old_object_is_out(change, ret_old->ino);
	return got < 0 ? got : !got;
}
