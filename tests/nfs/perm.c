/* SPDX-License-Identifier: GPL-2.0-or-later */
/* perm PORT [TEST]: invariant 7, each call is checked as a local file system would check its caller. */
#include "tests/nfs/client.h"

#define ALICE 1000
#define BOB 1001
#define TEAM 2000

static void chown_to(struct client *c, const struct fh *fh, int64_t uid, int64_t gid)
{
	client_as_root(c);
	want_is(nfs3_setattr(c, fh, sattr_owner(uid, gid), NULL), NFS3_OK);
}

static void chmod_to(struct client *c, const struct fh *fh, uint32_t mode)
{
	client_as_root(c);
	want_is(nfs3_setattr(c, fh, sattr_mode(mode), NULL), NFS3_OK);
}

static uint32_t mode_of(struct client *c, const struct fh *fh)
{
	return nfs3_getattr(c, fh) ? UINT32_MAX : c->got.attr.mode;
}

/* A directory of Alice's. */
static struct fh alices_dir(struct client *c, const char *name, uint32_t mode)
{
	struct fh dir;

	client_as_root(c);
	dir = made_dir(c, &c->dir, name, mode);
	chown_to(c, &dir, ALICE, ALICE);
	return dir;
}

static void changes_in_a_directory(struct client *c)
{
	struct fh dir = alices_dir(c, "d", 0755), file, sub, bobs = alices_dir(c, "bobs", 0755);

	chown_to(c, &bobs, BOB, BOB);
	client_as_user(c, ALICE);
	file = made_file(c, &dir, "f", 0644);
	want_is(c->got.attr.uid, ALICE);
	want_is(c->got.attr.gid, ALICE);
	sub = made_dir(c, &dir, "sub", 0755);
	client_as_user(c, BOB);
	want_is(nfs3_create(c, &dir, "x", GUARDED, sattr_mode(0644)), NFS3ERR_ACCES);
	want(c->got.wcc[0].has_after);
	want_is(nfs3_create(c, &dir, "x", UNCHECKED, sattr_mode(0644)), NFS3ERR_ACCES);
	want_is(nfs3_create_exclusive(c, &dir, "x", "verifier"), NFS3ERR_ACCES);
	want_is(nfs3_mkdir(c, &dir, "x", 0755), NFS3ERR_ACCES);
	want_is(nfs3_symlink(c, &dir, "x", "t"), NFS3ERR_ACCES);
	want_is(nfs3_mknod(c, &dir, "x", NF3FIFO, 0, 0), NFS3ERR_ACCES);
	want_is(nfs3_link(c, &file, &dir, "x"), NFS3ERR_ACCES);
	want_is(nfs3_remove(c, &dir, "f"), NFS3ERR_ACCES);
	want_is(nfs3_rmdir(c, &dir, "sub"), NFS3ERR_ACCES);
	want_is(nfs3_rename(c, &dir, "f", &bobs, "f"), NFS3ERR_ACCES);
	made_file(c, &bobs, "g", 0644);
	want_is(nfs3_rename(c, &bobs, "g", &dir, "g"), NFS3ERR_ACCES);
	client_as_root(c);
	want_is(nfs3_lookup(c, &dir, "f"), NFS3_OK);
	want_is(nfs3_getattr(c, &sub), NFS3_OK);
	want_is(nfs3_lookup(c, &bobs, "g"), NFS3_OK);
}

static void listing_and_searching(struct client *c)
{
	struct fh listed = alices_dir(c, "listed", 0744),
		  searched = alices_dir(c, "searched", 0711);

	client_as_user(c, ALICE);
	made_file(c, &listed, "f", 0644);
	made_file(c, &searched, "f", 0644);
	client_as_user(c, BOB);
	want_is(nfs3_lookup(c, &listed, "f"), NFS3ERR_ACCES);
	want_is(nfs3_lookup(c, &listed, "none"), NFS3ERR_ACCES);
	want_is(nfs3_lookup(c, &searched, "f"), NFS3_OK);
	want_is(nfs3_readdir(c, &searched, 0, 4096), NFS3ERR_ACCES);
	want_is(nfs3_readdirplus(c, &searched, 0, 4096, 4096), NFS3ERR_ACCES);
	/* Root may do all of that. */
	client_as_root(c);
	want_is(nfs3_lookup(c, &listed, "f"), NFS3_OK);
}

static const struct file_case {
	const char *name;
	uint32_t mode;		/* of a file of Alice's and the team's */
	uint32_t uid, group;
	int read, write;
} file_cases[] = {
	{ "the owner", 0600, ALICE, 0, NFS3_OK, NFS3_OK },
	/* Was it open, local programs could go on; NFS has no open, so the owner always can. */
	{ "the owner, by mode not", 0000, ALICE, 0, NFS3_OK, NFS3_OK },
	{ "the group", 0640, BOB, TEAM, NFS3_OK, NFS3ERR_ACCES },
	{ "the group, writing", 0660, BOB, TEAM, NFS3_OK, NFS3_OK },
	{ "others", 0664, BOB, 0, NFS3_OK, NFS3ERR_ACCES },
	{ "others, not at all", 0660, BOB, 0, NFS3ERR_ACCES, NFS3ERR_ACCES },
	{ "others, writing only", 0602, BOB, 0, NFS3ERR_ACCES, NFS3_OK },
	/* The kernel reads a program as who runs it: RFC 1813 4.4. */
	{ "others, running only", 0711, BOB, 0, NFS3_OK, NFS3ERR_ACCES },
	{ "the group may less than others", 0606, BOB, TEAM, NFS3ERR_ACCES, NFS3ERR_ACCES },
	{ "root", 0000, 0, 0, NFS3_OK, NFS3_OK },
};

