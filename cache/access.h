/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * access: who may do what, as a local file system would have it.  Pure functions.
 *
 * An access control list (acl.h) is followed where there is one.
 * Root may do everything, but for executing what nobody may execute.  Errors: 0, -EACCES, -EPERM.
 */
#ifndef CACHE_ACCESS_H
#define CACHE_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include "cache/inode.h"
#include "cache/types.h"

enum access_want { WANT_READ = 4, WANT_WRITE = 2, WANT_EXEC = 1 };

bool access_in_group(const struct cred *cred, uint32_t gid);
/* want: of enum access_want, all of them. */
int access_check(const struct cred *cred, const struct inode_values *v, unsigned want);
/*
 * Reading and writing content.  NFS has no open: the owner may always, for the file may have been
 * made read-only with it open; and whoever may execute it may read it.
 */
int access_read(const struct cred *cred, const struct inode_values *v);
int access_write(const struct cred *cred, const struct inode_values *v);
/* enum access_bits of 'want' that are granted. */
uint32_t access_bits(const struct cred *cred, const struct inode_values *v, uint32_t want);

/* May names be added to or removed from the directory? */
int access_change_dir(const struct cred *cred, const struct inode_values *dir);
/* May this name's object be removed or renamed, as far as a sticky directory goes? */
int access_sticky(const struct cred *cred, const struct inode_values *dir,
		  const struct inode_values *v);
/*
 * May the change be made?  And what it does besides: mode bits that a file loses are put into
 * change->mode (and SET_MODE), fields that would stay the same are kept.
 */
int access_setattr(const struct cred *cred, const struct inode_values *v,
		   struct attr_change *change);
/* The mode without suid, and without sgid where group may execute. */
uint32_t access_without_suid(uint32_t mode);
/* Does writing by this one take suid and sgid away? */
bool access_write_kills_suid(const struct cred *cred, const struct inode_values *v);

/*
 * Owner, group, mode and times of a new object.  v->type is set; mode_default when change gives
 * none.
 * -EPERM: it is to belong to somebody else and the caller is not root.
 */
int access_new(const struct cred *cred, const struct inode_values *dir,
	       const struct attr_change *change, uint32_t mode_default, int64_t now,
	       struct inode_values *v);

#endif
