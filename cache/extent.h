/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * extent: sets of byte ranges of one file.
 *
 * A range is half open, [start, end), in bytes.  Ranges in a map are sorted and never touch: adding
 * [4,8) beside [0,4) leaves the single range [0,8).  A zeroed map is empty.
 *
 * Threads: none of its own; cache->lock guards an inode's maps.
 * Errors: 0 or -ENOMEM.  A call that fails leaves the map as it was.
 */
#ifndef CACHE_EXTENT_H
#define CACHE_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/mem.h"

struct extent {
	uint64_t start, end;
};

struct extent_map {
	struct extent *v;	/* owned */
	uint32_t n, cap;
};

void extent_release(struct extent_map *map);
/* Room for so many ranges more: that many extent_add() will not fail. */
int extent_reserve(struct extent_map *map, uint32_t more);
int extent_add(struct extent_map *map, uint64_t start, uint64_t end);
int extent_remove(struct extent_map *map, uint64_t start, uint64_t end);
int extent_union(struct extent_map *map, const struct extent_map *more);
int extent_copy(struct extent_map *to, const struct extent_map *from);	/* to: released first */
/* Remove everything from 'size' on.  Cannot fail. */
void extent_cut(struct extent_map *map, uint64_t size);
/*
 * Find the first part of [start, end) that is not held: true and the part, or false when all is
 * held.
 */
bool extent_first_gap(const struct extent_map *map, uint64_t start, uint64_t end,
		      struct extent *ret_gap);
uint64_t extent_bytes(const struct extent_map *map);
/* The blob of docs/DISK-FORMAT.md; -EUCLEAN when it is not one. */
int extent_encode(struct buf *buf, const struct extent_map *map);
int extent_decode(struct extent_map *map, struct slice blob);

#endif
