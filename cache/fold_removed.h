/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fold_removed: what an object was, for one that comes in its place (fold_replace.c, fold_dir.c); also when it is removed already.
 *
 * The REMOVE of a file that the upstream knows, and the RMDIR of such a directory, says in columns gone and gone_at of its row what the
 * upstream has of it: the inode that knew it is no more.  All on the writer thread, inside a change: 1, 0, -errno.
 */
#ifndef CACHE_FOLD_REMOVED_H
#define CACHE_FOLD_REMOVED_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "cache/inode.h"
#include "rpcgen/kml_codec.h"

struct change;

struct old_object {
	struct kml_oid oid;
	uint64_t ino;			/* whose the records about it are */
	uint64_t data_version, attr_version, attr_seq;
	uint32_t mode, uid, gid;
	const struct acls *acls;	/* borrowed */
	bool is_stale;			/* the upstream is to be asked what it is now */
};

/* A regular file of one name, here and upstream. */
bool file_has_one_name(const struct inode_edit *edit);
/* What it is now; 0: what comes in its place cannot be said of it, for something is on its way to it, or it was refused. */
int old_object_now(struct change *change, const struct inode_edit *edit, struct old_object *ret_old);
/*
 * What it was whose REMOVE or RMDIR is the last record about that name, that record, and the mark that the name had before.  0: there is
 * none of that type, or it is not known, or somebody has that object (a program that had it open, or another name that came from the
 * upstream).
 */
int old_object_removed(struct change *change, uint64_t dir, struct slice name, enum file_type type, struct old_object *ret_old,
		       uint64_t *ret_seq, uint64_t *ret_was);
/* Is anything about it with the replay? */
int old_object_is_out(struct change *change, uint64_t ino);
/* What it is is noted in the row of that record, which removes it.  0 or -errno. */
int old_object_note(struct change *change, const struct inode_edit *edit, uint64_t seq);

#endif
