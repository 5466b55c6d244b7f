/* SPDX-License-Identifier: GPL-2.0-or-later */
/* acl PORT [TEST]: the NFSACL procedures, and that access follows the lists. */
#include "tests/nfs/acl.h"

#define ALICE 1000
#define BOB 1001
#define CAROL 1002
#define TEAM 2000

#define ACCESS_ALL (ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND)

static bool is_acl(struct client *c, const struct fh *fh, const char *want_text)
{
	const char *got_text = nfsacl_text(c, fh);

	if (!strcmp(got_text, want_text))
		return true;
	printf("# got %s\n# want %s\n", got_text, want_text);
	return false;
}

static void null(struct client *c)
{
	client_begin(c);
	(void)client_end(c, "NFSACL NULL", rpc_nfsacl_null_async(c->rpc, plain_cb, c));
	want(c->got.is_answered);
}

static void of_a_mode(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0640), dir = made_dir(c, &c->dir, "d", 0755);

	want_is(nfs3_setattr(c, &file, sattr_owner(ALICE, TEAM), NULL), NFS3_OK);
	/* A mask that only fills up, as Solaris has it. */
	want(is_acl(c, &file, "user::rw-,group::r--,mask::r--,other::---"));
	want_is(acl_got.mask, 15);
	want_is(acl_got.count, 4);
	want_is(acl_got.default_count, 0);
	want_is(acl_got.first.id, ALICE);
	want(c->got.has_attr);
	want(is_acl(c, &dir, "user::rwx,group::r-x,mask::r-x,other::r-x"));
	/* Only how long it is. */
	want_is(nfsacl_get(c, &file, 2), NFS3_OK);
	want_is(acl_got.count, 4);
	want_is(acl_got.n, 0);
	want_is(nfsacl_get(c, &file, 16), NFS3ERR_INVAL);
}

static void set_and_get(struct client *c)
{
	static const char list[] =
		"user::rw-,user:1000:rw-,user:1001:---,group::r--,group:2000:r--,mask::rw-,other::---";
	struct fh file = made_file(c, &c->dir, "f", 0644);
	struct nfstime3 before = c->got.attr.ctime;

	want_is(nfsacl_set(c, &file, 1, list), NFS3_OK);
	want(c->got.has_attr);
	want_is(c->got.attr.mode, 0660);
	want(is_later(c->got.attr.ctime, before));
	want(is_acl(c, &file, list));
	/* In any order, and with what Solaris puts into a mask. */
	want_is(nfsacl_set(c, &file, 1, "other::r--,mask::r--,group::r--,user:5:r--,user::rw-,user:4:rw-"), NFS3_OK);
	want(is_acl(c, &file, "user::rw-,user:4:rw-,user:5:r--,group::r--,mask::r--,other::r--"));
	/* Nothing but a mode: there is none any more. */
	want_is(nfsacl_set(c, &file, 1, "user::rw-,group::r--,mask::r--,other::---"), NFS3_OK);
	want(is_acl(c, &file, "user::rw-,group::r--,mask::r--,other::---"));
	want_is(nfs3_getattr(c, &file), NFS3_OK);
	want_is(c->got.attr.mode, 0640);
}

static void refused(struct client *c)
{
	static const char *const bad[] = {
		"", "user::rw-", "user::rw-,user:1:r--,group::r--,other::---",
		"user::rw-,user::rw-,group::r--,other::---",
		"user::rw-,user:1:r--,user:1:rw-,group::r--,mask::rw-,other::---",
	};
	struct fh file = made_file(c, &c->dir, "f", 0640), link;
	struct nfsacl_ace ace[3] = { { 1, 0, 15 }, { 4, 0, 4 }, { 32, 0, 4 } };
	struct SETACL3args args = { .dir = fh_arg(&file), .mask = 1, .ace_count = 3, .ace = { 3, ace } };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		want_is(nfsacl_set(c, &file, 1, bad[i]), NFS3ERR_INVAL);
	want_is(nfsacl_set_args(c, &args), NFS3ERR_INVAL);
	ace[0] = (struct nfsacl_ace){ 64, 0, 4 };
	want_is(nfsacl_set_args(c, &args), NFS3ERR_INVAL);
	want_is(nfsacl_set(c, &file, 5, "user::rw-,group::r--,other::---,default:user::rwx,default:group::rwx,"
				       "default:other::---"), NFS3ERR_ACCES);
	client_as_user(c, ALICE);
	want_is(nfsacl_set(c, &file, 1, "user::rw-,group::rw-,other::rw-"), NFS3ERR_PERM);
	client_as_root(c);
	want(is_acl(c, &file, "user::rw-,group::r--,mask::r--,other::---"));
	want_is(nfs3_symlink(c, &c->dir, "link", "f"), NFS3_OK);
	link = c->got.fh;
	want_is(nfsacl_get(c, &link, 15), NFS3ERR_NOTSUPP);
	want_is(nfsacl_set(c, &link, 1, "user::rw-,group::rw-,other::rw-"), NFS3ERR_NOTSUPP);
}

