/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * digester: a thread that makes digests (digest.h) of contents that have come to rest.
 *
 * A change of a content that leaves it at rest puts its inode into a queue, to be looked at when it has not been written or fetched for
 * DIGEST_REST_US; of a large one, for as long as it takes to read it: so what is written again and again is not read more than half of the
 * time.  It reads DIGEST_RATE bytes a second at most, with no lock held, and begins anew at the next rest when the content changes meanwhile.
 * With nothing in the queue it sleeps.
 *
 * What has no digest, and is in no queue, is found by a walk over the table of inodes: after a crash, after an older version has had the cache, and when
 * more came than the queue takes.  Its position, and the queue, outlast a stop (meta: digest_walk, digest_due).
 *
 * Its priority is that of any thread, not a low one: it takes the lock of the cache for moments, and with a low one everybody
 * would wait where the processor is busy.
 */
#ifndef CACHE_DIGESTER_H
#define CACHE_DIGESTER_H

#include <stdbool.h>
#include "base/clock.h"

#define DIGEST_REST_US (60 * US_PER_S)
#define DIGEST_RATE (16ull << 20)

struct cache;
struct inode;

/* The writer's: may there be any row? */
bool digester_has_rows(const struct cache *cache);
/* Its content has changed, and is at rest for all that the caller knows.  Under cache->lock. */
void digester_later(struct cache *cache, struct inode *inode);

/* ---- for cache.c ---- */

/* Before the writer starts.  0 or -errno. */
int digester_open(struct cache *cache);
/* With it running and what a crash left mended.  0 or -errno. */
int digester_start(struct cache *cache, const char *db_path);
/* Before the writer ends. */
void digester_stop(struct cache *cache);
/* All threads have stopped: what waits is written down.  0 or -errno. */
int digester_save(struct cache *cache);
void digester_free(struct cache *cache);

/* Tests: until all that is due by now has been made. */
void digester_wait(struct cache *cache);

#endif
