/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hoard: what must be here when there is no link.
 *
 * An entry is a path from the tree's root, "/a/b", and how far below it: what stands there is hoarded, whatever object that
 * is: a file that an editor replaces stays hoarded, what is new in a hoarded directory is, and so is what comes to
 * be at a path where there is nothing yet.  Hoarded content is fetched before anybody reads it, and is not evicted to make
 * room for anything but what is hoarded with a higher priority.
 *
 * A thread walks through what is hoarded after commands, after what came from upstream, and every ten minutes, highest
 * priority first, and has what is missing fetched, HOARD_AT_ONCE pieces at a time, or more of small files, which go many in one
 * request, but none while somebody waits for the network himself (but one every other second, so that it gets there).
 *
 * Threads: any.
 */
#ifndef CACHE_HOARD_H
#define CACHE_HOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "cache/cml.h"

#define HOARD_ALL UINT32_MAX		/* a depth: everything below */
#define HOARD_PRIORITY_MAX 1000u
#define HOARD_PRIORITY 100u		/* where none is given */
#define HOARD_DEPTH 1u			/* likewise */
#define HOARD_AT_ONCE 4
#define HOARD_SMALL_AT_ONCE 256		/* while they are fewer than HOARD_SMALL_BYTES */
#define HOARD_SMALL_BYTES (512ull << 10)

struct cache;

struct hoard_entry {
	char path[CML_PATH_MAX];
	uint32_t depth;			/* 0: only what stands there itself; 1: what is directly in it too; ...; HOARD_ALL */
	uint32_t priority;		/* 1 to HOARD_PRIORITY_MAX, the higher the more important */
	bool is_configured;		/* by the configuration, not by a command */
	/* as found */
	bool is_there;			/* something stands at the path */
	uint64_t files, bytes;		/* regular files, and their sizes */
	uint64_t missing_files, missing_bytes;	/* those that are not here as a whole, and how much of them is not */
	uint64_t unlisted;		/* directories of which not even the names are here */
};

/*
 * Hoard it; over an entry of the same path, changes that.  Durable when this returns.  -EINVAL: not a path as above (no "//",
 * ".", "..", slash at the end), or a number out of range; -ENAMETOOLONG; -errno.
 */
int hoard_add(struct cache *cache, const char *path, uint32_t depth, uint32_t priority);
/* -ENOENT: there is no such entry; -EPERM: it is the configuration's. */
int hoard_remove(struct cache *cache, const char *path);
/* These are the configuration's from now on, in place of those that were. */
int hoard_configure(struct cache *cache, const struct hoard_entry *entries, size_t n);
/*
 * Calls fn for each entry, highest priority first, as it is found now: every file is looked at (without being read).  Blocks for
 * as long as that takes.  0 or -errno.
 */
int hoard_list(struct cache *cache, void (*fn)(void *arg, const struct hoard_entry *entry), void *arg);

struct hoard_status {
	uint64_t entries;
	bool is_known;			/* the rest: a walk has been done since the start */
	bool is_walking, is_fetching;
	uint64_t files, bytes;		/* of all entries; what two of them hoard counts twice */
	uint64_t missing_files, missing_bytes, unlisted;
	uint64_t absent;		/* entries of which nothing is there */
	uint64_t no_room_bytes;		/* of missing_bytes: what does not fit */
	uint64_t fetched_bytes;		/* since the start */
};
void hoard_get_status(struct cache *cache, struct hoard_status *ret);

#endif
