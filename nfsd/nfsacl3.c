/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nfsd/nfsacl3.h"

#include <errno.h>
#include <stdlib.h>
#include "nfsd/internal.h"
#include "nfsd/nfs3.h"
#include "rpcgen/nfsacl3.h"

#define MASK_ALL (NFS_ACL | NFS_ACLCNT | NFS_DFACL | NFS_DFACLCNT)

_Static_assert(ACL_ENTRIES_MAX == NFS_ACL_MAX_ENTRIES, "what may be kept may be sent");

/* ---- the wire ---- */

static int in_entry(struct xdr_in *in, struct acl_entry *ret_entry)
{
	uint32_t type = xdr_in_u32(in), id = xdr_in_u32(in), perm = xdr_in_u32(in);
	struct acl_entry entry = { .tag = type & ~(uint32_t)NFS_ACL_DEFAULT, .perm = perm & 7 };
	int err = 0;

	switch (entry.tag) {
	case ACL_USER:
	case ACL_GROUP:
		entry.id = id;
		break;
	case ACL_MASK:
		/* Solaris sets bits above the three in it. */
		perm = entry.perm;
		break;
	case ACL_USER_OBJ:
	case ACL_GROUP_OBJ:
	case ACL_OTHER:
		break;
	default:
		err = -EINVAL;
	}
	*ret_entry = entry;
	return perm & ~7u ? -EINVAL : err;
}

/* Is it the mask that only fills up a list that needs none? */
static bool is_filler(const struct acl *acl, uint32_t i)
{
	for (uint32_t k = 0; acl->n == 4 && acl->v[i].tag == ACL_MASK && k < acl->n; k++) {
		if (acl->v[k].tag == ACL_GROUP_OBJ)
			return acl->v[k].perm == acl->v[i].perm;
	}
	return false;
}

int nfsacl3_in_list(struct xdr_in *in, bool is_wanted, struct acl_entry *v, struct acl *ret_acl)
{
	struct acl acl = { 0, v };
	uint32_t count = xdr_in_u32(in), n = xdr_in_u32(in);
	int err = 0;

	if (count > NFS_ACL_MAX_ENTRIES || n > NFS_ACL_MAX_ENTRIES || (is_wanted && count != n))
		in->is_bad = true;
	for (; !in->is_bad && acl.n < n; acl.n++) {
		int bad = in_entry(in, &v[acl.n]);

		err = err ? err : bad;
	}
	if (!is_wanted)
		acl.n = 0;
	for (uint32_t i = 0; i < acl.n; i++) {
		if (!is_filler(&acl, i))
			continue;
		v[i] = v[acl.n - 1];
		acl.n--;
		break;
	}
	*ret_acl = acl;
	return is_wanted ? err : 0;
}

static void out_entry(struct xdr_out *out, uint32_t type, uint32_t id, uint32_t perm)
{
	xdr_out_u32(out, type);
	xdr_out_u32(out, id);
	xdr_out_u32(out, perm);
}

void nfsacl3_out_list(struct xdr_out *out, const struct acl *acl, uint32_t uid, uint32_t gid,
		      bool is_default, bool has_entries)
{
	uint32_t flag = is_default ? NFS_ACL_DEFAULT : 0;
	bool fills = acl->n == 3;

	xdr_out_u32(out, acl->n + fills);
	xdr_out_u32(out, has_entries ? acl->n + fills : 0);
	for (uint32_t i = 0; has_entries && i < acl->n; i++) {
		const struct acl_entry *e = &acl->v[i];
		uint32_t id = e->tag == ACL_USER_OBJ ? uid : e->tag == ACL_GROUP_OBJ ? gid : e->id;

		out_entry(out, e->tag | flag, id, e->perm);
		/* They ascend: the mask's place is behind the owning group. */
		if (fills && e->tag == ACL_GROUP_OBJ)
			out_entry(out, ACL_MASK | flag, 0, e->perm);
	}
}

/* ---- the procedures ---- */

