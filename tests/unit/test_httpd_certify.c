/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of docs/PROTOCOL.md 7, row by row.  certify() is pure, so is this.
 *
 * A case says what is there (of the record's object, its directory, the name) and what is to come
 * of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "httpd/certify.h"

#define ME 7
#define OTHER 8

/* What certify() is told of one object. */
#define NOBODY { .is = OBJECT_UNKNOWN }
#define GONE_FILE { .is = OBJECT_GONE, .type = KML_REG, .data_version = 10, .attr_version = 20 }
#define GONE_DIR { .is = OBJECT_GONE, .type = KML_DIR }
#define DIR_ { .is = OBJECT_THERE, .type = KML_DIR, .names = 2 }
#define EMPTY_DIR { .is = OBJECT_THERE, .type = KML_DIR, .names = 2, .is_empty = true }
/* data of version 10, attributes of version 20 */
#define FILE_BY(data, attr)                                                                        \
	{                                                                                          \
		.is = OBJECT_THERE, .type = KML_REG, .names = 1, .data_version = 10,               \
		.attr_version = 20, .data_by = data, .attr_by = attr                               \
	}
#define LINKED_BY(data)                                                                            \
	{                                                                                          \
		.is = OBJECT_THERE, .type = KML_REG, .names = 2, .data_version = 10,               \
		.data_by = data                                                                    \
	}
#define SYMLINK_ { .is = OBJECT_THERE, .type = KML_LNK, .names = 1, .data_version = 10 }

static const struct certify_case {
	const char *name;
	enum kml_op op;
	struct certify_object object, parent;
	enum name_holds holds;
	uint64_t base;		/* data_base, attr_base or replaced_base, as the record has it */
	enum kml_status want;
	int want_error;
	/* RENAME */
	enum name_holds from;
	struct certify_object replaced;
	bool is_into_itself;
	/* rarely */
	bool is_reserved, want_revive, is_oid_theirs, has_default, is_forward, has_others;
} cases[] = {
	/* CREATE, SYMLINK, MKNOD: the name is free; else RENAMED */
	{ "create, free", KML_CREATE, NOBODY, DIR_, NAME_FREE, 0, KML_OK },
	{ "create, a file there", KML_CREATE, NOBODY, DIR_, NAME_OTHER, 0, KML_RENAMED },
	{ "create, a directory there", KML_CREATE, NOBODY, DIR_, NAME_OTHER_DIR, 0, KML_RENAMED },
	{ "symlink, free", KML_SYMLINK, NOBODY, DIR_, NAME_FREE, 0, KML_OK },
	{ "symlink, taken", KML_SYMLINK, NOBODY, DIR_, NAME_OTHER, 0, KML_RENAMED },
	{ "mknod, free", KML_MKNOD, NOBODY, DIR_, NAME_FREE, 0, KML_OK },
	{ "mknod, taken", KML_MKNOD, NOBODY, DIR_, NAME_OTHER_DIR, 0, KML_RENAMED },
	{ "create, directory gone", KML_CREATE, NOBODY, GONE_DIR, NAME_FREE, 0, KML_OK,
	  .want_revive = true },
	{ "create, directory unknown", KML_CREATE, NOBODY, NOBODY, NAME_FREE, 0, KML_REFUSED,
	  ESTALE },
	{ "create, in a file", KML_CREATE, NOBODY, FILE_BY(ME, ME), NAME_FREE, 0, KML_REFUSED,
	  ENOTDIR },
	{ "create, oid in use", KML_CREATE, FILE_BY(ME, ME), DIR_, NAME_FREE, 0, KML_REFUSED,
	  EEXIST },
	{ "create, oid used before", KML_CREATE, GONE_FILE, DIR_, NAME_FREE, 0, KML_REFUSED,
	  EEXIST },
	{ "create, an oid of the upstream's", KML_CREATE, NOBODY, DIR_, NAME_FREE, 0, KML_REFUSED,
	  EINVAL, .is_oid_theirs = true },
	{ "create, the state directory", KML_CREATE, NOBODY, DIR_, NAME_FREE, 0, KML_REFUSED, EPERM,
	  .is_reserved = true },

	/* LINK */
	{ "link, free", KML_LINK, FILE_BY(OTHER, OTHER), DIR_, NAME_FREE, 0, KML_OK },
	{ "link, taken", KML_LINK, FILE_BY(OTHER, OTHER), DIR_, NAME_OTHER, 0, KML_RENAMED },
	{ "link, has that name", KML_LINK, FILE_BY(OTHER, OTHER), DIR_, NAME_SAME, 0, KML_ALREADY },
	{ "link, file gone", KML_LINK, GONE_FILE, DIR_, NAME_FREE, 0, KML_GONE },
	{ "link, file unknown", KML_LINK, NOBODY, DIR_, NAME_FREE, 0, KML_REFUSED, ESTALE },
	{ "link, of a directory", KML_LINK, DIR_, DIR_, NAME_FREE, 0, KML_REFUSED, EPERM },
	{ "link, directory gone", KML_LINK, FILE_BY(ME, ME), GONE_DIR, NAME_FREE, 0, KML_OK,
	  .want_revive = true },
	{ "link, directory unknown", KML_LINK, FILE_BY(ME, ME), NOBODY, NAME_FREE, 0, KML_REFUSED,
	  ESTALE },
	{ "link, to a reserved name", KML_LINK, FILE_BY(ME, ME), DIR_, NAME_FREE, 0, KML_REFUSED,
	  EPERM, .is_reserved = true },

	/* MKDIR: a directory there is MERGED, anything else RENAMED */
	{ "mkdir, free", KML_MKDIR, NOBODY, DIR_, NAME_FREE, 0, KML_OK },
	{ "mkdir, a directory there", KML_MKDIR, NOBODY, DIR_, NAME_OTHER_DIR, 0, KML_MERGED },
	{ "mkdir, a file there", KML_MKDIR, NOBODY, DIR_, NAME_OTHER, 0, KML_RENAMED },
	{ "mkdir, directory gone", KML_MKDIR, NOBODY, GONE_DIR, NAME_FREE, 0, KML_OK,
	  .want_revive = true },
	{ "mkdir, reserved", KML_MKDIR, NOBODY, DIR_, NAME_OTHER_DIR, 0, KML_REFUSED, EPERM,
	  .is_reserved = true },

	/*
	 * REMOVE: the name holds the oid, its data is of data_base or by this client, or it has
	 * other names
	 */
	{ "remove, as it was", KML_REMOVE, FILE_BY(OTHER, OTHER), DIR_, NAME_SAME, 10, KML_OK },
	{ "remove, changed by me", KML_REMOVE, FILE_BY(ME, OTHER), DIR_, NAME_SAME, 9, KML_OK },
	{ "remove, changed by another", KML_REMOVE, FILE_BY(OTHER, ME), DIR_, NAME_SAME, 9,
	  KML_CONFLICT },
	{ "remove, changed locally", KML_REMOVE, FILE_BY(0, ME), DIR_, NAME_SAME, 9, KML_CONFLICT },
	{ "remove, changed but has other names", KML_REMOVE, LINKED_BY(OTHER), DIR_, NAME_SAME, 9,
	  KML_OK },
	{ "remove, attributes changed", KML_REMOVE, FILE_BY(ME, OTHER), DIR_, NAME_SAME, 10,
	  KML_OK },
	{ "remove, name free", KML_REMOVE, FILE_BY(ME, ME), DIR_, NAME_FREE, 10, KML_ALREADY },
	{ "remove, name of another", KML_REMOVE, FILE_BY(ME, ME), DIR_, NAME_OTHER, 10,
	  KML_ALREADY },
	{ "remove, gone", KML_REMOVE, GONE_FILE, DIR_, NAME_FREE, 10, KML_ALREADY },
	{ "remove, directory gone", KML_REMOVE, FILE_BY(ME, ME), GONE_DIR, NAME_FREE, 10,
	  KML_ALREADY },
	{ "remove, unknown", KML_REMOVE, NOBODY, DIR_, NAME_FREE, 10, KML_REFUSED, ESTALE },
	{ "remove, directory unknown", KML_REMOVE, FILE_BY(ME, ME), NOBODY, NAME_FREE, 10,
	  KML_REFUSED, ESTALE },
	{ "remove, of a directory", KML_REMOVE, EMPTY_DIR, DIR_, NAME_SAME, 10, KML_REFUSED,
	  EISDIR },
	{ "remove, of a symlink", KML_REMOVE, SYMLINK_, DIR_, NAME_SAME, 10, KML_OK },

	/* RMDIR */
	{ "rmdir, empty", KML_RMDIR, EMPTY_DIR, DIR_, NAME_SAME, 0, KML_OK },
	{ "rmdir, not empty", KML_RMDIR, DIR_, DIR_, NAME_SAME, 0, KML_CONFLICT },
	{ "rmdir, name free", KML_RMDIR, EMPTY_DIR, DIR_, NAME_FREE, 0, KML_ALREADY },
	{ "rmdir, name of another", KML_RMDIR, DIR_, DIR_, NAME_OTHER_DIR, 0, KML_ALREADY },
	{ "rmdir, gone", KML_RMDIR, GONE_DIR, DIR_, NAME_FREE, 0, KML_ALREADY },
	{ "rmdir, of a file", KML_RMDIR, FILE_BY(ME, ME), DIR_, NAME_SAME, 10, KML_REFUSED,
	  ENOTDIR },
	{ "rmdir, unknown", KML_RMDIR, NOBODY, DIR_, NAME_FREE, 0, KML_REFUSED, ESTALE },

	/* RENAME */
	{ "rename, free", KML_RENAME, FILE_BY(OTHER, OTHER), DIR_, NAME_FREE, 0, KML_OK,
	  .from = NAME_SAME },
	{ "rename, source elsewhere", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_FREE, 0, KML_CONFLICT,
	  .from = NAME_FREE },
	{ "rename, source holds another", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_FREE, 0,
	  KML_CONFLICT, .from = NAME_OTHER },
	{ "rename, target taken", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_OTHER, 0, KML_RENAMED,
	  .from = NAME_SAME },
	{ "rename, target taken by a directory", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_OTHER_DIR,
	  0, KML_RENAMED, .from = NAME_SAME },
	{ "rename, over the replaced", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_REPLACED, 10, KML_OK,
	  .from = NAME_SAME, .replaced = FILE_BY(OTHER, OTHER) },
	{ "rename, over the replaced, mine", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_REPLACED, 9,
	  KML_OK, .from = NAME_SAME, .replaced = FILE_BY(ME, OTHER) },
	{ "rename, the replaced was changed", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_REPLACED, 9,
	  KML_RENAMED, .from = NAME_SAME, .replaced = FILE_BY(OTHER, OTHER) },
	{ "rename, the replaced was changed, has other names", KML_RENAME, FILE_BY(ME, ME), DIR_,
	  NAME_REPLACED, 9, KML_OK, .from = NAME_SAME, .replaced = LINKED_BY(OTHER) },
	{ "rename, directory over an empty one", KML_RENAME, DIR_, DIR_, NAME_REPLACED, 0, KML_OK,
	  .from = NAME_SAME, .replaced = EMPTY_DIR },
	{ "rename, directory over a full one", KML_RENAME, DIR_, DIR_, NAME_REPLACED, 0,
	  KML_RENAMED, .from = NAME_SAME, .replaced = DIR_ },
	{ "rename, file over a directory", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_REPLACED, 0,
	  KML_RENAMED, .from = NAME_SAME, .replaced = EMPTY_DIR },
	{ "rename, directory over a file", KML_RENAME, DIR_, DIR_, NAME_REPLACED, 10, KML_RENAMED,
	  .from = NAME_SAME, .replaced = FILE_BY(ME, ME) },
	{ "rename, has that name", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_SAME, 0, KML_ALREADY,
	  .from = NAME_FREE },
	{ "rename, gone", KML_RENAME, GONE_FILE, DIR_, NAME_FREE, 0, KML_GONE, .from = NAME_FREE },
	{ "rename, unknown", KML_RENAME, NOBODY, DIR_, NAME_FREE, 0, KML_REFUSED, ESTALE,
	  .from = NAME_FREE },
	{ "rename, into itself", KML_RENAME, DIR_, DIR_, NAME_FREE, 0, KML_REFUSED, EINVAL,
	  .from = NAME_SAME, .is_into_itself = true },
	{ "rename, target directory gone", KML_RENAME, FILE_BY(ME, ME), GONE_DIR, NAME_FREE, 0,
	  KML_OK, .from = NAME_SAME, .want_revive = true },
	{ "rename, target directory unknown", KML_RENAME, FILE_BY(ME, ME), NOBODY, NAME_FREE, 0,
	  KML_REFUSED, ESTALE, .from = NAME_SAME },
	{ "rename, to a reserved name", KML_RENAME, FILE_BY(ME, ME), DIR_, NAME_FREE, 0,
	  KML_REFUSED, EPERM, .from = NAME_SAME, .is_reserved = true },

	/* SETATTR: attributes of attr_base or by this client */
	{ "setattr, as it was", KML_SETATTR, FILE_BY(OTHER, OTHER), NOBODY, NAME_FREE, 20, KML_OK },
	{ "setattr, changed by me", KML_SETATTR, FILE_BY(OTHER, ME), NOBODY, NAME_FREE, 19,
	  KML_OK },
	{ "setattr, changed by another", KML_SETATTR, FILE_BY(ME, OTHER), NOBODY, NAME_FREE, 19,
	  KML_CONFLICT },
	{ "setattr, only the data changed", KML_SETATTR, FILE_BY(OTHER, 0), NOBODY, NAME_FREE, 20,
	  KML_OK },
	{ "setattr, gone", KML_SETATTR, GONE_FILE, NOBODY, NAME_FREE, 20, KML_GONE },
	{ "setattr, unknown", KML_SETATTR, NOBODY, NOBODY, NAME_FREE, 20, KML_REFUSED, ESTALE },
	{ "forward, changed by another", KML_SETATTR, DIR_, NOBODY, NAME_FREE, 19, KML_OK, .is_forward = true },
	{ "forward, gone", KML_SETATTR, GONE_DIR, NOBODY, NAME_FREE, 19, KML_ALREADY, .is_forward = true },
	{ "forward, unknown", KML_SETATTR, NOBODY, NOBODY, NAME_FREE, 19, KML_ALREADY, .is_forward = true },
	{ "forward, a file", KML_SETATTR, FILE_BY(ME, ME), NOBODY, NAME_FREE, 20, KML_ALREADY, .is_forward = true },

	/* SETACL: as SETATTR */
	{ "setacl, as it was", KML_SETACL, FILE_BY(OTHER, OTHER), NOBODY, NAME_FREE, 20, KML_OK },
	{ "setacl, changed by me", KML_SETACL, FILE_BY(OTHER, ME), NOBODY, NAME_FREE, 19, KML_OK },
	{ "setacl, changed by another", KML_SETACL, FILE_BY(ME, OTHER), NOBODY, NAME_FREE, 19,
	  KML_CONFLICT },
	{ "setacl, gone", KML_SETACL, GONE_FILE, NOBODY, NAME_FREE, 20, KML_GONE },
	{ "setacl, unknown", KML_SETACL, NOBODY, NOBODY, NAME_FREE, 20, KML_REFUSED, ESTALE },
	{ "setacl, of a symlink", KML_SETACL, SYMLINK_, NOBODY, NAME_FREE, 20, KML_REFUSED,
	  EOPNOTSUPP },
	{ "setacl, default of a file", KML_SETACL, FILE_BY(ME, ME), NOBODY, NAME_FREE, 20,
	  KML_REFUSED, EINVAL, .has_default = true },

	/* DETACH: as STORE, where there are others; never anything that would have to be settled */
	{ "detach, as it was", KML_DETACH, FILE_BY(OTHER, OTHER), NOBODY, NAME_FREE, 10, KML_OK, .has_others = true },
	{ "detach, changed by me", KML_DETACH, FILE_BY(ME, OTHER), NOBODY, NAME_FREE, 9, KML_OK, .has_others = true },
	{ "detach, changed by another", KML_DETACH, FILE_BY(OTHER, ME), NOBODY, NAME_FREE, 9, KML_ALREADY, .has_others = true },
	{ "detach, no others", KML_DETACH, FILE_BY(ME, ME), NOBODY, NAME_FREE, 10, KML_ALREADY },
	{ "detach, gone", KML_DETACH, GONE_FILE, NOBODY, NAME_FREE, 10, KML_ALREADY, .has_others = true },
	{ "detach, unknown", KML_DETACH, NOBODY, NOBODY, NAME_FREE, 10, KML_ALREADY, .has_others = true },
	{ "detach, a symlink", KML_DETACH, SYMLINK_, NOBODY, NAME_FREE, 10, KML_ALREADY, .has_others = true },

	/* STORE: data of data_base or by this client */
	{ "store, as it was", KML_STORE, FILE_BY(OTHER, OTHER), NOBODY, NAME_FREE, 10, KML_OK },
	{ "store, changed by me", KML_STORE, FILE_BY(ME, OTHER), NOBODY, NAME_FREE, 9, KML_OK },
	{ "store, changed by another", KML_STORE, FILE_BY(OTHER, ME), NOBODY, NAME_FREE, 9,
	  KML_CONFLICT },
	{ "store, only the attributes changed", KML_STORE, FILE_BY(0, OTHER), NOBODY, NAME_FREE, 10,
	  KML_OK },
	{ "store, gone", KML_STORE, GONE_FILE, NOBODY, NAME_FREE, 10, KML_GONE },
	{ "store, unknown", KML_STORE, NOBODY, NOBODY, NAME_FREE, 10, KML_REFUSED, ESTALE },
	{ "store, into a directory", KML_STORE, DIR_, NOBODY, NAME_FREE, 10, KML_REFUSED, EINVAL },
	{ "store, into a symlink", KML_STORE, SYMLINK_, NOBODY, NAME_FREE, 10, KML_REFUSED,
	  EINVAL },
};

static struct kml_record record_of(const struct certify_case *c)
{
	struct kml_oid oid = { c->is_oid_theirs ? 0 : ME, 99 };
	struct kml_record record = { .format = KML_VERSION, .seq = 1, .body.op = c->op };

	switch (c->op) {
	case KML_CREATE:
	case KML_MKDIR:
		record.body.kml_body_u.make.oid = oid;
		break;
	case KML_SYMLINK:
		record.body.kml_body_u.symlink.make.oid = oid;
		break;
	case KML_MKNOD:
		record.body.kml_body_u.mknod.make.oid = oid;
		break;
	case KML_LINK:
		record.body.kml_body_u.link.oid = oid;
		break;
	case KML_REMOVE:
	case KML_RMDIR:
		record.body.kml_body_u.unlink.oid = oid;
		record.body.kml_body_u.unlink.data_base = c->base;
		break;
	case KML_RENAME:
		record.body.kml_body_u.rename.oid = oid;
		record.body.kml_body_u.rename.replaced_base = c->base;
		break;
	case KML_SETATTR:
		record.body.kml_body_u.setattr.oid = oid;
		record.body.kml_body_u.setattr.attr_base = c->base;
		record.body.kml_body_u.setattr.set = c->is_forward ? KML_SET_FORWARD : KML_SET_MODE;
		break;
	case KML_STORE:
		record.body.kml_body_u.store.oid = oid;
		record.body.kml_body_u.store.data_base = c->base;
		break;
	case KML_SETACL:
		record.body.kml_body_u.setacl.oid = oid;
		record.body.kml_body_u.setacl.attr_base = c->base;
		/* only counted */
		record.body.kml_body_u.setacl.acls.def.kml_acl_len = c->has_default ? 4 : 0;
		break;
	case KML_DETACH:
		record.body.kml_body_u.detach.oid = oid;
		record.body.kml_body_u.detach.data_base = c->base;
	}
	return record;
}

static void one_case(void **state)
{
	const struct certify_case *c = *state;
	struct kml_record record = record_of(c);
	struct certify_facts facts = {
		.client = ME,
		.has_others = c->has_others,
		.object = c->object,
		.parent = c->parent,
		.name = c->holds,
		.from = DIR_,
		.from_name = c->from,
		.replaced = c->replaced,
		.is_into_itself = c->is_into_itself,
		.is_reserved = c->is_reserved,
	};
	struct verdict got = certify(&record, &facts);

	assert_string_equal(kml_status_name(got.status), kml_status_name(c->want));
	assert_int_equal(got.error, c->want_error);
	if (got.status == KML_OK || got.status == KML_RENAMED)
		assert_int_equal(got.must_revive, c->want_revive);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(cases)];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		tests[i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = one_case,
						.initial_state = (void *)&cases[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
