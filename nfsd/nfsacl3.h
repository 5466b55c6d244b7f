/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfsacl3: access control lists, by the NFSACL protocol version 3, on the same port.
 *
 * NFS version 3 itself has none.  The kernel's client asks for this program when it mounts, and does
 * without it when it is not there (or the mount says noacl).
 *
 * What a list looks like on the wire: a count, and the entries when they were asked for.  A list that is no more than
 * a mode travels with a mask all the same, equal to the owning group's entry, as Solaris has it: it is added
 * here when sent, and taken away when it comes.  Empty: there is none.
 */
#ifndef NFSD_NFSACL3_H
#define NFSD_NFSACL3_H

#include "nfsd/rpc.h"

extern const struct rpc_program nfsacl3_program;

/* ---- the wire; for nfsacl3.c and its tests ---- */

/* XDR of a list with so many entries. */
#define NFSACL3_LIST(n) (8 + 12 * (size_t)(n))

/*
 * A list's entries into v, which has room for NFS_ACL_MAX_ENTRIES: 0 and acl->n, or -EINVAL, when it decodes but
 * says what no list does.  What does not decode makes 'in' bad.  is_wanted: it was announced in the mask; else it must be
 * empty.
 */
int nfsacl3_in_list(struct xdr_in *in, bool is_wanted, struct acl_entry *v, struct acl *ret_acl);
/* uid, gid: what the entries of owner and owning group show.  has_entries: not only the count. */
void nfsacl3_out_list(struct xdr_out *out, const struct acl *acl, uint32_t uid, uint32_t gid,
		      bool is_default, bool has_entries);

#endif
