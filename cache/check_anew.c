/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A database of which nothing can be read: it is no database, it is gone, or who the cache is cannot be read from it.
 *
 * What is left are the contents, without their names. Any of them may be the only copy, so all go to lost+found; the database is put
 * away, and the next daemon makes a new cache. In this order: where it breaks off, the next one goes on with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/mem.h"
#include "cache/check_state.h"

#define NAME_ROOM 64

struct total {
	uint64_t files, bytes;
};

static int count(struct check *check, uint64_t ino, uint32_t gen, void *arg)
{
	struct total *total = arg;
	char name[NAME_ROOM];
	struct stat st;

	(void)snprintf(name, sizeof(name), "objects/%02x/%" PRIu64 ".%" PRIu32, (unsigned)(ino % 256), ino, gen);
	if (fstatat(check->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	total->files++;
	total->bytes += (uint64_t)st.st_size;
	return 0;
}

static int keep(struct check *check, uint64_t ino, uint32_t gen, void *arg)
{
	int err = FAULT("check.anew");

	(void)arg;
	return err ? err : check_keep_content(check, ino, gen);
}

int check_anew_say(struct check *check)
{
	struct total total = { 0 };
	int err = check_each_content(check, count, &total);

	if (err)
		return err;
	check_note(check, "nothing can be read of the database, so names, what waits to be sent, and the handles of mounts are lost; the contents "
			  "of %" PRIu64 " files are there, %" PRIu64 " bytes; %s", total.files, total.bytes,
		   check->config->repair ? "they are kept in lost+found, and the next start makes a new cache: mount it anew" :
		   "--repair keeps them in lost+found, and the next start makes a new cache");
	return 0;
}

int check_anew(struct check *check)
{
	int err = check_anew_say(check);

	if (!err)
		err = check_each_content(check, keep, NULL);
	if (!err)
		err = check_put_away(check);
	if (!err && unlinkat(check->dirfd, "cache.db", 0) < 0 && errno != ENOENT)
		err = -errno;
	return !err && fsync(check->dirfd) < 0 ? -errno : err;
}

bool check_has_content(struct check *check)
{
	struct total total = { 0 };

	return !check_each_content(check, count, &total) && total.files;
}
