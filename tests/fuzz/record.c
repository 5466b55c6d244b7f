/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * record: nfsd/conn.c, which puts records together from fragments, against the few lines that do it with the whole
 * stream at hand.  The calls are made up: some answer at once, some hold on to their arguments and answer later, some
 * find that it is no call.
 *
 *	u8 n, n bytes	plan: sizes of the pieces in which the stream comes, and what each call does; used in turn
 *	rest		the stream, as ops:
 *			0nnnnnnn	n + 1 bytes follow, as they are
 *			1xxxssxx LLL	the mark of a fragment of L bytes, or (s) 2^5, 2^10, 2^16 times fewer;
 *					bit 0: the last one; bit 1: all of those bytes follow, else at most 64
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "base/buf.h"
#include "nfsd/internal.h"
#include "tests/fuzz/fuzz.h"

#define STREAM_MAX (3u << 19)
#define RECORDS_MAX 4096
#define ROUNDS_MAX 2000000
#define REPLIES_MAX (2u << 20)

enum deed {
	HOLD	= 1 << 0,	/* the arguments are used until later */
	REPLY	= 1 << 1,
	NO_CALL	= 1 << 2,	/* with HOLD and REPLY only, or most streams would end soon */
	DIE	= 1 << 3,	/* the same */
};

struct held {
	struct list node;
	struct block *block;
	const unsigned char *data;
	unsigned char *copy;
	size_t len;
};

static struct loop *loop;
static struct nfsd nfsd;
static struct loop_timer tick;

/* ---- of one input ---- */

static struct slice plan;
static size_t plan_at;
static struct buf stream;
static size_t sent;
static struct { size_t at, len; } want[RECORDS_MAX];	/* in whole */
static struct buf whole;
static unsigned n_want, n_got;
static bool must_drop;
static struct list held;
static struct conn *conn;
static int peer;
static uint64_t replied, received;
static unsigned char reply_byte, received_byte;
static unsigned rounds;
static bool is_closing, is_stuck;

static uint8_t next_plan(void)
{
	return plan.len ? ((const uint8_t *)plan.data)[plan_at++ % plan.len] : 0;
}

/* ---- the stream, and what is in it ---- */

static void add_fragment(struct input *in, uint8_t op)
{
	static const unsigned shift[] = { 0, 5, 10, 16 };
	uint32_t len = input_u8(in), all;
	unsigned char *p;

	len = (len << 16 | input_u16(in)) % (CONN_RECORD_MAX + 16) >> shift[op >> 2 & 3];
	all = op & 2 ? len : MIN(len, 64);
	buf_u32be(&stream, (op & 1 ? 0x80000000u : 0) | len);
	p = buf_extend(&stream, all);
	if (!p)
		return;
	for (uint32_t i = 0; i < all; i++)
		p[i] = (unsigned char)(i * 7 + len);
}

static void make_stream(struct input *in)
{
	while (input_left(in) && !buf_error(&stream)) {
		uint8_t op = input_u8(in);

		if (op & 0x80) {
			add_fragment(in, op);
		} else {
			struct slice bytes = input_bytes(in, op + 1u);

			buf_append(&stream, bytes.data, bytes.len);
		}
	}
	stream.error = 0;	/* full: it ends there */
}

static void read_whole(void)
{
	size_t at = 0, from = 0;

	while (stream.len - at >= 4) {
		uint32_t mark = xdr_load_u32(stream.data + at), len = mark & 0x7fffffff;

		at += 4;
		must_drop = len > CONN_RECORD_MAX - (whole.len - from);
		if (must_drop || stream.len - at < len)
			return;
		buf_append(&whole, stream.data + at, len);
		at += len;
		if (!(mark >> 31))
			continue;
		if (n_want == RECORDS_MAX) {	/* the rest is not sent */
			stream.len = at - len - 4;
			return;
		}
		want[n_want].at = from;
		want[n_want++].len = whole.len - from;
		from = whole.len;
	}
}

/* ---- the calls ---- */

static void reply(uint8_t deed)
{
	size_t len = 16u << (deed >> 5);
	void *p;

	if (replied > REPLIES_MAX)
		return;
	p = conn_reply_begin(conn, len);
	MUST(p || conn->is_dead);
	if (!p)
		return;
	memset(p, reply_byte++, len);
	conn_reply_end(conn, len);
	replied += len;
}

static void hold(struct block *block, const unsigned char *data, size_t len)
{
	struct held *call = calloc(1, sizeof(*call));

	MUST(call);
	call->block = block_get(block);
	call->data = data;
	call->len = len;
	call->copy = input_copy((struct slice){ data, len });
	list_append(&held, &call->node);
	conn_get(conn);
	conn->calls++;
	nfsd.n_calls++;
}

static void end_held(bool with_reply)
{
	struct held *call = list_first(&held, struct held, node);

	MUST(!call->len || !memcmp(call->data, call->copy, call->len));	/* nobody wrote there meanwhile */
	list_del(&call->node);
	if (with_reply)
		reply(next_plan());
	block_put(call->block);
	conn->calls--;
	nfsd.n_calls--;
	conn_put(conn);
	free(call->copy);
	free(call);
}

