/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the adopted upstream does not have, kept by path: CACHE/conflicts/ID/files/PATH (kept.h).
 *
 * A content file gets a second link there, which costs neither time nor room.  It is only ever one that its inode leaves in the same
 * transaction, for the next GEN or because it goes: so nobody writes to it any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "cache/adopt_state.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/kept.h"

#define FILES "files"
#define PATH_ROOM 4096
#define TRIES_MAX 1000
#define NAME_ROOM 64

/* ---- paths ---- */

/* A directory's own name, or where it was when it lost it: 1; 2 with a whole path in ret_text; 0: neither; -errno. */
static int name_of_dir(struct adopt *a, uint64_t ino, uint64_t *ret_dir, char *ret_text, size_t size, size_t *ret_len)
{
	sqlite3_stmt *stmt;
	struct slice text;
	int got, is_path = 0;

	got = db_query(a->db, &stmt, "SELECT dir, name FROM name WHERE ino = ?1 AND ino > 0 LIMIT 1", "i", (int64_t)ino);
	if (!got) {
		got = db_query(a->db, &stmt, "SELECT 0, path FROM temp.adopt_path WHERE ino = ?1", "i", (int64_t)ino);
		is_path = 1;
	}
	if (got <= 0)
		return got;
	*ret_dir = (uint64_t)sqlite3_column_int64(stmt, 0);
	text = db_column(stmt, 1);
	*ret_len = MIN(text.len, size);
	memcpy(ret_text, text.data, *ret_len);
	db_done(stmt);
	return 1 + is_path;
}

/* Puts the text, and a slash behind it, in front of what begins at *io_start. */
static int put_before(char *room, size_t *io_start, const char *text, size_t len)
{
	if (*io_start < len + 1)
		return -ENAMETOOLONG;
	room[--*io_start] = '/';
	*io_start -= len;
	memcpy(room + *io_start, text, len);
	return 0;
}

int adopt_path(struct adopt *a, uint64_t dir, struct slice name, char *ret_path, size_t size)
{
	char room[PATH_ROOM], text[PATH_ROOM];
	size_t start = sizeof(room) - 1, len;
	int err = 0, got = 1;

	room[start] = '\0';
	if (name.len >= start)
		return -ENAMETOOLONG;
	start -= name.len;
	memcpy(room + start, name.data, name.len);
	while (!err && got == 1 && dir != CACHE_ROOT) {
		got = name_of_dir(a, dir, &dir, text, sizeof(text), &len);
		err = got > 0 ? put_before(room, &start, text, len) : got;
	}
	if (!err && sizeof(room) - start > size)
		err = -ENAMETOOLONG;
	if (!err)
		memcpy(ret_path, room + start, sizeof(room) - start);
	return err;
}

int adopt_keep_path(struct adopt *a, uint64_t ino, uint64_t dir, struct slice name)
{
	char path[PATH_ROOM];
	int err = adopt_path(a, dir, name, path, sizeof(path));

	if (err == -ENAMETOOLONG)
		err = snprintf(path, sizeof(path), "inode-%" PRIu64, ino) < 0;
	return err ? err : db_run(a->db, "INSERT OR REPLACE INTO temp.adopt_path (ino, path) VALUES (?1, ?2)", "ib", (int64_t)ino,
				  (struct slice){ path, strlen(path) });
}

/* ---- files ---- */

