/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * drc: the duplicate request cache.
 *
 * A client that hears nothing sends its call again.  Doing a REMOVE twice would answer the second with
 * NOENT, so the replies to calls that are not idempotent are kept.  A call's key is a hash of its xid, procedure,
 * caller and arguments.  The peer's port is not in it, since a client that reconnects may come from another
 * one; nor are the stamp and the machine's name of AUTH_SYS, since a client may encode the call anew each time.
 *
 *	        drc_begin()              drc_finish()
 *	(none) ------------> RUNNING(call) ------------> DONE(reply) --> (dropped, the oldest first)
 *
 * RUNNING entries are as many as calls are under way; DONE ones at most max.  The key is also the token
 * that the cache stores with the change (cache.h), which is what still knows the call after a restart.
 *
 * Threads: the loop's.
 */
#ifndef NFSD_DRC_H
#define NFSD_DRC_H

#include "base/hash.h"
#include "base/list.h"

#define DRC_KEY_LEN 16
#define DRC_REPLY_MAX 512	/* the table of procedures keeps below it */
#define DRC_DEFAULT_MAX 4096

struct rpc_call;

struct drc_entry {
	struct hash_node hash;
	struct list node;		/* done: by age; else the free ones */
	uint8_t key[DRC_KEY_LEN];
	struct rpc_call *call;		/* while it runs, else NULL */
	uint32_t len;
	unsigned char reply[DRC_REPLY_MAX];	/* the record as sent */
};

struct drc {
	struct hash_table table;
	struct list done;		/* oldest first */
	struct list free;
	size_t n_done, max;
};

int drc_init(struct drc *drc, size_t max);	/* -ENOMEM */
void drc_release(struct drc *drc);

/* The hash of all parts, one after the other. */
void drc_key(const struct slice *parts, size_t n, uint8_t ret_key[DRC_KEY_LEN]);

/* The entry of this key, running or done; NULL: never seen, or forgotten. */
struct drc_entry *drc_find(struct drc *drc, const uint8_t key[DRC_KEY_LEN]);
/* Note that call runs under a key that drc_find() does not know.  NULL: no memory. */
struct drc_entry *drc_begin(struct drc *drc, const uint8_t key[DRC_KEY_LEN], struct rpc_call *call);
/* It ended with this reply, of at most DRC_REPLY_MAX bytes. */
void drc_finish(struct drc *drc, struct drc_entry *entry, const void *reply, size_t len);
/* It was not carried out (its arguments were garbage, say): as if never begun. */
void drc_forget(struct drc *drc, struct drc_entry *entry);

#endif
