/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nfsd/cred.h"

#include <rpc/rpc.h>
#include "nfsd/xdr.h"

#define MACHINE_NAME_MAX 255

enum auth_stat cred_read(uint32_t flavor, struct slice body, struct cred *ret_cred, bool *ret_is_anon)
{
	struct xdr_in in = xdr_in_of(body.data, body.len);
	struct cred cred = { .uid = CRED_NOBODY, .gid = CRED_NOBODY };

	switch (flavor) {
	case AUTH_NONE:
		break;
	case AUTH_SYS:
		(void)xdr_in_u32(&in);				/* stamp */
		(void)xdr_in_opaque(&in, MACHINE_NAME_MAX);
		cred.uid = xdr_in_u32(&in);
		cred.gid = xdr_in_u32(&in);
		cred.ngroups = xdr_in_enum(&in, CRED_GROUPS_MAX + 1);
		for (uint32_t i = 0; i < cred.ngroups; i++)
			cred.groups[i] = xdr_in_u32(&in);
		break;
	default:
		return AUTH_BADCRED;
	}
	if (!xdr_in_done(&in))
		return AUTH_BADCRED;
	*ret_cred = cred;
	*ret_is_anon = flavor == AUTH_NONE;
	return AUTH_OK;
}

/* Whether an id, of a user or a group, stands for the anonymous one. */
static bool is_mapped(const struct cred_map *map, uint32_t id)
{
	return map->squash == NFSD_SQUASH_ALL || (map->squash == NFSD_SQUASH_ROOT && !id) || id == CRED_NO_ID;
}

void cred_squash(const struct cred_map *map, struct cred *cred, bool is_anon)
{
	if (is_anon || is_mapped(map, cred->uid)) {
		*cred = (struct cred){ .uid = map->anon_uid, .gid = map->anon_gid };
		return;
	}
	if (is_mapped(map, cred->gid))
		cred->gid = map->anon_gid;
	for (uint32_t i = 0; i < cred->ngroups; i++)
		if (is_mapped(map, cred->groups[i]))
			cred->groups[i] = map->anon_gid;
}
