/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * content_log: small contents on their way to the disk.
 *
 * To make a small file durable by itself costs the file system a transaction of its own for the file and one for its directory, and
 * the record about it one more here.  So the bytes of a small write go into cache.db, in the transaction that says
 * that they are there; the content files follow, many of them in one sync (ZFS calls such a thing its intent log).  After an
 * unclean end they are written into the content files again.
 *
 * What keeps that right:
 * (1) All that was written to a file since the last change that made it durable (inode_work.unsynced) goes into one row, or the
 *     file is synced.
 * (2) A file that was synced since it has rows loses them in the next change of its maps; one that is cut has them cut too, in
 *     that change.  So what the rows have, one after the other, is what the file has, or had before what nobody relies on.
 * (3) A row leaves only after a sync of the content files that was begun after it was committed.
 *
 * Threads: but for content_log_takes(), the writer's, or with the writer stopped.
 */
#ifndef CACHE_CONTENT_LOG_H
#define CACHE_CONTENT_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define CONTENT_LOG_WRITE_MAX (32u << 10)	/* bytes in a row; what is longer is synced itself */
#define CONTENT_LOG_DRAIN_BYTES (4u << 20)	/* so many are worth a sync of the content files */
#define CONTENT_LOG_DRAIN_ROWS 2048
#define CONTENT_LOG_MAX_BYTES (48u << 20)	/* while that sync is not over: then files are synced themselves */
#define CONTENT_LOG_MAX_ROWS 24576

struct cache;
struct change;
struct inode;
struct inode_edit;

/*
 * What a crash has left in it goes into the content files, and those to the disk.  Before the writer is started.  0 or
 * -errno.
 */
int content_log_recover(struct cache *cache);
/* Starts its thread.  0 or -errno. */
int content_log_start(struct cache *cache);
/* Stops it, with the writer still running. */
void content_log_stop(struct cache *cache);
void content_log_free(struct cache *cache);
/* The content files have been synced, and nothing has been written since: it is empty.  With the writer stopped. */
int content_log_clear(struct cache *cache);

/* May what was written to it and is not durable go into the log?  Under cache->lock. */
bool content_log_takes(struct cache *cache, const struct inode *inode);
/* It does, with this change, which holds the content. */
int content_log_append(struct change *change, struct inode_edit *edit);
/* Has it rows of this file?  1, 0, -errno. */
int content_log_has(struct cache *cache, uint64_t ino);
/* The file has been synced: they are forgotten with this change. */
int content_log_forget(struct change *change, uint64_t ino);
/* The file ends at size from this change on. */
int content_log_cut(struct change *change, uint64_t ino, uint64_t size);

#endif
