/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/content_log.h"
#include "cache/db.h"
#include "cache/digester.h"
#include "cache/flusher.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/writer.h"

#define AT_ONCE_MAX (1u << 20)	/* bytes: a file that is given back to the file system in no time */

static void field_apply(struct inode_values *to, const struct inode_values *from, unsigned field)
{
	switch ((enum inode_field)field) {
	case FIELD_oid:		to->oid = from->oid; break;
	case FIELD_type:	to->type = from->type; break;
	case FIELD_mode:	to->mode = from->mode; break;
	case FIELD_uid:		to->uid = from->uid; break;
	case FIELD_gid:		to->gid = from->gid; break;
	case FIELD_major:	to->major = from->major; break;
	case FIELD_minor:	to->minor = from->minor; break;
	case FIELD_nlink:	to->nlink = from->nlink; break;
	case FIELD_links_up:	to->links_up = from->links_up; break;
	case FIELD_parent:	to->parent = from->parent; break;
	case FIELD_size:	to->size = from->size; break;
	case FIELD_atime:	to->atime = from->atime; break;
	case FIELD_mtime:	to->mtime = from->mtime; break;
	/* A WRITE may have raised it meanwhile: it never goes back. */
	case FIELD_ctime:	to->ctime = MAX(to->ctime, from->ctime); break;
	case FIELD_data_version: to->data_version = from->data_version; break;
	case FIELD_attr_version: to->attr_version = from->attr_version; break;
	case FIELD_data_seq:	to->data_seq = from->data_seq; break;
	case FIELD_attr_seq:	to->attr_seq = from->attr_seq; break;
	case FIELD_is_stale:	to->is_stale = from->is_stale; break;
	case FIELD_is_listed:	to->is_listed = from->is_listed; break;
	case FIELD_is_dirty:	to->is_dirty = from->is_dirty; break;
	case FIELD_listed_at:	to->listed_at = from->listed_at; break;
	case FIELD_gen:		to->gen = from->gen; break;
	case FIELD_keep_size:	to->keep_size = from->keep_size; break;
	case INODE_FIELDS:	abort();
	}
}

/* ---- making edits ---- */

static struct inode_edit *edit_new(struct change *change, struct inode *inode)
{
	struct inode_edit *edit = calloc(1, sizeof(*edit));

	if (!edit)
		return NULL;
	if (inode_wake(change->cache, inode)) {
		free(edit);
		return NULL;
	}
	edit->change = change;
	edit->inode = inode;
	edit->v = inode->v;
	edit->old_gen = inode->v.gen;
	inode->work->edit = edit;
	list_append(&change->edits, &edit->node);
	return edit;
}

static struct inode *inode_new_in(struct change *change, uint64_t ino)
{
	/* The inode that this change makes is gone for all others until it is done. */
	for (struct hash_node *n = hash_first(&change->cache->inodes, hash_u64(ino)); n;
	     n = hash_next(n)) {
		struct inode *inode = container_of(n, struct inode, by_ino);

		if (inode->ino == ino && inode->work->edit && inode->work->edit->is_new)
			return inode;
	}
	return NULL;
}

struct inode_edit *inode_edit(struct change *change, uint64_t ino, int *ret_err)
{
	struct cache *cache = change->cache;
	struct inode_edit *edit = NULL;
	struct inode *inode;

	pthread_mutex_lock(&cache->lock);
	inode = inode_new_in(change, ino);
	if (inode) {
		edit = inode->work->edit;
		goto out;
	}
	inode = inode_get(cache, ino, ret_err);
	if (!inode)
		goto out;
	edit = inode->work->edit;
	if (edit) {
		inode_put(cache, inode);
		goto out;
	}
	edit = edit_new(change, inode);
	if (!edit) {
		inode_put(cache, inode);
		*ret_err = -ENOMEM;
	}
out:
	if (edit && edit->is_removed) {
		edit = NULL;
		*ret_err = -ESTALE;
	}
	pthread_mutex_unlock(&cache->lock);
	return edit;
}

int inode_new_oid(struct change *change, struct kml_oid *ret_oid)
{
	*ret_oid = (struct kml_oid){ change->cache->client_id, counter_take(change->cache, COUNTER_OID) };
	return 0;
}

