/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resend: calls that are not idempotent, sent again byte by byte after the server was killed (invariant 2).
 *
 *	resend PORT NAME FILE wait	in a new directory NAME: the calls; waits for the answers; all are OK
 *	resend PORT NAME FILE leave	the same, but does not wait
 *	resend PORT NAME FILE again	the same bytes once more; prints TAP: all OK, new objects have the handles
 *					they had the first time, and things are as the calls have made them
 *
 * Speaks for itself, without libnfs, since it must choose the xids.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include "nfsd/xdr.h"

#define MOUNT 100005
#define NFS 100003
enum {
	GETATTR = 1,
	SETATTR = 2,
	LOOKUP = 3,
	CREATE = 8,
	MKDIR = 9,
	SYMLINK = 10,
	MKNOD = 11,
	REMOVE = 12,
	RMDIR = 13,
	RENAME = 14,
	LINK = 15
};

#define CALLS 12
#define RECORD_MAX 2048

struct fh {
	uint32_t len;
	char data[64];
};

struct record {
	uint32_t len;
	unsigned char data[RECORD_MAX];
};

/* What FILE holds. */
struct saved {
	struct fh dir;
	struct record call[CALLS], reply[CALLS];
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
	if (r->len < 24 || r->len > sizeof(r->data))
		die("an answer of a strange length");
	recv_all(r->data, r->len);
}

static struct xdr_out begin(struct record *r, uint32_t program, uint32_t proc)
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
	struct xdr_in in = xdr_in_of(reply->data + 24, reply->len - 24);

	if (xdr_load_u32(reply->data + 20))
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
	struct xdr_out out = begin(&r, MOUNT, 1);
	struct xdr_in in;

	xdr_out_opaque(&out, "/imports", 8);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in))
		die("MNT");
	return in_fh(&in);
}

/* CREATE or MKDIR, waiting. */
static struct fh make(uint32_t proc, const struct fh *dir, const char *name)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, proc);
	struct xdr_in in;

	put_name(&out, dir, name);
	if (proc == CREATE)
		xdr_out_u32(&out, 1);	/* guarded */
	put_sattr(&out, 0755);
	end(&r, &out);
	in = ask(&r);
	if (xdr_in_u32(&in) || !xdr_in_u32(&in))
		die("something to begin with");
	return in_fh(&in);
}

/* SETATTR of the mode; guarded: with the ctime that it has now, and has no more when it is sent again. */
static void put_setattr(struct record *r, const struct fh *fh, bool is_guarded)
{
	struct record ask_attr;
	struct xdr_out out = begin(&ask_attr, NFS, GETATTR);
	struct xdr_in in;

	xdr_out_opaque(&out, fh->data, fh->len);
	end(&ask_attr, &out);
	in = ask(&ask_attr);
	if (xdr_in_u32(&in) || !xdr_in_fixed(&in, 76).data)
		die("GETATTR");
	out = begin(r, NFS, SETATTR);
	xdr_out_opaque(&out, fh->data, fh->len);
	put_sattr(&out, 0604);
	xdr_out_u32(&out, is_guarded);
	if (is_guarded)
		xdr_out_u64(&out, xdr_in_u64(&in));
	end(r, &out);
}

/* CREATE, by how: 0 unchecked, 2 exclusive. */
static void put_create(struct record *r, const struct fh *dir, const char *name, uint32_t how)
{
	struct xdr_out out = begin(r, NFS, CREATE);

	put_name(&out, dir, name);
	xdr_out_u32(&out, how);
	if (how == 2)
		xdr_out_u64(&out, 0x7665726966696572);
	else
		put_sattr(&out, 0640);
	end(r, &out);
}

/* The calls that are sent again; each can be done once only. */
static void prepare(struct saved *s)
{
	struct fh target = make(CREATE, &s->dir, "to be linked");
	struct fh changed = make(CREATE, &s->dir, "to be changed"), guarded = make(CREATE, &s->dir, "guarded");
	struct xdr_out out;
	unsigned n = 0;

	(void)make(CREATE, &s->dir, "to be removed");
	(void)make(MKDIR, &s->dir, "dir to be removed");
	(void)make(CREATE, &s->dir, "to be renamed");

	out = begin(&s->call[n], NFS, REMOVE);
	put_name(&out, &s->dir, "to be removed");
	end(&s->call[n++], &out);

	out = begin(&s->call[n], NFS, RENAME);
	put_name(&out, &s->dir, "to be renamed");
	put_name(&out, &s->dir, "renamed");
	end(&s->call[n++], &out);

	out = begin(&s->call[n], NFS, MKDIR);
	put_name(&out, &s->dir, "new dir");
	put_sattr(&out, 0750);
	end(&s->call[n++], &out);

	out = begin(&s->call[n], NFS, CREATE);
	put_name(&out, &s->dir, "new file");
	xdr_out_u32(&out, 1);
	put_sattr(&out, 0640);
	end(&s->call[n++], &out);

	out = begin(&s->call[n], NFS, LINK);
	xdr_out_opaque(&out, target.data, target.len);
	put_name(&out, &s->dir, "linked");
	end(&s->call[n++], &out);

	out = begin(&s->call[n], NFS, RMDIR);
	put_name(&out, &s->dir, "dir to be removed");
	end(&s->call[n++], &out);

	out = begin(&s->call[n], NFS, SYMLINK);
	put_name(&out, &s->dir, "new link");
	put_sattr(&out, 0777);
	xdr_out_opaque(&out, "target", 6);
	end(&s->call[n++], &out);

	put_setattr(&s->call[n++], &changed, false);
	put_setattr(&s->call[n++], &guarded, true);
	put_create(&s->call[n++], &s->dir, "unchecked", 0);
	put_create(&s->call[n++], &s->dir, "exclusive", 2);

	out = begin(&s->call[n], NFS, MKNOD);
	put_name(&out, &s->dir, "new fifo");
	xdr_out_u32(&out, 7);
	put_sattr(&out, 0640);
	end(&s->call[n++], &out);
}