static int nfsacl3_getacl(struct rpc_call *call)
{
	static const struct acl none;
	struct slice fh = nfs3_in_fh(&call->args);
	uint32_t mask = xdr_in_u32(&call->args);
	const struct attr *attr = &call->op.attr;
	struct acls *acls;
	struct xdr_out out;
	uint64_t ino = 0;
	size_t room;
	int err;

	if (!xdr_in_done(&call->args))
		return RPC_GARBAGE;
	err = nfs3_open_fh(call, fh, &ino);
	if (!err && mask & ~(uint32_t)MASK_ALL)
		err = -EINVAL;
	if (err)
		return nfs3_refuse(call, err, ino, 0, 0);
	err = cache_getacl(call->tree->cache, &call->op, ino, &acls);
	if (err)
		return err;
	room = NFSACL3_LIST(acls->access.n + 1) + NFSACL3_LIST(acls->def.n + 1);
	err = rpc_bulk(call, room);
	if (!err) {
		call->u.acl.mask = mask;
		out = xdr_out_of(rpc_bulk_data(call), room);
		nfsacl3_out_list(&out, mask & (NFS_ACL | NFS_ACLCNT) ? &acls->access : &none,
				 attr->uid, attr->gid, false, mask & NFS_ACL);
		nfsacl3_out_list(&out, mask & (NFS_DFACL | NFS_DFACLCNT) ? &acls->def : &none,
				 attr->uid, attr->gid, true, mask & NFS_DFACL);
		call->bulk_len = (uint32_t)(out.p - rpc_bulk_data(call));
	}
	free(acls);
	return err;
}

static bool nfsacl3_getacl_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	if (nfs3_out_status_attr(out, call, err))
		xdr_out_u32(out, call->u.acl.mask);
	return !err;
}

static void setacl_done(struct cache_op *op)
{
	struct rpc_call *call = container_of(op, struct rpc_call, op);

	free(call->u.acl.given);
	rpc_finish(call, op->err);
}

/* Both lists and their entries in one block, which the call keeps while it waits. */
struct given {
	struct acls acls;
	struct acl_entry access[NFS_ACL_MAX_ENTRIES], def[NFS_ACL_MAX_ENTRIES];
};

static int read_lists(struct xdr_in *in, uint32_t mask, struct given *given)
{
	int err = nfsacl3_in_list(in, mask & NFS_ACL, given->access, &given->acls.access);
	int bad = nfsacl3_in_list(in, mask & NFS_DFACL, given->def, &given->acls.def);

	return err ? err : bad;
}

static int nfsacl3_setacl(struct rpc_call *call)
{
	struct slice fh = nfs3_in_fh(&call->args);
	uint32_t mask = xdr_in_u32(&call->args);
	struct given *given = malloc(sizeof(*given));
	unsigned set = (mask & NFS_ACL ? ACL_SET_ACCESS : 0) |
		       (mask & NFS_DFACL ? ACL_SET_DEFAULT : 0);
	uint64_t ino = 0;
	int bad, err;

	if (!given)
		return -ENOMEM;
	bad = read_lists(&call->args, mask, given);
	if (!xdr_in_done(&call->args)) {
		free(given);
		return RPC_GARBAGE;
	}
	err = nfs3_open_fh(call, fh, &ino);
	if (!err)
		err = nfs3_may_modify(call);
	if (!err)
		err = mask & ~(uint32_t)MASK_ALL ? -EINVAL : bad;
	if (err) {
		err = nfs3_refuse(call, err, ino, 0, 0);
	} else {
		call->u.acl.given = given;
		call->op.done = setacl_done;
		err = cache_setacl(call->tree->cache, &call->op, ino, set, &given->acls);
	}
	if (err != CACHE_WAITS)
		free(given);
	return err;
}

static bool nfsacl3_setacl_reply(struct rpc_call *call, int err, struct xdr_out *out)
{
	return nfs3_out_status_attr(out, call, err);
}

#define LISTS (2 * (uint32_t)NFSACL3_LIST(NFS_ACL_MAX_ENTRIES))

static const struct rpc_proc procs[] = {
	[ACLPROC3_NULL] = { "NULL", nfs3_null, nfs3_null_reply, 0, 0, 0 },
	[ACLPROC3_GETACL] = { "GETACL", nfsacl3_getacl, nfsacl3_getacl_reply, NFS3_FH + 4,
			      4 + NFS3_POST_ATTR + 4, 0 },
	[ACLPROC3_SETACL] = { "SETACL", nfsacl3_setacl, nfsacl3_setacl_reply, NFS3_FH + 4 + LISTS,
			      4 + NFS3_POST_ATTR, RPC_MODIFIES | RPC_REMEMBER },
};

_Static_assert(NFSD_STATS_ACL + ARRAY_SIZE(procs) == NFSD_PROCS, "figures for every procedure");
_Static_assert(RPC_BULK_HEAD >= RPC_REPLY_HEAD + 4 + NFS3_POST_ATTR + 4, "the lists of a GETACL start there");

const struct rpc_program nfsacl3_program = {
	.name = "NFSACL",
	.number = NFS_ACL_PROGRAM,
	.version = NFS_ACL_V3,
	.procs = procs,
	.n_procs = ARRAY_SIZE(procs),
	.first_stats = NFSD_STATS_ACL,
};
