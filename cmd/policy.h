/* SPDX-License-Identifier: GPL-2.0-or-later */
/* policy: a tree whose conflicts are settled by themselves: by what merges them, then as its key "conflicts" says. */
#ifndef CMD_POLICY_H
#define CMD_POLICY_H

#include "cache/settle.h"

struct merger;
struct policy;

/* Look again and again, on a thread of its own.  Nothing to merge, and POLICY_KEEP_BOTH: nothing to do, *ret is NULL.  0 or -errno. */
int policy_start(struct cache *cache, enum settle_policy which, struct merger *merger, struct policy **ret_policy);
/* Waits for what is being settled.  NULL is fine. */
void policy_stop(struct policy *policy);

#endif
