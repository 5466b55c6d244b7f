/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A second name, or another one: link, rename. */
#include <errno.h>
#include "cache/access.h"
#include "cache/base.h"
#include "cache/cache.h"
#include "cache/dentry.h"
#include "cache/fold.h"
#include "cache/internal.h"
#include "cache/nameop.h"
#include "cache/op.h"
#include "cache/park.h"
#include "cache/record.h"

#define DEPTH_MAX 4096		/* of directories; more is a circle */

/*
 * Arguments in op->priv.  rename: num[0] and num[1] the directories, args[0] and num[2], args[1]
 * and num[3] the names. link: num[1] directory, args[1] and num[3] name, num[4] object.
 */

static struct slice from_name(const struct cache_op *op)
{
	return (struct slice){ op->priv.args[0], op->priv.num[2] };
}

static struct slice to_name(const struct cache_op *op)
{
	return (struct slice){ op->priv.args[1], op->priv.num[3] };
}

/* What a rename is about. */
struct rename {
	struct change *change;
	struct cache_op *op;
	struct inode_edit *from_dir, *to_dir;	/* may be the same */
	struct inode_edit *edit;
	struct inode_edit *victim;		/* what the new name stood for, or NULL */
	bool from_local, to_local;
};

/* A directory must not come to be below itself. */
static int check_circle(struct rename *r)
{
	struct cache *cache = r->change->cache;
	uint64_t ino = r->to_dir->inode->ino;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	for (unsigned depth = 0; ino != CACHE_ROOT && !err; depth++) {
		struct inode *dir;

		if (ino == r->edit->inode->ino || depth > DEPTH_MAX) {
			err = -EINVAL;
			break;
		}
		dir = inode_get(cache, ino, &err);
		if (!dir)
			break;
		/*
		 * Where an earlier part of this very change would have moved it cannot be: a rename
		 * is one change.
		 */
		ino = dir->v.parent;
		inode_put(cache, dir);
	}
	pthread_mutex_unlock(&cache->lock);
	return err;
}

/*
 * RFC 1813 3.3.14 would have EXIST for all of these, but lists the others too: rename() and the programs that call it want to
 * be told which it was, as a local file system does.
 */
static int check_victim(struct rename *r)
{
	bool is_dir = r->edit->v.type == TYPE_DIR;
	int err;

	err = access_sticky(&r->op->cred, &r->to_dir->v, &r->victim->v);
	if (err)
		return err;
	if (r->victim->v.type != TYPE_DIR)
		return is_dir ? -ENOTDIR : 0;
	if (!is_dir)
		return -EISDIR;
	return nameop_check_empty(r->change, r->victim);
}

static int check_rename(struct rename *r)
{
	bool is_dir = r->edit->v.type == TYPE_DIR;
	int err;

	err = access_change_dir(&r->op->cred, &r->from_dir->v);
	if (!err)
		err = access_change_dir(&r->op->cred, &r->to_dir->v);
	if (!err)
		err = access_sticky(&r->op->cred, &r->from_dir->v, &r->edit->v);
	if (!err && is_dir)
		err = check_circle(r);
	/* Its ".." changes, which is writing to it. */
	if (!err && is_dir && r->from_dir != r->to_dir)
		err = access_check(&r->op->cred, &r->edit->v, WANT_WRITE);
	/* In the place of another directory it is no link more. */
	if (!err && is_dir && !r->victim && r->from_dir != r->to_dir && r->to_dir->v.nlink >= CACHE_LINK_MAX)
		err = -EMLINK;
	if (!err && r->victim)
		err = check_victim(r);
	return err;
}

static int log_rename(struct rename *r, uint64_t *from_seq, uint64_t *to_seq)
{
	struct fold_move move = {
		.edit = r->edit, .from_dir = r->from_dir, .to_dir = r->to_dir, .victim = r->victim,
		.from = from_name(r->op), .to = to_name(r->op),
	};
	int got;

	got = fold_rename(r->change, &move, from_seq, to_seq);
	if (got)
		return MIN(got, 0);
	got = nameop_log_rename(r->change, r->edit, r->from_dir, move.from, r->to_dir, move.to, r->victim, from_seq);
	*to_seq = *from_seq;
	/* Of one that has been changed, that may be on its way: then its base is not what the record is made on. */
	if (!got && r->victim && r->edit->v.type == TYPE_REG)
		got = base_keep_replaced(r->change, r->victim, r->edit->inode->ino, false);
	return got;
}

