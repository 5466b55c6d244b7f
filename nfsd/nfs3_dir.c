/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listing is written straight into the reply, entry by entry, as the cache gives them.
 *
 * The client's count is the size of the whole result, so what stands around the entries is taken off first:
 * attributes, cookie verifier, and after the entries the end of the list and the eof flag.  READDIRPLUS has a
 * second limit, dircount, on names, cookies and file ids alone.
 *
 * The cookie verifier is always zero: cookies are never reused, so none ever becomes invalid, and a listing goes on across
 * any change (`rm -r` removes what it lists).  RFC 1813 3.3.16 allows that, and what verifier comes back is no matter then.  A
 * cookie that can be nobody's is BAD_COOKIE.
 */
#include <errno.h>
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

#define AROUND (NFS3_POST_ATTR + NFS3_COOKIEVERFSIZE + 8)

static bool emit(void *arg, const struct cache_dirent *entry)
{
	struct rpc_call *call = arg;
	bool is_plus = call->u.readdir.is_plus;
	size_t basic = 8 + 4 + xdr_padded(entry->name.len) + 8;	/* fileid, name, cookie */
	size_t size = 4 + basic;
	struct xdr_out out;

	if (is_plus)
		size += 4 + (entry->attr ? NFS3_ATTR : 0) + NFS3_POST_FH;
	/* The first one is given whatever dircount says: some clients put next to nothing there. */
	if (call->u.readdir.refusal || call->bulk_len + size > call->u.readdir.count ||
	    (call->bulk_len && basic > call->u.readdir.dir_room)) {
		call->u.readdir.is_full = true;
		return false;
	}
	call->u.readdir.dir_room -= (uint32_t)MIN(basic, (size_t)call->u.readdir.dir_room);
	out = xdr_out_of(rpc_bulk_data(call) + call->bulk_len, size);
	xdr_out_u32(&out, true);	/* an entry follows */
	xdr_out_u64(&out, entry->ino);
	xdr_out_opaque(&out, entry->name.data, entry->name.len);
	xdr_out_u64(&out, entry->cookie);
	if (is_plus) {
		nfs3_out_post_attr(&out, call, entry->attr != NULL, entry->attr);
		xdr_out_u32(&out, true);
		nfs3_out_fh(&out, call->tree, entry->ino);
	}
	call->bulk_len += (uint32_t)size;
	return true;
}

static int readdir_run(struct rpc_call *call, bool is_plus)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint64_t cookie = xdr_in_u64(&call->args), ino;
	uint32_t count, dir_count;
	int err;

	(void)xdr_in_fixed(&call->args, NFS3_COOKIEVERFSIZE);	/* whatever it is: see the top */
	dir_count = is_plus ? xdr_in_u32(&call->args) : UINT32_MAX;
	count = xdr_in_u32(&call->args);
	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (err)
		return err;
	/* Told at the end: first it must be a directory, and one that the caller may list. */
	call->u.readdir.refusal = 0;
	if (count < AROUND)
		call->u.readdir.refusal = -NFSD_ETOOSMALL;
	else if (cookie > CACHE_COOKIE_MAX)
		call->u.readdir.refusal = -NFSD_EBADCOOKIE;
	count = MIN(MAX(count, (uint32_t)AROUND), NFSD_DIR_MAX);
	err = rpc_bulk(call, count);
	if (err)
		return err;
	call->u.readdir.count = count - AROUND;
	call->u.readdir.dir_room = dir_count;
	call->u.readdir.is_plus = is_plus;
	call->u.readdir.is_full = false;
	return cache_readdir(call->tree->cache, &call->op, ino, cookie, is_plus, emit, call);
}

int nfs3_readdir(struct rpc_call *call)
{
	return readdir_run(call, false);
}

int nfs3_readdirplus(struct rpc_call *call)
{
	return readdir_run(call, true);
}

static bool readdir_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	struct xdr_out tail;

	if (!err)
		err = call->u.readdir.refusal;
	if (!err && !call->bulk_len && call->u.readdir.is_full)
		err = -NFSD_ETOOSMALL;	/* not even one entry */
	if (!nfs3_out_status_attr(out, call, err)) {
		call->bulk_len = 0;
		return false;
	}
	memset(xdr_out_extend(out, NFS3_COOKIEVERFSIZE), 0, NFS3_COOKIEVERFSIZE);
	tail = xdr_out_of(rpc_bulk_data(call) + call->bulk_len, 8);
	xdr_out_u32(&tail, false);	/* no entry follows */
	xdr_out_u32(&tail, call->op.is_eof);
	call->bulk_len += 8;
	return true;
}

bool nfs3_readdir_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return readdir_reply(call, err, out);
}

bool nfs3_readdirplus_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return readdir_reply(call, err, out);
}
