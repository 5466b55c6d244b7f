/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfs3: the 22 procedures of NFS version 3 (RFC 1813).
 *
 * nfs3.c has the table and the errors, nfs3_conv.c what the two worlds' types have in common; the procedures
 * are in nfs3_attr.c, nfs3_name.c, nfs3_dir.c, nfs3_data.c.  Each has the two functions of rpc.h: nfs3_x() starts
 * it, nfs3_x_reply() writes its results.
 *
 * Post-operation attributes and weak cache consistency data are sent whenever the cache knows them.
 */
#ifndef NFSD_NFS3_H
#define NFSD_NFS3_H

#include "nfsd/rpc.h"

/* Errors of this layer that have no errno; the kernel's numbers for the same. */
#define NFSD_EBADHANDLE 521
#define NFSD_EBADCOOKIE 523
#define NFSD_ETOOSMALL 525
#define NFSD_EBADTYPE 527

extern const struct rpc_program nfs3_program;

/* 0 or a negative errno (or one of the above) as an nfsstat3. */
uint32_t nfs3_status(int err);

/* XDR sizes. */
#define NFS3_FH_MAX 64
#define NFS3_FH (4 + NFS3_FH_MAX)	/* as an argument: any length up to 64 */
#define NFS3_ATTR 84
#define NFS3_POST_ATTR (4 + NFS3_ATTR)
#define NFS3_POST_FH (4 + 4 + 32)
#define NFS3_WCC (4 + 24 + NFS3_POST_ATTR)
#define NFS3_SATTR (6 * 8 + 4 + 16)	/* at most */

/* ---- nfs3_conv.c: arguments ---- */

/* A handle as it came; call_object() opens it. */
struct slice nfs3_in_fh(struct xdr_in *in);
struct slice nfs3_in_name(struct xdr_in *in);
/* -EINVAL: it decodes, but a time or an id in it is none. */
int nfs3_in_sattr(struct xdr_in *in, struct attr_change *ret_change);
struct timespec nfs3_in_time(struct xdr_in *in);

/*
 * Which object a handle means.  Sets call->tree, of which every handle of a call must be (-EXDEV), and makes of
 * the caller whom that export takes him for.
 * -NFSD_EBADHANDLE: not one of ours; -ESTALE: of a tree that is not served.
 */
int nfs3_open_fh(struct rpc_call *call, struct slice fh, uint64_t *ret_ino);
/* Its handles are open.  -EROFS: the procedure modifies and the export is read-only. */
int nfs3_may_modify(const struct rpc_call *call);
/*
 * Refuse a call before the cache has seen it: err, with attributes of 'object' and wcc of 'first' and 'second', as far as
 * their handles could be opened; 0: of none.
 */
int nfs3_refuse(struct rpc_call *call, int err, uint64_t object, uint64_t first, uint64_t second);
/*
 * Open the only handle of a call that modifies.  bad: what else is wrong with its arguments, told after what is wrong with
 * the handle; 0: nothing.  An error is refused already, with wcc of the object.
 */
int nfs3_open_to_modify(struct rpc_call *call, struct slice fh, int bad, uint64_t *ret_ino);

/* ---- nfs3_conv.c: results ---- */

void nfs3_out_attr(struct xdr_out *out, const struct tree *tree, const struct attr *attr);
void nfs3_out_post_attr(struct xdr_out *out, const struct rpc_call *call, bool has_attr,
			const struct attr *attr);
void nfs3_out_wcc(struct xdr_out *out, const struct rpc_call *call, const struct wcc *wcc);
void nfs3_out_fh(struct xdr_out *out, const struct tree *tree, uint64_t ino);

/* Status and the object's attributes, which many results begin with (or, failed, consist of).  Gives !err. */
bool nfs3_out_status_attr(struct xdr_out *out, const struct rpc_call *call, int err);
/* Status and op.wcc[0], the same for changes. */
bool nfs3_out_status_wcc(struct xdr_out *out, const struct rpc_call *call, int err);

/* ---- the procedures ---- */

#define NFS3_PROC(name) \
	int nfs3_##name(struct rpc_call *call); \
	bool nfs3_##name##_reply(struct rpc_call *call, int err, struct xdr_out *out)

NFS3_PROC(null);
NFS3_PROC(getattr);
NFS3_PROC(setattr);
NFS3_PROC(lookup);
NFS3_PROC(access);
NFS3_PROC(readlink);
NFS3_PROC(read);
NFS3_PROC(write);
NFS3_PROC(create);
NFS3_PROC(mkdir);
NFS3_PROC(symlink);
NFS3_PROC(mknod);
NFS3_PROC(remove);
NFS3_PROC(rmdir);
NFS3_PROC(rename);
NFS3_PROC(link);
NFS3_PROC(readdir);
NFS3_PROC(readdirplus);
NFS3_PROC(fsstat);
NFS3_PROC(fsinfo);
NFS3_PROC(pathconf);
NFS3_PROC(commit);

#endif