static uint32_t may(struct client *c, const struct fh *fh, uint32_t uid, uint32_t group)
{
	client_as(c, uid, uid, group != 0, &group);
	return nfs3_access(c, fh, ACCESS_ALL) ? UINT32_MAX : c->got.access;
}

static void access_follows(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0600);

	put(c, &file, "text");
	want_is(nfsacl_set(c, &file, 1, "user::rw-,user:1001:rw-,user:1002:---,group::---,group:2000:r--,mask::rw-,"
				       "other::---"), NFS3_OK);
	want_is(may(c, &file, BOB, 0), ACCESS_ALL);
	want(holds(c, &file, "text"));
	want_is(nfs3_write(c, &file, 0, "T", 1, FILE_SYNC), NFS3_OK);
	want_is(may(c, &file, CAROL, TEAM), 0);		/* she by name, before her group */
	want_is(nfs3_read(c, &file, 0, 10), NFS3ERR_ACCES);
	want_is(may(c, &file, ALICE, TEAM), ACCESS3_READ);
	want_is(nfs3_write(c, &file, 0, "x", 1, FILE_SYNC), NFS3ERR_ACCES);
	want_is(may(c, &file, ALICE, 0), 0);
	/* chmod sets the mask, and the list stays. */
	client_as_root(c);
	want_is(nfs3_setattr(c, &file, sattr_mode(0640), NULL), NFS3_OK);
	want_is(may(c, &file, BOB, 0), ACCESS3_READ);
	client_as_root(c);
	want(is_acl(c, &file, "user::rw-,user:1001:rw-,user:1002:---,group::---,group:2000:r--,mask::r--,other::---"));
	want_is(nfs3_setattr(c, &file, sattr_mode(0660), NULL), NFS3_OK);
	want_is(may(c, &file, BOB, 0), ACCESS_ALL);
}

static void inherited(struct client *c)
{
	static const char def[] = "default:user::rwx,default:user:1001:rwx,default:group::r-x,default:mask::rwx,"
				  "default:other::---";
	struct fh dir = made_dir(c, &c->dir, "d", 0755), file, sub;
	char text[512];

	want_is(nfsacl_set(c, &dir, 4, def), NFS3_OK);
	snprintf(text, sizeof(text), "user::rwx,group::r-x,mask::r-x,other::r-x,%s", def);
	want(is_acl(c, &dir, text));
	file = made_file(c, &dir, "f", 0664);
	want_is(c->got.attr.mode, 0660);
	want(is_acl(c, &file, "user::rw-,user:1001:rwx,group::r-x,mask::rw-,other::---"));
	sub = made_dir(c, &dir, "sub", 0777);
	want_is(c->got.attr.mode, 0770);
	snprintf(text, sizeof(text), "user::rwx,user:1001:rwx,group::r-x,mask::rwx,other::---,%s", def);
	want(is_acl(c, &sub, text));
	file = made_file(c, &sub, "below", 0600);
	want(is_acl(c, &file, "user::rw-,user:1001:rwx,group::r-x,mask::---,other::---"));
	client_as_user(c, BOB);
	want_is(nfs3_create(c, &sub, "bobs", GUARDED, sattr_mode(0644)), NFS3_OK);
	client_as_user(c, CAROL);
	want_is(nfs3_create(c, &sub, "carols", GUARDED, sattr_mode(0644)), NFS3ERR_ACCES);
	client_as_root(c);
	want_is(nfs3_symlink(c, &sub, "link", "f"), NFS3_OK);
	want_is(nfs3_mknod(c, &sub, "fifo", NF3FIFO, 0, 0), NFS3_OK);
	/* And none any more. */
	want_is(nfsacl_set(c, &dir, 4, ""), NFS3_OK);
	want(is_acl(c, &dir, "user::rwx,group::r-x,mask::r-x,other::r-x"));
	file = made_file(c, &dir, "plain", 0664);
	want(is_acl(c, &file, "user::rw-,group::rw-,mask::rw-,other::r--"));
}

static void a_long_one(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0640);
	char text[ACL_TEXT];
	size_t at = 0;

	/* As much as libnfs sends in one call. */
	at += (size_t)snprintf(text, sizeof(text), "user::rw-");
	for (unsigned i = 0; i < 40; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, ",user:%u:%s", 5000 + i, i % 2 ? "r--" : "rw-");
	snprintf(text + at, sizeof(text) - at, ",group::r--,mask::rw-,other::---");
	want_is(nfsacl_set(c, &file, 1, text), NFS3_OK);
	want(is_acl(c, &file, text));
	want_is(acl_got.count, 44);
}

static const struct test tests[] = {
	{ "null", null },
	{ "of_a_mode", of_a_mode },
	{ "set_and_get", set_and_get },
	{ "refused", refused },
	{ "access_follows", access_follows },
	{ "inherited", inherited },
	{ "a_long_one", a_long_one },
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, "acl", tests, ARRAY_SIZE(tests));
}
