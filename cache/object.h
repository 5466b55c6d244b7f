/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * object: content files, objects/XX/INO.GEN, and their descriptors.
 *
 * An open one is counted; those that nobody uses stay open in a bounded LRU.  A file whose GEN the
 * inode has left lives on until its last user puts it.
 *
 * Threads: all calls under cache->lock unless said otherwise.  Errors: 0 or -errno.
 */
#ifndef CACHE_OBJECT_H
#define CACHE_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/list.h"
#include "base/page_pipe.h"

#define OBJECTS_OPEN_MAX 512

struct cache;
struct inode;

struct object {
	struct list lru;		/* in cache->object_lru while refs is 0 */
	struct inode *inode;		/* NULL: the inode has left it */
	uint64_t ino;
	uint32_t gen;
	uint32_t refs;
	int fd;
	bool is_new;			/* its directory entry may not be on the disk */
	uint64_t used;			/* bytes on disk, as counted in cache->content_used; atomic */
};

/*
 * The content file of the inode's GEN, made when missing and may_make.  NULL: *ret_err; -ENOENT:
 * GEN is 0 or there is none.
 * To be put.  object->fd may then be used without the lock.
 */
struct object *object_get(struct cache *cache, struct inode *inode, bool may_make, int *ret_err);
void object_put(struct cache *cache, struct object *object);
/* The inode takes another GEN, or goes. */
void object_leave(struct cache *cache, struct inode *inode);

/* Without the lock.  len bytes at offset; beyond the file's end zeros. */
int object_read(struct object *object, void *data, size_t len, uint64_t offset);
/* The same as far as it can be had without waiting for the disk: else -EAGAIN. */
int object_read_now(struct object *object, void *data, size_t len, uint64_t offset);
/* The same into a pipe.  -EAGAIN also when that is not the way for them. */
int object_pipe_now(struct object *object, struct page_pipe *pages, size_t len, uint64_t offset);
/*
 * Without the lock.  -EIO when the content could not be made durable: the caller calls
 * cache_fail().
 */
int object_sync(struct cache *cache, struct object *object);
/*
 * Sync the inode's content and note in synced_gen how far.  Takes the lock itself, lets it go
 * meanwhile; any thread that may block.
 * A failure ends in the error state.
 */
int object_sync_inode(struct cache *cache, struct inode *inode);

/* Without the lock: put these bytes into the file of that generation, made when missing.  0 or -errno. */
int object_write(struct cache *cache, uint64_t ino, uint32_t gen, struct slice bytes, uint64_t offset);
/* Without the lock: remove, cut the file of that generation.  A missing one is fine. */
void object_unlink(struct cache *cache, uint64_t ino, uint32_t gen);
int object_cut(struct cache *cache, uint64_t ino, uint32_t gen, uint64_t size);
/* Without the lock: the file of that generation under another name, too. */
int object_link(struct cache *cache, uint64_t ino, uint32_t gen, int dirfd, const char *name);
/* Without the lock: a file of the cache's directory, which is on the disk, becomes the one of that generation; it keeps its name, too. */
int object_adopt(struct cache *cache, uint64_t ino, uint32_t gen, int dirfd, const char *name);
/* Without the lock: it is there, and as long as that (but where the file system has no such files).  0 or -errno. */
int object_grow(struct cache *cache, uint64_t ino, uint32_t gen, uint64_t size);
/* Without the lock: a descriptor of one's own to read that generation.  -ENOENT: there is none. */
int object_open_aside(struct cache *cache, uint64_t ino, uint32_t gen);
/* Bytes on disk of an open object; counted from now on.  With or without the lock. */
uint64_t object_used(struct cache *cache, struct object *object);

/* Each content file there is.  fn gives 0 to go on.  Without the lock. */
int object_each(struct cache *cache,
		int (*fn)(void *arg, uint64_t ino, uint32_t gen, uint64_t size, uint64_t used),
		void *arg);
/* The same, and when each was read (as noted here), or written, last. */
struct object_file {
	uint64_t ino, size, used;
	uint32_t gen;
	int64_t used_s;		/* since 1970 */
};
int object_each_file(struct cache *cache, int (*fn)(void *arg, const struct object_file *file), void *arg);
/* Note that it was read then.  A missing one is fine.  Without the lock. */
void object_note_read(struct cache *cache, uint64_t ino, uint32_t gen, int64_t at_s);
/* What was written so far, to any of them, is on the disk.  0 or -errno; without the lock. */
int object_sync_all(struct cache *cache);
/* Make the 256 directories.  */
int object_make_dirs(int objects_dirfd);
void object_cache_release(struct cache *cache);

#endif
