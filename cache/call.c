/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"

#define DEPTH_MAX 256
#define PIECE (256u << 10)

/* ---- one operation ---- */

int call_init(struct call *call, struct cache *cache)
{
	*call = (struct call){ .cache = cache };
	return loop_new(&call->op.loop);
}

void call_release(struct call *call)
{
	loop_free(call->op.loop);
	call->op.loop = NULL;
}

static void call_done(struct cache_op *op)
{
	struct call *call = container_of(op, struct call, op);

	call->is_done = true;
	loop_stop(op->loop);
}

static struct cache_op *begin(struct call *call)
{
	call->op = (struct cache_op){
		.loop = call->op.loop, .done = call_done, .deadline_us = clock_us() + CALL_WAIT_S * US_PER_S,
	};
	call->is_done = false;
	return &call->op;
}

static int wait_for(struct call *call, int got)
{
	if (got != CACHE_WAITS)
		return got;
	while (!call->is_done) {
		int err = loop_run(call->op.loop);

		if (err)	/* it still has the operation: nothing else is left to do */
			abort();
	}
	return call->op.err;
}

int call_lookup(struct call *call, uint64_t dir, struct slice name)
{
	return wait_for(call, cache_lookup(call->cache, begin(call), dir, name));
}

int call_getattr(struct call *call, uint64_t ino)
{
	return wait_for(call, cache_getattr(call->cache, begin(call), ino));
}

int call_setattr(struct call *call, uint64_t ino, const struct attr_change *change)
{
	return wait_for(call, cache_setattr(call->cache, begin(call), ino, change, NULL));
}

int call_setacl(struct call *call, uint64_t ino, unsigned set, const struct acls *acls)
{
	return wait_for(call, cache_setacl(call->cache, begin(call), ino, set, acls));
}

int call_link(struct call *call, uint64_t ino, uint64_t dir, struct slice name)
{
	return wait_for(call, cache_link(call->cache, begin(call), ino, dir, name));
}

int call_rename(struct call *call, uint64_t from_dir, struct slice from, uint64_t to_dir, struct slice to)
{
	return wait_for(call, cache_rename(call->cache, begin(call), from_dir, from, to_dir, to));
}

static int read_some(struct call *call, uint64_t ino, uint64_t offset, void *data, uint32_t len)
{
	return wait_for(call, cache_read(call->cache, begin(call), ino, offset, data, len));
}

static int write_some(struct call *call, uint64_t ino, uint64_t offset, const void *data, uint32_t len)
{
	while (len) {
		int err = wait_for(call, cache_write(call->cache, begin(call), ino, offset, data, len, UNSTABLE));

		if (err)
			return err;
		data = (const char *)data + call->op.count;
		offset += call->op.count;
		len -= call->op.count;
	}
	return 0;
}

static int commit(struct call *call, uint64_t ino)
{
	return wait_for(call, cache_commit(call->cache, begin(call), ino));
}

/* ---- what is in a directory ---- */

struct names {
	char *v;		/* one after the other, each with its NUL */
	size_t len, cap;
	bool has_failed;
};

static bool names_take(void *arg, const struct cache_dirent *entry)
{
	struct names *names = arg;
	size_t need = names->len + entry->name.len + 1;

	if (entry->cookie <= 2)
		return true;
	if (need > names->cap) {
		char *v = realloc(names->v, 2 * need);

		names->has_failed = !v;
		if (!v)
			return false;
		names->v = v;
		names->cap = 2 * need;
	}
	memcpy(names->v + names->len, entry->name.data, entry->name.len);
	names->v[need - 1] = '\0';
	names->len = need;
	return true;
}

/* names->v is the caller's to free, whatever it gives. */
static int names_of(struct call *call, uint64_t dir, struct names *names)
{
	int err;

	*names = (struct names){ 0 };
	err = wait_for(call, cache_readdir(call->cache, begin(call), dir, 0, false, names_take, names));
	return !err && names->has_failed ? -ENOMEM : err;
}

static int remove_at(struct call *call, uint64_t dir, struct slice name, unsigned depth)
{
	struct names names;
	uint64_t ino;
	int err;

	err = call_lookup(call, dir, name);
	if (err)
		return err;
	ino = call->op.ino;
	if (call->op.attr.type != TYPE_DIR)
		return wait_for(call, cache_remove(call->cache, begin(call), dir, name));
	if (depth == DEPTH_MAX)
		return -ELOOP;
	err = names_of(call, ino, &names);
	for (size_t at = 0; at < names.len && !err; at += strlen(names.v + at) + 1)
		err = remove_at(call, ino, (struct slice){ names.v + at, strlen(names.v + at) }, depth + 1);
	free(names.v);
	return err ? err : wait_for(call, cache_rmdir(call->cache, begin(call), dir, name));
}

int call_remove_all(struct call *call, uint64_t dir, struct slice name)
{
	return remove_at(call, dir, name, 0);
}

/* ---- out of the cache ---- */

static bool is_zero(const char *data, size_t len)
{
	return !len || (!data[0] && !memcmp(data, data + 1, len - 1));
}

static int copy_content(struct call *call, uint64_t ino, uint64_t size, int fd)
{
	AUTO_FREE char *data = malloc(PIECE);
	uint64_t at = 0;
	int err = data ? 0 : -ENOMEM;

	while (!err && at < size) {
		err = read_some(call, ino, at, data, PIECE);
		if (err || !call->op.count)
			break;
		if (!is_zero(data, call->op.count))
			err = fs_pwrite_all(fd, data, call->op.count, at);
		at += call->op.count;
	}
	return !err && ftruncate(fd, (off_t)at) < 0 ? -errno : err;
}

