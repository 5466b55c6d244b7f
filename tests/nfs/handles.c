/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handles: invariant 5, handles are durable and unforgeable.
 *
 *	handles PORT			forged and dead handles
 *	handles PORT keep FILE		make things, write their handles and what they hold to FILE
 *	handles PORT check FILE		they still mean the same; prints TAP
 */
#include "tests/nfs/client.h"

/* A call of each procedure that takes a handle, with this one. */
struct on_handle {
	const char *name;
	int (*call)(struct client *c, const struct fh *fh);
};

static struct fh good;			/* of c->dir's "exists" */

#define ON(name, expression) \
	static int on_##name(struct client *c, const struct fh *fh) { return expression; }

ON(getattr, nfs3_getattr(c, fh))
ON(setattr, nfs3_setattr(c, fh, sattr_mode(0700), NULL))
ON(lookup, nfs3_lookup(c, fh, "x"))
ON(access, nfs3_access(c, fh, 0x3f))
ON(readlink, nfs3_readlink(c, fh))
ON(read, nfs3_read(c, fh, 0, 10))
ON(write, nfs3_write(c, fh, 0, "x", 1, UNSTABLE))
ON(create, nfs3_create(c, fh, "x", UNCHECKED, sattr_mode(0644)))
ON(exclusive, nfs3_create_exclusive(c, fh, "x", "verifier"))
ON(mkdir, nfs3_mkdir(c, fh, "x", 0755))
ON(symlink, nfs3_symlink(c, fh, "x", "t"))
ON(mknod, nfs3_mknod(c, fh, "x", NF3FIFO, 0, 0))
ON(remove, nfs3_remove(c, fh, "x"))
ON(rmdir, nfs3_rmdir(c, fh, "x"))
ON(rename_from, nfs3_rename(c, fh, "x", &c->dir, "y"))
ON(rename_to, nfs3_rename(c, &c->dir, "exists", fh, "y"))
ON(link_of, nfs3_link(c, fh, &c->dir, "y"))
ON(link_in, nfs3_link(c, &good, fh, "y"))
ON(readdir, nfs3_readdir(c, fh, 0, 4096))
ON(readdirplus, nfs3_readdirplus(c, fh, 0, 4096, 4096))
ON(fsstat, nfs3_fsstat(c, fh))
ON(fsinfo, nfs3_fsinfo(c, fh))
ON(pathconf, nfs3_pathconf(c, fh))
ON(commit, nfs3_commit(c, fh))

#define ROW(name) { #name, on_##name }
static const struct on_handle procs[] = {
	ROW(getattr), ROW(setattr), ROW(lookup), ROW(access), ROW(readlink), ROW(read), ROW(write),
	ROW(create), ROW(exclusive), ROW(mkdir), ROW(symlink), ROW(mknod), ROW(remove), ROW(rmdir),
	ROW(rename_from), ROW(rename_to), ROW(link_of), ROW(link_in), ROW(readdir), ROW(readdirplus),
	ROW(fsstat), ROW(fsinfo), ROW(pathconf), ROW(commit),
};

static void want_all(struct client *c, const struct fh *fh, int status)
{
	good = made_file(c, &c->dir, "exists", 0644);
	for (size_t i = 0; i < ARRAY_SIZE(procs); i++) {
		if (!want_is(procs[i].call(c, fh), status))
			printf("# %s\n", procs[i].name);
	}
	want_is(nfs3_remove(c, &c->dir, "exists"), NFS3_OK);
	want_is(nfs3_getattr(c, &good), NFS3ERR_STALE);	/* nobody made another name of it */
}

static void forged(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644), other;

	other = fh;
	other.data[fh.len - 1] ^= 1;
	want_all(c, &other, NFS3ERR_BADHANDLE);
	/* Another object's number in it: that is how one would get past a directory's permissions. */
	other = fh;
	other.data[15] ^= 1;
	want_all(c, &other, NFS3ERR_BADHANDLE);
	memset(&other, 0, sizeof(other));
	want_all(c, &other, NFS3ERR_BADHANDLE);
	other.len = 64;
	want_all(c, &other, NFS3ERR_BADHANDLE);
	other = fh;
	other.len--;
	want_all(c, &other, NFS3ERR_BADHANDLE);
	other = fh;
	other.len++;
	want_all(c, &other, NFS3ERR_BADHANDLE);
}

static void every_bit(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	for (unsigned bit = 0; bit < fh.len * 8; bit++) {
		struct fh other = fh;
		int status;

		other.data[bit / 8] ^= (char)(1 << bit % 8);
		status = nfs3_getattr(c, &other);
		/* That of another tree may just be one that is not served any more. */
		if (!want(status == NFS3ERR_BADHANDLE ||
			  (bit / 8 >= 4 && bit / 8 < 8 && status == NFS3ERR_STALE)))
			printf("# bit %u\n", bit);
	}
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
}

