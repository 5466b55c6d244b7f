/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of httpd/: somebody who knows of the tree what the journal tells, from its first entry on, and believes all of it.  So the
 * tables must be what he knows: names, attributes and versions (docs/PROTOCOL.md 4 and 7).
 *
 * The entries are borrowed.
 */
#ifndef TESTS_UNIT_HTTPD_FOLLOWER_H
#define TESTS_UNIT_HTTPD_FOLLOWER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "httpd/object.h"
#include "httpd/segment.h"

struct known_name {
	struct kml_oid dir, oid;
	struct slice name;
};

struct follower {
	struct kml_object *objects;
	struct known_name *names;
	size_t n_objects, n_names;
};

static inline void follower_begin(struct follower *f, size_t entries)
{
	*f = (struct follower){ .objects = calloc(entries * KML_AFTER_MAX + 1, sizeof(*f->objects)),
				.names = calloc(entries + 1, sizeof(*f->names)) };
	assert_true(f->objects && f->names);
}

static inline void follower_end(struct follower *f)
{
	free(f->objects);
	free(f->names);
}

/* ---- objects ---- */

/* A directory's time goes back with a version only (PROTOCOL 7). */
static inline void hear_of_object(struct follower *f, const struct kml_object *o)
{
	struct kml_time mtime = o->attr.mtime;
	struct kml_object *known;
	size_t i;

	for (i = 0; i < f->n_objects && !kml_oid_equal(f->objects[i].oid, o->oid); i++)
		;
	known = &f->objects[i];
	if (i == f->n_objects)
		f->n_objects++;
	else if (o->attr.type == KML_DIR && o->attr_version == known->attr_version && file_time_cmp(mtime, known->attr.mtime) < 0)
		mtime = known->attr.mtime;
	*known = *o;
	known->attr.mtime = mtime;
}

static inline void check_known(const struct kml_object *known, struct sql *sql)
{
	const struct kml_attr *a = &known->attr;
	struct object object;

	assert_int_equal(object_by_oid(sql, known->oid, &object), 1);
	if (object.gone)
		return;
	assert_int_equal(known->data_version, object.data_version);
	assert_int_equal(known->attr_version, object.attr_version);
	assert_int_equal(a->type, object.attr.type);
	assert_int_equal(a->mode, object.attr.mode);
	assert_int_equal(a->uid, object.attr.uid);
	assert_int_equal(a->gid, object.attr.gid);
	assert_int_equal(a->size, object.attr.size);
	assert_int_equal(a->nlink, object.attr.nlink);
	if (file_time_cmp(a->mtime, object.attr.mtime))
		fail_msg("object %lld, type %d: known by its time %lld, which is %lld", (long long)object.id, (int)a->type,
			 (long long)file_ns(a->mtime), (long long)file_ns(object.attr.mtime));
}

/* ---- names ---- */

static inline struct known_name *find_known_name(struct follower *f, struct kml_oid dir, struct slice name)
{
	for (size_t i = f->n_names; i-- > 0;) {
		struct known_name *known = &f->names[i];

		if (kml_oid_equal(known->dir, dir) && known->name.len == name.len && !memcmp(known->name.data, name.data, name.len))
			return known;
	}
	return NULL;
}

static inline void hear_of_name(struct follower *f, struct kml_oid dir, const kml_name *name, struct kml_oid oid)
{
	struct slice text = kml_name_get(name);

	if (find_known_name(f, dir, text))
		fail_msg("%.*s: comes, and was there", (int)text.len, (const char *)text.data);
	f->names[f->n_names++] = (struct known_name){ dir, oid, text };
}

static inline void hear_that_gone(struct follower *f, struct kml_oid dir, const kml_name *name, struct kml_oid oid)
{
	struct slice text = kml_name_get(name);
	struct known_name *known = find_known_name(f, dir, text);

	if (!known || !kml_oid_equal(known->oid, oid))
		fail_msg("%.*s: goes, and was not there, or another object", (int)text.len, (const char *)text.data);
	*known = f->names[--f->n_names];
}

static inline void follower_hear(struct follower *f, const struct kml_entry *e)
{
	const struct kml_body *body = &e->record.body;
	const struct kml_unlink *gone = &body->kml_body_u.unlink;
	const struct kml_rename *r = &body->kml_body_u.rename;
	const struct kml_make *make = segment_make_of(body);

	for (u_int i = 0; i < e->after.after_len; i++) {
		const struct kml_object *o = &e->after.after_val[i];

		assert_true(o->data_version <= e->position && o->attr_version <= e->position);
		hear_of_object(f, o);
	}
	if (make)
		hear_of_name(f, make->parent, &make->name, make->oid);
	switch (body->op) {
	case KML_LINK:
		hear_of_name(f, body->kml_body_u.link.parent, &body->kml_body_u.link.name, body->kml_body_u.link.oid);
		break;
	case KML_REMOVE:
	case KML_RMDIR:
		hear_that_gone(f, gone->parent, &gone->name, gone->oid);
		break;
	case KML_RENAME:
		hear_that_gone(f, r->from_parent, &r->from_name, r->oid);
		if (!kml_oid_is_none(r->replaced))
			hear_that_gone(f, r->to_parent, &r->to_name, r->replaced);
		hear_of_name(f, r->to_parent, &r->to_name, r->oid);
		break;
	default:
		break;
	}
}

/* ---- in the end ---- */

static inline void check_known_name(const struct known_name *known, struct sql *sql)
{
	struct object dir, object;
	struct name_row row;

	assert_int_equal(object_by_oid(sql, known->dir, &dir), 1);
	assert_int_equal(name_get(sql, dir.id, known->name, &row), 1);
	assert_int_equal(object_by_id(sql, row.object, &object), 1);
	assert_true(kml_oid_equal(object.oid, known->oid));
}

static inline void follower_check(const struct follower *f, struct sql *sql)
{
	int64_t names;

	for (size_t i = 0; i < f->n_objects; i++)
		check_known(&f->objects[i], sql);
	for (size_t i = 0; i < f->n_names; i++)
		check_known_name(&f->names[i], sql);
	assert_int_equal(sql_int(sql, "SELECT count(*) FROM name", &names), 0);
	assert_int_equal(f->n_names, names);
}

#endif
