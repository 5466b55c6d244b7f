/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * calls: every procedure of NFS and MOUNT against a server with a live cache.  Whatever is sent, each call gets one
 * reply, and each result is what rpcgen's decoder of RFC 1813's XDR takes for one, to the last byte; so are the
 * arguments of every call that was carried out.
 *
 * The input is a list of calls:
 *
 *	u8 kind		bits 0..4 procedure; 5 MOUNT; 6 send the call before again; 7 the arguments are the whole record
 *	u8 who		bits 0..2 who calls; 3.. something odd in the header
 *	u16 len		of the arguments, which follow; in them, at places divisible by 4,
 *		f0f0f0NN	stands for the handle of the NNth object made (0: the root): length and bytes
 *		f0f0f1NN	for opaque data of NN * 4000 bytes
 */
#include <errno.h>
#include <rpc/rpc.h>
#include <sys/socket.h>
#include "base/buf.h"
#include "base/clock.h"
#include "cache/cml.h"
#include "nfsd/internal.h"
#include "rpcgen/mount3.h"
#include "rpcgen/nfs3.h"
#include "tests/fuzz/fuzz.h"

#define CALLS_MAX 64
#define INPUTS_PER_CACHE 3000
#define STREAM_MAX (4u << 20)
#define FILL_UNIT 4000u
#define LAST_XID 0xffffffffu
#define POLL_US 1000
#define PATIENCE_US (50 * US_PER_S)

/* ---- arguments and results, as RFC 1813 has them ---- */

struct xdr_pair {
	xdrproc_t args, res;
};

#define VOID (xdrproc_t)xdr_void
#define PAIR(args, res) { (xdrproc_t)xdr_##args, (xdrproc_t)xdr_##res }
static const struct xdr_pair nfs_pairs[] = {
	{ VOID, VOID },
	PAIR(GETATTR3args, GETATTR3res), PAIR(SETATTR3args, SETATTR3res), PAIR(LOOKUP3args, LOOKUP3res),
	PAIR(ACCESS3args, ACCESS3res), PAIR(READLINK3args, READLINK3res), PAIR(READ3args, READ3res),
	PAIR(WRITE3args, WRITE3res), PAIR(CREATE3args, CREATE3res), PAIR(MKDIR3args, CREATE3res),
	PAIR(SYMLINK3args, CREATE3res), PAIR(MKNOD3args, CREATE3res), PAIR(REMOVE3args, REMOVE3res),
	PAIR(REMOVE3args, REMOVE3res), PAIR(RENAME3args, RENAME3res), PAIR(LINK3args, LINK3res),
	PAIR(READDIR3args, READDIR3res), PAIR(READDIRPLUS3args, READDIRPLUS3res),
	PAIR(GETATTR3args, FSSTAT3res), PAIR(GETATTR3args, FSINFO3res), PAIR(GETATTR3args, PATHCONF3res),
	PAIR(COMMIT3args, COMMIT3res),
};
static const struct xdr_pair mount_pairs[] = {
	{ VOID, VOID }, PAIR(dirpath, mountres3), { VOID, (xdrproc_t)xdr_mountlist },
	{ (xdrproc_t)xdr_dirpath, VOID }, { VOID, VOID }, { VOID, (xdrproc_t)xdr_exports },
};

/* The largest of them, zeroed: what a decoder fills in. */
union any {
	GETATTR3args getattr_args;
	WRITE3args write_args;
	RENAME3args rename_args;
	SYMLINK3args symlink_args;
	MKNOD3args mknod_args;
	READDIRPLUS3res readdirplus_res;
	RENAME3res rename_res;
	LINK3res link_res;
	CREATE3res create_res;
	FSINFO3res fsinfo_res;
	FSSTAT3res fsstat_res;
	mountres3 mount_res;
	char room[4096];
};

static bool decodes(xdrproc_t proc, const void *data, size_t len)
{
	union any value;
	XDR xdr;
	bool is_good;

	memset(&value, 0, sizeof(value));
	xdrmem_create(&xdr, (char *)data, (u_int)len, XDR_DECODE);
	is_good = proc(&xdr, &value) && xdr_getpos(&xdr) == len;
	xdr_destroy(&xdr);
	xdr_free(proc, &value);
	return is_good;
}

/* ---- the server, kept ---- */

static struct loop *loop;
static struct cache *cache;
static struct nfsd *nfsd;
static unsigned inputs;
static uint32_t xids;
static uint8_t key[FH_KEY_LEN];

