/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names PORT [TEST]: LOOKUP, CREATE, MKDIR, SYMLINK, READLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK. */
#include "tests/nfs/client.h"

static char name255[256], name256[257];

static uint32_t nlink_of(struct client *c, const struct fh *fh)
{
	return nfs3_getattr(c, fh) ? 0 : c->got.attr.nlink;
}

static bool is_there(struct client *c, const struct fh *dir, const char *name, const struct fh *fh)
{
	return nfs3_lookup(c, dir, name) == NFS3_OK && same_fh(&c->got.fh, fh);
}

/* What a change says of its directory agrees with what the directory says before and after. */
static void want_wcc_of(struct client *c, const struct fh *dir, const struct fattr3 *before,
			const struct wcc_got *wcc)
{
	struct wcc_got w = *wcc;

	if (!want_wcc(w))
		return;
	want(same_time(w.before.mtime, before->mtime));
	want(same_time(w.before.ctime, before->ctime));
	want_is(w.before.size, before->size);
	want(is_later(w.after.mtime, before->mtime));
	want(is_later(w.after.ctime, before->ctime));
	want_is(nfs3_getattr(c, dir), NFS3_OK);
	want(same_time(w.after.mtime, c->got.attr.mtime));
	want(same_time(w.after.ctime, c->got.attr.ctime));
	want_is(w.after.nlink, c->got.attr.nlink);
}

static struct fattr3 attr_of(struct client *c, const struct fh *fh)
{
	want_is(nfs3_getattr(c, fh), NFS3_OK);
	return c->got.attr;
}

static void lookup(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0644), sub = made_dir(c, &c->dir, "d", 0755);

	want_is(nfs3_lookup(c, &c->dir, "f"), NFS3_OK);
	want(same_fh(&c->got.fh, &file));
	want(c->got.has_attr && c->got.has_dir_attr);
	want_is(c->got.attr.type, NF3REG);
	want_is(nfs3_lookup(c, &c->dir, "none"), NFS3ERR_NOENT);
	want(c->got.has_dir_attr);
	want_is(nfs3_lookup(c, &c->dir, "F"), NFS3ERR_NOENT);
	want_is(nfs3_lookup(c, &file, "f"), NFS3ERR_NOTDIR);
	want_is(nfs3_lookup(c, &c->dir, name256), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_lookup(c, &c->dir, name255), NFS3ERR_NOENT);
	want(is_there(c, &sub, ".", &sub));
	want(is_there(c, &sub, "..", &c->dir));
	want(is_there(c, &c->root, "..", &c->root));
	want_is(nfs3_lookup(c, &c->dir, "d/f"), NFS3ERR_ACCES);
	want_is(nfs3_lookup(c, &c->dir, ""), NFS3ERR_ACCES);
	want_is(nfs3_lookup(c, &c->root, ".intermezzo"), NFS3ERR_NOENT);
}

static void create_unchecked(struct client *c)
{
	struct sattr3 sattr = sattr_mode(0604);
	struct fattr3 before = attr_of(c, &c->dir);
	struct wcc_got wcc;
	struct fh fh;

	want_is(nfs3_create(c, &c->dir, "f", UNCHECKED, sattr), NFS3_OK);
	want(c->got.has_fh && c->got.has_attr);
	want_is(c->got.attr.mode, 0604);
	want_is(c->got.attr.size, 0);
	want_is(c->got.attr.nlink, 1);
	fh = c->got.fh;
	wcc = c->got.wcc[0];
	want_wcc_of(c, &c->dir, &before, &wcc);
	put(c, &fh, "content");

	/* It is there: the same file, with its mode and what is in it, unless the size is set. */
	want_is(nfs3_create(c, &c->dir, "f", UNCHECKED, sattr_mode(0644)), NFS3_OK);
	want(same_fh(&c->got.fh, &fh));
	want(holds(c, &fh, "content"));
	want_is(nfs3_create(c, &c->dir, "f", UNCHECKED, sattr_size(0)), NFS3_OK);
	want(same_fh(&c->got.fh, &fh));
	want(holds(c, &fh, ""));
}

