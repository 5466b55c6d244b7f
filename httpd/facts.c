/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/step.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "httpd/apply.h"
#include "httpd/detach.h"

static int find(struct segment *segment, struct kml_oid oid, struct object *ret_object,
		struct certify_object *ret_facts)
{
	int got = object_by_oid(segment->tree->sql, oid, ret_object);

	if (got <= 0) {
		memset(ret_object, 0, sizeof(*ret_object));
		return got;
	}
	*ret_facts = (struct certify_object){
		.is = ret_object->gone ? OBJECT_GONE : OBJECT_THERE,
		.type = ret_object->attr.type,
		.names = ret_object->attr.nlink,
		.data_version = ret_object->data_version,
		.attr_version = ret_object->attr_version,
		.data_by = ret_object->data_by,
		.attr_by = ret_object->attr_by,
	};
	if (ret_object->attr.type != KML_DIR || ret_object->gone)
		return 0;
	got = names_any_in(segment->tree->sql, ret_object->id);
	ret_facts->is_empty = !got;
	return got < 0 ? got : 0;
}

static bool is_reserved(const struct object *dir, struct slice name)
{
	return dir->id == ROOT_ID && name.len == strlen(STATE_DIR) &&
	       !memcmp(name.data, STATE_DIR, name.len);
}

/* What a name in f->parent holds. */
static int find_at(struct segment *segment, struct slice name, struct facts *f,
		   struct certify_facts *c)
{
	struct object other;
	int got;

	c->is_reserved |= is_reserved(&f->parent, name);
	if (!f->parent.id || f->parent.gone)
		return 0;
	got = name_get(segment->tree->sql, f->parent.id, name, &f->at);
	if (got <= 0) {
		f->at.object = 0;
		return got;
	}
	if (f->at.object == f->object.id) {
		c->name = NAME_SAME;
	} else if (f->at.object == f->replaced.id) {
		c->name = NAME_REPLACED;
	} else {
		got = object_by_id(segment->tree->sql, f->at.object, &other);
		if (got <= 0)
			return got ? got : -EUCLEAN;
		c->name = other.attr.type == KML_DIR ? NAME_OTHER_DIR : NAME_OTHER;
	}
	return 0;
}

/*
 * What the client replaces may be beside the name that it thinks it has, because that was taken when it was made.  Then it is
 * replaced where it is; else it would stay there, a copy of which nobody knows.
 */
static int find_aside(struct segment *segment, struct slice name, struct facts *f, struct certify_facts *c)
{
	struct name_row row;
	int got;

	if (!f->replaced.id || !f->parent.id || f->parent.gone || (c->name != NAME_OTHER && c->name != NAME_OTHER_DIR))
		return 0;
	got = name_get_wanted(segment->tree->sql, f->parent.id, name, f->replaced.id, segment->client, &row);
	if (got > 0) {
		f->at = row;
		f->is_aside = true;
		c->name = NAME_REPLACED;
	}
	return MIN(got, 0);
}

/*
 * The name to be taken away: where the record says, or where this client's object was put instead.
 */
static int find_source(struct segment *segment, const struct object *dir, struct slice name,
		       struct facts *f, enum name_holds *ret_holds)
{
	int got;

	if (!dir->id || !f->object.id)
		return 0;
	got = name_get(segment->tree->sql, dir->id, name, &f->source);
	if (got < 0)
		return got;
	if (got && f->source.object == f->object.id) {
		f->has_source = true;
		*ret_holds = NAME_SAME;
		return 0;
	}
	*ret_holds = got ? NAME_OTHER : NAME_FREE;
	got = name_get_wanted(segment->tree->sql, dir->id, name, f->object.id, segment->client,
			      &f->source);
	if (got > 0) {
		f->has_source = true;
		*ret_holds = NAME_SAME;
	}
	return got < 0 ? got : 0;
}

/* Is dir the directory 'above' or below it? */
static int is_below(struct segment *segment, int64_t dir, int64_t above)
{
	struct name_row row;
	int got;

	while (dir != ROOT_ID) {
		if (dir == above)
			return 1;
		got = name_of(segment->tree->sql, dir, &row);
		if (got <= 0)
			return got;
		dir = row.dir;
	}
	return 0;
}

static int gather_rename(struct segment *segment, const struct kml_rename *r, struct facts *f,
			 struct certify_facts *c)
{
	int got = 0;

