/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening, closing, the error state, and facts about a cache. */
#include "cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/reserve.h"
#include "cache/adopt.h"
#include "cache/ahead.h"
#include "cache/base.h"
#include "cache/checkpoint.h"
#include "cache/cml.h"
#include "cache/content_log.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/digester.h"
#include "cache/fetched.h"
#include "cache/hoard_table.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "cache/object.h"
#include "cache/park.h"
#include "cache/reader.h"
#include "cache/recover.h"
#include "cache/schema.h"
#include "cache/space.h"
#include "cache/syncer.h"
#include "cache/writer.h"

#define INODES_MAX 131072	/* in memory, below 400 bytes each with its name */
#define USAGE_AGE_US (5 * US_PER_S)

/* ---- time ---- */

int64_t cache_now_ns(void)
{
	struct timespec now = clock_wall();

	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the error state ---- */

static void new_write_verifier(struct cache *cache)
{
	uint8_t was[sizeof(cache->write_verifier)];

	memcpy(was, cache->write_verifier, sizeof(was));
	if (getrandom(cache->write_verifier, sizeof(was), 0) == sizeof(was) &&
	    memcmp(was, cache->write_verifier, sizeof(was)) != 0)
		return;
	for (size_t i = 0; i < sizeof(was); i++)	/* any other value will do */
		cache->write_verifier[i] = was[i] + 1;
}

void cache_fail_locked(struct cache *cache, const char *what, int err)
{
	if (cache->is_failed)
		return;
	cache->is_failed = true;
	new_write_verifier(cache);
	(void)snprintf(cache->failure, sizeof(cache->failure),
		       "%s (%s): nothing can be changed until the disk under %s is looked after "
		       "and the daemon restarted", what, strerror(-err), cache->dir);
	log_error("cache: %s", cache->failure);
}

void cache_fail(struct cache *cache, const char *what, int err)
{
	pthread_mutex_lock(&cache->lock);
	cache_fail_locked(cache, what, err);
	pthread_mutex_unlock(&cache->lock);
}

/* ---- opening ---- */

static void say(char **ret_why, const char *dir, const char *what, int err)
{
	if (!ret_why || *ret_why)
		return;
	if (asprintf(ret_why, "%s: %s: %s", dir, what, strerror(-err)) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
}

static int open_dirs(struct cache *cache, char **ret_why)
{
	int err;

	err = fs_mkdir_p(cache->dir, 0700);
	if (!err || err == -EEXIST) {
		cache->dirfd = open(cache->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = cache->dirfd < 0 ? -errno : 0;
	}
	/* One that was there may let others in: to the files' names, and to the key of handles. */
	if (!err && fchmod(cache->dirfd, 0700) < 0)
		err = -errno;
	if (!err) {
		cache->lock_fd = openat(cache->dirfd, "lock",
					O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		err = cache->lock_fd < 0 ? -errno : 0;
	}
	if (err) {
		say(ret_why, cache->dir, "the cache directory cannot be used", err);
		return err;
	}
	if (flock(cache->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		say(ret_why, cache->dir, "another daemon is using this cache", err);
		return err;
	}
	if (mkdirat(cache->dirfd, "objects", 0700) < 0 && errno != EEXIST)
		err = -errno;
	if (!err) {
		cache->objects_dirfd =
			openat(cache->dirfd, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = cache->objects_dirfd < 0 ? -errno : object_make_dirs(cache->objects_dirfd);
	}
	if (err)
		say(ret_why, cache->dir, "the directory for content cannot be made", err);
	return err;
}

static int random_bytes(void *data, size_t len)
{
	return getrandom(data, len, 0) == (ssize_t)len ? 0 : -EIO;
}

/*
 * The first values, and the root, whose true attributes come with the first contact: its mtime is the oldest there
 * is, since those of directories only go forward (cache/merge.c).
 */
static int make_identity(struct cache *cache)
{
	int64_t now = cache_now_ns();
	uint64_t client_id = 0;
	uint8_t key[32];
	uint32_t tree_id;
	int err;

	do {
		err = random_bytes(&client_id, sizeof(client_id));
	} while (!err && !client_id);
	if (!err)
		err = random_bytes(&tree_id, sizeof(tree_id));
	if (!err)
		err = random_bytes(key, sizeof(key));
	if (!err)
		err = meta_put_int(cache->write_db, "tree_id", tree_id);
	if (!err)
		err = meta_put_blob(cache->write_db, "handle_key", key, sizeof(key));
	if (!err)
		err = counters_make(cache->write_db);
	if (!err)
		err = db_run(cache->write_db,
			     "INSERT INTO inode (ino, oid_origin, oid_number, type, mode, uid, gid,"
			     " major, minor, nlink, links_up, parent, size, atime, mtime, ctime,"
			     " data_version, attr_version, data_seq, attr_seq, is_stale, is_listed,"
			     " listed_at, is_dirty, gen, keep_size) VALUES"
			     " (2, 0, 1, ?1, 493, 0, 0, 0, 0, 2, 1, 2, 0, ?2, 0, ?2,"
			     " 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
			     "ii", (int64_t)TYPE_DIR, now);
	/* Last: what has it has all. */
	if (!err)
		err = meta_put_int(cache->write_db, "client_id", (int64_t)client_id);
	return err;
}

static int load_identity(struct cache *cache, bool starts_empty)
{
	int64_t value = 0;
	int got;

	got = meta_get_int(cache->write_db, "client_id", &value);
	if (got < 0)
		return got;
	if (!got) {
		got = db_exec(cache->write_db, "BEGIN IMMEDIATE");
		if (!got)
			got = make_identity(cache);
		if (!got)
			got = db_exec(cache->write_db, "COMMIT");
		if (got)
			return got;
	}
#define LOAD(key, field) \
	do { \
		value = 0; \
		got = meta_get_int(cache->write_db, key, &value); \
		if (got < 0) \
			return got; \
		cache->field = value; \
	} while (0)
	LOAD("client_id", client_id);
	LOAD("tree_id", tree_id);
	LOAD("position", position);
	LOAD("mark_at", mark.position);
	LOAD("mark", mark.value);
	LOAD("is_offline", is_offline);
	LOAD("link_word", link_word);
	LOAD("has_acls", has_acls);
#undef LOAD
	if (!cache->client_id)
		return -EUCLEAN;
	got = counters_load(cache);
	if (got)
		return got;
	got = meta_get_blob(cache->write_db, "handle_key", cache->handle_key,
			    sizeof(cache->handle_key));
	if (got <= 0)
		return got ? got : -EUCLEAN;
	got = meta_get_text(cache->write_db, "upstream_id", cache->upstream_id,
			    sizeof(cache->upstream_id));
	if (got < 0)
		return got;
	if (!got && starts_empty)
		return db_exec(cache->write_db, "UPDATE inode SET is_listed = 1 WHERE ino = 2");
	return 0;
}

static int is_any(void *arg, uint64_t ino, uint32_t gen, uint64_t size, uint64_t used)
{
	(void)arg;
	(void)ino;
	(void)gen;
	(void)used;
	return size > 0;
}

/* A new one would know nothing of the contents that are there, and the recovery would remove them. */
static int refuse_lost(struct cache *cache, const char *path, char **ret_why)
{
	struct stat st;

	if ((fstatat(cache->dirfd, "cache.db", &st, 0) == 0 && st.st_size) || object_each(cache, is_any, NULL) <= 0)
		return 0;
	if (ret_why && asprintf(ret_why, "%s: the database is gone, and there are contents that it spoke of: izo-nfsd --check --repair keeps "
					 "them in lost+found, then a new cache is made", path) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
	return -EUCLEAN;
}

/* Before anything is read that it changes. */
static void adopt(struct cache *cache, const struct cache_config *config)
{
	int err = config->adopt ? adopt_upstream(cache, config->adopt) : 0;

	if (config->adopt)
		config->adopt->err = err;
	if (err)
		log_error("cache: %s cannot go on with the upstream that was accepted, and is as it was: %s", cache->dir, strerror(-err));
}

static int open_database(struct cache *cache, const char *path, const struct cache_config *config, char **ret_why)
{
	bool is_new;
	int err;

	err = refuse_lost(cache, path, ret_why);
	if (err)
		return err;
	err = db_open(path, DB_WRITER, true, &cache->write_db);
	if (err) {
		say(ret_why, path, "the database cannot be opened", err);
		return err;
	}
	err = schema_open(cache->write_db, path, &is_new, ret_why);
	if (!err && cache->no_sync)
		err = db_exec(cache->write_db, "PRAGMA synchronous = OFF");
	if (!err && !is_new)
		adopt(cache, config);
	if (!err)
		err = load_identity(cache, config->starts_empty);
	if (!err)
		err = recover_begin(cache);
	if (!err)
		err = db_open(path, DB_READER, false, &cache->read_db);
	if (!err && is_new)
		log_info("cache: a new cache has been made: dir=%s", cache->dir);
	if (err)
		say(ret_why, path, "the database cannot be used", err);
	return err;
}

/* The threads, and what a crash left. */
static int start(struct cache *cache, const struct cache_config *config, const char *path)
{
	int err;

	err = content_log_recover(cache);
	if (!err)
		err = digester_open(cache);
	if (!err)
		err = writer_start(cache);
	if (!err)
		err = content_log_start(cache);
	if (!err)
		err = checkpoint_start(cache, path);
	if (!err)
		err = syncer_start(cache);
	if (!err)
		err = reader_start(cache);
	if (!err)
		err = park_start(cache);
	if (!err)
		err = fetched_start(cache);
	if (!err)
		err = cml_open(cache);
	if (!err)
		err = apply_open(cache);
	if (!err)
		err = recover_cache(cache);
	if (!err)
		err = base_recover(cache);
	if (!err)
		err = ahead_start(cache, path);
	if (!err)
		err = hoard_open(cache, path);
	if (!err)
		err = space_start(cache, config, path);
	if (!err)
		err = digester_start(cache, path);
	return err ? err : hoard_start(cache);
}

static struct cache *cache_new(const struct cache_config *config)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->dirfd = cache->objects_dirfd = cache->lock_fd = -1;
	cache->durability = config->durability;
	cache->no_sync = config->no_sync;
	cache->no_fold = config->no_fold;
	cache->gather_us = config->gather_us ? config->gather_us : US_PER_S;
	cache->max_inodes = INODES_MAX;
	list_init(&cache->object_lru);
	list_init(&cache->written);
	cache->dir = strdup(config->dir);
	if (!cache->dir || hash_init(&cache->inodes))
		goto no_inodes;
	if (hash_init(&cache->dentries))
		goto no_dentries;
	if (cond_init(&cache->content_idle))
		goto no_cond;
	(void)pthread_mutex_init(&cache->lock, NULL);	/* cannot fail with default attributes */
	new_write_verifier(cache);
	return cache;

no_cond:
	hash_release(&cache->dentries);
no_dentries:
	hash_release(&cache->inodes);
no_inodes:
	free(cache->dir);
	free(cache);
	return NULL;
}

static void cache_stop(struct cache *cache)
{
	hoard_stop(cache);
	digester_stop(cache);
	ahead_stop(cache);
	space_stop(cache);
	park_stop(cache);
	fetched_stop(cache);
	reader_stop(cache);
	syncer_stop(cache);
	apply_close(cache);
	content_log_stop(cache);
	writer_stop(cache);
	cml_close(cache);	/* commits that were handed over late have appended to it until now */
	checkpoint_stop(cache);
}

/* Stopped. */
static void cache_free(struct cache *cache)
{
	hoard_free(cache);
	content_log_free(cache);
	base_free(cache);
	object_cache_release(cache);
	name_cache_release(cache);
	inode_cache_release(cache);
	inode_sql_release(cache);
	digester_free(cache);
	db_close(cache->read_db);
	db_close(cache->write_db);
	reserve_close(cache->reserve);
	mem_close_fd(&cache->objects_dirfd);
	mem_close_fd(&cache->dirfd);
	mem_close_fd(&cache->lock_fd);	/* last: until here the cache is ours */
	pthread_cond_destroy(&cache->content_idle);
	pthread_mutex_destroy(&cache->lock);
	free(cache->dir);
	free(cache);
}

int cache_open(const struct cache_config *config, struct cache **ret_cache, char **ret_why)
{
	AUTO_FREE char *path = NULL;
	struct cache *cache;
	int err;

	if (ret_why)
		*ret_why = NULL;
	cache = cache_new(config);
	if (!cache)
		return -ENOMEM;
	if (asprintf(&path, "%s/cache.db", config->dir) < 0) {
		path = NULL;
		err = -ENOMEM;
		goto fail;
	}
	err = open_dirs(cache, ret_why);
	if (!err)
		err = base_open(cache, config);
	if (!err)
		err = reserve_open(cache->dirfd, "cache", cache->dir, &cache->reserve);
	if (!err)
		err = open_database(cache, path, config, ret_why);
	if (err)
		goto fail;
	err = start(cache, config, path);
	if (err) {
		say(ret_why, config->dir, "the cache cannot be recovered", err);
		goto fail;
	}
	*ret_cache = cache;
	return 0;
fail:
	cache_stop(cache);
	cache_free(cache);
	return err;
}

void cache_close(struct cache *cache)
{
	int err;

	if (!cache)
		return;
	err = syncer_flush(cache);
	if (err)
		log_warn(
			"cache: what was written last is logged at the next start only: dir=%s: %s",
			cache->dir, strerror(-err));
	cache_stop(cache);
	if (!err)
		recover_end(cache);
	cache_free(cache);
}

void cache_set_fetcher(struct cache *cache, const struct fetcher *fetcher, void *arg)
{
	pthread_mutex_lock(&cache->lock);	/* the hoard's thread runs already */
	cache->fetcher = fetcher;
	cache->fetcher_arg = arg;
	pthread_mutex_unlock(&cache->lock);
}

/* ---- facts ---- */

uint64_t cache_root(const struct cache *cache)
{
	(void)cache;
	return CACHE_ROOT;
}

uint32_t cache_tree_id(const struct cache *cache)
{
	return cache->tree_id;
}

void cache_handle_key(const struct cache *cache, uint8_t ret_key[32])
{
	memcpy(ret_key, cache->handle_key, sizeof(cache->handle_key));
}

void cache_write_verifier(struct cache *cache, uint8_t ret_verifier[8])
{
	pthread_mutex_lock(&cache->lock);
	memcpy(ret_verifier, cache->write_verifier, sizeof(cache->write_verifier));
	pthread_mutex_unlock(&cache->lock);
}

struct usage {
	uint64_t objects, bytes;
};

static int count_object(void *arg, uint64_t ino, uint32_t gen, uint64_t size, uint64_t used)
{
	struct usage *usage = arg;

	(void)ino;
	(void)gen;
	(void)size;
	usage->objects++;
	usage->bytes += used;
	return 0;
}

/* Looking at every content file takes its time: the figures may be USAGE_AGE_US old. */
static void count_usage(struct cache *cache, struct cache_status *ret)
{
	struct usage usage = { 0 };
	bool is_new;

	pthread_mutex_lock(&cache->lock);
	is_new = cache->usage_until_us > clock_us();
	pthread_mutex_unlock(&cache->lock);
	if (!is_new)
		(void)object_each(cache, count_object, &usage);	/* as far as it can be read */
	pthread_mutex_lock(&cache->lock);
	if (!is_new) {
		cache->usage_objects = usage.objects;
		cache->usage_bytes = usage.bytes;
		cache->usage_until_us = clock_us() + USAGE_AGE_US;
	}
	ret->objects = cache->usage_objects;
	ret->content_bytes = cache->usage_bytes;
	pthread_mutex_unlock(&cache->lock);
}

void cache_status(struct cache *cache, struct cache_status *ret)
{
	sqlite3_stmt *stmt;

	*ret = (struct cache_status){ 0 };
	cml_totals(cache, &ret->cml);
	count_usage(cache, ret);
	pthread_mutex_lock(&cache->lock);
	ret->position = cache->position;
	memcpy(ret->upstream_id, cache->upstream_id, sizeof(ret->upstream_id));
	ret->is_failed = cache->is_failed;
	memcpy(ret->failure, cache->failure, sizeof(ret->failure));
	if (db_query(cache->read_db, &stmt, "SELECT count(*) FROM inode", "") > 0) {
		ret->inodes = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
}