/*
 * The records, for names that upstream knows and local ones:
 *
 *	from	to	records				marks on from, to
 *	known	known	RENAME, or what fold.h makes	its seq, its seq
 *			of it
 *	known	local	REMOVE of from			its seq, none
 *	local	known	REMOVE of what to named;	none, seq of the last
 *			LINK, or CREATE and STORE
 *	local	local	-				none
 */
static int rename_records(struct rename *r, uint64_t *from_seq, uint64_t *to_seq)
{
	struct slice from = from_name(r->op), to = to_name(r->op);
	uint64_t seq;
	int err = 0;

	*from_seq = *to_seq = 0;
	if (!r->from_local && !r->to_local) {
		err = log_rename(r, from_seq, to_seq);
	} else if (!r->from_local) {
		err = nameop_log_unlink(r->change, r->edit, r->from_dir, from, from_seq);
	} else if (!r->to_local) {
		if (r->victim)
			err = nameop_log_unlink(r->change, r->victim, r->to_dir, to, &seq);
		if (!err)
			err = nameop_log_link(r->change, r->edit, r->to_dir, to, to_seq);
	}
	return err;
}

/* Upstream's view of the renamed object where a known name became a local one. */
static int lose_known_name(struct rename *r)
{
	if (r->from_local || !r->to_local)
		return 0;
	/* The object keeps as many names: the one that it loses here it has got already. */
	EDIT(r->edit, nlink, r->edit->v.nlink + 1);
	return nameop_lost_name(r->change, r->edit, false);
}

static void rename_links(struct rename *r)
{
	bool is_dir = r->edit->v.type == TYPE_DIR;

	if (is_dir && r->from_dir != r->to_dir) {
		EDIT(r->from_dir, nlink, r->from_dir->v.nlink - 1);
		EDIT(r->to_dir, nlink, r->to_dir->v.nlink + 1);
		EDIT(r->edit, parent, r->to_dir->inode->ino);
	}
	if (is_dir && r->victim)
		EDIT(r->to_dir, nlink, r->to_dir->v.nlink - 1);
	inode_edit_touch(r->change, r->edit);
	if (r->from_dir == r->to_dir) {
		nameop_dir_changed(r->change, r->to_dir, r->from_local && r->to_local);
		return;
	}
	nameop_dir_changed(r->change, r->from_dir, r->from_local);
	nameop_dir_changed(r->change, r->to_dir, r->to_local);
}

static int rename_apply(struct rename *r)
{
	uint64_t from_seq, to_seq;
	int err;

	err = rename_records(r, &from_seq, &to_seq);
	if (!err)
		err = name_unbind(r->change, r->from_dir->inode->ino, from_name(r->op), from_seq);
	/*
	 * A new cookie for the new name: whoever lists now must not find an entry turned into
	 * another.
	 */
	if (!err && r->victim)
		err = name_unbind(r->change, r->to_dir->inode->ino, to_name(r->op), 0);
	if (!err)
		err = name_bind(r->change, r->to_dir->inode->ino, to_name(r->op),
				r->edit->inode->ino, to_seq);
	/* fold_rename() may have made an end of it. */
	if (!err && r->victim && !r->victim->is_removed)
		err = nameop_lost_name(r->change, r->victim, r->to_local);
	if (!err)
		err = lose_known_name(r);
	if (!err)
		rename_links(r);
	return err;
}

static int rename_run(struct change *change)
{
	struct cache_op *op = change->op;
	struct rename r = { .change = change, .op = op };
	int got;

	got = nameop_dir(change, op->priv.num[0], &r.from_dir);
	if (!got)
		got = nameop_dir(change, op->priv.num[1], &r.to_dir);
	if (got)
		return got;
	op_wcc_before(op, 0, r.from_dir);
	op_wcc_before(op, 1, r.to_dir);
	got = access_check(&op->cred, &r.from_dir->v, WANT_EXEC);
	if (!got)
		got = access_check(&op->cred, &r.to_dir->v, WANT_EXEC);
	if (got)
		return got;
	got = nameop_find(change, op->priv.num[0], from_name(op), &r.edit);
	if (got <= 0)
		return got ? got : -ENOENT;
	got = nameop_find(change, op->priv.num[1], to_name(op), &r.victim);
	if (got < 0)
		return got;
	r.from_local = r.edit->v.type != TYPE_DIR && name_is_local(from_name(op));
	r.to_local = r.edit->v.type != TYPE_DIR && name_is_local(to_name(op));
	/* Two names of one object: POSIX says that nothing happens. */
	got = r.victim == r.edit ? 0 : check_rename(&r);
	if (!got && r.victim != r.edit)
		got = rename_apply(&r);
	if (got)
		return got;
	op_wcc_after(op, 0, r.from_dir);
	op_wcc_after(op, 1, r.to_dir);
	return 0;
}

