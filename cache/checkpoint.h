/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * checkpoint: moves what is in the write-ahead log into cache.db, beside the writer.
 *
 * SQLite's own way is to do that within a commit, which then takes many times as long.  Here a
 * thread with a connection of its own does it in passing; only a log that outgrows it
 * (CHECKPOINT_BYTES_MAX) is dealt with by the writer, between two transactions, for only then can
 * the log be begun anew.
 *
 * Threads: checkpoint_poke() from the writer.
 */
#ifndef CACHE_CHECKPOINT_H
#define CACHE_CHECKPOINT_H

#include <stdint.h>

#define CHECKPOINT_BYTES (16u << 20)
#define CHECKPOINT_BYTES_MAX (64u << 20)

struct cache;

int checkpoint_start(struct cache *cache, const char *db_path);
void checkpoint_stop(struct cache *cache);
/* The log is so long: pages of page_size bytes. */
void checkpoint_poke(struct cache *cache, uint64_t pages, uint64_t page_size);

#endif
