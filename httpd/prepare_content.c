/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new content in stage/: what the object has, or nothing, and the bytes that a STORE brings. */
#include "httpd/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "base/fs.h"
#include "httpd/upload.h"

/* ---- the bytes ---- */

static uint64_t bytes_of(const struct kml_store *store)
{
	uint64_t sum = 0;

	for (u_int i = 0; i < store->ranges.ranges_len; i++)
		sum += store->ranges.ranges_val[i].length;
	return sum;
}

static bool is_whole(const struct kml_store *store)
{
	return store->ranges.ranges_len == 1 && !store->ranges.ranges_val[0].offset &&
	       store->ranges.ranges_val[0].length == store->size;
}

/* Old bytes up to keep, then zeros up to size; gaps are not written. */
static int cut_and_extend(int fd, uint64_t keep, uint64_t size)
{
	uint64_t has;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	has = (uint64_t)st.st_size;
	/* Too large for this file system shows before anything is lost. */
	if (size > has && ftruncate(fd, (off_t)size) < 0)
		return -errno;
	if (keep < has && ftruncate(fd, (off_t)keep) < 0)
		return -errno;
	return (keep < has || size < has) && ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

/* The file that was sent ahead.  -ENOENT: it is not (all) there. */
static int open_upload(struct segment *segment, const struct kml_store *store)
{
	char name[KML_KEY_MAX + 32];
	struct stat st;
	int fd;

	upload_seal(segment->tree, segment->client, store->content.kml_content_u.key, name);
	fd = openat(segment->tree->stage_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes_of(store)) {
		(void)close(fd);
		return -ENOENT;
	}
	return fd;
}

int prepare_put_ranges(struct segment *segment, const struct kml_store *store, uint64_t keep, int to)
{
	AUTO_CLOSE int from = -1;
	uint64_t at = 0;
	int err;

	if (store->content.where == KML_NOWHERE && store->ranges.ranges_len)
		return -EBADMSG;
	if (store->content.where == KML_STAGED) {
		from = open_upload(segment, store);
		if (from < 0)
			return from;
	}
	err = cut_and_extend(to, keep, store->size);
	for (u_int i = 0; !err && i < store->ranges.ranges_len; i++) {
		const struct kml_range *r = &store->ranges.ranges_val[i];

		if (from < 0)
			err = fs_pwrite_all(to, store->content.kml_content_u.bytes.bytes_val + at,
					    r->length, r->offset);
		else
			err = file_copy(from, at, to, r->offset, r->length);
		at += r->length;
	}
	return err;
}

/* ---- of an object that is there ---- */

/* The object's present file, which must be what the tables say.  -EAGAIN: it is not. */
static int open_present(struct segment *segment, const struct object *object, int *ret_dirfd,
			struct name_row *ret_row)
{
	struct tree *tree = segment->tree;
	struct file_stat st;
	int got, fd;

	got = name_of(tree->sql, object->id, ret_row);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	*ret_dirfd = tree_dir(tree, ret_row->dir);
	if (*ret_dirfd < 0)
		return prepare_is_transient(*ret_dirfd) ? *ret_dirfd : -EAGAIN;
	fd = openat(*ret_dirfd, ret_row->name.text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES || prepare_is_transient(-errno) ? -errno : -EAGAIN;
	got = file_stat(fd, "", &st);
	if (!got && (!file_id_equal(st.id, object->file) || st.attr.size != object->attr.size ||
		     file_time_cmp(st.attr.mtime, object->attr.mtime)))
		got = -EAGAIN;
	if (got) {
		(void)close(fd);
		return got;
	}
	return fd;
}

/* Bytes below keep that the ranges do not cover come from the old version. */
static int copy_old(int from, int to, const struct kml_store *store, uint64_t old_size)
{
	uint64_t keep = MIN(MIN(store->keep_size, old_size), store->size), at = 0;
	int err = 0;

	for (u_int i = 0; !err && i <= store->ranges.ranges_len && at < keep; i++) {
		const struct kml_range *r =
			i < store->ranges.ranges_len ? &store->ranges.ranges_val[i] : NULL;
		uint64_t end = r ? MIN(r->offset, keep) : keep;

		if (end > at)
			err = fs_copy_range(from, to, at, end - at);
		if (r)
			at = r->offset + r->length;
	}
	return err;
}

/* Where the new version is made: an empty file, or the upload itself when it is all of it. */
static int open_new(struct segment *segment, uint32_t i, const struct kml_store *store, const char *name)
{
	int dirfd = segment->tree->stage_fd;
	char upload[KML_KEY_MAX + 32];
	struct stat st;
	int fd;

	(void)file_delete(dirfd, name);		/* left by a crash; making it tells if it stays */
	if (store->content.where == KML_STAGED && is_whole(store)) {
		upload_seal(segment->tree, segment->client, store->content.kml_content_u.key,
			    upload);
		if (fstatat(dirfd, upload, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != store->size)
			return -ENOENT;
		if (renameat(dirfd, upload, dirfd, name) < 0)
			return -errno;
		segment->plan[i].is_upload = true;
		segment->plan[i].is_staged = true;	/* to be put back, whatever happens */
		fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	} else {
		fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	return fd < 0 ? -errno : fd;
}

int prepare_content(struct segment *segment, uint32_t i, const struct object *object, const struct kml_store *store, const char *name)
{
	struct plan *plan = &segment->plan[i];
	AUTO_CLOSE int old = -1;
	AUTO_CLOSE int fd = -1;
	struct kml_attr attr = object->attr;
	struct file_stat before, after;
	struct name_row row;
	int dirfd, err;

	old = open_present(segment, object, &dirfd, &row);
	if (old == -EAGAIN) {
		err = segment_look(segment, row.dir, name_slice(&row.name));
		return err ? err : -EAGAIN;
	}
	if (old < 0)
		return old;
	fd = open_new(segment, i, store, name);
	if (fd < 0)
		return fd;
	plan->is_staged = true;
	err = file_stat(old, "", &before);
	if (!err && !plan->is_upload)
		err = copy_old(old, fd, store, object->attr.size);
	if (!err && !plan->is_upload)
		err = prepare_put_ranges(segment, store, store->size, fd);
	if (!err)
		err = FAULT("prepare.content");
	if (err)
		return err;
	/* A version is never a mixture: whoever wrote while we copied has made another one. */
	err = file_stat(old, "", &after);
	if (!err && (before.ctime != after.ctime || before.attr.size != after.attr.size)) {
		err = segment_look(segment, row.dir, name_slice(&row.name));
		return err ? err : -EAGAIN;
	}
	file_copy_xattrs(old, fd);
	attr.mtime = store->mtime;
	err = file_set_fd(fd, &attr, SET_ALL);
	return err ? err : file_stat(fd, "", &plan->staged);
}

/* ---- of one that this segment makes ---- */

int prepare_fill_created(struct segment *segment, uint32_t i, uint32_t create)
{
	const struct kml_store *store = &segment->records[i].body.kml_body_u.store;
	struct plan *made = &segment->plan[create];
	struct kml_attr attr = { .mode = made->staged.attr.mode, .mtime = store->mtime };
	AUTO_CLOSE int fd = -1;
	char name[64];
	int err;

	segment_stage_name(segment->client, segment->records[create].seq, name);
	fd = openat(segment->tree->stage_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES) {
		/* A read-only file of our own, and we are not root. */
		err = file_set(segment->tree->stage_fd, name, made->staged.id,
			       &(struct kml_attr){ .mode = 0600 }, KML_SET_MODE);
		if (err)
			return err;
		fd = openat(segment->tree->stage_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	/* keep 0: what may be in it already was put there for an attempt that was cut short. */
	err = prepare_put_ranges(segment, store, 0, fd);
	if (!err)
		err = file_set_fd(fd, &attr, KML_SET_MODE | KML_SET_MTIME);
	if (!err)
		err = file_stat(fd, "", &made->staged);
	if (err)
		return err;
	segment->plan[i].is_into = true;
	segment->plan[i].into = create;
	segment->plan[i].staged = made->staged;
	return 0;
}
