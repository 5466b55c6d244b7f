/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/hoard_table.h"

#include <errno.h>
#include <string.h>
#include "base/fault.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/writer.h"

/* ---- whether it is hoarded ---- */

/* A path that grows at its front. */
struct path {
	char text[CML_PATH_MAX];
	size_t start;
};

static int path_put(struct path *path, struct slice name)
{
	if (path->start < name.len + 1)
		return -ENAMETOOLONG;
	path->start -= name.len;
	memcpy(path->text + path->start, name.data, name.len);
	path->text[--path->start] = '/';
	return 0;
}

/* In front of what stands in it: where that directory is.  1; 0: nowhere; -errno. */
static int path_climb(struct db *db, struct path *path, uint64_t dir)
{
	while (dir != CACHE_ROOT) {
		sqlite3_stmt *stmt;
		int got, err;

		got = db_query(db, &stmt, "SELECT dir, name FROM name WHERE ino = ?1 LIMIT 1", "i", (int64_t)dir);
		if (got <= 0)
			return got;
		dir = sqlite3_column_int64(stmt, 0);
		err = path_put(path, db_column(stmt, 1));
		db_done(stmt);
		if (err)
			return err;
	}
	return 1;
}

/* The highest of the entries at exactly that path that reach so deep. */
static int64_t priority_at(struct db *db, struct slice path, uint32_t distance)
{
	int64_t priority;
	sqlite3_stmt *stmt;
	int got;

	got = db_query(db, &stmt, "SELECT coalesce(max(priority), 0) FROM hoard WHERE path = ?1 AND depth >= ?2", "bi", path,
		       (int64_t)distance);
	if (got <= 0)
		return got ? got : -EIO;
	priority = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return priority;
}

/* Of this path: by itself, by the directory it is in, ..., by the root. */
static int64_t priority_of(struct db *db, const struct path *path)
{
	const char *text = path->text + path->start;
	size_t len = sizeof(path->text) - path->start;
	int64_t best = 0, priority;

	for (uint32_t distance = 0;; distance++) {
		priority = priority_at(db, (struct slice){ len ? text : "/", len ? len : 1 }, distance);
		if (priority < 0)
			return priority;
		best = MAX(best, priority);
		if (!len)
			return best;
		while (text[--len] != '/')
			;
	}
}

int64_t hoard_priority(struct cache *cache, struct db *db, uint64_t ino)
{
	int64_t best = 0, priority;
	sqlite3_stmt *stmt;
	int got;

	if (!hoard_count(cache))
		return 0;
	got = db_query(db, &stmt, "SELECT dir, name FROM name WHERE ino = ?1 ORDER BY dir", "i", (int64_t)ino);
	while (got > 0) {
		struct path path = { .start = CML_PATH_MAX };
		int err = path_put(&path, db_column(stmt, 1));

		if (!err)
			err = path_climb(db, &path, sqlite3_column_int64(stmt, 0));
		/* A path that is too long for an entry may be below one all the same: it stays. */
		priority = err == -ENAMETOOLONG ? HOARD_PRIORITY_MAX + 1 : err > 0 ? priority_of(db, &path) : err;
		if (priority < 0) {
			db_done(stmt);
			return priority;
		}
		best = MAX(best, priority);
		got = db_next(stmt);
	}
	return got < 0 ? got : best;
}

/* ---- the entries ---- */

int hoard_next(struct db *db, struct hoard_entry *io_entry)
{
	sqlite3_stmt *stmt;
	struct slice path;
	int got;

	got = db_query(db, &stmt,
		       "SELECT path, is_configured, depth, priority FROM hoard"
		       " WHERE (-priority, path, is_configured) > (?1, ?2, ?3)"
		       " ORDER BY -priority, path, is_configured LIMIT 1", "ibi", -(int64_t)io_entry->priority,
		       (struct slice){ io_entry->path, strlen(io_entry->path) }, (int64_t)io_entry->is_configured);
	if (got <= 0)
		return got;
	path = db_column(stmt, 0);
	*io_entry = (struct hoard_entry){
		.is_configured = sqlite3_column_int(stmt, 1),
		.depth = (uint32_t)sqlite3_column_int64(stmt, 2),
		.priority = (uint32_t)sqlite3_column_int64(stmt, 3),
	};
	memcpy(io_entry->path, path.data, MIN(path.len, sizeof(io_entry->path) - 1));
	db_done(stmt);
	return 1;
}

