/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/change.h"

#include <errno.h>
#include "httpd/journal.h"

static kml_name borrow(struct slice name)
{
	/* only encoded, never changed */
	return (kml_name){ (u_int)name.len, (char *)name.data };
}

struct change_by change_by_local(void)
{
	return (struct change_by){ .time = file_now() };
}

static struct kml_record record_of(const struct change_by *by, enum kml_op op)
{
	struct kml_record record = {
		.format = KML_VERSION, .seq = by->seq, .time = by->time, .uid = by->uid
	};

	record.body.op = op;
	return record;
}

static int get(struct tree *tree, int64_t id, struct object *ret_object)
{
	int got = object_by_id(tree->sql, id, ret_object);

	return got > 0 ? 0 : got ? got : -EUCLEAN;
}

/* A name came into a directory or left it; so did so many directories. */
static int touch_dir(struct tree *tree, const struct change_by *by, int64_t id, int more_dirs)
{
	struct object dir;
	bool is_later;
	int err;

	err = get(tree, id, &dir);
	if (err)
		return err;
	is_later = by->client && file_time_cmp(by->time, dir.attr.mtime) > 0;
	if (!more_dirs && !is_later)
		return 0;
	if (is_later)
		dir.attr.mtime = by->time;
	dir.attr.nlink += (unsigned)more_dirs;
	return object_update(tree->sql, &dir);
}

static struct kml_make make_of(const struct object *object, const struct object *dir,
			       struct slice name)
{
	return (struct kml_make){
		.parent = dir->oid,
		.name = borrow(name),
		.oid = object->oid,
		.mode = object->attr.mode,
		.uid = object->attr.uid,
		.gid = object->attr.gid,
		.atime = object->attr.atime,
		.mtime = object->attr.mtime,
	};
}

static int journal_make(struct tree *tree, const struct change_by *by, const struct object *object,
			const struct object *dir, struct slice name, struct slice target)
{
	const int64_t touched[] = { object->id, dir->id };
	struct kml_make make = make_of(object, dir, name);
	struct kml_record record;

	switch (object->attr.type) {
	case KML_REG:
	case KML_DIR:
		record = record_of(by, object->attr.type == KML_DIR ? KML_MKDIR : KML_CREATE);
		record.body.kml_body_u.make = make;
		break;
	case KML_LNK:
		record = record_of(by, KML_SYMLINK);
		record.body.kml_body_u.symlink.make = make;
		record.body.kml_body_u.symlink.target =
			(kml_target){ (u_int)target.len, (char *)target.data };
		break;
	default:
		record = record_of(by, KML_MKNOD);
		record.body.kml_body_u.mknod =
			(struct kml_mknod){ make, object->attr.type, object->attr.major,
					    object->attr.minor };
	}
	return journal_append(tree, by->client, &record, touched, ARRAY_SIZE(touched));
}

int change_make(struct tree *tree, const struct change_by *by, struct object *object, int64_t dir,
		struct slice name, struct slice wanted, struct slice target, struct slice acls)
{
	bool is_dir = object->attr.type == KML_DIR;
	struct object parent;
	int err;

	object->attr.nlink = is_dir ? 2 : 1;
	object->data_version = object->attr_version = journal_next(tree);
	object->data_by = object->attr_by = by->client;
	err = object_insert(tree->sql, object, target);
	if (!err && acls.len)
		err = object_set_acls(tree->sql, object, acls);
	if (!err)
		err = name_insert(tree->sql, dir, name, object->id, by->client, wanted);
	if (!err)
		err = touch_dir(tree, by, dir, is_dir);
	if (!err)
		err = get(tree, dir, &parent);
	return err ? err : journal_make(tree, by, object, &parent, name, target);
}

int change_link(struct tree *tree, const struct change_by *by, struct object *object, int64_t dir,
		struct slice name, struct slice wanted)
{
	const int64_t touched[] = { object->id, dir };
	struct kml_record record = record_of(by, KML_LINK);
	struct object parent;
	int err;

