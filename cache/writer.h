/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * writer: the thread that changes cache.db, and group commit.
 *
 * A change is a function and what it works on.  The writer runs all changes that wait inside one
 * transaction, commits, and then tells each how it ended.  The
 * function runs on the writer thread, without cache->lock (it takes it to look at inodes and
 * names), and may use the writer's connection, inode_edit(), name_*() and cml_append().  It gives
 * 0, or -errno: then what it has written is undone, its edits are dropped, and the others go on (they may be run once more
 * for that).
 * wants_rerun: rolled back as well, and run again in the next transaction (inode_edit_maps() asks
 * for that: pass its error on).
 *
 * A transaction that cannot be committed: what it touched is read again from the disk, done() gets
 * -ENOSPC when the disk was full, else -EIO and the cache is in its error state.
 */
#ifndef CACHE_WRITER_H
#define CACHE_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

struct cache;
struct cache_op;
struct db;
struct loop;
struct writer;

struct change {
	int (*run)(struct change *change);
	/*
	 * After the commit (err 0), once that is on the disk, or when run or the commit failed.  On the writer thread or the
	 * flusher's (DURABILITY_SYNC).  May free the change.
	 * For an operation: cache_op_finish() posts op->done to its loop.
	 */
	void (*done)(struct change *change, int err);
	struct cache_op *op;		/* the call that it is; may be NULL */
	struct loop *loop;		/* the one it is submitted on, if any: that may carry it out itself */
	void *arg;

	/*
	 * Set before run(): the change's time, ns since 1970.  Later than that of any change before
	 * it.  It is the record's time, and what mtime and ctime of everything touched become, so
	 * that upstream gets the same.
	 */
	int64_t now;

	/* the writer's */
	struct cache *cache;
	struct list node;
	struct list edits;		/* struct inode_edit */
	struct list names;		/* touched names, see dentry.h */
	struct list after;		/* writer_after_commit() */
	int err;
	bool wants_rerun;     /* run() failed because of another change in this transaction */
	bool wants_content;   /* DURABILITY_ASYNC: what it says of contents is to be on the disk when it is itself */
	bool wants_sync;      /* the same, and done() only then; its maker's, or run()'s */
	bool was_done_before; /* op's token was found: run was not called; op->ino is what it was */
};

/* Hand over; run and done come later.  Any thread.  In the error state done comes with -EIO. */
void writer_submit(struct cache *cache, struct change *change);
/*
 * The same from a thread that may wait, and has nothing better to do: it carries the change out itself, with all that wait
 * too, unless somebody else is the writer already.  Saves handing it over.
 */
void writer_submit_here(struct cache *cache, struct change *change);
/*
 * Hand over and wait for it (not on the writer thread, not on a loop thread).  Gives what done got.
 */
int writer_call(struct cache *cache, int (*run)(struct change *change), void *arg);

/* The connection to use inside run(). */
struct db *writer_db(struct cache *cache);

/* Is this the writer thread, or who acts as it (writer_submit_here(), kick() in writer.c)? */
bool writer_is_self(struct cache *cache);
/*
 * What the calling thread reads from: on the writer thread the open transaction counts (and its connection has the pages in memory);
 * else the caller holds the lock.
 */
struct db *writer_db_or_read(struct cache *cache);
/* And one that must not wait for the disk or for others: -EAGAIN and wants_rerun, and the writer thread does it. */
bool writer_must_not_wait(struct cache *cache);
/* The change whose run() is on the stack; writer thread only. */
struct change *writer_current(struct cache *cache);

/*
 * Something to be done after the commit that makes this change durable, and only then (unlink of a file, wake-up); before
 * done(), where that is called.  Without the lock.  -ENOMEM.  When the change fails, nobody frees arg but its owner.
 */
int writer_after_commit(struct change *change, void (*fn)(struct cache *cache, void *arg),
			void *arg);

/* ---- for flusher.c ---- */

/* The change is over: what writer_after_commit() asked for is done, or forgotten. */
void change_run_after(struct change *change, bool is_committed);

/* ---- for cache.c ---- */

/* Starts the thread on cache->write_db. */
int writer_start(struct cache *cache);
/* Ends it once nothing waits. */
void writer_stop(struct cache *cache);

#endif
