/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <rpc/auth.h>
#include "base/clock.h"
#include "nfsd/internal.h"
#include "nfsd/mount3.h"
#include "nfsd/nfs3.h"
#include "rpcgen/mount3.h"

#define PATH_ARG (4 + MNTPATHLEN)
/* DUMP and EXPORT: the list is cut short where the room ends. */
#define LIST_REPLY (96u * 1024)

uint32_t mount3_status(int err)
{
	switch (-err) {
	case 0:			return MNT3_OK;
	case EPERM:		return MNT3ERR_PERM;
	case ENOENT:
	case ESTALE:		return MNT3ERR_NOENT;
	case EACCES:		return MNT3ERR_ACCES;
	case ENOTDIR:		return MNT3ERR_NOTDIR;
	case EINVAL:		return MNT3ERR_INVAL;
	case ENAMETOOLONG:	return MNT3ERR_NAMETOOLONG;
	case EOPNOTSUPP:	return MNT3ERR_NOTSUPP;
	case ENOMEM:		return MNT3ERR_SERVERFAULT;
	default:		return MNT3ERR_IO;
	}
}

/* ---- the list of mounts ---- */

static void list_drop(struct mount_list *list, unsigned i)
{
	free(list->v[i].path);
	memmove(&list->v[i], &list->v[i + 1], (list->n - i - 1) * sizeof(list->v[0]));
	list->n--;
}

/* Forget what this host has mounted at path; NULL: at all. */
static void list_remove(struct mount_list *list, const char *host, const struct slice *path)
{
	for (unsigned i = list->n; i-- > 0;) {
		const struct mount_entry *entry = &list->v[i];

		if (strcmp(entry->host, host))
			continue;
		if (!path || (strlen(entry->path) == path->len &&
			      !memcmp(entry->path, path->data, path->len)))
			list_drop(list, i);
	}
}

static void list_add(struct mount_list *list, const char *host, struct slice path)
{
	struct mount_entry *entry;
	char *copy;

	list_remove(list, host, &path);
	copy = strndup(path.data, path.len);
	if (!copy)
		return;		/* it is a hint only */
	if (list->n == MOUNTS_MAX)
		list_drop(list, 0);
	entry = &list->v[list->n++];
	(void)snprintf(entry->host, sizeof(entry->host), "%s", host);
	entry->path = copy;
}

void mount3_list_release(struct mount_list *list)
{
	while (list->n)
		list_drop(list, list->n - 1);
}

/* ---- the procedures ---- */

static int mount3_null(struct rpc_call *call)
{
	return xdr_in_done(&call->args) ? 0 : RPC_GARBAGE;
}

static bool mount3_void_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	(void)call, (void)out;
	return !err;
}

/* Is path the tree's export or below it?  What is left of it then. */
static bool below_export(const struct tree *tree, struct slice path, struct slice *ret_rest)
{
	size_t len = strlen(tree->path);
	const char *p = path.data;

	if (len == 1)
		len = 0;	/* the export is "/" */
	if (path.len < len || memcmp(p, tree->path, len) || (path.len > len && p[len] != '/'))
		return false;
	*ret_rest = (struct slice){ p + len, path.len - len };
	return true;
}

/* The export with the longest path of those that path is in. */
static const struct tree *find_export(const struct nfsd *nfsd, struct slice path,
				      struct slice *ret_rest)
{
	const struct tree *best = NULL;

	for (size_t i = 0; i < nfsd->n_trees; i++) {
		const struct tree *tree = &nfsd->trees[i];
		struct slice rest;

		if (below_export(tree, path, &rest) && (!best || rest.len < ret_rest->len)) {
			best = tree;
			*ret_rest = rest;
		}
	}
	return best;
}

static void mnt_done(struct cache_op *op);

/* Take one step after the other until one waits or none is left. */
static int mnt_walk(struct rpc_call *call)
{
	struct slice *rest = &call->u.mnt.rest;

	for (;;) {
		const char *p = rest->data, *slash;
		struct slice name;
		int result;

		if (call->op.attr.type != TYPE_DIR)
			return -ENOTDIR;
		while (rest->len && *p == '/') {
			p++;
			rest->len--;
		}
		rest->data = p;
		if (!rest->len)
			return 0;
		slash = memchr(p, '/', rest->len);
		name = (struct slice){ p, slash ? (size_t)(slash - p) : rest->len };
		rest->data = p + name.len;
		rest->len -= name.len;
		if (name.len == 2 && !memcmp(p, "..", 2))
			return -EINVAL;		/* it would leave the export, or a symlink's target */
		call->op.done = mnt_done;
		result = cache_lookup(call->tree->cache, &call->op, call->op.attr.ino, name);
		if (result)
			return result;
	}
}