	object->attr.nlink++;
	err = object_update(tree->sql, object);
	if (!err)
		err = name_insert(tree->sql, dir, name, object->id, by->client, wanted);
	if (!err)
		err = touch_dir(tree, by, dir, 0);
	if (!err)
		err = get(tree, dir, &parent);
	if (err)
		return err;
	record.body.kml_body_u.link = (struct kml_link){ object->oid, parent.oid, borrow(name) };
	return journal_append(tree, by->client, &record, touched, ARRAY_SIZE(touched));
}

/* One name less.  where: the name, for a directory that may have to come back. */
static int lose_name(struct tree *tree, struct object *object, int64_t dir, struct slice name)
{
	int err = 0;

	if (object->attr.type != KML_DIR && object->attr.nlink > 1) {
		object->attr.nlink--;
	} else {
		object->gone = journal_next(tree);
		object->attr.nlink = 0;
		if (object->attr.type == KML_DIR)
			err = object_set_was(tree->sql, object->id, dir, name);
	}
	return err ? err : object_update(tree->sql, object);
}

int change_unlink(struct tree *tree, const struct change_by *by, struct object *object,
		  const struct name_row *row)
{
	const int64_t touched[] = { object->id, row->dir };
	bool is_dir = object->attr.type == KML_DIR;
	struct kml_record record = record_of(by, is_dir ? KML_RMDIR : KML_REMOVE);
	struct slice name = name_slice(&row->name);
	struct object parent;
	int err;

	err = name_delete(tree->sql, row->dir, name);
	if (!err)
		err = lose_name(tree, object, row->dir,
				!row->by && row->wanted.len ? name_slice(&row->wanted) : name);
	if (!err)
		err = touch_dir(tree, by, row->dir, is_dir ? -1 : 0);
	if (!err)
		err = get(tree, row->dir, &parent);
	if (err)
		return err;
	record.body.kml_body_u.unlink = (struct kml_unlink){ parent.oid, borrow(name), object->oid,
							     object->data_version };
	return journal_append(tree, by->client, &record, touched, ARRAY_SIZE(touched));
}

int change_rename(struct tree *tree, const struct change_by *by, struct object *object,
		  const struct name_row *from, int64_t to_dir, struct slice to_name,
		  struct slice wanted, struct object *replaced)
{
	const int64_t touched[] = { object->id, from->dir, to_dir, replaced ? replaced->id : 0 };
	struct slice from_name = name_slice(&from->name);
	struct kml_record record = record_of(by, KML_RENAME);
	struct kml_rename *r = &record.body.kml_body_u.rename;
	int moved = object->attr.type == KML_DIR && from->dir != to_dir;
	int lost = replaced && replaced->attr.type == KML_DIR;
	struct object from_parent, to_parent;
	int err;

	err = name_delete(tree->sql, from->dir, from_name);
	if (!err && replaced) {
		err = name_delete(tree->sql, to_dir, to_name);
		if (!err)
			err = lose_name(tree, replaced, to_dir, to_name);
	}
	if (!err)
		err = name_insert(tree->sql, to_dir, to_name, object->id, by->client, wanted);
	if (!err)
		err = touch_dir(tree, by, from->dir, -moved);
	if (!err)
		err = touch_dir(tree, by, to_dir, moved - lost);
	if (!err)
		err = get(tree, from->dir, &from_parent);
	if (!err)
		err = get(tree, to_dir, &to_parent);
	if (err)
		return err;
	*r = (struct kml_rename){
		.from_parent = from_parent.oid,
		.from_name = borrow(from_name),
		.to_parent = to_parent.oid,
		.to_name = borrow(to_name),
		.oid = object->oid,
		.replaced = replaced ? replaced->oid : KML_NO_OID,
		.replaced_base = replaced ? replaced->data_version : 0,
	};
	return journal_append(tree, by->client, &record, touched, ARRAY_SIZE(touched));
}

static struct kml_record setattr_of(const struct change_by *by, const struct object *object,
				    unsigned set)
{
	struct kml_record record = record_of(by, KML_SETATTR);
	const struct kml_attr *attr = &object->attr;

	record.body.kml_body_u.setattr = (struct kml_setattr){
		.oid = object->oid,
		.set = set,
		.mode = attr->mode,
		.uid = attr->uid,
		.gid = attr->gid,
		.atime = attr->atime,
		.mtime = attr->mtime,
		.attr_base = object->attr_version,
	};
	return record;
}

