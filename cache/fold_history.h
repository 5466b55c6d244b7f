/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fold_history: what the log says of one object, and of one name; for fold_name.c.
 *
 * An object's history is its records that were never taken.  Of one that was made inside the log all of it can go, for nobody
 * upstream has met that object.  All on the writer thread, inside a change.
 */
#ifndef CACHE_FOLD_HISTORY_H
#define CACHE_FOLD_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "rpcgen/kml_codec.h"

struct change;
struct inode_edit;

#define HISTORY_ROWS_MAX 16	/* of one object; with more it is left as it is */

struct history_row {
	struct kml_record record;	/* owned */
	uint64_t was[2];
};

/* A name in one of the rows. */
struct spot {
	uint64_t dir;
	struct slice name;		/* in the record */
	uint64_t seq, was;
};

struct history {
	struct change *change;
	struct inode_edit *edit;
	struct history_row rows[HISTORY_ROWS_MAX];
	unsigned n;
	struct spot spots[2 * HISTORY_ROWS_MAX];
	unsigned n_spots;
	const struct kml_record *make, *store;	/* in rows, or NULL */
};

/*
 * The history of an object that was made inside the log, if it can go (fold.h (3)): 1 and what it is, 0, -errno.  To be released in
 * either case.
 */
int history_of_new(struct change *change, struct inode_edit *edit, struct history **ret_history);
/* Was the access time set by hand, when it was made or since?  rsync and cp -p do that. */
bool history_has_own_atime(const struct history *history);
/* All of it goes; its names have the marks from before, their directories are noted (forward.h).  What is in it stays valid. */
int history_drop(struct history *history);
void history_release(struct history *history);	/* may be NULL */

/* The mark that a name, which has this one, had before this history. */
uint64_t history_mark_before(const struct history *history, const struct spot *spot, uint64_t mark);

/* The record that is the name's mark, if it is of that object and was not taken: 1 (its record is the caller's), 0, -errno. */
int history_last_on(struct change *change, uint64_t ino, uint64_t dir, struct slice name, struct history_row *ret_row);

bool spot_is_same(const struct spot *a, const struct spot *b);
/* A RENAME onto something. */
bool record_replaces(const struct kml_record *record);

#endif
