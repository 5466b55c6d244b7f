/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * (1) The result is a new generation of theirs' content file: made and on the disk before the change that speaks of it is
 *     committed, and removed when that fails or is undone.  Its number is one that nobody else comes to meanwhile, for others go by one.
 * (2) All is done by one change, and each of its conditions is looked at within it.
 */
#include "cache/merged.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/why.h"
#include "cache/base.h"
#include "cache/call.h"
#include "cache/cml_state.h"
#include "cache/conflict_note.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/kept.h"
#include "cache/nameop.h"
#include "cache/object.h"
#include "cache/record.h"
#include "cache/settle.h"
#include "cache/writer.h"

#define DIR_NAME "merging"
#define NAME_ROOM 32
#define GEN_AHEAD 1024		/* keeps (1) */

#define CHANGED_NOW "one of the two was changed just now, or is not wholly known here yet: try again"

/* ---- both sides, laid out ---- */

/* Nothing of ours on it, and nothing that we do not know yet: its content is the upstream's, of that version.  0: it is not so. */
static uint64_t version_of(struct cache *cache, uint64_t ino)
{
	uint64_t version = 0;
	struct inode *inode;
	int ignored;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &ignored);
	if (inode && inode_data_is_clean(inode) && !inode->v.is_dirty && !inode->v.is_stale)
		version = inode->v.data_version;
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return version;
}

