/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/opened.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include "base/clock.h"
#include "base/mem.h"
#include "httpd/reconcile.h"

#define TRIES 5
#define MISSING_WAIT_US (300 * US_PER_MS)	/* each try: the watch finds where a file went */
#define RACY_US 25000				/* a file older than that is not "racy" any more */

static bool is_same(const struct file_stat *a, const struct file_stat *b)
{
	return file_id_equal(a->id, b->id) && a->attr.size == b->attr.size &&
	       a->ctime == b->ctime && !file_time_cmp(a->attr.mtime, b->attr.mtime);
}

static bool is_as_row(const struct object *object, const struct file_stat *st)
{
	return st->attr.type == KML_REG && file_id_equal(object->file, st->id) &&
	       object->attr.size == st->attr.size &&
	       !file_time_cmp(object->attr.mtime, st->attr.mtime) && object->ctime == st->ctime &&
	       !object->is_racy;
}

static int open_file(struct tree *tree, struct sql *sql, const struct name_row *row)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	AUTO_CLOSE int dirfd = tree_open_dir(tree, sql, row->dir);
	int fd;

	if (dirfd < 0)
		return dirfd;
	fd = openat(dirfd, row->name.text, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(dirfd, row->name.text, flags);
	return fd < 0 ? -errno : fd;
}

/* As opened_once(); -EAGAIN: its name is in *ret_item, and *ret_is_there says whether there is a file. */
static int try_open(struct opened *opened, opened_find *find, void *arg, struct reconcile_item *ret_item, bool *ret_is_there)
{
	struct name_row row;
	struct sql *sql;
	int err, fd = -1;

	err = tree_reader_get(opened->tree, &sql);
	if (err)
		return err;
	err = find(arg, sql, &opened->object);
	if (!err) {
		err = name_of(sql, opened->object.id, &row);
		err = err > 0 ? 0 : err ? err : -EUCLEAN;
	}
	if (!err)
		fd = open_file(opened->tree, sql, &row);
	tree_reader_put(opened->tree, sql);
	if (err)
		return err;
	*ret_item = (struct reconcile_item){ .dir = row.dir, .name = row.name };
	*ret_is_there = fd >= 0;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -EIO || fd == -EACCES)
		return fd;
	if (fd < 0)
		return -EAGAIN;
	err = file_stat(fd, "", &opened->was);
	if (!err && !is_as_row(&opened->object, &opened->was))
		err = -EAGAIN;
	if (err)
		(void)close(fd);	/* nothing was written */
	else
		opened->fd = fd;
	return err;
}

/* Until a write to the file gives it another time than it has. */
static void wait_racy(const struct file_stat *st)
{
	int64_t age_ns = file_ns(file_now()) - file_ns(st->attr.mtime);

	if (age_ns >= 0 && age_ns < RACY_US * 1000ll)
		(void)poll(NULL, 0, RACY_US / 1000 + 1 - (int)(age_ns / 1000000));	/* woken early: one more look */
}

int opened_once(struct opened *opened, opened_find *find, void *arg)
{
	struct reconcile_item item;
	bool is_there;

	return try_open(opened, find, arg, &item, &is_there);
}

int opened_open(struct opened *opened, opened_find *find, void *arg)
{
	struct reconcile_item item;
	uint64_t changes, position;
	bool is_there = false;
	int err = -EAGAIN;

	for (int i = 0; i < TRIES && err == -EAGAIN && !tree_is_stopping(opened->tree); i++) {
		position = tree_wait(opened->tree, UINT64_MAX, 0);
		err = try_open(opened, find, arg, &item, &is_there);
		if (err != -EAGAIN)
			break;
		/*
		 * A name that holds nothing may be half of a rename, and looking at it alone would make a removal of it:
		 * that is for the watch, which sees both halves.
		 */
		if (!is_there) {
			(void)tree_wait(opened->tree, position, clock_us() + MISSING_WAIT_US);
			continue;
		}
		wait_racy(&opened->was);
		err = reconcile_names(opened->tree, &item, 1, NULL, &changes);
		if (!err)
			err = -EAGAIN;
	}
	return err;
}

int opened_still_same(struct opened *opened)
{
	struct object object;
	struct file_stat st;
	struct sql *sql;
	int got;

	got = file_stat(opened->fd, "", &st);
	if (got)
		return got;
	if (is_same(&st, &opened->was))
		return 0;
	got = tree_reader_get(opened->tree, &sql);
	if (got)
		return got;
	got = object_by_id(sql, opened->object.id, &object);
	tree_reader_put(opened->tree, sql);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (object.gone || object.data_version != opened->object.data_version ||
	    !is_as_row(&object, &st))
		return -EAGAIN;
	opened->was = st;
	return 0;
}

void opened_close(struct opened *opened)
{
	mem_close_fd(&opened->fd);
	opened->fd = -1;
}
