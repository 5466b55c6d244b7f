/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * digest: what the bytes of a content were, so that it can be told whether they still are (check.h).
 *
 * A digest is the XXH3-128 of the ranges that were present when it was made, as they are read from the content file.  It finds what a disk,
 * memory or a program that knows nothing of it has altered.  Against one who means it, no hash that lies beside the content would
 * help: he writes another one.  So it is the fastest.  Pieces of zeros do not go into it, so a hole and zeros are the same, and a file that
 * is nearly all hole costs next to nothing.
 *
 * A row of table digest says (ino, gen, ranges, digest).  Its seal is a hash of these: a row that was altered itself accuses nobody.
 *
 * (1) A byte that a row speaks of changes only after the row's removal has been committed.  WRITE needs nothing for that: the note that has to be
 *     committed before its first byte (data.c) takes the row away.  A fetch puts bytes where there are none, of which no row speaks.
 * (2) A row is committed only while nothing of the content waits to be, after it has been synced.
 *
 * So neither a time nor a size of the file is asked, which whoever copies a cache would change: the bytes decide alone, also after a crash.
 *
 * Threads: digest_edit() is the writer's; the rest is anybody's.  Errors: 0 or -errno.
 */
#ifndef CACHE_DIGEST_H
#define CACHE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>
#include "cache/extent.h"

#define DIGEST_LEN 16

struct cache;
struct change;
struct db;
struct inode_edit;

struct digest {
	uint64_t ino;
	uint32_t gen;
	struct extent_map ranges;	/* owned */
	unsigned char hash[DIGEST_LEN];
};
void digest_release(struct digest *digest);

/*
 * Read digest->ranges from the file, which may be shorter (then it is zeros), into digest->hash.  step is told of bytes that have been read, now and then;
 * with another answer than 0, which is given on, it ends.  fd: its own, for its read-ahead is switched off; what was not in the
 * system's page cache is not left there.
 */
int digest_read(int fd, struct digest *digest, int (*step)(void *arg, uint64_t bytes), void *arg);

/* The row: 1; 0: there is none; -EUCLEAN: there is one that is not what was written. */
int digest_get(struct db *db, uint64_t ino, struct digest *ret_digest);
int digest_put(struct db *db, const struct digest *digest);
int digest_drop(struct db *db, uint64_t ino);

/* Inside a change, when its edits are written: keeps (1). */
int digest_edit(struct change *change, const struct inode_edit *edit);
/* Is each of these ranges in the map? */
bool digest_is_within(const struct extent_map *ranges, const struct extent_map *map);

#endif
