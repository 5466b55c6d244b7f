/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Upstream's state of an object into its inode.
 *
 * (1) Data (content, size, mtime) and attributes (mode, access control lists, owner, times) are taken each by its version, and only where
 *     nothing of ours waits.
 * (2) What no version tells: nlink is upstream's plus our local names, unless records of ours about the object wait, or were
 *     retired since that state; a listed directory's is counted here.  A directory's mtime goes forward only, for names
 *     that we made in it may be on their way.
 * (3) ctime goes forward with every change, never back: it is how the kernel's client notices.
 * (4) A file that is clean (no is_dirty) is not written to before this change is in memory: a WRITE needs the
 *     note committed first, and that is another change, later in the order.
 */
#include "cache/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cache/acl.h"
#include "cache/apply.h"
#include "cache/apply_state.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/record.h"
#include "cache/stale.h"
#include "cache/writer.h"

/* Set a field to a value; was it another one? */
#define TAKE(e, field, value) ((e)->v.field != (value) ? (EDIT(e, field, value), true) : false)

uint64_t merge_size_of(const struct kml_object *object)
{
	switch (object->attr.type) {
	case KML_REG:
		return MIN(object->attr.size, CACHE_SIZE_MAX);
	case KML_LNK:
		return object->extra.kml_extra_len;
	default:
		return 0;
	}
}

int merge_dir_mtime(struct change *change, const struct kml_object *object, uint64_t position)
{
	uint64_t ino = inode_find_oid(change->cache, &object->oid);
	int64_t mtime = cml_time_ns(object->attr.mtime);
	struct inode_edit *edit;
	int err = 0, has;

	edit = ino ? inode_edit(change, ino, &err) : NULL;
	if (!edit)
		return err == -ESTALE ? 0 : err;
	if (mtime == edit->v.mtime || edit->v.attr_seq || object->attr_version < edit->v.attr_version)
		return 0;
	has = name_any_marked_in(change->cache, ino);
	if (!has)
		has = forward_waits(change, ino);
	if (has)
		return MIN(has, 0);
	if (position < apply_position(change->cache))
		return stale_mark_held(change, ino);	/* what was pulled meanwhile may have set it */
	EDIT(edit, mtime, mtime);
	inode_edit_touch(change, edit);
	return 0;
}

bool merge_has_our_data(const struct inode_edit *edit)
{
	struct cache *cache = edit->change->cache;
	const struct inode *inode = edit->inode;
	const struct inode_work *work = inode->work;
	bool has;

	pthread_mutex_lock(&cache->lock);
	/* Not n_writing: where is_dirty is not set, these are fetched bytes. */
	has = edit->v.data_seq || inode->v.is_dirty || work->has_uncommitted || work->dirty.n || work->dirty_next.n;
	pthread_mutex_unlock(&cache->lock);
	return has;
}

int merge_acls(struct inode_edit *edit, const struct kml_object *object)
{
	struct acls *acls;
	int err;

	if (object->attr.type == KML_LNK)
		return 0;
	err = acls_decode(kml_extra_get(&object->extra), &acls);
	if (err)
		return err;
	if (acls_equal(acls, edit->v.acls))
		free(acls);
	else
		inode_edit_acls(edit, acls);
	return 0;
}

/* ---- a new one ---- */

static uint64_t known_up_to(struct cache *cache, uint64_t position)
{
	pthread_mutex_lock(&cache->lock);
	position = MAX(position, cache->position);
	pthread_mutex_unlock(&cache->lock);
	return position;
}

static int object_make(struct change *change, const struct kml_object *object, uint64_t position,
		       uint64_t *ret_ino)
{
	const struct kml_attr *attr = &object->attr;
	struct inode_values v = {
		.oid = object->oid,
		.type = (enum file_type)attr->type,
		.mode = attr->mode & 07777,
		.uid = attr->uid,
		.gid = attr->gid,
		.major = attr->major,
		.minor = attr->minor,
		.nlink = attr->nlink,
		.size = merge_size_of(object),
		.keep_size = merge_size_of(object),
		.atime = cml_time_ns(attr->atime),
		.mtime = cml_time_ns(attr->mtime),
		.ctime = MIN(cml_time_ns(attr->mtime), change->now),
		.data_version = object->data_version,
		.attr_version = object->attr_version,
	};
	struct inode_edit *edit;
	int err;

	if (v.type == TYPE_DIR)
		v.listed_at = known_up_to(change->cache, position);
	/* Made here, and not known here: the cache was put back, and would give out that number once more. */
	if (v.oid.origin == change->cache->client_id)
		counter_pass(change->cache, COUNTER_OID, v.oid.number);
	edit = inode_make(change, &v, &err);
	if (!edit)
		return err;
	if (v.type == TYPE_LNK) {
		edit->target = strndup(object->extra.kml_extra_val ?
				       object->extra.kml_extra_val : "", v.size);
		if (!edit->target)
			return -ENOMEM;
	}
	*ret_ino = edit->inode->ino;
	return merge_acls(edit, object);
}

/* ---- data ---- */