static int check(const char *path, uint32_t depth, uint32_t priority)
{
	size_t len = strlen(path);

	(void)depth;
	if (len >= CML_PATH_MAX)
		return -ENAMETOOLONG;
	if (path[0] != '/' || !priority || priority > HOARD_PRIORITY_MAX)
		return -EINVAL;
	for (const char *p = path; len > 1 && p; p = strchr(p + 1, '/')) {
		size_t part = strcspn(p + 1, "/");

		if (part > CACHE_NAME_MAX)
			return -ENAMETOOLONG;
		if (part <= 2 && !strncmp(p + 1, "..", part))	/* "", "." or ".." */
			return -EINVAL;
	}
	return 0;
}

struct edit {
	const struct hoard_entry *entries;
	const char *path;
	size_t n;
	uint64_t count;			/* after it */
};

static struct slice path_of(const char *path)
{
	return (struct slice){ path, strlen(path) };
}

static int put(struct change *change, const char *path, uint32_t depth, uint32_t priority, bool is_configured)
{
	return db_run(writer_db(change->cache),
		      "INSERT OR REPLACE INTO hoard (path, is_configured, depth, priority) VALUES (?1, ?2, ?3, ?4)", "biii",
		      path_of(path), (int64_t)is_configured, (int64_t)depth, (int64_t)priority);
}

static int count_all(struct change *change, uint64_t *ret)
{
	sqlite3_stmt *stmt;
	int got = db_query(writer_db(change->cache), &stmt, "SELECT count(*) FROM hoard", "");

	if (got <= 0)
		return got ? got : -EIO;
	*ret = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}

static int add_run(struct change *change)
{
	struct edit *edit = change->arg;
	const struct hoard_entry *entry = edit->entries;
	int err = put(change, edit->path, entry->depth, entry->priority, false);

	change->wants_sync = true;
	if (!err)
		err = FAULT("hoard.add");
	return err ? err : count_all(change, &edit->count);
}

static int remove_run(struct change *change)
{
	struct db *db = writer_db(change->cache);
	struct edit *edit = change->arg;
	sqlite3_stmt *stmt;
	int got;

	change->wants_sync = true;
	got = db_query(db, &stmt, "SELECT min(is_configured) FROM hoard WHERE path = ?1 HAVING count(*) > 0", "b", path_of(edit->path));
	if (got <= 0)
		return got ? got : -ENOENT;
	got = sqlite3_column_int(stmt, 0);
	db_done(stmt);
	if (got)
		return -EPERM;
	got = db_run(db, "DELETE FROM hoard WHERE path = ?1 AND is_configured = 0", "b", path_of(edit->path));
	return got ? got : count_all(change, &edit->count);
}

static int configure_run(struct change *change)
{
	struct edit *edit = change->arg;
	int err = db_run(writer_db(change->cache), "DELETE FROM hoard WHERE is_configured = 1", "");

	for (size_t i = 0; i < edit->n && !err; i++)
		err = put(change, edit->entries[i].path, edit->entries[i].depth, edit->entries[i].priority, true);
	return err ? err : count_all(change, &edit->count);
}

static int change_table(struct cache *cache, int (*run)(struct change *change), struct edit *edit)
{
	int err = writer_call(cache, run, edit);

	if (!err)
		hoard_changed(cache, edit->count);
	return err;
}

int hoard_add(struct cache *cache, const char *path, uint32_t depth, uint32_t priority)
{
	const struct hoard_entry entry = { .depth = depth, .priority = priority };
	struct edit edit = { .entries = &entry, .path = path };
	int err = check(path, depth, priority);

	return err ? err : change_table(cache, add_run, &edit);
}

int hoard_remove(struct cache *cache, const char *path)
{
	struct edit edit = { .path = path };

	return change_table(cache, remove_run, &edit);
}

int hoard_configure(struct cache *cache, const struct hoard_entry *entries, size_t n)
{
	struct edit edit = { .entries = entries, .n = n };
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = check(entries[i].path, entries[i].depth, entries[i].priority);
	/* Seldom is there any: then no transaction. */
	if (!err && !n && !hoard_count(cache))
		return 0;
	return err ? err : change_table(cache, configure_run, &edit);
}
