/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content files: is each there that a row speaks of, and long enough; and does a row speak of each that is there? */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cache/check_state.h"
#include "cache/digest.h"
#include "cache/extent.h"

#define NAME_ROOM 64
#define LENGTH_MAX (1ull << 40)	/* longer ones, with holes, the file system may not have taken */

/* ---- from the rows to the files ---- */

enum { COL_INO, COL_GEN, COL_SIZE, COL_PRESENT, COL_DIRTY, COL_DIRTY_NEXT, COL_VERSION, COL_SEQ, COL_IS_DIRTY };

struct row {
	uint64_t ino, needed;		/* needed: bytes that its file must have */
	uint32_t gen;
	bool is_ours;			/* changed here */
	bool is_new;			/* the upstream has never had any content of it */
	int64_t length;			/* of its file; -1: there is none */
};

struct mend {
	struct buf again, drop;		/* ino: to be fetched again; and what was changed is lost */
};

static int64_t length_of(struct check *check, uint64_t ino, uint32_t gen)
{
	char name[NAME_ROOM];
	struct stat st;

	(void)snprintf(name, sizeof(name), "objects/%02x/%" PRIu64 ".%" PRIu32, (unsigned)(ino % 256), ino, gen);
	return fstatat(check->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)st.st_size : -1;
}

/* The next start writes it into the file. */
static bool is_in_content_log(struct check *check, uint64_t ino, uint32_t gen)
{
	sqlite3_stmt *stmt;
	int got = db_query(check->db, &stmt, "SELECT 1 FROM content_log WHERE ino = ?1 AND gen = ?2 LIMIT 1", "ii", (int64_t)ino, (int64_t)gen);

	if (got > 0)
		db_done(stmt);
	return got > 0;
}

static void read_row(struct check *check, sqlite3_stmt *stmt, struct row *row)
{
	struct extent_map map = { 0 };
	uint64_t size = sqlite3_column_int64(stmt, COL_SIZE);

	*row = (struct row){
		.ino = sqlite3_column_int64(stmt, COL_INO),
		.gen = (uint32_t)sqlite3_column_int64(stmt, COL_GEN),
		.is_ours = sqlite3_column_bytes(stmt, COL_DIRTY) || sqlite3_column_bytes(stmt, COL_DIRTY_NEXT) ||
			   sqlite3_column_int64(stmt, COL_SEQ) || sqlite3_column_int64(stmt, COL_IS_DIRTY),
		.is_new = !sqlite3_column_int64(stmt, COL_VERSION),
	};
	/* One that does not decode has been told of. */
	if (!extent_decode(&map, db_column(stmt, COL_PRESENT)) && map.n)
		row->needed = MIN(map.v[map.n - 1].end, size);
	extent_release(&map);
	row->length = length_of(check, row->ino, row->gen);
}

/* As long as it should be, for what cannot be had from anywhere else: its end is zeros. */
static int lengthen(struct check *check, const struct row *row)
{
	AUTO_CLOSE int fd = -1;
	char name[NAME_ROOM];

	(void)snprintf(name, sizeof(name), "objects/%02x/%" PRIu64 ".%" PRIu32, (unsigned)(row->ino % 256), row->ino, row->gen);
	fd = openat(check->dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)row->needed) < 0 || fsync(fd) < 0)
		return -errno;
	return digest_drop(check->db, row->ino);
}

static int check_row(struct check *check, const struct row *row, struct mend *mend)
{
	const char *what = row->length < 0 ? "its content file is missing" : "its content file has been cut short";
	char path[CHECK_ROOM];
	int err;

	(void)check_path(check, row->ino, path);
	if (!row->is_ours)
		return check_found(check, "%s: %s; it is fetched again", path, what) ? check_add(&mend->again, row->ino) : 0;
	if (row->is_new)
		return check_found(check, "%s: %s; it was made here, so what is missing is lost: it is zeros", path, what) ?
			lengthen(check, row) : 0;
	if (!check_found(check, "%s: %s; what was changed in it here is lost%s", path, what,
			 row->length > 0 ? ", but for what is kept in lost+found" : ""))
		return 0;
	err = check_keep_content(check, row->ino, row->gen);
	return err && err != -ENOENT ? err : check_add(&mend->drop, row->ino);
}

