/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy: a local tree into an export, as cp would: MKDIR, CREATE, WRITE, COMMIT, and a SETATTR of the time.
 *
 *   copy PORT FROM TO	the directory FROM as the new directory TO in the export's root
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include "tests/nfs/client.h"

#define PIECE (1u << 20)
#define DEPTH_MAX 64

static struct client c;
static struct fh dirs[DEPTH_MAX];	/* from the root to where we are */
static const char *top;

static void need(int status, const char *path)
{
	if (status)
		die(path, nfsstat3_to_str(status));
}

static void fill(const struct fh *file, const char *path)
{
	static char bytes[PIECE];
	uint64_t offset = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, bytes, sizeof(bytes))) > 0) {
		need(nfs3_write(&c, file, offset, bytes, (uint32_t)n, UNSTABLE), path);
		if (c.got.count != (uint32_t)n)
			die(path, "written in part");
		offset += (uint64_t)n;
	}
	if (fd < 0 || n < 0)
		die(path, strerror(errno));
	(void)close(fd);
	need(nfs3_commit(&c, file), path);
}

static void make_file(const struct fh *dir, const char *path, const char *name, const struct stat *st)
{
	struct sattr3 sattr = { .mtime.set_it = SET_TO_CLIENT_TIME };
	struct nfstime3 *mtime = &sattr.mtime.set_mtime_u.mtime;
	struct fh file = made_file(&c, dir, name, st->st_mode & 07777);

	if (st->st_size)
		fill(&file, path);
	mtime->seconds = (uint32_t)st->st_mtim.tv_sec;
	mtime->nseconds = (uint32_t)st->st_mtim.tv_nsec;
	need(nfs3_setattr(&c, &file, sattr, NULL), path);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = ftw->level ? path + ftw->base : top;

	if (ftw->level + 1 >= DEPTH_MAX)
		die(path, "too deep");
	if (type == FTW_D)
		dirs[ftw->level + 1] = made_dir(&c, &dirs[ftw->level], name, st->st_mode & 07777);
	else if (type == FTW_F)
		make_file(&dirs[ftw->level], path, name, st);
	else
		die(path, "neither a file nor a directory");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		(void)fprintf(stderr, "usage: copy PORT FROM TO\n");
		return 2;
	}
	client_open(&c, atoi(argv[1]));
	dirs[0] = c.root;
	top = argv[3];
	if (nftw(argv[2], visit, DEPTH_MAX, FTW_PHYS))
		die(argv[2], strerror(errno));
	client_close(&c);
	return 0;
}
