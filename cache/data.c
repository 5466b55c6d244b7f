/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content: read, write, commit.
 *
 * (1) A byte of the object file changes only after the note that it may (is_dirty) has been
 *     committed.
 * (2) The maps say so before the WRITE is answered, and room for that is had before the first byte
 *     changes.
 * (3) A read takes bytes that 'present' covered before it began; when the file was cut meanwhile it
 *     begins anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/reserve.h"
#include "cache/access.h"
#include "cache/ahead.h"
#include "cache/base.h"
#include "cache/cache.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/op.h"
#include "cache/park.h"
#include "cache/reader.h"
#include "cache/record.h"
#include "cache/space.h"
#include "cache/syncer.h"

/*
 * Arguments: num[0] inode, num[2] offset, num[3] length, num[4] stability, priv.extra data or
 * buffer.
 */

/*
 * -EINVAL, of a directory too: RFC 1813 3.3.6 and 3.3.7 name ISDIR as a mistake of older servers.  A program never sees
 * either: its kernel knows the type, and does not ask.
 */
static int regular(const struct inode *inode)
{
	return inode->v.type == TYPE_REG ? 0 : -EINVAL;
}

/* ---- read ---- */

/* Under the lock: what to read and from where; CACHE_WAITS when it has to be fetched. */
static int read_ready(struct cache *cache, struct cache_op *op, struct inode *inode,
		      struct object **ret_object)
{
	uint64_t offset = op->priv.num[2], end = offset + op->priv.num[3];
	struct extent gap;
	int err;

	op_result_now(op, inode);
	err = regular(inode);
	if (!err)
		err = access_read(&op->cred, &inode->v);
	if (err)
		return err;
	end = MIN(end, inode->v.size);
	op->is_eof = end == inode->v.size || offset >= inode->v.size;
	op->count = 0;
	if (offset >= end)
		return 0;
	if (extent_first_gap(&inode->present, offset, end, &gap))
		return park_content(cache, op, inode, offset, end);
	*ret_object = object_get(cache, inode, true, &err);
	if (!*ret_object)
		return err == -ENOMEM ? err : -EIO;
	op->count = end - offset;
	space_note_read(cache, inode);
	if (inode->is_guessed)
		ahead_note_read(cache, inode, false);
	park_read_on(cache, inode, offset, end);
	return 0;
}

/* What is ready, if it is in memory. */
static int read_now(struct cache_op *op, struct object *object)
{
	if (op->pages && !object_pipe_now(object, op->pages, op->count, op->priv.num[2]))
		return 0;
	return object_read_now(object, op->priv.extra, op->count, op->priv.num[2]);
}

/* CACHE_WAITS takes over the inode's reference. */
static int read_once(struct cache *cache, struct cache_op *op, struct inode *inode,
		     bool *ret_was_cut)
{
	struct object *object = NULL;
	uint64_t cut_gen = inode->work->cut_gen;
	int err;

	*ret_was_cut = false;
	err = read_ready(cache, op, inode, &object);
	if (err == CACHE_WAITS)
		inode_put(cache, inode);
	if (err || !object)
		return err;
	pthread_mutex_unlock(&cache->lock);
	err = read_now(op, object);
	pthread_mutex_lock(&cache->lock);
	*ret_was_cut = inode->work->cut_gen != cut_gen;	/* keeps (3) */
	if (*ret_was_cut && op->pages)
		page_pipe_empty(op->pages);
	if (err == -EAGAIN && !*ret_was_cut) {
		err = reader_read(cache, op, inode, object);
		if (err == CACHE_WAITS)
			return err;
	}
	object_put(cache, object);
	return err && err != -ENOMEM ? -EIO : err;
}

static int read_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode;
	bool was_cut;
	int err;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &err);
	if (inode) {
		do {
			err = read_once(cache, op, inode, &was_cut);
		} while (was_cut);
		if (err != CACHE_WAITS)
			inode_put(cache, inode);
	}
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int cache_read(struct cache *cache, struct cache_op *op, uint64_t ino, uint64_t offset, void *data,
	       uint32_t len)
{
	op_begin(cache, op, read_again);
	if (offset > (uint64_t)CACHE_SIZE_MAX - len)
		offset = (uint64_t)CACHE_SIZE_MAX - len;	/* far beyond any end */
	op->priv.num[0] = ino;
	op->priv.num[2] = offset;
	op->priv.num[3] = len;
	op->priv.extra = data;
	return read_again(op);
}

/* ---- write ---- */

