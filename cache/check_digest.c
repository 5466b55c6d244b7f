/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contents that have a digest (digest.h): are their bytes what they were?  What is said of one by another part, because its file is missing or
 * too short or its maps do not decode, is not said here again; nor is anything said where the next start has still to write to the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "cache/check_state.h"
#include "cache/digest.h"

#define NAME_ROOM 64

enum { COL_GEN, COL_PRESENT, COL_IS_DIRTY, COL_IS_OURS, COL_MAY_GO, COL_IS_LOGGED };

/* What the database says of one. */
struct content {
	uint64_t ino;
	uint32_t gen;
	bool is_there;			/* a file, with that content */
	bool is_unsettled;		/* written to when the daemon ended, or to be written to by the next */
	bool is_ours, may_go;		/* changed here; the upstream has it, and nothing that waits needs it */
	struct extent_map present;
};

struct comparing {
	struct check *check;
	struct check_progress at;
};

static int step(void *arg, uint64_t bytes)
{
	struct comparing *c = arg;

	c->at.bytes_done += bytes;
	if (c->check->config->compared)
		c->check->config->compared(c->check->config->arg, &c->at);
	return 0;
}

/* may_go: the terms are those of evict.c. */
static int read_content(struct check *check, uint64_t ino, struct content *ret)
{
	sqlite3_stmt *stmt;
	int got, err;

	*ret = (struct content){ .ino = ino };
	got = db_query(check->db, &stmt,
		       "SELECT gen, present, is_dirty, length(dirty) > 0 OR length(dirty_next) > 0 OR data_seq <> 0 OR is_dirty <> 0,"
		       " links_up > 0 AND data_version <> 0 AND data_seq = 0 AND attr_seq = 0 AND is_dirty = 0 AND dirty IS NULL"
		       " AND dirty_next IS NULL AND NOT EXISTS (SELECT 1 FROM cml WHERE cml.ino = inode.ino),"
		       " EXISTS (SELECT 1 FROM content_log l WHERE l.ino = inode.ino AND l.gen = inode.gen)"
		       " FROM inode WHERE ino = ?1 AND type = 1", "i", (int64_t)ino);
	if (got <= 0)
		return got;
	ret->gen = (uint32_t)sqlite3_column_int64(stmt, COL_GEN);
	ret->is_unsettled = sqlite3_column_int(stmt, COL_IS_DIRTY) || sqlite3_column_int(stmt, COL_IS_LOGGED);
	ret->is_ours = sqlite3_column_int64(stmt, COL_IS_OURS) != 0;
	ret->may_go = sqlite3_column_int(stmt, COL_MAY_GO) == 1;
	err = extent_decode(&ret->present, db_column(stmt, COL_PRESENT));
	ret->is_there = !err;
	db_done(stmt);
	return err == -ENOMEM ? err : 0;
}

