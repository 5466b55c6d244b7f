/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conflict_where: where the objects are that a record on record as not done is about, for the upstream may have given them other names. */
#ifndef CACHE_CONFLICT_WHERE_H
#define CACHE_CONFLICT_WHERE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;
struct conflict_side;

/*
 * Another one has, or none, the name that the conflict is about, and the record's object is here: true.  False of a conflict about no name.
 * *ret_ino: the object, 0 when it is not here.  Any thread.
 */
bool conflict_is_elsewhere(struct cache *cache, const struct conflict_side *side, uint64_t *ret_ino);
/*
 * The path of what had no name here when it was put on record, and may have one by now: into path, of SIZE bytes; else a few words that
 * say so.  Any thread.
 */
void conflict_path(struct cache *cache, const struct conflict_side *side, char *path, size_t size);
/*
 * Of a removal or renaming that was not done, say where what was to be removed or renamed is, when it is not there: added to
 * what, of SIZE bytes, as far as there is room.  Any thread.
 */
void conflict_tell_where(struct cache *cache, const struct conflict_side *side, char *what, size_t size);

#endif