static const char *const names[CALLS] = {
	"REMOVE", "RENAME", "MKDIR", "CREATE, guarded", "LINK", "RMDIR", "SYMLINK", "SETATTR", "SETATTR, guarded",
	"CREATE, unchecked", "CREATE, exclusive", "MKNOD",
};

static bool makes(unsigned i)
{
	return i == 2 || i == 3 || i == 6 || i >= 9;
}

/* Sends all; with replies: waits for them, which come in any order. */
static void send_all(struct saved *s, bool with_replies)
{
	for (unsigned i = 0; i < CALLS; i++)
		send_record(&s->call[i]);
	for (unsigned k = 0; with_replies && k < CALLS; k++) {
		struct record reply;
		unsigned i;

		recv_record(&reply);
		for (i = 0; i < CALLS && memcmp(reply.data, s->call[i].data, 4); i++)
			;
		if (i == CALLS)
			die("an answer to another call");
		s->reply[i] = reply;
	}
}

static bool is_there(const struct fh *dir, const char *name)
{
	struct record r;
	struct xdr_out out = begin(&r, NFS, LOOKUP);
	struct xdr_in in;

	put_name(&out, dir, name);
	end(&r, &out);
	in = ask(&r);
	return xdr_in_u32(&in) == 0;
}

static unsigned tests, failed;

static void verdict(bool is_ok, const char *what, const char *more)
{
	printf("%sok %u - %s%s\n", is_ok ? "" : "not ", ++tests, what, more);
	failed += !is_ok;
}

/* first: the answers of the first time, if there were any. */
static void compare(const struct saved *first, const struct saved *again)
{
	for (unsigned i = 0; i < CALLS; i++) {
		struct xdr_in in = results(&again->reply[i]);
		uint32_t status = xdr_in_u32(&in);
		bool is_ok = !status;

		if (status)
			printf("# %s sent again: status %u\n", names[i], status);
		if (is_ok && makes(i) && first->reply[i].len) {
			struct xdr_in was = results(&first->reply[i]);
			struct fh a, b;

			(void)xdr_in_u64(&was);
			(void)xdr_in_u32(&in);
			a = in_fh(&was);
			b = in_fh(&in);
			is_ok = a.len == b.len && !memcmp(a.data, b.data, a.len);
			if (!is_ok)
				printf("# %s sent again: another object\n", names[i]);
		}
		verdict(is_ok, names[i],
			first->reply[i].len ? " sent again: the first answer" :
					      " whose answer was lost, sent again");
	}
}

static uint32_t status_of(const struct record *call)
{
	struct xdr_in in = ask(call);

	return xdr_in_u32(&in);
}

/* What differs in anything is another call: it is carried out, and finds what the first one left. */
static void others(const struct saved *s)
{
	struct record call = s->call[3];

	xdr_store_u32(call.data, next_xid++);
	verdict(status_of(&call) == 17, "CREATE, guarded", " with another xid: another answer");
	call = s->call[3];
	xdr_store_u32(call.data + 40, 1000);	/* uid: behind the call's 24 bytes, flavor, length, stamp, name */
	verdict(status_of(&call) == 17, "CREATE, guarded", " with other credentials: another answer");
	call = s->call[3];
	call.data[call.len - 21] ^= 1;		/* of the mode */
	verdict(status_of(&call) == 17, "CREATE, guarded", " with other arguments: another answer");
}

static void look(const struct fh *dir)
{
	static const char *const gone[] = { "to be removed", "dir to be removed", "to be renamed" };
	static const char *const there[] = { "renamed", "new dir", "new file", "linked", "new link",
					     "to be linked", "unchecked", "exclusive",
					     "new fifo" };
	bool is_ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		is_ok &= !is_there(dir, gone[i]);
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		is_ok &= is_there(dir, there[i]);
	verdict(is_ok, "each was done once", "");
}

static void save(const char *path, const struct saved *s)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(s, sizeof(*s), 1, f) != 1 || fclose(f))
		die("cannot write the file");
}

int main(int argc, char **argv)
{
	static struct saved first, again;
	struct fh root;
	FILE *f;

	if (argc != 5) {
		fprintf(stderr, "usage: %s PORT NAME FILE wait|leave|again\n", argv[0]);
		return 2;
	}
	next_xid = (uint32_t)getpid() << 8;
	connect_to(argv[1]);
	if (!strcmp(argv[4], "again")) {
		f = fopen(argv[3], "r");
		if (!f || fread(&first, sizeof(first), 1, f) != 1)
			die("cannot read the file");
		fclose(f);
		again = first;
		send_all(&again, true);
		compare(&first, &again);
		others(&first);
		look(&first.dir);
		printf("1..%u\n", tests);
		return failed != 0;
	}
	root = mount_root();
	first.dir = make(MKDIR, &root, argv[2]);
	prepare(&first);
	save(argv[3], &first);	/* it may be killed as well */
	send_all(&first, !strcmp(argv[4], "wait"));
	save(argv[3], &first);
	return 0;
}
