/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * refused PORT [TEST]: what is refused has changed nothing, and says what there is: every failure tells the attributes
 * that RFC 1813 has a place for, wherever there is an object to tell them of.
 *
 * "read-only" is for a daemon whose export is; it finds there, in the directory "ro", a file "f", a directory "d".
 */
#include "tests/nfs/client.h"

static char name256[257];

static struct fattr3 attr_of(struct client *c, const struct fh *fh)
{
	struct got was = c->got;
	struct fattr3 attr;

	want_is(nfs3_getattr(c, fh), NFS3_OK);
	attr = c->got.attr;
	c->got = was;
	return attr;
}

static bool same_attr(const struct fattr3 *a, const struct fattr3 *b)
{
	return a->type == b->type && a->mode == b->mode && a->nlink == b->nlink && a->uid == b->uid &&
	       a->gid == b->gid && a->size == b->size && a->used == b->used && a->fsid == b->fsid &&
	       a->fileid == b->fileid && same_time(a->atime, b->atime) && same_time(a->mtime, b->mtime) &&
	       same_time(a->ctime, b->ctime);
}

/* The last call told of this object: nothing has happened to it. */
static bool untouched(struct client *c, int i, const struct fh *fh)
{
	const struct wcc_got *wcc = &c->got.wcc[i];
	struct fattr3 now = attr_of(c, fh);

	return wcc->has_before && wcc->has_after && same_attr(&wcc->after, &now) && wcc->before.size == now.size &&
	       same_time(wcc->before.mtime, now.mtime) && same_time(wcc->before.ctime, now.ctime);
}

static bool told(struct client *c, const struct fh *fh)
{
	struct fattr3 now = attr_of(c, fh);

	return c->got.has_attr && same_attr(&c->got.attr, &now);
}

static bool told_dir(struct client *c, const struct fh *fh)
{
	struct fattr3 now = attr_of(c, fh);

	return c->got.has_dir_attr && same_attr(&c->got.dir_attr, &now);
}

/* ---- values that are none ---- */

static struct sattr3 no_time(void)
{
	struct sattr3 s = sattr_mode(0644);

	s.mtime.set_it = SET_TO_CLIENT_TIME;
	s.mtime.set_mtime_u.mtime = (struct nfstime3){ 1, 1000000000 };
	return s;
}

static void bad_times(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0644);
	struct MKDIR3args mkdir_args = { name_arg(&c->dir, "new"), no_time() };
	struct SYMLINK3args symlink_args = { name_arg(&c->dir, "new"), { no_time(), (char *)"to" } };
	struct MKNOD3args mknod_args = { .where = name_arg(&c->dir, "new"), .what = { .type = NF3FIFO } };

	want_is(nfs3_setattr(c, &file, no_time(), NULL), NFS3ERR_INVAL);
	want(untouched(c, 0, &file));
	want_is(nfs3_create(c, &c->dir, "new", UNCHECKED, no_time()), NFS3ERR_INVAL);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_create(c, &c->dir, "new", GUARDED, no_time()), NFS3ERR_INVAL);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_mkdir_args(c, &mkdir_args), NFS3ERR_INVAL);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_symlink_args(c, &symlink_args), NFS3ERR_INVAL);
	want(untouched(c, 0, &c->dir));
	mknod_args.what.mknoddata3_u.pipe_attributes = no_time();
	want_is(nfs3_mknod_args(c, &mknod_args), NFS3ERR_INVAL);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_lookup(c, &c->dir, "new"), NFS3ERR_NOENT);
}

static void bad_types(struct client *c)
{
	static const int types[] = { 0, NF3REG, NF3DIR, NF3LNK, 8, 255 };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct MKNOD3args args = { .where = name_arg(&c->dir, "new"), .what = { .type = (enum ftype3)types[i] } };

		want_is(nfs3_mknod_args(c, &args), NFS3ERR_BADTYPE);
		want(untouched(c, 0, &c->dir));
	}
	want_is(nfs3_lookup(c, &c->dir, "new"), NFS3ERR_NOENT);
	want(told_dir(c, &c->dir));
}

