/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hoard_table: the entries in cache.db, and which objects they are about; the walk's ends, for the rest of cache/. */
#ifndef CACHE_HOARD_TABLE_H
#define CACHE_HOARD_TABLE_H

#include "cache/hoard.h"

struct db;

/*
 * With which priority is what has this number hoarded, by the highest entry that any of its names falls under?  0: it is not;
 * -errno.  db: a connection that is the caller's now.
 */
int64_t hoard_priority(struct cache *cache, struct db *db, uint64_t ino);
/* The next entry behind one, highest priority first; the first one behind a priority of UINT32_MAX.  1, 0: no more, -errno. */
int hoard_next(struct db *db, struct hoard_entry *io_entry);
/* How many there are. */
uint64_t hoard_count(struct cache *cache);

/* A walk through an entry, without a lock: files and directories as the database has them, or memory, if that knows better. */
struct hoard_walk {
	struct cache *cache;
	struct db *db;
	struct hoard_entry *entry;	/* gets what was found */
	/* Called for each file of which something is missing, and each directory that is not listed; gives 0 to go on.  May be NULL. */
	int (*missing)(struct hoard_walk *walk, uint64_t ino, bool is_dir);
	const bool *is_stopping;	/* atomic; then -ECANCELED.  May be NULL */
	void *arg;
};
int hoard_walk(struct hoard_walk *walk);

/* ---- for cache.c ---- */

/* What evicts asks for entries from the first on: so hoard_open(), space_start(), hoard_start().  0 or -errno. */
int hoard_open(struct cache *cache, const char *db_path);
int hoard_start(struct cache *cache);
/* Ends its thread, which evicts; what evicts asks for entries until hoard_free(). */
void hoard_stop(struct cache *cache);
void hoard_free(struct cache *cache);

/* ---- for what changes ---- */

/* Something may be missing now that is hoarded.  Any thread, with or without cache->lock. */
void hoard_poke(struct cache *cache);
/* Entries have come or gone: look at once. */
void hoard_changed(struct cache *cache, uint64_t entries);
/* A wish of park_hoard(), for so many bytes, is over.  Any thread, with locks held. */
void hoard_answered(struct cache *cache, uint64_t bytes);

#endif
