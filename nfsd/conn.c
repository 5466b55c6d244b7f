/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Receiving, as a state of (in_frag, rec_len):
 *
 *	mark expected --4 bytes--> in_frag --frag_len bytes--> mark expected	(not the last fragment)
 *	                                                   --> rpc_dispatch(), mark expected, rec_len 0
 *
 * 1. [rec, rec+rec_len) and [pos, end) lie in rx, in this order.
 * 2. Bytes before rec may belong to calls that wait; they are not written to.
 * 3. When more bytes are needed than fit behind pos, both parts move to the front of a block that has room
 *    for the whole fragment: another one if a call holds on to this one.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/clock.h"
#include "nfsd/internal.h"

#define RX_SMALL (60u * 1024)		/* what to receive into while records are small */
#define RX_LARGE_RECORD (32u * 1024)
#define RX_ROOM_MIN (8u * 1024)		/* with less room than this, rather begin a new block */
#define RX_MEMORY_MAX (64u * 1024 * 1024)	/* of all connections: arguments of waiting calls */
#define RX_READS 8			/* per event; then it is another connection's turn */
/*
 * Bytes of replies that may wait for one peer; as soon as there are as many they are sent, if it takes them.  Each sending
 * wakes it, and more would push each other out of the processor's cache.
 */
#define TX_MAX (1u * 1024 * 1024)
#define TX_IOV 64

void conn_get(struct conn *conn)
{
	conn->refs++;
}

void conn_put(struct conn *conn)
{
	assert(conn->refs > 0);
	if (!--conn->refs)
		free(conn);
}

/* ---- how long sending takes ---- */

/* Those of whom all has been sent; all of them, when nothing more will be. */
static void sending_settle(struct conn *conn, uint64_t now_us, bool is_over)
{
	while (conn->sending_first != conn->sending_next) {
		struct call_figures *call = &conn->sending[conn->sending_first % CONN_SENDING];

		if (call->sent_at > conn->tx_sent && !is_over)
			return;
		conn->sending_first++;
		stats_sent(conn->nfsd, call, now_us, conn->peer);
	}
	conn->sending_first = conn->sending_next = 0;	/* the front of the ring is in the processor's cache */
}

void conn_reply_of(struct conn *conn, struct call_figures *call)
{
	if (conn->is_dead || !conn->tx_len || conn->sending_next - conn->sending_first == CONN_SENDING) {
		stats_sent(conn->nfsd, call, call->ready_us, conn->peer);
		return;
	}
	call->sent_at = conn->tx_sent + conn->tx_len;
	conn->sending[conn->sending_next++ % CONN_SENDING] = *call;
}

/* ---- */

void conn_kill(struct conn *conn)
{
	struct nfsd *nfsd = conn->nfsd;
	struct block *block;

	if (conn->is_dead)
		return;
	conn->is_dead = true;
	sending_settle(conn, clock_us(), true);
	log_debug(LOG_RPC, "rpc: connection ended: peer=%s calls=%u", conn->peer, conn->calls);
	loop_del(nfsd->loop, &conn->lfd);
	(void)close(conn->lfd.fd);	/* a socket: nothing of ours is lost */
	while ((block = list_first(&conn->tx, struct block, node)) != NULL) {
		list_del(&block->node);
		block_put(block);
	}
	conn->tx_len = 0;
	nfsd->n_sendings++;
	block_put(conn->rx);
	conn->rx = NULL;
	list_del(&conn->node);
	list_del(&conn->flush_node);
	list_del(&conn->blocked_node);
	nfsd->n_conns--;
	stat_set(&nfsd->stats.connections, nfsd->n_conns);
	conn_put(conn);
}

static bool is_blocked(const struct conn *conn)
{
	const struct nfsd *nfsd = conn->nfsd;

	if (nfsd->is_stopping || conn->tx_len >= TX_MAX)
		return true;
	/* Each may always have one call, or what others use up would stop it too. */
	return conn->calls && (conn->calls >= nfsd->max_calls || nfsd->n_calls >= nfsd->max_calls_all ||
			       nfsd->rx_memory >= RX_MEMORY_MAX);
}