/* The intent (1); and a program's rights end when somebody else writes to it. */
static int note_run(struct change *change)
{
	struct cache_op *op = change->arg;
	struct inode_edit *edit;
	struct kml_record record = { 0 };
	struct kml_setattr *setattr = &record.body.kml_body_u.setattr;
	uint64_t seq;
	int err;

	edit = inode_edit(change, op->priv.num[0], &err);
	if (!edit)
		return err;
	err = base_note_change(change, edit);
	if (err || !access_write_kills_suid(&op->cred, &edit->v))
		return err;
	EDIT(edit, mode, access_without_suid(edit->v.mode));
	inode_edit_touch(change, edit);
	if (!edit->v.links_up)
		return 0;
	record.body.op = KML_SETATTR;
	setattr->oid = edit->v.oid;
	setattr->set = KML_SET_MODE;
	setattr->mode = edit->v.mode;
	setattr->attr_base = edit->v.attr_version;
	err = cml_append(change, op->priv.num[0], &record, NULL, &seq);
	if (!err)
		EDIT(edit, attr_seq, seq);
	return err;
}

static void note_done(struct change *change, int err)
{
	struct cache_op *op = change->arg;

	free(change);
	if (err)
		cache_op_finish(op, op_refuse(op, err));
	else
		cache_op_again(op);
}

static int submit_note(struct cache *cache, struct cache_op *op)
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change)
		return -ENOMEM;
	/* No op in the change: the call is not done with it. */
	change->run = note_run;
	change->done = note_done;
	change->arg = op;
	change->loop = op->loop;
	op_waits(op, &op->waited.commit_us);
	writer_submit(cache, change);
	return CACHE_WAITS;
}

static int write_check(struct cache *cache, const struct cache_op *op, const struct inode *inode)
{
	int err;

	if (cache->is_failed)
		return -EIO;
	if (reserve_is_tight(cache->reserve))
		return -ENOSPC;
	err = regular(inode);
	if (!err)
		err = access_write(&op->cred, &inode->v);
	if (!err && op->priv.num[2] + op->priv.num[3] > CACHE_SIZE_MAX)
		err = -EFBIG;
	return err;
}

/*
 * Under the lock.  0 and *ret_object: go on, n_writing is counted.  0 without: there is nothing to
 * be written.
 */
static int write_ready(struct cache *cache, struct cache_op *op, struct inode *inode,
		       struct object **ret_object)
{
	uint32_t more = inode->work->n_writing + 1;
	int err;

	err = write_check(cache, op, inode);
	if (err)
		return err;
	if (!op->priv.num[3])
		return 0;
	err = space_admit_write(cache, op, op->priv.num[3]);
	if (err)
		return err;
	if (!inode->is_noted || !inode->v.gen || access_write_kills_suid(&op->cred, &inode->v))
		return submit_note(cache, op);
	err = inode_wake(cache, inode);
	/* keeps (2): each write under way adds at most one range to a map */
	if (!err)
		err = extent_reserve(&inode->present, more);
	if (!err)
		err = extent_reserve(&inode->work->dirty, more);
	if (!err)
		err = extent_reserve(&inode->work->dirty_next, more);
	if (err)
		return err;
	*ret_object = object_get(cache, inode, true, &err);
	if (!*ret_object)
		return err == -ENOSPC || err == -ENOMEM ? err : -EIO;
	if (inode_write_begin(inode))
		return 0;
	object_put(cache, *ret_object);
	*ret_object = NULL;
	op_waits(op, &op->waited.commit_us);	/* what holds it is a transaction */
	list_append(&inode->work->held, &op->priv.node);
	return CACHE_WAITS;
}

/* Under the lock: these bytes are not on the disk, or may not be what is there. */
static void note_unsynced(struct inode *inode, uint64_t start, uint64_t end)
{
	struct extent *unsynced = &inode->work->unsynced;
	bool is_first = unsynced->start == unsynced->end;

	unsynced->start = is_first ? start : MIN(unsynced->start, start);
	unsynced->end = is_first ? end : MAX(unsynced->end, end);
}

/* Under the lock: the bytes are in the object file. */
static void write_account(struct cache *cache, struct inode *inode, uint64_t start, uint64_t end,
			  uint64_t used)
{
	int64_t now = MAX(cache_now_ns(), inode->v.ctime + 1);
	int err = 0;

	/* What lies between the old end and a write beyond it is zeros, and here. */
	err |= extent_add(&inode->present, MIN(start, inode->v.size), end);
	err |= extent_add(inode_dirty_map(inode), start, end);
	if (err)	/* cannot be: there is room */
		cache_fail_locked(cache, "what was written could not be noted", err);
	inode->v.size = MAX(inode->v.size, end);
	inode->v.mtime = inode->v.ctime = now;
	inode->used = used;
	inode->work->has_uncommitted = true;
	inode->work->last_write_us = clock_us();
	list_del(&inode->work->quiet);
	list_append(&cache->written, &inode->work->quiet);
	syncer_poke(cache);
}