static void mnt_done(struct cache_op *op)
{
	struct rpc_call *call = container_of(op, struct rpc_call, op);
	int result = op->err ? op->err : mnt_walk(call);

	if (result != CACHE_WAITS)
		rpc_finish(call, result);
}

static int mount3_mnt(struct rpc_call *call)
{
	struct slice path = xdr_in_opaque(&call->args, MNTPATHLEN);
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	call->u.mnt.path = path;
	call->tree = find_export(call->nfsd, path, &call->u.mnt.rest);
	if (!call->tree)
		return -ENOENT;
	/*
	 * Walked as root: the path is where the administrator mounts, and what may be done there is checked
	 * at each call.  So neither squash nor is_anon is looked at.
	 */
	call->op.cred = (struct cred){ .uid = 0 };
	call->op.done = mnt_done;
	err = cache_getattr(call->tree->cache, &call->op, call->tree->root);
	return err ? err : mnt_walk(call);
}

static bool mount3_mnt_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	xdr_out_u32(out, mount3_status(err));
	if (err)
		return false;
	nfs3_out_fh(out, call->tree, call->op.attr.ino);
	xdr_out_u32(out, 1);
	xdr_out_u32(out, AUTH_SYS);
	list_add(&call->nfsd->mounts, call->conn->peer, call->u.mnt.path);
	log_debug(LOG_NFS, "mount: mounted: path=%.*s peer=%s", (int)call->u.mnt.path.len,
		  (const char *)call->u.mnt.path.data, call->conn->peer);
	return true;
}

static bool mount3_dump_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	const struct mount_list *list = &call->nfsd->mounts;

	for (unsigned i = 0; i < list->n; i++) {
		const struct mount_entry *entry = &list->v[i];
		size_t host = strlen(entry->host), path = strlen(entry->path);

		if (xdr_out_room(out) < 16 + xdr_padded(host) + xdr_padded(path))
			break;
		xdr_out_u32(out, true);
		xdr_out_opaque(out, entry->host, host);
		xdr_out_opaque(out, entry->path, path);
	}
	xdr_out_u32(out, false);
	return !err;
}

static int mount3_umnt(struct rpc_call *call)
{
	struct slice path = xdr_in_opaque(&call->args, MNTPATHLEN);

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	list_remove(&call->nfsd->mounts, call->conn->peer, &path);
	return 0;
}

static int mount3_umntall(struct rpc_call *call)
{
	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	list_remove(&call->nfsd->mounts, call->conn->peer, NULL);
	return 0;
}

static bool mount3_export_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	for (size_t i = 0; i < call->nfsd->n_trees; i++) {
		const char *path = call->nfsd->trees[i].path;

		if (xdr_out_room(out) < 16 + xdr_padded(strlen(path)))
			break;
		xdr_out_u32(out, true);
		xdr_out_opaque(out, path, strlen(path));
		xdr_out_u32(out, false);	/* no groups: for everybody */
	}
	xdr_out_u32(out, false);
	return !err;
}

static const struct rpc_proc procs[] = {
	[MOUNTPROC3_NULL] = { "NULL", mount3_null, mount3_void_reply, 0, 0, 0 },
	[MOUNTPROC3_MNT] = { "MNT", mount3_mnt, mount3_mnt_reply, PATH_ARG, 4 + 4 + FH_LEN + 8, 0 },
	[MOUNTPROC3_DUMP] = { "DUMP", mount3_null, mount3_dump_reply, 0, LIST_REPLY, 0 },
	[MOUNTPROC3_UMNT] = { "UMNT", mount3_umnt, mount3_void_reply, PATH_ARG, 0, 0 },
	[MOUNTPROC3_UMNTALL] = { "UMNTALL", mount3_umntall, mount3_void_reply, 0, 0, 0 },
	[MOUNTPROC3_EXPORT] = { "EXPORT", mount3_null, mount3_export_reply, 0, LIST_REPLY, 0 },
};

_Static_assert(NFSD_STATS_MOUNT + ARRAY_SIZE(procs) == NFSD_STATS_ACL, "figures for every procedure");

const struct rpc_program mount3_program = {
	.name = "MOUNT",
	.number = MOUNT_PROGRAM,
	.version = MOUNT_V3,
	.procs = procs,
	.n_procs = ARRAY_SIZE(procs),
	.first_stats = NFSD_STATS_MOUNT,
};