static struct cache_op op;

static void op_done(struct cache_op *done)
{
	(void)done;
	loop_stop(loop);
}

static struct cache_op *begin(void)
{
	op = (struct cache_op){ .done = op_done, .loop = loop, .deadline_us = clock_us() + US_PER_S };
	return &op;
}

static void made(int got)
{
	if (got == CACHE_WAITS)
		MUST(!loop_run(loop) && !op.err);
	else
		MUST(!got);
}

/* One object of each kind, inos from 3 on. */
static void make_objects(void)
{
	const struct attr_change change = { .set = SET_MODE, .mode = 0755 };
	uint64_t root = cache_root(cache);

	made(cache_mkdir(cache, begin(), root, (struct slice){ "d", 1 }, &change));
	made(cache_create(cache, begin(), root, (struct slice){ "f", 1 }, CREATE_GUARDED, &change, NULL));
	made(cache_symlink(cache, begin(), root, (struct slice){ "l", 1 }, (struct slice){ "d/g", 3 }, NULL));
	made(cache_mknod(cache, begin(), root, (struct slice){ "p", 1 }, TYPE_FIFO, 0, 0, &change));
	made(cache_create(cache, begin(), root + 1, (struct slice){ "g", 1 }, CREATE_GUARDED, &change, NULL));
}

static void open_server(void)
{
	static struct nfsd_export export = { .path = "/imports" };
	struct cache_config config = { .dir = fuzz_dir_make(), .no_sync = true, .starts_empty = true };
	struct nfsd_config nfsd_config = { .exports = &export, .n_exports = 1, .no_rpcbind = true,
					   .allow_unprivileged_ports = true };

	MUST(!cache_open(&config, &cache, NULL));
	make_objects();
	export.cache = cache;
	MUST(!nfsd_start(loop, &nfsd_config, -1, &nfsd, NULL));
	cache_handle_key(cache, key);
}

static void close_server(void)
{
	nfsd_free(nfsd);
	cache_close(cache);
	fuzz_dir_remove();
}

/* ---- of one input ---- */

static struct sent {
	uint32_t xid;
	bool is_raw;		/* nothing is known of its reply */
	unsigned proc;
	const struct xdr_pair *pair;
	size_t start, args, end;	/* in out: the record with its mark, the arguments */
	unsigned sent, replies;
} calls[CALLS_MAX];
static unsigned n_calls;
static struct buf out, in_buf;
static size_t out_at;
static struct conn *conn;
static struct loop_fd client;
static struct loop_timer poll_timer;
static uint64_t since_us;
static bool is_too_long, has_raw, is_closed, is_last_answered;

static struct sent *call_of(uint32_t xid)
{
	for (unsigned i = 0; i < n_calls; i++)
		if (calls[i].xid == xid && !calls[i].is_raw)
			return &calls[i];
	return NULL;
}

/* ---- making calls ---- */

/* Inos are given out in order, from the root's on; the highest NN are handles that are no good. */
static void add_handle(unsigned n)
{
	uint8_t fh[FH_LEN];

	fh_seal(key, cache_tree_id(cache) + (n == 0xff), cache_root(cache) + n, fh);
	fh[FH_LEN - 1] ^= n == 0xfe;
	buf_u32be(&out, FH_LEN);
	buf_append(&out, fh, FH_LEN);
}

static void add_args(struct slice bytes)
{
	const uint8_t *p = bytes.data;
	size_t at = 0;

	for (; bytes.len - at >= 4; at += 4) {
		uint32_t word = xdr_load_u32(p + at);

		if (word >> 8 == 0xf0f0f0) {
			add_handle(word & 0xff);
		} else if (word >> 8 == 0xf0f0f1) {
			uint32_t len = (word & 0xff) * FILL_UNIT;
			void *room;

			buf_u32be(&out, len);
			room = buf_extend(&out, len);
			if (room)
				memset(room, (int)(word & 0xff), len);
		} else {
			buf_append(&out, p + at, 4);
		}
	}
	buf_append(&out, p + at, bytes.len - at);
}

