/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

/* ---- arguments ---- */

struct slice nfs3_in_fh(struct xdr_in *in)
{
	return xdr_in_opaque(in, NFS3_FH_MAX);
}

struct slice nfs3_in_name(struct xdr_in *in)
{
	return xdr_in_opaque(in, UINT32_MAX);	/* the record has an end, and the cache a limit */
}

struct timespec nfs3_in_time(struct xdr_in *in)
{
	struct timespec t;

	t.tv_sec = xdr_in_u32(in);
	t.tv_nsec = xdr_in_u32(in);
	return t;
}

/* set_atime, set_mtime: by the server's clock, or to a value that follows. */
static unsigned in_set_time(struct xdr_in *in, unsigned set_now, unsigned set_value,
			    struct timespec *ret)
{
	switch (xdr_in_enum(in, SET_TO_CLIENT_TIME + 1)) {
	case SET_TO_SERVER_TIME:
		return set_now;
	case SET_TO_CLIENT_TIME:
		*ret = nfs3_in_time(in);
		return set_value;
	default:
		return 0;
	}
}

static bool is_time(struct timespec t)
{
	return t.tv_nsec >= 0 && t.tv_nsec < 1000000000;
}

int nfs3_in_sattr(struct xdr_in *in, struct attr_change *ret_change)
{
	struct attr_change change = { 0 };

	if (xdr_in_bool(in)) {
		change.set |= SET_MODE;
		change.mode = xdr_in_u32(in) & 07777;
	}
	if (xdr_in_bool(in)) {
		change.set |= SET_UID;
		change.uid = xdr_in_u32(in);
	}
	if (xdr_in_bool(in)) {
		change.set |= SET_GID;
		change.gid = xdr_in_u32(in);
	}
	if (xdr_in_bool(in)) {
		change.set |= SET_SIZE;
		change.size = xdr_in_u64(in);
	}
	change.set |= in_set_time(in, SET_ATIME_NOW, SET_ATIME, &change.atime);
	change.set |= in_set_time(in, SET_MTIME_NOW, SET_MTIME, &change.mtime);
	*ret_change = change;
	if (!is_time(change.atime) || !is_time(change.mtime))
		return -EINVAL;
	/* Nobody's: chown() takes it for "as it is". */
	return (change.set & SET_UID && change.uid == CRED_NO_ID) || (change.set & SET_GID && change.gid == CRED_NO_ID) ?
		-EINVAL : 0;
}

int nfs3_open_fh(struct rpc_call *call, struct slice fh, uint64_t *ret_ino)
{
	const struct nfsd *nfsd = call->nfsd;
	uint64_t ino;
	uint32_t id;

	if (!fh_tree(fh, &id))
		return -NFSD_EBADHANDLE;
	for (size_t i = 0; i < nfsd->n_trees; i++) {
		const struct tree *tree = &nfsd->trees[i];

		if (tree->id != id)
			continue;
		if (!fh_open(tree->key, fh, &ino))
			return -NFSD_EBADHANDLE;
		if (call->tree && call->tree != tree)
			return -EXDEV;
		if (!call->tree)	/* once: a call that was put off is run again */
			cred_squash(&tree->callers, &call->op.cred, call->is_anon);
		call->tree = tree;
		if (!call->ino)
			call->ino = ino;
		*ret_ino = ino;
		return 0;
	}
	return -ESTALE;
}

int nfs3_may_modify(const struct rpc_call *call)
{
	return call->tree->is_read_only && (call->proc->flags & RPC_MODIFIES) ? -EROFS : 0;
}

int nfs3_refuse(struct rpc_call *call, int err, uint64_t object, uint64_t first, uint64_t second)
{
	if (!call->tree)
		return err;
	return cache_refuse(call->tree->cache, &call->op, err, object, first, second);
}

int nfs3_open_to_modify(struct rpc_call *call, struct slice fh, int bad, uint64_t *ret_ino)
{
	int err;

	*ret_ino = 0;
	err = nfs3_open_fh(call, fh, ret_ino);
	if (!err)
		err = nfs3_may_modify(call);
	if (!err)
		err = bad;
	return err ? nfs3_refuse(call, err, 0, *ret_ino, 0) : 0;
}

/* ---- results ---- */

/* NFS v3 has seconds from 0 to 2^32-1. */
static void out_time(struct xdr_out *out, struct timespec t)
{
	if (t.tv_sec < 0)
		t = (struct timespec){ 0, 0 };
	else if (t.tv_sec > UINT32_MAX)
		t = (struct timespec){ UINT32_MAX, 0 };
	xdr_out_u32(out, (uint32_t)t.tv_sec);
	xdr_out_u32(out, (uint32_t)t.tv_nsec);
}

void nfs3_out_attr(struct xdr_out *out, const struct tree *tree, const struct attr *attr)
{
	xdr_out_u32(out, attr->type);
	xdr_out_u32(out, attr->mode);
	xdr_out_u32(out, attr->nlink);
	xdr_out_u32(out, attr->uid);
	xdr_out_u32(out, attr->gid);
	xdr_out_u64(out, attr->size);
	xdr_out_u64(out, attr->used);
	xdr_out_u32(out, attr->major);
	xdr_out_u32(out, attr->minor);
	xdr_out_u64(out, tree->id);	/* fsid */
	xdr_out_u64(out, attr->ino);
	out_time(out, attr->atime);
	out_time(out, attr->mtime);
	out_time(out, attr->ctime);
}

void nfs3_out_post_attr(struct xdr_out *out, const struct rpc_call *call, bool has_attr,
			const struct attr *attr)
{
	xdr_out_u32(out, has_attr);
	if (has_attr)
		nfs3_out_attr(out, call->tree, attr);
}

void nfs3_out_wcc(struct xdr_out *out, const struct rpc_call *call, const struct wcc *wcc)
{
	xdr_out_u32(out, wcc->before.is_known);
	if (wcc->before.is_known) {
		xdr_out_u64(out, wcc->before.size);
		out_time(out, wcc->before.mtime);
		out_time(out, wcc->before.ctime);
	}
	nfs3_out_post_attr(out, call, wcc->has_after, &wcc->after);
}

void nfs3_out_fh(struct xdr_out *out, const struct tree *tree, uint64_t ino)
{
	xdr_out_u32(out, FH_LEN);
	fh_seal(tree->key, tree->id, ino, xdr_out_extend(out, FH_LEN));
}

bool nfs3_out_status_attr(struct xdr_out *out, const struct rpc_call *call, int err)
{
	xdr_out_u32(out, nfs3_status(err));
	nfs3_out_post_attr(out, call, call->op.has_attr, &call->op.attr);
	return !err;
}

bool nfs3_out_status_wcc(struct xdr_out *out, const struct rpc_call *call, int err)
{
	xdr_out_u32(out, nfs3_status(err));
	nfs3_out_wcc(out, call, &call->op.wcc[0]);
	return !err;
}
