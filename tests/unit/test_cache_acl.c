/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access control lists in the cache: who may what, what is inherited, what is logged and kept. */
#include "tests/unit/cache_fixture.h"

#include "cache/access.h"
#include "cache/acl.h"
#include "cache/apply.h"
#include "cache/hoard.h"
#include "tests/unit/cml_upstream.h"

#define ALICE 1000
#define BOB 1001

/* ---- lists as text: "u::6,u:1000:4,g::4,m::6,o::0" ---- */

static uint32_t tag_of(char c, bool is_named)
{
	switch (c) {
	case 'u':
		return is_named ? ACL_USER : ACL_USER_OBJ;
	case 'g':
		return is_named ? ACL_GROUP : ACL_GROUP_OBJ;
	case 'm':
		return ACL_MASK;
	default:
		return ACL_OTHER;
	}
}

static struct acl parse(const char *s, struct acl_entry *v)
{
	struct acl acl = { 0, v };

	while (*s) {
		struct acl_entry *e = &v[acl.n++];
		char *end;

		e->tag = tag_of(s[0], s[2] != ':');
		e->id = strtoul(s + 2, &end, 10);
		e->perm = end[1] - '0';
		s = end[2] ? end + 3 : end + 2;
	}
	return acl;
}

static const char *print(const struct acl *acl)
{
	static const char letters[] = { [ACL_USER_OBJ] = 'u', [ACL_USER] = 'u', [ACL_GROUP_OBJ] = 'g',
					[ACL_GROUP] = 'g', [ACL_MASK] = 'm', [ACL_OTHER] = 'o' };
	static char text[1024];
	size_t at = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < acl->n; i++) {
		const struct acl_entry *e = &acl->v[i];
		char id[12] = "";

		if (e->tag & (ACL_USER | ACL_GROUP))
			snprintf(id, sizeof(id), "%u", e->id);
		at += snprintf(text + at, sizeof(text) - at, "%s%c:%s:%u", i ? "," : "", letters[e->tag], id,
			       e->perm);
	}
	return text;
}

/* Kept lists of full ones; "": that list is not there. */
static struct acls *kept(const char *access, const char *def)
{
	struct acl_entry a[16], d[16];
	struct acl full = parse(access, a), def_list = parse(def, d);
	struct acls *acls;

	assert_int_equal(acls_keep(full.n ? &full : NULL, &def_list, NULL, &acls), 0);
	return acls;
}

/* ---- who may what ---- */

#define LIST "u::6,u:11:6,u:12:0,u:13:7,g::4,g:30:6,g:31:1,m::6,o::1"

static const struct access_case {
	const char *name;
	uint32_t uid, group, second;
	uint32_t mode;
	unsigned want;
	bool may;
} access_cases[] = {
	{ "the owner by the mode", 10, 99, 99, 0661, 6, true },
	{ "the owner not more", 10, 99, 99, 0661, 1, false },
	{ "root", 0, 99, 99, 0060, 6, true },
	{ "root executes what somebody may", 0, 99, 99, 0661, 1, true },
	{ "a named user", 11, 99, 99, 0661, 6, true },
	{ "a named user, not by others' entry", 11, 99, 99, 0661, 1, false },
	{ "a named user, masked", 11, 99, 99, 0641, 2, false },
	{ "a named user, what the mask leaves", 11, 99, 99, 0641, 4, true },
	{ "a named user who gets nothing", 12, 30, 30, 0661, 4, false },
	{ "a named user, the mask is below his entry", 13, 99, 99, 0661, 1, false },
	{ "the owning group", 14, 20, 99, 0661, 4, true },
	{ "the owning group not more", 14, 20, 99, 0661, 2, false },
	{ "the owning group, masked", 14, 20, 99, 0601, 4, false },
	{ "the owning group as second group", 14, 99, 20, 0661, 4, true },
	{ "a named group", 14, 30, 99, 0661, 6, true },
	{ "a named group, masked", 14, 30, 99, 0641, 6, false },
	{ "either group", 14, 20, 30, 0661, 6, true },
	{ "groups do not add up", 14, 20, 31, 0671, 5, false },
	{ "one of both is enough", 14, 20, 31, 0671, 1, true },
	{ "in a group, so not among others", 14, 20, 99, 0667, 1, false },
	{ "others", 14, 99, 99, 0661, 1, true },
	{ "others not more", 14, 99, 99, 0661, 4, false },
	{ "others are not masked", 14, 99, 99, 0606, 6, true },
};

