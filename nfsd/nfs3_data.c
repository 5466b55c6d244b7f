/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/clock.h"
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

int nfs3_read(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint64_t offset = xdr_in_u64(&call->args);
	uint32_t count = xdr_in_u32(&call->args);
	uint64_t ino;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (err)
		return err;
	/* A reader can be told that there is less; offsets past the largest file are at its end. */
	count = MIN(count, NFSD_IO_MAX);
	if (offset > CACHE_SIZE_MAX - count) {
		offset = MIN(offset, (uint64_t)CACHE_SIZE_MAX);
		count = (uint32_t)MIN((uint64_t)count, CACHE_SIZE_MAX - offset);
	}
	err = rpc_bulk(call, (size_t)count + 3);
	if (err)
		return err;
	if (count >= PAGE_PIPE_WORTH)
		call->op.pages = page_pipe_get(&call->nfsd->pipes);
	call->op.deadline_us = call->start_us + call->nfsd->read_wait_us;
	return cache_read(call->tree->cache, &call->op, ino, offset, rpc_bulk_data(call), count);
}

bool nfs3_read_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	const struct cache_op *op = &call->op;

	if (!nfs3_out_status_attr(out, call, err))
		return false;
	xdr_out_u32(out, op->count);
	xdr_out_u32(out, op->is_eof);
	xdr_out_u32(out, op->count);	/* the opaque's own length */
	if (op->pages && op->pages->len)
		rpc_bulk_pages(call);
	else
		rpc_bulk_pad(call, op->count);
	return true;
}

int nfs3_write(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint64_t offset = xdr_in_u64(&call->args);
	uint32_t count = xdr_in_u32(&call->args);
	enum stability want = (enum stability)xdr_in_enum(&call->args, FILE_SYNC + 1);
	struct slice data = xdr_in_opaque(&call->args, UINT32_MAX);
	uint64_t ino;
	int err;

	if (!xdr_in_done(&call->args) || count != data.len)
		return RPC_GARBAGE;
	err = nfs3_open_to_modify(call, fh, 0, &ino);
	if (err)
		return err;
	count = MIN(count, NFSD_IO_MAX);
	return cache_write(call->tree->cache, &call->op, ino, offset, data.data, count, want);
}

static void out_verifier(struct xdr_out *out, const struct rpc_call *call)
{
	cache_write_verifier(call->tree->cache, xdr_out_extend(out, NFS3_WRITEVERFSIZE));
}

bool nfs3_write_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (!nfs3_out_status_wcc(out, call, err))
		return false;
	xdr_out_u32(out, call->op.count);
	xdr_out_u32(out, call->op.committed);
	out_verifier(out, call);
	return true;
}

int nfs3_commit(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint64_t ino;
	int err;

	/* The whole file is committed, whatever part was asked for: RFC 1813 3.3.21 allows it. */
	(void)xdr_in_u64(&call->args);
	(void)xdr_in_u32(&call->args);
	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (err)
		return err;
	return cache_commit(call->tree->cache, &call->op, ino);
}

bool nfs3_commit_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (!nfs3_out_status_wcc(out, call, err))
		return false;
	out_verifier(out, call);
	return true;
}
