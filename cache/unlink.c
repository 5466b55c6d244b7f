/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking names away: remove, rmdir. */
#include <errno.h>
#include "cache/access.h"
#include "cache/cache.h"
#include "cache/dentry.h"
#include "cache/fold.h"
#include "cache/internal.h"
#include "cache/nameop.h"
#include "cache/op.h"
#include "cache/park.h"

/*
 * Arguments in op->priv: num[0] directory, args[0] and num[2] name, num[3]: a directory is to be
 * removed.
 */

static struct slice op_name(const struct cache_op *op)
{
	return (struct slice){ op->priv.args[0], op->priv.num[2] };
}

static int unlink_log(struct change *change, struct inode_edit *edit, const struct inode_edit *dir, struct slice name, uint64_t *ret_seq)
{
	int got = fold_remove(change, edit, dir->inode->ino, name, ret_seq);

	return got ? MIN(got, 0) : nameop_log_unlink(change, edit, dir, name, ret_seq);
}

static int unlink_edit(struct change *change, struct inode_edit *dir, struct inode_edit *edit)
{
	struct cache_op *op = change->op;
	struct slice name = op_name(op);
	bool is_dir = edit->v.type == TYPE_DIR, is_local = !is_dir && name_is_local(name);
	uint64_t seq = 0;
	int err;

	err = access_sticky(&op->cred, &dir->v, &edit->v);
	if (!err && is_dir != (op->priv.num[3] != 0))
		err = is_dir ? -EISDIR : -ENOTDIR;
	if (!err && is_dir)
		err = nameop_check_empty(change, edit);
	if (!err && !is_local)
		err = unlink_log(change, edit, dir, name, &seq);
	if (!err)
		err = name_unbind(change, dir->inode->ino, name, seq);
	/* fold_remove() may have made an end of it. */
	if (!err && !edit->is_removed)
		err = nameop_lost_name(change, edit, is_local);
	if (err)
		return err;
	if (is_dir)
		EDIT(dir, nlink, dir->v.nlink - 1);
	nameop_dir_changed(change, dir, is_local);
	return 0;
}

static int unlink_run(struct change *change)
{
	struct cache_op *op = change->op;
	struct inode_edit *dir, *edit;
	int got;

	got = nameop_dir(change, op->priv.num[0], &dir);
	if (got)
		return got;
	op_wcc_before(op, 0, dir);
	got = access_check(&op->cred, &dir->v, WANT_EXEC);
	if (got)
		return got;
	got = nameop_find(change, op->priv.num[0], op_name(op), &edit);
	if (got <= 0)
		return got ? got : -ENOENT;
	got = access_change_dir(&op->cred, &dir->v);
	if (!got)
		got = unlink_edit(change, dir, edit);
	if (!got)
		op_wcc_after(op, 0, dir);
	return got;
}

/* Is the directory that is to go listed?  Under the lock. */
static int victim_ready(struct cache *cache, struct cache_op *op, uint64_t dir)
{
	struct name_info info;
	struct inode *victim;
	int got;

	got = name_get(cache, dir, op_name(op), &info);
	if (got <= 0 || !info.ino)
		return MIN(got, 0);	/* the change finds out for good */
	victim = op_get_dir(op, info.ino, &got);
	inode_put(cache, victim);
	return victim || got == -ENOTDIR || got == -ESTALE ? 0 : got;
}

static int unlink_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *dir;
	int got;

	pthread_mutex_lock(&cache->lock);
	dir = op_get_dir(op, op->priv.num[0], &got);
	if (dir)
		got = op->priv.num[3] ? victim_ready(cache, op, dir->ino) : 0;
	inode_put(cache, dir);
	pthread_mutex_unlock(&cache->lock);
	if (!got)
		return op_submit(op, unlink_run);
	return got == CACHE_WAITS ? got : op_refuse_new(op, got);
}

static int unlink_begin(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
			bool is_dir)
{
	int err;

	op_begin(cache, op, unlink_again);
	op->priv.num[0] = dir;
	op->priv.num[2] = name.len;
	op->priv.num[3] = is_dir;
	op->priv.args[0] = name.data;
	err = op_check_name(name);
	/* "." and "..": RFC 1813 3.3.13; of REMOVE it does not speak, but EXIST would be no answer to it. */
	if (err == -EEXIST && !is_dir)
		err = -EACCES;
	else if (err == -EEXIST && name.len == 1)
		err = -EINVAL;
	return err ? op_refuse(op, err) : unlink_again(op);
}

int cache_remove(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name)
{
	return unlink_begin(cache, op, dir, name, false);
}

int cache_rmdir(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name)
{
	return unlink_begin(cache, op, dir, name, true);
}