static void access_table(void **state)
{
	struct acls *acls = kept(LIST, "");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(access_cases); i++) {
		const struct access_case *c = &access_cases[i];
		struct cred cred = { c->uid, c->group, 1, { c->second } };
		struct inode_values v = { .type = TYPE_REG, .mode = c->mode, .uid = 10, .gid = 20,
					  .acls = acls };

		if ((access_check(&cred, &v, c->want) == 0) != c->may)
			fail_msg("%s", c->name);
	}
	free(acls);
}

/* ---- lists ---- */

static const struct {
	const char *list;
	bool is_good;
} sort_cases[] = {
	{ "u::6,g::4,o::0", true },
	{ "o::0,u::6,g::4", true },
	{ "u::6,g::4,m::4,o::0", true },
	{ LIST, true },
	{ "u::6,g::4", false },
	{ "u::6,u:1:6,g::4,o::0", false },
	{ "u::6,u::6,g::4,o::0", false },
	{ "u::6,g::4,o::0,o::0", false },
	{ "u::6,u:1:6,u:1:4,g::4,m::6,o::0", false },
	{ "u::6,u:4294967295:6,g::4,m::6,o::0", false },
	{ "u::8,g::4,o::0", false },
	{ "", false },
};

static void sorting(void **state)
{
	struct acl_entry v[16];
	struct acl acl;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sort_cases); i++) {
		acl = parse(sort_cases[i].list, v);
		if (acl_sort(&acl) != (sort_cases[i].is_good ? 0 : -EINVAL))
			fail_msg("%s", sort_cases[i].list);
	}
	acl = parse("o::0,m::6,g:9:1,g::4,u:5:1,u:4:2,u::6", v);
	assert_int_equal(acl_sort(&acl), 0);
	assert_string_equal(print(&acl), "u::6,u:4:2,u:5:1,g::4,g:9:1,m::6,o::0");
	assert_int_equal(acl_mode(&acl), 0660);
	acl = parse("u::6,g::4,o::1", v);
	assert_int_equal(acl_mode(&acl), 0641);
}

/* What is kept has no permission of the mode; what is shown has them from it. */
static void keeping_and_showing(void **state)
{
	struct acls *k = kept("u::6,u:5:6,g::4,m::6,o::4", "u::7,g::5,o::0"), *shown, *again;
	struct buf buf;

	(void)state;
	assert_string_equal(print(&k->access), "u::0,u:5:6,g::4,m::0,o::0");
	assert_string_equal(print(&k->def), "u::7,g::5,o::0");
	assert_int_equal(acls_show(k, 04751, &shown), 0);
	assert_string_equal(print(&shown->access), "u::7,u:5:6,g::4,m::5,o::1");
	free(shown);
	assert_int_equal(acls_show(NULL, 0640, &shown), 0);
	assert_string_equal(print(&shown->access), "u::6,g::4,o::0");
	assert_int_equal(shown->def.n, 0);
	free(shown);
	/* There and back. */
	buf_init(&buf, 0);
	assert_int_equal(acls_encode(&buf, k), 0);
	assert_int_equal(acls_decode((struct slice){ buf.data, buf.len }, &again), 0);
	assert_true(acls_equal(k, again));
	free(again);
	buf.data[3] = 77;
	assert_int_equal(acls_decode((struct slice){ buf.data, buf.len }, &again), -EUCLEAN);
	buf_release(&buf);
	free(k);
	assert_null(kept("u::6,g::4,o::0", ""));
}

static const struct {
	const char *def;
	uint32_t mode, want_mode;
	const char *want;		/* the access list as shown */
} inherit_cases[] = {
	{ "", 0666, 0666, "u::6,g::6,o::6" },
	{ "u::7,g::5,o::0", 0666, 0640, "u::6,g::4,o::0" },
	{ "u::7,g::5,o::5", 0600, 0600, "u::6,g::0,o::0" },
	{ "u::7,u:5:7,g::5,m::7,o::0", 0664, 0660, "u::6,u:5:7,g::5,m::6,o::0" },
	{ "u::7,u:5:7,g::5,m::5,o::5", 0777, 0755, "u::7,u:5:7,g::5,m::5,o::5" },
	{ "u::7,u:5:7,g::5,m::7,o::7", 0600, 0600, "u::6,u:5:7,g::5,m::0,o::0" },
	{ "u::4,u:5:7,g::5,m::7,o::7", 02666, 02466, "u::4,u:5:7,g::5,m::6,o::6" },
};