static void create_guarded(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0640), dir = made_dir(c, &c->dir, "d", 0755);

	put(c, &fh, "content");
	want_is(nfs3_create(c, &c->dir, "f", GUARDED, sattr_size(0)), NFS3ERR_EXIST);
	want(c->got.wcc[0].has_after);
	want(holds(c, &fh, "content"));
	want_is(nfs3_create(c, &c->dir, "d", GUARDED, sattr_mode(0644)), NFS3ERR_EXIST);
	want_is(nfs3_create(c, &c->dir, "d", UNCHECKED, sattr_mode(0644)), NFS3ERR_EXIST);
	want_is(nfs3_create_exclusive(c, &c->dir, "d", "verifier"), NFS3ERR_EXIST);
	want_is(nfs3_symlink(c, &c->dir, "l", "f"), NFS3_OK);
	want_is(nfs3_create(c, &c->dir, "l", UNCHECKED, sattr_size(0)), NFS3ERR_EXIST);
	want(holds(c, &fh, "content"));		/* links are for the client to follow */
	want_is(nfs3_create(c, &fh, "x", GUARDED, sattr_mode(0644)), NFS3ERR_NOTDIR);
	want_is(nfs3_create(c, &c->dir, name256, GUARDED, sattr_mode(0644)), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_create(c, &c->dir, ".", GUARDED, sattr_mode(0644)), NFS3ERR_EXIST);
	want_is(nfs3_create(c, &c->dir, "..", GUARDED, sattr_mode(0644)), NFS3ERR_EXIST);
	want_is(nfs3_create(c, &c->dir, "", GUARDED, sattr_mode(0644)), NFS3ERR_ACCES);
	want_is(nfs3_create(c, &c->dir, "a/b", GUARDED, sattr_mode(0644)), NFS3ERR_ACCES);
	want_is(nlink_of(c, &dir), 2);
}

/* The client sends it again until it hears of it, and must be able to tell whose file it was. */
static void create_exclusive(struct client *c)
{
	struct fh fh;

	want_is(nfs3_create_exclusive(c, &c->dir, "f", "verifier"), NFS3_OK);
	want(c->got.has_fh);
	want_wcc(c->got.wcc[0]);
	fh = c->got.fh;
	want_is(nfs3_create_exclusive(c, &c->dir, "f", "verifier"), NFS3_OK);
	want(same_fh(&c->got.fh, &fh));
	want_is(nfs3_create_exclusive(c, &c->dir, "f", "Verifier"), NFS3ERR_EXIST);
	want_is(nfs3_create_exclusive(c, &c->dir, "f", "verifieR"), NFS3ERR_EXIST);
	want_is(nfs3_setattr(c, &fh, sattr_mode(0640), NULL), NFS3_OK);
	want_is(nfs3_getattr(c, &fh), NFS3_OK);
	want_is(c->got.attr.mode, 0640);
	/* With the SETATTR the create is over: the same verifier is somebody else's. */
	want_is(nfs3_create_exclusive(c, &c->dir, "f", "verifier"), NFS3ERR_EXIST);
	made_file(c, &c->dir, "old", 0644);
	want_is(nfs3_create_exclusive(c, &c->dir, "old", "verifier"), NFS3ERR_EXIST);
	want_is(nfs3_create_exclusive(c, &c->dir, "old", "\0\0\0\0\0\0\0\0"), NFS3ERR_EXIST);
}

