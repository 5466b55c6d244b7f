/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding and making names: lookup, create, mkdir, symlink, mknod. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/reserve.h"
#include "cache/access.h"
#include "cache/acl.h"
#include "cache/cache.h"
#include "cache/dentry.h"
#include "cache/fold.h"
#include "cache/internal.h"
#include "cache/nameop.h"
#include "cache/op.h"
#include "cache/park.h"
#include "cache/record.h"
#include "cache/space.h"
#include "cache/setattr.h"

/*
 * Arguments in op->priv: num[0] directory, args[0] and num[2] name.  Of a make also: args[1]
 * attr_change, args[2] verifier or link text, num[3] enum create_how or length of the text, num[4]
 * type, num[5] major << 32 | minor.
 */

static struct slice op_name(const struct cache_op *op)
{
	return (struct slice){ op->priv.args[0], op->priv.num[2] };
}

/* ---- lookup ---- */

static uint64_t dots(const struct inode *dir, struct slice name)
{
	const char *text = name.data;

	if (name.len == 1 && text[0] == '.')
		return dir->ino;
	if (name.len == 2 && text[0] == '.' && text[1] == '.')
		return dir->ino == CACHE_ROOT ? CACHE_ROOT : dir->v.parent;
	return 0;
}

/* Under the lock. */
static int lookup_in(struct cache *cache, struct cache_op *op, struct inode *dir)
{
	struct slice name = op_name(op);
	struct name_info info = { 0 };
	struct inode *inode;
	int got;

	if (dir->v.type != TYPE_DIR)
		return -ENOTDIR;
	got = access_check(&op->cred, &dir->v, WANT_EXEC);
	if (got)
		return got;
	info.ino = dots(dir, name);
	if (!info.ino) {
		got = name_get(cache, dir->ino, name, &info);
		if (got < 0)
			return got;
		if (!got && !dir->v.is_listed)
			return park_listing(cache, op, dir);
		if (!info.ino)
			return -ENOENT;
	}
	inode = inode_get(cache, info.ino, &got);
	if (!inode)
		/* -ESTALE: it went with a change that is not committed yet. */
		return got == -ESTALE ? -ENOENT : got;
	op_result_now(op, inode);
	inode_put(cache, inode);
	return 0;
}

static int lookup_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *dir;
	int got;

	pthread_mutex_lock(&cache->lock);
	dir = inode_get(cache, op->priv.num[0], &got);
	if (dir) {
		got = lookup_in(cache, op, dir);
		if (got != CACHE_WAITS)
			op_wcc_now(op, 0, dir, false);
		inode_put(cache, dir);
	}
	pthread_mutex_unlock(&cache->lock);
	return got;
}

int cache_lookup(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name)
{
	int err;

	op_begin(cache, op, lookup_again);
	op->priv.num[0] = dir;
	op->priv.num[2] = name.len;
	op->priv.args[0] = name.data;
	err = op_check_name(name);
	if (err && err != -EEXIST)
		return op_refuse(op, err);
	return lookup_again(op);
}

/* ---- making ---- */

/* CREATE of a name that is there. */
static int create_existing(struct change *change, struct inode_edit *edit)
{
	struct cache_op *op = change->op;
	const struct attr_change *wanted = op->priv.args[1];
	struct attr_change cut = { 0 };
	int err = 0;

	switch ((enum create_how)op->priv.num[3]) {
	case CREATE_GUARDED:
		return -EEXIST;
	case CREATE_EXCLUSIVE:
		/* The same verifier: it is this very call, sent again. */
		if (edit->v.type != TYPE_REG || !edit->inode->work->has_verifier ||
		    memcmp(edit->inode->work->verifier, op->priv.args[2],
			   sizeof(edit->inode->work->verifier)) != 0)
			return -EEXIST;
		break;
	case CREATE_UNCHECKED:
		if (edit->v.type != TYPE_REG)
			return -EEXIST;
		/* open(O_CREAT | O_TRUNC): only the size is meant for a file that exists. */
		if (wanted && wanted->set & SET_SIZE) {
			cut.set = SET_SIZE;
			cut.size = wanted->size;
			err = setattr_edit(change, edit, &cut);
		}
		break;
	}
	if (!err)
		op_result(op, edit);
	return err;
}

