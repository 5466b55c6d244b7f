/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "base/log.h"
#include "httpd/facl.h"

enum how disk_how(const struct segment *segment, uint32_t i)
{
	if (!segment->is_redo || i > segment->done)
		return HOW_DO;
	return i == segment->done ? HOW_MAYBE : HOW_DONE;
}

int disk_classify(int err)
{
	switch (err) {
	case -ENOENT:
	case -EEXIST:
	case -ESTALE:
	case -ENOTDIR:
	case -EISDIR:
	case -ENOTEMPTY:
	case -ELOOP:
	case -EXDEV:
		return STEP_SURPRISE;
	case -ENOSPC:
	case -EIO:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return STEP_RETRY;
	default:
		return err;
	}
}

bool disk_is_file(const struct file_stat *st, const struct object *object)
{
	return st->attr.type == object->attr.type && file_id_equal(st->id, object->file);
}

bool disk_is_as_known(const struct file_stat *st, const struct object *object)
{
	return disk_is_file(st, object) &&
	       (object->attr.type != KML_REG ||
		(st->attr.size == object->attr.size && !file_time_cmp(st->attr.mtime, object->attr.mtime)));
}

/* The name holds the object's file, and nobody has changed what is in it. */
static int check_file(struct segment *segment, int dirfd, const char *name,
		      const struct object *object)
{
	struct file_stat st;
	int err = file_stat(dirfd, name, &st);

	if (err)
		return err;
	if (!disk_is_as_known(&st, object))
		return -ESTALE;
	if (object->attr.type != KML_REG)
		return 0;
	/* What this segment did to it has changed its ctime. */
	if (object->ctime && object->ctime != st.ctime && !segment_is_touched(segment, object->id))
		return -ESTALE;
	return 0;
}

int disk_place(struct segment *segment, uint64_t seq, int64_t dir, const char *name, enum how how)
{
	int dirfd = tree_dir(segment->tree, dir);
	char staged[64];
	struct file_stat st;

	if (dirfd < 0)
		return dirfd;
	segment_stage_name(segment->client, seq, staged);
	if (how == HOW_MAYBE && file_stat(segment->tree->stage_fd, staged, &st) == -ENOENT)
		return 0;
	return file_rename_new(segment->tree->stage_fd, staged, dirfd, name);
}

/* The directory of one of the object's names: its descriptor, which is the tree's, or -errno. */
static int place_of(struct tree *tree, const struct object *object, struct name_row *ret_row)
{
	int got = name_of(tree->sql, object->id, ret_row);

	if (got <= 0)
		return got ? got : -EUCLEAN;
	return tree_dir(tree, ret_row->dir);
}

int disk_link(struct segment *segment, const struct object *object, int64_t dir, const char *name,
	      enum how how)
{
	struct name_row row;
	struct file_stat st;
	int fd, dirfd, got;

	fd = place_of(segment->tree, object, &row);
	dirfd = fd < 0 ? fd : tree_dir(segment->tree, dir);
	if (dirfd < 0)
		return dirfd;
	if (how == HOW_MAYBE && !file_stat(dirfd, name, &st) && disk_is_file(&st, object))
		return 0;
	got = check_file(segment, fd, row.name.text, object);
	if (got)
		return got;
	if (linkat(fd, row.name.text, dirfd, name, 0) < 0)
		return -errno;
	got = file_stat(dirfd, name, &st);
	if (!got && !disk_is_file(&st, object)) {
		/* ours, and of a file that somebody just put there */
		(void)unlinkat(dirfd, name, 0);
		got = -ESTALE;
	}
	return got;
}

int disk_remove(struct segment *segment, uint64_t seq, const struct object *object,
		const struct name_row *row, enum how how)
{
	int dirfd = tree_dir(segment->tree, row->dir), got;

	if (dirfd < 0)
		return dirfd;
	got = how == HOW_MAYBE ? swap_was_taken_away(segment, seq, object, row) : 0;
	if (got)
		return MIN(got, 0);
	got = check_file(segment, dirfd, row->name.text, object);
	if (!got)
		got = swap_take_away(segment, seq, object, row);
	return got == -EXDEV ? -EPERM : got;
}

