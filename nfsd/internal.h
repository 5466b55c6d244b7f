/* SPDX-License-Identifier: GPL-2.0-or-later */
/* internal: struct nfsd itself, for the files of this folder only. */
#ifndef NFSD_INTERNAL_H
#define NFSD_INTERNAL_H

#include "base/log.h"
#include "nfsd/block.h"
#include "nfsd/conn.h"
#include "nfsd/cred.h"
#include "nfsd/drc.h"
#include "nfsd/fh.h"
#include "nfsd/rpc.h"
#include "nfsd/server.h"

struct rpcbind;

/* Largest READ and WRITE; what FSINFO says. */
#define NFSD_IO_MAX (1024u * 1024)
/* Largest READDIR and READDIRPLUS: one must not hold up the loop for long. */
#define NFSD_DIR_MAX (128u * 1024)

/* One export. */
struct tree {
	struct cache *cache;
	char *path;			/* owned; absolute, no slash at its end unless it is "/" */
	uint32_t id;
	uint8_t key[FH_KEY_LEN];
	uint64_t root;
	bool is_read_only;
	struct cred_map callers;
};

#define MOUNTS_MAX 64

/* MOUNT's list of who has mounted what: a hint for showmount, never acted upon. */
struct mount_list {
	struct mount_entry {
		char host[64];
		char *path;		/* owned */
	} v[MOUNTS_MAX];
	unsigned n;
};

struct nfsd {
	/* constant after start */
	struct loop *loop;
	struct tree *trees;
	size_t n_trees;
	bool allow_unprivileged_ports;
	uint64_t lookup_wait_us, read_wait_us;
	unsigned max_connections, max_calls, max_calls_all;
	size_t max_read_memory;
	uint64_t slow_call_us;
	uint16_t port;

	/* loop thread */
	struct loop_fd listener;
	struct loop_timer accept_again;	/* set while no descriptor is left */
	struct list conns, to_flush, blocked;
	uint64_t n_sendings;		/* of replies, to all; and ends of connections */
	struct loop_job one_more_round;	/* does nothing, but before it has run the loop does not sleep */
	unsigned n_conns;
	struct block_pool pool;
	struct page_pipe_pool pipes;
	size_t read_memory;		/* held by replies that carry data */
	size_t rx_memory;		/* held by arguments of calls that wait */
	struct list free_calls, deferred;
	unsigned n_free_calls;
	unsigned n_calls;		/* under way, deferred ones too */
	struct drc drc;
	struct mount_list mounts;
	struct rpcbind *rpcbind;	/* NULL: not registered */
	struct log_gate refused_gate, dropped_gate, garbage_gate, slow_gate;
	uint64_t now_us;		/* as last looked: when bytes came, when a call ended */

	bool is_stopping, is_told;	/* nfsd_stop() was called; stopped() was */
	struct loop_timer stop_timer;
	struct loop_job stop_job;
	void (*stopped)(void *arg);
	void *stopped_arg;

	struct nfsd_stats stats;	/* written by the loop's thread, read by any (stat_add()) */
	struct stats_recent recent;	/* likewise */
};

/* Relaxed: a reader may see one figure a moment before another. */
static inline void stat_add(uint64_t *figure, uint64_t n)
{
	__atomic_store_n(figure, __atomic_load_n(figure, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void stat_set(uint64_t *figure, uint64_t value)
{
	__atomic_store_n(figure, value, __ATOMIC_RELAXED);
}

#endif
