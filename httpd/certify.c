/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/certify.h"

#include <errno.h>

static struct verdict say(enum kml_status status)
{
	return (struct verdict){ .status = status };
}

static struct verdict refuse(int error)
{
	return (struct verdict){ .status = KML_REFUSED, .error = error };
}

/*
 * Whoever changed it last needs not know the version that this made: the answer may have been lost.
 */
static bool is_data_known(const struct certify_object *o, uint64_t base, uint64_t client)
{
	return o->data_version == base || o->data_by == client;
}

/* May it lose this name, as far as its content goes? */
static bool may_lose(const struct certify_object *o, uint64_t base, uint64_t client)
{
	if (o->type == KML_DIR)
		return o->is_empty;
	return o->names > 1 || is_data_known(o, base, client);
}

/* A new name in a directory.  Gives OK when the name is free. */
static struct verdict new_name(const struct certify_facts *f)
{
	struct verdict verdict = say(KML_OK);

	if (f->parent.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->parent.type != KML_DIR)
		return refuse(ENOTDIR);
	if (f->is_reserved)
		return refuse(EPERM);
	if (f->name != NAME_FREE)
		verdict.status = KML_RENAMED;
	verdict.must_revive = f->parent.is == OBJECT_GONE;
	return verdict;
}

static struct verdict make(const struct certify_facts *f, const struct kml_make *m)
{
	if (!m->oid.origin)
		return refuse(EINVAL);	/* such names are the upstream's to give */
	if (f->object.is != OBJECT_UNKNOWN)
		return refuse(EEXIST);
	return new_name(f);
}

static struct verdict link_(const struct certify_facts *f)
{
	if (f->object.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->object.is == OBJECT_GONE)
		return say(KML_GONE);
	if (f->object.type == KML_DIR)
		return refuse(EPERM);
	if (f->name == NAME_SAME)
		return say(KML_ALREADY);
	return new_name(f);
}

static struct verdict unlink_(const struct certify_facts *f, const struct kml_unlink *u,
			      bool is_rmdir)
{
	if (f->object.is == OBJECT_UNKNOWN || f->parent.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->object.is == OBJECT_GONE || f->name != NAME_SAME)
		return say(KML_ALREADY);
	if (is_rmdir && f->object.type != KML_DIR)
		return refuse(ENOTDIR);
	if (!is_rmdir && f->object.type == KML_DIR)
		return refuse(EISDIR);
	return say(may_lose(&f->object, u->data_base, f->client) ? KML_OK : KML_CONFLICT);
}

static struct verdict rename_(const struct certify_facts *f, const struct kml_rename *r)
{
	struct verdict verdict;

	if (f->object.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->object.is == OBJECT_GONE)
		return say(KML_GONE);
	if (f->name == NAME_SAME)
		/* it has that name: by another's rename, or as a second link */
		return say(KML_ALREADY);
	if (f->from_name != NAME_SAME)
		return say(KML_CONFLICT);
	if (f->is_into_itself)
		return refuse(EINVAL);
	verdict = new_name(f);
	if (verdict.status == KML_RENAMED && f->name == NAME_REPLACED &&
	    (f->object.type == KML_DIR) == (f->replaced.type == KML_DIR) &&
	    may_lose(&f->replaced, r->replaced_base, f->client))
		verdict.status = KML_OK;
	return verdict;
}

static struct verdict setattr(const struct certify_facts *f, const struct kml_setattr *s)
{
	if (s->set == KML_SET_FORWARD)
		return say(f->object.is == OBJECT_THERE && f->object.type == KML_DIR ? KML_OK : KML_ALREADY);
	if (f->object.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->object.is == OBJECT_GONE)
		return say(KML_GONE);
	return say(f->object.attr_version == s->attr_base || f->object.attr_by == f->client
			   ? KML_OK
			   : KML_CONFLICT);
}

static struct verdict setacl(const struct certify_facts *f, const struct kml_setacl *s)
{
	if (f->object.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->object.is == OBJECT_GONE)
		return say(KML_GONE);
	if (f->object.type == KML_LNK)
		return refuse(EOPNOTSUPP);
	if (s->acls.def.kml_acl_len && f->object.type != KML_DIR)
		return refuse(EINVAL);
	return say(f->object.attr_version == s->attr_base || f->object.attr_by == f->client
			   ? KML_OK
			   : KML_CONFLICT);
}

static struct verdict store(const struct certify_facts *f, const struct kml_store *s)
{
	if (f->object.is == OBJECT_UNKNOWN)
		return refuse(ESTALE);
	if (f->object.is == OBJECT_GONE)
		return say(KML_GONE);
	if (f->object.type != KML_REG)
		return refuse(EINVAL);
	return say(is_data_known(&f->object, s->data_base, f->client) ? KML_OK : KML_CONFLICT);
}

/* Where there is nothing to part from, nothing is to be done; nor where the store behind it will not be, which says so. */
static struct verdict detach(const struct certify_facts *f, const struct kml_detach *d)
{
	return say(f->object.is == OBJECT_THERE && f->object.type == KML_REG && f->has_others &&
				   is_data_known(&f->object, d->data_base, f->client)
			   ? KML_OK
			   : KML_ALREADY);
}

struct verdict certify(const struct kml_record *record, const struct certify_facts *f)
{
	const struct kml_body *body = &record->body;
	struct verdict verdict;

	switch (body->op) {
	case KML_CREATE:
		return make(f, &body->kml_body_u.make);
	case KML_MKDIR:
		verdict = make(f, &body->kml_body_u.make);
		if (verdict.status == KML_RENAMED && f->name == NAME_OTHER_DIR)
			verdict.status = KML_MERGED;
		return verdict;
	case KML_SYMLINK:
		return make(f, &body->kml_body_u.symlink.make);
	case KML_MKNOD:
		return make(f, &body->kml_body_u.mknod.make);
	case KML_LINK:
		return link_(f);
	case KML_REMOVE:
		return unlink_(f, &body->kml_body_u.unlink, false);
	case KML_RMDIR:
		return unlink_(f, &body->kml_body_u.unlink, true);
	case KML_RENAME:
		return rename_(f, &body->kml_body_u.rename);
	case KML_SETATTR:
		return setattr(f, &body->kml_body_u.setattr);
	case KML_STORE:
		return store(f, &body->kml_body_u.store);
	case KML_SETACL:
		return setacl(f, &body->kml_body_u.setacl);
	case KML_DETACH:
		return detach(f, &body->kml_body_u.detach);
	}
	return refuse(EOPNOTSUPP);
}