static void reading_and_writing(struct client *c)
{
	struct fh fh;

	client_as_root(c);
	fh = made_file(c, &c->dir, "f", 0644);
	chown_to(c, &fh, ALICE, TEAM);
	for (size_t i = 0; i < ARRAY_SIZE(file_cases); i++) {
		const struct file_case *f = &file_cases[i];
		bool is_ok;

		chmod_to(c, &fh, f->mode);
		client_as(c, f->uid, 3000, f->group != 0, &f->group);
		is_ok = want_is(nfs3_read(c, &fh, 0, 10), f->read);
		is_ok &= want_is(nfs3_write(c, &fh, 0, "x", 1, UNSTABLE), f->write);
		is_ok &= want_is(nfs3_setattr(c, &fh, sattr_size(1), NULL), f->write);
		if (!is_ok)
			printf("# %s\n", f->name);
	}
}

static void sixteen_groups(struct client *c)
{
	uint32_t groups[16];
	struct fh fh;

	client_as_root(c);
	fh = made_file(c, &c->dir, "f", 0640);
	for (uint32_t i = 0; i < 16; i++)
		groups[i] = 5000 + i;
	chown_to(c, &fh, ALICE, 5015);
	client_as(c, BOB, BOB, 16, groups);
	want_is(nfs3_read(c, &fh, 0, 1), NFS3_OK);
	client_as(c, BOB, BOB, 15, groups);
	want_is(nfs3_read(c, &fh, 0, 1), NFS3ERR_ACCES);
	client_as(c, BOB, 5015, 0, NULL);
	want_is(nfs3_read(c, &fh, 0, 1), NFS3_OK);
}

static void owners_and_modes(struct client *c)
{
	static const uint32_t team = TEAM;
	struct fh fh;

	client_as_root(c);
	fh = made_file(c, &c->dir, "f", 0666);
	chown_to(c, &fh, ALICE, ALICE);
	client_as(c, BOB, BOB, 1, &team);
	want_is(nfs3_setattr(c, &fh, sattr_mode(0777), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &fh, sattr_owner(BOB, -1), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, TEAM), NULL), NFS3ERR_PERM);
	client_as(c, ALICE, ALICE, 1, &team);
	want_is(nfs3_setattr(c, &fh, sattr_mode(0600), NULL), NFS3_OK);
	want_is(nfs3_setattr(c, &fh, sattr_owner(BOB, -1), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, 4000), NULL), NFS3ERR_PERM);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, TEAM), NULL), NFS3_OK);
	want_is(nfs3_setattr(c, &fh, sattr_owner(ALICE, ALICE), NULL), NFS3_OK);
	client_as_root(c);
	want_is(nfs3_setattr(c, &fh, sattr_owner(BOB, 4000), NULL), NFS3_OK);
	want_is(c->got.wcc[0].after.uid, BOB);
}

static void times(struct client *c)
{
	struct sattr3 now = { 0 }, then = { 0 };
	struct fh fh;

	now.mtime.set_it = SET_TO_SERVER_TIME;
	now.atime.set_it = SET_TO_SERVER_TIME;
	then.mtime.set_it = SET_TO_CLIENT_TIME;
	client_as_root(c);
	fh = made_file(c, &c->dir, "f", 0622);
	chown_to(c, &fh, ALICE, ALICE);
	client_as_user(c, BOB);		/* may write */
	want_is(nfs3_setattr(c, &fh, now, NULL), NFS3_OK);
	want_is(nfs3_setattr(c, &fh, then, NULL), NFS3ERR_PERM);
	chmod_to(c, &fh, 0644);
	client_as_user(c, BOB);		/* may not */
	want_is(nfs3_setattr(c, &fh, now, NULL), NFS3ERR_ACCES);
	want_is(nfs3_setattr(c, &fh, then, NULL), NFS3ERR_PERM);
	client_as_user(c, ALICE);
	want_is(nfs3_setattr(c, &fh, then, NULL), NFS3_OK);
	want_is(nfs3_setattr(c, &fh, now, NULL), NFS3_OK);
}

static bool is_refused(int status)
{
	return status == NFS3ERR_ACCES || status == NFS3ERR_PERM;
}

