/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stale: what upstream is to be asked for again (inode.is_stale), and what has been asked and not answered.
 *
 * is_stale is in the database and survives everything.  In memory is a note of each inode that was given out
 * (apply_next_stale()), or that is known to be held up by our own changes.
 * Who answers calls stale_answered() first in its change, and stale_done() when that change is over, however it ended:
 * a mark that was made between giving out and answering is not lost.  An answer that takes several changes: stale_answered()
 * in the last one, which leaves the marks that the others made.
 */
#ifndef CACHE_STALE_H
#define CACHE_STALE_H

#include <stdbool.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

struct cache;
struct change;
struct stale;

/* ---- on the writer thread, inside a change ---- */

/*
 * Ask for it again: at once; or, because something of ours is in the way, once records have been retired (or some time
 * has passed).  An inode that is gone: 0.
 */
int stale_ask(struct change *change, uint64_t ino);
int stale_mark_held(struct change *change, uint64_t ino);
/* Ask for it again once the journal has been pulled up to there. */
int stale_ask_after(struct change *change, uint64_t ino, uint64_t position);
/* What was asked for came: not stale any more, unless it was marked after it had been given out. */
int stale_answered(struct change *change, uint64_t ino);

/* ---- any thread, without the lock ---- */

/* As if it had been given out: an answer is on its way.  -ENOMEM. */
int stale_asked(struct cache *cache, uint64_t ino);
void stale_done(struct cache *cache, uint64_t ino);
/* The inode is no more. */
void stale_forget(struct cache *cache, uint64_t ino);
/* In memory, what apply_reset() has written: directories from..to are stale, no listing before position is good enough. */
void stale_reset_dirs(struct cache *cache, uint64_t from, uint64_t to, uint64_t position);
/* See apply_next_stale(). */
bool stale_next(struct cache *cache, uint64_t *ret_ino, struct kml_oid *ret_oid, bool *ret_is_dir);

/* ---- for apply.c ---- */

int stale_new(struct stale **ret_stale);
void stale_free(struct stale *stale);

#endif