/*
 * Some of the bytes may have been changed, none is answered for.  Where the file had bytes these
 * are dirty now; what was absent stays so; and what lies beyond the end must be zeros should the
 * file grow.
 */
static void write_failed(struct cache *cache, struct inode *inode, struct object *object,
			 uint64_t start, uint64_t end)
{
	struct extent_map *dirty = inode_dirty_map(inode);
	uint64_t size = inode->v.size, beyond = MAX(start, size);
	struct stat st;

	for (uint32_t i = 0; i < inode->present.n; i++) {
		uint64_t from = MAX(inode->present.v[i].start, start),
			 to = MIN(inode->present.v[i].end, MIN(end, size));

		if (from < to && extent_add(dirty, from, to) < 0)
			cache_fail_locked(cache, "what was written in part could not be noted",
					  -ENOMEM);
	}
	inode->work->has_uncommitted = true;
	/* Only as far as the file goes: further on the file system may have no offsets. */
	if (!fstat(object->fd, &st))
		end = MIN(end, (uint64_t)st.st_size);
	if (end > beyond && fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      beyond, end - beyond) < 0)
		cache_fail_locked(cache, "what was written in part could not be undone", -errno);
}

static int write_errno(int err)
{
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return err;
	default:
		return -EIO;
	}
}

/* Under the lock, which is let go for the bytes. */
static int write_bytes(struct cache *cache, struct cache_op *op, struct inode *inode,
		       struct object *object)
{
	uint64_t start = op->priv.num[2], end = start + op->priv.num[3], used = 0;
	int err;

	op_wcc_now(op, 0, inode, true);
	pthread_mutex_unlock(&cache->lock);
	err = FAULT("data.pwrite");
	if (!err)
		err = fs_pwrite_all(object->fd, op->priv.extra, op->priv.num[3], start);
	if (!err)
		used = object_used(cache, object);
	pthread_mutex_lock(&cache->lock);
	note_unsynced(inode, start, end);
	if (err)
		write_failed(cache, inode, object, start, end);
	else
		write_account(cache, inode, start, end, used);
	object_put(cache, object);
	inode_write_end(cache, inode, true);
	op_wcc_now(op, 0, inode, false);
	op_result_now(op, inode);
	if (err)
		return write_errno(err);
	op->count = op->priv.num[3];
	return 0;
}

/* UNSTABLE is done; anything else is answered after a commit. */
static int write_finish(struct cache *cache, struct cache_op *op)
{
	int err;

	/*
	 * Set before it is handed over: it may be over at once.  Of no bytes too: to say less than was asked for is a
	 * violation of the protocol (RFC 1813 3.3.7), for which clients complain of a faulty server.
	 */
	op->committed = op->priv.num[4] == UNSTABLE ? UNSTABLE : FILE_SYNC;
	if (op->committed == UNSTABLE || !op->count)
		return 0;
	err = syncer_commit(cache, op->priv.num[0], cache->durability == DURABILITY_SYNC, op);
	return err ? err : CACHE_WAITS;
}

static int write_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct object *object = NULL;
	struct inode *inode;
	int got;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &got);
	if (!inode) {
		pthread_mutex_unlock(&cache->lock);
		return got;
	}
	got = write_ready(cache, op, inode, &object);
	if (object)
		got = write_bytes(cache, op, inode, object);
	else if (got <= 0)
		op_wcc_now(op, 0, inode, true);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return got ? got : write_finish(cache, op);
}

int cache_write(struct cache *cache, struct cache_op *op, uint64_t ino, uint64_t offset,
		const void *data, uint32_t len, enum stability want)
{
	op_begin(cache, op, write_again);
	op->priv.num[0] = ino;
	op->priv.num[2] = offset;
	op->priv.num[3] = len;
	op->priv.num[4] = want;
	op->priv.extra = (void *)data;	/* only read */
	if (offset > (uint64_t)CACHE_SIZE_MAX - len)
		return op_refuse(op, -EFBIG);
	return write_again(op);
}

/* ---- commit ---- */

static int commit_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode;
	bool is_needed = false;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &err);
	if (inode) {
		if (inode->v.type != TYPE_REG)
			err = -EINVAL;
		/* Pinned: a transaction that may hold what was written is not over. */
		is_needed = inode->work->has_uncommitted || inode->pins;
		op_wcc_now(op, 0, inode, true);
		op_result_now(op, inode);
	}
	if (!err && cache->is_failed)
		err = -EIO;
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	if (err || !is_needed)
		return err;
	err = syncer_commit(cache, op->priv.num[0], true, op);
	return err ? err : CACHE_WAITS;
}

int cache_commit(struct cache *cache, struct cache_op *op, uint64_t ino)
{
	op_begin(cache, op, commit_again);
	op->priv.num[0] = ino;
	return commit_again(op);
}
