/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * recover: what a crash left behind is mended, docs/DISK-FORMAT.md; for cache_open(), with the
 * writer running.
 */
#ifndef CACHE_RECOVER_H
#define CACHE_RECOVER_H

struct cache;

int recover_cache(struct cache *cache);

#endif
