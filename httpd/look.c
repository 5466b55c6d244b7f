/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Before a segment is applied: what local programs did to what its records are about. */
#include "httpd/segment.h"

static int look_at_name(struct segment *segment, struct kml_oid parent, const kml_name *name)
{
	struct object dir;
	int got = object_by_oid(segment->tree->sql, parent, &dir);

	if (got <= 0 || dir.gone || dir.attr.type != KML_DIR)
		return got < 0 ? got : 0;
	return segment_look(segment, dir.id, kml_name_get(name));
}

static int look_at_object(struct segment *segment, struct kml_oid oid, bool is_rmdir)
{
	struct object object;
	int got = object_by_oid(segment->tree->sql, oid, &object);

	if (got <= 0 || object.gone)
		return got < 0 ? got : 0;
	got = segment_look_object(segment, object.id);
	if (!got && is_rmdir && object.attr.type == KML_DIR)
		got = segment_look(segment, object.id, (struct slice){ NULL, 0 });
	return got;
}

static int look_for(struct segment *segment, const struct kml_body *body)
{
	int err;

	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return look_at_name(segment, body->kml_body_u.make.parent,
				    &body->kml_body_u.make.name);
	case KML_SYMLINK:
		return look_at_name(segment, body->kml_body_u.symlink.make.parent,
				    &body->kml_body_u.symlink.make.name);
	case KML_MKNOD:
		return look_at_name(segment, body->kml_body_u.mknod.make.parent,
				    &body->kml_body_u.mknod.make.name);
	case KML_LINK:
		err = look_at_name(segment, body->kml_body_u.link.parent,
				   &body->kml_body_u.link.name);
		return err ? err : look_at_object(segment, body->kml_body_u.link.oid, false);
	case KML_REMOVE:
	case KML_RMDIR:
		err = look_at_name(segment, body->kml_body_u.unlink.parent,
				   &body->kml_body_u.unlink.name);
		return err ? err
			   : look_at_object(segment, body->kml_body_u.unlink.oid,
					    body->op == KML_RMDIR);
	case KML_RENAME:
		err = look_at_name(segment, body->kml_body_u.rename.from_parent,
				   &body->kml_body_u.rename.from_name);
		if (!err)
			err = look_at_name(segment, body->kml_body_u.rename.to_parent,
					   &body->kml_body_u.rename.to_name);
		return err ? err : look_at_object(segment, body->kml_body_u.rename.replaced, true);
	case KML_SETATTR:
		return look_at_object(segment, body->kml_body_u.setattr.oid, false);
	case KML_STORE:
		return look_at_object(segment, body->kml_body_u.store.oid, false);
	case KML_SETACL:
		return look_at_object(segment, body->kml_body_u.setacl.oid, false);
	case KML_DETACH:
		return look_at_object(segment, body->kml_body_u.detach.oid, false);
	}
	return 0;
}

int prepare_look(struct segment *segment)
{
	int err = tree_read_begin(segment->tree);

	for (uint32_t i = 0; !err && i < segment->n; i++)
		err = look_for(segment, &segment->records[i].body);
	tree_read_end(segment->tree);
	if (!err && segment->look.n)
		err = reconcile_locked(segment->tree, segment->look.v, segment->look.n);
	segment->look.n = 0;
	return err;
}