static int check_files(struct check *check)
{
	struct mend mend;
	sqlite3_stmt *stmt;
	int got, err = 0;

	buf_init(&mend.again, 0);
	buf_init(&mend.drop, 0);
	got = db_query(check->db, &stmt, "SELECT ino, gen, size, present, dirty, dirty_next, data_version, data_seq, is_dirty FROM inode"
					 " WHERE type = 1 AND length(present) > 0", "");
	while (got > 0 && !err) {
		struct row row;

		read_row(check, stmt, &row);
		if (row.needed && (row.length < 0 || ((uint64_t)row.length < row.needed && row.needed <= LENGTH_MAX)) &&
		    !is_in_content_log(check, row.ino, row.gen))
			err = check_row(check, &row, &mend);
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	if (!err)
		err = check_each(check, &mend.again, "UPDATE inode SET present = NULL WHERE ino = ?1");
	for (size_t at = 0; !err && at < mend.drop.len; at += sizeof(uint64_t)) {
		int64_t ino;

		memcpy(&ino, mend.drop.data + at, sizeof(ino));
		err = db_run(check->db, "DELETE FROM cml WHERE ino = ?1 AND op = 10", "i", ino);
	}
	if (!err)
		err = check_each(check, &mend.drop, "UPDATE inode SET present = NULL, dirty = NULL, dirty_next = NULL, data_seq = 0,"
						    " is_dirty = 0, is_stale = 1, gen = gen + 1 WHERE ino = ?1");
	buf_release(&mend.again);
	buf_release(&mend.drop);
	return err;
}

/* ---- from the files to the rows ---- */

static int is_named(struct check *check, uint64_t ino, uint32_t gen)
{
	sqlite3_stmt *stmt;
	int got = db_query(check->db, &stmt, "SELECT 1 FROM inode WHERE ino = ?1 AND gen = ?2", "ii", (int64_t)ino, (int64_t)gen);

	if (got > 0)
		db_done(stmt);
	return got;
}

/* After a crash there may be some: what was removed and not yet deleted.  The next start does that, unless they are kept. */
static int check_orphan(struct check *check, uint64_t ino, uint32_t gen)
{
	bool mends = check->config->repair;

	if (check->is_closed)
		mends = check_found(check, "content file %" PRIu64 ".%" PRIu32 " belongs to nothing that is known; it is kept in lost+found", ino, gen);
	else
		check_note(check, "content file %" PRIu64 ".%" PRIu32 " belongs to nothing any more, as after a crash; %s", ino, gen,
			   mends ? "it is kept in lost+found" : "the next start removes it, --repair keeps it");
	return mends ? check_keep_content(check, ino, gen) : 0;
}

struct visit {
	int (*fn)(struct check *check, uint64_t ino, uint32_t gen, void *arg);
	void *arg;
};

static int visit_dir(struct check *check, unsigned index, const struct visit *visit)
{
	struct dirent *entry;
	char name[NAME_ROOM];
	int fd, err = 0;
	DIR *dir;

	(void)snprintf(name, sizeof(name), "objects/%02x", index);
	fd = openat(check->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	while (!err && (entry = readdir(dir))) {
		uint64_t ino;
		uint32_t gen;
		int end = 0;

		if (sscanf(entry->d_name, "%" SCNu64 ".%" SCNu32 "%n", &ino, &gen, &end) != 2 || entry->d_name[end] || ino % 256 != index)
			continue;
		err = visit->fn(check, ino, gen, visit->arg);
	}
	(void)closedir(dir);
	return err;
}

int check_each_content(struct check *check, int (*fn)(struct check *check, uint64_t ino, uint32_t gen, void *arg), void *arg)
{
	const struct visit visit = { fn, arg };
	int err = 0;

	for (unsigned i = 0; i < 256 && !err; i++)
		err = visit_dir(check, i, &visit);
	return err;
}

static int check_named(struct check *check, uint64_t ino, uint32_t gen, void *arg)
{
	int got = is_named(check, ino, gen);

	(void)arg;
	return got < 0 ? got : got ? 0 : check_orphan(check, ino, gen);
}

int check_content(struct check *check)
{
	int err = check_files(check);

	check_begin(check);
	return err ? err : check_each_content(check, check_named, NULL);
}
