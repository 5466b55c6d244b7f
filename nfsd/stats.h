/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stats: what the server counts: per procedure, and all in all.
 *
 * The loop's thread alone writes, with relaxed stores and no lock; any thread reads, with nfsd_get_stats() (server.h),
 * which may see one figure a moment before another.  A call costs no look at the clock but the one at its end,
 * which is also the beginning of the next one.
 *
 * The way of a call in time:
 *
 *	first byte --RECEIVE--> last byte --QUEUE--> run() --RUN, COMMIT, FETCH--> reply ready --SEND--> the kernel has it
 *
 * QUEUE: until its turn among those received with it; until there is memory for its reply; and, when what it waited
 * for was there, until the loop came round to it.  COMMIT, FETCH: see struct cache_waited.  RUN: the rest.
 * The latencies counted are QUEUE + RUN + COMMIT + FETCH, since the others are the peer's affair; a call is slow when
 * all six together are as long as slow_call_us.
 */
#ifndef NFSD_STATS_H
#define NFSD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/histogram.h"

/*
 * Rows for the procedures of every program: another program gets its number of rows here, a NFSD_STATS_ of its own
 * below, and a place in rpc_programs (rpc.c).
 */
enum {
	NFSD_STATS_NFS = 0,
	NFSD_STATS_MOUNT = NFSD_STATS_NFS + 22,
	NFSD_STATS_ACL = NFSD_STATS_MOUNT + 6,
	NFSD_PROCS = NFSD_STATS_ACL + 3
};

enum nfsd_where { NFSD_RECEIVE, NFSD_QUEUE, NFSD_RUN, NFSD_COMMIT, NFSD_FETCH, NFSD_SEND, NFSD_WHERES };

/* Kinds of errors, by what one would look for. */
enum nfsd_error {
	NFSD_ERROR_MISSING,		/* NOENT, STALE, BADHANDLE: not there, or not any more */
	NFSD_ERROR_DENIED,		/* PERM, ACCES, ROFS */
	NFSD_ERROR_REFUSED,		/* what cannot be done with this object, or with these arguments */
	NFSD_ERROR_SPACE,		/* NOSPC, DQUOT, FBIG */
	NFSD_ERROR_IO,			/* IO, SERVERFAULT: not to be had now; the disk; no memory */
	NFSD_ERRORS
};

struct nfsd_proc_stats {
	const char *program, *name;	/* "NFS", "GETATTR"; constant after start */
	uint64_t calls, errors;		/* errors: answered with another status than OK */
	uint64_t error[NFSD_ERRORS];	/* of them */
	uint64_t bytes_in, bytes_out;	/* of whole records */
	uint64_t total_us, max_us;	/* from the call's arrival to its reply being ready */
	uint64_t where_us[NFSD_WHERES];
	uint64_t latency[HISTOGRAM_BUCKETS];	/* us */
};

#define NFSD_RECENT_S 10

struct nfsd_stats {
	uint64_t connections;		/* now */
	uint64_t calls_under_way;	/* now */
	uint64_t accepted, refused;	/* connections; refused: unprivileged port, or too many */
	uint64_t dropped;		/* connections ended because of malformed records */
	uint64_t bytes_in, bytes_out;
	uint64_t duplicates;		/* calls found in the duplicate request cache */
	uint64_t bad_calls;		/* refused by the RPC layer: unknown program, garbage, ... */
	uint64_t pauses;		/* a connection was not read for a while: back-pressure (conn.h) */
	uint64_t put_off;		/* calls that had to wait for memory for their reply */
	uint64_t slow;			/* calls that took slow_call_us or longer */
	uint64_t recent;		/* calls that ended in the NFSD_RECENT_S seconds before this one */
	uint64_t slowest_us;		/* the slowest call, without receiving and sending */
	uint64_t slowest_at_us;		/* clock_us() of its end */
	uint64_t slowest_row;		/* in proc */
	struct nfsd_proc_stats proc[NFSD_PROCS];
};

/* Which kind a negative errno (or one of nfs3.h's) is. */
enum nfsd_error stats_error_kind(int err);
/* "receive"; "missing" */
const char *nfsd_where_name(enum nfsd_where where);
const char *nfsd_error_name(enum nfsd_error error);

/* ---- for this folder ---- */

/* One call that has ended. */
struct call_figures {
	uint64_t ready_us;		/* clock_us() when its reply was ready */
	uint64_t sent_at;		/* conn->tx_sent when all of it has been sent */
	uint64_t ino;			/* of its first handle; 0: none */
	uint64_t where_us[NFSD_WHERES];
	uint32_t xid;
	unsigned row;			/* in nfsd_stats.proc */
	int err;
};

/* Calls that ended in each of the last seconds. */
#define STATS_SECONDS 16	/* a power of two above NFSD_RECENT_S + 1 */
struct stats_recent {
	uint64_t second[STATS_SECONDS], calls[STATS_SECONDS];
};

struct nfsd;
void stats_init(struct nfsd_stats *stats);
/* Count it: all but NFSD_SEND, which is not known yet. */
void stats_call(struct nfsd *nfsd, const struct call_figures *call, uint32_t bytes_in, uint32_t bytes_out, bool is_ok);
/* It has been sent, or never will be: count that, and if it was slow write the line. */
void stats_sent(struct nfsd *nfsd, struct call_figures *call, uint64_t now_us, const char *peer);

#endif
