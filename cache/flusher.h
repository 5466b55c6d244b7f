/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flusher: puts the database's log on the disk, and then tells whose changes are in it.
 *
 * The writer's COMMIT leaves a transaction in the log's file.  A sync of that file takes about as long as a dozen changes,
 * and the processor has nothing to do meanwhile: so a thread does it here, for all transactions that have come together, while
 * the writer is at the next one.  A log that is cut off anywhere ends with its last whole transaction, so no transaction
 * outlives one before it.
 *
 * DURABILITY_SYNC: nobody is told anything, and no file is removed or cut, before that.  DURABILITY_ASYNC: that is done by the
 * writer, at once; only a change that wants_sync is told of later; and the log is synced within FLUSH_AFTER_US.  But content
 * files are not removed before the sync there either, and for one that is cut the log is synced first: what a power cut takes
 * back is the last second's changes, not the file that one of them removed, replaced or cut.
 *
 * A sync that fails: the cache is in its error state, and everybody who waits is told -EIO.  Memory stays as the log has it.
 */
#ifndef CACHE_FLUSHER_H
#define CACHE_FLUSHER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/list.h"

#define FLUSH_AFTER_US US_PER_S

struct cache;

/*
 * The end of a transaction that has been committed (each of these changes has err 0) or given up (err): for those with 0 what is
 * due after it (files, waiting operations; not unless it is_kept, for certain), then done() for each.  Any thread, in the order
 * of the transactions.
 */
void changes_settle(struct cache *cache, struct list *changes, bool is_kept);
void changes_tell(struct list *changes);

/* The log is there.  0 or -errno. */
int flusher_start(struct cache *cache);
/* Ends once nothing waits, and the log is on the disk.  With the writer stopped. */
void flusher_stop(struct cache *cache);

/*
 * These have been committed: take them over, empty the list.  DURABILITY_SYNC: to settle and tell them after a sync;
 * DURABILITY_ASYNC: to tell them.  The writer's.
 */
void flusher_take(struct cache *cache, struct list *changes);
/* The same, waiting for it: saves handing them over.  Only when it is idle. */
void flusher_take_here(struct cache *cache, struct list *changes);
/* Something has been committed that nobody waits for. */
void flusher_later(struct cache *cache);
/*
 * By what has been committed this content file is nobody's any more: it is removed after the next sync, if that succeeds, and
 * else by the next start.  is_soon: its room is worth a sync now.  Any thread.
 */
void flusher_remove(struct cache *cache, uint64_t ino, uint32_t gen, bool is_soon);
/* What has been committed is on the disk when it gives 0.  -EIO: it is not, and the cache is in its error state.  Any thread. */
int flusher_sync(struct cache *cache);
/* Nothing is under way, or waits for a sync. */
bool flusher_is_idle(struct cache *cache);
/* Until it is.  The writer's. */
void flusher_wait(struct cache *cache);

#endif
