/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base: contents as they were before they were changed here, kept for who has to merge what two have changed (merged.h).
 *
 * A base is the content that a file had in one version of the upstream's, whole: a file of its own, CACHE/bases/ID, and a row in
 * table base, (ino, version).  It is kept when a change begins that will be certified against that version: before the
 * first WRITE or cut, or when another file takes its name.  It goes with the record that was certified: done, or come to nothing; or it
 * becomes a conflict's, and goes with that.
 *
 * Only what matches a pattern of the configuration, and is not larger than its limit, is kept, and only where that costs no eviction.  A base is
 * never needed: one that cannot be made, or has gone for room, or was damaged (its hash says so), is one that nobody has.
 * So nothing waits for the disk for its sake, and no change fails.
 *
 * Threads: those with a change are the writer's.
 */
#ifndef CACHE_BASE_H
#define CACHE_BASE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"

#define BASE_LIMIT (1ull << 20)		/* bytes, where the configuration does not say */
#define BASE_LIMIT_MAX (64ull << 20)	/* what may be configured: a change waits while it is copied */

struct cache;
struct cache_config;
struct change;
struct inode_edit;
struct kml_record;

/*
 * Does a path from the tree's root match, as fnmatch(3) has it?  A pattern with no slash is one for the name; in one with a slash, * stands for
 * slashes too.
 */
bool base_pattern_matches(const char *pattern, const char *path);

/* ---- for cache.c ---- */

/* Opens its directory.  0 or -errno. */
int base_open(struct cache *cache, const struct cache_config *config);
/* With the writer running and what a crash left mended: rows and files that belong to nothing go.  0 or -errno. */
int base_recover(struct cache *cache);
void base_free(struct cache *cache);

/* ---- inside a change ----  0 or -errno: of the database; -EAGAIN: with wants_rerun set */

/* Is this file one whose base would be kept? */
bool base_is_wanted(struct change *change, const struct inode_edit *edit);
/* Its content is about to change.  Keeps it, if it is what the upstream has. */
int base_keep(struct change *change, struct inode_edit *edit);
/* That, and the note that it may change from when this is committed (is_dirty): until the note ends nothing of the upstream's is taken. */
int base_note_change(struct change *change, struct inode_edit *edit);
/*
 * Another object takes victim's name, by a record about it that is certified against what victim is made on: its content is
 * that record's base.  may_pass: victim's own base is that, where it has been changed.
 */
int base_keep_replaced(struct change *change, struct inode_edit *victim, uint64_t by_ino, bool may_pass);
/* The record about this object has come to its end. */
int base_record_ended(struct change *change, uint64_t ino, const struct kml_record *record);
/* In conflict, which has that number: its base is the conflict's from now on. */
int base_give_to_conflict(struct change *change, uint64_t ino, const struct kml_record *record, int64_t conflict);
int base_conflict_ended(struct change *change, int64_t conflict);
/* The object is gone. */
int base_forget(struct change *change, uint64_t ino);

/* ---- any thread that may block ---- */

/* Bytes on disk of all of them. */
uint64_t base_used(struct cache *cache);
/*
 * Give up the oldest until so many bytes are free: those of conflicts, or else those that wait to be of use.  *ret_bytes and *ret_files are added to.
 */
int base_evict(struct cache *cache, uint64_t need, bool of_conflicts, uint64_t *ret_bytes, uint64_t *ret_files);
/* Copy a conflict's into a new file: 1; 0: it has none, or none that is whole; -errno. */
int base_copy_out(struct cache *cache, uint64_t conflict, int dirfd, const char *name);

/* ---- with no cache open ---- */

/* Is the file of that number in the directory of bases what its row says?  dirfd -1: there is no directory. */
bool base_file_is(int dirfd, int64_t id, uint64_t size, struct slice hash);

#endif
