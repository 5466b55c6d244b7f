/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conflict_merge: a directory that both have made. */
#ifndef CACHE_CONFLICT_MERGE_H
#define CACHE_CONFLICT_MERGE_H

#include "rpcgen/kml_codec.h"

struct change;
struct inode_edit;

/*
 * MKDIR was answered MERGED: the directory here, edit, becomes upstream's answer->object; or, when that has an
 * inode here already, everything of it moves there.  edit NULL: it is gone.
 */
int conflict_merge(struct change *change, struct inode_edit *edit, const struct kml_record *record,
		   const struct kml_answer *answer);

#endif
