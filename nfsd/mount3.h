/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mount3: the MOUNT protocol version 3 (RFC 1813 appendix I), on the same port.
 *
 * MNT takes the path of an export or of a directory below it, and walks there; symlinks on the way are
 * not followed.  The handle of an export's root is the same for ever.
 *
 * The list of mounts (DUMP) is for showmount.  A client need not send UMNT and anybody may, so nothing depends
 * on it.
 */
#ifndef NFSD_MOUNT3_H
#define NFSD_MOUNT3_H

#include "nfsd/rpc.h"

struct mount_list;

extern const struct rpc_program mount3_program;

/* 0 or a negative errno as a mountstat3. */
uint32_t mount3_status(int err);

void mount3_list_release(struct mount_list *list);

#endif