static void make_dir(struct client *c)
{
	struct fattr3 before = attr_of(c, &c->dir);
	struct wcc_got wcc;
	struct fh dir, file;

	want_is(nfs3_mkdir(c, &c->dir, "d", 0751), NFS3_OK);
	want(c->got.has_fh && c->got.has_attr);
	want_is(c->got.attr.type, NF3DIR);
	want_is(c->got.attr.mode, 0751);
	want_is(c->got.attr.nlink, 2);
	dir = c->got.fh;
	wcc = c->got.wcc[0];
	want_wcc_of(c, &c->dir, &before, &wcc);
	want_is(nlink_of(c, &c->dir), before.nlink + 1);
	want_is(nfs3_mkdir(c, &c->dir, "d", 0755), NFS3ERR_EXIST);
	file = made_file(c, &dir, "f", 0644);
	want_is(nfs3_mkdir(c, &dir, "f", 0755), NFS3ERR_EXIST);
	want_is(nfs3_mkdir(c, &file, "x", 0755), NFS3ERR_NOTDIR);
	want_is(nfs3_mkdir(c, &dir, name256, 0755), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_mkdir(c, &dir, ".", 0755), NFS3ERR_EXIST);
	want_is(nfs3_mkdir(c, &dir, "..", 0755), NFS3ERR_EXIST);
}

static void symlinks(struct client *c)
{
	static char target[2001];	/* what libnfs can send */
	struct fh file = made_file(c, &c->dir, "f", 0644), fh;

	want_is(nfs3_symlink(c, &c->dir, "l", "../some/where"), NFS3_OK);
	want(c->got.has_fh && c->got.has_attr);
	want_wcc(c->got.wcc[0]);
	want_is(c->got.attr.type, NF3LNK);
	want_is(c->got.attr.size, 13);
	fh = c->got.fh;
	want_is(nfs3_readlink(c, &fh), NFS3_OK);
	want(c->got.has_attr);
	want(!strcmp(c->got.data, "../some/where"));
	want_is(nfs3_symlink(c, &c->dir, "l", "x"), NFS3ERR_EXIST);
	want_is(nfs3_readlink(c, &file), NFS3ERR_INVAL);
	want(c->got.has_attr);
	want_is(nfs3_readlink(c, &c->dir), NFS3ERR_INVAL);
	want_is(nfs3_symlink(c, &c->dir, "bytes", "\xff\xfe\n\t \x01"), NFS3_OK);
	fh = c->got.fh;
	want_is(nfs3_readlink(c, &fh), NFS3_OK);
	want(!strcmp(c->got.data, "\xff\xfe\n\t \x01"));
	memset(target, 'x', sizeof(target) - 1);
	want_is(nfs3_symlink(c, &c->dir, "long", target), NFS3_OK);
	fh = c->got.fh;
	want_is(nfs3_readlink(c, &fh), NFS3_OK);
	want(!strcmp(c->got.data, target));
	want_is(nfs3_setattr(c, &fh, sattr_mode(0600), NULL), NFS3ERR_NOTSUPP);
	want_is(c->got.wcc[0].after.mode, 0777);
	want_is(nfs3_symlink(c, &c->dir, "empty", ""), NFS3ERR_INVAL);
	want_is(nfs3_symlink(c, &c->dir, name256, "x"), NFS3ERR_NAMETOOLONG);
}

static void special_files(struct client *c)
{
	want_is(nfs3_mknod(c, &c->dir, "fifo", NF3FIFO, 0, 0), NFS3_OK);
	want(c->got.has_fh && c->got.has_attr);
	want_wcc(c->got.wcc[0]);
	want_is(c->got.attr.type, NF3FIFO);
	want_is(c->got.attr.mode, 0640);
	want_is(nfs3_mknod(c, &c->dir, "fifo", NF3FIFO, 0, 0), NFS3ERR_EXIST);
	want_is(nfs3_mknod(c, &c->dir, "chr", NF3CHR, 4095, 1048575), NFS3_OK);
	want_is(c->got.attr.rdev.specdata1, 4095);
	want_is(c->got.attr.rdev.specdata2, 1048575);
	want_is(nfs3_mknod(c, &c->dir, "reg", NF3REG, 0, 0), NFS3ERR_BADTYPE);
	want_is(nfs3_mknod(c, &c->dir, "dir", NF3DIR, 0, 0), NFS3ERR_BADTYPE);
	want_is(nfs3_mknod(c, &c->dir, "lnk", NF3LNK, 0, 0), NFS3ERR_BADTYPE);
	want_is(nfs3_setattr(c, &c->dir, sattr_mode(0777), NULL), NFS3_OK);
	client_as_user(c, 1000);
	want_is(nfs3_mknod(c, &c->dir, "c", NF3CHR, 1, 1), NFS3ERR_PERM);
	want_is(nfs3_mknod(c, &c->dir, "b", NF3BLK, 1, 1), NFS3ERR_PERM);
	want_is(nfs3_mknod(c, &c->dir, "p", NF3FIFO, 0, 0), NFS3_OK);
	want_is(c->got.attr.uid, 1000);
	want_is(nfs3_mknod(c, &c->dir, "s", NF3SOCK, 0, 0), NFS3_OK);
}

