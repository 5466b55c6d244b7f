/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kept: what lost when a conflict was settled, as ordinary files: CACHE/conflicts/ID/NAME, and CACHE/conflicts/ID/about, one line of text.
 *
 * They stay until somebody forgets them.  Needs no cache that is open: all but kept_begin() and kept_end() work on the directory.
 */
#ifndef CACHE_KEPT_H
#define CACHE_KEPT_H

#include <stdint.h>

/*
 * A new, empty directory for conflict id (what an attempt that failed has left is removed): a descriptor or -errno.  cache_dirfd: of the
 * cache directory.
 */
int kept_begin(int cache_dirfd, uint64_t id, char ret_name[32]);
/* All that was put there is on the disk, and counts. */
int kept_end(int cache_dirfd, int fd, const char *name, const char *about);

/*
 * Each that is kept, in no order: what it was, and the path of its file, or "" where it has none.  0 or -errno; without a
 * cache directory 0.
 */
int kept_each(const char *cache_dir, void (*fn)(void *arg, uint64_t id, const char *about, const char *path), void *arg);
/* Remove it.  -ENOENT. */
int kept_forget(const char *cache_dir, uint64_t id);
/* Remove a name with all that is in it; -ENOENT. */
int kept_remove_tree(int dirfd, const char *name);

#endif
