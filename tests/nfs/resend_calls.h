/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resend_calls: what resend.c sends, a row for each call, and how it speaks: without libnfs, since it must choose the xids.
 *
 * What fails that has nothing to do with sending again ends the program.
 */
#ifndef TESTS_NFS_RESEND_CALLS_H
#define TESTS_NFS_RESEND_CALLS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "nfsd/xdr.h"

enum program { NFS = 100003, MOUNT = 100005, NFSACL = 100227 };
enum proc {
	GETATTR = 1,
	SETATTR = 2,
	SETACL = 2,
	LOOKUP = 3,
	WRITE = 7,
	CREATE = 8,
	MKDIR = 9,
	SYMLINK = 10,
	MKNOD = 11,
	REMOVE = 12,
	RMDIR = 13,
	RENAME = 14,
	LINK = 15
};

/* createmode3 */
enum { UNCHECKED, GUARDED, EXCLUSIVE };

#define NFS3ERR_EXIST 17
#define NFS3ERR_NOSPC 28
#define HEADER 24		/* of an accepted reply, and of a call up to its credentials */
#define UID_AT (HEADER + 16)	/* flavor, length, stamp, an empty name */
#define ATTR 84
#define ATTR_MTIME 68		/* in fattr3, and behind it ctime */
#define RECORD_MAX 2048

struct fh {
	uint32_t len;
	char data[64];
};

struct record {
	uint32_t len;
	unsigned char data[RECORD_MAX];
};

static int sock;
static uint32_t next_xid;

static void __attribute__((noreturn)) die(const char *what)
{
	printf("not ok - %s\n", what);
	exit(1);
}

static void connect_to(const char *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { 30, 0 };

	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect");
}

static void send_record(const struct record *r)
{
	unsigned char mark[4];

	xdr_store_u32(mark, 0x80000000u | r->len);
	if (send(sock, mark, 4, MSG_MORE | MSG_NOSIGNAL) != 4 ||
	    send(sock, r->data, r->len, MSG_NOSIGNAL) != (ssize_t)r->len)
		die("send");
}

static void recv_all(void *data, size_t len)
{
	if (len && recv(sock, data, len, MSG_WAITALL) != (ssize_t)len)
		die("no answer");
}

static void recv_record(struct record *r)
{
	unsigned char mark[4];

	recv_all(mark, 4);
	r->len = xdr_load_u32(mark) & 0x7fffffff;
	if (r->len < HEADER || r->len > sizeof(r->data))
		die("an answer of a strange length");
	recv_all(r->data, r->len);
}

static struct xdr_out begin(struct record *r, enum program program, enum proc proc)
{
	struct xdr_out out = xdr_out_of(r->data, sizeof(r->data));

	xdr_out_u32(&out, next_xid++);
	xdr_out_u32(&out, 0);
	xdr_out_u32(&out, 2);
	xdr_out_u32(&out, program);
	xdr_out_u32(&out, 3);
	xdr_out_u32(&out, proc);
	xdr_out_u32(&out, 1);			/* AUTH_SYS, of root */
	xdr_out_u32(&out, 20);
	for (int i = 0; i < 7; i++)
		xdr_out_u32(&out, 0);		/* and no verifier */
	return out;
}

static void end(struct record *r, const struct xdr_out *out)
{
	r->len = (uint32_t)(out->p - r->data);
}

static void put_name(struct xdr_out *out, const struct fh *dir, const char *name)
{
	xdr_out_opaque(out, dir->data, dir->len);
	xdr_out_opaque(out, name, strlen(name));
}

static void put_sattr(struct xdr_out *out, uint32_t mode)
{
	xdr_out_u32(out, 1);
	xdr_out_u32(out, mode);
	for (int i = 0; i < 5; i++)
		xdr_out_u32(out, 0);
}

/* The results, behind an accepted reply's header. */
static struct xdr_in results(const struct record *reply)
{
	struct xdr_in in = xdr_in_of(reply->data + HEADER, reply->len - HEADER);

	if (xdr_load_u32(reply->data + HEADER - 4))
		die("refused by RPC");
	return in;
}

static struct xdr_in ask(const struct record *call)
{
	static struct record reply;

	send_record(call);
	recv_record(&reply);
	return results(&reply);
}

static struct fh in_fh(struct xdr_in *in)
{
	struct slice s = xdr_in_opaque(in, 64);
	struct fh fh = { .len = (uint32_t)s.len };

	if (in->is_bad)
		die("no handle");
	memcpy(fh.data, s.data, s.len);
	return fh;
}

static struct fh mount_root(void)
{
	struct record r;
	struct xdr_out out = begin(&r, MOUNT, (enum proc)1);
	struct xdr_in in;

	xdr_out_opaque(&out, "/imports", 8);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in))
		die("MNT");
	return in_fh(&in);
}

static struct xdr_in ask_attr(const struct fh *fh)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, GETATTR);
	struct xdr_in in;

	xdr_out_opaque(&out, fh->data, fh->len);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in) || xdr_in_left(&in) != ATTR)
		die("GETATTR");
	return in;
}

/* CREATE or MKDIR, waiting. */
static struct fh make(enum proc proc, const struct fh *dir, const char *name)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, proc);
	struct xdr_in in;

	put_name(&out, dir, name);
	if (proc == CREATE)
		xdr_out_u32(&out, GUARDED);
	put_sattr(&out, 0755);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in) || !xdr_in_u32(&in))
		die("something to begin with");
	return in_fh(&in);
}

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