static void remove_files(struct client *c)
{
	struct fh fh = made_file(c, &c->dir, "f", 0644);
	struct fattr3 before;
	struct wcc_got wcc;

	made_dir(c, &c->dir, "d", 0755);
	want_is(nfs3_link(c, &fh, &c->dir, "g"), NFS3_OK);
	before = attr_of(c, &c->dir);
	want_is(nfs3_remove(c, &c->dir, "f"), NFS3_OK);
	wcc = c->got.wcc[0];
	want_wcc_of(c, &c->dir, &before, &wcc);
	want_is(nfs3_lookup(c, &c->dir, "f"), NFS3ERR_NOENT);
	want_is(nlink_of(c, &fh), 1);
	want_is(nfs3_remove(c, &c->dir, "f"), NFS3ERR_NOENT);
	want(c->got.wcc[0].has_after);
	want_is(nfs3_remove(c, &c->dir, "d"), NFS3ERR_ISDIR);
	want_is(nfs3_remove(c, &fh, "x"), NFS3ERR_NOTDIR);
	want_is(nfs3_remove(c, &c->dir, name256), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_remove(c, &c->dir, "."), NFS3ERR_ACCES);
	want_is(nfs3_remove(c, &c->dir, ".."), NFS3ERR_ACCES);
	want_is(nfs3_remove(c, &c->dir, "g"), NFS3_OK);
	want_is(nfs3_getattr(c, &fh), NFS3ERR_STALE);
}

static void remove_dirs(struct client *c)
{
	struct fh dir = made_dir(c, &c->dir, "d", 0755), file = made_file(c, &dir, "f", 0644);
	struct fattr3 before;
	struct wcc_got wcc;

	want_is(nfs3_rmdir(c, &c->dir, "d"), NFS3ERR_NOTEMPTY);
	want(c->got.wcc[0].has_after);
	want_is(nfs3_rmdir(c, &dir, "f"), NFS3ERR_NOTDIR);
	want_is(nfs3_rmdir(c, &file, "x"), NFS3ERR_NOTDIR);
	want_is(nfs3_rmdir(c, &c->dir, "none"), NFS3ERR_NOENT);
	want_is(nfs3_rmdir(c, &dir, "."), NFS3ERR_INVAL);
	want_is(nfs3_rmdir(c, &dir, ".."), NFS3ERR_EXIST);
	want_is(nfs3_rmdir(c, &c->dir, name256), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_remove(c, &dir, "f"), NFS3_OK);
	before = attr_of(c, &c->dir);
	want_is(nfs3_rmdir(c, &c->dir, "d"), NFS3_OK);
	wcc = c->got.wcc[0];
	want_wcc_of(c, &c->dir, &before, &wcc);
	want_is(nlink_of(c, &c->dir), before.nlink - 1);
	want_is(nfs3_getattr(c, &dir), NFS3ERR_STALE);
	want_is(nfs3_create(c, &dir, "x", GUARDED, sattr_mode(0644)), NFS3ERR_STALE);
}

