/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both have made the same directory.  Records in the log go on naming it by our oid, which upstream
 * takes for its own from now on (docs/PROTOCOL.md 7); here cml_alias_add() keeps what it means.
 *
 * Where upstream's directory has an inode here already (it was moved to that place by somebody, say), everything
 * moves over to that one, with its marks, and ours goes.
 */
#include "cache/conflict_merge.h"

#include <errno.h>
#include <string.h>
#include "base/fault.h"
#include "cache/cml_state.h"
#include "cache/conflict_name.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/stale.h"
#include "cache/writer.h"

#define DEPTH_MAX 4096

/* ours -> theirs */
struct merge {
	struct change *change;
	struct inode_edit *ours, *theirs;
	int64_t time_s;
	bool has_place;		/* theirs has got, or keeps, a name */
};

static int set_parent(struct merge *m, uint64_t ino)
{
	struct inode_edit *child;
	int err = 0;

	child = inode_edit(m->change, ino, &err);
	if (!child)
		return err == -ESTALE ? 0 : err;
	if (child->v.type != TYPE_DIR)
		return 0;
	EDIT(child, parent, m->theirs->inode->ino);
	EDIT(m->ours, nlink, m->ours->v.nlink - 1);
	EDIT(m->theirs, nlink, m->theirs->v.nlink + 1);
	return 0;
}

/* One name in our directory; a tombstone, too. */
static int move_name(void *arg, struct slice name, const struct name_info *info)
{
	struct merge *m = arg;
	struct change *change = m->change;
	struct cache *cache = change->cache;
	uint64_t theirs = m->theirs->inode->ino;
	struct name_info there;
	char text[256];
	int err, got;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, theirs, name, &there);
	pthread_mutex_unlock(&cache->lock);
	if (got < 0)
		return got;
	err = name_unbind(change, m->ours->inode->ino, name, 0);
	if (err)
		return err;
	if (!info->ino)
		return got ? 0 : name_unbind(change, theirs, name, info->seq);
	if (got && there.ino) {
		/* Beside what is there, until the answer to its own record says what becomes of it. */
		err = conflict_free_name(change, theirs, name, m->time_s, text);
		name = (struct slice){ text, strlen(text) };
	}
	if (!err)
		err = name_bind(change, theirs, name, info->ino, info->seq);
	return err ? err : set_parent(m, info->ino);
}

/* ---- where the directory is ---- */

static int more_dirs(struct change *change, uint64_t dir, int more)
{
	struct inode_edit *edit;
	int err = 0;

	edit = inode_edit(change, dir, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	EDIT(edit, nlink, edit->v.nlink + more);
	return stale_ask(change, dir);
}

/* Would theirs be below itself there?  1, 0, -errno. */
static int is_circle(struct merge *m, uint64_t dir)
{
	int err;

	for (unsigned depth = 0; dir != CACHE_ROOT; depth++) {
		struct inode_edit *edit;

		if (dir == m->theirs->inode->ino || depth > DEPTH_MAX)
			return 1;
		edit = inode_edit(m->change, dir, &err);
		if (!edit)
			return err == -ESTALE ? 1 : err;
		dir = edit->v.parent;
	}
	return 0;
}

/* A name that theirs has: it stays when a record of ours gave it, else upstream has moved it. */
static int leave_name(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct merge *m = arg;
	int err;

	if (info->seq) {
		m->has_place = true;
		return 0;
	}
	err = name_unbind(m->change, dir, name, 0);
	return err ? err : more_dirs(m->change, dir, -1);
}

/* A name that ours has: theirs takes it, if it needs one. */
static int take_name(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct merge *m = arg;
	int got;

	got = m->has_place ? 1 : is_circle(m, dir);
	if (got < 0)
		return got;
	if (got) {
		got = name_unbind(m->change, dir, name, info->seq);
		return got ? got : more_dirs(m->change, dir, -1);
	}
	m->has_place = true;
	EDIT(m->theirs, parent, dir);
	return name_bind(m->change, dir, name, m->theirs->inode->ino, info->seq);
}

static int move_over(struct merge *m)
{
	struct change *change = m->change;
	struct cache *cache = change->cache;
	uint64_t ours = m->ours->inode->ino, theirs = m->theirs->inode->ino;
	int err, is_below;

	is_below = is_circle(m, m->ours->v.parent);
	if (is_below < 0)
		return is_below;
	err = FAULT("conflict.merge");
	if (!err)
		err = name_each_in(cache, ours, move_name, m);
	/* Where its place is below itself, as things look from here, it stays where it is. */
	if (!err && !is_below)
		err = name_each_of(cache, theirs, leave_name, m);
	if (!err)
		err = name_each_of(cache, ours, take_name, m);
	if (!err)
		err = db_run(writer_db(cache), "UPDATE cml SET ino = ?1 WHERE ino = ?2", "ii",
			     (int64_t)theirs, (int64_t)ours);
	/* At once: the records behind this one look for our oid, and are to find theirs. */
	if (!err)
		err = db_run(writer_db(cache), "DELETE FROM inode WHERE ino = ?1", "i",
			     (int64_t)ours);
	if (!err)
		inode_drop(m->ours);
	return err;
}

static int take_attr(struct change *change, struct inode_edit *edit,
		     const struct kml_object *object)
{
	if (!edit->v.attr_seq) {
		EDIT(edit, mode, object->attr.mode);
		EDIT(edit, uid, object->attr.uid);
		EDIT(edit, gid, object->attr.gid);
	}
	EDIT(edit, data_version, object->data_version);
	EDIT(edit, attr_version, object->attr_version);
	/* What is in it there is to be listed; until then ours is shown. */
	return stale_ask(change, edit->inode->ino);
}

int conflict_merge(struct change *change, struct inode_edit *edit, const struct kml_record *record,
		   const struct kml_answer *answer)
{
	struct merge m = { .change = change, .ours = edit, .time_s = record->time.sec };
	const struct kml_object *object = answer->object;
	uint64_t ino;
	int err;

	if (!object)
		return 0;	/* not an answer that means anything: the listing will tell */
	err = cml_alias_add(change, cml_oid_of(record), object->oid);
	if (err || !edit)
		return err;
	ino = inode_find_oid(change->cache, &object->oid);
	if (ino && ino != edit->inode->ino) {
		m.theirs = inode_edit(change, ino, &err);
		if (!m.theirs)
			return err;
	}
	if (!m.theirs) {
		err = inode_set_oid(change, edit, object->oid);
		return err ? err : take_attr(change, edit, object);
	}
	err = move_over(&m);
	if (err)
		return err;
	if (edit->v.attr_seq) {
		EDIT(m.theirs, attr_seq, edit->v.attr_seq);
		EDIT(m.theirs, mode, edit->v.mode);
		EDIT(m.theirs, uid, edit->v.uid);
		EDIT(m.theirs, gid, edit->v.gid);
	}
	if (!m.theirs->v.is_listed)
		EDIT(m.theirs, is_listed, true);
	return take_attr(change, m.theirs, object);
}
