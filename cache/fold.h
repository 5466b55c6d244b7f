/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fold: how the log shrinks.  Coda's optimisations, and those that it lacks; docs/ARCHITECTURE.md "Folding" has all of them
 * with their reasons.
 *
 * (1) Only records that were never taken (above frozen_seq) are folded: what may have been sent stays as it is.
 * (2) What a rule leaves comes to the end of the log, where all that it needs is there already; or it changes a record in
 *     place, but then only what no record after it depends on.
 * (3) The records about one name are a chain: the name's mark is the last of them, and each row says which one was the mark
 *     before it (was; was_to for the second name of a RENAME).  A record is folded away only if those of its object are the
 *     last ones on each of its names; then the mark before them is the name's mark again.
 * (4) Certification: what is left says the same bases as the first of the records that it stands for.
 *
 * A directory's mtime changes with names that came and went, too: see forward.h.
 *
 * All on the writer thread, inside the change that the operation is, before the names of the change are touched.  Each gives
 * 1: done, nothing is to be appended; 0: the rule does not apply; or -errno, -EAGAIN of EDIT_MAPS() too.
 */
#ifndef CACHE_FOLD_H
#define CACHE_FOLD_H

#include <stdint.h>
#include "base/mem.h"
#include "rpcgen/kml_codec.h"

struct change;
struct inode_edit;

/* ---- attributes ---- */

/*
 * The object's attributes are set: into the record that makes it, if that waits and nothing after it depends on them; *ret_seq
 * is that record's.  Else 0, with what an older SETATTR said taken over into this one, and that one dropped.
 */
int fold_setattr(struct change *change, uint64_t ino, struct kml_setattr *setattr, uint64_t *ret_seq);
/* A SETACL says all of the lists and the mode: an older one goes.  0 or -errno. */
int fold_setacl(struct change *change, uint64_t ino, struct kml_setacl *setacl);

/* ---- names ---- */

/*
 * A name of the object goes (REMOVE, RMDIR).  *ret_mark: what the name is to be marked with.
 *  - identity: its last name, and it was made inside the log: nothing is left of it;
 *  - the name that it was made under, and it has one other: it is made under that;
 *  - the name is a LINK inside the log: that goes;
 *  - it was renamed to that name: the RENAME becomes the REMOVE of the name before.
 */
int fold_unlink(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark);

/*
 * Before fold_unlink(), where the object goes with its last name.  *ret_mark: as there.
 *  - backup: a file was renamed, its old name given to a new one, and now it goes: that is a STORE of it under its old name.  The new
 *    one is its object from now on, and edit is dropped (is_removed).
 */
int fold_remove(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark);
/* The REMOVE of a file's last name, or the RMDIR, in the log as seq: what it was is noted there, if fold_make() can use it.  0 or -errno. */
int fold_note_removed(struct change *change, const struct inode_edit *edit, uint64_t seq);

/*
 * A new object gets its first name; it is not in the log yet.  *ret_mark: what the name is to be marked with.
 *  - made anew: the removal of another file of that name waits: that is a STORE of the other, and edit its object from now on.  Or that
 *    of a directory: then nothing has happened to that, and what it had in it can be made anew likewise.
 */
int fold_make(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark);

/* A RENAME; all names are known upstream. */
struct fold_move {
	struct inode_edit *edit, *from_dir, *to_dir;
	struct inode_edit *victim;	/* what 'to' stood for, or NULL */
	struct slice from, to;
};

/*
 * *ret_from, *ret_to: what the names are to be marked with.
 *  - replacement: a new file takes the place of another: that is a STORE of the other.  The victim is dropped (is_removed),
 *    and edit is its object from now on;
 *  - backup link: the other has a LINK inside the log: it is renamed to that, and the new file made in its place;
 *  - made anew: as by fold_make();
 *  - a new object: it is made under the new name; a directory in which the log has made something, where it was made;
 *  - chain: it was renamed before: this is one RENAME from where it was then.
 */
int fold_rename(struct change *change, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to);

#endif