/* Ask the loop for what is of interest now. */
static void update_events(struct conn *conn)
{
	uint32_t want = 0;

	if (conn->is_dead)
		return;
	if (!list_is_linked(&conn->blocked_node) && !conn->nfsd->is_stopping)
		want |= EPOLLIN;
	if (conn->tx_len && !list_is_linked(&conn->flush_node))
		want |= EPOLLOUT;	/* a flush was tried and the socket is full */
	if (want == conn->armed)
		return;
	if (loop_mod(conn->nfsd->loop, &conn->lfd, want) < 0) {
		conn_kill(conn);
		return;
	}
	conn->armed = want;
}

/* ---- sending ---- */

/* While EPOLLOUT is awaited the socket is known to be full. */
static bool is_full(const struct conn *conn)
{
	return conn->armed & EPOLLOUT;
}

static void mark_for_flush(struct conn *conn)
{
	if (!list_is_linked(&conn->flush_node) && !is_full(conn))
		list_append(&conn->nfsd->to_flush, &conn->flush_node);
}

void *conn_reply_begin(struct conn *conn, size_t need)
{
	struct block *block;

	if (conn->is_dead)
		return NULL;
	block = list_is_empty(&conn->tx) ? NULL : list_entry(conn->tx.prev, struct block, node);
	if (!block || block->pages || block->cap - block->end < need) {
		block = block_new(&conn->nfsd->pool, need);
		if (!block) {
			conn_kill(conn);
			return NULL;
		}
		list_append(&conn->tx, &block->node);
	}
	return block->data + block->end;
}

void conn_reply_end(struct conn *conn, size_t len)
{
	struct block *block = list_entry(conn->tx.prev, struct block, node);

	block->end += (uint32_t)len;
	assert(block->end <= block->cap);
	conn->tx_len += len;
	mark_for_flush(conn);
}

void conn_reply_block(struct conn *conn, struct block *block)
{
	if (conn->is_dead) {
		block_put(block);
		return;
	}
	list_append(&conn->tx, &block->node);
	conn->tx_len += block_unsent(block);
	if (conn->tx_len >= TX_MAX && !is_full(conn))
		conn_flush(conn);
	else
		mark_for_flush(conn);
}

/* n bytes of the blocks' own have left, of as many of them as it takes. */
static void tx_advance(struct conn *conn, size_t n)
{
	struct block *block;

	list_each(block, &conn->tx, node) {
		size_t part = MIN(n, (size_t)(block->end - block->start));

		block->start += (uint32_t)part;
		n -= part;
		if (!n)
			return;
	}
}

/* Blocks up to the first one that has pages.  Gives how many bytes have left, or -errno. */
static ssize_t send_blocks(struct conn *conn)
{
	struct iovec iov[TX_IOV];
	struct msghdr msg = { .msg_iov = iov };
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
	struct block *block;
	ssize_t n;

	list_each(block, &conn->tx, node) {
		if (msg.msg_iovlen == TX_IOV)
			break;
		iov[msg.msg_iovlen++] = (struct iovec){ block->data + block->start, block->end - block->start };
		if (block->pages) {
			flags |= MSG_MORE;
			break;
		}
	}
	n = sendmsg(conn->lfd.fd, &msg, flags);
	if (n < 0)
		return -errno;
	tx_advance(conn, (size_t)n);
	return n;
}

/* The next bytes of what waits. */
static ssize_t tx_send(struct conn *conn)
{
	struct block *first = list_first(&conn->tx, struct block, node);
	ssize_t n;

	if (first->start == first->end)
		n = page_pipe_send(first->pages, conn->lfd.fd, first->node.next != &conn->tx);
	else
		n = send_blocks(conn);
	if (n <= 0)
		return n ? n : -EPIPE;
	conn->tx_len -= (size_t)n;
	conn->tx_sent += (uint64_t)n;
	conn->nfsd->n_sendings++;
	while ((first = list_first(&conn->tx, struct block, node)) != NULL && !block_unsent(first)) {
		list_del(&first->node);
		block_put(first);
	}
	return n;
}

