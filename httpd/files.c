/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include "base/clock.h"
#include "base/fs.h"

#define NS_PER_S 1000000000ll

/* ---- times ---- */

int64_t file_ns(struct kml_time time)
{
	int64_t ns;

	if (__builtin_mul_overflow(time.sec, NS_PER_S, &ns) ||
	    __builtin_add_overflow(ns, time.nsec, &ns))
		return time.sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

struct kml_time file_time(int64_t ns)
{
	struct kml_time time = { ns / NS_PER_S, (unsigned)(ns % NS_PER_S) };

	if (ns % NS_PER_S < 0) {
		time.sec--;
		time.nsec = (unsigned)(ns % NS_PER_S + NS_PER_S);
	}
	return time;
}

struct kml_time file_now(void)
{
	struct timespec now = clock_wall();

	return (struct kml_time){ now.tv_sec, (unsigned)now.tv_nsec };
}

int file_time_cmp(struct kml_time a, struct kml_time b)
{
	if (a.sec != b.sec)
		return a.sec < b.sec ? -1 : 1;
	return a.nsec < b.nsec ? -1 : a.nsec > b.nsec;
}

/* ---- looking ---- */

static enum kml_type type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return KML_DIR;
	case S_IFLNK:
		return KML_LNK;
	case S_IFBLK:
		return KML_BLK;
	case S_IFCHR:
		return KML_CHR;
	case S_IFSOCK:
		return KML_SOCK;
	case S_IFIFO:
		return KML_FIFO;
	default:
		return KML_REG;
	}
}

static int64_t statx_ns(struct statx_timestamp t)
{
	return file_ns((struct kml_time){ t.tv_sec, t.tv_nsec });
}

static struct kml_time statx_time(struct statx_timestamp t)
{
	return file_time(statx_ns(t));	/* cut as it will be in the tables */
}

int file_stat(int dirfd, const char *name, struct file_stat *ret_stat)
{
	struct statx st;
	struct file_stat *to = ret_stat;

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH),
		  STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return -errno;
	memset(to, 0, sizeof(*to));
	to->attr.type = type_of(st.stx_mode);
	to->attr.mode = st.stx_mode & 07777;
	to->attr.uid = st.stx_uid;
	to->attr.gid = st.stx_gid;
	to->attr.nlink = st.stx_nlink;
	if (to->attr.type == KML_BLK || to->attr.type == KML_CHR) {
		to->attr.major = st.stx_rdev_major;
		to->attr.minor = st.stx_rdev_minor;
	}
	if (to->attr.type == KML_REG || to->attr.type == KML_LNK)
		to->attr.size = st.stx_size;
	to->attr.atime = statx_time(st.stx_atime);
	to->attr.mtime = statx_time(st.stx_mtime);
	to->id.ino = st.stx_ino;
	if (st.stx_mask & STATX_BTIME)
		to->id.btime = statx_ns(st.stx_btime);
	to->ctime = statx_ns(st.stx_ctime);
	to->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

int file_open_dir(int dirfd, const char *name, uint64_t dev)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_dev != dev) {
		(void)close(fd);
		return -EXDEV;
	}
	return fd;
}

int file_readlink(int dirfd, const char *name, char ret_target[KML_TARGET_MAX + 1])
{
	ssize_t n = readlinkat(dirfd, name, ret_target, KML_TARGET_MAX + 1);

	if (n < 0)
		return -errno;
	if (n > KML_TARGET_MAX)
		return -ENAMETOOLONG;
	ret_target[n] = '\0';
	return (int)n;
}

/* ---- attributes ---- */

static struct timespec to_timespec(struct kml_time time)
{
	return (struct timespec){ time.sec, time.nsec };
}

/*
 * With is_path fd is an O_PATH one: then only what the name in /proc reaches works, which it does for all
 * but symlinks' modes.
 */
static int set_mode(int fd, bool is_path, mode_t mode)
{
	char path[40];

	if (!is_path)
		return fchmod(fd, mode);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, mode);
}

static int set_times(int fd, bool is_path, const struct timespec times[2])
{
	char path[40];

	if (!is_path)
		return futimens(fd, times);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return utimensat(AT_FDCWD, path, times, 0);
}