static void dead_file(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);

	put(c, &fh, "content");
	want_is(nfs3_remove(c, &c->dir, "f"), NFS3_OK);
	made_file(c, &c->dir, "f", 0644);
	want_all(c, &fh, NFS3ERR_STALE);
}

static void dead_directory(struct client *c)
{
	struct fh fh = made_dir(c, &c->dir, "d", 0755);

	want_is(nfs3_rmdir(c, &c->dir, "d"), NFS3_OK);
	want_all(c, &fh, NFS3ERR_STALE);
}

static void renamed_and_relinked(struct client *c)
{
	struct fh dir = made_dir(c, &c->dir, "d", 0755), fh = made_file(c, &c->dir, "f", 0644);

	put(c, &fh, "content");
	want_is(nfs3_rename(c, &c->dir, "f", &dir, "g"), NFS3_OK);
	want(holds(c, &fh, "content"));
	want_is(nfs3_link(c, &fh, &c->dir, "h"), NFS3_OK);
	want_is(nfs3_remove(c, &dir, "g"), NFS3_OK);
	want(holds(c, &fh, "content"));
	want_is(nfs3_rename(c, &c->dir, "d", &c->dir, "e"), NFS3_OK);
	want_is(nfs3_getattr(c, &dir), NFS3_OK);
}

/* ---- over a restart ---- */

struct kept {
	struct fh root, dir, file, link, removed;
	struct fattr3 attr;		/* of the file */
	char verifier[8];
};

static int keep(const char *port, const char *path)
{
	struct client c;
	struct kept k;
	FILE *f;

	client_open(&c, atoi(port));
	memset(&k, 0, sizeof(k));
	k.root = c.root;
	k.dir = made_dir(&c, &c.root, "kept", 0755);
	k.file = made_file(&c, &k.dir, "file", 0644);
	put(&c, &k.file, "content");
	memcpy(k.verifier, c.got.verifier, 8);
	want_is(nfs3_symlink(&c, &k.dir, "link", "target"), NFS3_OK);
	k.link = c.got.fh;
	k.removed = made_file(&c, &k.dir, "removed", 0644);
	want_is(nfs3_remove(&c, &k.dir, "removed"), NFS3_OK);
	want_is(nfs3_getattr(&c, &k.file), NFS3_OK);
	k.attr = c.got.attr;
	client_close(&c);
	f = fopen(path, "w");
	if (!f || fwrite(&k, sizeof(k), 1, f) != 1 || fclose(f))
		die(path, "cannot be written");
	return test_failed;
}

static struct kept kept;

static void still_the_same(struct client *c)
{
	want(same_fh(&c->root, &kept.root));
	want_is(nfs3_lookup(c, &c->root, "kept"), NFS3_OK);
	want(same_fh(&c->got.fh, &kept.dir));
	want_is(nfs3_lookup(c, &kept.dir, "file"), NFS3_OK);
	want(same_fh(&c->got.fh, &kept.file));
	want(holds(c, &kept.file, "content"));
	want_is(nfs3_getattr(c, &kept.file), NFS3_OK);
	want_is(c->got.attr.fileid, kept.attr.fileid);
	want_is(c->got.attr.fsid, kept.attr.fsid);
	want(same_time(c->got.attr.mtime, kept.attr.mtime));
	want(same_time(c->got.attr.ctime, kept.attr.ctime));
	want_is(nfs3_readlink(c, &kept.link), NFS3_OK);
	want(!strcmp(c->got.data, "target"));
	want_is(nfs3_write(c, &kept.file, 0, "C", 1, UNSTABLE), NFS3_OK);
	want_is(nfs3_getattr(c, &kept.removed), NFS3ERR_STALE);
}

/* So that the client sends again what it had not committed. */
static void another_verifier(struct client *c)
{
	want_is(nfs3_commit(c, &kept.file), NFS3_OK);
	want(memcmp(c->got.verifier, kept.verifier, 8));
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "forged handles", forged },
		{ "every bit of a handle counts", every_bit },
		{ "the handle of a removed file", dead_file },
		{ "the handle of a removed directory", dead_directory },
		{ "the handle of what was renamed", renamed_and_relinked },
	}, after[] = {
		{ "handles mean the same after a restart", still_the_same },
		{ "the write verifier is another one after a restart", another_verifier },
	};

	if (argc == 4 && !strcmp(argv[2], "keep"))
		return keep(argv[1], argv[3]);
	if (argc == 4 && !strcmp(argv[2], "check")) {
		FILE *f = fopen(argv[3], "r");

		if (!f || fread(&kept, sizeof(kept), 1, f) != 1)
			die(argv[3], "cannot be read");
		fclose(f);
		return run_tests(2, argv, "handles-after", after, ARRAY_SIZE(after));
	}
	return run_tests(argc, argv, "handles", tests, ARRAY_SIZE(tests));
}
