/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/recover.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/content_log.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/digester.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "cache/object.h"
#include "cache/record.h"
#include "cache/writer.h"

#define LOCAL_NAMES_KEPT_NS (86400ll * 1000000000)
#define AT_ONCE 256		/* inodes in one transaction */

/* The numbers that a query gives, all of them, for what is done about them changes its tables. */
static int read_inos(struct cache *cache, const char *sql, struct buf *buf)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(cache), &stmt, sql, "");
	while (got > 0) {
		uint64_t ino = sqlite3_column_int64(stmt, 0);

		if (buf_append(buf, &ino, sizeof(ino))) {
			db_done(stmt);
			return buf_error(buf);
		}
		got = db_next(stmt);
	}
	return got;
}

/* One step of the mending: a change that does at most AT_ONCE of them. */
struct step {
	struct buf inos;		/* uint64_t each */
	size_t next;			/* index */
	const char *sql;
	int (*mend)(struct change *change, uint64_t ino);
};

static int step_read(struct change *change)
{
	struct step *step = change->arg;

	return read_inos(change->cache, step->sql, &step->inos);
}

static int step_run(struct change *change)
{
	struct step *step = change->arg;
	size_t n = step->inos.len / sizeof(uint64_t), end = MIN(step->next + AT_ONCE, n);

	for (size_t i = step->next; i < end; i++) {
		uint64_t ino;
		int err;

		memcpy(&ino, step->inos.data + i * sizeof(ino), sizeof(ino));
		err = step->mend(change, ino);
		if (err)
			return err;
	}
	return 0;
}

/* Gives how many there were, or -errno. */
static int64_t mend_all(struct cache *cache, const char *sql,
			int (*mend)(struct change *change, uint64_t ino))
{
	struct step step = { .sql = sql, .mend = mend };
	size_t n;
	int err;

	buf_init(&step.inos, 0);
	err = writer_call(cache, step_read, &step);
	n = step.inos.len / sizeof(uint64_t);
	for (step.next = 0; !err && step.next < n; step.next += AT_ONCE)
		err = writer_call(cache, step_run, &step);
	buf_release(&step.inos);
	return err ? err : (int64_t)n;
}

/* ---- what is mended ---- */

struct unname {
	struct change *change;
	uint64_t ino;
};

static int unname_local(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct unname *unname = arg;

	(void)info;
	return name_is_local(name) ? name_unbind(unname->change, dir, name, 0) : 0;
}

/* One with records is known upstream, by names in directories that are not listed here. */
static bool is_known_there(const struct inode_values *v)
{
	return v->links_up && (v->data_seq || v->attr_seq);
}

static int forget(struct change *change, struct inode_edit *edit)
{
	int err = cml_forget(change, edit);

	if (!err)
		inode_drop(edit);
	return err;
}

/* No client can have it open any more. */
static int mend_old_local(struct change *change, uint64_t ino)
{
	struct unname unname = { change, ino };
	struct inode_edit *edit;
	int64_t left;
	int err;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err;
	if (edit->v.type == TYPE_DIR || edit->v.ctime > change->now - LOCAL_NAMES_KEPT_NS)
		return 0;
	err = name_each_of(change->cache, ino, unname_local, &unname);
	if (!err && edit->v.nlink > 1)
		EDIT(edit, nlink, edit->v.nlink - 1);
	if (err || is_known_there(&edit->v))
		return err;
	left = name_count_of(change->cache, ino);
	return left ? (int)MIN(left, 0) : forget(change, edit);
}

static int mend_nameless(struct change *change, uint64_t ino)
{
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err;
	return forget(change, edit);
}

/* Bytes that changed without a record do not exist: all that is here counts as changed. */
static int mend_dirty(struct change *change, uint64_t ino)
{
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err;
	err = EDIT_MAPS(edit);
	if (!err)
		err = extent_copy(edit->inode->work->taken_seq ? &edit->dirty_next : &edit->dirty,
				  &edit->present);
	if (!err)
		err = cml_append_store(change, edit);
	if (!err)
		EDIT(edit, is_dirty, false);
	return err;
}

