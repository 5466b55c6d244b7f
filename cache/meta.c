/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Table meta: single values that belong to the cache as a whole; and the user's "offline" among
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "cache/cml.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/meta.h"
#include "cache/schema.h"
#include "cache/writer.h"

static const char put_sql[] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";

int meta_put_int(struct db *db, const char *key, int64_t value)
{
	return db_run(db, put_sql, "ti", key, value);
}

int meta_put_blob(struct db *db, const char *key, const void *data, size_t len)
{
	return db_run(db, put_sql, "tb", key, (struct slice){ data, len });
}

int meta_set_int(struct change *change, const char *key, int64_t value)
{
	return meta_put_int(writer_db(change->cache), key, value);
}

int meta_set_text(struct change *change, const char *key, const char *value)
{
	return db_run(writer_db(change->cache), put_sql, "tt", key, value);
}

static int meta_query(struct db *db, const char *key, sqlite3_stmt **ret_stmt)
{
	return db_query(db, ret_stmt, "SELECT value FROM meta WHERE key = ?1", "t", key);
}

int meta_get_int(struct db *db, const char *key, int64_t *ret_value)
{
	sqlite3_stmt *stmt;
	int got = meta_query(db, key, &stmt);

	if (got <= 0)
		return got;
	*ret_value = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 1;
}

int meta_get_blob(struct db *db, const char *key, void *ret_data, size_t len)
{
	struct slice value;
	sqlite3_stmt *stmt;
	int got = meta_query(db, key, &stmt);

	if (got <= 0)
		return got;
	value = db_column(stmt, 0);
	if (value.len == len)
		memcpy(ret_data, value.data, len);
	db_done(stmt);
	return value.len == len ? 1 : -EUCLEAN;
}

int meta_get_text(struct db *db, const char *key, char *ret_text, size_t size)
{
	struct slice value;
	sqlite3_stmt *stmt;
	int got = meta_query(db, key, &stmt);

	if (got <= 0)
		return got;
	value = db_column(stmt, 0);
	if (value.len < size) {
		memcpy(ret_text, value.len ? value.data : "", value.len);
		ret_text[value.len] = '\0';
	}
	db_done(stmt);
	return value.len < size ? 1 : -EUCLEAN;
}

/* ---- what cml.h says of the cache ---- */

uint64_t cml_client_id(struct cache *cache)
{
	return cache->client_id;
}

bool cml_is_offline(struct cache *cache)
{
	bool is_offline;

	pthread_mutex_lock(&cache->lock);
	is_offline = cache->is_offline;
	pthread_mutex_unlock(&cache->lock);
	return is_offline;
}

static int set_offline_run(struct change *change)
{
	change->wants_sync = true;	/* "durable when the call returns", with DURABILITY_ASYNC too */
	return meta_set_int(change, "is_offline", *(bool *)change->arg);
}

int cml_set_offline(struct cache *cache, bool is_offline)
{
	int err;

	err = writer_call(cache, set_offline_run, &is_offline);
	if (err)
		return err;
	pthread_mutex_lock(&cache->lock);
	cache->is_offline = is_offline;
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

unsigned cml_link_word(struct cache *cache)
{
	unsigned word;

	pthread_mutex_lock(&cache->lock);
	word = cache->link_word;
	pthread_mutex_unlock(&cache->lock);
	return word;
}

static int set_link_word_run(struct change *change)
{
	change->wants_sync = true;	/* as above */
	return meta_set_int(change, "link_word", *(unsigned *)change->arg);
}

int cml_set_link_word(struct cache *cache, unsigned word)
{
	int err = writer_call(cache, set_link_word_run, &word);

	if (err)
		return err;
	pthread_mutex_lock(&cache->lock);
	cache->link_word = word;
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

static void say(char **ret_why, const char *dir, const char *what)
{
	if (ret_why && asprintf(ret_why, "%s: %s", dir, what) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
}

static int mark_offline(const char *dir, const char *path, bool is_offline, char **ret_why)
{
	struct db *db;
	bool is_new;
	int err;

	err = db_open(path, DB_WRITER, false, &db);
	if (err) {
		say(ret_why, dir,
		    err == -ENOENT ? "there is no cache here"
				   : "the cache's database cannot be opened");
		return err;
	}
	err = schema_open(db, path, &is_new, ret_why);
	if (!err)
		err = db_exec(db, "PRAGMA synchronous = FULL");
	if (!err)
		err = meta_put_int(db, "is_offline", is_offline);
	db_close(db);
	return err;
}

int cml_mark_offline(const char *dir, bool is_offline, char **ret_why)
{
	AUTO_CLOSE int dirfd = -1;
	AUTO_CLOSE int lock_fd = -1;
	AUTO_FREE char *path = NULL;

	if (ret_why)
		*ret_why = NULL;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd >= 0)
		lock_fd = openat(dirfd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (lock_fd < 0) {
		int err = -errno;

		say(ret_why, dir, err == -ENOENT ? "there is no cache here" : strerror(-err));
		return err;
	}
	if (flock(lock_fd, LOCK_EX | LOCK_NB) < 0) {
		say(ret_why, dir, "a daemon is using this cache; tell that one");
		return -EBUSY;
	}
	if (asprintf(&path, "%s/cache.db", dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return mark_offline(dir, path, is_offline, ret_why);
}
