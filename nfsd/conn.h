/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conn: one TCP connection: records in, replies out (RFC 5531 11, record marking).
 *
 * One read takes as many records as have arrived; the replies of one round of the loop leave with one
 * writev.  Replies go out in the order they are finished.
 *
 * A peer costs what it uses: the socket is not read while too many of its calls, or of all calls, are under
 * way, too many bytes of replies wait for it, or too much received data is held by waiting calls.  No call is
 * refused for that: it waits in the socket.  One call at a time each connection may have, whatever the others do.
 * A connection with nothing half-received holds no memory but this struct.
 *
 * Life: counted; one count is the server's until conn_kill(), one each call's.  After conn_kill() it takes no
 * replies any more (conn_reply_begin() gives NULL).
 * Threads: the loop's.
 */
#ifndef NFSD_CONN_H
#define NFSD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "base/loop.h"
#include "nfsd/stats.h"

struct block;
struct nfsd;

/* The longest record taken: a WRITE of 1 MiB and what stands before it. */
#define CONN_RECORD_MAX (1024u * 1024 + 4 * 1024)

/*
 * Replies whose sending is timed.  A peer with more of them on their way is one that takes none; of the others it is
 * only not known how long that took.  A power of two.
 */
#define CONN_SENDING 64

struct conn {
	struct nfsd *nfsd;
	struct loop_fd lfd;
	uint32_t armed;			/* the events asked of the loop */
	unsigned refs;
	unsigned calls;			/* under way */
	bool is_dead;
	struct list node;		/* nfsd->conns */
	struct list flush_node;		/* nfsd->to_flush: replies were added in this round */
	struct list blocked_node;	/* nfsd->blocked: not read until there is room */
	char peer[64];			/* its address, for diagnostics and MOUNT's list */

	/*
	 * Receiving.  The block holds [.. record so far ..][.. not looked at ..]: the fragments of a
	 * record are moved together as they become complete, so a record is always in one piece.
	 */
	struct block *rx;		/* NULL: nothing is half-received */
	uint32_t rec, rec_len;		/* the record's complete fragments: where, how long */
	uint32_t pos, end;		/* bytes not looked at: [pos, end) */
	uint32_t frag_len;
	bool in_frag, is_last;		/* the mark of a fragment has been read: its length, its last-bit */
	uint32_t last_len;		/* of the last record, a guess for the next one */
	uint64_t recv_us;		/* when the last bytes came */
	uint64_t rec_us;		/* when the first ones of the record did */

	/* sending */
	struct list tx;			/* blocks */
	size_t tx_len;			/* bytes in them */
	uint64_t tx_sent;		/* bytes sent, ever */
	struct call_figures sending[CONN_SENDING];	/* a ring: calls whose replies are on their way, in order */
	unsigned sending_first, sending_next;		/* counted up, modulo CONN_SENDING */
	size_t read_memory;		/* held by replies that carry data, those of running calls too */
};

/* Serve a connected socket, which is taken over (closed on failure as well). */
int conn_new(struct nfsd *nfsd, int fd, const char *peer);
void conn_get(struct conn *conn);
void conn_put(struct conn *conn);
/* Close it at once. */
void conn_kill(struct conn *conn);

/* Room for a reply of at most need bytes; NULL: the connection is gone (or is now, for want of memory). */
void *conn_reply_begin(struct conn *conn, size_t need);
/* So many bytes of it were used. */
void conn_reply_end(struct conn *conn, size_t len);
/* Send block->data [start, end); the block is taken over. */
void conn_reply_block(struct conn *conn, struct block *block);

/* The reply put in last is this call's: its figures are complete when it has been sent. */
void conn_reply_of(struct conn *conn, struct call_figures *call);

/* Send what waits, as far as the socket takes it. */
void conn_flush(struct conn *conn);
/* Go on reading if what it was stopped for is over. */
void conn_resume(struct conn *conn);
/* No more reading (the server stops). */
void conn_stop_reading(struct conn *conn);

#endif
