/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <rpc/rpc.h>
#include "base/clock.h"
#include "nfsd/internal.h"
#include "nfsd/mount3.h"
#include "nfsd/nfs3.h"
#include "nfsd/nfsacl3.h"

#define AUTH_BODY_MAX 400	/* RFC 5531 8.2 */
#define FREE_CALLS_MAX 256
#define RX_HELD_MIN (64u * 1024)	/* the block behind a small WRITE that waits */

const struct rpc_program *const rpc_programs[RPC_PROGRAMS] = {
	&nfs3_program, &mount3_program, &nfsacl3_program,
};

/* ---- calls ---- */

static struct rpc_call *call_new(struct nfsd *nfsd, struct conn *conn)
{
	struct rpc_call *call = list_first(&nfsd->free_calls, struct rpc_call, node);

	if (call) {
		list_del(&call->node);
		nfsd->n_free_calls--;
	} else {
		call = malloc(sizeof(*call));
		if (!call)
			return NULL;
		call->node = (struct list){ NULL, NULL };
	}
	call->op = (struct cache_op){ .done = rpc_done, .loop = nfsd->loop };
	call->nfsd = nfsd;
	call->conn = conn;
	call->tree = NULL;
	call->rx = call->bulk = NULL;
	call->rx_held = 0;
	call->bulk_len = 0;
	call->is_deferred = false;
	call->remembered = NULL;
	call->ino = 0;
	conn_get(conn);
	conn->calls++;
	nfsd->n_calls++;
	stat_set(&nfsd->stats.calls_under_way, nfsd->n_calls);
	return call;
}

static void call_free(struct rpc_call *call)
{
	struct nfsd *nfsd = call->nfsd;

	block_put(call->rx);
	nfsd->rx_memory -= call->rx_held;
	block_put(call->bulk);
	page_pipe_put(call->op.pages);
	call->conn->calls--;
	conn_put(call->conn);
	nfsd->n_calls--;
	stat_set(&nfsd->stats.calls_under_way, nfsd->n_calls);
	if (nfsd->n_free_calls >= FREE_CALLS_MAX) {
		free(call);
		return;
	}
	list_prepend(&nfsd->free_calls, &call->node);
	nfsd->n_free_calls++;
}

void rpc_release_calls(struct nfsd *nfsd)
{
	struct rpc_call *call;

	while ((call = list_first(&nfsd->free_calls, struct rpc_call, node)) != NULL) {
		list_del(&call->node);
		free(call);
	}
	nfsd->n_free_calls = 0;
}

/* ---- replies ---- */

/* The record's mark and the header of an accepted reply; len: bytes that follow the header. */
static void put_head(struct xdr_out *out, uint32_t xid, uint32_t accept_stat, size_t len)
{
	xdr_out_u32(out, 0x80000000u | (uint32_t)(RPC_REPLY_HEAD - 4 + len));
	xdr_out_u32(out, xid);
	xdr_out_u32(out, REPLY);
	xdr_out_u32(out, MSG_ACCEPTED);
	xdr_out_u32(out, AUTH_NONE);
	xdr_out_u32(out, 0);
	xdr_out_u32(out, accept_stat);
}

/* A reply without results; for PROG_MISMATCH the only version there is. */
static void reply_accepted(struct conn *conn, uint32_t xid, enum accept_stat stat, uint32_t version)
{
	size_t len = RPC_REPLY_HEAD + (stat == PROG_MISMATCH ? 8 : 0);
	struct xdr_out out;
	void *p = conn_reply_begin(conn, len);

	if (!p)
		return;
	out = xdr_out_of(p, len);
	put_head(&out, xid, stat, len - RPC_REPLY_HEAD);
	if (stat == PROG_MISMATCH) {
		xdr_out_u32(&out, version);
		xdr_out_u32(&out, version);
	}
	conn_reply_end(conn, len);
	if (stat != SUCCESS)
		stat_add(&conn->nfsd->stats.bad_calls, 1);
}

static void reply_garbage(struct conn *conn, uint32_t xid, const struct rpc_proc *proc)
{
	unsigned held;

	if (log_gate_open(&conn->nfsd->garbage_gate, 10, &held))
		log_warn(
			"rpc: call refused, its arguments do not decode: procedure=%s peer=%s held_back=%u",
			proc->name, conn->peer, held);
	reply_accepted(conn, xid, GARBAGE_ARGS, 0);
}

static void reply_denied(struct conn *conn, uint32_t xid, enum reject_stat reject,
			 enum auth_stat why)
{
	size_t len = 4 + 16 + (reject == RPC_MISMATCH ? 8 : 4);
	struct xdr_out out;
	void *p = conn_reply_begin(conn, len);

