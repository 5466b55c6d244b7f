/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * detach: files that took the place of another one, whose object they are now (fold_replace.c), while the upstream has the old file still.
 *
 * The log says that as changes of the old object, and knows one name of it.  Somebody may have made another name of it upstream
 * meanwhile, and what the program did would have left that alone.  So before each record that changes such an object goes a DETACH,
 * until a STORE has been done: where there are other names, they part.  It is no row of the log: STORE, SETATTR and SETACL are given
 * two numbers each, and the first is the DETACH's.  So it needs no rules of its own when records fold, move or are sent again.
 *
 * Table detach: by inode, its object, the name that the upstream knows it by when those records are done, and the data version.
 * 0 or -errno but where said otherwise.
 */
#ifndef CACHE_DETACH_H
#define CACHE_DETACH_H

#include <stdint.h>
#include "base/mem.h"
#include "rpcgen/kml_codec.h"

struct change;
struct db;
struct inode_edit;

/* It is the object now that 'was' was: of that name, and with its oid and version. */
int detach_note(struct change *change, const struct inode_edit *edit, uint64_t was, const struct inode_edit *dir, struct slice name);
/* A RENAME before those records is gone: then it has that name still. */
int detach_renamed(struct change *change, uint64_t ino, const struct inode_edit *dir, struct slice name);
/* The upstream has it, or it is another object: from now on it is as any other. */
int detach_forget(struct change *change, uint64_t ino);
/* The log is empty: those whose inodes are gone. */
int detach_sweep(struct change *change);

/*
 * What has to be sent right before that record, which is about that inode: 1 and the record, to be released; 0: nothing.  after: the
 * number of the one before it in the log.
 */
int detach_before(struct db *db, uint64_t ino, uint64_t after, const struct kml_record *record, struct kml_record *ret_detach);

#endif