static int open_content(struct check *check, const struct content *content)
{
	char name[NAME_ROOM];

	(void)snprintf(name, sizeof(name), "objects/%02x/%" PRIu64 ".%" PRIu32, (unsigned)(content->ino % 256), content->ino, content->gen);
	return openat(check->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static bool is_whole(int fd, const struct extent_map *ranges)
{
	struct stat st;

	return ranges->n && !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size >= ranges->v[ranges->n - 1].end;
}

static int fetch_again(struct check *check, const struct content *content)
{
	int err = check_keep_content(check, content->ino, content->gen);

	if (!err)
		err = FAULT("check.digest");
	if (!err)
		err = db_run(check->db, "UPDATE inode SET present = NULL WHERE ino = ?1", "i", (int64_t)content->ino);
	return err ? err : digest_drop(check->db, content->ino);
}

/*
 * What is clean can be had again, at the latest when all that waits about it has been sent: until then it is told each time.  What was changed here is the
 * only one there is, so it stays; with 'repair' whoever asked knows, and it is not told again.
 */
static int altered(struct check *check, const struct content *content, const char *how)
{
	char path[CHECK_ROOM];

	(void)check_path(check, content->ino, path);
	if (content->may_go)
		return check_found(check, "%s: its content %s on the disk; it is fetched again%s", path, how,
				   check->config->repair ? ", and what is there is kept in lost+found" : "") ?
			fetch_again(check, content) : 0;
	if (!content->is_ours) {
		check_lost(check, "%s: its content %s on the disk; it can be fetched again once what waits about it has been sent: until then"
				  " it is left as it is", path, how);
		return 0;
	}
	check_lost(check, "%s: its content %s on the disk; it holds changes that have not been sent: it is left as it is, look at it", path, how);
	return check->config->repair ? digest_drop(check->db, content->ino) : 0;
}

/* 1: all bytes are as they were; 0: they are not; -errno. */
static int compare(struct comparing *c, const struct digest *digest, int fd)
{
	struct digest now = { .ino = digest->ino, .gen = digest->gen };
	int err = extent_copy(&now.ranges, &digest->ranges);

	if (!err)
		err = digest_read(fd, &now, step, c);
	if (!err)
		err = !memcmp(now.hash, digest->hash, DIGEST_LEN);
	digest_release(&now);
	return err;
}

static int check_one(struct comparing *c, const struct digest *digest, const struct content *content)
{
	AUTO_CLOSE int fd = -1;
	int got;

	if (content->is_unsettled)
		return 0;
	/* It speaks of what is not there any more, and is not to meet what comes in its place (of the same generation, where a file was missing). */
	if (!content->is_there || content->gen != digest->gen || !digest_is_within(&digest->ranges, &content->present))
		return c->check->config->repair ? digest_drop(c->check->db, digest->ino) : 0;
	fd = open_content(c->check, content);
	if (fd < 0 || !is_whole(fd, &digest->ranges))
		return 0;
	got = compare(c, digest, fd);
	if (got == -ENOMEM)
		return got;
	return got > 0 ? 0 : altered(c->check, content, got ? "cannot be read as a whole" : "has been altered");
}

static int check_row(struct comparing *c, uint64_t ino)
{
	struct check *check = c->check;
	struct digest digest = { 0 };
	struct content content;
	char path[CHECK_ROOM];
	int err = digest_get(check->db, ino, &digest);

	c->at.files_done++;
	if (err == -EUCLEAN)
		return check_found(check, "%s: what its content was is not readable; it is noted anew", check_path(check, ino, path)) ?
			digest_drop(check->db, ino) : 0;
	if (err <= 0)
		return err;
	err = read_content(check, ino, &content);
	if (!err)
		err = check_one(c, &digest, &content);
	extent_release(&content.present);
	digest_release(&digest);
	return err;
}

/* The numbers, for what is done about them changes the table; and how much there is to read. */
static int list_rows(struct comparing *c, struct buf *inos)
{
	struct extent_map ranges = { 0 };
	sqlite3_stmt *stmt;
	int got, err = 0;

	got = db_query(c->check->db, &stmt, "SELECT ino, ranges FROM digest", "");
	while (got > 0 && !err) {
		err = check_add(inos, (uint64_t)sqlite3_column_int64(stmt, 0));
		if (!extent_decode(&ranges, db_column(stmt, 1)))
			c->at.bytes += extent_bytes(&ranges);
		c->at.files++;
		got = db_next(stmt);
	}
	extent_release(&ranges);
	return err ? err : MIN(got, 0);
}

int check_digests(struct check *check)
{
	struct comparing c = { .check = check };
	struct buf inos;
	int err;

	buf_init(&inos, 0);
	err = list_rows(&c, &inos);
	for (size_t at = 0; at < inos.len && !err; at += sizeof(uint64_t)) {
		uint64_t ino;

		memcpy(&ino, inos.data + at, sizeof(ino));
		err = check_row(&c, ino);
	}
	buf_release(&inos);
	return err;
}