static void inheriting(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inherit_cases); i++) {
		struct acls *dir = kept("", inherit_cases[i].def), *got = NULL, *shown;
		uint32_t mode = inherit_cases[i].mode;

		assert_int_equal(acls_inherit(dir, true, &mode, &got), 0);
		assert_int_equal(acls_show(got, mode, &shown), 0);
		assert_string_equal(print(&shown->access), inherit_cases[i].want);
		assert_string_equal(print(&shown->def), inherit_cases[i].def);
		assert_int_equal(mode, inherit_cases[i].want_mode);
		free(shown);
		free(got);
		mode = inherit_cases[i].mode;
		assert_int_equal(acls_inherit(dir, false, &mode, &got), 0);
		assert_true(!got || (got->access.n && !got->def.n));
		free(got);
		free(dir);
	}
}

static void narrowing(void **state)
{
	struct acls *acls = kept("u::7,u:5:4,g::6,m::7,o::7", "");

	(void)state;
	assert_int_equal(acls_narrow_mode(acls, 04777), 04744);
	assert_int_equal(acls_narrow_mode(NULL, 0777), 0777);
	free(acls);
}

/* ---- the operations ---- */

static int f_setacl(struct fixture *f, uint64_t ino, const char *access, const char *def)
{
	struct acl_entry a[16], d[16];
	struct acls acls = { .def = { 0, NULL } };
	unsigned set = (access ? ACL_SET_ACCESS : 0) | (def ? ACL_SET_DEFAULT : 0);

	if (access)
		acls.access = parse(access, a);
	if (def)
		acls.def = parse(def, d);
	return f_wait(f, cache_setacl(f->cache, f_begin(f), ino, set, &acls));
}

static void assert_acl(struct fixture *f, uint64_t ino, const char *access, const char *def)
{
	struct acls *acls;

	assert_int_equal(f_wait(f, cache_getacl(f->cache, f_begin(f), ino, &acls)), 0);
	assert_string_equal(print(&acls->access), access);
	assert_string_equal(print(&acls->def), def);
	free(acls);
}

static int setup(void **state)
{
	struct fixture *f;

	f_setup(state);
	f = *state;
	assert_int_equal(apply_has_acls(f->cache, true), 0);
	return 0;
}

/* The operations that wait, in order: "CREATE STORE ". */
static void assert_log(struct fixture *f, const char *want)
{
	struct cml_batch *batch;
	char got[1000] = "";

	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	for (size_t i = 0; batch && i < batch->n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ",
			 kml_op_name(batch->items[i].record.body.op));
	cml_give_back(f->cache, batch);
	assert_string_equal(got, want);
}

static void not_where_there_are_none(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "f", NULL);

	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::0", NULL), 0);
	assert_int_equal(apply_has_acls(f->cache, false), 0);
	f_reopen(f);
	assert_int_equal(f_setacl(f, file, "u::6,g::4,o::0", NULL), -EOPNOTSUPP);
	assert_acl(f, file, "u::6,u:5:6,g::4,m::6,o::0", "");
	assert_int_equal(apply_has_acls(f->cache, true), 0);
	f_reopen(f);
	assert_int_equal(f_setacl(f, file, "u::6,g::4,o::0", NULL), 0);
}

static void set_get_and_restart(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), file = made(f, dir, "f", "text");

	assert_acl(f, file, "u::6,g::4,o::4", "");
	assert_int_equal(f_setacl(f, file, "u::6,u:1000:6,g::4,m::6,o::0", NULL), 0);
	assert_int_equal(f->op.attr.mode, 0660);
	assert_int_equal(f_setacl(f, dir, NULL, "u::7,u:1000:7,g::5,m::7,o::0"), 0);
	assert_int_equal(f->op.attr.mode, 0755);
	for (int i = 0; i < 2; i++) {
		assert_acl(f, file, "u::6,u:1000:6,g::4,m::6,o::0", "");
		assert_acl(f, dir, "u::7,g::5,o::5", "u::7,u:1000:7,g::5,m::7,o::0");
		f->cred = (struct cred){ ALICE, ALICE, 0, { 0 } };
		assert_int_equal(f_write(f, file, 0, "T"), 0);
		f->cred.uid = BOB;
		assert_int_equal(f_write(f, file, 0, "T"), -EACCES);
		f->cred = (struct cred){ 0 };
		f_reopen(f);
	}
	/* chmod changes owner, mask and others. */
	assert_int_equal(f_chmod(f, file, 0704), 0);
	assert_acl(f, file, "u::7,u:1000:6,g::4,m::0,o::4", "");
	assert_int_equal(f_setacl(f, file, "u::6,g::4,o::0", NULL), 0);
	assert_int_equal(f_setacl(f, dir, NULL, ""), 0);
	f_reopen(f);
	assert_acl(f, file, "u::6,g::4,o::0", "");
	assert_acl(f, dir, "u::7,g::5,o::5", "");
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE acl IS NOT NULL"), 0);
}