static void add_cred(uint8_t who)
{
	static const uint32_t uids[] = { 0, 1000, 1000, 65534, 0, 1001, 4242, 0 };
	uint32_t uid = uids[who & 7], groups = (who & 7) == 2 ? 16 : 0;

	buf_u32be(&out, who & 0x10 ? RPCSEC_GSS : (who & 7) == 7 ? AUTH_NONE : AUTH_SYS);
	if ((who & 7) == 7) {
		buf_u32be(&out, 0);
	} else {
		buf_u32be(&out, 24 + 4 * groups);
		buf_u32be(&out, 0);		/* stamp */
		buf_u32be(&out, 4);
		buf_append(&out, "fuzz", 4);
		buf_u32be(&out, uid);
		buf_u32be(&out, uid);
		buf_u32be(&out, groups);
		for (uint32_t i = 0; i < groups; i++)
			buf_u32be(&out, 100 + i);
	}
	buf_u32be(&out, who & 0x20 ? AUTH_SYS : AUTH_NONE);
	buf_u32be(&out, 0);
}

static size_t begin_record(void)
{
	size_t mark = out.len;

	buf_u32be(&out, 0);
	return mark;
}

static void end_record(size_t mark)
{
	MUST(!buf_error(&out));
	xdr_store_u32(out.data + mark, 0x80000000u | (uint32_t)(out.len - mark - 4));
}

/* The record of the last call once more, as a client does that got no answer. */
static void resend(void)
{
	struct sent *call = &calls[n_calls - 1];
	size_t len = call->end - call->start;
	void *room = buf_extend(&out, len);

	MUST(room);
	memcpy(room, out.data + call->start, len);
	call->sent++;
}

static void add_call(struct input *in)
{
	uint8_t kind = input_u8(in), who = input_u8(in);
	struct slice bytes = input_bytes(in, input_u16(in));
	bool is_mount = kind & 0x20;
	struct sent *call = &calls[n_calls];
	size_t mark;

	if ((kind & 0x40) && n_calls) {
		resend();
		return;
	}
	mark = begin_record();
	*call = (struct sent){ .xid = ++xids, .proc = kind & 0x1f, .sent = 1, .is_raw = kind & 0x80,
			      .start = mark };
	if (call->is_raw) {
		has_raw = true;
		add_args(bytes);
	} else {
		if (call->proc < (is_mount ? ARRAY_SIZE(mount_pairs) : ARRAY_SIZE(nfs_pairs)) && !(who & 0xf8))
			call->pair = is_mount ? &mount_pairs[call->proc] : &nfs_pairs[call->proc];
		buf_u32be(&out, call->xid);
		buf_u32be(&out, CALL);
		buf_u32be(&out, who & 0x08 ? 3 : RPC_MSG_VERSION);
		buf_u32be(&out, who & 0x80 ? 100021 : is_mount ? MOUNT_PROGRAM : NFS_PROGRAM);
		buf_u32be(&out, who & 0x40 ? 4 : 3);
		buf_u32be(&out, call->proc);
		add_cred(who);
		call->args = out.len;
		add_args(bytes);
	}
	end_record(mark);
	call->end = out.len;
	is_too_long |= call->end - mark > CONN_RECORD_MAX;
	n_calls++;
}

static void add_null(uint32_t xid)
{
	size_t mark = begin_record();

	buf_u32be(&out, xid);
	buf_u32be(&out, CALL);
	buf_u32be(&out, RPC_MSG_VERSION);
	buf_u32be(&out, NFS_PROGRAM);
	buf_u32be(&out, NFS_V3);
	buf_u32be(&out, NFSPROC3_NULL);
	for (int i = 0; i < 4; i++)
		buf_u32be(&out, 0);	/* AUTH_NONE twice */
	end_record(mark);
}

/* ---- taking replies ---- */

static void check_accepted(struct sent *call, struct xdr_in *in)
{
	uint32_t flavor = xdr_in_u32(in), verf = xdr_in_u32(in), stat = xdr_in_u32(in);

	MUST(!in->is_bad && flavor == AUTH_NONE && !verf && stat <= GARBAGE_ARGS);
	if (stat == PROG_MISMATCH) {
		MUST(xdr_in_u32(in) == 3 && xdr_in_u32(in) == 3 && xdr_in_done(in));
	} else if (stat != SUCCESS) {
		MUST(xdr_in_done(in));
	} else if (call) {
		MUST(call->pair);
		MUST(decodes(call->pair->res, in->p, xdr_in_left(in)));
		MUST(decodes(call->pair->args, out.data + call->args, call->end - call->args));
	}
}

