/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Upstream's names into the cache's.  See merge.h for the rules. */
#include <errno.h>
#include <string.h>
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/record.h"
#include "cache/stale.h"
#include "cache/writer.h"

#define DEPTH_MAX 4096		/* of directories; more is a circle */

static int find(struct change *change, uint64_t dir, struct slice name, struct name_info *ret)
{
	struct cache *cache = change->cache;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, dir, name, ret);
	pthread_mutex_unlock(&cache->lock);
	return got;
}

/* NULL and 0 in *ret_err: it is gone. */
static struct inode_edit *edit_if_there(struct change *change, uint64_t ino, int *ret_err)
{
	struct inode_edit *edit;

	*ret_err = 0;
	edit = inode_edit(change, ino, ret_err);
	if (!edit && *ret_err == -ESTALE)
		*ret_err = 0;
	return edit;
}

/* ---- names of one object ---- */

struct place {
	uint64_t dir;
	uint64_t seq;
	size_t len;
	char name[CACHE_NAME_MAX];
};

static int place_first(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct place *place = arg;

	place->dir = dir;
	place->seq = info->seq;
	place->len = MIN(name.len, sizeof(place->name));
	memcpy(place->name, name.data, place->len);
	return 1;
}

static struct slice place_name(const struct place *place)
{
	return (struct slice){ place->name, place->len };
}

/* ---- away ---- */

/* A file's clean name. */
static int lose_name(struct change *change, struct inode_edit *dir, struct slice name,
		     struct inode_edit *edit)
{
	int64_t names;
	int err;

	err = name_unbind(change, dir->inode->ino, name, 0);
	if (err)
		return err;
	if (edit->v.links_up)
		EDIT(edit, links_up, edit->v.links_up - 1);
	inode_edit_touch(change, dir);
	inode_edit_touch(change, edit);
	names = name_count_of(change->cache, edit->inode->ino);
	if (names < 0)
		return names;
	if (!names && !merge_has_our_data(edit))
		return merge_drop(change, edit);
	/* nlink is upstream's: is it a name less there too, or has it moved to where nothing is known? */
	if (edit->v.links_up && edit->v.nlink > names && !(edit->set & (1u << FIELD_nlink)))
		return stale_ask(change, edit->inode->ino);
	return 0;
}

/* The one name of a directory, which stays as it is otherwise. */
static int lose_dir_name(struct change *change, uint64_t parent, struct slice name)
{
	struct inode_edit *dir;
	int err;

	err = name_unbind(change, parent, name, 0);
	if (err)
		return err;
	dir = edit_if_there(change, parent, &err);
	if (!dir)
		return err;
	if (dir->v.is_listed && dir->v.nlink > 2)
		EDIT(dir, nlink, dir->v.nlink - 1);
	inode_edit_touch(change, dir);
	return 0;
}

struct sweep {
	struct change *change;
	uint64_t dir;
};

static int sweep_tombstone(void *arg, struct slice name, const struct name_info *info)
{
	struct sweep *sweep = arg;

	(void)info;
	return name_unbind(sweep->change, sweep->dir, name, 0);
}

int merge_drop_dir(struct change *change, struct inode_edit *edit)
{
	struct sweep sweep = { change, edit->inode->ino };
	struct place place;
	int got;

	got = name_each_of(change->cache, edit->inode->ino, place_first, &place);
	if (got > 0)
		got = lose_dir_name(change, place.dir, place_name(&place));
	if (!got)
		got = name_each_in(change->cache, edit->inode->ino, sweep_tombstone, &sweep);
	return got ? got : merge_drop(change, edit);
}

/* It is gone upstream, or has no name there any more. */
static int lose_dir(struct change *change, struct inode_edit *edit)
{
	int got;

	if (edit->inode->ino == CACHE_ROOT)
		return 0;
	got = name_any_in(change->cache, edit->inode->ino);
	if (got < 0)
		return got;
	if (!got)
		return merge_drop_dir(change, edit);
	/* Also if merge_finish() is never reached: then it is asked for, and found gone once more. */
	got = stale_ask(change, edit->inode->ino);
	return got ? got : merge_sweep_later(change, edit->inode->ino);
}