int disk_rmdir(struct segment *segment, const struct object *object, const struct name_row *row,
	       enum how how)
{
	int dirfd = tree_dir(segment->tree, row->dir);
	struct file_stat st;
	int err;

	if (dirfd < 0)
		return dirfd;
	err = file_stat(dirfd, row->name.text, &st);
	if (err == -ENOENT && how == HOW_MAYBE)
		return 0;
	if (!err && !disk_is_file(&st, object))
		err = -ESTALE;
	if (!err && unlinkat(dirfd, row->name.text, AT_REMOVEDIR) < 0)
		err = -errno;
	return err;
}

int disk_rename(struct segment *segment, uint64_t seq, const struct facts *f, int64_t dir, const char *name,
		bool is_over, enum how how)
{
	int from = tree_dir(segment->tree, f->source.dir), to = tree_dir(segment->tree, dir);
	const char *from_name = f->source.name.text;
	struct file_stat st;
	int err;

	if (from < 0 || to < 0)
		return from < 0 ? from : to;
	if (how == HOW_MAYBE && is_over && swap_finish_remove(segment, seq, f) < 0)
		return -EINPROGRESS;
	if (how == HOW_MAYBE && !file_stat(to, name, &st) && disk_is_file(&st, &f->object) &&
	    (file_stat(from, from_name, &st) || !disk_is_file(&st, &f->object)))
		return is_over ? swap_finish_over(segment, seq, f, from) : 0;
	err = file_stat(from, from_name, &st);
	if (!err && !disk_is_file(&st, &f->object))
		err = -ESTALE;
	if (!err && is_over)
		err = check_file(segment, to, name, &f->replaced);
	if (!err)
		err = is_over ? swap_rename_over(segment, seq, f, from, to, name) : file_rename_new(from, from_name, to, name);
	return err == -EXDEV ? -EPERM : err;
}

/*
 * Leave in rows the names that do not have the new content yet; each must be as the tables
 * say.  *ret_done: so many have it, from before a crash.  Then one that somebody changed meanwhile
 * is left to him, and looked at later: the record is done, and cannot be undone.
 */
static int names_to_store(struct segment *segment, const struct object *object,
			  const struct plan *plan, enum how how, struct name_row *rows,
			  size_t *io_n, size_t *ret_done)
{
	struct object old = *object;
	size_t n = 0, done = 0;
	struct file_stat st;
	int dirfd, err;

	for (size_t i = 0; how == HOW_MAYBE && i < *io_n; i++) {
		dirfd = tree_dir(segment->tree, rows[i].dir);
		if (dirfd >= 0 && !file_stat(dirfd, rows[i].name.text, &st) &&
		    file_id_equal(st.id, plan->staged.id))
			done++;
		else
			rows[n++] = rows[i];
	}
	if (how == HOW_MAYBE)
		*io_n = n;
	if (done)
		old.ctime = 0;	/* it has lost names since */
	n = 0;
	for (size_t i = 0; i < *io_n; i++) {
		dirfd = tree_dir(segment->tree, rows[i].dir);
		err = dirfd < 0 ? dirfd : check_file(segment, dirfd, rows[i].name.text, &old);
		if (!err)
			rows[n++] = rows[i];
		else if (!done || disk_classify(err) != STEP_SURPRISE)
			return err;
		else if (segment_look(segment, rows[i].dir, name_slice(&rows[i].name)))
			return -ENOMEM;
	}
	*io_n = n;
	*ret_done = done;
	return 0;
}

/* ---- access control lists ---- */

#define ROOM_MIN (1u << 20)

/* -E2BIG: ext4 says that the disk is full when a list is too long for it; waiting would be for nothing. */
static int set_acls(struct tree *tree, int fd, const struct object *object, struct slice acls)
{
	int err = facl_set(fd, object->attr.type, object->attr.mode, acls);

	return err == -ENOSPC && !tree_has_room(tree, ROOM_MIN) ? -E2BIG : err;
}

