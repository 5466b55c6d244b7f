/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * (1) A row is committed with the change that its base is for, and names a file that was written before.  So a crash leaves files
 *     without a row (removed at the start), never a row that speaks of another content: if the power failed before the file was on
 *     the disk, its hash is not the row's.
 * (2) A file goes after the row's removal has been committed.
 */
#include "cache/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "cache/cml.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/space.h"
#include "cache/writer.h"

#define DIR_NAME "bases"
#define NAME_ROOM 24
#define PIECE (64u << 10)
#define AT_ONCE 256		/* given up in one change */

struct bases {
	/* constant after open */
	int dirfd;
	char **patterns;		/* owned */
	size_t n_patterns;
	uint64_t limit;
	/* the writer's */
	bool has_some;			/* there may be rows: else nothing has to be asked of the table */
};

/* ---- what is kept ---- */

bool base_pattern_matches(const char *pattern, const char *path)
{
	const char *name = strrchr(path, '/');

	if (!strchr(pattern, '/'))
		path = name ? name + 1 : path;
	else if (*pattern != '/')
		path += *path == '/';
	return fnmatch(pattern, path, 0) == 0;
}

struct match {
	struct change *change;
	const struct bases *bases;
};

static int match_name(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	const struct match *match = arg;
	AUTO_FREE char *path = malloc(CML_PATH_MAX);

	(void)info;
	if (!path || name_is_local(name))
		return 0;
	name_path_in(match->change->cache, dir, name, path, CML_PATH_MAX);
	for (size_t i = 0; i < match->bases->n_patterns; i++)
		if (base_pattern_matches(match->bases->patterns[i], path))
			return 1;
	return 0;
}

bool base_is_wanted(struct change *change, const struct inode_edit *edit)
{
	const struct bases *bases = change->cache->bases;
	struct match match = { change, bases };

	if (!bases->n_patterns || !bases->limit || edit->v.type != TYPE_REG || edit->v.size > bases->limit || !edit->v.links_up)
		return false;
	return name_each_of(change->cache, edit->inode->ino, match_name, &match) > 0;
}

/* Is it, as a whole, what the upstream has in data_version, and is there room for it?  Takes the lock. */
static bool can_be_kept(struct cache *cache, const struct inode_edit *edit)
{
	const struct inode_values *v = &edit->v;
	const struct inode *inode = edit->inode;
	const struct inode_work *work = inode->work;
	struct extent gap;
	bool can;

	pthread_mutex_lock(&cache->lock);
	can = v->data_version && !v->data_seq && !v->is_dirty && !inode->v.is_dirty && !work->has_uncommitted && !work->dirty.n &&
	      !work->dirty_next.n && !work->taken_seq && (v->gen || !v->size) &&
	      !extent_first_gap(&inode->present, 0, v->size, &gap) && space_has_room_ahead(cache, v->size);
	pthread_mutex_unlock(&cache->lock);
	return can;
}

/* ---- files ---- */

static void file_name(int64_t id, char ret_name[NAME_ROOM])
{
	(void)snprintf(ret_name, NAME_ROOM, "%" PRId64, id);
}

