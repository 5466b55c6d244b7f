/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * op: the life of an operation, from its begin to its answer.
 *
 * cache_THING() puts its arguments into op->priv and calls THING_again(op), which looks whether all
 * it needs is here; it ends at once, or parks the operation (park.h), or hands a change to the
 * writer.  When a wait is over THING_again(op) is called anew, on the operation's loop, and looks
 * at everything anew.
 *
 * op->priv.num[0] and num[1] are the inodes that wcc[0] and wcc[1] speak of (0: none).
 */
#ifndef CACHE_OP_H
#define CACHE_OP_H

#include <stdint.h>
#include "cache/cache.h"
#include "cache/inode.h"
#include "cache/writer.h"

/* Results empty; num[] zero. */
void op_begin(struct cache *cache, struct cache_op *op, int (*again)(struct cache_op *op));
/*
 * From now on it waits for that (a member of op->waited), until cache_op_finish() or cache_op_again().  To be called
 * before whoever calls those can get at it.
 */
void op_waits(struct cache_op *op, uint64_t *for_what);
/* End at once with err: wcc shows that nothing happened.  Gives err. */
int op_refuse(struct cache_op *op, int err);

/*
 * The same for what was not always so (the disk is full, the directory is gone): this very call may have been carried
 * out before it was, and is then given its result.  Gives err or CACHE_WAITS.
 */
int op_refuse_new(struct cache_op *op, int err);

/*
 * Hand to the writer: run() with change->op set.  It gives results in op, -errno (wcc is then
 * filled in by this), or -ERESTART: begin anew with op->priv.again().  Gives CACHE_WAITS or
 * -ENOMEM.
 */
int op_submit(struct cache_op *op, int (*run)(struct change *change));

/* In run(): attributes before, and after, into wcc[i]. */
void op_wcc_before(struct cache_op *op, int i, const struct inode_edit *edit);
void op_wcc_after(struct cache_op *op, int i, const struct inode_edit *edit);
void op_result(struct cache_op *op, const struct inode_edit *edit);
/* The same of an inode as it is; under the lock. */
void op_wcc_now(struct cache_op *op, int i, const struct inode *inode, bool with_before);
void op_result_now(struct cache_op *op, const struct inode *inode);

/*
 * 0, or why this may not be a name that is made: -EINVAL, -ENAMETOOLONG, -EEXIST for "." and "..".
 */
int op_check_name(struct slice name);

/*
 * The directory, referenced, if it is one and its names are here; under the lock.  NULL: *ret is
 * what again() should give: an error, or CACHE_WAITS when the operation has been parked for the
 * listing.
 */
struct inode *op_get_dir(struct cache_op *op, uint64_t dir, int *ret);

#endif