/* 1: taken; 0: not, for ours is newer, or waits. */
static int take_data(struct change *change, struct inode_edit *edit, const struct kml_object *object)
{
	int err;

	if (object->data_version <= edit->v.data_version)
		return 0;
	if (merge_has_our_data(edit)) {
		err = stale_mark_held(change, edit->inode->ino);
		return err;
	}
	if (edit->v.type == TYPE_REG) {
		err = EDIT_MAPS(edit);
		if (err)
			return err;
		extent_release(&edit->present);
		/* Whoever reads the old version goes on with the old file. */
		if (edit->v.gen)
			EDIT(edit, gen, edit->v.gen + 1);
		EDIT(edit, size, merge_size_of(object));
		EDIT(edit, keep_size, merge_size_of(object));
		err = park_wake_content_after(change, edit->inode->ino);
		if (err)
			return err;
	}
	EDIT(edit, data_version, object->data_version);
	return 1;
}

/* ---- attributes ---- */

/*
 * The root has version 0 as long as nobody has changed it, here and there; so has what a SETACL was refused of.  1: it
 * has just these attributes.
 */
static int is_same_unversioned(const struct inode_edit *edit, const struct kml_object *object)
{
	const struct kml_attr *attr = &object->attr;
	struct acls *acls;
	bool is_same;
	int err;

	if (edit->v.mode != (attr->mode & 07777) || edit->v.uid != attr->uid || edit->v.gid != attr->gid)
		return 0;
	if (attr->type == KML_LNK)
		return 1;
	err = acls_decode(kml_extra_get(&object->extra), &acls);
	if (err)
		return err;
	is_same = acls_equal(acls, edit->v.acls);
	free(acls);
	return is_same;
}

/* 1: taken; 0: not. */
static int take_attrs(struct change *change, struct inode_edit *edit, const struct kml_object *object)
{
	const struct kml_attr *attr = &object->attr;
	int err;

	if (object->attr_version < edit->v.attr_version ||
	    (edit->v.attr_version && object->attr_version == edit->v.attr_version))
		return 0;
	if (!object->attr_version) {
		err = is_same_unversioned(edit, object);
		if (err)
			return MIN(err, 0);
	}
	if (edit->v.attr_seq)
		return stale_mark_held(change, edit->inode->ino);
	EDIT(edit, attr_version, object->attr_version);
	EDIT(edit, mode, attr->mode & 07777);
	EDIT(edit, uid, attr->uid);
	EDIT(edit, gid, attr->gid);
	EDIT(edit, major, attr->major);
	EDIT(edit, minor, attr->minor);
	err = merge_acls(edit, object);
	return err ? err : 1;
}

static bool take_times(struct inode_edit *edit, const struct kml_object *object, bool has_attrs)
{
	/* Also where the versions have been taken before, but the times could not be. */
	bool is_same = edit->v.data_version == object->data_version &&
		       edit->v.attr_version == object->attr_version;
	int64_t mtime = cml_time_ns(object->attr.mtime);
	bool is_other = false;

	if (edit->v.attr_seq)
		return false;	/* it may be about times */
	if (object->attr_version < edit->v.attr_version)
		return false;	/* from before our last setattr, which may have set them back */
	if (is_same)
		is_other |= TAKE(edit, atime, cml_time_ns(object->attr.atime));
	if (edit->v.type == TYPE_DIR && !has_attrs)
		mtime = MAX(mtime, edit->v.mtime);	/* keeps (2) */
	else if (!is_same || merge_has_our_data(edit))
		return is_other;
	return is_other | TAKE(edit, mtime, mtime);
}

int merge_attrs_again(struct change *change, struct inode_edit *edit, const struct kml_object *object)
{
	uint64_t known = edit->v.attr_version;
	int got;

	EDIT(edit, attr_version, 0);
	if (!object || object->attr_version < known || (enum file_type)object->attr.type != edit->v.type)
		return 0;
	/* With a later one of ours on its way this does nothing: the answer to that asks for the rest (cml_retire.c). */
	got = take_attrs(change, edit, object);
	if (got < 0)
		return got;
	(void)take_times(edit, object, got > 0);
	inode_edit_touch(change, edit);
	return 0;
}

/* Its mtime could not be taken, for something of ours is in the way, and no later entry may come to tell it. */
static bool is_mtime_held(const struct inode_edit *edit, const struct kml_object *object)
{
	int64_t mtime = cml_time_ns(object->attr.mtime);

	if (object->attr_version < edit->v.attr_version)
		return false;
	if (edit->v.type == TYPE_DIR)
		return edit->v.attr_seq && mtime > edit->v.mtime;
	return object->data_version == edit->v.data_version && mtime != edit->v.mtime &&
	       (edit->v.attr_seq || merge_has_our_data(edit));
}

/* Do records about its names wait?  1, 0, -errno. */
static int do_names_wait(struct change *change, const struct inode_edit *edit)
{
	uint64_t alive;
	int got = cml_speaks_of(change->cache, edit->inode->ino);

	if (got)
		return got;
	/* A RENAME that takes a name from it is about another object, but is its mark. */
	got = mark_alive(change, edit->v.attr_seq, &alive);
	return got ? got : alive != 0;
}

