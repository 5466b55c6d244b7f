/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fetched: which bytes came from upstream is noted on disk here, a little later and for many files at once.
 *
 * Fetched bytes are in 'present' in memory as soon as they are in the object file.  A row may speak of them only
 * when they are on the disk, and syncing each file by itself would make a first walk through a tree slow.  So
 * a thread gathers for a second, syncs, and then writes the maps in one change.  What a crash
 * loses costs another fetch.
 */
#ifndef CACHE_FETCHED_H
#define CACHE_FETCHED_H

struct cache;
struct inode;

int fetched_start(struct cache *cache);
/* Notes what waits, and ends the thread. */
void fetched_stop(struct cache *cache);

/* Bytes of this inode came; its write_gen has gone up.  Under the lock. */
void fetched_add(struct cache *cache, struct inode *inode);

#endif
