/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * call: the cache's operations as calls that wait, as root, for a thread that may block; and what they make of trees.
 *
 * Each gives 0 or -errno, results in call->op.  Content that is not here is fetched, within CALL_WAIT_S.
 */
#ifndef CACHE_CALL_H
#define CACHE_CALL_H

#include "cache/cache.h"

#define CALL_WAIT_S 30

struct call {
	struct cache *cache;
	struct cache_op op;
	bool is_done;
};

/* -ENOMEM, ...; to be released. */
int call_init(struct call *call, struct cache *cache);
void call_release(struct call *call);

/* 0: it is there, call->op.ino and attr; -ENOENT. */
int call_lookup(struct call *call, uint64_t dir, struct slice name);
int call_getattr(struct call *call, uint64_t ino);
int call_setattr(struct call *call, uint64_t ino, const struct attr_change *change);
int call_setacl(struct call *call, uint64_t ino, unsigned set, const struct acls *acls);
int call_link(struct call *call, uint64_t ino, uint64_t dir, struct slice name);
int call_rename(struct call *call, uint64_t from_dir, struct slice from, uint64_t to_dir, struct slice to);
/* All of it goes, a directory with what is in it; one record each. */
int call_remove_all(struct call *call, uint64_t dir, struct slice name);

/* Copy it, with all that is in it, to a name in a directory of this machine: owner, mode and times too.  Not synced. */
int call_copy_out(struct call *call, uint64_t ino, int dirfd, const char *name);
/* Write to a file what it holds already, so that all of it is logged and sent. */
int call_touch_content(struct call *call, uint64_t ino);
/* Its content, into a new file of that name beside it, which then takes its place. */
int call_make_anew(struct call *call, uint64_t ino, uint64_t dir, struct slice name);

#endif
