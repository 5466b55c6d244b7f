/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * files: what the upstream does to files, one name in one open directory at a time.
 *
 * No function here follows a symbolic link in the name it is given, so none leaves the export.
 * Errors: 0 or -errno.  Threads: any.
 */
#ifndef HTTPD_FILES_H
#define HTTPD_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include "rpcgen/kml_codec.h"

/* What tells one file from all others, also from a later one with its inode number. */
struct file_id {
	uint64_t ino;
	int64_t btime;		/* ns since 1970; 0 where the file system has none */
};

struct file_stat {
	struct kml_attr attr;	/* nlink as the file system counts */
	struct file_id id;
	int64_t ctime;		/* ns since 1970 */
	uint64_t dev;
};

static inline bool file_id_equal(struct file_id a, struct file_id b)
{
	return a.ino == b.ino && a.btime == b.btime;
}

/* Times as ns since 1970, cut to what 64 bits hold (the years 1678 to 2262). */
int64_t file_ns(struct kml_time time);
struct kml_time file_time(int64_t ns);
struct kml_time file_now(void);
int file_time_cmp(struct kml_time a, struct kml_time b);

/* name "": dirfd itself, whatever it is. */
int file_stat(int dirfd, const char *name, struct file_stat *ret_stat);
/* A directory's descriptor, or -errno; -EXDEV: it is a mount point (or not on dev). */
int file_open_dir(int dirfd, const char *name, uint64_t dev);
/* The text of a symlink, NUL-terminated; the length or -errno. */
int file_readlink(int dirfd, const char *name, char ret_target[KML_TARGET_MAX + 1]);

/*
 * Give what set says (KML_SET_*) to the file; owner first, so that setuid bits stay. -ESTALE: it is
 * not that file.
 */
int file_set(int dirfd, const char *name, struct file_id id, const struct kml_attr *attr,
	     unsigned set);
/* The same for an open file. */
int file_set_fd(int fd, const struct kml_attr *attr, unsigned set);
/* The same, all of it, for one that was just made, with calls only for what is not so already; and what it is then. */
int file_set_new(int fd, const struct kml_attr *attr, struct file_stat *ret_stat);

/* -EEXIST when there is one of that name already, on any file system. */
int file_rename_new(int from, const char *from_name, int to, const char *to_name);
/* The two change places.  -EOPNOTSUPP: not on this file system. */
int file_exchange(int from, const char *from_name, int to, const char *to_name);
/* Extended attributes and ACLs of one open file to another, as far as they may be read and set. */
void file_copy_xattrs(int from, int to);
/* Copy bytes between files at different offsets; -ENODATA when the source ends too early. */
int file_copy(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t len);

/* Delete what name is, a directory with all that is in it. */
int file_delete(int dirfd, const char *name);
/*
 * Call fn for each name in the directory but "." and ".."; stops when it gives non-zero, and gives
 * that.
 */
int file_each(int dirfd, int (*fn)(void *arg, const char *name), void *arg);

#endif