static void who_may_set(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "f", NULL);
	struct attr_change owner = { .set = SET_UID | SET_GID | SET_MODE, .uid = ALICE, .gid = 7, .mode = 02770 };

	assert_int_equal(f_setattr(f, file, &owner), 0);
	f->cred = (struct cred){ BOB, 7, 0, { 0 } };
	assert_int_equal(f_setacl(f, file, "u::6,g::4,o::0", NULL), -EPERM);
	f->cred = (struct cred){ ALICE, ALICE, 0, { 0 } };
	assert_int_equal(f_setacl(f, file, "u::7,g::7,o::0", NULL), 0);
	assert_int_equal(f->op.attr.mode, 0770);	/* not of that group: no setgid */
	assert_int_equal(f_setacl(f, file, NULL, "u::6,g::4,o::0"), -EACCES);
	assert_int_equal(f_setacl(f, file, NULL, ""), 0);
	assert_int_equal(f_setacl(f, file, "u::6", NULL), -EINVAL);
	f->cred = (struct cred){ 0 };
	assert_int_equal(f_symlink(f, ROOT, "s", "f"), 0);
	assert_int_equal(f_setacl(f, found(f, ROOT, "s"), "u::6,g::4,o::0", NULL), -EOPNOTSUPP);
}

/* ---- the log ---- */

static void folding(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t file = made(f, ROOT, "f", NULL);
	struct cml_batch *batch;
	const struct kml_setacl *setacl;

	up_drain(up, f->cache);
	assert_int_equal(f_chmod(f, file, 0600), 0);
	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::0", NULL), 0);
	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::4", NULL), 0);
	/* Nothing new in it. */
	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::4", NULL), 0);
	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 2);
	assert_int_equal(batch->items[0].record.body.op, KML_SETATTR);
	assert_int_equal(batch->items[1].record.body.op, KML_SETACL);
	setacl = &batch->items[1].record.body.kml_body_u.setacl;
	assert_int_equal(setacl->mode, 0664);
	assert_int_equal(setacl->acls.access.kml_acl_len, 5);
	assert_true(setacl->attr_base > 0);
	cml_give_back(f->cache, batch);
	up_drain(up, f->cache);
	assert_log(f, "");

	/* The mode of a SETATTR from before must not come behind the list. */
	assert_int_equal(f_chmod(f, file, 0600), 0);
	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::0", NULL), 0);
	assert_int_equal(f_setattr(f, file, &(struct attr_change){ .set = SET_UID, .uid = 9 }), 0);
	up_drain(up, f->cache);
	assert_int_equal(up->objects[up->n_objects - 1].mode, 0660);
	assert_int_equal(up->objects[up->n_objects - 1].uid, 9);
	assert_int_equal(up->objects[up->n_objects - 1].n_access, 5);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE attr_seq <> 0"), 0);
	free(up);
}

