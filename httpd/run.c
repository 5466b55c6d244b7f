/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "httpd/apply.h"
#include "httpd/change.h"
#include "httpd/facl.h"

#define RACY_NS 20000000ll	/* a file's time may be that coarse */
#define COMMIT_ENTRIES 2000	/* entries in one transaction, about */

int run_add_id(struct id_list *list, int64_t id)
{
	int64_t *more;

	if (list->n == list->cap) {
		more = realloc(list->v, (list->cap ? 2 * list->cap : 64) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		list->cap = list->cap ? 2 * list->cap : 64;
		list->v = more;
	}
	list->v[list->n++] = id;
	return 0;
}

int run_add_item(struct item_list *list, int64_t dir, struct slice name)
{
	struct reconcile_item *more;

	if (list->n == list->cap) {
		more = realloc(list->v, (list->cap ? 2 * list->cap : 16) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		list->cap = list->cap ? 2 * list->cap : 16;
		list->v = more;
	}
	list->v[list->n] = (struct reconcile_item){ .dir = dir };
	name_set(&list->v[list->n++].name, name);
	return 0;
}

int run_add_missing(struct run *run, int64_t dir, struct slice name, uint64_t since_us)
{
	int err = run_add_item(&run->missing, dir, name);

	if (!err)
		run->missing.v[run->missing.n - 1].since_us = since_us;
	return err;
}

/* ---- the transaction ---- */

int run_begin(struct run *run)
{
	int err;

	if (run->in_txn)
		return 0;
	err = tree_begin(run->tree);
	if (err)
		return err;
	run->in_txn = true;
	run->first_position = run->tree->position;
	return 0;
}

int run_end(struct run *run, int err)
{
	uint64_t entries = run->tree->position - run->first_position;

	if (!run->in_txn)
		return err;
	run->in_txn = false;
	if (err) {
		tree_rollback(run->tree);
		return err;
	}
	err = tree_commit(run->tree);
	if (!err)
		run->changes += entries;
	return err;
}

static bool is_stopping(const struct run *run)
{
	return run->hooks && run->hooks->is_stopping && run->hooks->is_stopping(run->hooks->arg);
}

int run_give_way(struct run *run, uint64_t until_us)
{
	uint64_t now;
	int err;

	if (is_stopping(run))
		return -EINTR;
	err = run_end(run, 0);
	tree_unlock(run->tree);
	now = clock_us();
	if (until_us > now)
		(void)usleep((useconds_t)(until_us - now));
	if (!err)
		err = apply_lock(run->tree);
	if (err) {
		tree_lock(run->tree);	/* the caller unlocks */
		return err;
	}
	run->held_since_us = clock_us();
	return 0;
}

int run_breathe(struct run *run)
{
	tree_trim_dirs(run->tree);
	if (is_stopping(run))
		return -EINTR;
	if (!run->may_yield)
		return 0;
	if (clock_us() - run->held_since_us < RECONCILE_HOLD_US &&
	    (!run->in_txn || run->tree->position - run->first_position < COMMIT_ENTRIES))
		return 0;
	return run_give_way(run, 0);
}

/* ---- one object ---- */

static bool is_racy(const struct file_stat *st)
{
	int64_t age = file_ns(file_now()) - file_ns(st->attr.mtime);

	return st->attr.type == KML_REG && age > -RACY_NS && age < RACY_NS;
}

void run_take_file(struct object *object, const struct file_stat *st)
{
	object->file = st->id;
	object->ctime = st->ctime;
	object->file_nlink = st->attr.nlink;
	object->attr.atime = st->attr.atime;
	object->is_racy = is_racy(st);
}

bool run_same_file(const struct object *object, const struct file_stat *st)
{
	return object->attr.type == st->attr.type && file_id_equal(object->file, st->id);
}

/* (2).  is_moved: its ctime is explained already. */
static bool is_content_changed(const struct object *object, const struct file_stat *st,
			       bool is_moved)
{
	const struct kml_attr *a = &object->attr, *b = &st->attr;

	if (a->type != KML_REG)
		return false;
	if (!file_id_equal(object->file, st->id) || a->size != b->size ||
	    file_time_cmp(a->mtime, b->mtime))
		return true;
	if (object->is_racy)
		return true;
	return object->ctime && object->ctime != st->ctime && !is_moved &&
	       object->file_nlink == b->nlink && a->mode == b->mode && a->uid == b->uid &&
	       a->gid == b->gid;
}

/* ---- access control lists ---- */

/* A descriptor of st's file, by one of the object's names: -ENOENT when none of them is that file's now. */
static int open_file(struct run *run, const struct object *object, const struct file_stat *st)
{
	AUTO_FREE struct name_row *rows = NULL;
	struct file_stat there;
	size_t n = 0;
	int err = 0;

	if (object->id == ROOT_ID) {
		int fd = openat(run->tree->root_fd, ".", O_PATH | O_CLOEXEC);

		return fd < 0 ? -errno : fd;
	}
	err = names_of(run->tree->sql, object->id, &rows, &n);
	for (size_t i = 0; !err && i < n; i++) {
		int dirfd = tree_dir(run->tree, rows[i].dir);
		int fd = dirfd < 0 ? -1 : openat(dirfd, rows[i].name.text,
						 O_PATH | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0)
			continue;
		if (!file_stat(fd, "", &there) && file_id_equal(there.id, st->id))
			return fd;
		(void)close(fd);	/* it was only looked at */
	}
	return err ? err : -ENOENT;
}

/* 1: the file has other lists than the row: they are in acls; 0: the same ones, or they cannot be looked at now. */
static int look_at_acls(struct run *run, const struct object *object, const struct file_stat *st,
			struct buf *acls)
{
	AUTO_CLOSE int fd = -1;
	struct buf known;
	int err, is_other = 0;

	if (!run->tree->has_acls || st->attr.type == KML_LNK)
		return 0;
	fd = open_file(run, object, st);
	if (fd < 0)
		return fd == -ENOMEM ? fd : 0;
	if (facl_read(fd, "", st->attr.type, acls))
		return 0;
	buf_init(&known, 0);
	err = object_acls(run->tree->sql, object, &known);
	is_other = known.len != acls->len ||
		   (known.len && memcmp(known.data, acls->data, known.len));
	buf_release(&known);
	return err ? err : is_other;
}

static int compare(struct run *run, struct object *object, const struct file_stat *st,
		   bool is_moved, const struct buf *new_acls);

/* The object is there, as st: what is new about it? */
int run_compare(struct run *run, struct object *object, const struct file_stat *st, bool is_moved)
{
	struct buf acls;
	int got;

	if (!is_moved && run_same_file(object, st) && object->ctime == st->ctime &&
	    !object->is_racy && object->file_nlink == st->attr.nlink &&
	    object->attr.size == st->attr.size &&
	    (object->attr.type == KML_DIR || !file_time_cmp(object->attr.mtime, st->attr.mtime)))
		return 0;
	buf_init(&acls, 0);
	got = look_at_acls(run, object, st, &acls);
	if (got >= 0)
		got = compare(run, object, st, is_moved, got ? &acls : NULL);
	buf_release(&acls);
	return got;
}

/* new_acls: NULL when they are the same ones. */
static int compare(struct run *run, struct object *object, const struct file_stat *st,
		   bool is_moved, const struct buf *new_acls)
{
	struct change_by by = change_by_local();
	unsigned set = 0;
	int64_t ctime = object->ctime;
	bool is_data, is_time, has_time;
	int err = 0;

	/* Other lists explain another ctime, too. */
	is_data = is_content_changed(object, st, is_moved || new_acls);
	if (object->attr.mode != st->attr.mode && object->attr.type != KML_LNK && !new_acls)
		set |= KML_SET_MODE;
	if (object->attr.uid != st->attr.uid)
		set |= KML_SET_UID;
	if (object->attr.gid != st->attr.gid)
		set |= KML_SET_GID;
	has_time = object->attr.type != KML_DIR || run->is_by_name;
	is_time = object->attr.type != KML_REG && file_time_cmp(object->attr.mtime, st->attr.mtime);
	if (is_time && has_time)
		set |= KML_SET_MTIME;
	err = run_begin(run);
	if (err)
		return err;
	run_take_file(object, st);
	if (is_time && !has_time)
		object->ctime = ctime;	/* there is still something to look at */
	/*
	 * Only what a local program wrote may go on being written.  A file of ours that lost a name
	 * in the trash is no such thing, and must not be taken for another version: its client
	 * would be in conflict with itself.
	 */
	if (!is_data)
		object->is_racy = false;
	if (has_time)
		object->attr.mtime = st->attr.mtime;
	object->attr.size = st->attr.size;
	object->attr.mode = st->attr.mode;
	object->attr.uid = st->attr.uid;
	object->attr.gid = st->attr.gid;
	if (is_data)
		err = change_store(run->tree, &by, object, NULL);
	if (!err && set)
		err = change_setattr(run->tree, &by, object, set);
	if (!err && new_acls)
		err = change_setacl(run->tree, &by, object,
				    (struct slice){ new_acls->data, new_acls->len });
	if (!err && !is_data && !set && !new_acls)
		err = object_update(run->tree->sql, object);
	return err;
}

/* Look at it again soon, if a write might have been missed. */
void run_watch_racy(struct run *run, const struct object *object, int64_t dir, struct slice name)
{
	struct reconcile_item item = { .dir = dir };

	if (!object->is_racy || !run->hooks || !run->hooks->again)
		return;
	name_set(&item.name, name);
	run->hooks->again(run->hooks->arg, &item);
}

/* ---- directories' own times ---- */

/* Its row, and how it is: 1; 0: it is missing itself, and will be found so; -errno. */
static int load_dir(struct run *run, int64_t id, struct object *ret_dir, struct file_stat *ret_stat)
{
	int fd = tree_dir(run->tree, id), got;

	if (fd < 0)
		return 0;
	got = object_by_id(run->tree->sql, id, ret_dir);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	got = file_stat(fd, "", ret_stat);
	return got ? got : 1;
}

/* Somebody set the directory's mtime: a name that comes or goes gives it the time of the change. */
static bool is_time_set(const struct file_stat *st)
{
	return file_ns(st->attr.mtime) != st->ctime;
}

static int refresh(struct run *run, struct object *dir, const struct file_stat *st)
{
	int order = file_time_cmp(st->attr.mtime, dir->attr.mtime), err;
	struct change_by by = change_by_local();

	if (!order)
		return 0;
	err = run_begin(run);
	if (err)
		return err;
	dir->attr.mtime = st->attr.mtime;
	/* Clients let a directory's time go back only when they are told so by a version; no entry about a name tells one. */
	if (order < 0 && is_time_set(st))
		return change_setattr(run->tree, &by, dir, KML_SET_MTIME);
	err = object_update(run->tree->sql, dir);
	if (err)
		return err;
	return order > 0 ? RUN_LATER : RUN_EARLIER;
}

int run_refresh_dir(struct run *run, int64_t id)
{
	struct object dir;
	struct file_stat st;
	int got = load_dir(run, id, &dir, &st);

	return got <= 0 ? got : refresh(run, &dir, &st);
}

int run_compare_and_refresh_dir(struct run *run, int64_t id)
{
	struct object dir;
	struct file_stat st;
	int got = load_dir(run, id, &dir, &st), is_changed;

	if (got <= 0)
		return got;
	is_changed = refresh(run, &dir, &st);
	got = is_changed < 0 ? is_changed : run_compare(run, &dir, &st, false);
	return got ? got : is_changed;
}

int run_journal_dir_time(struct run *run, int64_t id, int which)
{
	struct change_by by = change_by_local();
	struct object dir;
	int got;

	got = object_by_id(run->tree->sql, id, &dir);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (which == RUN_LATER)
		return change_dir_time(run->tree, &by, &dir);
	return change_setattr(run->tree, &by, &dir, KML_SET_MTIME);
}

int run_compare_dir(struct run *run, int64_t id)
{
	struct object dir;
	struct file_stat st;
	int got = load_dir(run, id, &dir, &st);

	return got <= 0 ? got : run_compare(run, &dir, &st, false);
}
