/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

/* The procedures whose one argument is a handle: open it and get the attributes. */
static int getattr_of_args(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint64_t ino;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (err)
		return err;
	return cache_getattr(call->tree->cache, &call->op, ino);
}

int nfs3_getattr(struct rpc_call *call)
{
	return getattr_of_args(call);
}

bool nfs3_getattr_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	xdr_out_u32(out, nfs3_status(err));
	if (!err)
		nfs3_out_attr(out, call->tree, &call->op.attr);
	return !err;
}

int nfs3_setattr(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	int err, bad = nfs3_in_sattr(&call->args, &call->u.set.change);
	bool is_guarded;
	uint64_t ino;

	is_guarded = xdr_in_bool(&call->args);
	if (is_guarded)
		call->u.set.guard = nfs3_in_time(&call->args);
	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, fh, bad, &ino);
	if (err)
		return err;
	return cache_setattr(call->tree->cache, &call->op, ino, &call->u.set.change,
			     is_guarded ? &call->u.set.guard : NULL);
}

bool nfs3_setattr_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return nfs3_out_status_wcc(out, call, err);
}

int nfs3_access(struct rpc_call *call)
{
	const uint32_t modifying = ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE;
	struct slice fh = nfs3_in_fh(&call->args);
	uint32_t want = xdr_in_u32(&call->args);
	uint64_t ino;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (err)
		return err;
	if (call->tree->is_read_only)
		want &= ~modifying;
	return cache_access(call->tree->cache, &call->op, ino, want);
}

bool nfs3_access_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (nfs3_out_status_attr(out, call, err))
		xdr_out_u32(out, call->op.access);
	return !err;
}

int nfs3_fsstat(struct rpc_call *call)
{
	return getattr_of_args(call);
}

bool nfs3_fsstat_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	struct cache_fsstat stat;

	if (!err)
		err = cache_fsstat(call->tree->cache, &stat);
	if (!nfs3_out_status_attr(out, call, err))
		return false;
	xdr_out_u64(out, stat.total_bytes);
	xdr_out_u64(out, stat.free_bytes);
	xdr_out_u64(out, stat.avail_bytes);
	xdr_out_u64(out, stat.total_files);
	xdr_out_u64(out, stat.free_files);
	xdr_out_u64(out, stat.avail_files);
	xdr_out_u32(out, 0);		/* invarsec: it may change at any time */
	return true;
}

int nfs3_fsinfo(struct rpc_call *call)
{
	return getattr_of_args(call);
}

bool nfs3_fsinfo_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (!nfs3_out_status_attr(out, call, err))
		return false;
	xdr_out_u32(out, NFSD_IO_MAX);		/* rtmax, rtpref, rtmult */
	xdr_out_u32(out, NFSD_IO_MAX);
	xdr_out_u32(out, 4096);
	xdr_out_u32(out, NFSD_IO_MAX);		/* wtmax, wtpref, wtmult */
	xdr_out_u32(out, NFSD_IO_MAX);
	xdr_out_u32(out, 4096);
	xdr_out_u32(out, NFSD_DIR_MAX);		/* dtpref */
	xdr_out_u64(out, CACHE_SIZE_MAX);
	xdr_out_u32(out, 0);			/* time_delta: 1 ns */
	xdr_out_u32(out, 1);
	xdr_out_u32(out, FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
	return true;
}

int nfs3_pathconf(struct rpc_call *call)
{
	return getattr_of_args(call);
}

bool nfs3_pathconf_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (!nfs3_out_status_attr(out, call, err))
		return false;
	xdr_out_u32(out, CACHE_LINK_MAX);
	xdr_out_u32(out, CACHE_NAME_MAX);
	xdr_out_u32(out, true);		/* no_trunc */
	xdr_out_u32(out, true);		/* chown_restricted */
	xdr_out_u32(out, false);	/* case_insensitive */
	xdr_out_u32(out, true);		/* case_preserving */
	return true;
}
