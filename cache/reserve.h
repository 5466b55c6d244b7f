/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reserve: room for the database when the disk is full.
 *
 * Even a REMOVE has to be written down before it frees anything.  So a file of RESERVE_MAX bytes
 * (less on a small disk) is kept that holds nothing.  When a transaction finds the disk full the
 * file is given up, and the transaction is tried again; from then on the disk is tight: what would
 * fill it (new content, new objects) is refused with
 * -ENOSPC, what frees it goes on.  That ends when there is room for the file again.
 *
 * Threads: any.
 */
#ifndef CACHE_RESERVE_H
#define CACHE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#define RESERVE_MAX (16ull << 20)

struct cache;

/* Make it; where there is no room for it the cache starts tight. */
int reserve_open(struct cache *cache);
void reserve_close(struct cache *cache);
/* The disk is full.  True: the reserve has been given up just now, try again. */
bool reserve_give_up(struct cache *cache);
/* May nothing be added now? */
bool reserve_is_tight(struct cache *cache);

#endif