int inode_set_oid(struct change *change, struct inode_edit *edit, struct kml_oid oid)
{
	EDIT(edit, oid, oid);
	/* At once, for what comes after it in this change looks for objects by oid. */
	return db_run(writer_db(change->cache),
		      "UPDATE inode SET oid_origin = ?1, oid_number = ?2 WHERE ino = ?3", "iii",
		      (int64_t)oid.origin, (int64_t)oid.number, (int64_t)edit->inode->ino);
}

static int row_insert(struct change *change, uint64_t ino, const struct inode_values *v)
{
	return db_run(
		writer_db(change->cache),
		"INSERT INTO inode (ino, oid_origin, oid_number, type, mode, uid, gid, major, minor,"
		" nlink, links_up, parent, size, atime, mtime, ctime, data_version, attr_version,"
		" data_seq, attr_seq, is_stale, is_listed, listed_at, is_dirty, gen, keep_size)"
		" VALUES"
		" (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"iiiiiiiiiiiiiiiiiiiiiiiiii", (int64_t)ino, (int64_t)v->oid.origin, (int64_t)v->oid.number,
		(int64_t)v->type, (int64_t)v->mode, (int64_t)v->uid, (int64_t)v->gid,
		(int64_t)v->major, (int64_t)v->minor, (int64_t)v->nlink, (int64_t)v->links_up,
		(int64_t)v->parent, (int64_t)v->size, v->atime, v->mtime, v->ctime,
		(int64_t)v->data_version, (int64_t)v->attr_version, (int64_t)v->data_seq,
		(int64_t)v->attr_seq, (int64_t)v->is_stale, (int64_t)v->is_listed,
		(int64_t)v->listed_at, (int64_t)v->is_dirty, (int64_t)v->gen,
		(int64_t)v->keep_size);
}

struct inode_edit *inode_make(struct change *change, const struct inode_values *v, int *ret_err)
{
	struct cache *cache = change->cache;
	struct inode_values values = *v;
	struct inode_edit *edit = NULL;
	struct inode *inode;
	uint64_t ino = counter_take(cache, COUNTER_INO);
	int err = 0;

