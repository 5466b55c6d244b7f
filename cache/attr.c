/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations on attributes: getattr, setattr, access, readlink, fsstat. */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include "base/clock.h"
#include "cache/access.h"
#include "cache/base.h"
#include "cache/cache.h"
#include "cache/cml_state.h"
#include "cache/internal.h"
#include "cache/op.h"
#include "cache/record.h"
#include "cache/setattr.h"
#include "cache/space.h"

#define FILES_UNLIMITED (1ull << 40)	/* where the file system below does not count */

/* ---- from memory ---- */

static int getattr_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &err);
	if (inode)
		op_result_now(op, inode);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int cache_getattr(struct cache *cache, struct cache_op *op, uint64_t ino)
{
	op_begin(cache, op, getattr_again);
	op->priv.num[0] = ino;
	return getattr_again(op);
}

static int access_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &err);
	if (inode) {
		op->access = access_bits(&op->cred, &inode->v, op->priv.num[2]);
		op_result_now(op, inode);
	}
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int cache_access(struct cache *cache, struct cache_op *op, uint64_t ino, uint32_t want)
{
	op_begin(cache, op, access_again);
	op->priv.num[0] = ino;
	op->priv.num[2] = want;
	return access_again(op);
}

static int readlink_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &err);
	if (inode) {
		op_result_now(op, inode);
		if (inode->v.type != TYPE_LNK) {
			err = -EINVAL;
		} else if (inode->target) {
			op->count = MIN(strlen(inode->target), (size_t)CACHE_TARGET_MAX);
			memcpy(op->priv.extra, inode->target, op->count);
		}
	}
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int cache_readlink(struct cache *cache, struct cache_op *op, uint64_t ino, char *text)
{
	op_begin(cache, op, readlink_again);
	op->priv.num[0] = ino;
	op->priv.extra = text;
	return readlink_again(op);
}

int cache_fsstat(struct cache *cache, struct cache_fsstat *ret)
{
	struct statvfs st;

	if (fstatvfs(cache->dirfd, &st) < 0)
		return -errno;
	*ret = (struct cache_fsstat){
		.total_bytes = (uint64_t)st.f_blocks * st.f_frsize,
		.free_bytes = (uint64_t)st.f_bfree * st.f_frsize,
		.avail_bytes = (uint64_t)st.f_bavail * st.f_frsize,
		.total_files = st.f_files ? st.f_files : FILES_UNLIMITED,
		.free_files = st.f_files ? st.f_ffree : FILES_UNLIMITED,
		.avail_files = st.f_files ? st.f_favail : FILES_UNLIMITED,
	};
	space_fsstat(cache, ret);
	return 0;
}

/* ---- setattr ---- */

int setattr_log(struct change *change, struct inode_edit *edit, unsigned set)
{
	struct kml_record record = { 0 };
	struct kml_setattr *setattr = &record.body.kml_body_u.setattr;
	uint64_t seq;
	int err;

	record.body.op = KML_SETATTR;
	setattr->oid = edit->v.oid;
	setattr->mode = edit->v.mode;
	setattr->uid = edit->v.uid;
	setattr->gid = edit->v.gid;
	setattr->atime = cml_time(edit->v.atime);
	setattr->mtime = cml_time(edit->v.mtime);
	setattr->attr_base = edit->v.attr_version;
	setattr->set |= set & SET_MODE ? KML_SET_MODE : 0;
	setattr->set |= set & SET_UID ? KML_SET_UID : 0;
	setattr->set |= set & SET_GID ? KML_SET_GID : 0;
	setattr->set |= set & SET_ATIME ? KML_SET_ATIME : 0;
	setattr->set |= set & SET_MTIME ? KML_SET_MTIME : 0;
	if (!setattr->set || !edit->v.links_up)
		return 0;
	err = cml_append(change, edit->inode->ino, &record, NULL, &seq);
	if (!err)
		EDIT(edit, attr_seq, seq);
	return err;
}

static int set_size(struct change *change, struct inode_edit *edit, uint64_t size)
{
	int err = inode_edit_size(edit, size);

	if (err)
		return err;
	/* All that was written goes into the row with it: nothing is left for a COMMIT. */
	edit->is_committed = true;
	EDIT(edit, mtime, edit->v.mtime);
	return cml_append_store(change, edit);
}

