/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * space: how much content the cache may have, and how much of the disk is left to others.
 *
 * limit: bytes of content files at most.  floor: bytes that stay free on their file system.  Above 15/16 of the limit,
 * or below the floor, a thread evicts content (evict.h), down to 7/8 of the one and a quarter above the other, so that it
 * is seldom at work.  A WRITE that finds no room waits for that thread, which ends in one of two ways: there is room, or
 * all that is left must stay (it was changed here and waits, or is hoarded): then WRITEs and new objects get -ENOSPC before
 * anything is done, until that changes.  What frees room always goes on.
 *
 * What is fetched is always taken, so that a READ is answered in a full cache too, and evicted a moment
 * later; but a fetch begins only with less than SPACE_OVER bytes too much, and half of the floor free behind it, or when nothing can
 * be evicted.  One that finds no room on the disk all the same is begun again, as long as something can be.
 *
 * After a start all content files are counted, in the background; until then only the floor is kept.
 * Without limit and floor there is no struct space, and none of this.
 *
 * Recency: a READ notes the second in its inode, and once an hour in the access time of the content file, through a
 * queue: what is in memory is exact, what a restart finds is good to the hour.
 *
 * Threads: any, but where said otherwise.
 */
#ifndef CACHE_SPACE_H
#define CACHE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#define SPACE_OVER (64ull << 20)

struct cache;
struct cache_config;
struct cache_fsstat;
struct cache_op;
struct inode;

struct space_status {
	uint64_t limit_bytes;		/* 0: none */
	uint64_t floor_bytes;		/* 0: none */
	bool is_counted;		/* else used_bytes is not known yet */
	uint64_t used_bytes;
	uint64_t avail_bytes;		/* on the disk */
	uint64_t dirty_bytes, hoarded_bytes;	/* on disk, of what must stay, when that was looked at last */
	uint64_t evicted_files, evicted_bytes;	/* since the start */
	char full[320];			/* why writes are refused, and what to do; "": they are not */
};
void space_get_status(struct cache *cache, struct space_status *ret);

/* ---- for cache.c ---- */

/* After recovery.  0 or -errno. */
int space_start(struct cache *cache, const struct cache_config *config, const char *db_path);
void space_stop(struct cache *cache);

/* ---- for who needs room ---- */

/* Under cache->lock.  May a WRITE of so many bytes go on?  0, -ENOSPC, or CACHE_WAITS: op begins anew. */
int space_admit_write(struct cache *cache, struct cache_op *op, uint64_t bytes);
/* Under cache->lock.  May so many bytes more be fetched for op?  0 or CACHE_WAITS. */
int space_admit_fetch(struct cache *cache, struct cache_op *op, uint64_t bytes);
/* There was no room on the disk for so many that were fetched.  Can some be made, so that they are to be asked for again? */
bool space_fetch_again(struct cache *cache, uint64_t bytes);
/* Would so many bytes that nobody has asked for fit without anything having to be evicted?  Under cache->lock. */
bool space_has_room_ahead(struct cache *cache, uint64_t bytes);
/* Are new objects refused?  Takes the lock. */
bool space_is_full(struct cache *cache);
/*
 * Make room for so many bytes more that are hoarded with that priority, from what is not, or with a lower one.  Blocks while it evicts.
 * 0, -ENOSPC: there is none; -EAGAIN: not now; -errno.
 */
int space_make_room(struct cache *cache, uint64_t bytes, uint32_t priority);
/* The content of this inode is being read.  Under cache->lock. */
void space_note_read(struct cache *cache, struct inode *inode);
/* Something can be evicted that could not before: records were retired, something was fetched, or is not hoarded any more. */
void space_poke(struct cache *cache);
/* Figures of the disk as they are with limit and floor. */
void space_fsstat(struct cache *cache, struct cache_fsstat *stat);

#endif