void conn_flush(struct conn *conn)
{
	bool was_full = is_full(conn);

	if (conn->is_dead)
		return;
	conn_get(conn);		/* it may die in here */
	list_del(&conn->flush_node);
	while (conn->tx_len) {
		ssize_t n = tx_send(conn);

		if (n < 0) {
			if (n == -EINTR)
				continue;
			if (n != -EAGAIN)
				conn_kill(conn);
			break;
		}
		stat_add(&conn->nfsd->stats.bytes_out, (uint64_t)n);
	}
	/* What leaves in the round in which it was ready has not waited for long: no look at the clock for it. */
	sending_settle(conn, was_full ? clock_us() : conn->nfsd->now_us, false);
	update_events(conn);
	conn_put(conn);
}

/* ---- receiving ---- */

/* What a block for the next bytes should hold at least. */
static size_t rx_size(const struct conn *conn)
{
	return conn->last_len > RX_LARGE_RECORD ? BLOCK_MAX : RX_SMALL;
}

/* Make room for what is needed next, see (3).  -ENOMEM. */
static int rx_make_room(struct conn *conn)
{
	struct block *from = conn->rx, *to;
	uint32_t need = conn->in_frag ? conn->frag_len : 4;	/* from pos on */
	uint32_t unseen = conn->end - conn->pos, live = conn->rec_len + unseen;
	size_t size;

	if (!from) {
		conn->rec = conn->rec_len = conn->pos = conn->end = 0;
		conn->rx = block_new(&conn->nfsd->pool, MAX(rx_size(conn), (size_t)need));
		return conn->rx ? 0 : -ENOMEM;
	}
	if (from->cap - conn->pos >= need &&
	    (from->cap - conn->end >= RX_ROOM_MIN || live > RX_ROOM_MIN))
		return 0;
	size = (size_t)conn->rec_len + need;
	if (from->refs == 1 && size <= from->cap) {
		to = from;
	} else {
		to = block_new(&conn->nfsd->pool, MAX(size, rx_size(conn)));
		if (!to)
			return -ENOMEM;
	}
	if (conn->rec_len)
		memmove(to->data, from->data + conn->rec, conn->rec_len);
	memmove(to->data + conn->rec_len, from->data + conn->pos, unseen);
	conn->rec = 0;
	conn->pos = conn->rec_len;
	conn->end = conn->pos + unseen;
	if (to != from) {
		block_put(from);
		conn->rx = to;
	}
	return 0;
}

/* Read the mark of a fragment if it is there.  1: it was; 0: not yet; -EBADMSG: the record gets too long. */
static int rx_mark(struct conn *conn)
{
	uint32_t mark;

	if (conn->end - conn->pos < 4)
		return 0;
	mark = xdr_load_u32(conn->rx->data + conn->pos);
	conn->pos += 4;
	conn->frag_len = mark & 0x7fffffff;
	conn->is_last = mark >> 31;
	conn->in_frag = true;
	if (conn->frag_len > CONN_RECORD_MAX - conn->rec_len)
		return -EBADMSG;
	if (!conn->rec_len) {
		conn->rec = conn->pos;
		conn->rec_us = conn->recv_us;
	}
	return 1;
}

static void note_pause(const struct conn *conn)
{
	if (conn->nfsd->is_stopping)
		return;
	stat_add(&conn->nfsd->stats.pauses, 1);
	log_debug(LOG_RPC, "rpc: connection not read for now: peer=%s calls=%u unsent=%zu", conn->peer, conn->calls,
		  conn->tx_len);
}

/* Carry out the complete records that are here.  0: more bytes are needed, or it is blocked, or dead. */
static int rx_parse(struct conn *conn)
{
	for (;;) {
		struct block *block = conn->rx;
		uint32_t rec, len;
		int n;

		if (is_blocked(conn)) {
			if (!list_is_linked(&conn->blocked_node)) {
				list_append(&conn->nfsd->blocked, &conn->blocked_node);
				note_pause(conn);
			}
			return 0;
		}
		if (!conn->in_frag) {
			n = rx_mark(conn);
			if (n <= 0)
				return n;
		}
		if (conn->end - conn->pos < conn->frag_len)
			return 0;
		if (conn->rec + conn->rec_len != conn->pos)
			memmove(block->data + conn->rec + conn->rec_len, block->data + conn->pos,
				conn->frag_len);
		conn->rec_len += conn->frag_len;
		conn->pos += conn->frag_len;
		conn->in_frag = false;
		if (!conn->is_last)
			continue;
		rec = conn->rec;
		len = conn->last_len = conn->rec_len;
		conn->rec_len = 0;
		n = rpc_dispatch(conn, block, block->data + rec, len);
		if (n < 0 || conn->is_dead)
			return n;
	}
}