static void made_with_a_list(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d");
	struct cml_batch *batch;

	assert_int_equal(f_setacl(f, dir, NULL, "u::7,u:1000:6,g::4,m::7,o::0"), 0);
	assert_log(f, "MKDIR SETACL ");
	assert_int_equal(f_create(f, dir, "f", 0666), 0);
	assert_int_equal(f->op.attr.mode, 0660);
	assert_acl(f, f->op.ino, "u::6,u:1000:6,g::4,m::6,o::0", "");
	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 4);
	/* Until its list comes nobody has more than that gives. */
	assert_int_equal(batch->items[2].record.body.op, KML_CREATE);
	assert_int_equal(batch->items[2].record.body.kml_body_u.make.mode, 0640);
	assert_int_equal(batch->items[3].record.body.op, KML_SETACL);
	assert_int_equal(batch->items[3].record.body.kml_body_u.setacl.mode, 0660);
	cml_give_back(f->cache, batch);
	assert_int_equal(f_remove(f, dir, "f"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 11"), 2);
}

static void refused_is_taken_back(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "f", NULL);
	struct upstream *up = up_new();
	struct kml_answer answer = { .status = KML_REFUSED, .error = EOPNOTSUPP };
	struct kml_object object = { 0 };
	struct cml_batch *batch;
	struct kml_oid oid;

	up_drain(up, f->cache);
	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::0", NULL), 0);
	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	answer.seq = batch->items[0].record.seq;
	assert_int_equal(cml_retire(f->cache, batch, &answer, 1), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM conflict WHERE what LIKE 'a change of its access control"
				  " list is refused by the server%'"), 1);
	/* Upstream has it as it was, in the very version that is known. */
	assert_int_equal(query(f, "SELECT is_stale FROM inode WHERE ino = (SELECT max(ino) FROM inode)"), 1);
	oid = up->objects[up->n_objects - 1].oid;
	object.oid = oid;
	object.attr = (struct kml_attr){ .type = KML_REG, .mode = 0644, .nlink = 1 };
	object.attr_version = object.data_version = up->objects[up->n_objects - 1].attr_version;
	assert_int_equal(apply_object(f->cache, &oid, &object, 0), 0);
	assert_acl(f, file, "u::6,g::4,o::4", "");
	free(up);
}

/* ---- from upstream ---- */

static void from_upstream(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "f", NULL);
	struct upstream *up = up_new();
	struct acls *acls = kept("u::6,u:5:6,g::4,m::6,o::0", "");
	struct kml_object object = { 0 };
	struct buf buf;

	up_drain(up, f->cache);
	buf_init(&buf, 0);
	assert_int_equal(acls_encode(&buf, acls), 0);
	object.oid = up->objects[up->n_objects - 1].oid;
	object.attr = (struct kml_attr){ .type = KML_REG, .mode = 0660, .nlink = 1 };
	object.attr_version = 1000;
	object.extra = (kml_extra){ (u_int)buf.len, (char *)buf.data };
	assert_int_equal(apply_object(f->cache, &object.oid, &object, 0), 0);
	assert_acl(f, file, "u::6,u:5:6,g::4,m::6,o::0", "");
	f_reopen(f);
	assert_acl(f, file, "u::6,u:5:6,g::4,m::6,o::0", "");
	/* Ours waits: upstream's must wait, too. */
	assert_int_equal(f_setacl(f, file, "u::6,u:7:6,g::4,m::6,o::0", NULL), 0);
	object.attr_version++;
	assert_int_equal(apply_object(f->cache, &object.oid, &object, 0), 0);
	assert_acl(f, file, "u::6,u:7:6,g::4,m::6,o::0", "");
	buf_release(&buf);
	free(acls);
	free(up);
}

/* ---- a cache of before ---- */

/* Up to format 10 nothing was detached; up to 9 there were no digests; up to 8 no bases were kept; up to 6 nothing was hoarded; up to 4: the table of calls carried out, by their tokens; no log of contents. */
static const char before_11[] = "DROP TABLE detach;";
static const char before_10[] = "DROP TABLE digest;";
static const char before_9[] = "DROP TABLE base; DROP TABLE merge;";
static const char before_8[] = "ALTER TABLE cml DROP COLUMN gone; ALTER TABLE cml DROP COLUMN gone_names; ALTER TABLE cml DROP COLUMN gone_at;";
static const char before_7[] = "DROP TABLE hoard; DROP TABLE conflict_side;";
static const char before_5[] =
	"DROP TABLE forward; DROP INDEX cml_rename; ALTER TABLE cml DROP COLUMN was; ALTER TABLE cml DROP COLUMN was_to;"
	"DROP TABLE content_log; DROP TABLE drc; CREATE TABLE drc (token BLOB PRIMARY KEY, ino INTEGER NOT NULL,"
	" at INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO drc VALUES (x'00112233445566778899aabbccddeeff', 7, 5), (x'10112233445566778899aabbccddeeff', 8, 4);";