static int copy_file(struct call *call, const struct attr *attr, int dirfd, const char *name)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : copy_content(call, attr->ino, attr->size, fd);
}

static int copy_symlink(struct call *call, uint64_t ino, int dirfd, const char *name)
{
	AUTO_FREE char *target = malloc(CACHE_TARGET_MAX + 1);
	int err = target ? 0 : -ENOMEM;

	if (!err)
		err = wait_for(call, cache_readlink(call->cache, begin(call), ino, target));
	if (err)
		return err;
	target[call->op.count] = '\0';
	return symlinkat(target, dirfd, name) < 0 ? -errno : 0;
}

static int copy_at(struct call *call, uint64_t ino, int dirfd, const char *name, unsigned depth);

static int copy_dir(struct call *call, uint64_t ino, int dirfd, const char *name, unsigned depth)
{
	AUTO_CLOSE int fd = -1;
	struct names names;
	int err;

	if (depth == DEPTH_MAX)
		return -ELOOP;
	if (mkdirat(dirfd, name, 0700) < 0)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = names_of(call, ino, &names);
	for (size_t at = 0; at < names.len && !err; at += strlen(names.v + at) + 1) {
		const char *one = names.v + at;

		err = call_lookup(call, ino, (struct slice){ one, strlen(one) });
		if (!err)
			err = copy_at(call, call->op.ino, fd, one, depth + 1);
	}
	free(names.v);
	return err;
}

static int copy_node(const struct attr *attr, int dirfd, const char *name)
{
	static const mode_t formats[] = { [TYPE_BLK] = S_IFBLK, [TYPE_CHR] = S_IFCHR, [TYPE_SOCK] = S_IFSOCK,
					  [TYPE_FIFO] = S_IFIFO };

	return mknodat(dirfd, name, formats[attr->type] | 0600, makedev(attr->major, attr->minor)) < 0 ? -errno : 0;
}

/* As far as it is ours to give away: who is not root keeps what he may. */
static int copy_attr(const struct attr *attr, int dirfd, const char *name)
{
	const struct timespec times[2] = { attr->atime, attr->mtime };

	if (fchownat(dirfd, name, attr->uid, attr->gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM)
		return -errno;
	if (attr->type != TYPE_LNK && fchmodat(dirfd, name, attr->mode & 07777, 0) < 0)
		return -errno;
	return utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_at(struct call *call, uint64_t ino, int dirfd, const char *name, unsigned depth)
{
	struct attr attr;
	int err;

	err = call_getattr(call, ino);
	if (err)
		return err;
	attr = call->op.attr;
	switch (attr.type) {
	case TYPE_REG:
		err = copy_file(call, &attr, dirfd, name);
		break;
	case TYPE_DIR:
		err = copy_dir(call, ino, dirfd, name, depth);
		break;
	case TYPE_LNK:
		err = copy_symlink(call, ino, dirfd, name);
		break;
	default:
		err = copy_node(&attr, dirfd, name);
	}
	return err ? err : copy_attr(&attr, dirfd, name);
}

int call_copy_out(struct call *call, uint64_t ino, int dirfd, const char *name)
{
	return copy_at(call, ino, dirfd, name, 0);
}

/* ---- once more ---- */

int call_touch_content(struct call *call, uint64_t ino)
{
	const struct attr_change empty = { .set = SET_SIZE };
	char byte;
	int err;

	err = read_some(call, ino, 0, &byte, 1);
	if (err)
		return err;
	if (!call->op.count)
		return call_setattr(call, ino, &empty);
	err = write_some(call, ino, 0, &byte, 1);
	return err ? err : commit(call, ino);
}

static int copy_over(struct call *call, uint64_t from, uint64_t size, uint64_t to)
{
	AUTO_FREE char *data = malloc(PIECE);
	const struct attr_change whole = { .set = SET_SIZE, .size = size };
	int err = data ? call_setattr(call, to, &whole) : -ENOMEM;

	for (uint64_t at = 0; !err && at < size;) {
		uint32_t got;

		err = read_some(call, from, at, data, PIECE);
		got = call->op.count;
		if (err || !got)
			break;
		if (!is_zero(data, got))
			err = write_some(call, to, at, data, got);
		at += got;
	}
	return err ? err : commit(call, to);
}

int call_make_anew(struct call *call, uint64_t ino, uint64_t dir, struct slice name)
{
	struct attr_change change = { .set = SET_MODE | SET_UID | SET_GID };
	struct attr attr;
	uint64_t to;
	char text[64];
	struct slice beside;
	int err;

	err = call_getattr(call, ino);
	if (err)
		return err;
	attr = call->op.attr;
	if (attr.type != TYPE_REG)
		return -EISDIR;
	change.mode = attr.mode;
	change.uid = attr.uid;
	change.gid = attr.gid;
	(void)snprintf(text, sizeof(text), ".izo-again-%llu", (unsigned long long)ino);
	beside = (struct slice){ text, strlen(text) };
	err = wait_for(call, cache_create(call->cache, begin(call), dir, beside, CREATE_GUARDED, &change, NULL));
	if (err)
		return err;
	to = call->op.ino;
	err = copy_over(call, ino, attr.size, to);
	if (!err)
		err = call_setattr(call, to, &(struct attr_change){ .set = SET_MTIME, .mtime = attr.mtime });
	if (!err)
		err = call_rename(call, dir, beside, dir, name);
	if (err)
		(void)wait_for(call, cache_remove(call->cache, begin(call), dir, beside));	/* the first error counts */
	return err;
}
