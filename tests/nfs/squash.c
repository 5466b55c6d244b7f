/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * squash PORT TEST: whom callers are taken for.  The tests are named after the setting that the server must have; the
 * export's root lets everybody make something.
 */
#include "tests/nfs/acl.h"

#define NOBODY 65534
#define ANON_UID 4001
#define ANON_GID 4002
#define ALICE 1000
#define TEAM 2000

/* A file in c->dir, and whose it is. */
static struct fh made_by_caller(struct client *c, const char *name, uint32_t uid, uint32_t gid)
{
	struct fh fh;

	want_is(nfs3_create(c, &c->dir, name, GUARDED, sattr_mode(0640)), NFS3_OK);
	fh = c->got.fh;
	if (!want_is(c->got.attr.uid, uid) || !want_is(c->got.attr.gid, gid))
		printf("# %s\n", name);
	return fh;
}

static void no_credential(struct client *c)
{
	rpc_set_auth(c->rpc, libnfs_authnone_create());
}

/* For the tests in which root cannot do it: c->dir is of whom root is taken for. */
static void open_to_all(struct client *c)
{
	want_is(nfs3_setattr(c, &c->dir, sattr_mode(0777), NULL), NFS3_OK);
}

static void none(struct client *c)
{
	struct fh file;

	open_to_all(c);
	client_as_user(c, ALICE);
	file = made_by_caller(c, "alice", ALICE, ALICE);
	client_as_root(c);
	want(holds(c, &file, ""));
	want_is(nfs3_setattr(c, &file, sattr_owner(TEAM, TEAM), NULL), NFS3_OK);
	made_by_caller(c, "root", 0, 0);
	no_credential(c);
	made_by_caller(c, "not said", NOBODY, NOBODY);
	/* Upstream chown() would take it for "as it is", which is root. */
	client_as(c, UINT32_MAX, UINT32_MAX, 0, NULL);
	made_by_caller(c, "no id", NOBODY, NOBODY);
}

/* Root is whoever the arguments say, in every procedure that looks at who calls. */
static void root_is(struct client *c, uint32_t uid, uint32_t gid)
{
	static const uint32_t root_and_team[] = { 0, TEAM };
	struct fh alices, roots, fh;

	want_is(nfs3_getattr(c, &c->dir), NFS3_OK);
	want_is(c->got.attr.uid, uid);
	want_is(c->got.attr.gid, gid);
	open_to_all(c);
	client_as_user(c, ALICE);
	alices = made_by_caller(c, "alice", ALICE, ALICE);
	put(c, &alices, "secret");

	client_as(c, 0, 0, 2, root_and_team);
	roots = made_by_caller(c, "root", uid, gid);
	want_is(nfs3_mkdir(c, &c->dir, "dir", 0755), NFS3_OK);
	want_is(c->got.attr.uid, uid);
	want_is(nfs3_symlink(c, &c->dir, "link", "x"), NFS3_OK);
	want_is(c->got.attr.uid, uid);
	want_is(nfs3_read(c, &alices, 0, 10), NFS3ERR_ACCES);
	want_is(nfs3_write(c, &alices, 0, "x", 1, UNSTABLE), NFS3ERR_ACCES);
	want_is(nfs3_access(c, &alices, 0x3f), NFS3_OK);
	want_is(c->got.access, 0);
	want_is(nfs3_setattr(c, &alices, sattr_mode(0777), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &alices, sattr_owner(uid, -1), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &roots, sattr_owner(ALICE, -1), NULL), NFS3ERR_PERM);
	want_is(nfs3_mknod(c, &c->dir, "chr", NF3CHR, 1, 3), NFS3ERR_PERM);
	want_is(nfsacl_set(c, &alices, 1, "user::rw-,user:1:rwx,group::---,mask::rwx,other::---"), NFS3ERR_PERM);
	want_is(nfsacl_set(c, &roots, 1, "user::rw-,user:1:rwx,group::---,mask::rwx,other::---"), NFS3_OK);
	/* He has his groups no more. */
	client_as_user(c, ALICE);
	fh = made_by_caller(c, "the team's", ALICE, ALICE);
	client_as(c, ALICE, TEAM, 0, NULL);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, TEAM), NULL), NFS3_OK);
	want_is(nfs3_read(c, &fh, 0, 10), NFS3_OK);
	client_as(c, 0, 0, 2, root_and_team);
	want_is(nfs3_read(c, &fh, 0, 10), NFS3ERR_ACCES);

	no_credential(c);
	made_by_caller(c, "not said", uid, gid);
}

/* Who is in the group root, by gid or besides, is in the anonymous group. */
static void group_root_is(struct client *c, uint32_t gid)
{
	static const uint32_t groups[] = { TEAM, 0 };
	struct fh fh;

	client_as(c, ALICE, 0, 0, NULL);
	made_by_caller(c, "group root", ALICE, gid);
	client_as(c, ALICE, ALICE, 2, groups);
	fh = made_by_caller(c, "in group root", ALICE, ALICE);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, 0), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, gid), NULL), NFS3_OK);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, TEAM), NULL), NFS3_OK);
}

static void root(struct client *c)
{
	root_is(c, NOBODY, NOBODY);
	group_root_is(c, NOBODY);
}

static void root_with_ids(struct client *c)
{
	root_is(c, ANON_UID, ANON_GID);
	group_root_is(c, ANON_GID);
}

static void all(struct client *c)
{
	static const uint32_t team = TEAM;
	struct fh fh;

	want_is(nfs3_getattr(c, &c->dir), NFS3_OK);
	want_is(c->got.attr.uid, ANON_UID);
	client_as(c, ALICE, ALICE, 1, &team);
	fh = made_by_caller(c, "alice", ANON_UID, ANON_GID);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, TEAM), NULL), NFS3ERR_PERM);
	client_as_root(c);
	want_is(nfs3_write(c, &fh, 0, "x", 1, FILE_SYNC), NFS3_OK);
	want_is(nfs3_setattr(c, &fh, sattr_owner(ALICE, ALICE), NULL), NFS3ERR_PERM);
	client_as(c, ALICE, ALICE, 0, NULL);
	want_is(nfs3_remove(c, &c->dir, "alice"), NFS3_OK);
	no_credential(c);
	made_by_caller(c, "not said", ANON_UID, ANON_GID);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "squash = none", none },
		{ "squash = root", root },
		{ "squash = root, anonuid, anongid", root_with_ids },
		{ "squash = all, anonuid, anongid", all },
	};

	return run_tests(argc, argv, "squash", tests, ARRAY_SIZE(tests));
}
