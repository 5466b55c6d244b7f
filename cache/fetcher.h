/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fetcher: what the cache asks of the network; replicate/ implements it, tests have a double.
 *
 * The functions may be called from any thread and with cache locks held: they only queue the wish
 * and return.  Each wish is answered exactly once, later, on another stack, through cache/apply.h:
 * list by apply_listing_end(), data and ahead by apply_content_end().  The cache asks once for what many wait for.
 *
 * What somebody waits for (list, data) goes before what is only expected to be read (FETCH_GUESS), and that before what is
 * to be here some day (FETCH_HOARD).
 */
#ifndef CACHE_FETCHER_H
#define CACHE_FETCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

enum fetch_class { FETCH_ASKED, FETCH_GUESS, FETCH_HOARD, FETCH_CLASSES };

/* Bytes [offset, offset+len) of a data version. */
struct fetch_range {
	uint64_t ino, version, offset, len;
	struct kml_oid oid;
	bool is_whole;		/* the version has no more than these */
};

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

	/* The following three or none: without them nothing is asked for ahead of who needs it. */

	/* May the link be used for what nobody has asked for? */
	bool (*may_guess)(void *arg);
	/*
	 * Ranges that nobody waits for, in the order in which they are expected to be needed; of that class.  Small whole files
	 * come many at a time.  One that is answered with 0 and has not come is not to be had this way: who needs it asks for it.
	 */
	void (*ahead)(void *arg, const struct fetch_range *ranges, size_t n, enum fetch_class class);
	/* Somebody waits by now for what was wished ahead (and may have been answered meanwhile). */
	void (*hurry)(void *arg, uint64_t ino, uint64_t version, uint64_t offset);
};

struct cache;
/* Plug in; before the first operation.  NULL: there is no network. */
void cache_set_fetcher(struct cache *cache, const struct fetcher *fetcher, void *arg);
/* The link went away: whoever waits for it gets -EIO now.  (Wishes under way are still answered.) */
void cache_link_lost(struct cache *cache);

#endif