static void drop_malformed(struct conn *conn)
{
	unsigned held;

	stat_add(&conn->nfsd->stats.dropped, 1);
	if (log_gate_open(&conn->nfsd->dropped_gate, 10, &held))
		log_warn(
			"rpc: connection dropped, what it sent is not an RPC call: peer=%s held_back=%u",
			conn->peer, held);
	conn_kill(conn);
}

static void rx_give_back(struct conn *conn)
{
	if (conn->rx && conn->pos == conn->end && !conn->rec_len && !conn->in_frag) {
		block_put(conn->rx);
		conn->rx = NULL;
	}
}

/* Parse, and give back the block when nothing is left in it.  False: the connection is dead. */
static bool rx_take(struct conn *conn)
{
	int err = rx_parse(conn);

	if (conn->is_dead)
		return false;
	if (err) {
		drop_malformed(conn);
		return false;
	}
	rx_give_back(conn);
	return true;
}

static void rx_read(struct conn *conn)
{
	for (int i = 0; i < RX_READS; i++) {
		size_t room;
		ssize_t n;

		if (rx_make_room(conn) < 0) {
			conn_kill(conn);	/* it will come again; what it sent has not been done */
			return;
		}
		room = conn->rx->cap - conn->end;
		n = recv(conn->lfd.fd, conn->rx->data + conn->end, room, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n <= 0) {
			conn_kill(conn);
			return;
		}
		conn->end += (uint32_t)n;
		conn->recv_us = conn->nfsd->now_us = clock_us();
		stat_add(&conn->nfsd->stats.bytes_in, (uint64_t)n);
		if (!rx_take(conn))
			return;
		/* Less than there was room for: the socket is empty now, most likely. */
		if ((size_t)n < room || list_is_linked(&conn->blocked_node))
			break;
	}
	rx_give_back(conn);
	update_events(conn);
}

static void conn_ready(struct loop_fd *lfd, uint32_t events)
{
	struct conn *conn = container_of(lfd, struct conn, lfd);

	conn_get(conn);
	if (events & EPOLLOUT)
		conn_flush(conn);
	if (!conn->is_dead && (conn->armed & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		rx_read(conn);
	else if (!conn->is_dead && (events & (EPOLLHUP | EPOLLERR)))
		conn_kill(conn);	/* reported whether asked for or not; else the loop would spin */
	conn_put(conn);
}

void conn_resume(struct conn *conn)
{
	if (conn->is_dead || is_blocked(conn))
		return;
	list_del(&conn->blocked_node);
	conn->nfsd->now_us = clock_us();
	conn_get(conn);
	if (!conn->rx || rx_take(conn))
		update_events(conn);
	conn_put(conn);
}

void conn_stop_reading(struct conn *conn)
{
	update_events(conn);
}

int conn_new(struct nfsd *nfsd, int fd, const char *peer)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (!conn) {
		(void)close(fd);
		return -ENOMEM;
	}
	conn->nfsd = nfsd;
	conn->refs = 1;
	list_init(&conn->tx);
	(void)snprintf(conn->peer, sizeof(conn->peer), "%s", peer);	/* cut short is good enough */
	conn->lfd = (struct loop_fd){ .fd = fd, .ready = conn_ready };
	conn->armed = EPOLLIN;
	err = loop_add(nfsd->loop, &conn->lfd, conn->armed);
	if (err) {
		(void)close(fd);
		conn_put(conn);
		return err;
	}
	list_append(&nfsd->conns, &conn->node);
	nfsd->n_conns++;
	stat_set(&nfsd->stats.connections, nfsd->n_conns);
	log_debug(LOG_RPC, "rpc: connection: peer=%s", conn->peer);
	return 0;
}
