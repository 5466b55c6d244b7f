/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resend_calls: what resend.c sends, a row for each call. */
#ifndef TESTS_NFS_RESEND_CALLS_H
#define TESTS_NFS_RESEND_CALLS_H

#include "tests/nfs/raw.h"

/* ---- the calls: each makes what it needs in dir first, and can be done once only ---- */

static void put_remove(struct record *r, const struct fh *dir)
{
	struct xdr_out out;

	(void)make(CREATE, dir, "to be removed");
	out = begin(r, NFS, REMOVE);
	put_name(&out, dir, "to be removed");
	end(r, &out);
}

static void put_rmdir(struct record *r, const struct fh *dir)
{
	struct xdr_out out;

	(void)make(MKDIR, dir, "to be removed");
	out = begin(r, NFS, RMDIR);
	put_name(&out, dir, "to be removed");
	end(r, &out);
}

static void put_rename(struct record *r, const struct fh *dir)
{
	struct fh to = make(MKDIR, dir, "to");
	struct xdr_out out;

	(void)make(CREATE, dir, "to be renamed");
	out = begin(r, NFS, RENAME);
	put_name(&out, dir, "to be renamed");
	put_name(&out, &to, "renamed");
	end(r, &out);
}

static void put_link(struct record *r, const struct fh *dir)
{
	struct fh target = make(CREATE, dir, "to be linked");
	struct xdr_out out = begin(r, NFS, LINK);

	xdr_out_opaque(&out, target.data, target.len);
	put_name(&out, dir, "linked");
	end(r, &out);
}

static void put_mkdir(struct record *r, const struct fh *dir)
{
	struct xdr_out out = begin(r, NFS, MKDIR);

	put_name(&out, dir, "new");
	put_sattr(&out, 0750);
	end(r, &out);
}

static void put_create(struct record *r, const struct fh *dir, uint32_t how)
{
	struct xdr_out out = begin(r, NFS, CREATE);

	put_name(&out, dir, "new");
	xdr_out_u32(&out, how);
	if (how == EXCLUSIVE)
		xdr_out_u64(&out, 0x7665726966696572);
	else
		put_sattr(&out, 0640);
	end(r, &out);
}

static void put_unchecked(struct record *r, const struct fh *dir)
{
	put_create(r, dir, UNCHECKED);
}

static void put_guarded(struct record *r, const struct fh *dir)
{
	put_create(r, dir, GUARDED);
}

static void put_exclusive(struct record *r, const struct fh *dir)
{
	put_create(r, dir, EXCLUSIVE);
}

static void put_symlink(struct record *r, const struct fh *dir)
{
	struct xdr_out out = begin(r, NFS, SYMLINK);

	put_name(&out, dir, "new");
	put_sattr(&out, 0777);
	xdr_out_opaque(&out, "target", 6);
	end(r, &out);
}

static void put_mknod(struct record *r, const struct fh *dir)
{
	struct xdr_out out = begin(r, NFS, MKNOD);

	put_name(&out, dir, "new");
	xdr_out_u32(&out, 7);		/* NF3FIFO */
	put_sattr(&out, 0640);
	end(r, &out);
}

/* SETATTR of the mode; guarded: with the ctime that it has now, and has no more when it is sent again. */
static void put_setattr(struct record *r, const struct fh *dir, bool is_guarded)
{
	struct fh fh = make(CREATE, dir, "to be changed");
	struct xdr_in in = ask_attr(&fh);
	struct xdr_out out = begin(r, NFS, SETATTR);

	(void)xdr_in_fixed(&in, ATTR - 8);
	xdr_out_opaque(&out, fh.data, fh.len);
	put_sattr(&out, 0604);
	xdr_out_u32(&out, is_guarded);
	if (is_guarded)
		xdr_out_u64(&out, xdr_in_u64(&in));
	end(r, &out);
}

static void put_setattr_plain(struct record *r, const struct fh *dir)
{
	put_setattr(r, dir, false);
}

static void put_setattr_guarded(struct record *r, const struct fh *dir)
{
	put_setattr(r, dir, true);
}