static void migration(void **state)
{
	struct fixture *f = *state;
	uint64_t file = made(f, ROOT, "f", "text");

	f_close(f);
	exec_sql(f, before_11);
	exec_sql(f, before_10);
	exec_sql(f, before_9);
	exec_sql(f, before_8);
	exec_sql(f, before_7);
	exec_sql(f, before_5);
	/* Format 1: no ACLs, and the numbers of inodes and records counted by SQLite. */
	exec_sql(f, "ALTER TABLE inode DROP COLUMN acl; DROP INDEX cml_ino; ALTER TABLE cml RENAME TO now;"
		    "CREATE TABLE cml (seq INTEGER PRIMARY KEY AUTOINCREMENT, op INTEGER NOT NULL,"
		    " ino INTEGER NOT NULL, time INTEGER NOT NULL, record BLOB NOT NULL);"
		    "CREATE INDEX cml_ino ON cml (ino); INSERT INTO cml SELECT * FROM now; DROP TABLE now;"
		    "UPDATE sqlite_sequence SET seq = 70 WHERE name = 'cml';"
		    "INSERT INTO sqlite_sequence (name, seq) VALUES ('inode', 90);"
		    "DELETE FROM meta WHERE key IN ('next_ino', 'next_seq'); DROP INDEX name_local; PRAGMA user_version = 1;");
	f_open(f);
	assert_content(f, file, "text");
	assert_int_equal(f_setacl(f, file, "u::6,u:5:6,g::4,m::6,o::0", NULL), 0);
	f_reopen(f);
	assert_acl(f, file, "u::6,u:5:6,g::4,m::6,o::0", "");
	assert_int_equal(query(f, "PRAGMA user_version"), 11);
	/* Their numbers go on from there. */
	assert_true(made(f, ROOT, "later", "") > 90);
	assert_true(query(f, "SELECT max(seq) FROM cml") > 70);
	assert_int_equal(query(f, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'inode%' OR name LIKE 'cml%'"), 8);
	assert_int_equal(query(f, "SELECT count(*) FROM sqlite_master WHERE name = 'name_local'"), 1);
	assert_int_equal(query(f, "SELECT ino FROM drc WHERE token = x'00112233445566778899aabbccddeeff' AND row = 2"), 7);
	assert_int_equal(query(f, "SELECT max(id) FROM drc WHERE ino IN (7, 8)"), 2);
	f_close(f);
	exec_sql(f, before_11);
	exec_sql(f, before_10);
	exec_sql(f, before_9);
	exec_sql(f, before_8);
	exec_sql(f, before_7);
	exec_sql(f, before_5);
	exec_sql(f, "DROP INDEX name_local; PRAGMA user_version = 3;");
	f_open(f);
	assert_int_equal(query(f, "SELECT count(*) FROM drc"), 2);
	assert_content(f, file, "text");
	assert_int_equal(query(f, "SELECT count(*) FROM sqlite_master WHERE name = 'name_local'"), 1);
	f_close(f);
	exec_sql(f, before_11);
	exec_sql(f, before_10);
	exec_sql(f, before_9);
	exec_sql(f, before_8);
	exec_sql(f, before_7);
	exec_sql(f, "PRAGMA user_version = 6;");
	f_open(f);
	assert_content(f, file, "text");
	assert_int_equal(hoard_add(f->cache, "/f", 0, 1), 0);
	f_reopen(f);
	assert_int_equal(query(f, "SELECT count(*) FROM hoard"), 1);
	f_close(f);
	exec_sql(f, before_11);
	exec_sql(f, before_10);
	exec_sql(f, before_9);
	exec_sql(f, "PRAGMA user_version = 8;");
	f_open(f);
	assert_content(f, file, "text");
	assert_int_equal(query(f, "SELECT count(*) FROM base"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM merge"), 0);
	f_close(f);
	exec_sql(f, before_11);
	exec_sql(f, before_10);
	exec_sql(f, "PRAGMA user_version = 9;");
	f_open(f);
	assert_content(f, file, "text");
	assert_int_equal(query(f, "SELECT count(*) FROM digest"), 0);
	f_close(f);
	exec_sql(f, before_11);
	exec_sql(f, "PRAGMA user_version = 10;");
	f_open(f);
	assert_content(f, file, "text");
	assert_int_equal(query(f, "SELECT count(*) FROM detach"), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, f_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(access_table),
		cmocka_unit_test(sorting),
		cmocka_unit_test(keeping_and_showing),
		cmocka_unit_test(inheriting),
		cmocka_unit_test(narrowing),
		T(not_where_there_are_none),
		T(set_get_and_restart),
		T(who_may_set),
		T(folding),
		T(made_with_a_list),
		T(refused_is_taken_back),
		T(from_upstream),
		T(migration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