	if (!p)
		return;
	out = xdr_out_of(p, len);
	xdr_out_u32(&out, 0x80000000u | (uint32_t)(len - 4));
	xdr_out_u32(&out, xid);
	xdr_out_u32(&out, REPLY);
	xdr_out_u32(&out, MSG_DENIED);
	xdr_out_u32(&out, reject);
	if (reject == RPC_MISMATCH) {
		xdr_out_u32(&out, RPC_MSG_VERSION);
		xdr_out_u32(&out, RPC_MSG_VERSION);
	} else {
		xdr_out_u32(&out, why);
	}
	conn_reply_end(conn, len);
	stat_add(&conn->nfsd->stats.bad_calls, 1);
}

int rpc_bulk(struct rpc_call *call, size_t len)
{
	struct nfsd *nfsd = call->nfsd;

	/* Each connection may always have one: who takes no replies must not stop the others. */
	if (call->conn->read_memory && nfsd->read_memory + len > nfsd->max_read_memory)
		return RPC_LATER;
	if (!call->is_deferred && !list_is_empty(&nfsd->deferred))
		return RPC_LATER;	/* newer ones must not always be quicker */
	call->bulk = block_new(&nfsd->pool, RPC_BULK_HEAD + len);
	if (!call->bulk)
		return -EIO;
	block_charge(call->bulk, &nfsd->read_memory, &call->conn->read_memory);
	call->bulk_len = 0;
	return 0;
}

/* Zeros behind what has been put in, to a multiple of 4. */
static void send_padding(struct conn *conn, size_t n)
{
	void *p = n ? conn_reply_begin(conn, n) : NULL;

	if (!p)
		return;
	memset(p, 0, n);
	conn_reply_end(conn, n);
}

/*
 * Put the head before the data that lies at RPC_BULK_HEAD already, or comes as pages, and send it all; gives its length.
 */
static size_t send_bulk(struct rpc_call *call, bool *ret_ok)
{
	struct block *block = call->bulk;
	unsigned char head[RPC_BULK_HEAD];
	struct xdr_out results = xdr_out_of(head + RPC_REPLY_HEAD, sizeof(head) - RPC_REPLY_HEAD),
		       out;
	size_t len, pages, padding;

	*ret_ok = call->proc->reply(call, 0, &results);
	len = (size_t)(results.p - head);
	pages = block->pages ? block->pages->len : 0;
	padding = xdr_padded(pages) - pages;
	out = xdr_out_of(head, RPC_REPLY_HEAD);
	put_head(&out, call->xid, SUCCESS, len - RPC_REPLY_HEAD + call->bulk_len + pages + padding);
	block->start = (uint32_t)(RPC_BULK_HEAD - len);
	block->end = RPC_BULK_HEAD + call->bulk_len;
	memcpy(block->data + block->start, head, len);
	call->bulk = NULL;
	len = block_unsent(block) + padding;
	conn_reply_block(call->conn, block);
	send_padding(call->conn, padding);
	return len;
}

/* Write the reply at p, where there is room; gives its length. */
static size_t write_reply(struct rpc_call *call, int err, void *p, bool *ret_ok)
{
	struct xdr_out out = xdr_out_of(p, RPC_REPLY_HEAD + call->proc->reply_max), head = out;

	(void)xdr_out_extend(&out, RPC_REPLY_HEAD);	/* filled in when the length is known */
	*ret_ok = call->proc->reply(call, err, &out);
	put_head(&head, call->xid, SUCCESS, (size_t)(out.p - head.p) - RPC_REPLY_HEAD);
	return (size_t)(out.p - (unsigned char *)p);
}

/* Its reply is ready, len bytes: what there is to be counted. */
static void account(struct rpc_call *call, int err, bool is_ok, size_t len)
{
	struct nfsd *nfsd = call->nfsd;
	const struct cache_waited *waited = &call->op.waited;
	uint64_t now_us = clock_us(), queue_us = call->queue_us + waited->loop_us;
	uint64_t us = now_us - call->start_us, waited_us = queue_us + waited->commit_us + waited->fetch_us;
	struct call_figures figures = {
		.ready_us = now_us,
		.ino = call->ino,
		.where_us = { [NFSD_RECEIVE] = call->receive_us, [NFSD_QUEUE] = queue_us,
			      [NFSD_RUN] = us - MIN(us, waited_us),
			      [NFSD_COMMIT] = waited->commit_us, [NFSD_FETCH] = waited->fetch_us },
		.xid = call->xid,
		.row = call->program->first_stats + (unsigned)(call->proc - call->program->procs),
		.err = err,
	};

	nfsd->now_us = now_us;
	stats_call(nfsd, &figures, call->bytes_in, (uint32_t)len, is_ok);
	log_debug(LOG_RPC, "rpc: reply: xid=%08x %s %s bytes=%zu us=%" PRIu64 " peer=%s", call->xid,
		  call->program->name, call->proc->name, len, us, call->conn->peer);
	log_debug(LOG_NFS, "nfs: %s: export=%s ino=%" PRIu64 " err=%d us=%" PRIu64 " queue=%" PRIu64 " commit=%" PRIu64
		  " fetch=%" PRIu64 " uid=%u xid=%08x", call->proc->name, call->tree ? call->tree->path : "",
		  call->ino, err, us, queue_us, waited->commit_us, waited->fetch_us, call->op.cred.uid, call->xid);
	conn_reply_of(call->conn, &figures);
}