static int mend_object(void *arg, uint64_t ino, uint32_t gen, uint64_t size, uint64_t used)
{
	struct cache *cache = arg;
	uint64_t inode_size = 0;
	bool is_known = false;
	struct inode *inode;
	int err;

	(void)used;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &err);
	if (inode) {
		is_known = inode->v.gen == gen;
		inode_size = inode->v.size;
	}
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	if (!inode && err != -ESTALE)
		return err;
	if (!is_known)
		object_unlink(cache, ino, gen);
	else if (size > inode_size)
		return object_cut(cache, ino, gen, inode_size);
	return 0;
}

/* Is there one but the root?  Two indices are counted, which takes a tenth of looking for each one's names. */
static int has_nameless(struct db *db)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(db, &stmt, "SELECT (SELECT count(*) FROM inode) <> 1 +"
				  " (SELECT count(DISTINCT ino) FROM name WHERE ino > 0)", "");
	if (got <= 0)
		return got ? got : -EIO;
	got = sqlite3_column_int(stmt, 0);
	db_done(stmt);
	return got;
}

static int has_nameless_run(struct change *change)
{
	int got = has_nameless(writer_db(change->cache));

	*(bool *)change->arg = got > 0;
	return MIN(got, 0);
}

/* Gives how many there were, or -errno. */
static int64_t mend_all_nameless(struct cache *cache)
{
	bool has_some;
	int err;

	err = writer_call(cache, has_nameless_run, &has_some);
	if (err || !has_some)
		return err;
	/* The terms are those of is_known_there(). */
	return mend_all(cache,
			"SELECT ino FROM inode WHERE ino <> 2 AND NOT EXISTS (SELECT 1 FROM name"
			" WHERE name.ino = inode.ino AND name.ino > 0)"
			" AND (links_up = 0 OR (data_seq = 0 AND attr_seq = 0))",
			mend_nameless);
}

int recover_begin(struct cache *cache)
{
	int64_t ignored;
	int got;

	got = meta_get_int(cache->write_db, "closed", &ignored);
	if (got <= 0)
		return got;
	cache->was_closed = true;
	return db_run(cache->write_db, "DELETE FROM meta WHERE key = 'closed'", "");
}

void recover_end(struct cache *cache)
{
	if (cache->is_failed || cache->has_leftovers)
		return;
	/* Files that were cut or removed must not come back longer than the database says that they are. */
	if (FAULT("recover.sync") || object_sync_all(cache))
		return;
	(void)content_log_clear(cache);		/* else the next start puts it where it is already */
	/* Nothing but a start looks for those that have lost their last name, and their records since. */
	if (has_nameless(cache->write_db) != 0)
		return;
	if (digester_save(cache))
		return;
	(void)meta_put_int(cache->write_db, "closed", 1);	/* without it the next start takes longer */
}

int recover_cache(struct cache *cache)
{
	int64_t old, nameless = 0, dirty;

	/* The terms are those of the index. */
	old = mend_all(cache, "SELECT DISTINCT ino FROM name INDEXED BY name_local WHERE length(name) = 28"
			      " AND substr(name, 1, 4) = x'2e6e6673' AND ino > 0", mend_old_local);
	if (old < 0)
		return old;
	if (!cache->was_closed)
		nameless = mend_all_nameless(cache);
	if (nameless < 0)
		return nameless;
	dirty = mend_all(cache, "SELECT ino FROM inode WHERE is_dirty <> 0", mend_dirty);
	if (dirty < 0)
		return dirty;
	if (nameless || dirty)
		log_info(
			"cache: %s was not closed properly and has been mended: files=%lld"
			" forgotten=%lld",
			cache->dir, (long long)dirty, (long long)nameless);
	return cache->was_closed ? 0 : object_each(cache, mend_object, cache);
}
