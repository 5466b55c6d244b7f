/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fs: files, the careful way.
 *
 * Errors: 0 or -errno.  Short reads and writes are finished here, EINTR is retried here.
 */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

int fs_write_all(int fd, const void *data, size_t len);
int fs_pwrite_all(int fd, const void *data, size_t len, uint64_t offset);
/* iov is used up (changed) on the way. */
int fs_pwritev_all(int fd, struct iovec *iov, int iovcnt, uint64_t offset);
/* Reads up to len bytes; fewer only at end of file.  Gives the count or -errno. */
ssize_t fs_pread_full(int fd, void *data, size_t len, uint64_t offset);
/*
 * The same from the system's page cache only; -EAGAIN when that has not all of it.  A file system that cannot tell is one in
 * memory, most likely (tmpfs; ext4, xfs and btrfs can): there it is read as by fs_pread_full().
 */
ssize_t fs_pread_now(int fd, void *data, size_t len, uint64_t offset);

/* Make the file NAME in dirfd hold exactly data, whatever happens meanwhile: old or new, never a part. */
int fs_replace(int dirfd, const char *name, const void *data, size_t len);
/* The whole of a small file, NUL-terminated; -EFBIG over limit.  *ret_data is the caller's to free. */
int fs_read_file(int dirfd, const char *name, size_t limit, char **ret_data, size_t *ret_len);

/* Make a directory and what is missing above it; mode is for the last one, the others get 0755. */
int fs_mkdir_p(const char *path, mode_t mode);

/* Copy [offset, offset+len) between files at the same offset: clones, else copies in the kernel, keeps holes. */
int fs_copy_range(int from, int to, uint64_t offset, uint64_t len);

/* An unnamed file in the directory that fd's file is in, so on the same file system.  Gives a descriptor or -errno. */
int fs_open_beside(int fd);

/*
 * Open a path below dirfd: never leaves it, never follows a symlink or a mount.
 * Gives a descriptor or -errno.
 */
int fs_open_beneath(int dirfd, const char *path, int flags, mode_t mode);

#endif
