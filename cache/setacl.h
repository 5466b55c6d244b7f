/* SPDX-License-Identifier: GPL-2.0-or-later */
/* setacl: access control lists inside a change; for setacl.c itself and for what makes objects. */
#ifndef CACHE_SETACL_H
#define CACHE_SETACL_H

#include "cache/inode.h"

/* The record that the object has the lists and the mode that are in the edit; marks the object. */
int setacl_log(struct change *change, struct inode_edit *edit);

#endif