static void rename_files(struct client *c)
{
	struct fh a = made_dir(c, &c->dir, "a", 0755), b = made_dir(c, &c->dir, "b", 0755);
	struct fh file = made_file(c, &a, "f", 0644), other = made_file(c, &b, "g", 0644);
	struct fattr3 before_a = attr_of(c, &a), before_b = attr_of(c, &b);
	struct wcc_got wcc[2];

	put(c, &file, "one");
	put(c, &other, "two");
	want_is(nfs3_rename(c, &a, "f", &b, "h"), NFS3_OK);
	memcpy(wcc, c->got.wcc, sizeof(wcc));
	want_wcc_of(c, &a, &before_a, &wcc[0]);
	want_wcc_of(c, &b, &before_b, &wcc[1]);
	want(is_there(c, &b, "h", &file));
	want_is(nfs3_lookup(c, &a, "f"), NFS3ERR_NOENT);

	/* Over another file, which is gone then. */
	want_is(nfs3_rename(c, &b, "h", &b, "g"), NFS3_OK);
	want(is_there(c, &b, "g", &file));
	want(holds(c, &file, "one"));
	want_is(nfs3_getattr(c, &other), NFS3ERR_STALE);

	/* To itself, and over another name of itself: nothing happens. */
	want_is(nfs3_rename(c, &b, "g", &b, "g"), NFS3_OK);
	want_is(nfs3_link(c, &file, &a, "f"), NFS3_OK);
	want_is(nfs3_rename(c, &b, "g", &a, "f"), NFS3_OK);
	want(is_there(c, &b, "g", &file));
	want(is_there(c, &a, "f", &file));
	want_is(nlink_of(c, &file), 2);

	want_is(nfs3_rename(c, &a, "none", &b, "x"), NFS3ERR_NOENT);
	want(c->got.wcc[0].has_after && c->got.wcc[1].has_after);
	want_is(nfs3_rename(c, &file, "x", &b, "x"), NFS3ERR_NOTDIR);
	want_is(nfs3_rename(c, &a, "f", &file, "x"), NFS3ERR_NOTDIR);
	want_is(nfs3_rename(c, &a, "f", &b, name256), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_rename(c, &a, name256, &b, "x"), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_rename(c, &a, ".", &b, "x"), NFS3ERR_INVAL);
	want_is(nfs3_rename(c, &a, "f", &b, ".."), NFS3ERR_INVAL);
}

static void rename_dirs(struct client *c)
{
	struct fh a = made_dir(c, &c->dir, "a", 0755), b = made_dir(c, &c->dir, "b", 0755);
	struct fh sub = made_dir(c, &a, "sub", 0755), file = made_file(c, &sub, "f", 0644);
	uint32_t nlink_a = nlink_of(c, &a), nlink_b = nlink_of(c, &b);

	want_is(nfs3_rename(c, &a, "sub", &b, "sub"), NFS3_OK);
	want_is(nlink_of(c, &a), nlink_a - 1);
	want_is(nlink_of(c, &b), nlink_b + 1);
	want(is_there(c, &sub, "..", &b));
	want(is_there(c, &sub, "f", &file));

	want_is(nfs3_rename(c, &c->dir, "b", &sub, "x"), NFS3ERR_INVAL);
	want_is(nfs3_rename(c, &c->dir, "b", &b, "x"), NFS3ERR_INVAL);
	want_is(nfs3_rename(c, &c->dir, "a", &c->dir, "b"), NFS3ERR_NOTEMPTY);
	want_is(nfs3_rename(c, &b, "sub", &c->dir, "b"), NFS3ERR_NOTEMPTY);	/* over its own parent */
	made_file(c, &c->dir, "file", 0644);
	want_is(nfs3_rename(c, &c->dir, "a", &c->dir, "file"), NFS3ERR_NOTDIR);
	want_is(nfs3_rename(c, &c->dir, "file", &c->dir, "a"), NFS3ERR_ISDIR);
	want_is(nfs3_rename(c, &c->dir, "a", &c->dir, "a"), NFS3_OK);

	/* Over an empty one it goes. */
	want_is(nfs3_rename(c, &c->dir, "b", &c->dir, "a"), NFS3_OK);
	want(is_there(c, &c->dir, "a", &b));
	want_is(nfs3_getattr(c, &a), NFS3ERR_STALE);
	want(is_there(c, &sub, "f", &file));
}