/* rpc_dispatch() below has no figures of its calls. */
void stats_sent(struct nfsd *of, struct call_figures *call, uint64_t now_us, const char *name)
{
	(void)of, (void)call, (void)now_us, (void)name;
	MUST(false);
}

int rpc_dispatch(struct conn *of, struct block *block, const unsigned char *data, size_t len)
{
	uint8_t deed = next_plan();

	MUST(of == conn && !conn->is_dead && !is_closing);
	MUST(conn->calls < nfsd.max_calls);
	MUST(n_got < n_want && len == want[n_got].len);
	MUST(!len || !memcmp(data, whole.data + want[n_got].at, len));
	n_got++;
	if ((deed & (HOLD | REPLY)) == (HOLD | REPLY)) {
		if (deed & NO_CALL) {
			is_closing = true;
			return -EBADMSG;
		}
		if (deed & DIE) {
			is_closing = true;
			conn_kill(of);
			return 0;
		}
	}
	if (deed & REPLY)
		reply(deed);
	if (deed & HOLD)
		hold(block, data, len);
	return 0;
}

/* ---- the rounds ---- */

static void receive(void)
{
	unsigned char data[65536];
	ssize_t n;

	/* Each reply has another byte than the one before it. */
	while ((n = recv(peer, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			MUST(data[i] == received_byte || data[i] == (unsigned char)(received_byte + 1));
			received_byte = data[i];
		}
		received += (uint64_t)n;
	}
}

static void send_piece(void)
{
	size_t unit = 1 + stream.len / 4096, size = (1u + next_plan()) * unit;
	ssize_t n = send(peer, stream.data + sent, MIN(size, stream.len - sent), MSG_DONTWAIT | MSG_NOSIGNAL);

	is_stuck = n <= 0;
	if (is_stuck)
		receive();	/* it waits for us, or is gone */
	else
		sent += (size_t)n;
}

/* Everything has been read that will be. */
static bool is_over(void)
{
	int unread = 0;

	if (conn->is_dead)
		return true;
	if (sent < stream.len || list_is_linked(&conn->blocked_node) || conn->tx_len)
		return false;
	MUST(!ioctl(conn->lfd.fd, FIONREAD, &unread));
	return !unread;
}

static void idle(void *arg)
{
	struct conn *each, *next;

	(void)arg;
	MUST(++rounds < ROUNDS_MAX);
	while ((each = list_first(&nfsd.to_flush, struct conn, flush_node)) != NULL)
		conn_flush(each);
	list_each_safe(each, next, &nfsd.blocked, blocked_node)
		conn_resume(each);
	if (is_over() && list_is_empty(&held)) {
		loop_stop(loop);
		return;
	}
	if (!list_is_empty(&held) && (sent == stream.len || conn->is_dead || is_stuck || next_plan() & 1))
		end_held(true);
	else if (sent < stream.len && !conn->is_dead)
		send_piece();
	if (sent == stream.len || next_plan() & 2)
		receive();
	loop_timer_set(loop, &tick, 0);
}

static void nothing(struct loop_timer *timer)
{
	(void)timer;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	MUST(!loop_new(&loop));
	loop_set_idle(loop, idle, NULL);
	tick.fire = nothing;
	nfsd.loop = loop;
	nfsd.max_calls = nfsd.max_calls_all = 3;
	list_init(&nfsd.conns);
	list_init(&nfsd.to_flush);
	list_init(&nfsd.blocked);
	block_pool_init(&nfsd.pool);
	return 0;
}

static void connect_pair(void)
{
	int fds[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
	peer = fds[1];
	MUST(!conn_new(&nfsd, fds[0], "fuzz"));
	conn = list_first(&nfsd.conns, struct conn, node);
	conn_get(conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	plan = input_bytes(&in, input_u8(&in));
	plan_at = sent = n_want = n_got = rounds = 0;
	replied = received = 0;
	reply_byte = received_byte = 0;
	must_drop = is_closing = is_stuck = false;
	buf_init(&stream, STREAM_MAX);
	buf_init(&whole, 0);
	list_init(&held);
	make_stream(&in);
	read_whole();
	connect_pair();

	MUST(!loop_run(loop));
	receive();
	if (!is_closing) {
		MUST(n_got == n_want);
		MUST(conn->is_dead == must_drop);
	}
	if (!conn->is_dead)
		MUST(received == replied && (replied || !received_byte));
	conn_kill(conn);
	MUST(conn->refs == 1 && !nfsd.n_conns && !nfsd.n_calls);
	MUST(list_is_empty(&nfsd.blocked) && list_is_empty(&nfsd.to_flush));
	conn_put(conn);
	close(peer);
	loop_timer_cancel(loop, &tick);
	buf_release(&stream);
	buf_release(&whole);
	return 0;
}
