/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evict: take clean content out of the cache, to be fetched again should anybody read it.
 *
 * What goes: files whose content upstream has for certain, as a whole: known there, of a version of theirs, nothing of ours
 * about them changed, noted to change, logged or being replayed.  Who reads meanwhile goes on with the file that he has
 * open, which is removed; the inode has another generation, of which nothing is here.
 *
 * Which go first: those that are hoarded with the lowest priority (0: not at all; which may go the caller says); among
 * those, the ones with the highest
 *
 *	seconds since last used * bytes on disk / (bytes on disk + EVICT_ROUND_TRIP)
 *
 * A file costs a round trip and its bytes to have again, and frees its bytes: so of two that are as old the larger goes, since the
 * small one would cost nearly as much and free nearly nothing.
 *
 * Before all of these go the bases that may never be needed (base.h), and after all of them those of conflicts.
 *
 * How: a walk through the content files finds as many as are needed (at most EVICT_MOST), asking the database about each; then
 * they are evicted in changes of EVICT_PIECE, where each is judged once more, by what is then true.  A content file is removed only
 * when the change is on the disk, whatever the durability, so that no row ever speaks of bytes that are not there; what
 * a crash leaves between the two is a file that no inode names, and is removed by the next start.
 */
#ifndef CACHE_EVICT_H
#define CACHE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#define EVICT_ROUND_TRIP (64u << 10)	/* bytes that could be fetched in the time of a round trip: 20 ms at 25 Mbit/s */
#define EVICT_MOST 65536		/* files of one walk: 3 MB of memory */
#define EVICT_PIECE 32			/* files in one change: what comes behind it waits so long */

struct cache;
struct db;

struct evict {
	/* the caller's */
	struct cache *cache;
	struct db *db;			/* a reader's, of its own */
	uint64_t need;			/* bytes; 0: only look */
	uint32_t priority;		/* only what is hoarded with less */
	const bool *is_stopping;	/* atomic: end soon */
	/* results */
	uint64_t total_bytes;		/* of all content files */
	uint64_t dirty_bytes;		/* of those that must stay for our changes */
	uint64_t hoarded_bytes;		/* of those that stay because they are hoarded, as far as they were looked at */
	uint64_t freed_bytes, freed_files;
	bool has_later;			/* some can be evicted soon: they are being fetched, or were a moment ago */
};

/* Blocks for changes of the writer, and the disk.  0 or -errno; what was freed until then counts. */
int evict(struct evict *evict);

#endif
