/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dentry: names in directories, in memory and in table name.
 */
#ifndef CACHE_DENTRY_H
#define CACHE_DENTRY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"

struct cache;
struct change;
struct db;

struct name_info {
	uint64_t ino;		/* 0: tombstone: removed here, its record waits */
	uint64_t cookie;
	uint64_t seq;		/* last unretired record on it; 0: clean */
};

/*
 * 1 and *ret when the row exists (a tombstone too), 0 when not, -errno.  Under cache->lock; on the
 * writer thread the names of the open transaction count (call it with the lock all the same).
 */
int name_get(struct cache *cache, uint64_t dir, struct slice name, struct name_info *ret);

/* ---- on the writer thread, inside a change; SQL at once, memory when the change is done ---- */

/*
 * Bind (dir, name) to ino with that seq; a row that is there keeps its cookie unless it was a
 * tombstone.
 */
int name_bind(struct change *change, uint64_t dir, struct slice name, uint64_t ino, uint64_t seq);
/* Take the name away: seq 0 deletes the row, else it becomes a tombstone with that seq. */
int name_unbind(struct change *change, uint64_t dir, struct slice name, uint64_t seq);
/* Set the mark only. */
int name_mark(struct change *change, uint64_t dir, struct slice name, uint64_t seq);
/*
 * Clear the marks that record seq left on names: bound names become clean, tombstones go.  (There
 * is an index-free scan otherwise: give the directory and name.)
 */
int name_retire(struct change *change, uint64_t dir, struct slice name, uint64_t seq);

/*
 * Each name of an inode (not tombstones): fn gives 0 to go on.  On the writer thread.  name is
 * valid during the call.
 */
int name_each_of(struct cache *cache, uint64_t ino,
		 int (*fn)(void *arg, uint64_t dir, struct slice name,
			   const struct name_info *info),
		 void *arg);
/* Each name in a directory, tombstones too. */
int name_each_in(struct cache *cache, uint64_t dir,
		 int (*fn)(void *arg, struct slice name, const struct name_info *info), void *arg);
/* Has the directory any names that are not tombstones?  1, 0 or -errno. */
int name_any_in(struct cache *cache, uint64_t dir);
/* Has it names, or tombstones, of which a record of ours is told?  1, 0 or -errno. */
int name_any_marked_in(struct cache *cache, uint64_t dir);
/* How many names an inode has here (not tombstones), or -errno. */
int64_t name_count_of(struct cache *cache, uint64_t ino);
/*
 * The path of an inode from the tree's root, "/a/b" (first of its names), for people: into a buffer
 * of PATH size, always terminated.
 */
void name_path(struct cache *cache, uint64_t ino, char *ret_path, uint64_t size);
/* The same of that name in a directory, cut at the end where it does not fit. */
void name_path_in(struct cache *cache, uint64_t dir, struct slice name, char *ret_path, uint64_t size);
/*
 * The same in front of what path has from *io_start on, which goes back to where it begins now: "" for the root, and what does not
 * fit, or is damaged, is left out at the front.  db: any connection that is the caller's.
 */
void name_path_before(struct db *db, uint64_t ino, char *path, size_t *io_start);

/* ---- for the writer and cache.c; all under cache->lock ---- */

/* Put the touched names into memory, pinned. */
void names_apply(struct change *change);
/* Forget the list; is_applied: unpin them, after the transaction's end. */
void names_release(struct change *change, bool is_applied);
/* The transaction failed: drop what was applied from memory; and forget the list. */
void names_revert(struct change *change);
void name_cache_release(struct cache *cache);

/*
 * RFC: ".nfs" and 24 hex digits: the kernel client's unlinked-but-open files; local, never logged.
 */
bool name_is_local(struct slice name);

#endif
