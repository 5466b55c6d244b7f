/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trees PORT [TEST]: two trees of one daemon, /imports and /imports-2, are two file systems (RFC 1813 3.3.14 and 3.3.15).
 */
#include "tests/nfs/client.h"

static struct fh other_root(struct client *c)
{
	if (mount_mnt(c, "/imports-2"))
		die("MNT", "refused");
	return c->got.fh;
}

static void two_file_systems(struct client *c)
{
	struct fh other = other_root(c);
	uint64_t fsid;

	want(!same_fh(&other, &c->root));
	want_is(nfs3_getattr(c, &c->root), NFS3_OK);
	fsid = c->got.attr.fsid;
	want_is(nfs3_getattr(c, &other), NFS3_OK);
	want(c->got.attr.fsid != fsid);
	want_is(nfs3_lookup(c, &other, ".."), NFS3_OK);
	want(same_fh(&c->got.fh, &other));
}

/* Told of what there is in the first one's tree; nothing has happened in either. */
static void nothing_goes_across(struct client *c)
{
	struct fh other = other_root(c), file = made_file(c, &c->dir, "f", 0644), theirs = made_file(c, &other, "g", 0644);

	made_dir(c, &c->dir, "d", 0755);
	want_is(nfs3_link(c, &file, &other, "x"), NFS3ERR_XDEV);
	want(c->got.has_attr);
	want_is(c->got.attr.nlink, 1);
	want_is(nfs3_link(c, &theirs, &c->dir, "x"), NFS3ERR_XDEV);
	want_is(nfs3_rename(c, &c->dir, "f", &other, "x"), NFS3ERR_XDEV);
	want_wcc(c->got.wcc[0]);
	want(same_time(c->got.wcc[0].before.ctime, c->got.wcc[0].after.ctime));
	want_is(nfs3_rename(c, &c->dir, "d", &other, "x"), NFS3ERR_XDEV);
	want_is(nfs3_rename(c, &other, "g", &c->dir, "g"), NFS3ERR_XDEV);
	want_is(nfs3_rename(c, &c->dir, "f", &other, "g"), NFS3ERR_XDEV);
	/* The names are not looked at. */
	want_is(nfs3_rename(c, &c->dir, "none", &other, "x"), NFS3ERR_XDEV);
	want_is(nfs3_lookup(c, &other, "x"), NFS3ERR_NOENT);
	want_is(nfs3_lookup(c, &c->dir, "x"), NFS3ERR_NOENT);
	want_is(nfs3_lookup(c, &c->dir, "f"), NFS3_OK);
	want(same_fh(&c->got.fh, &file));
	want_is(nfs3_lookup(c, &other, "g"), NFS3_OK);
	want(same_fh(&c->got.fh, &theirs));
	want_is(nfs3_remove(c, &other, "g"), NFS3_OK);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "two trees are two file systems", two_file_systems },
		{ "LINK and RENAME from one tree to another", nothing_goes_across },
	};

	return run_tests(argc, argv, "trees", tests, ARRAY_SIZE(tests));
}