void rpc_finish(struct rpc_call *call, int err)
{
	struct nfsd *nfsd = call->nfsd;
	size_t need = RPC_REPLY_HEAD + call->proc->reply_max, len = 0;
	bool is_ok = !err;
	void *p;

	if (call->bulk && !err) {
		len = send_bulk(call, &is_ok);
	} else if (call->remembered) {
		unsigned char record[DRC_REPLY_MAX];

		assert(need <= sizeof(record));
		len = write_reply(call, err, record, &is_ok);
		drc_finish(&nfsd->drc, call->remembered, record, len);
		p = conn_reply_begin(call->conn, len);
		if (p) {
			memcpy(p, record, len);
			conn_reply_end(call->conn, len);
		}
	} else {
		p = conn_reply_begin(call->conn, need);
		if (p) {
			len = write_reply(call, err, p, &is_ok);
			conn_reply_end(call->conn, len);
		}
	}
	account(call, err, is_ok, len);
	call_free(call);
}

void rpc_done(struct cache_op *op)
{
	rpc_finish(container_of(op, struct rpc_call, op), op->err);
}

/* ---- running ---- */

/*
 * Run it.  block: where its arguments are, or NULL when they are its own.  Gives RPC_LATER when the call is to be
 * run again; it is the caller's to keep.  After anything else it may be gone.
 */
static int call_run(struct rpc_call *call, struct block *block)
{
	struct xdr_in args = call->args;
	int result = call->proc->run(call);

	switch (result) {
	case RPC_GARBAGE:
		if (call->remembered)
			drc_forget(&call->nfsd->drc, call->remembered);
		reply_garbage(call->conn, call->xid, call->proc);
		call_free(call);
		return 0;
	case RPC_LATER:
		call->args = args;	/* run() will read them again */
		break;
	case CACHE_WAITS:
		break;
	default:
		rpc_finish(call, result);
		return 0;
	}
	/*
	 * It goes on using its arguments, where they are: small ones were copied, others hold on to the block.
	 * What is held that way counts against the limit that stops reading (conn.c).  A block held by several
	 * is counted for each: the limit is on the safe side.
	 */
	if (block && !call->rx) {
		call->rx = block_get(block);
		call->rx_held = MAX((size_t)(args.end - args.p), (size_t)RX_HELD_MIN);
		call->nfsd->rx_memory += call->rx_held;
	}
	return result;
}

void rpc_run_deferred(struct nfsd *nfsd)
{
	struct rpc_call *call, *next;

	nfsd->now_us = clock_us();
	list_each_safe(call, next, &nfsd->deferred, node) {
		if (call->conn->read_memory && nfsd->read_memory >= nfsd->max_read_memory)
			continue;
		list_del(&call->node);
		call->queue_us += nfsd->now_us - call->put_off_us;
		call->put_off_us = nfsd->now_us;
		if (call_run(call, NULL) == RPC_LATER)
			list_insert_before(&next->node, &call->node);	/* it keeps its turn */
	}
}

/* A retransmission: true when it needs no running any more. */
static bool find_duplicate(struct conn *conn, const uint8_t *key)
{
	struct drc_entry *entry = drc_find(&conn->nfsd->drc, key);
	struct rpc_call *call;
	void *p;

	if (!entry)
		return false;
	stat_add(&conn->nfsd->stats.duplicates, 1);
	log_debug(LOG_RPC, "rpc: retransmission of a call that %s: peer=%s",
		  entry->call ? "runs" : "has been answered", conn->peer);
	call = entry->call;
	if (call) {
		/* It runs.  Whoever asked last is the one who listens. */
		if (call->conn != conn) {
			conn_get(conn);
			conn->calls++;
			call->conn->calls--;
			conn_put(call->conn);
			call->conn = conn;
		}
		return true;
	}
	p = conn_reply_begin(conn, entry->len);
	if (p) {
		memcpy(p, entry->reply, entry->len);
		conn_reply_end(conn, entry->len);
	}
	return true;
}

