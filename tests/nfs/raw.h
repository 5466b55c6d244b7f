/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * raw: NFS and MOUNT calls byte by byte, for what libnfs cannot send: chosen xids, names of any bytes.
 *
 * What fails that is not what the test is about ends the program.
 */
#ifndef TESTS_NFS_RAW_H
#define TESTS_NFS_RAW_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nfsd/xdr.h"

#define UNUSED __attribute__((unused))

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
	LINK = 15,
	READDIR = 16
};

/* createmode3 */
enum { UNCHECKED, GUARDED, EXCLUSIVE };

#define NFS3ERR_EXIST 17
#define NFS3ERR_NOSPC 28
#define HEADER 24		/* of an accepted reply, and of a call up to its credentials */
#define UID_AT (HEADER + 16)	/* flavor, length, stamp, an empty name */
#define ATTR 84
#define ATTR_MTIME 68		/* in fattr3, and behind it ctime */
#define RECORD_MAX 8192

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

static UNUSED void __attribute__((noreturn)) die(const char *what)
{
	printf("not ok - %s\n", what);
	exit(1);
}

static UNUSED void connect_to(const char *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { 30, 0 };

	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect");
}

static UNUSED void send_record(const struct record *r)
{
	unsigned char mark[4];

	xdr_store_u32(mark, 0x80000000u | r->len);
	if (send(sock, mark, 4, MSG_MORE | MSG_NOSIGNAL) != 4 ||
	    send(sock, r->data, r->len, MSG_NOSIGNAL) != (ssize_t)r->len)
		die("send");
}

static UNUSED void recv_all(void *data, size_t len)
{
	if (len && recv(sock, data, len, MSG_WAITALL) != (ssize_t)len)
		die("no answer");
}

static UNUSED void recv_record(struct record *r)
{
	unsigned char mark[4];

	recv_all(mark, 4);
	r->len = xdr_load_u32(mark) & 0x7fffffff;
	if (r->len < HEADER || r->len > sizeof(r->data))
		die("an answer of a strange length");
	recv_all(r->data, r->len);
}

static UNUSED struct xdr_out begin(struct record *r, enum program program, enum proc proc)
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

static UNUSED void end(struct record *r, const struct xdr_out *out)
{
	r->len = (uint32_t)(out->p - r->data);
}

static UNUSED void put_name(struct xdr_out *out, const struct fh *dir, const char *name)
{
	xdr_out_opaque(out, dir->data, dir->len);
	xdr_out_opaque(out, name, strlen(name));
}

static UNUSED void put_sattr(struct xdr_out *out, uint32_t mode)
{
	xdr_out_u32(out, 1);
	xdr_out_u32(out, mode);
	for (int i = 0; i < 5; i++)
		xdr_out_u32(out, 0);
}

/* The results, behind an accepted reply's header. */
static UNUSED struct xdr_in results(const struct record *reply)
{
	struct xdr_in in = xdr_in_of(reply->data + HEADER, reply->len - HEADER);

	if (xdr_load_u32(reply->data + HEADER - 4))
		die("refused by RPC");
	return in;
}

static UNUSED struct xdr_in ask(const struct record *call)
{
	static struct record reply;

	send_record(call);
	recv_record(&reply);
	return results(&reply);
}

static UNUSED struct fh in_fh(struct xdr_in *in)
{
	struct slice s = xdr_in_opaque(in, 64);
	struct fh fh = { .len = (uint32_t)s.len };

	if (in->is_bad)
		die("no handle");
	memcpy(fh.data, s.data, s.len);
	return fh;
}

static UNUSED struct fh mount_root(void)
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

static UNUSED struct xdr_in ask_attr(const struct fh *fh)
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
static UNUSED struct fh make(enum proc proc, const struct fh *dir, const char *name)
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

#endif