/* A staged file has the lists of the file it was made from; a record since then may have set others. */
static int staged_acls(struct segment *segment, const char *staged, const struct object *object)
{
	struct tree *tree = segment->tree;
	AUTO_CLOSE int fd = -1;
	struct buf want, has;
	int err;

	if (!tree->has_acls)
		return 0;
	buf_init(&want, 0);
	buf_init(&has, 0);
	err = object_acls(tree->sql, object, &want);
	if (!err)
		err = facl_read(tree->stage_fd, staged, KML_REG, &has);
	if (!err && (want.len != has.len || (want.len && memcmp(want.data, has.data, want.len)))) {
		fd = openat(tree->stage_fd, staged, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		err = fd < 0 ? -errno
			     : set_acls(tree, fd, object, (struct slice){ want.data, want.len });
		segment->needs_syncfs = true;
	}
	buf_release(&want);
	buf_release(&has);
	return err;
}

/*
 * The new content takes the place of the old under each of these names.  -EINPROGRESS: under some
 * only.
 */
int disk_store(struct segment *segment, uint64_t seq, const struct object *object, struct name_row *rows, size_t n,
	       struct plan *plan, enum how how)
{
	struct tree *tree = segment->tree;
	char staged[64], second[72];
	size_t done = 0;
	int err = 0;

	segment_stage_name(segment->client, seq, staged);
	snprintf(second, sizeof(second), "%s+", staged);
	if (how == HOW_MAYBE && n) {
		err = swap_keep_what_came_out(segment, staged, object, &rows[0], plan);
		if (!err)
			err = swap_keep_what_came_out(segment, second, object, &rows[0], plan);
		if (err)
			return err;
		(void)unlinkat(tree->stage_fd, second, 0);	/* ours, or the old content */
	}
	err = names_to_store(segment, object, plan, how, rows, &n, &done);
	if (err || !n)
		return err;
	/* Attributes that were set since it was staged. */
	if (object->attr.mode != plan->staged.attr.mode ||
	    object->attr.uid != plan->staged.attr.uid ||
	    object->attr.gid != plan->staged.attr.gid) {
		err = file_set(tree->stage_fd, staged, plan->staged.id, &object->attr,
			       KML_SET_MODE | KML_SET_UID | KML_SET_GID);
		segment->needs_syncfs = true;
	}
	if (!err)
		err = staged_acls(segment, staged, object);
	for (size_t i = 0; !err && i < n; i++) {
		const char *from = i + 1 < n ? second : staged;

		if (from == second) {
			/* left by a crash; the next call tells */
			(void)unlinkat(tree->stage_fd, second, 0);
			if (linkat(tree->stage_fd, staged, tree->stage_fd, second, 0) < 0)
				err = -errno;
		}
		if (!err)
			err = swap_store_at(segment, from, object, &rows[i], plan);
		if (err && done + i)
			return -EINPROGRESS;
	}
	if (err && err != -EINPROGRESS)
		(void)unlinkat(tree->stage_fd, second, 0);	/* there may be none */
	return err;
}

int disk_setattr(struct segment *segment, struct object *object, const struct kml_attr *attr,
		 unsigned set)
{
	struct tree *tree = segment->tree;
	const char *name = "";
	struct name_row row;
	struct file_stat st;
	int dirfd = tree->root_fd, got;

	if (object->id != ROOT_ID) {
		dirfd = place_of(tree, object, &row);
		if (dirfd < 0)
			return dirfd;
		name = row.name.text;
		got = file_set(dirfd, name, object->file, attr, set);
	} else {
		got = file_set_fd(dirfd, attr, set);
	}
	segment->needs_syncfs = true;
	if (!got)
		got = file_stat(dirfd, name, &st);
	if (got)
		return got;
	/* As the file system took it: its clock may be coarser. */
	object->attr.mode = st.attr.mode;
	object->attr.uid = st.attr.uid;
	object->attr.gid = st.attr.gid;
	object->attr.atime = st.attr.atime;
	if (set & KML_SET_MTIME)
		object->attr.mtime = st.attr.mtime;
	return 0;
}

static int open_object(struct segment *segment, const struct object *object)
{
	struct tree *tree = segment->tree;
	struct file_stat st;
	struct name_row row;
	int dirfd, fd, got;

	if (object->id == ROOT_ID) {
		fd = openat(tree->root_fd, ".", O_PATH | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	dirfd = place_of(tree, object, &row);
	if (dirfd < 0)
		return dirfd;
	fd = openat(dirfd, row.name.text, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	got = file_stat(fd, "", &st);
	if (!got && !disk_is_file(&st, object))
		got = -ESTALE;
	if (got)
		(void)close(fd);	/* nothing was done by it */
	return got ? got : fd;
}

int disk_setacl(struct segment *segment, struct object *object, struct slice acls)
{
	AUTO_CLOSE int fd = open_object(segment, object);
	struct file_stat st;
	int err;

	if (fd < 0)
		return fd;
	err = FAULT("step.setacl");
	if (!err)
		err = set_acls(segment->tree, fd, object, acls);
	segment->needs_syncfs = true;
	if (!err)
		err = file_stat(fd, "", &st);
	if (!err)
		object->attr.mode = st.attr.mode;
	return err;
}

/*
 * Which file a directory that came back is, says the name of a file in stage/: going through the
 * records again after a crash has to know it, and a later record may have moved it away by then.
 */
static void revived_prefix(const struct segment *segment, int64_t id, char prefix[64])
{
	snprintf(prefix, 64, "revived-%016llx-%lld-", (unsigned long long)segment->mark,
		 (long long)id);
}

static int note_revived(struct segment *segment, int64_t id, struct file_id file)
{
	char prefix[64], name[128];
	int fd;

	segment->has_revived = true;
	revived_prefix(segment, id, prefix);
	snprintf(name, sizeof(name), "%s%llu-%lld", prefix, (unsigned long long)file.ino,
		 (long long)file.btime);
	fd = openat(segment->tree->stage_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	(void)close(fd);	/* only its name says something */
	return 0;
}

struct revived_search {
	char prefix[64];
	struct file_id file;
};

static int find_revived(void *arg, const char *name)
{
	struct revived_search *search = arg;
	size_t len = strlen(search->prefix);
	unsigned long long ino;
	long long btime;

	if (strncmp(name, search->prefix, len) ||
	    sscanf(name + len, "%llu-%lld", &ino, &btime) != 2)
		return 0;
	search->file = (struct file_id){ ino, btime };
	return 1;
}

/* Its own, not what it has inherited. */
static int revived_acls(struct segment *segment, int fd, const struct object *dir)
{
	struct buf acls;
	int err;

	if (!segment->tree->has_acls)
		return 0;
	buf_init(&acls, 0);
	err = object_acls(segment->tree->sql, dir, &acls);
	if (!err)
		err = set_acls(segment->tree, fd, dir, (struct slice){ acls.data, acls.len });
	buf_release(&acls);
	return err;
}

int disk_revive(struct segment *segment, struct object *dir, int64_t parent, const char *name,
		enum how how)
{
	AUTO_CLOSE int fd = -1;
	struct revived_search search;
	struct file_stat st;
	int dirfd, err;

	if (how == HOW_DONE) {
		revived_prefix(segment, dir->id, search.prefix);
		err = file_each(segment->tree->stage_fd, find_revived, &search);
		if (err > 0)
			dir->file = search.file;
		segment->has_revived = true;
		return err < 0 ? err : err ? 0 : -EUCLEAN;
	}
	dirfd = tree_dir(segment->tree, parent);
	if (dirfd < 0)
		return dirfd;
	if (mkdirat(dirfd, name, 0700) < 0 && (errno != EEXIST || how != HOW_MAYBE))
		return -errno;
	err = FAULT("step.revive");
	fd = err ? err : file_open_dir(dirfd, name, segment->tree->dev);
	err = fd < 0 ? fd
		     : file_set_fd(fd, &dir->attr,
				   KML_SET_MODE | KML_SET_UID | KML_SET_GID | KML_SET_ATIME |
					   KML_SET_MTIME);
	if (!err)
		err = revived_acls(segment, fd, dir);
	if (!err)
		err = file_stat(fd, "", &st);
	if (!err)
		err = note_revived(segment, dir->id, st.id);
	if (err) {
		/* not empty: then it is somebody's, and will be found */
		(void)unlinkat(dirfd, name, AT_REMOVEDIR);
		return err;
	}
	dir->file = st.id;
	return 0;
}