/* The procedure asked for; NULL when the answer has been given. */
static const struct rpc_proc *find_proc(struct conn *conn, uint32_t xid, uint32_t number,
					uint32_t version, uint32_t proc,
					const struct rpc_program **ret_program)
{
	for (size_t i = 0; i < RPC_PROGRAMS; i++) {
		if (rpc_programs[i]->number != number)
			continue;
		if (rpc_programs[i]->version != version) {
			/* So that mount(8), which tries v4 first, comes down to v3. */
			reply_accepted(conn, xid, PROG_MISMATCH, rpc_programs[i]->version);
			return NULL;
		}
		if (proc >= rpc_programs[i]->n_procs) {
			reply_accepted(conn, xid, PROC_UNAVAIL, 0);
			return NULL;
		}
		*ret_program = rpc_programs[i];
		return &rpc_programs[i]->procs[proc];
	}
	reply_accepted(conn, xid, PROG_UNAVAIL, 0);
	return NULL;
}

int rpc_dispatch(struct conn *conn, struct block *block, const unsigned char *data, size_t len)
{
	struct nfsd *nfsd = conn->nfsd;
	struct xdr_in in = xdr_in_of(data, len);
	const struct rpc_program *program;
	const struct rpc_proc *proc;
	struct rpc_call *call;
	struct drc_entry *remembered = NULL;
	uint8_t key[DRC_KEY_LEN];
	struct cred cred;
	enum auth_stat auth;
	bool is_anon;

	uint32_t xid = xdr_in_u32(&in);
	uint32_t type = xdr_in_u32(&in);
	uint32_t rpc_version = xdr_in_u32(&in);

	if (in.is_bad || type != CALL)
		return -EBADMSG;
	if (rpc_version != RPC_MSG_VERSION) {
		reply_denied(conn, xid, RPC_MISMATCH, AUTH_OK);
		return 0;
	}
	uint32_t number = xdr_in_u32(&in);
	uint32_t version = xdr_in_u32(&in);
	uint32_t proc_number = xdr_in_u32(&in);
	uint32_t cred_flavor = xdr_in_u32(&in);
	struct slice cred_body = xdr_in_opaque(&in, AUTH_BODY_MAX);
	uint32_t verf_flavor = xdr_in_u32(&in);
	struct slice verf_body = xdr_in_opaque(&in, AUTH_BODY_MAX);

	if (in.is_bad)
		return -EBADMSG;
	proc = find_proc(conn, xid, number, version, proc_number, &program);
	if (!proc)
		return 0;
	auth = cred_read(cred_flavor, cred_body, &cred, &is_anon);
	if (auth == AUTH_OK && (verf_flavor != AUTH_NONE || verf_body.len))
		auth = AUTH_BADVERF;
	if (auth != AUTH_OK) {
		reply_denied(conn, xid, AUTH_ERROR, auth);
		return 0;
	}
	if (xdr_in_left(&in) > proc->args_max) {
		reply_garbage(conn, xid, proc);
		return 0;
	}
	if (proc->flags & RPC_REMEMBER) {
		const struct slice parts[] = {
			{ data, 6 * 4 },	/* from xid to procedure */
			{ &cred, sizeof(cred) },
			{ in.p, xdr_in_left(&in) },
		};

		drc_key(parts, ARRAY_SIZE(parts), key);
		if (find_duplicate(conn, key))
			return 0;
	}

	call = call_new(nfsd, conn);
	if (!call) {
		/* The client will ask again on a new connection; better than never answering on this one. */
		conn_kill(conn);
		return 0;
	}
	if (proc->flags & RPC_REMEMBER) {
		remembered = drc_begin(&nfsd->drc, key, call);
		call->op.has_token = true;
		memcpy(call->op.token, key, sizeof(call->op.token));
	}
	call->remembered = remembered;
	call->program = program;
	call->proc = proc;
	call->xid = xid;
	call->op.cred = cred;
	call->is_anon = is_anon;
	call->bytes_in = (uint32_t)len + 4;
	call->start_us = conn->recv_us;
	call->receive_us = conn->recv_us - conn->rec_us;
	call->queue_us = nfsd->now_us - conn->recv_us;
	call->op.deadline_us = conn->recv_us + nfsd->lookup_wait_us;
	call->args = in;
	if (xdr_in_left(&in) <= sizeof(call->small)) {
		call->args = xdr_in_of(call->small, xdr_in_left(&in));
		memcpy(call->small, in.p, xdr_in_left(&in));
		block = NULL;
	}
	log_debug(LOG_RPC, "rpc: call: xid=%08x %s %s bytes=%zu uid=%u peer=%s", xid, program->name, proc->name,
		  len + 4, cred.uid, conn->peer);
	if (call_run(call, block) == RPC_LATER) {
		call->is_deferred = true;
		call->put_off_us = nfsd->now_us;
		stat_add(&nfsd->stats.put_off, 1);
		list_append(&nfsd->deferred, &call->node);
	}
	return 0;
}
