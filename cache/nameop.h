/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nameop: what the operations on names have in common.  On the writer thread, inside a change.
 *
 * Errors: 0 or -errno; -ERESTART: something must be listed first, the operation begins anew (op.h).
 */
#ifndef CACHE_NAMEOP_H
#define CACHE_NAMEOP_H

#include <stdbool.h>
#include <stdint.h>
#include "cache/inode.h"

struct change;

/* A directory whose names are here. */
int nameop_dir(struct change *change, uint64_t ino, struct inode_edit **ret_dir);
/* What a name stands for: 1, 0: nothing, -errno. */
int nameop_find(struct change *change, uint64_t dir, struct slice name,
		struct inode_edit **ret_edit);
/*
 * Its times.  A change of local names only is not seen by upstream, so mtime, which is compared,
 * stays.
 */
void nameop_dir_changed(struct change *change, struct inode_edit *dir, bool is_local);
/* Nothing but an empty directory. */
int nameop_check_empty(struct change *change, const struct inode_edit *dir);

/*
 * The record that makes this object under that name, *ret_seq, and behind it one for the access control lists
 * that it has; marks the object.
 */
int nameop_log_make(struct change *change, struct inode_edit *edit, const struct inode_edit *dir,
		    struct slice name, uint64_t *ret_seq);
/*
 * The record that this name is gone (REMOVE, or RMDIR for a directory), if there has to be one.  *ret_seq: what the name is to be
 * marked with, 0: nothing.
 */
int nameop_log_unlink(struct change *change, struct inode_edit *edit,
		      const struct inode_edit *dir, struct slice name, uint64_t *ret_seq);
/* The RENAME.  victim: what the new name stood for, or NULL; it is marked, for it has one name less upstream once this is done. */
int nameop_log_rename(struct change *change, const struct inode_edit *edit, const struct inode_edit *from_dir, struct slice from,
		      const struct inode_edit *to_dir, struct slice to, struct inode_edit *victim, uint64_t *ret_seq);
/*
 * An object is to have a name upstream once more (was_local names only so far, or not): LINK, or,
 * when upstream knows it no longer, a new object with all its content.  -EIO: that content is not
 * all here.
 */
int nameop_log_link(struct change *change, struct inode_edit *edit, const struct inode_edit *dir,
		    struct slice name, uint64_t *ret_seq);

/*
 * A name of the object has been unbound; is_local: upstream never knew it.  Drops what is
 * unreachable now, and records that nobody needs.
 */
int nameop_lost_name(struct change *change, struct inode_edit *edit, bool is_local);

#endif
