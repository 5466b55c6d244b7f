/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fold_rules: between fold_name.c, fold_dir.c and fold_replace.c.  As in fold.h: 1: done, 0: the rule does not apply, -errno.
 */
#ifndef CACHE_FOLD_RULES_H
#define CACHE_FOLD_RULES_H

#include "cache/fold.h"
#include "cache/fold_history.h"
#include "cache/types.h"

/* ---- fold_name.c ---- */

/*
 * The object is made under this name, as it is now, and all that was said of it before is said by that.  *ret_seq: what the name
 * is to be marked with.  0 or -errno.
 */
int fold_make_again(struct history *h, struct inode_edit *dir, struct slice name, uint64_t *ret_seq);
/* It has two names, of which this one goes. */
int fold_make_under_other(struct history *h, uint64_t dir, struct slice name);

/* A name of an object besides this one. */
struct other_name {
	uint64_t not_dir;
	struct slice not_name;
	uint64_t older_than;		/* 0: any; else only one whose mark is older */
	/* found */
	uint64_t dir;
	struct slice name;		/* in text */
	char text[CACHE_NAME_MAX];
};

/* 1, 0: there is none that upstream knows, -errno. */
int fold_find_other(struct change *change, uint64_t ino, struct other_name *other);

/* ---- fold_dir.c ---- */

/* The RENAME of a directory that was made inside the log, with what the log has made in it. */
int fold_move_dir(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to);
/* Has any directory got another place after that record?  Then one that is put elsewhere before might come to be below itself. */
int fold_has_dir_moved(struct change *change, uint64_t seq);

/* As fold_make(), fold_note_removed(): of a directory. */
int fold_make_dir(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark);
int fold_note_removed_dir(struct change *change, const struct inode_edit *edit, uint64_t seq);

/* ---- fold_replace.c ---- */

/* The RENAME of a new file over another. */
int fold_replace(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to);
/* The RENAME of a new file to a name whose file was removed. */
int fold_remake(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to);

#endif