static uint32_t default_mode(const struct cache_op *op, enum file_type type)
{
	switch (type) {
	case TYPE_DIR:
		return 0755;
	case TYPE_LNK:
		return 0777;
	default:
		/*
		 * After an exclusive create the client sets the mode; until then nobody else may
		 * look.
		 */
		return op->priv.num[3] == CREATE_EXCLUSIVE && type == TYPE_REG ? 0600 : 0644;
	}
}

/* *ret_acls: the caller's. */
static int make_values(struct change *change, const struct inode_edit *dir, struct inode_values *v,
		       struct acls **ret_acls)
{
	struct cache_op *op = change->op;
	int err;

	v->type = op->priv.num[4];
	v->nlink = v->type == TYPE_DIR ? 2 : 1;
	v->links_up = v->type != TYPE_DIR && name_is_local(op_name(op)) ? 0 : 1;
	err = access_new(&op->cred, &dir->v, op->priv.args[1], default_mode(op, v->type),
			 change->now, v);
	if (!err && v->type != TYPE_LNK)
		err = acls_inherit(dir->v.acls, v->type == TYPE_DIR, &v->mode, ret_acls);
	if (err)
		return err;
	switch (v->type) {
	case TYPE_REG:
		/* It will be written to: noting that now saves the first WRITE a transaction. */
		v->is_dirty = true;
		v->gen = 1;
		break;
	case TYPE_DIR:
		v->parent = dir->inode->ino;
		v->is_listed = true;
		break;
	case TYPE_LNK:
		v->mode = 0777;
		v->size = op->priv.num[5];
		break;
	default:
		v->major = op->priv.num[5] >> 32;
		v->minor = (uint32_t)op->priv.num[5];
	}
	return 0;
}

/* What does not fit into struct inode_values. */
static int make_rest(struct change *change, struct inode_edit *edit)
{
	struct cache_op *op = change->op;
	const struct attr_change *wanted = op->priv.args[1];

	if (edit->v.type == TYPE_LNK) {
		edit->target = strndup(op->priv.args[2], op->priv.num[5]);
		return edit->target ? 0 : -ENOMEM;
	}
	if (edit->v.type != TYPE_REG)
		return 0;
	if (op->priv.num[3] == CREATE_EXCLUSIVE) {
		edit->set_verifier = edit->has_verifier = true;
		memcpy(edit->verifier, op->priv.args[2], sizeof(edit->verifier));
		return 0;
	}
	if (wanted && wanted->set & SET_SIZE && wanted->size) {
		int err = EDIT_MAPS(edit);

		return err ? err : inode_edit_size(edit, wanted->size);
	}
	return 0;
}

/* Its records. */
static int make_log(struct change *change, struct inode_edit *edit, const struct inode_edit *dir, uint64_t *ret_seq)
{
	struct slice name = op_name(change->op);
	int got = fold_make(change, edit, dir->inode->ino, name, ret_seq);

	if (got)
		return MIN(got, 0);
	got = nameop_log_make(change, edit, dir, name, ret_seq);
	return !got && edit->v.size && edit->v.type == TYPE_REG ? cml_append_store(change, edit) : got;
}

