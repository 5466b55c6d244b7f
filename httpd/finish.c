/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "httpd/facl.h"

#define FSYNC_MAX 8	/* directories that are synced one by one */

/* 1: owner, mode and lists are as the row says; dirfd, name: as facl_read(). */
static int has_attrs(struct tree *tree, const struct object *object, const struct file_stat *st,
		     int dirfd, const char *name)
{
	const struct kml_attr *a = &object->attr, *b = &st->attr;
	struct buf want, has;
	int err = 0, is_so = a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;

	if (!is_so || !tree->has_acls)
		return is_so;
	buf_init(&want, 0);
	buf_init(&has, 0);
	err = object_acls(tree->sql, object, &want);
	/* Not to be read: whoever looks at it next finds out why. */
	is_so = !err && !facl_read(dirfd, name, object->attr.type, &has) && want.len == has.len &&
		(!want.len || !memcmp(want.data, has.data, want.len));
	buf_release(&want);
	buf_release(&has);
	return err ? err : is_so;
}

/*
 * The row learns what the file is now; or, when somebody else was there meanwhile, that it has to
 * be looked at.
 */
static int finish_file(struct segment *segment, int64_t id)
{
	struct tree *tree = segment->tree;
	struct object object;
	struct file_stat st;
	struct name_row row;
	int dirfd, got;

	got = object_by_id(tree->sql, id, &object);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (object.gone || id == ROOT_ID)
		return 0;
	got = name_of(tree->sql, id, &row);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	dirfd = tree_dir(tree, row.dir);
	got = dirfd < 0 ? dirfd : file_stat(dirfd, row.name.text, &st);
	if (!got && disk_is_file(&st, &object)) {
		object.ctime = st.ctime;
		object.file_nlink = st.attr.nlink;
		object.attr.atime = st.attr.atime;
		object.is_racy = false;
		got = has_attrs(tree, &object, &st, dirfd, row.name.text);
		if (got < 0)
			return got;
		if (got && object.attr.size == st.attr.size &&
		    (object.attr.type == KML_DIR ||
		     !file_time_cmp(object.attr.mtime, st.attr.mtime)))
			return object_update(tree->sql, &object);
	}
	object.ctime = 0;
	got = object_update(tree->sql, &object);
	return got ? got : segment_look(segment, row.dir, name_slice(&row.name));
}

/* Whatever fails here is only a directory's time: the names are what counts. */
static int finish_dir(struct segment *segment, int64_t id, int *ret_fd)
{
	struct object dir;
	struct file_stat st;
	struct name_row row;
	int got, fd;

	*ret_fd = -1;
	got = object_by_id(segment->tree->sql, id, &dir);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (dir.gone)
		return 0;
	fd = tree_dir(segment->tree, id);
	if (fd < 0)
		return 0;
	*ret_fd = fd;
	(void)file_set_fd(fd, &dir.attr, KML_SET_MTIME);
	got = file_stat(fd, "", &st);
	if (got)
		return got;
	/* As the file system took it. */
	dir.attr.mtime = st.attr.mtime;
	dir.ctime = st.ctime;
	dir.file_nlink = st.attr.nlink;
	got = has_attrs(segment->tree, &dir, &st, fd, "");
	if (got < 0)
		return got;
	if (got)
		return object_update(segment->tree->sql, &dir);
	dir.ctime = 0;		/* somebody else was there meanwhile */
	got = object_update(segment->tree->sql, &dir);
	if (got || id == ROOT_ID)
		return got ? got : segment_look(segment, ROOT_ID, (struct slice){ ".", 1 });
	got = name_of(segment->tree->sql, id, &row);
	return got > 0 ? segment_look(segment, row.dir, name_slice(&row.name))
	       : got   ? got
		       : -EUCLEAN;
}

struct finish {
	struct segment *segment;
	int64_t dirs[FSYNC_MAX];
	size_t n_dirs;
	bool is_files;		/* which of the two rounds */
	int err;
};

static void finish_one(struct finish *finish, struct touched *touched)
{
	int fd;

	if (finish->err)
		return;
	if (finish->is_files) {
		if (touched->is_file)
			finish->err = finish_file(finish->segment, touched->id);
		return;
	}
	if (!touched->is_dir_time)
		return;
	finish->err = finish_dir(finish->segment, touched->id, &fd);
	if (fd < 0)
		return;
	if (finish->n_dirs < FSYNC_MAX)
		finish->dirs[finish->n_dirs] = touched->id;
	finish->n_dirs++;
}

static void finish_all(struct finish *finish)
{
	const struct hash_table *table = &finish->segment->touched;

	for (size_t i = 0; i <= table->mask && table->bucket; i++) {
		for (struct hash_node *node = table->bucket[i]; node; node = node->next) {
			tree_trim_dirs(finish->segment->tree);
			finish_one(finish, container_of(node, struct touched, node));
		}
	}
}

static int sync_all(struct segment *segment, const struct finish *finish)
{
	int fd, err = FAULT("step.sync");

	if (err)
		return err;
	if (segment->needs_syncfs || finish->n_dirs > FSYNC_MAX)
		return syncfs(segment->tree->root_fd) < 0 ? -errno : 0;
	for (size_t i = 0; i < finish->n_dirs; i++) {
		fd = tree_dir(segment->tree, finish->dirs[i]);
		if (fd < 0)
			return syncfs(segment->tree->root_fd) < 0 ? -errno : 0;
		if (fsync(fd) < 0)
			return -errno;
	}
	return 0;
}

int step_finish(struct segment *segment)
{
	struct finish finish = { .segment = segment };

	/*
	 * Directories first: a directory that was made here is a file that was touched, too, and
	 * its time is part of that.
	 */
	finish_all(&finish);
	finish.is_files = true;
	finish_all(&finish);
	if (finish.err)
		return finish.err;
	finish.err = FAULT("step.finish");
	if (finish.err)
		return finish.err;
	finish.err = sync_all(segment, &finish);
	if (finish.err == -EIO) {
		/* A second try might say that all is well when it is not. */
		segment->tree->broken = finish.err;
		log_error("%s: cannot be synced; changes are refused until a restart",
			  segment->tree->path);
	}
	return finish.err;
}
