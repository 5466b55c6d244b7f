/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/object.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "cache/internal.h"

#define NAME_ROOM 48

static void object_name(uint64_t ino, uint32_t gen, char ret_name[NAME_ROOM])
{
	(void)snprintf(ret_name, NAME_ROOM, "%02x/%" PRIu64 ".%" PRIu32, (unsigned)(ino % 256), ino,
		       gen);
}

static uint64_t blocks(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

static void object_close(struct cache *cache, struct object *object)
{
	assert(!object->refs);
	list_del(&object->lru);
	if (object->inode) {
		(void)object_used(cache, object);
		object->inode->work->object = NULL;
		inode_rest(cache, object->inode);
	}
	cache->n_objects_open--;
	(void)close(object->fd);	/* what must last has been synced */
	free(object);
}

static int object_open(struct cache *cache, uint64_t ino, uint32_t gen, bool may_make,
		       bool *ret_is_new)
{
	char name[NAME_ROOM];
	int fd;

	object_name(ino, gen, name);
	*ret_is_new = false;
	fd = openat(cache->objects_dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT && may_make) {
		*ret_is_new = true;
		fd = openat(cache->objects_dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_CREAT,
			    0600);
	}
	return fd < 0 ? -errno : fd;
}

struct object *object_get(struct cache *cache, struct inode *inode, bool may_make, int *ret_err)
{
	struct object *object = inode->work->object;
	bool is_new;
	int fd;

	if (object) {
		if (!object->refs++)
			list_del(&object->lru);
		return object;
	}
	if (!inode->v.gen) {
		*ret_err = -ENOENT;
		return NULL;
	}
	*ret_err = inode_wake(cache, inode);
	if (*ret_err)
		return NULL;
	while (cache->n_objects_open >= OBJECTS_OPEN_MAX && !list_is_empty(&cache->object_lru))
		object_close(cache, list_first(&cache->object_lru, struct object, lru));
	object = calloc(1, sizeof(*object));
	if (!object) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	fd = object_open(cache, inode->ino, inode->v.gen, may_make, &is_new);
	if (fd < 0) {
		*ret_err = fd;
		free(object);
		return NULL;
	}
	*object = (struct object){
		.inode = inode,
		.ino = inode->ino,
		.gen = inode->v.gen,
		.refs = 1,
		.fd = fd,
		.used = is_new ? 0 : blocks(fd),
		/* What was in the log only has not been synced, nor has the directory. */
		.is_new = is_new || inode->work->synced_gen != inode->work->write_gen,
	};
	inode->work->object = object;
	cache->n_objects_open++;
	return object;
}

void object_put(struct cache *cache, struct object *object)
{
	if (!object)
		return;
	assert(object->refs > 0);
	if (--object->refs)
		return;
	if (object->inode)
		list_append(&cache->object_lru, &object->lru);
	else
		object_close(cache, object);
}

void object_leave(struct cache *cache, struct inode *inode)
{
	struct object *object = inode->work->object;

	if (!object)
		return;
	/* From now on object_unlink() counts, for nothing comes to a file that has been left. */
	(void)object_used(cache, object);
	inode->work->object = NULL;
	object->inode = NULL;
	if (!object->refs)
		object_close(cache, object);
}

/* got bytes were read; the rest are zeros. */
static int fill_up(ssize_t got, void *data, size_t len)
{
	if (got < 0)
		return (int)got;
	memset((char *)data + got, 0, len - (size_t)got);
	return 0;
}

int object_read(struct object *object, void *data, size_t len, uint64_t offset)
{
	return fill_up(fs_pread_full(object->fd, data, len, offset), data, len);
}

int object_read_now(struct object *object, void *data, size_t len, uint64_t offset)
{
	return fill_up(fs_pread_now(object->fd, data, len, offset), data, len);
}

int object_pipe_now(struct object *object, struct page_pipe *pages, size_t len, uint64_t offset)
{
	return page_pipe_fill(pages, object->fd, len, offset);
}

/* The directory that the file is in. */
static int dir_sync(struct cache *cache, uint64_t ino)
{
	AUTO_CLOSE int dirfd = -1;
	char dir[8];

	if (cache->no_sync)
		return 0;
	(void)snprintf(dir, sizeof(dir), "%02x", (unsigned)(ino % 256));
	dirfd = openat(cache->objects_dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd < 0 || fsync(dirfd) < 0 ? -EIO : 0;
}

int object_sync(struct cache *cache, struct object *object)
{
	if (FAULT("object.sync"))
		return -EIO;
	if (cache->no_sync)
		return 0;
	if (fdatasync(object->fd) < 0)
		return -EIO;
	return __atomic_exchange_n(&object->is_new, false, __ATOMIC_ACQ_REL) ? dir_sync(cache, object->ino) : 0;
}

int object_sync_inode(struct cache *cache, struct inode *inode)
{
	struct object *object;
	uint64_t write_gen;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	write_gen = inode->work->write_gen;
	object = object_get(cache, inode, false, &err);
	if (object) {
		pthread_mutex_unlock(&cache->lock);
		err = object_sync(cache, object);
		pthread_mutex_lock(&cache->lock);
		object_put(cache, object);
	} else if (err == -ENOENT) {
		err = 0;	/* nothing was ever put into it */
	}
	if (!err && inode->work->synced_gen < write_gen)
		inode->work->synced_gen = write_gen;
	else if (err)
		cache_fail_locked(cache, "a content file could not be synced", err);
	pthread_mutex_unlock(&cache->lock);
	return err;
}

void object_unlink(struct cache *cache, uint64_t ino, uint32_t gen)
{
	char name[NAME_ROOM];
	struct stat st;

	object_name(ino, gen, name);
	if (fstatat(cache->objects_dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		st.st_blocks = 0;
	/* What stays behind is removed at the next start. */
	if (unlinkat(cache->objects_dirfd, name, 0) == 0) {
		__atomic_sub_fetch(&cache->content_used, (int64_t)st.st_blocks * 512, __ATOMIC_RELAXED);
		return;
	}
	if (errno == ENOENT)
		return;
	log_warn("cache: content file %s/objects/%s cannot be removed, it takes up room until the next start: %s",
		 cache->dir, name, strerror(errno));
	pthread_mutex_lock(&cache->lock);
	cache->has_leftovers = true;
	pthread_mutex_unlock(&cache->lock);
}

int object_cut(struct cache *cache, uint64_t ino, uint32_t gen, uint64_t size)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	bool is_new;

	fd = object_open(cache, ino, gen, false, &is_new);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size <= size)
		return 0;
	if (FAULT("object.cut"))
		return -EIO;
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

int object_link(struct cache *cache, uint64_t ino, uint32_t gen, int dirfd, const char *name)
{
	char from[NAME_ROOM];

	object_name(ino, gen, from);
	return linkat(cache->objects_dirfd, from, dirfd, name, 0) < 0 ? -errno : 0;
}

int object_adopt(struct cache *cache, uint64_t ino, uint32_t gen, int dirfd, const char *name)
{
	char to[NAME_ROOM];
	struct stat st;

	object_name(ino, gen, to);
	if (linkat(dirfd, name, cache->objects_dirfd, to, 0) < 0 || fstatat(cache->objects_dirfd, to, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	__atomic_add_fetch(&cache->content_used, (int64_t)st.st_blocks * 512, __ATOMIC_RELAXED);
	return dir_sync(cache, ino);
}

int object_grow(struct cache *cache, uint64_t ino, uint32_t gen, uint64_t size)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	bool is_new;

	fd = object_open(cache, ino, gen, true, &is_new);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < size && ftruncate(fd, (off_t)size) < 0 && errno != EFBIG)
		return -errno;
	return 0;
}

int object_open_aside(struct cache *cache, uint64_t ino, uint32_t gen)
{
	char name[NAME_ROOM];
	int fd;

	object_name(ino, gen, name);
	fd = openat(cache->objects_dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int object_write(struct cache *cache, uint64_t ino, uint32_t gen, struct slice bytes, uint64_t offset)
{
	AUTO_CLOSE int fd = -1;
	bool is_new;

	fd = object_open(cache, ino, gen, true, &is_new);
	return fd < 0 ? fd : fs_pwrite_all(fd, bytes.data, bytes.len, offset);
}

uint64_t object_used(struct cache *cache, struct object *object)
{
	uint64_t used = blocks(object->fd), was = __atomic_exchange_n(&object->used, used, __ATOMIC_RELAXED);

	/* With two that write at once the older figure may stand until the next look: the sum is of what stands. */
	__atomic_add_fetch(&cache->content_used, (int64_t)(used - was), __ATOMIC_RELAXED);
	return used;
}

void object_note_read(struct cache *cache, uint64_t ino, uint32_t gen, int64_t at_s)
{
	const struct timespec times[2] = { { .tv_sec = at_s }, { .tv_nsec = UTIME_OMIT } };
	char name[NAME_ROOM];

	object_name(ino, gen, name);
	/* One that cannot be noted is evicted a little early. */
	(void)utimensat(cache->objects_dirfd, name, times, AT_SYMLINK_NOFOLLOW);
}

static int each_in(struct cache *cache, unsigned index, int (*fn)(void *arg, const struct object_file *file), void *arg)
{
	struct dirent *entry;
	char name[8];
	int fd, err = 0;
	DIR *dir;

	(void)snprintf(name, sizeof(name), "%02x", index);
	fd = openat(cache->objects_dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	while (!err && (entry = readdir(dir))) {
		struct object_file file;
		struct stat st;
		int end = 0;

		if (sscanf(entry->d_name, "%" SCNu64 ".%" SCNu32 "%n", &file.ino, &file.gen, &end) != 2 ||
		    entry->d_name[end])
			continue;
		/* It may have been removed since it was read. */
		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		file.size = (uint64_t)st.st_size;
		file.used = (uint64_t)st.st_blocks * 512;
		file.used_s = MAX((int64_t)st.st_atime, (int64_t)st.st_mtime);
		err = fn(arg, &file);
	}
	(void)closedir(dir);
	return err;
}

int object_each_file(struct cache *cache, int (*fn)(void *arg, const struct object_file *file), void *arg)
{
	int err = 0;

	for (unsigned i = 0; i < 256 && !err; i++)
		err = each_in(cache, i, fn, arg);
	return err;
}

struct each {
	int (*fn)(void *arg, uint64_t ino, uint32_t gen, uint64_t size, uint64_t used);
	void *arg;
};

static int each_one(void *arg, const struct object_file *file)
{
	const struct each *each = arg;

	return each->fn(each->arg, file->ino, file->gen, file->size, file->used);
}

int object_each(struct cache *cache,
		int (*fn)(void *arg, uint64_t ino, uint32_t gen, uint64_t size, uint64_t used),
		void *arg)
{
	struct each each = { fn, arg };

	return object_each_file(cache, each_one, &each);
}

int object_sync_all(struct cache *cache)
{
	return !cache->no_sync && syncfs(cache->objects_dirfd) < 0 ? -errno : 0;
}

int object_make_dirs(int objects_dirfd)
{
	for (unsigned i = 0; i < 256; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "%02x", i);
		if (mkdirat(objects_dirfd, name, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return fsync(objects_dirfd) < 0 ? -errno : 0;
}

void object_cache_release(struct cache *cache)
{
	while (!list_is_empty(&cache->object_lru))
		object_close(cache, list_first(&cache->object_lru, struct object, lru));
}