int merge_unbind(struct change *change, uint64_t dir_ino, struct slice name, uint64_t ino)
{
	struct inode_edit *dir, *edit;
	struct name_info info;
	int err, got;

	dir = edit_if_there(change, dir_ino, &err);
	if (!dir)
		return err;
	got = find(change, dir_ino, name, &info);
	if (got <= 0 || !info.ino)
		return MIN(got, 0);
	if (info.seq)
		return stale_mark_held(change, dir_ino);
	edit = edit_if_there(change, info.ino, &err);
	if (!edit)
		return err ? err : name_unbind(change, dir_ino, name, 0);
	if (edit->v.type != TYPE_DIR && name_is_local(name))
		return 0;
	if (ino && info.ino != ino)
		return stale_ask(change, dir_ino);
	if (edit->v.type == TYPE_DIR)
		return lose_dir(change, edit);
	/* Under its name it is what its STORE, when it is answered, makes a conflict copy of. */
	if (edit->v.links_up <= 1 && merge_has_our_data(edit))
		return stale_mark_held(change, dir_ino);
	return lose_name(change, dir, name, edit);
}

struct lose {
	struct change *change;
	uint64_t ino;
};

static int lose_each(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct lose *lose = arg;

	(void)info;
	return merge_unbind(lose->change, dir, name, lose->ino);
}

static int gone_file(struct change *change, struct inode_edit *edit)
{
	struct lose lose = { change, edit->inode->ino };
	int64_t names;
	int err;

	err = name_each_of(change->cache, edit->inode->ino, lose_each, &lose);
	if (err || edit->is_removed)
		return err;
	names = name_count_of(change->cache, edit->inode->ino);
	if (names < 0)
		return names;
	if (!names)
		return merge_has_our_data(edit) ? 0 : merge_drop(change, edit);
	/* What is left of it is ours: names that wait in the log, local ones, bytes. */
	if (edit->v.nlink != names) {
		EDIT(edit, nlink, names);
		inode_edit_touch(change, edit);
	}
	return 0;
}

int merge_gone(struct change *change, uint64_t ino)
{
	struct inode_edit *edit;
	struct place place;
	int err, got;

	edit = edit_if_there(change, ino, &err);
	if (!edit)
		return err;
	if (edit->v.type != TYPE_DIR)
		return gone_file(change, edit);
	got = name_each_of(change->cache, ino, place_first, &place);
	if (got < 0)
		return got;
	if (got > 0 && place.seq)
		return stale_mark_held(change, ino);	/* we are moving it: the RENAME's answer settles that */
	return lose_dir(change, edit);
}

/* ---- in ---- */

static int drop_if_nameless(struct change *change, struct inode_edit *edit)
{
	int64_t names = name_count_of(change->cache, edit->inode->ino);

	if (names)
		return names < 0 ? names : 0;
	if (edit->v.type == TYPE_DIR)
		return lose_dir(change, edit);
	return merge_has_our_data(edit) ? 0 : merge_drop(change, edit);
}

/* 1: the directory is at or above 'below'. */
static int is_above(struct change *change, uint64_t ino, uint64_t below)
{
	struct inode_edit *dir;
	int err;

	for (unsigned depth = 0; below && below != CACHE_ROOT; depth++) {
		if (below == ino || depth > DEPTH_MAX)
			return 1;
		dir = edit_if_there(change, below, &err);
		if (!dir)
			return err;
		below = dir->v.parent;
	}
	return 0;
}

/* What the name stands for goes.  1: the name is free; 0: it is not. */
static int make_free(struct change *change, uint64_t dir, struct slice name)
{
	struct name_info info;
	int got;

	got = merge_unbind(change, dir, name, 0);
	if (!got)
		got = find(change, dir, name, &info);
	if (got <= 0)
		return got ? got : 1;
	/* A directory that is to be emptied first; a file of ours has marked this one already. */
	got = stale_ask(change, dir);
	return got;
}

