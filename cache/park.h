/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * park: operations that wait for the network, and what has been asked of it.
 *
 * A listing, or a range of content, is asked for once, however many wait.  Waits end when it has
 * come (park_wake_*, park_content_done in internal.h: the operation begins anew), when it cannot
 * come or the link is gone (-EIO), or at the operation's deadline (-EIO).
 *
 * Lock order: cache->lock before park's own.
 */
#ifndef CACHE_PARK_H
#define CACHE_PARK_H

#include <stdint.h>
#include "cache/cache.h"
#include "cache/inode.h"

int park_start(struct cache *cache);
/* Ends what waits with -EIO. */
void park_stop(struct cache *cache);

/*
 * Under cache->lock, so that what is missing cannot come before the operation waits for it.
 * CACHE_WAITS, or -EIO, -ENOMEM.
 */
int park_listing(struct cache *cache, struct cache_op *op, const struct inode *dir);
/* Likewise for a directory whose names are about to be committed: nothing is asked for. */
int park_commit(struct cache *cache, struct cache_op *op, const struct inode *dir);
/* gap: the first part of [offset, end) that is missing. */
int park_content(struct cache *cache, struct cache_op *op, struct inode *inode,
		 uint64_t offset, uint64_t end);
/* [offset, end) of it is read, and here: if that is reading on, what comes next is asked for.  Under cache->lock. */
void park_read_on(struct cache *cache, const struct inode *inode, uint64_t offset, uint64_t end);
/* May so many bytes be asked for that nobody wants yet?  Under cache->lock. */
bool park_may_guess(struct cache *cache, uint64_t bytes);
/*
 * Somebody is expected to read these: ask for those that are small (AHEAD_SMALL) and wholly absent, behind all that somebody waits
 * for, and set is_guessed of each that had not been asked for.  Under cache->lock, with room and a link (park_may_guess()).
 */
void park_guess(struct cache *cache, struct inode *const *inodes, size_t n);
/*
 * Ask for what is missing of [offset, end) without anybody who waits; under cache->lock, with a link.  Gives how many
 * wishes that are, each of which ends in hoard_answered(); or -ENOMEM, -EIO.
 */
int park_hoard(struct cache *cache, const struct inode *inode, uint64_t offset, uint64_t end);
/* Has content of it been asked for, or is it waited for?  Is anything waited for? */
bool park_wants(struct cache *cache, uint64_t ino);
bool park_is_waited_for(struct cache *cache);

#endif
