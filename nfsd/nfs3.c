/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfs3.h"

/*
 * Names are let in longer than they may be, so that they get NAMETOOLONG from the cache and not GARBAGE_ARGS.
 */
#define NAME (4 + 4096)
#define PATH (4 + 8192)
#define MADE (4 + NFS3_POST_FH + NFS3_POST_ATTR + NFS3_WCC)	/* results of CREATE and its like */
#define IO (4 + NFSD_IO_MAX + 4096)

#define ROW(NAME_, name, args, results, flags) \
	[NFSPROC3_##NAME_] = { #NAME_, nfs3_##name, nfs3_##name##_reply, args, results, flags }

static const struct rpc_proc procs[] = {
	ROW(NULL, null, 0, 0, 0),
	ROW(GETATTR, getattr, NFS3_FH, 4 + NFS3_ATTR, 0),
	ROW(SETATTR, setattr, NFS3_FH + NFS3_SATTR + 12, 4 + NFS3_WCC, RPC_MODIFIES | RPC_REMEMBER),
	ROW(LOOKUP, lookup, NFS3_FH + NAME, 4 + 4 + FH_LEN + 2 * NFS3_POST_ATTR, 0),
	ROW(ACCESS, access, NFS3_FH + 4, 4 + NFS3_POST_ATTR + 4, 0),
	ROW(READLINK, readlink, NFS3_FH, 4 + NFS3_POST_ATTR, 0),
	ROW(READ, read, NFS3_FH + 12, 4 + NFS3_POST_ATTR, 0),
	ROW(WRITE, write, NFS3_FH + 16 + IO, 4 + NFS3_WCC + 16, RPC_MODIFIES),
	ROW(CREATE, create, NFS3_FH + NAME + 4 + NFS3_SATTR, MADE, RPC_MODIFIES | RPC_REMEMBER),
	ROW(MKDIR, mkdir, NFS3_FH + NAME + NFS3_SATTR, MADE, RPC_MODIFIES | RPC_REMEMBER),
	ROW(SYMLINK, symlink, NFS3_FH + NAME + NFS3_SATTR + PATH, MADE, RPC_MODIFIES | RPC_REMEMBER),
	ROW(MKNOD, mknod, NFS3_FH + NAME + 4 + NFS3_SATTR + 8, MADE, RPC_MODIFIES | RPC_REMEMBER),
	ROW(REMOVE, remove, NFS3_FH + NAME, 4 + NFS3_WCC, RPC_MODIFIES | RPC_REMEMBER),
	ROW(RMDIR, rmdir, NFS3_FH + NAME, 4 + NFS3_WCC, RPC_MODIFIES | RPC_REMEMBER),
	ROW(RENAME, rename, 2 * (NFS3_FH + NAME), 4 + 2 * NFS3_WCC, RPC_MODIFIES | RPC_REMEMBER),
	ROW(LINK, link, 2 * NFS3_FH + NAME, 4 + NFS3_POST_ATTR + NFS3_WCC, RPC_MODIFIES | RPC_REMEMBER),
	ROW(READDIR, readdir, NFS3_FH + 20, 4 + NFS3_POST_ATTR, 0),
	ROW(READDIRPLUS, readdirplus, NFS3_FH + 24, 4 + NFS3_POST_ATTR, 0),
	ROW(FSSTAT, fsstat, NFS3_FH, 4 + NFS3_POST_ATTR + 52, 0),
	ROW(FSINFO, fsinfo, NFS3_FH, 4 + NFS3_POST_ATTR + 48, 0),
	ROW(PATHCONF, pathconf, NFS3_FH, 4 + NFS3_POST_ATTR + 24, 0),
	ROW(COMMIT, commit, NFS3_FH + 12, 4 + NFS3_WCC + 8, 0),
};

_Static_assert(ARRAY_SIZE(procs) == NFSD_STATS_MOUNT - NFSD_STATS_NFS, "figures for every procedure");
_Static_assert(RPC_REPLY_HEAD + 4 + 2 * NFS3_WCC <= DRC_REPLY_MAX && RPC_REPLY_HEAD + MADE <= DRC_REPLY_MAX,
	       "what is remembered fits");
_Static_assert(RPC_BULK_HEAD == RPC_REPLY_HEAD + 4 + NFS3_POST_ATTR + 12, "data of a READ starts there");

const struct rpc_program nfs3_program = {
	.name = "NFS",
	.number = NFS_PROGRAM,
	.version = NFS_V3,
	.procs = procs,
	.n_procs = ARRAY_SIZE(procs),
	.first_stats = NFSD_STATS_NFS,
};

int nfs3_null(struct rpc_call *call)
{
	return xdr_in_done(&call->args) ? 0 : RPC_GARBAGE;
}

bool nfs3_null_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	(void)call, (void)out;	/* there are no results */
	return !err;
}

uint32_t nfs3_status(int err)
{
	switch (-err) {
	case 0:			return NFS3_OK;
	case EPERM:		return NFS3ERR_PERM;
	case ENOENT:		return NFS3ERR_NOENT;
	case EIO:
	case ETIMEDOUT:		return NFS3ERR_IO;
	case ENXIO:		return NFS3ERR_NXIO;
	case EACCES:		return NFS3ERR_ACCES;
	case EEXIST:		return NFS3ERR_EXIST;
	case EXDEV:		return NFS3ERR_XDEV;
	case ENODEV:		return NFS3ERR_NODEV;
	case ENOTDIR:		return NFS3ERR_NOTDIR;
	case EISDIR:		return NFS3ERR_ISDIR;
	case EINVAL:		return NFS3ERR_INVAL;
	case EFBIG:		return NFS3ERR_FBIG;
	case ENOSPC:		return NFS3ERR_NOSPC;
	case EROFS:		return NFS3ERR_ROFS;
	case EMLINK:		return NFS3ERR_MLINK;
	case ENAMETOOLONG:	return NFS3ERR_NAMETOOLONG;
	case ENOTEMPTY:		return NFS3ERR_NOTEMPTY;
	case EDQUOT:		return NFS3ERR_DQUOT;
	case ESTALE:		return NFS3ERR_STALE;
	case EREMOTE:		return NFS3ERR_REMOTE;
	case NFSD_EBADHANDLE:	return NFS3ERR_BADHANDLE;
	case ECANCELED:		return NFS3ERR_NOT_SYNC;
	case EOPNOTSUPP:	return NFS3ERR_NOTSUPP;
	case NFSD_EBADCOOKIE:	return NFS3ERR_BAD_COOKIE;
	case NFSD_ETOOSMALL:	return NFS3ERR_TOOSMALL;
	case NFSD_EBADTYPE:	return NFS3ERR_BADTYPE;
	case ENOMEM:		return NFS3ERR_SERVERFAULT;
	default:		return NFS3ERR_IO;
	}
}
