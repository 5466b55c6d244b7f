/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A walk through what an entry hoards: by the database, a row at a time, in memory for the depth of the tree only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/hoard_table.h"
#include "cache/internal.h"

/* A directory that is walked through. */
struct level {
	uint64_t dir;
	uint32_t depth;			/* so far below it still */
	size_t len;
	char last[CACHE_NAME_MAX];	/* the name that was looked at last */
};

struct levels {
	struct level *v;
	size_t n, room;
};

struct object_row {
	uint64_t ino, size, missing;
	enum file_type type;
	bool is_listed;
};

static int levels_push(struct levels *levels, uint64_t dir, uint32_t depth)
{
	if (levels->n == levels->room) {
		size_t room = levels->room ? 2 * levels->room : 16;
		struct level *v = realloc(levels->v, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		levels->v = v;
		levels->room = room;
	}
	levels->v[levels->n++] = (struct level){ .dir = dir, .depth = depth };
	return 0;
}

static uint64_t missing_of(const struct extent_map *present, uint64_t size)
{
	uint64_t here = 0;

	for (uint32_t i = 0; i < present->n && present->v[i].start < size; i++)
		here += MIN(present->v[i].end, size) - present->v[i].start;
	return size - here;
}

/* Columns from 'i' on: ino, type, size, is_listed, present. */
static int row_read(sqlite3_stmt *stmt, int i, struct object_row *ret)
{
	struct extent_map present = { 0 };
	int err;

	ret->ino = sqlite3_column_int64(stmt, i);
	ret->type = sqlite3_column_int(stmt, i + 1);
	ret->size = sqlite3_column_int64(stmt, i + 2);
	ret->is_listed = sqlite3_column_int(stmt, i + 3);
	err = extent_decode(&present, db_column(stmt, i + 4));
	ret->missing = missing_of(&present, ret->size);
	extent_release(&present);
	return err;
}

/* What was fetched a moment ago is in memory only. */
static void look_in_memory(struct cache *cache, struct object_row *row)
{
	struct inode *inode;

	pthread_mutex_lock(&cache->lock);
	inode = inode_find(cache, row->ino);
	if (inode && !inode->is_gone) {
		row->size = inode->v.size;
		row->missing = missing_of(&inode->present, inode->v.size);
	}
	pthread_mutex_unlock(&cache->lock);
}

static int visit_file(struct hoard_walk *walk, struct object_row *row)
{
	struct hoard_entry *entry = walk->entry;

	if (row->missing)
		look_in_memory(walk->cache, row);
	entry->files++;
	entry->bytes += row->size;
	if (!row->missing)
		return 0;
	entry->missing_files++;
	entry->missing_bytes += row->missing;
	return walk->missing ? walk->missing(walk, row->ino, false) : 0;
}

/* What is hoarded with so much below it. */
static int visit(struct hoard_walk *walk, struct levels *levels, struct object_row *row, uint32_t depth)
{
	if (walk->is_stopping && __atomic_load_n(walk->is_stopping, __ATOMIC_RELAXED))
		return -ECANCELED;
	if (row->type == TYPE_REG)
		return visit_file(walk, row);
	if (row->type != TYPE_DIR || !depth)
		return 0;
	if (!row->is_listed) {
		int err;

		walk->entry->unlisted++;
		err = walk->missing ? walk->missing(walk, row->ino, true) : 0;
		if (err)
			return err;
	}
	return levels_push(levels, row->ino, depth);
}

/* The next name of the directory on top: 1, 0: no more, -errno. */
static int next_name(struct hoard_walk *walk, struct level *level, struct object_row *ret)
{
	sqlite3_stmt *stmt;
	struct slice name;
	int got;

	do {
		got = db_query(walk->db, &stmt,
			       "SELECT n.name, i.ino, i.type, i.size, i.is_listed, i.present FROM name n JOIN inode i ON i.ino = n.ino"
			       " WHERE n.dir = ?1 AND n.name > ?2 AND n.ino > 0 ORDER BY n.name LIMIT 1", "ib",
			       (int64_t)level->dir, (struct slice){ level->last, level->len });
		if (got <= 0)
			return got;
		name = db_column(stmt, 0);
		level->len = MIN(name.len, sizeof(level->last));
		memcpy(level->last, name.data, level->len);
		got = row_read(stmt, 1, ret);
		db_done(stmt);
		if (got)
			return got;
	} while (name_is_local((struct slice){ level->last, level->len }));
	return 1;
}

/* What stands at the entry's path: 1, 0: nothing, -errno. */
static int find(struct hoard_walk *walk, struct object_row *ret)
{
	const char *p = walk->entry->path;
	uint64_t ino = CACHE_ROOT;
	sqlite3_stmt *stmt;
	int got;

	while (*p) {
		size_t len = strcspn(++p, "/");

		if (!len)
			break;		/* the root */
		got = db_query(walk->db, &stmt, "SELECT ino FROM name WHERE dir = ?1 AND name = ?2 AND ino > 0", "ib", (int64_t)ino,
			       (struct slice){ p, len });
		if (got <= 0)
			return got;
		ino = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
		p += len;
	}
	got = db_query(walk->db, &stmt, "SELECT ino, type, size, is_listed, present FROM inode WHERE ino = ?1", "i", (int64_t)ino);
	if (got <= 0)
		return got;
	got = row_read(stmt, 0, ret);
	db_done(stmt);
	return got ? got : 1;
}

int hoard_walk(struct hoard_walk *walk)
{
	struct levels levels = { 0 };
	struct object_row row;
	int got, err = 0;

	got = find(walk, &row);
	if (got <= 0)
		return got;
	walk->entry->is_there = true;
	err = visit(walk, &levels, &row, walk->entry->depth);
	while (!err && levels.n) {
		struct level *level = &levels.v[levels.n - 1];

		got = next_name(walk, level, &row);
		if (got > 0)
			err = visit(walk, &levels, &row, level->depth == HOARD_ALL ? HOARD_ALL : level->depth - 1);
		else
			levels.n--;
		err = err ? err : MIN(got, 0);
	}
	free(levels.v);
	return err;
}