/* A number that no conflict will have; and the directory. */
static int begin(struct adopt *a)
{
	int err;

	if (a->kept_id)
		return 0;
	err = db_run(a->db, "INSERT INTO conflict (at, path, what) VALUES (?1, x'', '')", "i", a->now / 1000000000);
	if (err)
		return err;
	a->kept_id = (uint64_t)sqlite3_last_insert_rowid(db_handle(a->db));
	err = db_run(a->db, "DELETE FROM conflict WHERE id = ?1", "i", (int64_t)a->kept_id);
	if (err)
		return err;
	a->kept_fd = kept_begin(a->cache->dirfd, a->kept_id, a->kept_name);
	if (a->kept_fd < 0)
		return a->kept_fd;
	if (mkdirat(a->kept_fd, FILES, 0700) < 0)
		return -errno;
	a->files_fd = openat(a->kept_fd, FILES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return a->files_fd < 0 ? -errno : 0;
}

/* The directories above the path's last name; its own directory's descriptor, the caller's, or -errno. */
static int make_dirs(struct adopt *a, char *path, const char **ret_last)
{
	int fd = fcntl(a->files_fd, F_DUPFD_CLOEXEC, 0), next;
	char *slash;

	while (fd >= 0 && (slash = strchr(path, '/'))) {
		*slash = '\0';
		if (mkdirat(fd, path, 0700) < 0 && errno != EEXIST) {
			next = -errno;
		} else {
			next = openat(fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			next = next < 0 ? -errno : next;
		}
		(void)close(fd);	/* only to get there */
		fd = next;
		path = slash + 1;
	}
	*ret_last = path;
	return fd == -1 ? -errno : fd;
}

static int make_one(struct adopt *a, const struct adopt_inode *inode, int dirfd, const char *name)
{
	char from[NAME_ROOM], target[KML_TARGET_MAX + 1];
	int got;

	if (inode->type == TYPE_LNK) {
		(void)snprintf(target, sizeof(target), "%.*s", (int)inode->target.len, (const char *)inode->target.data);
		return symlinkat(target, dirfd, name) < 0 ? -errno : 0;
	}
	if (!inode->size) {
		got = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		return got < 0 ? -errno : close(got) < 0 ? -errno : 0;
	}
	(void)snprintf(from, sizeof(from), "%02x/%" PRIu64 ".%" PRIu32, (unsigned)(inode->ino % 256), inode->ino, inode->gen);
	return linkat(a->cache->objects_dirfd, from, dirfd, name, 0) < 0 ? -errno : 0;
}

/* As it was, so that it can be copied back: but nothing there is to be run. */
static int dress(const struct adopt_inode *inode, int dirfd, const char *name)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { inode->mtime / 1000000000, inode->mtime % 1000000000 } };
	struct stat st;

	if (times[1].tv_nsec < 0)
		times[1] = (struct timespec){ times[1].tv_sec - 1, times[1].tv_nsec + 1000000000 };
	/* Who it belongs to is good to know; where it cannot be said it is kept all the same. */
	(void)!fchownat(dirfd, name, inode->uid, inode->gid, AT_SYMLINK_NOFOLLOW);
	(void)utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW);
	if (inode->type == TYPE_LNK)
		return 0;
	(void)fchmodat(dirfd, name, inode->mode & 0777, 0);
	/* One that a crash has left longer. */
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if ((uint64_t)st.st_size > inode->size) {
		AUTO_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0 || ftruncate(fd, (off_t)inode->size) < 0)
			return -errno;
	}
	return 0;
}

/* Under its name, or one with a number where that is taken: by another generation of the same. */
static int make_at(struct adopt *a, const struct adopt_inode *inode, int dirfd, const char *name)
{
	char other[CACHE_NAME_MAX + 16];
	int err = make_one(a, inode, dirfd, name);

	for (unsigned n = 2; err == -EEXIST && n < TRIES_MAX; n++) {
		(void)snprintf(other, sizeof(other), "%.240s.%u", name, n);
		name = other;
		err = make_one(a, inode, dirfd, name);
	}
	return err ? err : dress(inode, dirfd, name);
}

int adopt_keep(struct adopt *a, const struct adopt_inode *inode, uint64_t dir, struct slice name)
{
	char path[PATH_ROOM];
	const char *last;
	int err, fd;

	if (inode->type != TYPE_LNK && !adopt_is_whole(inode))
		return 0;
	err = begin(a);
	if (!err)
		err = adopt_path(a, dir, name, path, sizeof(path));
	if (err == -ENAMETOOLONG)
		err = snprintf(path, sizeof(path), "inode-%" PRIu64, inode->ino) < 0;
	if (!err)
		err = FAULT("adopt.keep");
	if (err)
		return err;
	fd = make_dirs(a, path, &last);
	if (fd < 0)
		return fd;
	err = make_at(a, inode, fd, last);
	(void)close(fd);	/* only to get there */
	/* Its content file is missing: that is damage, and nothing to be kept. */
	if (err == -ENOENT)
		return 0;
	a->kept += !err;
	a->kept_bytes += err ? 0 : inode->size;
	return err;
}

int adopt_keep_end(struct adopt *a)
{
	char about[512], date[32] = "?";
	time_t now = a->now / 1000000000;
	struct tm tm;

	if (!a->kept)
		return 0;
	if (localtime_r(&now, &tm))
		(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	(void)snprintf(about, sizeof(about),
		       "/: %" PRIu64 " files, %" PRIu64 " bytes, that the upstream accepted %s (%s at position %" PRIu64
		       ") does not have, or has otherwise, as they were here", a->kept, a->kept_bytes, date, a->given->id,
		       a->given->position);
	return kept_end(a->cache->dirfd, a->kept_fd, a->kept_name, about);
}

void adopt_keep_undo(struct adopt *a)
{
	AUTO_CLOSE int all = -1;

	if (!a->kept_id)
		return;
	(void)kept_forget(a->cache->dir, a->kept_id);	/* what stays is made anew by the next one of that number */
	all = openat(a->cache->dirfd, "conflicts", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (all >= 0)
		(void)kept_remove_tree(all, a->kept_name);
}
