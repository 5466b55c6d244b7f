/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * settle: what a person, or a policy, decides about a conflict on record; and both sides of it, to be looked at.
 *
 * A decision is made of ordinary changes, which are logged and replayed like a program's: it works without a link, and where the
 * upstream has gone on meanwhile, it is in conflict anew.  What loses is kept (kept.h) before anything is done.
 *
 * Threads: any that may block, but none's that has operations of the cache on its loop.
 * Errors: 0 or -errno, with one sentence in *ret_why, to be freed (NULL: no memory).  After an error the conflict is still on
 * record.
 */
#ifndef CACHE_SETTLE_H
#define CACHE_SETTLE_H

#include <stdbool.h>
#include <stdint.h>
#include "cache/cml.h"

struct cache;

enum settle_keep {
	SETTLE_MINE,		/* ours takes the name, is done after all */
	SETTLE_THEIRS,		/* ours goes */
	SETTLE_BOTH,		/* as it is now */
};

/* What is done with a conflict by itself: of a tree. */
enum settle_policy {
	POLICY_KEEP_BOTH,	/* nothing: a person decides */
	POLICY_SERVER_WINS,
	POLICY_CLIENT_WINS,
};

/* -ENOENT: it is not on record.  Else above all -EIO: content that is needed is not here, and there is no link. */
int settle_conflict(struct cache *cache, uint64_t id, enum settle_keep keep, char **ret_why);

/*
 * Settle all that is on record as the policy says; what the upstream refused is left to a person, for it would be refused again, and
 * so is what 'leaves' (NULL: nothing) says.  What cannot be settled now stays on record.  0; -errno: of the database.
 */
int settle_all(struct cache *cache, enum settle_policy policy, bool (*leaves)(void *arg, uint64_t id), void *arg);

/* Where ours is now, and the name in dispute; "": nowhere, none. */
struct settle_paths {
	char ours[CML_PATH_MAX], name[CML_PATH_MAX];
};
int settle_paths(struct cache *cache, uint64_t id, struct settle_paths *ret);

/*
 * Copies of both sides, in a directory that the caller removes (kept_remove_tree()): *ret_dir, to be freed, has "mine" and "theirs", and
 * "base", where one was kept (base.h).
 * -ENODATA: there are no two contents; *ret_why says what there is.
 */
int settle_sides(struct cache *cache, uint64_t id, char **ret_dir, char **ret_why);

#endif
