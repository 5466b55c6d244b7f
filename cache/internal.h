/* SPDX-License-Identifier: GPL-2.0-or-later */
/* internal: struct cache itself, for the files of this folder only. */
#ifndef CACHE_INTERNAL_H
#define CACHE_INTERNAL_H

#include <pthread.h>
#include "base/hash.h"
#include "base/list.h"
#include "cache/cache.h"
#include "cache/counter.h"
#include "cache/fetcher.h"
#include "cache/inode.h"

struct db;
struct change;
struct writer;
struct syncer;
struct park;
struct cml;
struct apply;
struct checkpoint;
struct reserve;
struct fetched;
struct worker;
struct space;
struct hoard;
struct bases;
struct digester;

struct cache {
	/* constant after open */
	char *dir;
	int dirfd, objects_dirfd, lock_fd;
	enum durability durability;
	bool no_sync, no_fold;
	uint64_t gather_us;		/* fetched.h */
	uint64_t client_id;
	uint32_t tree_id;
	uint8_t handle_key[32];
	struct db *write_db;		/* the writer's */
	struct db *read_db;		/* under lock */
	struct writer *writer;
	struct flusher *flusher;	/* the writer's: fdatasync of the log */
	struct syncer *syncer;		/* fdatasync of content, before the writer's transaction */
	struct worker *reader;		/* waits for the disk, for reader.c */
	unsigned n_reading;		/* operations that reader has; atomic */
	struct park *park;		/* operations that wait for the network */
	struct cml *cml;		/* cml.c's state */
	struct apply *apply;		/* apply.c's and listing.c's state */
	struct checkpoint *checkpoint;
	struct content_log *content_log;	/* small contents on their way to the disk */
	struct fetched *fetched;	/* notes what was fetched */
	struct reserve *reserve;	/* room for the database on a full disk */
	struct space *space;		/* how much content there may be; NULL: any amount */
	struct hoard *hoard;		/* what must be here */
	struct ahead *ahead;		/* what is likely to be read next */
	struct bases *bases;		/* contents as they were before they were changed here */
	struct digester *digester;	/* makes digests of contents at rest */
	int64_t content_used;		/* bytes of content files, from when they were counted on (space.h); atomic */
	bool was_closed;		/* properly, before this start (recover.h) */

	pthread_mutex_t lock;
	/* under lock */
	const struct fetcher *fetcher;
	void *fetcher_arg;
	struct hash_table inodes, dentries;
	size_t inode_hand, dentry_hand;	/* where in the tables the next sweep begins */
	struct list object_lru;
	uint64_t n_inodes, n_dentries, n_objects_open, max_inodes;
	pthread_cond_t content_idle;	/* some n_writing fell to 0, or some is_held ended */
	uint64_t last_write_gen;	/* the number that a content got last */
	struct list written;		/* inode_work.quiet: files with is_dirty, by last_write_us */
	uint8_t write_verifier[8];
	uint64_t position;
	struct kml_mark mark, next_mark;	/* apply_mark(); next: kept with its position */
	char upstream_id[40];
	uint64_t usage_objects, usage_bytes, usage_until_us;	/* of cache_status() */
	bool has_leftovers;		/* content files that the next start has to look for */
	bool is_offline;
	unsigned link_word;
	bool has_acls;			/* the upstream's file system has them; false before the first contact */
	bool is_failed;			/* error state: changes get -EIO */
	char failure[256];

	/* writer thread */
	struct counter_state {
		uint64_t next, bound;	/* bound: what is committed */
	} counters[COUNTERS];
	struct inode_sql *inode_sql;	/* UPDATE statements by set of columns */
};

int64_t cache_now_ns(void);


/*
 * The error state (DESIGN "When the disk fails"): reads go on, changes get -EIO, --status says so.
 * Any thread.
 */
void cache_fail(struct cache *cache, const char *what, int err);
/* The same, under cache->lock. */
void cache_fail_locked(struct cache *cache, const char *what, int err);

/* End an operation that gave CACHE_WAITS: posts op->done to op->loop.  Any thread. */
void cache_op_finish(struct cache_op *op, int err);
/*
 * Begin an operation anew: op->priv.again() on its loop, and done() if that does not wait again.
 * Any thread.
 */
void cache_op_again(struct cache_op *op);
/* End it with err, unless it was carried out before; what is to be told with a failure is looked up on its loop.  Any thread. */
void cache_op_give_up(struct cache_op *op, int err);

/* A file came into cache->written.  Under the lock. */
void syncer_poke(struct cache *cache);

/*
 * Run the parked operations that waited for this directory's listing, or for content of this file,
 * again (err 0), or end them with err.  Any thread, with or without the lock.
 */
void park_wake_listing(struct cache *cache, uint64_t dir, int err);
/* Some bytes came, or the object changed (err 0): look again, the wish goes on. */
void park_wake_content(struct cache *cache, uint64_t ino, int err);
/* The same with err 0, once the change has been committed.  -ENOMEM. */
int park_wake_content_after(struct change *change, uint64_t ino);
/*
 * A fetcher->data() wish is over: to be called by apply_content_end() (in place of
 * park_wake_content()).  Only then is the range asked for again.  -ESTALE: that version is not to
 * be had any more; whoever waits goes on waiting for another one until its deadline.
 */
void park_content_done(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		       int err);

/* meta values, on the writer thread inside a change */
int meta_set_int(struct change *change, const char *key, int64_t value);
int meta_set_text(struct change *change, const char *key, const char *value);
/* 1, 0: not set, -errno.  Any connection that is the caller's. */
int meta_get_int(struct db *db, const char *key, int64_t *ret_value);

/*
 * cml.c's part of cache_open(), after recovery of the tables and with the writer running.  recover.c's
 * STORE records come after it.
 */
int cml_open(struct cache *cache);
void cml_close(struct cache *cache);
/* Records up to this seq were taken, now or before the start, so they are frozen.  Under cache->lock. */
uint64_t cml_frozen_seq(struct cache *cache);
/* apply.c's part; cache_close() calls the other with all threads but the writer stopped. */
int apply_open(struct cache *cache);
void apply_close(struct cache *cache);

#endif