static void sizes(struct client *c)
{
	static const uint64_t offsets[] = { INT64_MAX, 1ull << 63, UINT64_MAX - 2 };
	struct fh file = made_file(c, &c->dir, "f", 0644);

	put(c, &file, "content");
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		want_is(nfs3_write(c, &file, offsets[i], "x", 1, FILE_SYNC), NFS3ERR_FBIG);
		want(untouched(c, 0, &file));
		want_is(nfs3_setattr(c, &file, sattr_size(offsets[i] + 1), NULL), NFS3ERR_FBIG);
		want(untouched(c, 0, &file));
	}
	want_is(nfs3_create(c, &c->dir, "new", GUARDED, sattr_size(UINT64_MAX)), NFS3ERR_FBIG);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_create(c, &c->dir, "f", UNCHECKED, sattr_size(UINT64_MAX)), NFS3ERR_FBIG);
	want(untouched(c, 0, &c->dir));
	want(holds(c, &file, "content"));
}

static void owners(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0644);

	want_is(nfs3_setattr(c, &file, sattr_owner(UINT32_MAX, -1), NULL), NFS3ERR_INVAL);
	want(untouched(c, 0, &file));
	client_as_user(c, 1000);
	want_is(nfs3_setattr(c, &file, sattr_mode(0777), NULL), NFS3ERR_PERM);
	want(untouched(c, 0, &file));
	want_is(nfs3_setattr(c, &file, sattr_size(1), NULL), NFS3ERR_ACCES);
	want(untouched(c, 0, &file));
	want_is(nfs3_write(c, &file, 0, "x", 1, UNSTABLE), NFS3ERR_ACCES);
	want(untouched(c, 0, &file));
}

static void counts(struct client *c)
{
	want_is(nfs3_readdir(c, &c->dir, 0, 0), NFS3ERR_TOOSMALL);
	want(told_dir(c, &c->dir));
	want_is(nfs3_readdir(c, &c->dir, 0, 110), NFS3ERR_TOOSMALL);
	want(told_dir(c, &c->dir));
	want_is(nfs3_readdirplus(c, &c->dir, 0, 200, 200), NFS3ERR_TOOSMALL);
	want(told_dir(c, &c->dir));
}

/* ---- names ---- */

static void bad_names(struct client *c)
{
	static const struct {
		const char *name;
		int lookup, make, remove, rmdir, rename;
	} rows[] = {
		{ name256, NFS3ERR_NAMETOOLONG, NFS3ERR_NAMETOOLONG, NFS3ERR_NAMETOOLONG, NFS3ERR_NAMETOOLONG,
		  NFS3ERR_NAMETOOLONG },
		{ "", NFS3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES },
		{ "a/b", NFS3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES, NFS3ERR_ACCES },
		{ ".", NFS3_OK, NFS3ERR_EXIST, NFS3ERR_ACCES, NFS3ERR_INVAL, NFS3ERR_INVAL },
		{ "..", NFS3_OK, NFS3ERR_EXIST, NFS3ERR_ACCES, NFS3ERR_EXIST, NFS3ERR_INVAL },
	};
	struct fh dir = made_dir(c, &c->dir, "d", 0755), other = made_dir(c, &c->dir, "e", 0755);
	struct fh file = made_file(c, &dir, "f", 0644);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *name = rows[i].name;

		want_is(nfs3_lookup(c, &dir, name), rows[i].lookup);
		want(told_dir(c, &dir));
		want_is(nfs3_create(c, &dir, name, GUARDED, sattr_mode(0644)), rows[i].make);
		want(untouched(c, 0, &dir));
		want_is(nfs3_create_exclusive(c, &dir, name, "verifier"), rows[i].make);
		want(untouched(c, 0, &dir));
		want_is(nfs3_mkdir(c, &dir, name, 0755), rows[i].make);
		want(untouched(c, 0, &dir));
		want_is(nfs3_symlink(c, &dir, name, "to"), rows[i].make);
		want(untouched(c, 0, &dir));
		want_is(nfs3_mknod(c, &dir, name, NF3FIFO, 0, 0), rows[i].make);
		want(untouched(c, 0, &dir));
		want_is(nfs3_remove(c, &dir, name), rows[i].remove);
		want(untouched(c, 0, &dir));
		want_is(nfs3_rmdir(c, &dir, name), rows[i].rmdir);
		want(untouched(c, 0, &dir));
		want_is(nfs3_rename(c, &dir, "f", &other, name), rows[i].rename);
		want(untouched(c, 0, &dir) && untouched(c, 1, &other));
		want_is(nfs3_rename(c, &dir, name, &other, "f"), rows[i].rename);
		want(untouched(c, 0, &dir) && untouched(c, 1, &other));
		if (!want_is(nfs3_link(c, &file, &dir, name), rows[i].make))
			printf("# the name \"%s\"\n", name);
		want(untouched(c, 0, &dir) && told(c, &file));
	}
}

