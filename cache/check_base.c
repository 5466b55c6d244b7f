/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kept bases (base.h): is each whole, and somebody's?  All of them are copies of what the upstream has or had, and nobody needs them: what
 * is wrong is removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cache/base.h"
#include "cache/check_state.h"

/* All that is wrong with rows; their numbers go into 'bad'. */
static int check_rows(struct check *check, int dirfd, struct buf *bad)
{
	sqlite3_stmt *stmt;
	int err = 0, got;

	got = db_query(check->db, &stmt, "SELECT id, size, hash, ino FROM base", "");
	while (got > 0 && !err) {
		int64_t id = sqlite3_column_int64(stmt, 0);
		char path[CHECK_ROOM];

		if (!base_file_is(dirfd, id, (uint64_t)sqlite3_column_int64(stmt, 1), db_column(stmt, 2)) &&
		    check_found(check, "%s: its content as it was, kept to merge what two have changed, is missing or damaged; it is not kept any more",
				check_path(check, (uint64_t)sqlite3_column_int64(stmt, 3), path)))
			err = check_add(bad, (uint64_t)id);
		got = db_next(stmt);
	}
	return err ? err : MIN(got, 0);
}

/* 1, 0, -errno. */
static int has_row(struct check *check, int64_t id)
{
	sqlite3_stmt *stmt;
	int got = db_query(check->db, &stmt, "SELECT 1 FROM base WHERE id = ?1", "i", id);

	if (got > 0)
		db_done(stmt);
	return got;
}

/* The next start removes them as well: a change that came to nothing leaves such a file. */
static int check_files(struct check *check, DIR *dir)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		char *end;
		int64_t id = strtoll(entry->d_name, &end, 10);
		int got;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || *end)
			continue;
		got = has_row(check, id);
		if (got < 0)
			return got;
		if (got)
			continue;
		check_note(check, "bases/%s belongs to nothing any more; %s", entry->d_name,
			   check->config->repair ? "it is removed" : "the next start removes it");
		if (check->config->repair && unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			return -errno;
	}
	return 0;
}

int check_bases(struct check *check)
{
	int fd = openat(check->dirfd, "bases", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct buf bad;

	buf_init(&bad, 0);
	err = check_rows(check, fd, &bad);
	if (!err)
		err = check_each(check, &bad, "DELETE FROM base WHERE id = ?1");
	buf_release(&bad);
	if (!err && dir)
		err = check_files(check, dir);
	if (dir)
		(void)closedir(dir);
	else
		mem_close_fd(&fd);
	return err;
}
