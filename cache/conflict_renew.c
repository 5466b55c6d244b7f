/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Our inode as a new object: with another oid, all of its content to be sent, and what is in the log about the old one
 * passed on to whose that is from then on.
 */
#include "cache/conflict_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/nameop.h"
#include "cache/object.h"
#include "cache/record.h"
#include "cache/writer.h"

/* ---- its names ---- */

static int known_add(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct known_names *names = arg;
	struct known *v;

	if (name_is_local(name)) {
		names->n_local++;
		return 0;
	}
	v = realloc(names->v, (names->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	names->v = v;
	v += names->n++;
	v->dir = dir;
	v->seq = info->seq;
	v->len = name.len;
	memcpy(v->name, name.data, name.len);
	return 0;
}

int conflict_known_names(const struct conflict *c, struct known_names *names)
{
	return name_each_of(c->change->cache, c->ino, known_add, names);
}

/* ---- its records and its content ---- */

/* What is still in the log about the inode's object is another's now; STOREs go. */
static int pass_on_records(const struct conflict *c, uint64_t heir)
{
	struct db *db = writer_db(c->change->cache);
	int err;

	err = db_run(db, "DELETE FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3", "iii",
		     (int64_t)c->ino, (int64_t)KML_STORE, (int64_t)c->record->seq);
	if (!err)
		err = cml_count_records(c->change, -(int64_t)sqlite3_changes(db_handle(db)));
	if (!err)
		err = db_run(db, "UPDATE cml SET ino = ?1 WHERE ino = ?2 AND seq > ?3", "iii",
			     (int64_t)heir, (int64_t)c->ino, (int64_t)c->record->seq);
	return err;
}

/* All of the content is here: what is missing becomes zeros.  1: something was missing. */
static int fill_gaps(struct cache *cache, struct inode_edit *edit)
{
	struct object *object = NULL;
	struct extent gap;
	bool is_whole = true;
	int err = 0;

	while (!err && extent_first_gap(&edit->present, 0, edit->v.size, &gap)) {
		is_whole = false;
		if (!object) {
			pthread_mutex_lock(&cache->lock);
			object = object_get(cache, edit->inode, true, &err);
			pthread_mutex_unlock(&cache->lock);
			if (!object)
				break;
		}
		/* A fetch that broke off may have left bytes there. */
		if (fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, gap.start,
			      gap.end - gap.start) < 0)
			err = -errno;
		else
			err = extent_add(&edit->present, gap.start, gap.end);
	}
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	pthread_mutex_unlock(&cache->lock);
	if (!err && !is_whole)
		err = object_grow(cache, edit->inode->ino, edit->v.gen, edit->v.size);
	return err ? err : !is_whole;
}

/* All bytes are to be sent.  1: some were not here. */
static int renew_content(struct change *change, struct inode_edit *edit)
{
	int err, got;

	err = EDIT_MAPS(edit);
	if (err)
		return err;
	if (!edit->v.gen)
		EDIT(edit, gen, 1);
	got = fill_gaps(change->cache, edit);
	if (got < 0)
		return got;
	err = extent_copy(&edit->dirty, &edit->present);
	if (!err)
		err = park_wake_content_after(change, edit->inode->ino);
	if (err)
		return err;
	extent_cut(&edit->dirty, edit->v.size);
	extent_release(&edit->dirty_next);
	edit->set_taken = true;
	edit->taken_seq = 0;
	edit->is_committed = true;
	EDIT(edit, keep_size, 0);
	EDIT(edit, size, edit->v.size);
	EDIT(edit, mtime, edit->v.mtime);
	EDIT(edit, ctime, edit->v.ctime);
	return got;
}

int conflict_renew(const struct conflict *c, const struct inode_edit *dir, struct slice name, unsigned n_local, uint64_t heir,
		   uint64_t *ret_seq)
{
	struct change *change = c->change;
	struct inode_edit *edit = c->edit;
	bool is_file = edit->v.type == TYPE_REG;
	int err, got = 0;

	EDIT(edit, data_version, 0);
	EDIT(edit, attr_version, 0);
	EDIT(edit, links_up, 1);
	EDIT(edit, nlink, n_local + 1);
	EDIT(edit, is_stale, false);
	inode_edit_touch(change, edit);
	err = pass_on_records(c, heir);
	if (!err && is_file) {
		got = renew_content(change, edit);
		err = MIN(got, 0);
	}
	if (!err)
		err = nameop_log_make(change, edit, dir, name, ret_seq);
	if (!err && is_file)
		err = cml_append_store(change, edit);
	return err ? err : got;
}
