/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * record: append to the cml, inside the change that does what the record says.
 *
 * cml_append() gives the record its seq and writes it; the caller puts that seq as mark on the names
 * and inodes it touched (data_seq, attr_seq, name.seq).
 */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include <stdint.h>
#include "rpcgen/kml_codec.h"

struct change;
struct inode_edit;

/*
 * record: op and body filled in (format, seq, time, uid are set here; uid from op's cred).  ino: the object's.
 * dirs: the inodes of the directories that it names, one or two, in the order of cml_places_of(); NULL: it names none.
 * The marks of those names must still be the old ones.
 */
int cml_append(struct change *change, uint64_t ino, const struct kml_record *record, const uint64_t *dirs, uint64_t *ret_seq);

/*
 * See that a STORE record for this file waits, as ARCHITECTURE "One STORE per file" says; to be called within the change
 * that commits new content.  Sets data_seq (and moves dirty ranges to dirty_next's side) in the edit; the edit must have its maps.
 * Does nothing for an object with no names upstream (links_up 0).
 */
int cml_append_store(struct change *change, struct inode_edit *edit);

/* The last name upstream is gone: drop its waiting, not taken STORE, SETATTR and SETACL records. */
int cml_forget(struct change *change, struct inode_edit *edit);

/* Drop one waiting record by seq. */
int cml_drop(struct change *change, uint64_t seq);

#endif