static int check_size(const struct inode_edit *edit, const struct attr_change *wanted)
{
	if (!(wanted->set & SET_SIZE))
		return 0;
	if (edit->v.type != TYPE_REG)
		return -EINVAL;		/* as READ and WRITE say of it */
	return wanted->size > CACHE_SIZE_MAX ? -EFBIG : 0;
}

int setattr_edit(struct change *change, struct inode_edit *edit, struct attr_change *wanted)
{
	bool new_size;
	int err;

	err = check_size(edit, wanted);
	if (!err && edit->v.type == TYPE_LNK && wanted->set & SET_MODE)
		err = -EOPNOTSUPP;	/* nor have the file systems upstream any for it */
	if (!err)
		err = access_setattr(&change->op->cred, &edit->v, wanted);
	if (!err && wanted->set & SET_SIZE)
		err = EDIT_MAPS(edit);	/* from here on nothing is written to it */
	/*
	 * Who cuts a file is about to write to it, and has seen what it was.  Of an empty one no record of the content tells, and
	 * one of another may be done before the first WRITE: what came between would be what that is made on, unseen.
	 */
	if (!err && wanted->set & SET_SIZE)
		err = base_note_change(change, edit);
	if (err)
		return err;

	new_size = wanted->set & SET_SIZE && wanted->size != edit->v.size;
	if (wanted->set & SET_SIZE && !(wanted->set & SET_MTIME)) {
		/* A store carries its own mtime; with the size as it was there is none. */
		if (new_size)
			EDIT(edit, mtime, change->now);
		else
			wanted->set |= SET_MTIME_NOW;
	}
	if (wanted->set & SET_MODE)
		EDIT(edit, mode, wanted->mode & 07777);
	if (wanted->set & SET_UID)
		EDIT(edit, uid, wanted->uid);
	if (wanted->set & SET_GID)
		EDIT(edit, gid, wanted->gid);
	if (wanted->set & (SET_ATIME | SET_ATIME_NOW))
		EDIT(edit, atime, wanted->set & SET_ATIME ? clock_ns(wanted->atime) : change->now);
	if (wanted->set & (SET_MTIME | SET_MTIME_NOW))
		EDIT(edit, mtime, wanted->set & SET_MTIME ? clock_ns(wanted->mtime) : change->now);
	wanted->set |= wanted->set & SET_ATIME_NOW ? SET_ATIME : 0;
	wanted->set |= wanted->set & SET_MTIME_NOW ? SET_MTIME : 0;
	inode_edit_touch(change, edit);
	err = setattr_log(change, edit, wanted->set);
	if (!err && new_size)
		err = set_size(change, edit, wanted->size);
	return err;
}

static int setattr_run(struct change *change)
{
	struct cache_op *op = change->op;
	struct attr_change wanted = *(const struct attr_change *)op->priv.args[0];
	const struct timespec *guard = op->priv.args[1];
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, op->priv.num[0], &err);
	if (!edit)
		return err;
	op_wcc_before(op, 0, edit);
	if (guard && (guard->tv_sec != op->wcc[0].before.ctime.tv_sec ||
		      guard->tv_nsec != op->wcc[0].before.ctime.tv_nsec))
		return -ECANCELED;
	err = setattr_edit(change, edit, &wanted);
	if (err)
		return err;
	/*
	 * An exclusive create is over with the SETATTR that the client must send (RFC 1813 3.3.8).  From now on the
	 * same verifier, in other years, is another program's, who must learn that the file exists.
	 */
	if (edit->inode->work->has_verifier)
		edit->set_verifier = true;
	op_wcc_after(op, 0, edit);
	op_result(op, edit);
	return 0;
}

static int setattr_again(struct cache_op *op)
{
	return op_submit(op, setattr_run);
}

int cache_setattr(struct cache *cache, struct cache_op *op, uint64_t ino,
		  const struct attr_change *change, const struct timespec *guard)
{
	op_begin(cache, op, setattr_again);
	op->priv.num[0] = ino;
	op->priv.args[0] = change;
	op->priv.args[1] = guard;
	return setattr_again(op);
}
