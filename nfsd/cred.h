/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cred: who calls: from what a call says (RFC 5531 8.2, AUTH_NONE and AUTH_SYS) to whom the cache takes him for.
 *
 * In two steps, since the first is done for every call, before it is known which export it is about:
 * cred_read(), and with the call's first handle cred_squash().
 *
 * Threads: pure functions.
 */
#ifndef NFSD_CRED_H
#define NFSD_CRED_H

#include <rpc/auth.h>
#include "base/mem.h"
#include "cache/types.h"
#include "nfsd/server.h"

#define CRED_NOBODY 65534
#define CRED_NO_ID UINT32_MAX	/* no user or group has it */

/* Whom an export takes callers for. */
struct cred_map {
	enum nfsd_squash squash;
	uint32_t anon_uid, anon_gid;
};

/* AUTH_OK, or why the call is refused.  *ret_is_anon: the caller does not say who he is; he is CRED_NOBODY. */
enum auth_stat cred_read(uint32_t flavor, struct slice body, struct cred *ret_cred, bool *ret_is_anon);

/* Change the caller into the one that the export takes him for. */
void cred_squash(const struct cred_map *map, struct cred *cred, bool is_anon);

#endif
