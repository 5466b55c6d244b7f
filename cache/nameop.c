/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/nameop.h"

#include <errno.h>
#include <string.h>
#include "cache/acl.h"
#include "cache/dentry.h"
#include "cache/fold.h"
#include "cache/internal.h"
#include "cache/record.h"
#include "cache/setacl.h"
#include "cache/writer.h"

int nameop_dir(struct change *change, uint64_t ino, struct inode_edit **ret_dir)
{
	struct inode_edit *dir;
	int err;

	dir = inode_edit(change, ino, &err);
	if (!dir)
		return err;
	if (dir->v.type != TYPE_DIR)
		return -ENOTDIR;
	if (!dir->v.is_listed)
		return -ERESTART;
	*ret_dir = dir;
	return 0;
}

int nameop_find(struct change *change, uint64_t dir, struct slice name,
		struct inode_edit **ret_edit)
{
	struct cache *cache = change->cache;
	struct name_info info;
	int got, err;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, dir, name, &info);
	pthread_mutex_unlock(&cache->lock);
	if (got <= 0)
		return got;
	if (!info.ino)
		return 0;
	*ret_edit = inode_edit(change, info.ino, &err);
	if (*ret_edit)
		return 1;
	return err == -ESTALE ? -EIO : err;	/* a name of nothing: the tables are damaged */
}

void nameop_dir_changed(struct change *change, struct inode_edit *dir, bool is_local)
{
	if (!is_local)
		EDIT(dir, mtime, MAX(change->now, dir->v.mtime));
	inode_edit_touch(change, dir);
}

int nameop_check_empty(struct change *change, const struct inode_edit *dir)
{
	int got;

	if (!dir->v.is_listed)
		return -ERESTART;
	got = name_any_in(change->cache, dir->inode->ino);
	return got > 0 ? -ENOTEMPTY : got;
}

static struct kml_time time_of(int64_t ns)
{
	struct kml_time t = { ns / 1000000000, 0 };
	int64_t rest = ns % 1000000000;

	if (rest < 0) {
		t.sec--;
		rest += 1000000000;
	}
	t.nsec = rest;
	return t;
}

/* The record borrows the bytes: cml_append() encodes it at once. */
static kml_name name_of(struct slice name)
{
	return (kml_name){ .kml_name_val = (char *)name.data, .kml_name_len = name.len };
}

static kml_target target_of(const char *text)
{
	return (kml_target){ .kml_target_val = (char *)text,
			     .kml_target_len = text ? strlen(text) : 0 };
}

static enum kml_op make_op(enum file_type type)
{
	switch (type) {
	case TYPE_REG:
		return KML_CREATE;
	case TYPE_DIR:
		return KML_MKDIR;
	case TYPE_LNK:
		return KML_SYMLINK;
	default:
		return KML_MKNOD;
	}
}

int nameop_log_make(struct change *change, struct inode_edit *edit, const struct inode_edit *dir,
		    struct slice name, uint64_t *ret_seq)
{
	const struct inode_values *v = &edit->v;
	struct kml_record record = { 0 };
	struct kml_make make = {
		.parent = dir->v.oid, .oid = v->oid, .mode = acls_narrow_mode(v->acls, v->mode), .uid = v->uid, .gid = v->gid,
		.atime = time_of(v->atime), .mtime = time_of(v->mtime),
	};
	int err;

	make.name = name_of(name);
	record.body.op = make_op(v->type);
	switch (record.body.op) {
	case KML_SYMLINK:
		record.body.kml_body_u.symlink.make = make;
		record.body.kml_body_u.symlink.target =
			target_of(edit->target ? edit->target : edit->inode->target);
		break;
	case KML_MKNOD:
		record.body.kml_body_u.mknod.make = make;
		record.body.kml_body_u.mknod.type = (enum kml_type)v->type;
		record.body.kml_body_u.mknod.major = v->major;
		record.body.kml_body_u.mknod.minor = v->minor;
		break;
	default:
		record.body.kml_body_u.make = make;
	}
	err = cml_append(change, edit->inode->ino, &record, &dir->inode->ino, ret_seq);
	if (err)
		return err;
	EDIT(edit, attr_seq, *ret_seq);
	EDIT(edit, data_seq, *ret_seq);
	return v->acls ? setacl_log(change, edit) : 0;
}

int nameop_log_unlink(struct change *change, struct inode_edit *edit,
		      const struct inode_edit *dir, struct slice name, uint64_t *ret_seq)
{
	struct kml_record record = { 0 };
	struct kml_unlink *unlink = &record.body.kml_body_u.unlink;
	int got;

	got = fold_unlink(change, edit, dir->inode->ino, name, ret_seq);
	if (got)
		return MIN(got, 0);
	record.body.op = edit->v.type == TYPE_DIR ? KML_RMDIR : KML_REMOVE;
	unlink->parent = dir->v.oid;
	unlink->name = name_of(name);
	unlink->oid = edit->v.oid;
	unlink->data_base = edit->v.data_version;
	got = cml_append(change, edit->inode->ino, &record, &dir->inode->ino, ret_seq);
	return got ? got : fold_note_removed(change, edit, *ret_seq);
}