/*
 * Is the state of that position older than what is known here of its names?  None of these has a version.  Where nothing
 * to come would tell it, it is asked for again.  1, 0, -errno.
 */
static int are_names_newer(struct change *change, const struct inode_edit *edit, uint64_t position)
{
	uint64_t ino = edit->inode->ino, before_start = merge_own_before_start(change->cache);
	int err;

	/* The entry of that record of ours is still to be pulled, and says how many they are. */
	if (position < merge_own_version(change->cache, ino))
		return 1;
	if (position < before_start)
		err = stale_ask_after(change, ino, before_start);
	else if (position < apply_position(change->cache))
		err = stale_ask(change, ino);
	else
		return 0;
	return err ? err : 1;
}

/* keeps (2).  1: changed; 0: it is so, or cannot be told now: *ret_is_held. */
static int take_nlink(struct change *change, struct inode_edit *edit, uint32_t nlink, uint64_t position,
		      bool *ret_is_held)
{
	int64_t names;
	int got;

	*ret_is_held = false;
	if (edit->v.type == TYPE_DIR)
		return !edit->v.is_listed && TAKE(edit, nlink, nlink);
	if (edit->v.nlink == nlink && edit->v.links_up == nlink)
		return 0;
	names = name_count_of(change->cache, edit->inode->ino);
	if (names < 0)
		return names;
	if (names > edit->v.links_up)
		nlink += names - edit->v.links_up;
	if (edit->v.nlink == nlink)
		return 0;
	got = do_names_wait(change, edit);
	*ret_is_held = got > 0;
	if (!got)
		got = are_names_newer(change, edit, position);
	return got ? MIN(got, 0) : TAKE(edit, nlink, nlink);
}

/* ---- all of it ---- */

static int object_update(struct change *change, struct inode_edit *edit,
			 const struct kml_object *object, uint64_t position)
{
	int has_data, has_attrs, has_nlink;
	bool has_times, is_held;

	if ((enum file_type)object->attr.type != edit->v.type)
		return stale_mark_held(change, edit->inode->ino);	/* an oid never changes its type */
	has_attrs = take_attrs(change, edit, object);
	if (has_attrs < 0)
		return has_attrs;
	has_data = take_data(change, edit, object);
	if (has_data < 0)
		return has_data;
	has_times = take_times(edit, object, has_attrs);
	has_nlink = take_nlink(change, edit, object->attr.nlink, position, &is_held);
	if (has_nlink < 0)
		return has_nlink;
	is_held |= has_data && edit->v.attr_seq;	/* its mtime */
	is_held |= is_mtime_held(edit, object);
	if (has_attrs || has_data || has_times || has_nlink)
		inode_edit_touch(change, edit);
	return is_held ? stale_mark_held(change, edit->inode->ino) : 0;
}

int merge_object(struct change *change, const struct kml_object *object, uint64_t position,
		 uint64_t *ret_ino)
{
	uint64_t ino = inode_find_oid(change->cache, &object->oid);
	struct inode_edit *edit;
	int err = 0;

	if (!ino && object->attr.nlink)
		return object_make(change, object, position, ret_ino);
	if (ino && object->attr.nlink) {
		edit = inode_edit(change, ino, &err);
		if (edit)
			err = object_update(change, edit, object, position);
	}
	if (!err)
		*ret_ino = ino;
	return err;
}

int merge_own(struct change *change, const struct kml_object *object, uint64_t position)
{
	uint64_t ino = inode_find_oid(change->cache, &object->oid);
	struct inode_edit *edit;
	bool is_held, is_other;
	int got, has;

	if (!ino || !object->attr.nlink)
		return 0;
	has = cml_speaks_of(change->cache, ino);
	if (has < 0)
		return has;
	edit = inode_edit(change, ino, &got);
	if (!edit)
		return got;
	is_other = !has && edit->v.type == TYPE_DIR && take_times(edit, object, false);
	got = take_nlink(change, edit, object->attr.nlink, position, &is_held);
	if (got < 0)
		return got;
	if (got || is_other)
		inode_edit_touch(change, edit);
	/* No later entry may come to tell it: ask, once what waits has been sent. */
	return is_held ? stale_mark_held(change, ino) : 0;
}

/* ---- going ---- */

static void object_is_gone(struct cache *cache, void *arg)
{
	uint64_t ino = (uintptr_t)arg;

	stale_forget(cache, ino);
	/* Whoever waits finds out. */
	park_wake_content(cache, ino, 0);
	park_wake_listing(cache, ino, 0);
}

int merge_drop(struct change *change, struct inode_edit *edit)
{
	uint64_t ino = edit->inode->ino;
	int err;

	err = cml_forget(change, edit);
	/* At once, for what comes after it in this change looks for objects by oid. */
	if (!err)
		err = db_run(writer_db(change->cache), "DELETE FROM inode WHERE ino = ?1", "i",
			     (int64_t)ino);
	if (!err)
		err = writer_after_commit(change, object_is_gone, (void *)(uintptr_t)ino);
	if (!err)
		inode_drop(edit);
	return err;
}
