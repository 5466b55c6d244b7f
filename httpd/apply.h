/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apply: a client's batch of records becomes a change of the tree, all of it, once, whatever
 * happens meanwhile.
 *
 * docs/ARCHITECTURE.md "The upstream" has the order of the steps and what a crash leaves.
 */
#ifndef HTTPD_APPLY_H
#define HTTPD_APPLY_H

#include "base/buf.h"
#include "httpd/tree.h"

/*
 * Take the tree's lock to change something: with no batch half done.  0 (then tree_unlock()), or
 * -errno without the lock: what was begun cannot be finished now (-ENOSPC), or the tree is broken
 * (-EIO).
 */
int apply_lock(struct tree *tree);

/*
 * At the start, before anything else: finish what a crash interrupted, and clear away what it left.
 */
int apply_recover(struct tree *tree);

/*
 * Certify and apply a batch; the encoded kml_answers are appended to answers. -ESTALE: it repeats
 * records whose answers are not kept any more (409).  -EINVAL: not a batch that can be: no client,
 * seqs not ascending.  Anything else: nothing is known to be applied, try again.
 */
int apply_batch(struct tree *tree, const struct kml_batch *batch, struct buf *answers);

/* NAME.conflict-HOST-DATE[-N] of docs/PROTOCOL.md 7; n 0 or 1: no suffix. */
void apply_conflict_name(struct slice name, const char *host, struct kml_time time, unsigned n,
			 struct name *ret_name);

#endif
