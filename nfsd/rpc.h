/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rpc: one call from its record to its reply (RFC 5531).
 *
 * A program is a table with a row for each procedure.  run() reads the arguments and does the call, or
 * starts it; reply() writes the results.  So a call that waited and one that did not end alike:
 *
 *	rpc_dispatch() -> run() -> 0 or -errno ----------------------------> rpc_finish() -> reply()
 *	                        -> CACHE_WAITS ... op.done: rpc_done() ----> rpc_finish() -> reply()
 *	                        -> RPC_LATER ... rpc_run_deferred() -> run() again
 *	                        -> RPC_GARBAGE: answered with GARBAGE_ARGS
 *
 * A call outlives its connection: when the peer goes away it is finished all the same, and its reply is
 * there for the retransmission (drc.h).
 *
 * Threads: the loop's.
 */
#ifndef NFSD_RPC_H
#define NFSD_RPC_H

#include "cache/cache.h"
#include "nfsd/block.h"
#include "nfsd/xdr.h"

struct conn;
struct drc_entry;
struct nfsd;
struct rpc_call;
struct tree;

enum rpc_flags {
	RPC_MODIFIES	= 1 << 0,	/* refused on a read-only export */
	RPC_REMEMBER	= 1 << 1,	/* not idempotent: the reply is kept, the change carries the call's token */
};

/* Besides 0, CACHE_WAITS and -errno, run() may give: */
#define RPC_GARBAGE 2	/* the arguments do not decode */
#define RPC_LATER 3	/* no memory for the reply now: keep the call and run it again when there is */

struct rpc_proc {
	const char *name;		/* as in RFC 1813; for traces and counters */
	int (*run)(struct rpc_call *call);
	/* err: 0 or -errno, how it ended.  Gives whether it was a success (for the counters). */
	bool (*reply)(struct rpc_call *call, int err, struct xdr_out *out);
	uint32_t args_max, reply_max;	/* bytes of XDR; the first is checked before run() */
	unsigned flags;			/* enum rpc_flags */
};

struct rpc_program {
	const char *name;
	uint32_t number, version;
	const struct rpc_proc *procs;
	uint32_t n_procs;
	unsigned first_stats;		/* its first row in nfsd_stats.proc */
};

/* The programs served. */
#define RPC_PROGRAMS 3
extern const struct rpc_program *const rpc_programs[RPC_PROGRAMS];

/* The record mark and the header of an accepted reply. */
#define RPC_REPLY_HEAD 28
/*
 * A bulk reply: what stands before the data of a READ, READDIR or READLINK has at most this size, so the data's
 * place is known before the attributes in front of it are.  READ has the longest: head, status,
 * attributes, count, eof, length.
 */
#define RPC_BULK_HEAD (RPC_REPLY_HEAD + 4 + 88 + 12)

#define RPC_SMALL_ARGS 640

struct rpc_call {
	struct cache_op op;		/* first: done() gets it */
	struct nfsd *nfsd;
	struct conn *conn;		/* counted; the newest one that asked */
	const struct rpc_program *program;
	const struct rpc_proc *proc;
	const struct tree *tree;	/* of the first handle; NULL while none was good */
	struct xdr_in args;
	struct block *rx;		/* counted, while it waits; where the arguments are, when not in small */
	size_t rx_held;			/* what that adds to nfsd->rx_memory */
	struct block *bulk;		/* the reply, built at RPC_BULK_HEAD while the call runs; else NULL */
	uint32_t bulk_len;		/* bytes of it so far */
	struct drc_entry *remembered;
	struct list node;		/* in nfsd->deferred, or the free calls */
	bool is_anon;			/* the caller did not say who he is */
	bool is_deferred;		/* was in nfsd->deferred: it is its turn when it is run again */
	uint32_t xid;
	uint32_t bytes_in;		/* the record, with its mark */
	uint64_t ino;			/* of its first handle that was good; 0: none yet */
	uint64_t start_us;		/* when it arrived: its last byte */
	uint64_t receive_us, queue_us;	/* stats.h; so far */
	uint64_t put_off_us;		/* when it was put off last */
	/* What the procedure keeps while it waits.  What it passes to the cache by pointer must lie here or in args. */
	union {
		struct {
			struct attr_change change;
			struct timespec guard;
		} set;
		struct {
			uint32_t count;		/* room for entries, in bytes */
			uint32_t dir_room;	/* READDIRPLUS: what dircount still allows */
			bool is_plus, is_full;
			int refusal;		/* what a directory that may be listed answers all the same */
		} readdir;
		struct {
			struct slice path;	/* in args */
			struct slice rest;	/* of it, not walked yet */
		} mnt;
		struct {
			uint32_t mask;		/* GETACL: what was asked for */
			void *given;		/* SETACL: the lists, owned */
		} acl;
	} u;
	unsigned char small[RPC_SMALL_ARGS];	/* a copy of arguments that fit */
};

/*
 * Take one record: [data, data+len) in block.  Answers it, or starts what will.  -EBADMSG: not an RPC
 * call; the connection is not in step and must be dropped.
 */
int rpc_dispatch(struct conn *conn, struct block *block, const unsigned char *data, size_t len);

/* What op->done is for every call: ends in rpc_finish(). */
void rpc_done(struct cache_op *op);
void rpc_finish(struct rpc_call *call, int err);

/*
 * Give the call a bulk block for a reply with len bytes of data: 0, RPC_LATER, or -EIO when there is no
 * memory at all.  call->bulk_len is 0.
 */
int rpc_bulk(struct rpc_call *call, size_t len);
static inline unsigned char *rpc_bulk_data(struct rpc_call *call)
{
	return call->bulk->data + RPC_BULK_HEAD;
}
/* The data are len bytes: pads them as XDR wants it.  rpc_bulk() was asked for 3 bytes more than the most. */
static inline void rpc_bulk_pad(struct rpc_call *call, uint32_t len)
{
	call->bulk_len = (uint32_t)xdr_padded(len);
	memset(rpc_bulk_data(call) + len, 0, call->bulk_len - len);
}

/* The data are what is in op.pages, which is taken over. */
static inline void rpc_bulk_pages(struct rpc_call *call)
{
	call->bulk->pages = call->op.pages;
	call->op.pages = NULL;
}

/* Run calls that were put off, as far as there is memory now. */
void rpc_run_deferred(struct nfsd *nfsd);
/* Free the calls kept for reuse. */
void rpc_release_calls(struct nfsd *nfsd);

#endif
