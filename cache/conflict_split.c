/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * STORE answered CONFLICT or GONE: our inode becomes a new object NAME.conflict-HOST-DATE beside the old name, and the old names get an
 * inode for what upstream has, or go with it.
 */
#include "cache/conflict_state.h"

#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "cache/acl.h"
#include "cache/cml_state.h"
#include "cache/conflict_name.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/nameop.h"
#include "cache/stale.h"
#include "cache/writer.h"

/* An inode for upstream's object, whose oid ours has just given up. */
static struct inode_edit *make_heir(const struct conflict *c, struct kml_oid oid, unsigned names,
				    int *ret_err)
{
	const struct kml_object *object = c->answer->object;
	const struct inode_values *ours = &c->edit->v;
	struct inode_values v = {
		.oid = oid,
		.type = (enum file_type)object->attr.type,
		.mode = object->attr.mode,
		.uid = object->attr.uid,
		.gid = object->attr.gid,
		.major = object->attr.major,
		.minor = object->attr.minor,
		.nlink = MAX(object->attr.nlink, names),
		.links_up = names,
		.size = object->attr.size,
		.keep_size = object->attr.size,
		.atime = cml_time_ns(object->attr.atime),
		.mtime = cml_time_ns(object->attr.mtime),
		.ctime = c->change->now,
		.data_version = object->data_version,
		.attr_version = object->attr_version,
		.is_stale = true,	/* what came between the answer and now was not applied */
	};
	struct inode_edit *heir;
	struct acls *acls = NULL;

	if (ours->attr_seq) {
		/* A SETATTR is on its way to it. */
		v.attr_seq = ours->attr_seq;
		v.mode = ours->mode;
		v.uid = ours->uid;
		v.gid = ours->gid;
		v.atime = ours->atime;
	}
	heir = inode_make(c->change, &v, ret_err);
	if (!heir)
		return NULL;
	*ret_err = ours->attr_seq ? acls_copy(ours->acls, &acls) : merge_acls(heir, object);
	if (*ret_err)
		return NULL;
	if (acls)
		inode_edit_acls(heir, acls);
	return heir;
}

/* The names that were ours: the heir's, or nothing's. */
static int hand_on_names(const struct conflict *c, const struct known_names *names, uint64_t heir)
{
	int err = 0;

	for (unsigned i = 0; i < names->n && !err; i++) {
		const struct known *known = &names->v[i];

		if (heir)
			err = name_bind(c->change, known->dir, known_name(known), heir, known->seq);
		else
			err = name_unbind(c->change, known->dir, known_name(known), known->seq);
		if (!err && !heir)
			err = stale_ask(c->change, known->dir);
	}
	return err;
}

static int split_names(struct conflict *c, const struct known_names *names)
{
	struct change *change = c->change;
	bool is_there = c->answer->status == KML_CONFLICT && c->answer->object;
	struct kml_oid old = c->edit->v.oid, oid;
	struct inode_edit *dir, *heir = NULL;
	struct slice name;
	char text[256];
	uint64_t seq;
	int err, got;

	dir = inode_edit(change, names->v[0].dir, &err);
	if (!dir)
		return err;
	err = conflict_free_name(change, names->v[0].dir, known_name(&names->v[0]),
				 c->record->time.sec, text);
	if (err)
		return err;
	name = (struct slice){ text, strlen(text) };
	err = inode_new_oid(change, &oid);
	if (!err)
		err = inode_set_oid(change, c->edit, oid);
	if (!err && is_there) {
		heir = make_heir(c, old, names->n, &err);
		if (!heir)
			return err;
	}
	if (!err)
		err = FAULT("conflict.split");
	if (!err)
		err = hand_on_names(c, names, heir ? heir->inode->ino : 0);
	if (err)
		return err;
	got = conflict_renew(c, dir, name, names->n_local, heir ? heir->inode->ino : 0, &seq);
	if (got < 0)
		return got;
	err = name_bind(change, names->v[0].dir, name, c->ino, seq);
	if (err)
		return err;
	nameop_dir_changed(change, dir, false);
	return conflict_say(c, CONFLICT_COPY, names->v[0].dir, known_name(&names->v[0]),
			    "%s at the server while it was written to here: both are kept, this one is ours%s", is_there ? "changed" : "removed",
			    got ? "; the parts of it that were never read here are zeros" : "");
}

int conflict_split(struct conflict *c)
{
	struct known_names names = { 0 };
	int err;

	/* Without a name its content is nobody's any more, or only an open program's. */
	if (!c->edit || !c->edit->v.links_up)
		return 0;
	err = conflict_known_names(c, &names);
	if (!err && names.n)
		err = split_names(c, &names);
	free(names.v);
	return err;
}