static uint64_t file_used(struct cache *cache, const char *name)
{
	struct stat st;

	return fstatat(cache->bases->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

static void file_remove(struct cache *cache, const char *name)
{
	uint64_t used = file_used(cache, name);

	/* What stays behind is removed at the next start. */
	if (unlinkat(cache->bases->dirfd, name, 0) == 0)
		__atomic_sub_fetch(&cache->content_used, (int64_t)used, __ATOMIC_RELAXED);
}

static int file_hash(int fd, uint64_t size, XXH128_canonical_t *ret)
{
	AUTO_FREE char *data = malloc(PIECE);
	XXH3_state_t *state = XXH3_createState();
	uint64_t at = 0;
	ssize_t got = 0;

	if (!data || !state) {
		(void)XXH3_freeState(state);
		return -ENOMEM;
	}
	(void)XXH3_128bits_reset(state);	/* these cannot fail with a state */
	while (at < size && (got = fs_pread_full(fd, data, MIN(size - at, (uint64_t)PIECE), at)) > 0) {
		(void)XXH3_128bits_update(state, data, (size_t)got);
		at += (uint64_t)got;
	}
	XXH128_canonicalFromHash(ret, XXH3_128bits_digest(state));
	(void)XXH3_freeState(state);
	if (got < 0)
		return (int)got;
	return at < size ? -ENODATA : 0;
}

static struct object *object_of(struct cache *cache, struct inode_edit *edit, int *ret_err)
{
	struct object *object;

	pthread_mutex_lock(&cache->lock);
	object = object_get(cache, edit->inode, false, ret_err);
	pthread_mutex_unlock(&cache->lock);
	return object;
}

static int file_copy(struct cache *cache, struct inode_edit *edit, const char *name, XXH128_canonical_t *ret_hash)
{
	AUTO_CLOSE int fd = openat(cache->bases->dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct object *object = NULL;
	int err = fd < 0 ? -errno : FAULT("base.copy");

	if (!err && edit->v.size)
		object = object_of(cache, edit, &err);
	if (object)
		err = fs_copy_range(object->fd, fd, 0, edit->v.size);
	if (!err && ftruncate(fd, (off_t)edit->v.size) < 0)
		err = -errno;
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	pthread_mutex_unlock(&cache->lock);
	return err ? err : file_hash(fd, edit->v.size, ret_hash);
}

/* Its content file under a second name: of an object whose content nobody changes any more. */
static int file_link(struct cache *cache, const struct inode_edit *edit, const char *name, XXH128_canonical_t *ret_hash)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int err;

	(void)unlinkat(cache->bases->dirfd, name, 0);	/* of a transaction that came to nothing */
	err = object_link(cache, edit->inode->ino, edit->v.gen, cache->bases->dirfd, name);
	if (!err)
		err = FAULT("base.link");
	if (err)
		return err;
	fd = openat(cache->bases->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size == edit->v.size ? file_hash(fd, edit->v.size, ret_hash) : -ENODATA;
}

/* ---- rows ---- */

static void remove_after(struct cache *cache, void *arg)
{
	char name[NAME_ROOM];

	file_name((intptr_t)arg, name);
	(void)FAULT("base.remove");	/* only to be killed at */
	file_remove(cache, name);
}

static int drop(struct change *change, int64_t id)
{
	int err = db_run(writer_db(change->cache), "DELETE FROM base WHERE id = ?1", "i", id);

	return err ? err : writer_after_commit(change, remove_after, (void *)(intptr_t)id);
}

/* Each that the query finds; sql ends in "LIMIT 1", for what is done changes its table. */
static int drop_found(struct change *change, const char *sql, uint64_t a, uint64_t b)
{
	struct db *db = writer_db(change->cache);
	sqlite3_stmt *stmt;
	int got, err = 0;

	if (!change->cache->bases->has_some)
		return 0;
	while (!err && (got = db_query(db, &stmt, sql, "ii", (int64_t)a, (int64_t)b)) != 0) {
		int64_t id;

		if (got < 0)
			return got;
		id = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
		err = drop(change, id);
	}
	return err;
}

static int is_kept(struct change *change, uint64_t ino, uint64_t version)
{
	sqlite3_stmt *stmt;
	int got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM base WHERE ino = ?1 AND version = ?2 AND conflict = 0", "ii",
			   (int64_t)ino, (int64_t)version);

	if (got > 0)
		db_done(stmt);
	return got;
}

/* A row for it; what came to nothing before, and was not noticed, goes. */
static int row_add(struct change *change, uint64_t ino, const struct inode_edit *edit, int64_t *ret_id)
{
	struct db *db = writer_db(change->cache);
	int err = base_forget(change, ino);

	if (!err)
		err = db_run(db, "INSERT INTO base (ino, version, size, conflict) VALUES (?1, ?2, ?3, 0)", "iii", (int64_t)ino,
			     (int64_t)edit->v.data_version, (int64_t)edit->v.size);
	if (err)
		return err;
	*ret_id = sqlite3_last_insert_rowid(db_handle(db));
	change->cache->bases->has_some = true;
	return 0;
}

static int keep(struct change *change, struct inode_edit *edit, uint64_t ino, bool may_link)
{
	struct cache *cache = change->cache;
	XXH128_canonical_t hash;
	char name[NAME_ROOM];
	int64_t id;
	int err;

	err = is_kept(change, ino, edit->v.data_version);
	if (err)
		return MIN(err, 0);
	if (writer_must_not_wait(cache)) {
		change->wants_rerun = true;
		return -EAGAIN;
	}
	err = row_add(change, ino, edit, &id);
	if (err)
		return err;
	file_name(id, name);
	err = may_link && edit->v.size ? file_link(cache, edit, name, &hash) : -EXDEV;
	if (err)
		err = file_copy(cache, edit, name, &hash);
	if (err) {
		log_debug(LOG_CACHE, "base: not kept: ino=%" PRIu64 ": %s", ino, strerror(-err));
		return drop(change, id);
	}
	__atomic_add_fetch(&cache->content_used, (int64_t)file_used(cache, name), __ATOMIC_RELAXED);
	return db_run(writer_db(cache), "UPDATE base SET hash = ?1 WHERE id = ?2", "bi", (struct slice){ &hash, sizeof(hash) }, id);
}

int base_keep(struct change *change, struct inode_edit *edit)
{
	if (!change->cache->bases->n_patterns || !can_be_kept(change->cache, edit) || !base_is_wanted(change, edit))
		return 0;
	return keep(change, edit, edit->inode->ino, false);
}

int base_note_change(struct change *change, struct inode_edit *edit)
{
	int err = edit->v.is_dirty ? 0 : base_keep(change, edit);

	if (err)
		return err;
	if (!edit->v.is_dirty)
		EDIT(edit, is_dirty, true);
	if (!edit->v.gen)
		EDIT(edit, gen, 1);
	return 0;
}

int base_keep_replaced(struct change *change, struct inode_edit *victim, uint64_t by_ino, bool may_pass)
{
	struct cache *cache = change->cache;

	if (cache->bases->n_patterns && can_be_kept(cache, victim) && base_is_wanted(change, victim))
		return keep(change, victim, by_ino, true);
	if (!may_pass || !cache->bases->has_some)
		return 0;
	return db_run(writer_db(cache), "UPDATE base SET ino = ?1 WHERE ino = ?2 AND version = ?3 AND conflict = 0", "iii",
		      (int64_t)by_ino, (int64_t)victim->inode->ino, (int64_t)victim->v.data_version);
}

/* Which version it was certified against; 0: none that there could be a base of. */
static uint64_t version_of(const struct kml_record *record)
{
	const struct kml_rename *rename = &record->body.kml_body_u.rename;

	switch (record->body.op) {
	case KML_STORE:
		return record->body.kml_body_u.store.data_base;
	case KML_RENAME:
		return kml_oid_is_none(rename->replaced) ? 0 : rename->replaced_base;
	default:
		return 0;
	}
}

int base_record_ended(struct change *change, uint64_t ino, const struct kml_record *record)
{
	uint64_t version = version_of(record);

	return version ? drop_found(change, "SELECT id FROM base WHERE ino = ?1 AND version = ?2 AND conflict = 0 LIMIT 1", ino, version) : 0;
}

int base_give_to_conflict(struct change *change, uint64_t ino, const struct kml_record *record, int64_t conflict)
{
	uint64_t version = version_of(record);

	if (!version || !change->cache->bases->has_some)
		return 0;
	return db_run(writer_db(change->cache), "UPDATE base SET conflict = ?1 WHERE ino = ?2 AND version = ?3 AND conflict = 0", "iii",
		      conflict, (int64_t)ino, (int64_t)version);
}

int base_conflict_ended(struct change *change, int64_t conflict)
{
	return drop_found(change, "SELECT id FROM base WHERE conflict = ?1 AND conflict > ?2 LIMIT 1", (uint64_t)conflict, 0);
}

int base_forget(struct change *change, uint64_t ino)
{
	return drop_found(change, "SELECT id FROM base WHERE ino = ?1 AND conflict = ?2 LIMIT 1", ino, 0);
}

/* ---- room ---- */

uint64_t base_used(struct cache *cache)
{
	int fd = openat(cache->bases->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint64_t used = 0;

	if (!dir) {
		mem_close_fd(&fd);
		return 0;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			used += file_used(cache, entry->d_name);
	(void)closedir(dir);
	return used;
}

struct evict_bases {
	uint64_t need, bytes, files;
	bool of_conflicts;
};

static int evict_run(struct change *change)
{
	struct evict_bases *evict = change->arg;
	sqlite3_stmt *stmt;
	int err = 0, got;

	evict->bytes = evict->files = 0;	/* it may be run again */
	while (!err && evict->bytes < evict->need && evict->files < AT_ONCE) {
		char name[NAME_ROOM];
		int64_t id;

		got = db_query(writer_db(change->cache), &stmt, "SELECT id FROM base WHERE (conflict <> 0) = ?1 ORDER BY id LIMIT 1", "i",
			       (int64_t)evict->of_conflicts);
		if (got <= 0)
			return got;
		id = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
		file_name(id, name);
		evict->bytes += file_used(change->cache, name);
		evict->files++;
		err = drop(change, id);
	}
	return err;
}

int base_evict(struct cache *cache, uint64_t need, bool of_conflicts, uint64_t *ret_bytes, uint64_t *ret_files)
{
	struct evict_bases evict = { .of_conflicts = of_conflicts };
	uint64_t freed = 0;
	int err;

	do {
		evict.need = need - freed;
		err = writer_call(cache, evict_run, &evict);
		freed += err ? 0 : evict.bytes;
		*ret_bytes += err ? 0 : evict.bytes;
		*ret_files += err ? 0 : evict.files;
	} while (!err && evict.files == AT_ONCE && freed < need);
	return err;
}

/* ---- out ---- */

/* Opens it, when it is what its row says; else -1. */
static int open_whole(int dirfd, int64_t id, uint64_t size, struct slice want)
{
	XXH128_canonical_t hash;
	char name[NAME_ROOM];
	struct stat st;
	int fd;

	file_name(id, name);
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == size && want.len == sizeof(hash) && !file_hash(fd, size, &hash) &&
	    !memcmp(&hash, want.data, sizeof(hash)))
		return fd;
	mem_close_fd(&fd);
	return -1;
}

bool base_file_is(int dirfd, int64_t id, uint64_t size, struct slice hash)
{
	AUTO_CLOSE int fd = open_whole(dirfd, id, size, hash);

	return fd >= 0;
}

static int copy_row(struct cache *cache, int64_t id, uint64_t size, struct slice hash, int dirfd, const char *to)
{
	AUTO_CLOSE int from_fd = open_whole(cache->bases->dirfd, id, size, hash), fd = -1;
	int err;

	if (from_fd < 0) {
		log_warn("base: one that was kept is damaged, and not used: file=%s/" DIR_NAME "/%" PRId64, cache->dir, id);
		return 0;
	}
	fd = openat(dirfd, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fs_copy_range(from_fd, fd, 0, size);
	if (!err && ftruncate(fd, (off_t)size) < 0)
		err = -errno;
	return err ? err : 1;
}

int base_copy_out(struct cache *cache, uint64_t conflict, int dirfd, const char *name)
{
	XXH128_canonical_t hash;
	struct slice want = { &hash, 0 }, got_hash;
	uint64_t size = 0;
	sqlite3_stmt *stmt;
	int64_t id = 0;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt, "SELECT id, size, hash FROM base WHERE conflict = ?1 AND conflict <> 0", "i", (int64_t)conflict);
	if (got > 0) {
		id = sqlite3_column_int64(stmt, 0);
		size = (uint64_t)sqlite3_column_int64(stmt, 1);
		got_hash = db_column(stmt, 2);
		want.len = got_hash.len == sizeof(hash) ? sizeof(hash) : 0;
		if (want.len)
			memcpy(&hash, got_hash.data, sizeof(hash));
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return got > 0 ? copy_row(cache, id, size, want, dirfd, name) : got;
}

/* ---- opening ---- */

int base_open(struct cache *cache, const struct cache_config *config)
{
	struct bases *bases = calloc(1, sizeof(*bases));

	if (!bases)
		return -ENOMEM;
	cache->bases = bases;
	bases->dirfd = -1;
	bases->has_some = true;		/* until it has been looked at */
	bases->limit = MIN(config->base_limit, BASE_LIMIT_MAX);
	bases->patterns = calloc(config->n_base_patterns + 1, sizeof(*bases->patterns));
	for (size_t i = 0; bases->patterns && i < config->n_base_patterns; i++, bases->n_patterns++) {
		bases->patterns[i] = strdup(config->base_patterns[i]);
		if (!bases->patterns[i])
			return -ENOMEM;
	}
	if (!bases->patterns)
		return -ENOMEM;
	if (mkdirat(cache->dirfd, DIR_NAME, 0700) < 0 && errno != EEXIST)
		return -errno;
	bases->dirfd = openat(cache->dirfd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return bases->dirfd < 0 ? -errno : 0;
}

void base_free(struct cache *cache)
{
	struct bases *bases = cache->bases;

	if (!bases)
		return;
	for (size_t i = 0; i < bases->n_patterns; i++)
		free(bases->patterns[i]);
	free(bases->patterns);
	mem_close_fd(&bases->dirfd);
	free(bases);
	cache->bases = NULL;
}

/* Rows of what is neither in the log nor about to come there, nor of a conflict. */
static int recover_rows(struct change *change)
{
	struct db *db = writer_db(change->cache);
	sqlite3_stmt *stmt;
	int err, got;

	err = drop_found(change, "SELECT id FROM base WHERE conflict = 0 AND NOT EXISTS (SELECT 1 FROM cml WHERE cml.ino = base.ino)"
				 " AND NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = base.ino AND is_dirty <> 0) AND ?1 = ?2 LIMIT 1", 0, 0);
	if (!err)
		err = drop_found(change, "SELECT id FROM base WHERE conflict <> 0 AND conflict NOT IN (SELECT id FROM conflict) AND ?1 = ?2"
					 " LIMIT 1", 0, 0);
	if (err)
		return err;
	got = db_query(db, &stmt, "SELECT 1 FROM base LIMIT 1", "");
	if (got > 0)
		db_done(stmt);
	change->cache->bases->has_some = got != 0;
	return MIN(got, 0);
}

/* 1, 0, -errno. */
static int has_row(struct change *change, int64_t id)
{
	sqlite3_stmt *stmt;
	int got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM base WHERE id = ?1", "i", id);

	if (got > 0)
		db_done(stmt);
	return got;
}

static int recover_files(struct change *change)
{
	struct cache *cache = change->cache;
	int fd = openat(cache->bases->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int err = 0;

	if (!dir) {
		err = -errno;
		mem_close_fd(&fd);
		return err;
	}
	while (!err && (entry = readdir(dir))) {
		char *end;
		int64_t id = strtoll(entry->d_name, &end, 10);
		int got;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || *end)
			continue;
		got = has_row(change, id);
		err = MIN(got, 0);
		if (!got)
			(void)unlinkat(cache->bases->dirfd, entry->d_name, 0);	/* not counted yet */
	}
	(void)closedir(dir);
	return err;
}

int base_recover(struct cache *cache)
{
	int err = writer_call(cache, recover_rows, NULL);

	return err ? err : writer_call(cache, recover_files, NULL);
}
