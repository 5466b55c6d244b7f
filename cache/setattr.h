/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * setattr: changing attributes inside a change; for attr.c itself and for CREATE of a file that is
 * there.
 */
#ifndef CACHE_SETATTR_H
#define CACHE_SETATTR_H

#include "cache/inode.h"
#include "cache/types.h"

/*
 * Checks, changes and logs.  wanted is used up (completed by what the change entails).  Errors as
 * cache_setattr().
 */
int setattr_edit(struct change *change, struct inode_edit *edit, struct attr_change *wanted);

/* The record that these attributes (SET_* of types.h) are as in the edit; marks the object.  None for what upstream does not know. */
int setattr_log(struct change *change, struct inode_edit *edit, unsigned set);

#endif
