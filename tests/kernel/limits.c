/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limits: what README says does not work on the mount, tried.
 *
 *	limits ext4|nfs DIR SERVERS-DIR		DIR is empty and on such a file system; SERVERS-DIR is the same directory as the server sees it
 *
 * TAP, one test a row. On ext4 nearly all of it works: that shows that what is tried there is tried rightly.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/mem.h"

#define SIZE		(1 << 20)
#define SILENTLY	ENOMSG	/* no error, and no effect */
#define MOMENT_MS	200

static const char *servers;	/* DIR is the working directory */

/* A mistake of ours, not of the file system. */
static void must(bool done, const char *what)
{
	if (done)
		return;
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

#define MUST(done) must(done, #done)

static int result(int status)
{
	return status < 0 ? errno : 0;
}

/* A new file of SIZE bytes, none of them zero, all of them on the disk, open to read and write. */
static int new_file(const char *name)
{
	char *bytes = malloc(SIZE);
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);

	MUST(bytes && fd >= 0);
	memset(bytes, 'x', SIZE);
	MUST(pwrite(fd, bytes, SIZE, 0) == SIZE);
	MUST(fsync(fd) == 0);
	free(bytes);
	return fd;
}

static const char *at_server(const char *name)
{
	static char path[4096];

	MUST(snprintf(path, sizeof(path), "%s/%s", servers, name) < (int)sizeof(path));
	return path;
}