/* The directories, and one that would be replaced, must be listed.  Under the lock. */
static int rename_ready(struct cache *cache, struct cache_op *op)
{
	struct name_info info;
	struct inode *dir;
	int got;

	for (int i = 0; i < 2; i++) {
		dir = op_get_dir(op, op->priv.num[i], &got);
		if (!dir)
			return got;
		inode_put(cache, dir);
	}
	/* Without a source there is nothing to wait for: it was renamed before, perhaps by this very call. */
	got = name_get(cache, op->priv.num[0], from_name(op), &info);
	if (got <= 0 || !info.ino)
		return MIN(got, 0);
	got = name_get(cache, op->priv.num[1], to_name(op), &info);
	if (got <= 0 || !info.ino)
		return MIN(got, 0);
	dir = op_get_dir(op, info.ino, &got);
	inode_put(cache, dir);
	return dir || got == -ENOTDIR || got == -ESTALE ? 0 : got;
}

static int rename_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = rename_ready(cache, op);
	pthread_mutex_unlock(&cache->lock);
	if (!got)
		return op_submit(op, rename_run);
	return got == CACHE_WAITS ? got : op_refuse_new(op, got);
}

int cache_rename(struct cache *cache, struct cache_op *op, uint64_t from_dir, struct slice from,
		 uint64_t to_dir, struct slice to)
{
	int err;

	op_begin(cache, op, rename_again);
	op->priv.num[0] = from_dir;
	op->priv.num[1] = to_dir;
	op->priv.num[2] = from.len;
	op->priv.num[3] = to.len;
	op->priv.args[0] = from.data;
	op->priv.args[1] = to.data;
	err = op_check_name(from);
	if (!err)
		err = op_check_name(to);
	/* "." and ".." cannot be renamed, RFC 1813 3.3.14. */
	return err ? op_refuse(op, err == -EEXIST ? -EINVAL : err) : rename_again(op);
}

/* ---- link ---- */

static int link_edit(struct change *change, struct inode_edit *dir, struct inode_edit *edit)
{
	struct slice name = to_name(change->op);
	bool is_local = name_is_local(name);
	uint64_t seq = 0;
	int err = 0;

	if (edit->v.nlink >= CACHE_LINK_MAX)
		return -EMLINK;
	if (!is_local)
		err = nameop_log_link(change, edit, dir, name, &seq);
	if (!err)
		err = name_bind(change, dir->inode->ino, name, edit->inode->ino, seq);
	if (err)
		return err;
	EDIT(edit, nlink, edit->v.nlink + 1);
	inode_edit_touch(change, edit);
	nameop_dir_changed(change, dir, is_local);
	return 0;
}

static int link_run(struct change *change)
{
	struct cache_op *op = change->op;
	struct inode_edit *dir, *edit, *there;
	int got;

	edit = inode_edit(change, op->priv.num[4], &got);
	if (!edit)
		return got;
	got = nameop_dir(change, op->priv.num[1], &dir);
	if (got)
		return got;
	op_wcc_before(op, 1, dir);
	if (edit->v.type == TYPE_DIR)
		return -EPERM;
	got = access_check(&op->cred, &dir->v, WANT_EXEC);
	if (got)
		return got;
	got = nameop_find(change, op->priv.num[1], to_name(op), &there);
	if (got)
		return got > 0 ? -EEXIST : got;
	got = access_change_dir(&op->cred, &dir->v);
	if (!got)
		got = link_edit(change, dir, edit);
	if (got)
		return got;
	op_wcc_after(op, 1, dir);
	op_result(op, edit);
	return 0;
}

static int link_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *dir;
	int got;

	pthread_mutex_lock(&cache->lock);
	dir = op_get_dir(op, op->priv.num[1], &got);
	inode_put(cache, dir);
	pthread_mutex_unlock(&cache->lock);
	if (dir)
		return op_submit(op, link_run);
	return got == CACHE_WAITS ? got : op_refuse_new(op, got);
}

int cache_link(struct cache *cache, struct cache_op *op, uint64_t ino, uint64_t dir,
	       struct slice name)
{
	int err;

	op_begin(cache, op, link_again);
	op->priv.num[1] = dir;
	op->priv.num[3] = name.len;
	op->priv.num[4] = op->priv.object = ino;
	op->priv.args[1] = name.data;
	err = op_check_name(name);
	return err ? op_refuse(op, err) : link_again(op);
}