int nameop_log_rename(struct change *change, const struct inode_edit *edit, const struct inode_edit *from_dir, struct slice from,
		      const struct inode_edit *to_dir, struct slice to, struct inode_edit *victim, uint64_t *ret_seq)
{
	struct kml_record record = { 0 };
	struct kml_rename *rename = &record.body.kml_body_u.rename;
	int err;

	record.body.op = KML_RENAME;
	rename->from_parent = from_dir->v.oid;
	rename->from_name = name_of(from);
	rename->to_parent = to_dir->v.oid;
	rename->to_name = name_of(to);
	rename->oid = edit->v.oid;
	if (victim) {
		rename->replaced = victim->v.oid;
		rename->replaced_base = victim->v.data_version;
	}
	err = cml_append(change, edit->inode->ino, &record, (const uint64_t[]){ from_dir->inode->ino, to_dir->inode->ino }, ret_seq);
	if (!err && victim)
		EDIT(victim, attr_seq, *ret_seq);
	return err;
}

/* A new object of what upstream has forgotten, or is about to: all of it is to be sent. */
static int revive(struct change *change, struct inode_edit *edit, const struct inode_edit *dir,
		  struct slice name, uint64_t *ret_seq)
{
	struct kml_oid oid;
	struct extent gap;
	int err;

	err = inode_new_oid(change, &oid);
	if (err)
		return err;
	EDIT(edit, oid, oid);
	EDIT(edit, data_version, 0);
	EDIT(edit, attr_version, 0);
	EDIT(edit, links_up, 1);
	EDIT(edit, is_stale, false);
	if (edit->v.type != TYPE_REG)
		return nameop_log_make(change, edit, dir, name, ret_seq);

	err = EDIT_MAPS(edit);
	if (err)
		return err;
	if (extent_first_gap(&edit->present, 0, edit->v.size, &gap))
		return -EIO;
	EDIT(edit, keep_size, 0);
	err = extent_copy(&edit->dirty, &edit->present);
	/* A store that is on its way takes 'dirty' with it when it is answered. */
	if (!err && edit->inode->work->taken_seq)
		err = extent_copy(&edit->dirty_next, &edit->present);
	if (!err)
		err = nameop_log_make(change, edit, dir, name, ret_seq);
	if (!err)
		err = cml_append_store(change, edit);
	return err;
}

int nameop_log_link(struct change *change, struct inode_edit *edit, const struct inode_edit *dir,
		    struct slice name, uint64_t *ret_seq)
{
	struct kml_record record = { 0 };
	struct kml_link *link = &record.body.kml_body_u.link;
	int err;

	if (!edit->v.links_up)
		return revive(change, edit, dir, name, ret_seq);
	record.body.op = KML_LINK;
	link->oid = edit->v.oid;
	link->parent = dir->v.oid;
	link->name = name_of(name);
	err = cml_append(change, edit->inode->ino, &record, &dir->inode->ino, ret_seq);
	if (!err)
		EDIT(edit, links_up, edit->v.links_up + 1);
	return err;
}

struct sweep {
	struct change *change;
	uint64_t dir;
};

static int sweep_name(void *arg, struct slice name, const struct name_info *info)
{
	struct sweep *sweep = arg;

	(void)info;
	return name_unbind(sweep->change, sweep->dir, name, 0);
}

int nameop_lost_name(struct change *change, struct inode_edit *edit, bool is_local)
{
	struct sweep sweep = { change, edit->inode->ino };
	int64_t names;
	int err;

	if (edit->v.type == TYPE_DIR) {
		/* What is left in it are tombstones, which nobody can look up any more. */
		inode_drop(edit);
		return name_each_in(change->cache, edit->inode->ino, sweep_name, &sweep);
	}
	if (edit->v.nlink)
		EDIT(edit, nlink, edit->v.nlink - 1);
	inode_edit_touch(change, edit);
	names = name_count_of(change->cache, edit->inode->ino);
	if (names < 0)
		return names;
	if (!is_local && edit->v.links_up)
		EDIT(edit, links_up, edit->v.links_up - 1);
	/* nlink above that: upstream has names of it in directories that are not listed here. */
	if (!is_local && !edit->v.links_up && edit->v.nlink <= names) {
		err = cml_forget(change, edit);
		if (err)
			return err;
	}
	if (!names && !edit->v.nlink)
		inode_drop(edit);
	return 0;
}