/* An access list: owner rwx, user 1000 r--, group r-x, mask r-x, others ---. */
static void put_setacl(struct record *r, const struct fh *dir)
{
	static const uint32_t entries[][3] = { { 1, 0, 7 }, { 2, 1000, 4 }, { 4, 0, 5 }, { 16, 0, 5 }, { 32, 0, 0 } };
	struct fh fh = make(CREATE, dir, "to be changed");
	struct xdr_out out = begin(r, NFSACL, SETACL);

	xdr_out_opaque(&out, fh.data, fh.len);
	xdr_out_u32(&out, 1);		/* NFS_ACL */
	xdr_out_u32(&out, ARRAY_SIZE(entries));
	xdr_out_u32(&out, ARRAY_SIZE(entries));
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		for (size_t k = 0; k < ARRAY_SIZE(entries[i]); k++)
			xdr_out_u32(&out, entries[i][k]);
	xdr_out_u32(&out, 0);
	xdr_out_u32(&out, 0);
	end(r, &out);
}

static void put_write(struct record *r, const struct fh *dir)
{
	struct fh fh = make(CREATE, dir, "to be written");
	struct xdr_out out = begin(r, NFS, WRITE);

	xdr_out_opaque(&out, fh.data, fh.len);
	xdr_out_u64(&out, 0);
	xdr_out_u32(&out, 7);
	xdr_out_u32(&out, 2);		/* FILE_SYNC */
	xdr_out_opaque(&out, "written", 7);
	end(r, &out);
}

/* What an answer consists of, in order; how each is compared the top says. */
enum part {
	END,
	STATUS,
	POST_FH,
	POST_ATTR,
	WCC,
	WRITTEN_WCC,	/* mtime and ctime may be later */
	VERIFIER,
	WORD
};

static const struct call_row {
	const char *name;
	void (*put)(struct record *r, const struct fh *dir);
	enum part results[5];
	const char *there[2], *gone;	/* in its directory, when it has been done */
	const char *there_in;		/* or, for 'there', in this one below it */
} rows[] = {
	{ "REMOVE", put_remove, { STATUS, WCC }, { NULL }, "to be removed", NULL },
	{ "RMDIR", put_rmdir, { STATUS, WCC }, { NULL }, "to be removed", NULL },
	{ "RENAME", put_rename, { STATUS, WCC, WCC }, { "renamed" }, "to be renamed", "to" },
	{ "LINK", put_link, { STATUS, POST_ATTR, WCC }, { "to be linked", "linked" }, NULL, NULL },
	{ "MKDIR", put_mkdir, { STATUS, POST_FH, POST_ATTR, WCC }, { "new" }, NULL, NULL },
	{ "CREATE, unchecked", put_unchecked, { STATUS, POST_FH, POST_ATTR, WCC }, { "new" }, NULL, NULL },
	{ "CREATE, guarded", put_guarded, { STATUS, POST_FH, POST_ATTR, WCC }, { "new" }, NULL, NULL },
	{ "CREATE, exclusive", put_exclusive, { STATUS, POST_FH, POST_ATTR, WCC }, { "new" }, NULL, NULL },
	{ "SYMLINK", put_symlink, { STATUS, POST_FH, POST_ATTR, WCC }, { "new" }, NULL, NULL },
	{ "MKNOD", put_mknod, { STATUS, POST_FH, POST_ATTR, WCC }, { "new" }, NULL, NULL },
	{ "SETATTR", put_setattr_plain, { STATUS, WCC }, { "to be changed" }, NULL, NULL },
	{ "SETATTR, guarded", put_setattr_guarded, { STATUS, WCC }, { "to be changed" }, NULL, NULL },
	{ "WRITE", put_write, { STATUS, WRITTEN_WCC, WORD, WORD, VERIFIER }, { "to be written" }, NULL, NULL },
	{ "SETACL", put_setacl, { STATUS, POST_ATTR }, { "to be changed" }, NULL, NULL },
};

#endif