static int set_by_fd(int fd, bool is_path, const struct kml_attr *attr, unsigned set)
{
	struct timespec times[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (set & (KML_SET_UID | KML_SET_GID)) {
		uid_t uid = set & KML_SET_UID ? attr->uid : st.st_uid;
		gid_t gid = set & KML_SET_GID ? attr->gid : st.st_gid;

		if ((uid != st.st_uid || gid != st.st_gid) &&
		    fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
			return -errno;
	}
	if (!S_ISLNK(st.st_mode)) {
		mode_t mode = set & KML_SET_MODE ? attr->mode : st.st_mode & 07777;

		/*
		 * A change of owner has taken setuid and setgid away: the mode is said last, and
		 * always.
		 */
		if (set & (KML_SET_MODE | KML_SET_UID | KML_SET_GID) && set_mode(fd, is_path, mode) < 0)
			return -errno;
	}
	if (set & KML_SET_ATIME)
		times[0] = to_timespec(attr->atime);
	if (set & KML_SET_MTIME)
		times[1] = to_timespec(attr->mtime);
	if (set & (KML_SET_ATIME | KML_SET_MTIME) && set_times(fd, is_path, times) < 0)
		return -errno;
	return 0;
}

int file_set(int dirfd, const char *name, struct file_id id, const struct kml_attr *attr,
	     unsigned set)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct file_stat st;
	int err;

	if (fd < 0)
		return -errno;
	err = file_stat(fd, "", &st);
	if (err)
		return err;
	if (!file_id_equal(st.id, id))
		return -ESTALE;
	return set_by_fd(fd, true, attr, set);
}

int file_set_fd(int fd, const struct kml_attr *attr, unsigned set)
{
	return set_by_fd(fd, false, attr, set);
}

int file_set_new(int fd, const struct kml_attr *attr, struct file_stat *ret_stat)
{
	const struct timespec times[2] = { to_timespec(attr->atime), to_timespec(attr->mtime) };
	const struct kml_attr *is = &ret_stat->attr;
	bool is_other_owner;
	int err;

	if (futimens(fd, times) < 0)
		return -errno;
	err = file_stat(fd, "", ret_stat);
	if (err)
		return err;
	is_other_owner = is->uid != attr->uid || is->gid != attr->gid;
	if (!is_other_owner && is->mode == attr->mode)
		return 0;
	if (is_other_owner && fchown(fd, attr->uid, attr->gid) < 0)
		return -errno;
	if (fchmod(fd, attr->mode) < 0)
		return -errno;
	return file_stat(fd, "", ret_stat);
}

void file_copy_xattrs(int from, int to)
{
	AUTO_FREE char *names = NULL;
	AUTO_FREE char *value = NULL;
	ssize_t len, n;

	len = flistxattr(from, NULL, 0);
	if (len <= 0)
		return;
	names = malloc((size_t)len);
	value = malloc(XATTR_SIZE_MAX);
	if (!names || !value)
		return;
	len = flistxattr(from, names, (size_t)len);
	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		/*
		 * What a program may do beyond its user was granted to the old bytes, not to the
		 * new ones.
		 */
		if (!strcmp(name, "security.capability"))
			continue;
		n = fgetxattr(from, name, value, XATTR_SIZE_MAX);
		if (n >= 0)
			/* as far as it may be set */
			(void)fsetxattr(to, name, value, (size_t)n, 0);
	}
}

/* ---- moving and copying ---- */

int file_rename_new(int from, const char *from_name, int to, const char *to_name)
{
	struct stat st;

	if (renameat2(from, from_name, to, to_name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
		return -errno;
	/*
	 * A file system without that flag.  A second link refuses a name that is taken; a directory
	 * cannot have one, there only looking before is left.
	 */
	if (linkat(from, from_name, to, to_name, 0) == 0)
		return unlinkat(from, from_name, 0) < 0 ? -errno : 0;
	if (errno == EEXIST)
		return -EEXIST;
	if (fstatat(to, to_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return renameat(from, from_name, to, to_name) < 0 ? -errno : 0;
}

int file_exchange(int from, const char *from_name, int to, const char *to_name)
{
	if (renameat2(from, from_name, to, to_name, RENAME_EXCHANGE) == 0)
		return 0;
	return errno == EINVAL || errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

static int copy_by_hand(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t len)
{
	AUTO_FREE char *data = malloc(1 << 20);
	ssize_t n;
	int err;

	if (!data)
		return -ENOMEM;
	while (len) {
		n = fs_pread_full(from, data, MIN(len, 1u << 20), from_offset);
		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		err = fs_pwrite_all(to, data, (size_t)n, to_offset);
		if (err)
			return err;
		from_offset += (uint64_t)n;
		to_offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int file_copy(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t len)
{
	while (len) {
		loff_t in = (loff_t)from_offset, out = (loff_t)to_offset;
		ssize_t n = copy_file_range(from, &in, to, &out, MIN(len, 1u << 30), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO))
			return -errno;
		if (n < 0)
			return copy_by_hand(from, from_offset, to, to_offset, len);
		if (!n)
			return -ENODATA;
		from_offset += (uint64_t)n;
		to_offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* ---- directories ---- */

int file_each(int dirfd, int (*fn)(void *arg, const char *name), void *arg)
{
	/* A descriptor of its own: the caller's has one reading position for all. */
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			err = -errno;
			break;
		}
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		err = fn(arg, entry->d_name);
		if (err)
			break;
	}
	(void)closedir(dir);	/* read only */
	return err;
}

static int delete_one(void *arg, const char *name)
{
	return file_delete(*(int *)arg, name);
}

int file_delete(int dirfd, const char *name)
{
	AUTO_CLOSE int fd = -1;
	int err;

	if (unlinkat(dirfd, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = file_each(fd, delete_one, &fd);
	if (err)
		return err;
	return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}