static void sticky_directories(struct client *c)
{
	struct fh dir = alices_dir(c, "tmp", 01777);

	chown_to(c, &dir, 3000, 3000);
	chmod_to(c, &dir, 01777);
	client_as_user(c, ALICE);
	made_file(c, &dir, "alices", 0666);
	made_dir(c, &dir, "alices dir", 0777);
	client_as_user(c, BOB);
	made_file(c, &dir, "bobs", 0666);
	want(is_refused(nfs3_remove(c, &dir, "alices")));
	want(is_refused(nfs3_rmdir(c, &dir, "alices dir")));
	want(is_refused(nfs3_rename(c, &dir, "alices", &dir, "x")));
	want(is_refused(nfs3_rename(c, &dir, "bobs", &dir, "alices")));
	want_is(nfs3_rename(c, &dir, "bobs", &dir, "bobs 2"), NFS3_OK);
	want_is(nfs3_remove(c, &dir, "bobs 2"), NFS3_OK);
	client_as_user(c, ALICE);
	want_is(nfs3_remove(c, &dir, "alices"), NFS3_OK);
	made_file(c, &dir, "alices", 0666);
	client_as_user(c, 3000);	/* whose directory it is */
	want_is(nfs3_remove(c, &dir, "alices"), NFS3_OK);
	client_as_root(c);
	want_is(nfs3_rmdir(c, &dir, "alices dir"), NFS3_OK);
}

static void setgid_directories(struct client *c)
{
	struct fh dir = alices_dir(c, "d", 0777), fh;

	chown_to(c, &dir, ALICE, TEAM);
	chmod_to(c, &dir, 02777);
	client_as_user(c, BOB);
	fh = made_file(c, &dir, "f", 0644);
	want_is(c->got.attr.uid, BOB);
	want_is(c->got.attr.gid, TEAM);
	want_is(mode_of(c, &fh), 0644);
	fh = made_dir(c, &dir, "sub", 0755);
	want_is(c->got.attr.gid, TEAM);
	want_is(mode_of(c, &fh), 02755);
}

static void set_id_bits_end(struct client *c)
{
	static const uint32_t team = TEAM;
	struct fh fh;

	client_as_root(c);
	fh = made_file(c, &c->dir, "f", 0777);
	chown_to(c, &fh, ALICE, TEAM);

	/* Somebody else writes, or cuts. */
	chmod_to(c, &fh, 06777);
	client_as_user(c, BOB);
	want_is(nfs3_write(c, &fh, 0, "hello", 5, UNSTABLE), NFS3_OK);
	want_is(mode_of(c, &fh), 0777);
	chmod_to(c, &fh, 06777);
	client_as_user(c, BOB);
	want_is(nfs3_setattr(c, &fh, sattr_size(1), NULL), NFS3_OK);
	want_is(mode_of(c, &fh), 0777);

	/* It gets another owner or group. */
	chmod_to(c, &fh, 06755);
	client_as(c, ALICE, ALICE, 1, &team);
	want_is(nfs3_setattr(c, &fh, sattr_owner(-1, ALICE), NULL), NFS3_OK);
	want_is(mode_of(c, &fh), 0755);

	/* Without the group x setgid means mandatory locking, and stays. */
	chmod_to(c, &fh, 02666);
	client_as_user(c, BOB);
	want_is(nfs3_write(c, &fh, 0, "hello", 5, UNSTABLE), NFS3_OK);
	want_is(mode_of(c, &fh), 02666);

	/* Who is not in the group cannot set it. */
	chmod_to(c, &fh, 0755);
	chown_to(c, &fh, ALICE, TEAM);
	client_as_user(c, ALICE);
	want_is(nfs3_setattr(c, &fh, sattr_mode(06755), NULL), NFS3_OK);
	want_is(mode_of(c, &fh), 04755);
	client_as(c, ALICE, ALICE, 1, &team);
	want_is(nfs3_setattr(c, &fh, sattr_mode(06755), NULL), NFS3_OK);
	want_is(mode_of(c, &fh), 06755);
}

/* Who does not say who he is, is nobody. */
static void no_credential(struct client *c)
{
	struct fh open, closed;

	client_as_root(c);
	open = made_file(c, &c->dir, "open", 0644);
	closed = made_file(c, &c->dir, "closed", 0600);
	rpc_set_auth(c->rpc, libnfs_authnone_create());
	want_is(nfs3_read(c, &open, 0, 1), NFS3_OK);
	want_is(nfs3_read(c, &closed, 0, 1), NFS3ERR_ACCES);
	want_is(nfs3_create(c, &c->dir, "x", GUARDED, sattr_mode(0644)), NFS3ERR_ACCES);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "changes in somebody else's directory", changes_in_a_directory },
		{ "listing and searching a directory", listing_and_searching },
		{ "reading and writing", reading_and_writing },
		{ "all 16 groups of a caller count", sixteen_groups },
		{ "who may change owner, group and mode", owners_and_modes },
		{ "who may change times", times },
		{ "sticky directories", sticky_directories },
		{ "setgid directories", setgid_directories },
		{ "setuid and setgid are cleared", set_id_bits_end },
		{ "AUTH_NONE", no_credential },
	};

	return run_tests(argc, argv, "perm", tests, ARRAY_SIZE(tests));
}
