/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fetcher: what the cache asks of the network; replicate/ implements it, tests have a double.
 *
 * The functions may be called from any thread and with cache locks held: they only queue the wish
 * and return.  Each wish is answered exactly once, later, on another stack, through cache/apply.h:
 * list by apply_listing_end(), data by apply_content_end().  The cache asks once for what many wait for.
 */
#ifndef CACHE_FETCHER_H
#define CACHE_FETCHER_H

#include <stdbool.h>
#include <stdint.h>

struct kml_oid;

struct fetcher {
	/* Is there a link to ask?  When not, nothing is asked and callers get their error at once. */
	bool (*has_link)(void *arg);
	/* Names and attributes of everything in the directory. */
	void (*list)(void *arg, uint64_t ino, const struct kml_oid *dir);
	/* Bytes [offset, offset+len) of that data version. */
	void (*data)(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version,
		     uint64_t offset, uint64_t len);
	/* May what is hoarded be fetched now, when there is a link?  NULL: yes. */
	bool (*may_hoard)(void *arg);
};

struct cache;
/* Plug in; before the first operation.  NULL: there is no network. */
void cache_set_fetcher(struct cache *cache, const struct fetcher *fetcher, void *arg);
/* The link went away: whoever waits for it gets -EIO now.  (Wishes under way are still answered.) */
void cache_link_lost(struct cache *cache);

#endif
