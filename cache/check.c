/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/check_state.h"
#include "cache/dentry.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "base/fs.h"
#include "cache/meta.h"
#include "cache/internal.h"
#include "cache/schema.h"

#define LOST "lost+found"
#define CONTENT_NAME 64

/* ---- telling ---- */

static void tell(struct check *check, enum check_kind kind, const char *format, va_list args)
{
	char text[CHECK_ROOM + 256];

	if (check->told++ >= CHECK_TELL_MAX)
		return;
	(void)vsnprintf(text, sizeof(text), format, args);
	check->config->found(check->config->arg, kind, text);
}

bool check_found(struct check *check, const char *format, ...)
{
	bool repair = check->config->repair;
	va_list args;

	va_start(args, format);
	tell(check, repair ? CHECK_MENDED : CHECK_DAMAGE, format, args);
	va_end(args);
	if (repair)
		check->result.mended++;
	else
		check->result.damage++;
	return repair;
}

void check_lost(struct check *check, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell(check, CHECK_DAMAGE, format, args);
	va_end(args);
	check->result.damage++;
}

void check_note(struct check *check, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell(check, CHECK_NOTE, format, args);
	va_end(args);
}

void check_begin(struct check *check)
{
	unsigned more = check->told > CHECK_TELL_MAX ? check->told - CHECK_TELL_MAX : 0;

	check->told = 0;
	if (more)
		check_note(check, "and %u more like the last one", more);
	check->told = 0;
}

const char *check_path(struct check *check, uint64_t ino, char text[CHECK_ROOM])
{
	size_t start = CHECK_ROOM - 1;

	text[start] = '\0';
	name_path_before(check->db, ino, text, &start);
	if (start == CHECK_ROOM - 1)
		(void)snprintf(text, CHECK_ROOM, ino == CACHE_ROOT ? "/" : "inode %" PRIu64, ino);
	else
		memmove(text, text + start, CHECK_ROOM - start);
	return text;
}

/* ---- lists ---- */

int check_add(struct buf *list, uint64_t number)
{
	return buf_append(list, &number, sizeof(number));
}

int check_each(struct check *check, struct buf *list, const char *sql)
{
	int err = 0;

	for (size_t at = 0; at < list->len && !err; at += sizeof(uint64_t)) {
		uint64_t number;

		memcpy(&number, list->data + at, sizeof(number));
		err = db_run(check->db, sql, "i", (int64_t)number);
	}
	buf_release(list);
	return err;
}

/* ---- lost+found ---- */