/* A child's errno, or 0: for what changes the process. */
static int in_child(int (*run)(int), int arg)
{
	int status;
	pid_t pid = fork();

	MUST(pid >= 0);
	if (!pid)
		_exit(run(arg));
	MUST(waitpid(pid, &status, 0) == pid);
	MUST(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* ---- the operations that NFS version 3 has no call for ---- */

static int xattr_of(const char *name, const char *attribute, const void *value, size_t size)
{
	close(new_file(name));
	return result(setxattr(name, attribute, value, size, 0));
}

static int xattr_user(void) { return xattr_of("user", "user.color", "red", 3); }
static int xattr_trusted(void) { return xattr_of("trusted", "trusted.color", "red", 3); }
static int xattr_capability(void)
{
	static const uint32_t none[5] = { 0x02000000 };	/* struct vfs_cap_data, version 2 */

	return xattr_of("capability", "security.capability", none, sizeof(none));
}

static int xattr_label(void) { return xattr_of("label", "security.izo", "red", 3); }

static int tmpfile_of_open(void)
{
	return result(open(".", O_TMPFILE | O_RDWR, 0600));
}

static int allocate(const char *name, int mode)
{
	return result(fallocate(new_file(name), mode, 65536, mode ? 65536 : SIZE));
}

static int preallocate(void) { return allocate("preallocate", 0); }
static int punch(void) { return allocate("punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE); }
static int zero_range(void) { return allocate("zero", FALLOC_FL_ZERO_RANGE); }
static int collapse(void) { return allocate("collapse", FALLOC_FL_COLLAPSE_RANGE); }
static int insert(void) { return allocate("insert", FALLOC_FL_INSERT_RANGE); }

/* By writing, where there is nothing better. */
static int by_posix(void) { return posix_fallocate(new_file("posix"), 0, 2 * SIZE); }

static int seek_hole(void)
{
	int fd = open("holes", O_RDWR | O_CREAT, 0600);

	MUST(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && ftruncate(fd, SIZE) == 0 && fsync(fd) == 0);
	return lseek(fd, 0, SEEK_HOLE) < SIZE ? 0 : SILENTLY;
}

static int fiemap(void)
{
	struct fiemap map = { .fm_length = SIZE, .fm_flags = FIEMAP_FLAG_SYNC };

	return result(ioctl(new_file("fiemap"), FS_IOC_FIEMAP, &map));
}

static int rename_with(const char *from, const char *to, unsigned flags)
{
	close(new_file(from));
	if (flags == RENAME_EXCHANGE)
		close(new_file(to));
	return result(renameat2(AT_FDCWD, from, AT_FDCWD, to, flags));
}

static int noreplace(void) { return rename_with("noreplace", "noreplace-2", RENAME_NOREPLACE); }
static int exchange(void) { return rename_with("exchange", "exchange-2", RENAME_EXCHANGE); }
static int whiteout(void) { return rename_with("whiteout", "whiteout-2", RENAME_WHITEOUT); }

static int overlay(void)
{
	int err;

	MUST(!mkdir("upper", 0700) && !mkdir("work", 0700) && !mkdir("lower", 0700) && !mkdir("merged", 0700));
	err = result(mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work"));
	if (!err)
		MUST(!umount("merged"));
	return err;
}

static int flags_of_chattr(void)
{
	int flags, fd = new_file("flags");

	return result(ioctl(fd, FS_IOC_GETFLAGS, &flags));
}

static int clone_file(void)
{
	int from = new_file("clone");

	return result(ioctl(new_file("clone-2"), FICLONE, from));
}

static int lease(void)
{
	int fd = new_file("lease");

	close(fd);
	fd = open("lease", O_RDONLY);
	MUST(fd >= 0);
	return result(fcntl(fd, F_SETLEASE, F_RDLCK));
}

static int birth(void)
{
	struct statx st;

	close(new_file("birth"));
	MUST(!statx(AT_FDCWD, "birth", 0, STATX_BTIME, &st));
	return st.stx_mask & STATX_BTIME ? 0 : SILENTLY;
}

static int keeps_time(const char *name, time_t time)
{
	struct timespec times[2] = { { .tv_sec = time }, { .tv_sec = time } };
	struct stat st;

	close(new_file(name));
	if (utimensat(AT_FDCWD, name, times, 0) < 0)
		return errno;
	MUST(!stat(name, &st));
	return st.st_mtime == time ? 0 : SILENTLY;
}

static int before_1970(void) { return keeps_time("before", -1); }
static int after_2106(void) { return keeps_time("after", (time_t)1 << 32); }

static int access_time(void)
{
	struct timespec times[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000001 } };	/* relatime would set it anew */
	struct stat st;
	char byte;
	int fd = new_file("atime");

	MUST(!futimens(fd, times) && pread(fd, &byte, 1, 0) == 1 && !fsync(fd));
	MUST(!fstat(fd, &st));
	return st.st_atime != 1000000000 ? 0 : SILENTLY;
}

/* ---- what a server knows of nobody's open files, and whom a call is from ---- */

static int unlinked_open(void)
{
	int fd, err;

	MUST(!mkdir("held", 0700));
	fd = new_file("held/file");
	MUST(!unlink("held/file"));
	err = result(rmdir("held"));
	close(fd);
	if (err)
		MUST(!rmdir("held"));	/* the last close removes the .nfsXXXX */
	return err;
}

/* The kernel's client asks as who opened the file; a local file system does not ask again. */
static int read_as_another(int root)
{
	char byte;
	int fd;

	MUST(!setgroups(0, NULL) && !seteuid(65534));
	fd = open("chmod", O_RDONLY);
	MUST(fd >= 0);
	MUST(!seteuid(0) && !fchmod(root, 0600) && !posix_fadvise(root, 0, SIZE, POSIX_FADV_DONTNEED));
	return result((int)pread(fd, &byte, 1, 0));
}

static int opened_before_chmod(void)
{
	return in_child(read_as_another, new_file("chmod"));
}

static int read_with_groups(int n)
{
	gid_t groups[32];

	for (int i = 0; i < n; i++)
		groups[i] = 1000 + (gid_t)i;
	MUST(!setgroups((size_t)n, groups) && !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	return result(open("groups", O_RDONLY));
}

static int seventeenth_group(void)
{
	close(new_file("groups"));
	MUST(!chmod("groups", 0640) && !chown("groups", 0, 1015));
	MUST(in_child(read_with_groups, 16) == 0);
	MUST(!chown("groups", 0, 1016));
	return in_child(read_with_groups, 17);
}

/* ---- two machines ---- */

/* Until the server has the file, as far as it is to be seen. */
static bool arrives(const char *name)
{
	for (int i = 0; i < 600; i++) {
		if (!access(at_server(name), F_OK))
			return true;
		poll(NULL, 0, 50);
	}
	return false;
}

static int lock_at_server(int unused)
{
	struct flock lock = { .l_type = F_WRLCK };
	int fd = open(at_server("lock"), O_RDWR);

	(void)unused;
	MUST(fd >= 0);
	return result(fcntl(fd, F_SETLK, &lock));
}

/* Here it is a lock that two should not have at once: that the second gets it is the failure. */
static int lock_of_another_machine(void)
{
	struct flock lock = { .l_type = F_WRLCK };
	int fd = new_file("lock");

	MUST(arrives("lock"));
	MUST(!fcntl(fd, F_SETLK, &lock));
	return in_child(lock_at_server, 0) == EAGAIN ? 0 : SILENTLY;
}

static int notified_of_the_server(void)
{
	struct pollfd poll_notify = { .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN };
	int fd;

	MUST(!mkdir("notify", 0755));
	MUST(arrives("notify"));
	MUST(poll_notify.fd >= 0 && inotify_add_watch(poll_notify.fd, "notify", IN_CREATE) >= 0);
	fd = open(at_server("notify/new"), O_WRONLY | O_CREAT, 0644);
	MUST(fd >= 0);
	close(fd);
	for (int i = 0; access("notify/new", F_OK); i++) {
		MUST(i < 600);
		poll(NULL, 0, 50);
	}
	return poll(&poll_notify, 1, MOMENT_MS) == 1 ? 0 : SILENTLY;
}

static int swap_file(void)
{
	int fd = new_file("swap"), err, status;
	pid_t pid = fork();

	MUST(pid >= 0);
	if (!pid) {
		execlp("mkswap", "mkswap", "-q", "swap", NULL);
		_exit(127);
	}
	MUST(!fchmod(fd, 0600) && waitpid(pid, &status, 0) == pid && !status && !fsync(fd));
	err = result(swapon("swap", 0));
	if (!err)
		MUST(!swapoff("swap"));
	return err;
}

static const struct limit {
	const char *name;
	int (*run)(void);
	int ext4, nfs;		/* what it comes to there: 0 when it works, an errno */
} limits[] = {
	{ "extended attributes, user.*",	xattr_user,		0,		EOPNOTSUPP },
	{ "extended attributes, trusted.*",	xattr_trusted,		0,		EOPNOTSUPP },
	{ "file capabilities",			xattr_capability,	0,		EOPNOTSUPP },
	{ "security labels",			xattr_label,		0,		EOPNOTSUPP },
	{ "O_TMPFILE",				tmpfile_of_open,	0,		EOPNOTSUPP },
	{ "fallocate, space in advance",	preallocate,		0,		EOPNOTSUPP },
	{ "fallocate, PUNCH_HOLE",		punch,			0,		EOPNOTSUPP },
	{ "fallocate, ZERO_RANGE",		zero_range,		0,		EOPNOTSUPP },
	{ "fallocate, COLLAPSE_RANGE",		collapse,		0,		EOPNOTSUPP },
	{ "fallocate, INSERT_RANGE",		insert,			0,		EOPNOTSUPP },
	{ "posix_fallocate",			by_posix,		0,		0 },
	{ "lseek, SEEK_HOLE",			seek_hole,		0,		SILENTLY },
	{ "FIEMAP",				fiemap,			0,		EOPNOTSUPP },
	{ "renameat2, NOREPLACE",		noreplace,		0,		EINVAL },
	{ "renameat2, EXCHANGE",		exchange,		0,		EINVAL },
	{ "renameat2, WHITEOUT",		whiteout,		0,		EINVAL },
	{ "the upper directory of an overlay",	overlay,		0,		EINVAL },
	{ "chattr, lsattr",			flags_of_chattr,	0,		ENOTTY },
	{ "FICLONE",				clone_file,		EOPNOTSUPP,	EOPNOTSUPP },
	{ "leases",				lease,			0,		EINVAL },
	{ "a time of birth",			birth,			0,		SILENTLY },
	{ "a time before 1970",			before_1970,		0,		SILENTLY },
	{ "a time after 2106",			after_2106,		0,		SILENTLY },
	{ "a time of last access that reading sets", access_time,	0,		SILENTLY },
	{ "rmdir with a file removed but open",	unlinked_open,		0,		ENOTEMPTY },
	{ "reading what was opened before a chmod", opened_before_chmod, 0,		EACCES },
	{ "the 17th group",			seventeenth_group,	0,		EACCES },
	{ "locks between machines",		lock_of_another_machine, 0,		SILENTLY },
	{ "inotify of the server's changes",	notified_of_the_server,	0,		SILENTLY },
	{ "a swap file",			swap_file,		0,		0 },
};

static const char *said(int err)
{
	return err == SILENTLY ? "no error and no effect" : err ? strerrorname_np(err) : "works";
}

int main(int argc, char **argv)
{
	bool is_nfs, failed = false;

	if (argc != 4 || (strcmp(argv[1], "ext4") && strcmp(argv[1], "nfs"))) {
		fprintf(stderr, "usage: limits ext4|nfs DIR SERVERS-DIR\n");
		return 2;
	}
	is_nfs = !strcmp(argv[1], "nfs");
	servers = argv[3];
	umask(022);
	MUST(!chdir(argv[2]));
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		int want = is_nfs ? limits[i].nfs : limits[i].ext4, got;

		got = limits[i].run();
		failed |= got != want;
		if (got != want)
			printf("# got: %s\n", said(got));
		printf("%s %zu - %s, %s: %s\n", got == want ? "ok" : "not ok", i + 1, argv[1], limits[i].name, said(want));
		fflush(stdout);
	}
	printf("1..%zu\n", ARRAY_SIZE(limits));
	return failed;
}