static void links(struct client *c)
{
	struct fh file = made_file(c, &c->dir, "f", 0644), dir = made_dir(c, &c->dir, "d", 0755);
	struct fattr3 before = attr_of(c, &dir);
	struct wcc_got wcc;

	put(c, &file, "shared");
	want_is(nfs3_link(c, &file, &dir, "g"), NFS3_OK);
	want(c->got.has_attr);
	want_is(c->got.attr.nlink, 2);
	wcc = c->got.wcc[0];
	want_wcc_of(c, &dir, &before, &wcc);
	want(is_there(c, &dir, "g", &file));
	want(holds(c, &file, "shared"));
	want_is(nfs3_link(c, &file, &dir, "g"), NFS3ERR_EXIST);
	want(c->got.wcc[0].has_after && c->got.has_attr);
	want_is(c->got.attr.nlink, 2);
	want_is(nfs3_link(c, &file, &file, "x"), NFS3ERR_NOTDIR);
	want_is(nfs3_link(c, &file, &dir, name256), NFS3ERR_NAMETOOLONG);
	want_is(nfs3_link(c, &dir, &c->dir, "dir link"), NFS3ERR_PERM);	/* what link() says */
	want_is(nlink_of(c, &file), 2);
	want_is(nfs3_symlink(c, &c->dir, "l", "t"), NFS3_OK);
	file = c->got.fh;
	want_is(nfs3_link(c, &file, &c->dir, "l2"), NFS3_OK);
	want(is_there(c, &c->dir, "l2", &file));
}

struct seen {
	bool byte[256];
	bool is_255;
	unsigned n;
};

static void see(struct client *c, const char *name, uint64_t fileid, uint64_t cookie,
		const struct fh *fh, const struct fattr3 *attr)
{
	struct seen *seen = c->entry_arg;

	(void)fileid, (void)cookie, (void)fh, (void)attr;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return;
	seen->n++;
	if (strlen(name) == 1)
		seen->byte[(unsigned char)name[0]] = true;
	else
		seen->is_255 = !strcmp(name, name255);
}

static void names_of_any_bytes(struct client *c)
{
	struct seen seen = { 0 };

	for (unsigned b = 1; b < 256; b++) {
		const char name[2] = { (char)b, 0 };

		if (b == '/' || b == '.')
			continue;
		made_file(c, &c->dir, name, 0644);
		want_is(nfs3_lookup(c, &c->dir, name), NFS3_OK);
	}
	made_file(c, &c->dir, name255, 0644);
	want_is(nfs3_lookup(c, &c->dir, name255), NFS3_OK);
	c->entry = see;
	c->entry_arg = &seen;
	want_is(nfs3_readdir(c, &c->dir, 0, 65536), NFS3_OK);
	want(c->got.is_eof);
	want_is(seen.n, 254);
	want(seen.is_255);
	for (unsigned b = 1; b < 256; b++)
		want_is(seen.byte[b], b != '/' && b != '.');
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "LOOKUP", lookup },
		{ "CREATE, unchecked", create_unchecked },
		{ "CREATE, guarded", create_guarded },
		{ "CREATE, exclusive", create_exclusive },
		{ "MKDIR", make_dir },
		{ "SYMLINK and READLINK", symlinks },
		{ "MKNOD", special_files },
		{ "REMOVE", remove_files },
		{ "RMDIR", remove_dirs },
		{ "RENAME of files", rename_files },
		{ "RENAME of directories", rename_dirs },
		{ "LINK", links },
		{ "names of any bytes up to 255", names_of_any_bytes },
	};

	memset(name255, '\xe9', 255);
	memset(name256, 'n', 256);
	return run_tests(argc, argv, "names", tests, ARRAY_SIZE(tests));
}