static void no_directory(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0644), other = made_file(c, &c->dir, "g", 0644);

	want_is(nfs3_lookup(c, &file, "x"), NFS3ERR_NOTDIR);
	want(told_dir(c, &file));
	want_is(nfs3_readdir(c, &file, 0, 4096), NFS3ERR_NOTDIR);
	want(told_dir(c, &file));
	want_is(nfs3_readdirplus(c, &file, 0, 4096, 4096), NFS3ERR_NOTDIR);
	want(told_dir(c, &file));
	want_is(nfs3_create(c, &file, "x", GUARDED, sattr_mode(0644)), NFS3ERR_NOTDIR);
	want(untouched(c, 0, &file));
	want_is(nfs3_remove(c, &file, "x"), NFS3ERR_NOTDIR);
	want(untouched(c, 0, &file));
	want_is(nfs3_rmdir(c, &file, "x"), NFS3ERR_NOTDIR);
	want(untouched(c, 0, &file));
	want_is(nfs3_rename(c, &c->dir, "g", &file, "x"), NFS3ERR_NOTDIR);
	want(untouched(c, 0, &c->dir) && untouched(c, 1, &file));
	want_is(nfs3_link(c, &other, &file, "x"), NFS3ERR_NOTDIR);
	want(untouched(c, 0, &file) && told(c, &other));
}

static void what_is_there(struct client *c)
{
	struct fh dir = made_dir(c, &c->dir, "d", 0755), sub = made_dir(c, &dir, "sub", 0755);
	struct fh file = made_file(c, &c->dir, "f", 0644);

	want_is(nfs3_readlink(c, &file), NFS3ERR_INVAL);
	want(told(c, &file));
	want_is(nfs3_read(c, &dir, 0, 1), NFS3ERR_INVAL);
	want(told(c, &dir));
	want_is(nfs3_write(c, &dir, 0, "x", 1, UNSTABLE), NFS3ERR_INVAL);
	want(untouched(c, 0, &dir));
	want_is(nfs3_commit(c, &dir), NFS3ERR_INVAL);
	want(untouched(c, 0, &dir));
	want_is(nfs3_remove(c, &c->dir, "d"), NFS3ERR_ISDIR);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_rmdir(c, &c->dir, "d"), NFS3ERR_NOTEMPTY);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_link(c, &dir, &c->dir, "x"), NFS3ERR_PERM);
	want(untouched(c, 0, &c->dir) && told(c, &dir));
	want_is(nfs3_link(c, &file, &c->dir, "d"), NFS3ERR_EXIST);
	want(untouched(c, 0, &c->dir) && told(c, &file));
	want_is(nfs3_rename(c, &c->dir, "d", &sub, "x"), NFS3ERR_INVAL);
	want(untouched(c, 0, &c->dir) && untouched(c, 1, &sub));
	want_is(nfs3_rename(c, &c->dir, "none", &dir, "x"), NFS3ERR_NOENT);
	want(untouched(c, 0, &c->dir) && untouched(c, 1, &dir));
	want_is(nfs3_create(c, &c->dir, "d", UNCHECKED, sattr_mode(0644)), NFS3ERR_EXIST);
	want(untouched(c, 0, &c->dir));
	/* Onto itself it goes, and nothing has changed. */
	want_is(nfs3_rename(c, &c->dir, "d", &c->dir, "d"), NFS3_OK);
	want(untouched(c, 0, &c->dir) && untouched(c, 1, &c->dir));
}