static bool is_same(const struct attr *a, const struct attr *b)
{
	/* ctime goes forward with each change (inode_edit_touch()); that it may do so without one costs another try. */
	return a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

/* Are all names in it known? */
static bool is_listed(struct cache *cache, uint64_t dir)
{
	struct inode *inode;
	bool is = true;		/* one that is gone has none */
	int ignored;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, dir, &ignored);
	if (inode)
		is = inode->v.is_listed && !inode->v.is_stale;
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

static int find_sides(struct merged *m, struct call *call, const struct conflict_side *side, char **ret_why)
{
	const struct slice name = { side->name, side->len };
	int err;

	if (side->kind != CONFLICT_COPY)
		return why_fail(ret_why, -ENODATA, "it is not about two contents");
	err = call_lookup(call, side->dir, name);
	if (err == -ENOENT && !is_listed(m->cache, side->dir))
		return why_fail(ret_why, -EAGAIN, CHANGED_NOW);
	if (err == -ENOENT || err == -ESTALE || err == -ENOTDIR)
		return why_fail(ret_why, -ENODATA, "nothing has the name %.*s any more", side->len, side->name);
	if (err)
		return err;
	m->theirs = call->op.ino;
	if (call->op.attr.type != TYPE_REG || m->theirs == m->ours)
		return why_fail(ret_why, -ENODATA, "what the server has under that name is no file of its own");
	if (call->op.attr.size > MERGED_MAX)
		return why_fail(ret_why, -ENODATA, "the server's version is larger than %llu MiB", MERGED_MAX >> 20);
	err = call_getattr(call, m->ours);
	if (err)
		return err == -ESTALE ? why_fail(ret_why, -ENODATA, "our version is not there any more") : err;
	m->mine = call->op.attr;
	if (m->mine.type != TYPE_REG)
		return why_fail(ret_why, -ENODATA, "ours is no file");
	if (m->mine.size > MERGED_MAX)
		return why_fail(ret_why, -ENODATA, "our version is larger than %llu MiB", MERGED_MAX >> 20);
	m->uid = m->mine.uid;
	m->gid = m->mine.gid;
	m->version = version_of(m->cache, m->theirs);
	return m->version ? 0 : why_fail(ret_why, -EAGAIN, CHANGED_NOW);
}

/* CACHE/merging; made when missing. */
static int open_all(int cache_dirfd)
{
	int fd;

	if (mkdirat(cache_dirfd, DIR_NAME, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(cache_dirfd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void dir_name(const struct merged *m, char name[NAME_ROOM])
{
	(void)snprintf(name, NAME_ROOM, "%llu", (unsigned long long)m->id);
}

static int make_dir(struct merged *m)
{
	AUTO_CLOSE int all = open_all(m->cache->dirfd);
	char name[NAME_ROOM];
	int err;

	if (all < 0)
		return all;
	dir_name(m, name);
	err = kept_remove_tree(all, name);
	if (err && err != -ENOENT)
		return err;
	/* Others may search it, but get there by the descriptor only, for CACHE is root's alone. */
	if (mkdirat(all, name, 0755) < 0)
		return -errno;
	m->dirfd = openat(all, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return m->dirfd < 0 || fchmod(m->dirfd, 0755) < 0 ? -errno : 0;
}

/* 0, and to be read by whom it is run as. */
static int lay_out(struct merged *m, struct call *call, uint64_t ino, const char *name)
{
	int err = call_copy_out(call, ino, m->dirfd, name);

	return !err && fchmodat(m->dirfd, name, 0444, 0) < 0 ? -errno : err;
}

static int lay_out_all(struct merged *m, struct call *call, bool needs_base, char **ret_why)
{
	int got;

	got = make_dir(m);
	if (!got)
		got = lay_out(m, call, m->theirs, "theirs");
	if (got == -EIO || got == -ETIMEDOUT)
		return why_fail(ret_why, -EAGAIN, "the server's version is not here, and cannot be had now: go --online and wait for the link, then try again");
	if (!got)
		got = lay_out(m, call, m->ours, "mine");
	if (got == -ESTALE)
		return why_fail(ret_why, -EAGAIN, CHANGED_NOW);
	if (!got)
		got = base_copy_out(m->cache, m->id, m->dirfd, "base");
	if (got < 0)
		return got;
	m->has_base = got && fchmodat(m->dirfd, "base", 0444, 0) == 0;
	if (!m->has_base && needs_base)
		return why_fail(ret_why, -ENODATA, "the command needs BASE, the content that both were made of, and none was kept");
	m->result_fd = openat(m->dirfd, "result", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (m->result_fd < 0 || fchmod(m->result_fd, 0666) < 0)
		return -errno;
	got = call_getattr(call, m->ours);
	if (!got && (!is_same(&m->mine, &call->op.attr) || version_of(m->cache, m->theirs) != m->version))
		return why_fail(ret_why, -EAGAIN, CHANGED_NOW);
	return got;
}

int merged_begin(struct cache *cache, uint64_t id, bool needs_base, struct merged *ret, char **ret_why)
{
	AUTO_FREE struct settle_paths *paths = malloc(sizeof(*paths));
	struct merged m = { .cache = cache, .id = id, .dirfd = -1, .result_fd = -1 };
	struct conflict_side side;
	struct call call = { 0 };
	int err;

	*ret_why = NULL;
	if (!paths)
		return -ENOMEM;
	err = conflict_side_get(cache, id, &side);
	if (err <= 0)
		return err ? err : why_fail(ret_why, -ENODATA, "it is settled, or on record by a sentence only");
	m.ours = side.ours;
	err = settle_paths(cache, id, paths);
	if (!err)
		err = call_init(&call, cache);
	if (!err) {
		memcpy(m.path, paths->name, sizeof(m.path));
		err = find_sides(&m, &call, &side, ret_why);
		if (!err)
			err = lay_out_all(&m, &call, needs_base, ret_why);
		call_release(&call);
	}
	kml_record_release(&side.record);
	if (err && !*ret_why)
		(void)why_fail(ret_why, err, "%s", strerror(-err));
	if (err)
		merged_end(&m);
	else
		*ret = m;
	return err;
}

void merged_end(struct merged *m)
{
	AUTO_CLOSE int all = m->dirfd < 0 ? -1 : open_all(m->cache->dirfd);
	char name[NAME_ROOM];

	dir_name(m, name);
	if (all >= 0)
		(void)kept_remove_tree(all, name);	/* what stays goes with merged_clean() */
	mem_close_fd(&m->result_fd);
	mem_close_fd(&m->dirfd);
	m->result_fd = m->dirfd = -1;
}

void merged_clean(const char *cache_dir)
{
	AUTO_CLOSE int fd = open(cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)kept_remove_tree(fd, DIR_NAME);
}

/* ---- the result ---- */

struct take {
	struct change change;
	struct merged *m;
	struct conflict_side side;
	int all_fd;			/* of CACHE/merging, with a copy of the result in it */
	char file[NAME_ROOM];
	uint64_t size;
	uint32_t gen;			/* of theirs, that the file has become; 0: of none */
	sem_t over;
	int err;
};

/* Are both as they were, and is it on record still?  1, 0, -errno. */
static int holds(struct take *t, struct inode_edit *theirs, struct inode_edit *mine)
{
	struct cache *cache = t->change.cache;
	const struct inode_work *work = theirs->inode->work;
	struct inode_edit *there = NULL;
	struct attr attr;
	sqlite3_stmt *stmt;
	bool is_clean;
	int got;

	got = db_query(writer_db(cache), &stmt, "SELECT 1 FROM conflict_side WHERE id = ?1", "i", (int64_t)t->m->id);
	if (got <= 0)
		return got;
	db_done(stmt);
	got = nameop_find(&t->change, t->side.dir, (struct slice){ t->side.name, t->side.len }, &there);
	if (got <= 0 || there != theirs)
		return MIN(got, 0);
	inode_edit_attr(mine, &attr);
	pthread_mutex_lock(&cache->lock);
	is_clean = inode_data_is_clean(theirs->inode) && !theirs->inode->v.is_dirty && !work->taken_seq;
	pthread_mutex_unlock(&cache->lock);
	return is_clean && theirs->v.data_version == t->m->version && !theirs->v.data_seq && !theirs->v.is_dirty && !theirs->v.is_stale &&
	       is_same(&t->m->mine, &attr);
}

/* keeps (1) */
static int put_file(struct take *t, const struct inode_edit *theirs)
{
	struct cache *cache = t->change.cache;
	int err;

	t->gen = theirs->v.gen + GEN_AHEAD;
	err = object_adopt(cache, theirs->inode->ino, t->gen, t->all_fd, t->file);
	return err ? err : FAULT("merged.file");
}

/* keeps (1) */
static void remove_file(struct take *t)
{
	if (t->gen)
		object_unlink(t->m->cache, t->m->theirs, t->gen);
	t->gen = 0;
}

static int edit_theirs(struct take *t, struct inode_edit *theirs)
{
	int err = put_file(t, theirs);

	if (err)
		return err;
	extent_release(&theirs->present);
	extent_release(&theirs->dirty);
	extent_release(&theirs->dirty_next);
	err = extent_add(&theirs->present, 0, t->size);
	if (!err)
		err = extent_add(&theirs->dirty, 0, t->size);
	if (err)
		return err;
	theirs->is_committed = true;
	EDIT(theirs, gen, t->gen);
	EDIT(theirs, size, t->size);
	EDIT(theirs, keep_size, 0);
	EDIT(theirs, mtime, t->change.now);
	inode_edit_touch(&t->change, theirs);
	err = park_wake_content_after(&t->change, theirs->inode->ino);
	return err ? err : cml_append_store(&t->change, theirs);
}

struct name_found {
	uint64_t dir;
	uint8_t len;
	char name[CACHE_NAME_MAX];
};

static int take_name(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct name_found *found = arg;

	(void)info;
	if (name_is_local(name))
		return 0;
	found->dir = dir;
	found->len = (uint8_t)name.len;
	memcpy(found->name, name.data, name.len);
	return 1;
}

/* Ours goes: the one name of it, or one of them. */
static int remove_mine(struct take *t, struct inode_edit *mine)
{
	struct change *change = &t->change;
	struct name_found found;
	struct inode_edit *dir;
	struct slice name;
	uint64_t seq = 0;
	int got;

	got = name_each_of(change->cache, mine->inode->ino, take_name, &found);
	if (got <= 0)
		return got ? got : -ECANCELED;
	got = nameop_dir(change, found.dir, &dir);
	if (got)
		return got == -ERESTART ? -ECANCELED : got;
	name = (struct slice){ found.name, found.len };
	got = nameop_log_unlink(change, mine, dir, name, &seq);
	if (!got)
		got = name_unbind(change, found.dir, name, seq);
	if (!got)
		got = nameop_lost_name(change, mine, false);
	if (!got)
		nameop_dir_changed(change, dir, false);
	return got;
}

/* keeps (2).  -ECANCELED: it does not hold any more. */
static int take_run(struct change *change)
{
	struct take *t = container_of(change, struct take, change);
	struct inode_edit *theirs, *mine;
	int got;

	change->wants_sync = true;
	remove_file(t);		/* it may be run again */
	theirs = inode_edit(change, t->m->theirs, &got);
	if (!theirs)
		return got == -ESTALE ? -ECANCELED : got;
	mine = inode_edit(change, t->m->ours, &got);
	if (!mine)
		return got == -ESTALE ? -ECANCELED : got;
	got = EDIT_MAPS(theirs);
	if (!got)
		got = EDIT_MAPS(mine);
	if (!got)
		got = holds(t, theirs, mine);
	if (got <= 0)
		return got ? got : -ECANCELED;
	got = base_keep(change, theirs);
	if (!got)
		got = edit_theirs(t, theirs);
	if (!got)
		got = remove_mine(t, mine);
	if (!got)
		got = conflict_side_remove(change, t->m->id);
	return got;
}

static void take_done(struct change *change, int err)
{
	struct take *t = container_of(change, struct take, change);

	if (err)
		remove_file(t);
	t->err = err;
	(void)sem_post(&t->over);
}

static int take_wait(struct take *t)
{
	(void)sem_init(&t->over, 0, 0);		/* these cannot fail */
	t->change.run = take_run;
	t->change.done = take_done;
	writer_submit(t->m->cache, &t->change);
	while (sem_wait(&t->over) < 0)
		;
	(void)sem_destroy(&t->over);
	return t->err;
}

/* What the program has written, where it cannot change it any more, and on the disk. */
static int copy_result(struct take *t, char **ret_why)
{
	struct cache *cache = t->m->cache;
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int err;

	if (fstat(t->m->result_fd, &st) < 0)
		return -errno;
	if (!st.st_size)
		return why_fail(ret_why, -ENODATA, "the command has written nothing to RESULT");
	if ((uint64_t)st.st_size > MERGED_MAX)
		return why_fail(ret_why, -EFBIG, "what the command has written to RESULT is larger than %llu MiB", MERGED_MAX >> 20);
	t->size = (uint64_t)st.st_size;
	t->all_fd = open_all(cache->dirfd);
	if (t->all_fd < 0)
		return t->all_fd;
	(void)snprintf(t->file, sizeof(t->file), "%llu.new", (unsigned long long)t->m->id);
	(void)unlinkat(t->all_fd, t->file, 0);	/* of an attempt that broke off */
	fd = openat(t->all_fd, t->file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fs_copy_range(t->m->result_fd, fd, 0, t->size);
	if (!err && ftruncate(fd, st.st_size) < 0)
		err = -errno;
	if (!err && !cache->no_sync && fsync(fd) < 0)
		err = -errno;
	return err;
}

/* Both, in a directory of the name. */
static int keep_sides(struct take *t)
{
	AUTO_FREE char *about = NULL;
	AUTO_CLOSE int fd = -1, both = -1;
	struct merged *m = t->m;
	char dir[32], name[CACHE_NAME_MAX + 1];
	struct call call;
	int err;

	(void)snprintf(name, sizeof(name), "%.*s", t->side.len, t->side.name);
	if (!strcmp(name, "about"))
		(void)strcpy(name, "about_");
	fd = kept_begin(m->cache->dirfd, m->id, dir);
	if (fd < 0)
		return fd;
	if (mkdirat(fd, name, 0700) < 0 || (both = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return -errno;
	err = call_init(&call, m->cache);
	if (!err) {
		err = call_copy_out(&call, m->theirs, both, "theirs");
		if (!err)
			err = call_copy_out(&call, m->ours, both, "mine");
		call_release(&call);
	}
	if (!err && asprintf(&about, "%s: both versions, merged", m->path) < 0)
		err = -ENOMEM;
	return err ? err : kept_end(m->cache->dirfd, fd, dir, about);
}

int merged_take(struct merged *m, char **ret_why)
{
	struct take t = { .m = m, .all_fd = -1 };
	int err;

	*ret_why = NULL;
	err = conflict_side_get(m->cache, m->id, &t.side);
	if (err <= 0)
		return err ? err : why_fail(ret_why, -ENODATA, "it was settled meanwhile");
	err = copy_result(&t, ret_why);
	if (!err)
		err = keep_sides(&t);
	if (!err) {
		err = take_wait(&t);
		if (err)
			(void)kept_forget(m->cache->dir, m->id);	/* it is not settled */
	}
	if (t.all_fd >= 0)
		(void)unlinkat(t.all_fd, t.file, 0);	/* what stays goes with merged_clean() */
	mem_close_fd(&t.all_fd);
	kml_record_release(&t.side.record);
	if (!err)
		log_info("conflict: merged: id=%llu %s", (unsigned long long)m->id, m->path);
	if (err == -ECANCELED || err == -ESTALE)
		return why_fail(ret_why, -EAGAIN, CHANGED_NOW);
	return err && !*ret_why ? why_fail(ret_why, err, "the result cannot be taken in: %s", strerror(-err)) : err;
}

/* ---- on record ---- */

static int next_row(struct cache *cache, uint64_t after, uint64_t *ret_id)
{
	sqlite3_stmt *stmt;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt,
		       "SELECT id FROM conflict_side WHERE id > ?1 AND kind = ?2 AND status IN (?3, ?4) AND id NOT IN (SELECT id FROM merge)"
		       " ORDER BY id LIMIT 1", "iiii", (int64_t)after, (int64_t)CONFLICT_COPY, (int64_t)KML_CONFLICT, (int64_t)KML_RENAMED);
	if (got > 0) {
		*ret_id = (uint64_t)sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return got;
}

int merged_next(struct cache *cache, uint64_t after, uint64_t *ret_id, char ret_path[CML_PATH_MAX])
{
	AUTO_FREE struct settle_paths *paths = malloc(sizeof(*paths));
	int got = paths ? next_row(cache, after, ret_id) : -ENOMEM;

	if (got > 0) {
		int err = settle_paths(cache, *ret_id, paths);

		memcpy(ret_path, paths->name, sizeof(paths->name));
		got = err ? err : got;
	}
	return got;
}

struct note {
	uint64_t id;
	const char *why;
};

static int note_run(struct change *change)
{
	const struct note *note = change->arg;
	struct db *db = writer_db(change->cache);

	if (!note->why)
		return db_run(db, "DELETE FROM merge WHERE id = ?1", "i", (int64_t)note->id);
	return db_run(db, "INSERT OR REPLACE INTO merge (id, why) SELECT id, ?2 FROM conflict WHERE id = ?1", "it", (int64_t)note->id, note->why);
}

int merged_note(struct cache *cache, uint64_t id, const char *why)
{
	struct note note = { id, why };

	return writer_call(cache, note_run, &note);
}
