/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

/* diropargs3: a directory and a name in it. */
struct where {
	struct slice fh, name;
};

static struct where in_where(struct xdr_in *in)
{
	struct where where;

	where.fh = nfs3_in_fh(in);
	where.name = nfs3_in_name(in);
	return where;
}

int nfs3_lookup(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	uint64_t dir;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, where.fh, &dir);
	if (err)
		return err;
	return cache_lookup(call->tree->cache, &call->op, dir, where.name);
}

bool nfs3_lookup_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	const struct cache_op *op = &call->op;

	xdr_out_u32(out, nfs3_status(err));
	if (!err) {
		nfs3_out_fh(out, call->tree, op->ino);
		nfs3_out_post_attr(out, call, op->has_attr, &op->attr);
	}
	nfs3_out_post_attr(out, call, op->wcc[0].has_after, &op->wcc[0].after);
	return !err;
}

int nfs3_readlink(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint64_t ino;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (!err)
		err = rpc_bulk(call, CACHE_TARGET_MAX + 3);
	if (err)
		return err;
	return cache_readlink(call->tree->cache, &call->op, ino, (char *)rpc_bulk_data(call));
}

bool nfs3_readlink_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (!nfs3_out_status_attr(out, call, err))
		return false;
	xdr_out_u32(out, call->op.count);
	rpc_bulk_pad(call, call->op.count);
	return true;
}

/* ---- making ---- */

int nfs3_create(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	enum create_how how = (enum create_how)xdr_in_enum(&call->args, CREATE_EXCLUSIVE + 1);
	struct slice verifier = { NULL, 0 };
	int err, bad = 0;
	uint64_t dir;

	if (how == CREATE_EXCLUSIVE)
		verifier = xdr_in_fixed(&call->args, NFS3_CREATEVERFSIZE);
	else
		bad = nfs3_in_sattr(&call->args, &call->u.set.change);
	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, where.fh, bad, &dir);
	if (err)
		return err;
	return cache_create(call->tree->cache, &call->op, dir, where.name, how,
			    how == CREATE_EXCLUSIVE ? NULL : &call->u.set.change, verifier.data);
}

/* CREATE, MKDIR, SYMLINK and MKNOD have the same results. */
static bool made_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	const struct cache_op *op = &call->op;

	xdr_out_u32(out, nfs3_status(err));
	if (!err) {
		xdr_out_u32(out, true);
		nfs3_out_fh(out, call->tree, op->ino);
		nfs3_out_post_attr(out, call, op->has_attr, &op->attr);
	}
	nfs3_out_wcc(out, call, &op->wcc[0]);
	return !err;
}

bool nfs3_create_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return made_reply(call, err, out);
}

int nfs3_mkdir(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	int err, bad = nfs3_in_sattr(&call->args, &call->u.set.change);
	uint64_t dir;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, where.fh, bad, &dir);
	if (err)
		return err;
	return cache_mkdir(call->tree->cache, &call->op, dir, where.name, &call->u.set.change);
}

bool nfs3_mkdir_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return made_reply(call, err, out);
}

int nfs3_symlink(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	int err, bad = nfs3_in_sattr(&call->args, &call->u.set.change);
	struct slice target = nfs3_in_name(&call->args);
	uint64_t dir;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, where.fh, bad, &dir);
	if (err)
		return err;
	return cache_symlink(call->tree->cache, &call->op, dir, where.name, target,
			     &call->u.set.change);
}

bool nfs3_symlink_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return made_reply(call, err, out);
}

int nfs3_mknod(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	uint32_t type = xdr_in_u32(&call->args), major = 0, minor = 0;
	bool is_device = type == TYPE_CHR || type == TYPE_BLK;
	bool is_special = is_device || type == TYPE_SOCK || type == TYPE_FIFO;
	int err, bad = 0;
	uint64_t dir;

	if (is_special)
		bad = nfs3_in_sattr(&call->args, &call->u.set.change);
	if (is_device) {
		major = xdr_in_u32(&call->args);
		minor = xdr_in_u32(&call->args);
	}
	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, where.fh, is_special ? bad : -NFSD_EBADTYPE, &dir);
	if (err)
		return err;
	return cache_mknod(call->tree->cache, &call->op, dir, where.name, (enum file_type)type,
			   major, minor, &call->u.set.change);
}

bool nfs3_mknod_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return made_reply(call, err, out);
}

/* ---- names that go, move or are added ---- */

int nfs3_remove(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	uint64_t dir;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, where.fh, 0, &dir);
	if (err)
		return err;
	return cache_remove(call->tree->cache, &call->op, dir, where.name);
}

bool nfs3_remove_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return nfs3_out_status_wcc(out, call, err);
}

int nfs3_rmdir(struct rpc_call *call)
{
	struct where where = in_where(&call->args);
	uint64_t dir;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, where.fh, 0, &dir);
	if (err)
		return err;
	return cache_rmdir(call->tree->cache, &call->op, dir, where.name);
}

bool nfs3_rmdir_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return nfs3_out_status_wcc(out, call, err);
}

int nfs3_rename(struct rpc_call *call)
{
	struct where from = in_where(&call->args), to = in_where(&call->args);
	uint64_t from_dir = 0, to_dir = 0;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, from.fh, &from_dir);
	if (!err)
		err = nfs3_open_fh(call, to.fh, &to_dir);
	if (!err)
		err = nfs3_may_modify(call);
	if (err)
		return nfs3_refuse(call, err, 0, from_dir, to_dir);
	return cache_rename(call->tree->cache, &call->op, from_dir, from.name, to_dir, to.name);
}

bool nfs3_rename_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	bool is_ok = nfs3_out_status_wcc(out, call, err);

	nfs3_out_wcc(out, call, &call->op.wcc[1]);
	return is_ok;
}

int nfs3_link(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	struct where where = in_where(&call->args);
	uint64_t ino = 0, dir = 0;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (!err)
		err = nfs3_open_fh(call, where.fh, &dir);
	if (!err)
		err = nfs3_may_modify(call);
	if (err)
		return nfs3_refuse(call, err, ino, 0, dir);
	return cache_link(call->tree->cache, &call->op, ino, dir, where.name);
}

bool nfs3_link_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	bool is_ok = nfs3_out_status_attr(out, call, err);

	nfs3_out_wcc(out, call, &call->op.wcc[1]);
	return is_ok;
}