static int lost_dir(struct check *check)
{
	int fd;

	if (mkdirat(check->dirfd, LOST, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(check->dirfd, LOST, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int check_keep_content(struct check *check, uint64_t ino, uint32_t gen)
{
	AUTO_CLOSE int lost = lost_dir(check);
	char from[CONTENT_NAME], to[CONTENT_NAME];
	int got;

	if (lost < 0)
		return lost;
	(void)snprintf(from, sizeof(from), "objects/%02x/%" PRIu64 ".%" PRIu32, (unsigned)(ino % 256), ino, gen);
	(void)snprintf(to, sizeof(to), "%" PRIu64 ".%" PRIu32, ino, gen);
	/* One that was kept before stays. */
	for (unsigned n = 2; (got = renameat2(check->dirfd, from, lost, to, RENAME_NOREPLACE)) < 0 && errno == EEXIST; n++)
		(void)snprintf(to, sizeof(to), "%" PRIu64 ".%" PRIu32 ".%u", ino, gen, n);
	if (got < 0)
		return -errno;
	check->result.kept++;
	return fsync(lost) < 0 ? -errno : 0;
}

int check_keep_bytes(struct check *check, const char *name, struct slice bytes)
{
	AUTO_CLOSE int lost = lost_dir(check);
	int err = lost < 0 ? lost : fs_replace(lost, name, bytes.data, bytes.len);

	check->result.kept += !err;
	return err;
}

/* ---- the database ---- */

static int say(char **ret_why, const char *dir, const char *what, int err)
{
	if (!*ret_why && asprintf(ret_why, "%s: %s", dir, what) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
	return err;
}

static int take_lock(struct check *check, char **ret_why)
{
	const char *dir = check->config->dir;

	check->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (check->dirfd >= 0)
		check->lock_fd = openat(check->dirfd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (check->lock_fd < 0) {
		int err = -errno;

		return say(ret_why, dir, err == -ENOENT ? "there is no cache here" : strerror(-err), err);
	}
	if (flock(check->lock_fd, (check->config->repair ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return say(ret_why, dir, "a daemon is using this cache: stop it first", -EBUSY);
	return 0;
}

/* SQLite's own look at all of it.  1: it found something. */
static int check_database(struct check *check)
{
	unsigned n = 0;
	sqlite3_stmt *stmt;
	int got = db_query(check->db, &stmt, "PRAGMA integrity_check(20)", "");

	while (got > 0) {
		const char *line = (const char *)sqlite3_column_text(stmt, 0);

		if (!line || strcmp(line, "ok")) {
			check_note(check, "cache.db: %s", line ? line : "?");
			n++;
		}
		got = db_next(stmt);
	}
	if (got == -ENOMEM)
		return got;
	if (got < 0)
		check_note(check, "cache.db: %s", db_message(check->db));
	return n || got < 0;
}

static int open_database(struct check *check, bool for_repair)
{
	int err;

	db_close(check->db);
	check->db = NULL;
	if (for_repair)
		return db_open(check->path, DB_WRITER, false, &check->db);
	err = db_open_aside(check->path, &check->db);
	/* Else SQLite would read nothing at all of one that was cut, or has one bad table. */
	return err ? err : db_exec(check->db, "PRAGMA writable_schema = ON");
}

/* The rows, or with 'repair' all of it in one transaction: a check that breaks off has changed nothing in the database. */
static int check_all(struct check *check)
{
	static int (*const parts[])(struct check *) = { check_meta, check_inodes, check_names, check_log, check_content, check_digests, check_bases,
						      check_links, check_conflicts };
	int64_t closed = 0;
	int err = MIN(meta_get_int(check->db, "closed", &closed), 0);

	check->is_closed = closed;
	if (!err && check->config->repair)
		err = db_exec(check->db, "BEGIN IMMEDIATE");
	for (size_t i = 0; i < ARRAY_SIZE(parts) && !err; i++) {
		check_begin(check);
		err = parts[i](check);
	}
	check_begin(check);
	/* What was mended has to be seen by the next start: it looks at everything then. */
	if (!err && check->result.mended)
		err = db_run(check->db, "DELETE FROM meta WHERE key = 'closed'", "");
	if (!err && check->config->repair)
		err = db_exec(check->db, "COMMIT");
	return err;
}

/* What cannot be had of it otherwise. */
static bool is_beyond(int err)
{
	return err == -EUCLEAN || err == -EIO;
}

/* Who the cache is, is what nothing can be done without. */
static bool has_identity(struct check *check)
{
	int64_t client = 0;

	return check->db && meta_get_int(check->db, "client_id", &client) > 0 && client;
}

static int mend_database(struct check *check, bool *ret_is_anew, char **ret_why)
{
	int err = check_salvage(check);

	if (is_beyond(err)) {
		*ret_is_anew = true;
		err = check_anew(check);
	}
	return err ? say(ret_why, check->path, "nothing can be made of the database; the cache is left as it is", err) : 0;
}

static int look(struct check *check, char **ret_why)
{
	int err = open_database(check, false), damaged;
	bool is_anew = false;

	if (err == -ENOENT && !check_has_content(check)) {
		check_note(check, "there is no database yet: the next start makes a new cache");
		return 0;
	}
	/* Cut so short, or so altered, that it is no database at all; or gone, and what it spoke of is there. */
	damaged = is_beyond(err) || err == -ENOENT;
	if (!err) {
		err = schema_look(check->db, check->path, ret_why);
		damaged = err == -EUCLEAN || err == -EIO;
		if (!err) {
			damaged = check_database(check);
			err = MIN(damaged, 0);
		}
	}
	if (err && !damaged)
		return say(ret_why, check->path, strerror(-err), err);
	check_begin(check);
	if (damaged && !check_found(check, "the database is damaged%s%s", *ret_why ? ": " : "", *ret_why ? *ret_why : "")) {
		/* What can be read of it is looked at all the same. */
		if (check->db && !err)
			(void)check_all(check);
		return has_identity(check) ? 0 : check_anew_say(check);
	}
	free(*ret_why);
	*ret_why = NULL;
	err = damaged ? mend_database(check, &is_anew, ret_why) : 0;
	if (err || is_anew)
		return err;
	if (check->config->repair)
		err = open_database(check, true);
	if (!err)
		err = check_all(check);
	return err ? say(ret_why, check->path, strerror(-err), err) : 0;
}

int cache_check(const struct check_config *config, struct check_result *ret_result, char **ret_why)
{
	struct check check = { .config = config, .dirfd = -1, .lock_fd = -1 };
	int err;

	*ret_why = NULL;
	*ret_result = (struct check_result){ 0 };
	if (asprintf(&check.path, "%s/cache.db", config->dir) < 0)
		return -ENOMEM;
	err = take_lock(&check, ret_why);
	if (!err)
		err = look(&check, ret_why);
	db_close(check.db);
	mem_close_fd(&check.lock_fd);
	mem_close_fd(&check.dirfd);
	free(check.path);
	*ret_result = check.result;
	return err;
}
