/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"

int fs_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fs_pwrite_all(int fd, const void *data, size_t len, uint64_t offset)
{
	struct iovec iov = { (void *)data, len };

	return fs_pwritev_all(fd, &iov, 1, offset);
}

int fs_pwritev_all(int fd, struct iovec *iov, int iovcnt, uint64_t offset)
{
	int err = FAULT("fs.pwrite");

	if (err)
		return err;
	while (iovcnt) {
		ssize_t n;

		if (!iov->iov_len) {
			iov++;
			iovcnt--;
			continue;
		}
		n = pwritev(fd, iov, MIN(iovcnt, IOV_MAX), (off_t)offset);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		offset += (uint64_t)n;
		while (n) {
			size_t used = MIN((size_t)n, iov->iov_len);

			iov->iov_base = (char *)iov->iov_base + used;
			iov->iov_len -= used;
			n -= (ssize_t)used;
			if (!iov->iov_len) {
				iov++;
				iovcnt--;
			}
		}
	}
	return 0;
}

/* flags: of preadv2(). */
static ssize_t pread_all(int fd, void *data, size_t len, uint64_t offset, int flags)
{
	size_t got = 0;

	while (got < len) {
		struct iovec rest = { (char *)data + got, len - got };
		ssize_t n = preadv2(fd, &rest, 1, (off_t)(offset + got), flags);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!n)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

ssize_t fs_pread_full(int fd, void *data, size_t len, uint64_t offset)
{
	int err = FAULT("fs.pread");

	return err ? err : pread_all(fd, data, len, offset, 0);
}

ssize_t fs_pread_now(int fd, void *data, size_t len, uint64_t offset)
{
	ssize_t got = FAULT("fs.pread_now");

	if (!got)
		got = pread_all(fd, data, len, offset, RWF_NOWAIT);
	return got == -EOPNOTSUPP ? fs_pread_full(fd, data, len, offset) : got;
}

int fs_replace(int dirfd, const char *name, const void *data, size_t len)
{
	AUTO_CLOSE int fd = -1;
	char tmp[NAME_MAX + 1];
	int n, err;

	n = snprintf(tmp, sizeof(tmp), ".new.%s", name);
	if (n < 0 || (size_t)n >= sizeof(tmp))
		return -ENAMETOOLONG;

	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;

	err = fs_write_all(fd, data, len);
	if (!err)
		err = FAULT("replace.fsync");
	if (!err && fsync(fd) < 0)
		err = -EIO;	/* what reached the disk is unknown: start over */
	if (!err)
		err = FAULT("replace.rename");
	if (!err && renameat(dirfd, tmp, dirfd, name) < 0)
		err = -errno;
	if (err)
		goto drop;
	return fsync(dirfd) < 0 ? -errno : 0;

drop:
	(void)unlinkat(dirfd, tmp, 0);	/* the error to report is 'err' */
	return err;
}

int fs_read_file(int dirfd, const char *name, size_t limit, char **ret_data, size_t *ret_len)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *data = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > limit)
		return -EFBIG;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	n = fs_pread_full(fd, data, (size_t)st.st_size, 0);
	if (n < 0)
		return (int)n;
	data[n] = '\0';
	*ret_data = data;
	*ret_len = (size_t)n;
	data = NULL;
	return 0;
}

int fs_mkdir_p(const char *path, mode_t mode)
{
	AUTO_FREE char *copy = strdup(path);
	struct stat st;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1; *copy && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(copy, mode) < 0) {
		if (errno != EEXIST)
			return -errno;
		if (stat(copy, &st) < 0)
			return -errno;
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
	}
	return 0;
}

static int copy_by_hand(int from, int to, uint64_t offset, uint64_t len)
{
	const size_t chunk = 1 << 20;
	AUTO_FREE char *data = malloc(chunk);

	if (!data)
		return -ENOMEM;
	while (len) {
		ssize_t n = fs_pread_full(from, data, MIN(len, chunk), offset);
		int err;

		if (n <= 0)
			return (int)n;
		err = fs_pwrite_all(to, data, (size_t)n, offset);
		if (err)
			return err;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* One stretch of data, in the kernel where it can. */
static int copy_stretch(int from, int to, uint64_t offset, uint64_t len)
{
	while (len) {
		loff_t in = (loff_t)offset, out = (loff_t)offset;
		ssize_t n = copy_file_range(from, &in, to, &out, MIN(len, 1u << 30), 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG)
				return -errno;
			return copy_by_hand(from, to, offset, len);
		}
		if (!n)
			break;		/* the source became shorter */
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int fs_copy_range(int from, int to, uint64_t offset, uint64_t len)
{
	struct file_clone_range clone = {
		.src_fd = from, .src_offset = offset, .src_length = len, .dest_offset = offset,
	};
	uint64_t end = offset + len;

	if (!len)
		return 0;
	if (ioctl(to, FICLONERANGE, &clone) == 0)
		return 0;
	while (offset < end) {
		off_t data = lseek(from, (off_t)offset, SEEK_DATA), hole;
		int err;

		if (data < 0 && errno == ENXIO)
			break;			/* only a hole is left */
		if (data < 0)
			return copy_stretch(from, to, offset, end - offset);
		if ((uint64_t)data >= end)
			break;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		err = copy_stretch(from, to, (uint64_t)data, MIN((uint64_t)hole, end) - (uint64_t)data);
		if (err)
			return err;
		offset = (uint64_t)hole;
	}
	return 0;
}

/* For kernels and sandboxes without openat2(): component by component, none of them a symlink. */
static int open_steps(int dirfd, const char *path, int flags, mode_t mode)
{
	AUTO_FREE char *copy = strdup(path);
	struct stat top, st;
	int at = dirfd, fd, err = 0;
	char *name = copy, *slash;

	if (!copy)
		return -ENOMEM;
	if (fstat(dirfd, &top) < 0)
		return -errno;
	while ((slash = strchr(name, '/'))) {
		*slash = '\0';
		if (*name && strcmp(name, ".")) {
			if (!strcmp(name, "..")) {
				err = -EXDEV;
				goto out;
			}
			fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (fd < 0) {
				err = -errno;
				goto out;
			}
			if (at != dirfd)
				(void)close(at);
			at = fd;
			if (fstat(at, &st) < 0 || st.st_dev != top.st_dev) {
				err = -EXDEV;
				goto out;
			}
		}
		name = slash + 1;
	}
	if (!strcmp(name, "..")) {
		err = -EXDEV;
		goto out;
	}
	fd = openat(at, *name ? name : ".", flags | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0) {
		err = -errno;
	} else if (fstat(fd, &st) < 0 || st.st_dev != top.st_dev) {
		(void)close(fd);
		err = -EXDEV;
	} else {
		err = fd;
	}
out:
	if (at != dirfd)
		(void)close(at);
	return err;
}

int fs_open_beside(int fd)
{
	char link[40], path[PATH_MAX];
	ssize_t n;
	int to;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	to = open(dirname(path), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return to < 0 ? -errno : to;
}

int fs_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	long fd;

	if (!*path)
		path = ".";
	do {
		fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd >= 0)
		return (int)fd;
	if (errno == ENOSYS || errno == EPERM)
		return open_steps(dirfd, path, flags, mode);
	return -errno;
}