static int make_new(struct change *change, struct inode_edit *dir)
{
	struct slice name = op_name(change->op);
	struct inode_values v = { 0 };
	struct inode_edit *edit;
	struct acls *acls = NULL;
	bool is_local;
	uint64_t seq = 0;
	int err;

	err = access_change_dir(&change->op->cred, &dir->v);
	if (!err && change->op->priv.num[4] == TYPE_DIR && dir->v.nlink >= CACHE_LINK_MAX)
		err = -EMLINK;
	if (!err)
		err = make_values(change, dir, &v, &acls);
	if (err)
		return err;
	edit = inode_make(change, &v, &err);
	if (!edit) {
		free(acls);
		return err;
	}
	if (acls)
		inode_edit_acls(edit, acls);
	is_local = !v.links_up;
	err = make_rest(change, edit);
	if (!err && !is_local)
		err = make_log(change, edit, dir, &seq);
	if (!err)
		err = name_bind(change, dir->inode->ino, name, edit->inode->ino, seq);
	if (err)
		return err;
	if (v.type == TYPE_DIR)
		EDIT(dir, nlink, dir->v.nlink + 1);
	nameop_dir_changed(change, dir, is_local);
	op_result(change->op, edit);
	return 0;
}

static int make_run(struct change *change)
{
	struct cache_op *op = change->op;
	struct inode_edit *dir, *there;
	int err, got;

	err = nameop_dir(change, op->priv.num[0], &dir);
	if (err)
		return err;
	op_wcc_before(op, 0, dir);
	err = access_check(&op->cred, &dir->v, WANT_EXEC);
	if (err)
		return err;
	got = nameop_find(change, op->priv.num[0], op_name(op), &there);
	if (got < 0)
		return got;
	if (!got)
		err = make_new(change, dir);
	else if (op->priv.num[4] == TYPE_REG)
		err = create_existing(change, there);
	else
		err = -EEXIST;
	if (!err)
		op_wcc_after(op, 0, dir);
	return err;
}

static int make_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *dir;
	int got;

	pthread_mutex_lock(&cache->lock);
	dir = op_get_dir(op, op->priv.num[0], &got);
	inode_put(cache, dir);
	pthread_mutex_unlock(&cache->lock);
	if (dir)
		return reserve_is_tight(cache->reserve) || space_is_full(cache) ? op_refuse_new(op, -ENOSPC) : op_submit(op, make_run);
	return got == CACHE_WAITS ? got : op_refuse_new(op, got);
}

static int make_begin(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		      enum file_type type, const struct attr_change *change)
{
	int err;

	op_begin(cache, op, make_again);
	op->priv.num[0] = dir;
	op->priv.num[2] = name.len;
	op->priv.num[4] = type;
	op->priv.args[0] = name.data;
	op->priv.args[1] = change;
	err = op_check_name(name);
	return err ? op_refuse(op, err) : 0;
}

int cache_create(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		 enum create_how how, const struct attr_change *change, const uint8_t *verifier)
{
	int err = make_begin(cache, op, dir, name, TYPE_REG, change);

	if (err)
		return err;
	op->priv.num[3] = how;
	op->priv.args[2] = verifier;
	if (change && change->set & SET_SIZE && change->size > CACHE_SIZE_MAX)
		return op_refuse(op, -EFBIG);
	return make_again(op);
}

int cache_mkdir(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		const struct attr_change *change)
{
	int err = make_begin(cache, op, dir, name, TYPE_DIR, change);

	return err ? err : make_again(op);
}

int cache_symlink(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		  struct slice target, const struct attr_change *change)
{
	int err = make_begin(cache, op, dir, name, TYPE_LNK, change);

	if (err)
		return err;
	op->priv.args[2] = target.data;
	op->priv.num[5] = target.len;
	if (!target.len || memchr(target.data, '\0', target.len))
		return op_refuse(op, -EINVAL);
	if (target.len > CACHE_TARGET_MAX)
		return op_refuse(op, -ENAMETOOLONG);
	return make_again(op);
}

int cache_mknod(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		enum file_type type, uint32_t major, uint32_t minor,
		const struct attr_change *change)
{
	int err = make_begin(cache, op, dir, name, type, change);

	if (err)
		return err;
	if (type != TYPE_BLK && type != TYPE_CHR && type != TYPE_SOCK && type != TYPE_FIFO)
		return op_refuse(op, -EINVAL);
	if ((type == TYPE_BLK || type == TYPE_CHR) && op->cred.uid != 0)
		return op_refuse(op, -EPERM);
	op->priv.num[5] = (uint64_t)major << 32 | minor;
	return make_again(op);
}