static void take_reply(const unsigned char *record, size_t len)
{
	struct xdr_in in = xdr_in_of(record, len);
	uint32_t xid = xdr_in_u32(&in), type = xdr_in_u32(&in), stat = xdr_in_u32(&in);
	struct sent *call = call_of(xid);

	MUST(!in.is_bad && type == REPLY && stat <= MSG_DENIED);
	MUST(call || has_raw || xid == LAST_XID);
	if (call) {
		MUST(call->replies < call->sent);
		call->replies++;
	}
	if (stat == MSG_ACCEPTED)
		check_accepted(call, &in);
	else
		MUST(xdr_in_u32(&in) <= AUTH_ERROR && xdr_in_left(&in) <= 8);
	is_last_answered |= xid == LAST_XID;
}

static void take_replies(void)
{
	size_t at = 0;

	while (in_buf.len - at >= 4) {
		uint32_t mark = xdr_load_u32(in_buf.data + at), len = mark & 0x7fffffff;

		MUST(mark >> 31 && len < 2 * BLOCK_MAX);	/* single fragments */
		if (in_buf.len - at - 4 < len)
			break;
		take_reply(in_buf.data + at + 4, len);
		at += 4 + len;
	}
	buf_consume(&in_buf, at);
}

static void receive(void)
{
	static unsigned char data[256 * 1024];
	ssize_t n;

	while ((n = recv(client.fd, data, sizeof(data), MSG_DONTWAIT)) > 0)
		buf_append(&in_buf, data, (size_t)n);
	is_closed |= !n || (n < 0 && errno != EAGAIN && errno != EINTR);
	take_replies();
}

static void stop_if_over(void)
{
	MUST(clock_us() - since_us < PATIENCE_US);
	if (!nfsd->n_calls && (is_closed || (is_last_answered && !conn->tx_len)))
		loop_stop(loop);
}

static void client_ready(struct loop_fd *lfd, uint32_t events)
{
	if ((events & EPOLLOUT) && !is_closed) {
		ssize_t n = send(lfd->fd, out.data + out_at, out.len - out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

		out_at += n > 0 ? (size_t)n : 0;
	}
	receive();
	MUST(!loop_mod(loop, lfd, is_closed ? 0 : EPOLLIN | (out_at < out.len ? EPOLLOUT : 0)));
	if (is_closed)
		loop_del(loop, lfd);
	stop_if_over();
}

static void poll_fired(struct loop_timer *timer)
{
	stop_if_over();
	loop_timer_set(loop, timer, clock_us() + POLL_US);
}

/* ---- an input ---- */

static void run(void)
{
	int fds[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
	client = (struct loop_fd){ .fd = fds[1], .ready = client_ready };
	MUST(!conn_new(nfsd, fds[0], "fuzz"));
	conn = list_first(&nfsd->conns, struct conn, node);
	conn_get(conn);
	MUST(!loop_add(loop, &client, EPOLLIN | EPOLLOUT));
	since_us = clock_us();
	loop_timer_set(loop, &poll_timer, since_us + POLL_US);
	MUST(!loop_run(loop));
	receive();
	loop_timer_cancel(loop, &poll_timer);
	if (!is_closed)
		loop_del(loop, &client);
	conn_kill(conn);
	MUST(conn->refs == 1 && !conn->calls && !nfsd->n_conns);
	conn_put(conn);
	close(client.fd);
}

static void check_end(void)
{
	struct cache_status status;

	MUST(is_closed ? has_raw || is_too_long : !in_buf.len);
	for (unsigned i = 0; !is_closed && i < n_calls; i++)
		MUST(calls[i].is_raw || calls[i].replies || !calls[i].sent);
	cache_status(cache, &status);
	MUST(!status.is_failed);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	MUST(!loop_new(&loop));
	poll_timer.fire = poll_fired;
	open_server();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	if (++inputs % INPUTS_PER_CACHE == 0) {
		close_server();
		open_server();
	}
	n_calls = 0;
	out_at = 0;
	is_too_long = has_raw = is_closed = is_last_answered = false;
	buf_init(&out, 0);
	buf_init(&in_buf, 0);
	while (input_left(&in) && n_calls < CALLS_MAX && out.len < STREAM_MAX)
		add_call(&in);
	add_null(LAST_XID);
	MUST(!buf_error(&out));
	run();
	check_end();
	buf_release(&out);
	buf_release(&in_buf);
	return 0;
}