/* Of what is gone, or never was, there is nothing to tell; of the other one there is. */
static void handles_of_nothing(struct client *c)
{
	struct fh gone = made_dir(c, &c->dir, "d", 0755), bad = c->root;

	want_is(nfs3_rmdir(c, &c->dir, "d"), NFS3_OK);
	bad.data[bad.len - 1] ^= 1;
	made_file(c, &c->dir, "f", 0644);
	want_is(nfs3_create(c, &gone, "x", GUARDED, sattr_mode(0644)), NFS3ERR_STALE);
	want(!c->got.wcc[0].has_before && !c->got.wcc[0].has_after);
	want_is(nfs3_create(c, &bad, "x", GUARDED, sattr_mode(0644)), NFS3ERR_BADHANDLE);
	want(!c->got.wcc[0].has_before && !c->got.wcc[0].has_after);
	want_is(nfs3_rename(c, &c->dir, "f", &gone, "x"), NFS3ERR_STALE);
	want(untouched(c, 0, &c->dir) && !c->got.wcc[1].has_after);
	want_is(nfs3_rename(c, &c->dir, "f", &bad, "x"), NFS3ERR_BADHANDLE);
	want(untouched(c, 0, &c->dir) && !c->got.wcc[1].has_after);
	want_is(nfs3_rename(c, &gone, "f", &c->dir, "x"), NFS3ERR_STALE);
	want(!c->got.wcc[0].has_after && untouched(c, 1, &c->dir));
	want_is(nfs3_link(c, &gone, &c->dir, "x"), NFS3ERR_STALE);
	want(!c->got.has_attr && untouched(c, 0, &c->dir));
}

/* ---- a read-only export ---- */

static void read_only(struct client *c)
{
	struct fh dir, file;

	want_is(nfs3_lookup(c, &c->root, "ro"), NFS3_OK);
	c->dir = c->got.fh;
	want_is(nfs3_lookup(c, &c->dir, "f"), NFS3_OK);
	file = c->got.fh;
	want_is(nfs3_lookup(c, &c->dir, "d"), NFS3_OK);
	dir = c->got.fh;

	want_is(nfs3_setattr(c, &file, sattr_mode(0600), NULL), NFS3ERR_ROFS);
	want(untouched(c, 0, &file));
	want_is(nfs3_write(c, &file, 0, "x", 1, FILE_SYNC), NFS3ERR_ROFS);
	want(untouched(c, 0, &file));
	want_is(nfs3_create(c, &c->dir, "x", UNCHECKED, sattr_mode(0644)), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_create_exclusive(c, &c->dir, "x", "verifier"), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_mkdir(c, &c->dir, "x", 0755), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_symlink(c, &c->dir, "x", "to"), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_mknod(c, &c->dir, "x", NF3FIFO, 0, 0), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_remove(c, &c->dir, "f"), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_rmdir(c, &c->dir, "d"), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir));
	want_is(nfs3_rename(c, &c->dir, "f", &dir, "x"), NFS3ERR_ROFS);
	want(untouched(c, 0, &c->dir) && untouched(c, 1, &dir));
	want_is(nfs3_link(c, &file, &dir, "x"), NFS3ERR_ROFS);
	want(untouched(c, 0, &dir) && told(c, &file));

	want_is(nfs3_access(c, &dir, 0x3f), NFS3_OK);
	want_is(c->got.access, ACCESS3_READ | ACCESS3_LOOKUP);
	want_is(nfs3_access(c, &file, 0x3f), NFS3_OK);
	want_is(c->got.access, ACCESS3_READ);
	want(holds(c, &file, "content\n"));
}

static int read_only_main(int port)
{
	struct client c;

	client_open(&c, port);
	read_only(&c);
	client_close(&c);
	printf("%sok 1 - a read-only export\n1..1\n", test_failed ? "not " : "");
	return test_failed;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "times that are none", bad_times },
		{ "types that MKNOD has not", bad_types },
		{ "sizes beyond the largest", sizes },
		{ "owners that are none, and others' files", owners },
		{ "counts that are too small", counts },
		{ "names that are none", bad_names },
		{ "what is no directory", no_directory },
		{ "what is there", what_is_there },
		{ "handles of nothing", handles_of_nothing },
	};

	memset(name256, 'n', 256);
	if (argc > 2 && !strcmp(argv[2], "read-only"))
		return read_only_main(atoi(argv[1]));
	return run_tests(argc, argv, "refused", tests, ARRAY_SIZE(tests));
}
