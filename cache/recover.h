/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * recover: what a crash left behind is mended, docs/DISK-FORMAT.md; for cache_open() and cache_close().
 *
 * What takes a look at every inode or content file is done only where the cache was not closed properly, which its
 * database says (meta.closed): a start is to be short, however large the tree.
 */
#ifndef CACHE_RECOVER_H
#define CACHE_RECOVER_H

struct cache;

/* Before anything else: from now on it is not closed, durably. */
int recover_begin(struct cache *cache);
/* With the writer running. */
int recover_cache(struct cache *cache);
/* All threads have stopped, and nothing has failed: it is closed, once all of its content is on the disk as well. */
void recover_end(struct cache *cache);

#endif
