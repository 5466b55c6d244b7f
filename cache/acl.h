/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acl: POSIX access control lists (1003.1e draft 17, withdrawn, as Linux has them).  Pure functions.
 *
 * A list is "full" as programs see it, with the permissions of owner, mask and others in it, or "kept" as
 * inodes, records and kml.x have it: an access list only when it says more than a mode, and with those three
 * permissions 0, for they are the mode's.  So chmod changes a mode, and the list with it.  Default lists
 * are the same in both.
 *
 * Errors: 0, -EINVAL, -ENOMEM; -EUCLEAN of what should have been ours.
 */
#ifndef CACHE_ACL_H
#define CACHE_ACL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "cache/inode.h"
#include "cache/types.h"
#include "rpcgen/kml_codec.h"

/* Both lists in one block, to be freed with free(), with room for so many entries; all zero. */
struct acls *acls_new(uint32_t n_access, uint32_t n_def);
/* NULL stands for none, and is none's copy too: *ret_acls is untouched on failure only. */
int acls_copy(const struct acls *acls, struct acls **ret_acls);
bool acls_equal(const struct acls *a, const struct acls *b);

/* Kept lists from and to XDR (kml_acls); len 0: none, NULL. */
int acls_decode(struct slice xdr, struct acls **ret_acls);
int acls_encode(struct buf *buf, const struct acls *acls);
/* The same lists as kml's type, borrowed. */
struct kml_acls acls_to_kml(const struct acls *acls);

/* Put a full list in order.  -EINVAL: it is none. */
int acl_sort(struct acl *acl);
/* The nine bits of a mode that a full access list stands for; and does it say no more than those? */
uint32_t acl_mode(const struct acl *full);
bool acl_is_mode(const struct acl *full);

/*
 * Kept lists of full ones: access (or NULL: that of old) and def (or NULL: that of old; n 0: none).  *ret_acls is
 * NULL when nothing is left.
 */
int acls_keep(const struct acl *access, const struct acl *def, const struct acls *old,
	      struct acls **ret_acls);
/* Full lists of what is kept and a mode. */
int acls_show(const struct acls *kept, uint32_t mode, struct acls **ret_acls);

/*
 * What a new object gets in a directory with these lists: *io_mode is reduced by the default list.  *ret_acls:
 * kept, NULL when the mode says it all.
 */
int acls_inherit(const struct acls *dir, bool is_dir, uint32_t *io_mode, struct acls **ret_acls);
/* The mode without what it gives to anybody whom the list gives less: what it may be while the list is not there yet. */
uint32_t acls_narrow_mode(const struct acls *kept, uint32_t mode);

/* The object has an access list and cred is neither root nor its owner: is all of want granted? */
bool acl_grants(const struct cred *cred, const struct inode_values *v, unsigned want);

#endif
