/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * syncer: makes written content durable, then has it committed.
 *
 * A commit of a file: fdatasync of its content (on a thread of this pool, so that the writer need
 * not wait for it), then the change that writes maps, size, times and the STORE record.  It is
 * begun by COMMIT, by a stable WRITE, by cml_flush(), and after QUIET_US without a write.
 */
#ifndef CACHE_SYNCER_H
#define CACHE_SYNCER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"

#define QUIET_US (5 * US_PER_S)

struct cache;
struct cache_op;

int syncer_start(struct cache *cache);
/* After this nothing is committed by itself. */
void syncer_stop(struct cache *cache);

/*
 * Commit a file for an operation: ends in cache_op_finish() with wcc[0].after set anew.  is_synced:
 * false does not wait for the disk: content goes there with the log, or begins to right after.  0 or -ENOMEM, then nothing was begun.  Any thread, without the
 * lock.
 */
int syncer_commit(struct cache *cache, uint64_t ino, bool is_synced, struct cache_op *op);

/* As cml_flush(), for good: nobody writes any more, so no file keeps its is_dirty. */
int syncer_flush(struct cache *cache);

#endif