	if (kml_oid_is_none(values.oid))
		err = inode_new_oid(change, &values.oid);
	if (!err)
		err = row_insert(change, ino, &values);
	if (err) {
		*ret_err = err;
		return NULL;
	}
	pthread_mutex_lock(&cache->lock);
	err = inode_hash_add(cache, ino, &inode);
	if (!err) {
		inode->is_gone = true;
		inode->refs = 1;
		inode->v = values;
		inode->has_names = values.is_listed;	/* made here, and empty */
		edit = edit_new(change, inode);
		if (edit) {
			edit->is_new = true;
			edit->old_gen = 0;
		} else {
			inode_put(cache, inode);
			err = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&cache->lock);
	if (err)
		*ret_err = err;
	return edit;
}

void inode_drop(struct inode_edit *edit)
{
	edit->is_removed = true;
}

/* Under the lock, on the writer thread. */
static bool has_to_sync(struct cache *cache, const struct inode_edit *edit)
{
	const struct inode *inode = edit->inode;

	if (cache->no_sync || edit->drops_content || inode_is_durable(inode))
		return false;
	if (cache->durability != DURABILITY_ASYNC || edit->change->wants_sync || edit->change->wants_content)
		return true;
	/*
	 * ASYNC promises little about what was written last; but what was fetched must never be said to be here
	 * when it is not, and what a killed daemon finds in its log is not to replace what is newer.
	 */
	return MAX(inode->work->synced_gen, inode->work->logged_gen) < inode->work->fetched_gen ||
	       content_log_has(cache, inode->ino) != 0;
}

/* The content is held: make it durable, where that is promised.  Under the lock, which is let go meanwhile. */
static int content_settle(struct cache *cache, struct inode_edit *edit)
{
	struct inode *inode = edit->inode;
	bool has_to = has_to_sync(cache, edit), is_logged = has_to && content_log_takes(cache, inode);
	int err = 0;

	if (has_to) {
		pthread_mutex_unlock(&cache->lock);
		err = is_logged ? content_log_append(edit->change, edit) : object_sync_inode(cache, inode);
		pthread_mutex_lock(&cache->lock);
	}
	edit->is_durable = !err && (is_logged || edit->drops_content || inode_is_durable(inode));
	/* keeps (2) of content_log.h */
	if (err || is_logged || inode->work->synced_gen != inode->work->write_gen)
		return err;
	pthread_mutex_unlock(&cache->lock);
	err = content_log_forget(edit->change, inode->ino);
	pthread_mutex_lock(&cache->lock);
	return err;
}

/* For others, or for the disk. */
static bool hold_waits(struct cache *cache, const struct inode_edit *edit)
{
	const struct inode *inode = edit->inode;

	return inode->work->is_held || inode->work->n_writing ||
	       (has_to_sync(cache, edit) && !content_log_takes(cache, inode));
}

/* Hold the content for the rest of the change; under the lock, which is let go meanwhile. */
static int content_hold(struct cache *cache, struct inode_edit *edit)
{
	struct inode *inode = edit->inode;

	if (inode->work->cut_pending || (writer_must_not_wait(cache) && hold_waits(cache, edit))) {
		edit->change->wants_rerun = true;
		return -EAGAIN;
	}
	inode_hold(cache, inode);
	edit->holds = true;
	return content_settle(cache, edit);
}

int inode_edit_maps(struct inode_edit *edit)
{
	struct cache *cache = edit->change->cache;
	struct inode *inode = edit->inode;
	int err;

	if (edit->has_maps)
		return 0;
	pthread_mutex_lock(&cache->lock);
	err = edit->holds ? 0 : content_hold(cache, edit);
	if (!err)
		err = extent_copy(&edit->present, &inode->present);
	if (!err)
		err = extent_copy(&edit->dirty, &inode->work->dirty);
	if (!err)
		err = extent_copy(&edit->dirty_next, &inode->work->dirty_next);
	if (!err) {
		edit->has_maps = true;
		/* What writes have changed since the edit was begun. */
		if (!(edit->set & (1u << FIELD_size)))
			edit->v.size = inode->v.size;
		if (!(edit->set & (1u << FIELD_mtime)))
			edit->v.mtime = inode->v.mtime;
		if (!(edit->set & (1u << FIELD_ctime)))
			edit->v.ctime = inode->v.ctime;
	}
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int inode_edit_size(struct inode_edit *edit, uint64_t size)
{
	int err;

	assert(edit->has_maps);
	if (!edit->v.gen)
		EDIT(edit, gen, 1);
	if (size > edit->v.size) {
		err = extent_add(&edit->present, edit->v.size, size);	/* zeros */
		/* A content file that is shorter than it should be has lost something (check.h). */
		if (!err)
			err = object_grow(edit->change->cache, edit->inode->ino, edit->v.gen, size);
		if (err)
			return err;
	} else if (size < edit->v.size) {
		extent_cut(&edit->present, size);
		extent_cut(&edit->dirty, size);
		extent_cut(&edit->dirty_next, size);
		edit->cuts = true;
		if (size < edit->v.keep_size)
			EDIT(edit, keep_size, size);
		err = content_log_cut(edit->change, edit->inode->ino, size);
		if (err)
			return err;
	}
	EDIT(edit, size, size);
	return 0;
}

void inode_edit_acls(struct inode_edit *edit, struct acls *acls)
{
	free(edit->acls);
	edit->acls = acls;
	edit->set_acls = true;
	edit->v.acls = acls;
}

void inode_edit_attr(const struct inode_edit *edit, struct attr *ret)
{
	struct cache *cache = edit->change->cache;
	struct inode_values v = edit->v;

	pthread_mutex_lock(&cache->lock);
	if (!(edit->set & (1u << FIELD_size)))
		v.size = edit->inode->v.size;
	if (!(edit->set & (1u << FIELD_mtime)))
		v.mtime = edit->inode->v.mtime;
	v.ctime = MAX(v.ctime, edit->inode->v.ctime);
	inode_values_attr(edit->inode, &v, ret);
	pthread_mutex_unlock(&cache->lock);
}

void inode_edit_touch(struct change *change, struct inode_edit *edit)
{
	EDIT(edit, ctime, MAX(change->now, edit->v.ctime + 1));
}

/* ---- into memory ---- */

static void map_swap(struct extent_map *a, struct extent_map *b)
{
	struct extent_map c = *a;

	*a = *b;
	*b = c;
}

static void edit_apply(struct cache *cache, struct inode_edit *edit)
{
	struct inode *inode = edit->inode;
	struct inode_work *work = inode->work;

	inode->pins++;
	work->edit = NULL;
	edit->was_size = inode->v.size;
	edit->was_mtime = inode->v.mtime;
	inode->is_gone = edit->is_removed;
	inode->has_names &= edit->v.is_listed;
	if (edit->v.gen != inode->v.gen || edit->is_removed) {
		object_leave(cache, inode);
		inode->used = 0;
	}
	if (edit->is_durable) {
		work->logged_gen = work->write_gen;
		work->unsynced = (struct extent){ 0 };
	}
	if (edit->has_maps && (edit->v.gen != inode->v.gen || edit->v.size != inode->v.size)) {
		/* The content as a whole changed, not by writing: what was synced stays so. */
		bool is_synced = work->synced_gen == work->write_gen;

		inode_content_changed(cache, inode);
		if (is_synced)
			work->synced_gen = work->write_gen;
		if (edit->is_durable)
			work->logged_gen = work->write_gen;
		inode->used = 0;
	}
	for (unsigned field = 0; field < INODE_FIELDS; field++) {
		if (edit->set & (1u << field))
			field_apply(&inode->v, &edit->v, field);
	}
	if (edit->has_maps) {
		map_swap(&inode->present, &edit->present);
		map_swap(&work->dirty, &edit->dirty);
		map_swap(&work->dirty_next, &edit->dirty_next);
		digester_later(cache, inode);
	}
	if (edit->set_taken)
		work->taken_seq = edit->taken_seq;
	if (edit->target) {
		free(inode->target);
		inode->target = edit->target;
		edit->target = NULL;
	}
	if (edit->set_acls) {
		free((void *)inode->v.acls);
		inode->v.acls = edit->acls;
		edit->acls = NULL;
	}
	if (edit->set_verifier) {
		memcpy(work->verifier, edit->verifier, sizeof(work->verifier));
		work->has_verifier = edit->has_verifier;
	}
	if (edit->is_committed) {
		work->has_uncommitted = false;
		work->last_commit_us = clock_us();
	}
	if (!inode->v.is_dirty || edit->is_removed) {
		inode->is_noted = false;
		list_del(&work->quiet);
	} else if (!list_is_linked(&work->quiet)) {
		work->last_write_us = clock_us();
		list_append(&cache->written, &work->quiet);
		syncer_poke(cache);
	}
	if (edit->cuts) {
		work->cut_gen++;
		work->cut_pending = true;
	} else if (edit->holds) {
		inode_hold_end(cache, inode);
	}
}

bool inode_edits_take_long(struct change *change)
{
	struct inode_edit *edit;

	list_each(edit, &change->edits, node)
		if (edit->old_gen && (edit->is_removed || edit->cuts || edit->v.gen != edit->old_gen) &&
		    edit->inode->v.size > AT_ONCE_MAX)
			return true;
	return false;
}

void inode_edits_apply(struct change *change)
{
	struct inode_edit *edit;

	list_each(edit, &change->edits, node)
		edit_apply(change->cache, edit);
}

void inode_edits_release(struct change *change, bool is_applied)
{
	struct cache *cache = change->cache;
	struct inode_edit *edit, *next;

	list_each_safe(edit, next, &change->edits, node) {
		struct inode *inode = edit->inode;

		if (is_applied) {
			inode->pins--;
			inode->is_noted = inode->v.is_dirty && (inode->is_noted || !inode->pins);
			inode->work->cut_pending &= !edit->cuts;
		} else {
			inode->work->edit = NULL;
		}
		if (edit->holds && (edit->cuts || !is_applied))
			inode_hold_end(cache, inode);
		list_del(&edit->node);
		inode_put(cache, inode);
		extent_release(&edit->present);
		extent_release(&edit->dirty);
		extent_release(&edit->dirty_next);
		free(edit->target);
		free(edit->acls);
		free(edit);
	}
}

/* Its names can be read from now on: who waits for that goes on. */
static void names_came(struct cache *cache, struct inode_edit *edit)
{
	pthread_mutex_lock(&cache->lock);
	edit->inode->has_names = edit->v.is_listed;
	pthread_mutex_unlock(&cache->lock);
	if (edit->v.is_listed)
		park_wake_listing(cache, edit->inode->ino, 0);
}

/* That generation of its content is nobody's any more. */
static void content_is_gone(struct cache *cache, const struct inode_edit *edit, uint32_t gen)
{
	if (cache->durability == DURABILITY_ASYNC && !cache->no_sync)
		flusher_remove(cache, edit->inode->ino, gen, edit->inode->v.size > AT_ONCE_MAX);
	else
		object_unlink(cache, edit->inode->ino, gen);
}

/* With the file open, so that it is counted before and after. */
static int content_cut(struct cache *cache, const struct inode_edit *edit)
{
	struct object *object;
	int err, ignored;

	pthread_mutex_lock(&cache->lock);
	object = cache->space ? object_get(cache, edit->inode, false, &ignored) : NULL;
	pthread_mutex_unlock(&cache->lock);
	err = object_cut(cache, edit->inode->ino, edit->v.gen, edit->v.size);
	if (!object)
		return err;
	(void)object_used(cache, object);
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	pthread_mutex_unlock(&cache->lock);
	return err;
}

/* Content files that its row does not speak of any more. */
static void content_committed(struct cache *cache, const struct inode_edit *edit)
{
	int err;

	if (edit->old_gen && !edit->drops_content && (edit->is_removed || edit->v.gen != edit->old_gen))
		content_is_gone(cache, edit, edit->old_gen);
	if (edit->is_removed && edit->v.gen && edit->v.gen != edit->old_gen)
		content_is_gone(cache, edit, edit->v.gen);
	if (!edit->cuts || edit->is_removed)
		return;
	/* With the row of before, the file of before: else zeros would be taken for its end, and be sent. */
	if (cache->durability == DURABILITY_ASYNC && flusher_sync(cache))
		return;
	err = content_cut(cache, edit);
	if (err)
		cache_fail(cache, "a content file could not be cut", err);
}

void inode_edits_committed(struct change *change, bool is_kept)
{
	struct inode_edit *edit;

	list_each(edit, &change->edits, node) {
		if (edit->set & (1u << FIELD_is_listed))
			names_came(change->cache, edit);
		if (is_kept)
			content_committed(change->cache, edit);
	}
}

/* The inode as its row has it, and on top of that what was written and not committed yet. */
static int inode_reload(struct cache *cache, struct inode *inode)
{
	struct extent_map present = { 0 }, dirty = { 0 }, dirty_next = { 0 };
	struct inode_work *work = inode->work;
	struct inode_values was = inode->v;
	int got, err = 0;

	map_swap(&present, &inode->present);
	map_swap(&dirty, &work->dirty);
	map_swap(&dirty_next, &work->dirty_next);
	got = inode_load(cache, inode);
	object_leave(cache, inode);
	inode->used = 0;
	inode->is_gone = !got;
	if (got > 0 && inode->v.is_dirty && inode->v.gen == was.gen) {
		err = extent_union(&inode->present, &present);
		if (!err)
			err = extent_union(&work->dirty, &dirty);
		if (!err)
			err = extent_union(&work->dirty_next, &dirty_next);
		inode->v.size = MAX(inode->v.size, was.size);
		extent_cut(&inode->present, inode->v.size);
		inode->v.mtime = MAX(inode->v.mtime, was.mtime);
		inode->v.ctime = MAX(inode->v.ctime, was.ctime);
		work->has_uncommitted = true;
	}
	extent_release(&present);
	extent_release(&dirty);
	extent_release(&dirty_next);
	if (got > 0 && inode->v.is_dirty && !list_is_linked(&work->quiet))
		list_append(&cache->written, &work->quiet);
	else if (got <= 0 || !inode->v.is_dirty)
		list_del(&work->quiet);
	return MIN(got, 0) ? got : err;
}

void inode_edits_revert(struct change *change)
{
	struct cache *cache = change->cache;
	struct inode_edit *edit;
	int err;

	list_each(edit, &change->edits, node) {
		struct inode_values *v = &edit->inode->v;

		/* The row in the log is gone with the rest: it takes a sync. */
		if (edit->is_durable) {
			edit->inode->work->logged_gen = 0;
			edit->inode->work->unsynced = (struct extent){ 0, UINT64_MAX };
		}
		/* What a WRITE has made of these since is kept. */
		if (edit->set & (1u << FIELD_size) && v->size == edit->v.size)
			v->size = edit->was_size;
		if (edit->set & (1u << FIELD_mtime) && v->mtime == edit->v.mtime)
			v->mtime = edit->was_mtime;
		err = inode_reload(cache, edit->inode);
		/* Who waits for names that do not come now asks anew. */
		if (edit->set & (1u << FIELD_is_listed))
			park_wake_listing(cache, edit->inode->ino, 0);
		if (err)
			cache_fail_locked(
				cache,
				"what a failed transaction left in memory could not be undone",
				err);
	}
	inode_edits_release(change, true);
}