	got = find(segment, r->oid, &f->object, &c->object);
	if (!got)
		got = find(segment, r->from_parent, &f->from, &c->from);
	if (!got)
		got = find(segment, r->to_parent, &f->parent, &c->parent);
	if (!got && !kml_oid_is_none(r->replaced))
		got = find(segment, r->replaced, &f->replaced, &c->replaced);
	if (!got)
		got = find_source(segment, &f->from, kml_name_get(&r->from_name), f, &c->from_name);
	if (!got)
		got = find_at(segment, kml_name_get(&r->to_name), f, c);
	if (!got)
		got = find_aside(segment, kml_name_get(&r->to_name), f, c);
	if (!got && f->object.attr.type == KML_DIR && f->parent.id && !f->parent.gone) {
		got = is_below(segment, f->parent.id, f->object.id);
		c->is_into_itself = got > 0;
	}
	return got < 0 ? got : 0;
}

static int gather_detach(struct segment *segment, const struct kml_detach *detach, struct facts *f, struct certify_facts *c)
{
	struct detach_names names;
	int err = find(segment, detach->oid, &f->object, &c->object);

	/* Nearly every file has one. */
	if (err || c->object.is != OBJECT_THERE || c->object.type != KML_REG || c->object.names < 2)
		return err;
	err = detach_names_get(segment->tree->sql, &f->object, segment->client, detach, &names);
	c->has_others = names.n > names.n_kept;
	detach_names_release(&names);
	return err;
}

int facts_gather(struct segment *segment, const struct kml_body *body, const struct kml_make *make,
		 struct facts *f, struct certify_facts *c)
{
	const struct kml_link *link = &body->kml_body_u.link;
	const struct kml_unlink *gone = &body->kml_body_u.unlink;
	int got;

	c->client = segment->client;
	if (make) {
		got = find(segment, make->oid, &f->object, &c->object);
		if (!got)
			got = find(segment, make->parent, &f->parent, &c->parent);
		return got ? got : find_at(segment, kml_name_get(&make->name), f, c);
	}
	switch (body->op) {
	case KML_LINK:
		got = find(segment, link->oid, &f->object, &c->object);
		if (!got)
			got = find(segment, link->parent, &f->parent, &c->parent);
		return got ? got : find_at(segment, kml_name_get(&link->name), f, c);
	case KML_REMOVE:
	case KML_RMDIR:
		got = find(segment, gone->oid, &f->object, &c->object);
		if (!got)
			got = find(segment, gone->parent, &f->parent, &c->parent);
		return got ? got
			   : find_source(segment, &f->parent, kml_name_get(&gone->name), f,
					 &c->name);
	case KML_RENAME:
		return gather_rename(segment, &body->kml_body_u.rename, f, c);
	case KML_SETATTR:
		return find(segment, body->kml_body_u.setattr.oid, &f->object, &c->object);
	case KML_STORE:
		return find(segment, body->kml_body_u.store.oid, &f->object, &c->object);
	case KML_SETACL:
		return find(segment, body->kml_body_u.setacl.oid, &f->object, &c->object);
	case KML_DETACH:
		return gather_detach(segment, &body->kml_body_u.detach, f, c);
	default:
		return 0;
	}
}

/* ---- names beside a name that is taken ---- */

void apply_conflict_name(struct slice name, const char *host, struct kml_time time, unsigned n,
			 struct name *ret_name)
{
	char suffix[KML_HOST_MAX + 64], date[32];
	time_t sec = (time_t)time.sec;
	size_t keep;
	struct tm tm;
	int len;

	if (!gmtime_r(&sec, &tm) || !strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm))
		snprintf(date, sizeof(date), "00000000-000000");
	len = snprintf(suffix, sizeof(suffix), ".conflict-%.*s-%s", KML_HOST_MAX,
		       *host ? host : "unknown", date);
	for (char *s = suffix; *s; s++) {
		if (*s == '/' || (unsigned char)*s < ' ' || *s == 0x7f)
			*s = '_';	/* a host calls itself what it likes */
	}
	if (n > 1)
		len += snprintf(suffix + len, sizeof(suffix) - (size_t)len, "-%u", n);
	keep = MIN(name.len, KML_NAME_MAX - (size_t)len);
	/* Not in the middle of a character, if it is UTF-8. */
	for (size_t back = 0; keep < name.len && back < 3 && keep > 1 &&
	     ((const unsigned char *)name.data)[keep] >> 6 == 2; back++)
		keep--;
	memcpy(ret_name->text, name.data, keep);
	memcpy(ret_name->text + keep, suffix, (size_t)len + 1);
	ret_name->len = keep + (size_t)len;
}

int facts_free_name(struct segment *segment, const struct kml_record *record, int64_t dir,
		    struct slice wanted, struct name *ret_name)
{
	struct name_row row;
	int got;

	for (unsigned n = 1; n < 100000; n++) {
		apply_conflict_name(wanted, segment->host, record->time, n, ret_name);
		got = name_get(segment->tree->sql, dir, name_slice(ret_name), &row);
		if (got <= 0)
			return got;
	}
	return -EEXIST;
}