int change_setattr(struct tree *tree, const struct change_by *by, struct object *object,
		   unsigned set)
{
	struct kml_record record = setattr_of(by, object, set);
	int err;

	object->attr_version = journal_next(tree);
	object->attr_by = by->client;
	err = object_update(tree->sql, object);
	return err ? err : journal_append(tree, by->client, &record, &object->id, 1);
}

int change_setacl(struct tree *tree, const struct change_by *by, struct object *object,
		  struct slice acls)
{
	struct kml_record record = record_of(by, KML_SETACL);
	struct kml_setacl *setacl = &record.body.kml_body_u.setacl;
	int err = 0;

	if (acls.len)
		err = kml_acls_decode(acls.data, acls.len, &setacl->acls);
	if (err)
		return err;
	setacl->oid = object->oid;
	setacl->mode = object->attr.mode;
	setacl->attr_base = object->attr_version;
	object->attr_version = journal_next(tree);
	object->attr_by = by->client;
	err = object_set_acls(tree->sql, object, acls);
	if (!err)
		err = object_update(tree->sql, object);
	if (!err)
		err = journal_append(tree, by->client, &record, &object->id, 1);
	kml_acls_release(&setacl->acls);
	return err;
}

int change_dir_time(struct tree *tree, const struct change_by *by, const struct object *dir)
{
	struct kml_record record = setattr_of(by, dir, KML_SET_MTIME);

	return journal_append(tree, by->client, &record, &dir->id, 1);
}

int change_store(struct tree *tree, const struct change_by *by, struct object *object,
		 const struct kml_store *store)
{
	struct kml_range all = { 0, object->attr.size };
	struct kml_record record = record_of(by, KML_STORE);
	struct kml_store *s = &record.body.kml_body_u.store;
	int err;

	if (store)
		*s = *store;
	else
		s->ranges.ranges_val = &all;
	if (!store)
		s->ranges.ranges_len = object->attr.size > 0;
	s->oid = object->oid;
	s->data_base = object->data_version;
	s->size = object->attr.size;
	s->mtime = object->attr.mtime;
	object->data_version = journal_next(tree);
	object->data_by = by->client;
	err = object_update(tree->sql, object);
	return err ? err : journal_append(tree, by->client, &record, &object->id, 1);
}

int change_revive(struct tree *tree, const struct change_by *by, struct object *object, int64_t dir,
		  struct slice name, struct slice wanted)
{
	struct change_by local = { .time = by->time, .uid = by->uid };
	struct object parent;
	int err;

	object->gone = 0;
	object->attr.nlink = 2;
	object->data_version = object->attr_version = journal_next(tree);
	object->data_by = object->attr_by = by->client;
	err = object_update(tree->sql, object);
	if (!err)
		err = name_insert(tree->sql, dir, name, object->id, by->client, wanted);
	if (!err)
		err = touch_dir(tree, by, dir, 1);
	if (!err)
		err = get(tree, dir, &parent);
	return err ? err
		   : journal_make(tree, &local, object, &parent, name, (struct slice){ NULL, 0 });
}

int change_detach(struct tree *tree, const struct change_by *by, struct object *object, const struct name_row *rows, size_t n,
		  struct object *ret_other)
{
	struct object other = { .attr = object->attr, .file = object->file };
	struct change_by local = { .time = by->time, .uid = by->uid };
	const struct slice none = { NULL, 0 };
	struct buf acls;
	int err;

	buf_init(&acls, 0);
	err = object_acls(tree->sql, object, &acls);
	for (size_t i = 0; i < n && !err; i++) {
		struct slice name = name_slice(&rows[i].name);

		err = change_unlink(tree, &local, object, &rows[i]);
		if (!err && !i)
			err = change_make(tree, &local, &other, rows[i].dir, name, none, none, (struct slice){ acls.data, acls.len });
		else if (!err)
			err = change_link(tree, &local, &other, rows[i].dir, name, none);
	}
	buf_release(&acls);
	if (!err)
		*ret_other = other;
	return err;
}