/* A directory leaves its old place.  1: it may; 0: it may not. */
static int leave_place(struct change *change, struct inode_edit *edit, uint64_t dir)
{
	struct place place;
	int got;

	got = edit->is_new ? 0 : is_above(change, edit->inode->ino, dir);
	if (!got)
		got = name_each_of(change->cache, edit->inode->ino, place_first, &place);
	else if (got > 0)
		place.seq = 1;
	if (got <= 0)
		return got ? got : 1;
	if (place.seq) {
		got = stale_mark_held(change, dir);
		return got;
	}
	got = lose_dir_name(change, place.dir, place_name(&place));
	return got ? got : 1;
}

static int gain_name(struct change *change, struct inode_edit *dir, struct inode_edit *edit)
{
	int err = 0;

	if (edit->v.type == TYPE_DIR) {
		EDIT(edit, parent, dir->inode->ino);
		EDIT(edit, links_up, 1);
		if (dir->v.is_listed)
			EDIT(dir, nlink, dir->v.nlink + 1);
	} else if (edit->v.links_up || edit->v.type != TYPE_REG || !merge_has_our_data(edit)) {
		EDIT(edit, links_up, edit->v.links_up + 1);
	} else {
		/* It had lost all names here, and what was written to it since was nobody's business. */
		err = EDIT_MAPS(edit);
		if (err)
			return err;
		EDIT(edit, links_up, 1);
		EDIT(edit, size, edit->v.size);
		EDIT(edit, mtime, edit->v.mtime);
		edit->is_committed = true;
		err = cml_append_store(change, edit);
	}
	inode_edit_touch(change, dir);
	return err;
}

int merge_bind(struct change *change, uint64_t dir_ino, struct slice name, uint64_t ino)
{
	struct inode_edit *dir, *edit;
	struct name_info info;
	int err, got;

	edit = edit_if_there(change, ino, &err);
	if (!edit)
		return err;
	dir = edit_if_there(change, dir_ino, &err);
	if (err)
		return err;
	if (!dir || dir->v.type != TYPE_DIR || (edit->v.type != TYPE_DIR && name_is_local(name)))
		return drop_if_nameless(change, edit);
	got = find(change, dir_ino, name, &info);
	if (got < 0 || (got && info.ino == ino))
		return MIN(got, 0);
	if (got && info.seq) {
		err = stale_mark_held(change, dir_ino);
		return err ? err : drop_if_nameless(change, edit);
	}
	if (got) {
		got = make_free(change, dir_ino, name);
		if (got <= 0)
			return got ? got : drop_if_nameless(change, edit);
	}
	if (edit->v.type == TYPE_DIR) {
		got = leave_place(change, edit, dir_ino);
		if (got <= 0)
			return got ? got : drop_if_nameless(change, edit);
	}
	err = name_bind(change, dir_ino, name, ino, 0);
	return err ? err : gain_name(change, dir, edit);
}

/* ---- listed ---- */

int merge_listed(struct change *change, uint64_t dir, uint64_t position)
{
	struct inode_edit *edit;
	sqlite3_stmt *stmt;
	uint32_t nlink;
	int err, got;

	edit = edit_if_there(change, dir, &err);
	if (!edit)
		return err;
	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT count(*) FROM name JOIN inode ON inode.ino = name.ino"
		       " WHERE name.dir = ?1 AND name.ino > 0 AND inode.type = ?2", "ii",
		       (int64_t)dir, (int64_t)TYPE_DIR);
	if (got <= 0)
		return got ? got : -EIO;
	nlink = 2 + sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	EDIT(edit, is_listed, true);
	EDIT(edit, listed_at, MAX(position, edit->v.listed_at));
	if (edit->v.nlink != nlink) {
		EDIT(edit, nlink, nlink);
		inode_edit_touch(change, edit);
	}
	return 0;
}
