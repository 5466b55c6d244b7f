/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directories that are gone upstream, emptied here; and how far our own records reach.
 *
 * A directory goes from the inside out, some names in each change, with a stack in memory in place of recursion.
 * What is ours keeps its name, and so the directories above it: upstream brings a directory back when something is
 * made in it (docs/PROTOCOL.md 7).  A directory on the stack is marked stale on disk: where the sweep ends
 * early, for whatever reason, it is asked for later, found gone, and swept anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "cache/apply_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/hoard_table.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/stale.h"
#include "cache/writer.h"

#define NAMES_PER_CHANGE 512
#define NAMES_AT_ONCE 64
#define OWN_MIN 1024		/* notes of own records before any are looked through */

struct sweep {
	struct list node;
	uint64_t ino;
	size_t len;		/* names up to this one have been looked at */
	char name[CACHE_NAME_MAX];
};

struct own {
	struct hash_node node;
	uint64_t ino, version;
};

struct merge {
	/* under cache->lock */
	struct list sweeps;	/* the last one is being emptied */
	struct hash_table own;
	size_t own_max;
	/* constant */
	uint64_t own_before;	/* of before the start */
};

struct entry {
	uint64_t ino, seq;
	size_t len;
	char name[CACHE_NAME_MAX];
};

static void sweep_push(struct cache *cache, uint64_t ino)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));

	if (!sweep)
		return;		/* it is stale, and will be asked for */
	sweep->ino = ino;
	pthread_mutex_lock(&cache->lock);
	list_append(&cache->apply->merge->sweeps, &sweep->node);
	pthread_mutex_unlock(&cache->lock);
}

static void sweep_pop(struct cache *cache, struct sweep *sweep)
{
	pthread_mutex_lock(&cache->lock);
	list_del(&sweep->node);
	pthread_mutex_unlock(&cache->lock);
	free(sweep);
}

static struct sweep *sweep_top(struct cache *cache)
{
	struct list *sweeps = &cache->apply->merge->sweeps;
	struct sweep *sweep = NULL;

	pthread_mutex_lock(&cache->lock);
	if (!list_is_empty(sweeps))
		sweep = list_entry(sweeps->prev, struct sweep, node);
	pthread_mutex_unlock(&cache->lock);
	return sweep;
}

static void sweep_begin(struct cache *cache, void *arg)
{
	sweep_push(cache, (uintptr_t)arg);
}

int merge_sweep_later(struct change *change, uint64_t dir)
{
	return writer_after_commit(change, sweep_begin, (void *)(uintptr_t)dir);
}

/* The next names, at most NAMES_AT_ONCE: how many, or -errno. */
static int read_some(struct change *change, const struct sweep *sweep, struct entry *entries)
{
	sqlite3_stmt *stmt;
	int got, n = 0;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT ino, seq, name FROM name WHERE dir = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
		       "ibi", (int64_t)sweep->ino, (struct slice){ sweep->name, sweep->len },
		       (int64_t)NAMES_AT_ONCE);
	while (got > 0) {
		struct slice name = db_column(stmt, 2);
		struct entry *entry = &entries[n++];

		entry->ino = sqlite3_column_int64(stmt, 0);
		entry->seq = sqlite3_column_int64(stmt, 1);
		entry->len = MIN(name.len, sizeof(entry->name));
		memcpy(entry->name, name.data, entry->len);
		got = db_next(stmt);
	}
	return got ? got : n;
}

/* 1: a directory, which has to be emptied first. */
static int sweep_entry(struct change *change, const struct sweep *sweep, const struct entry *entry)
{
	struct inode_edit *edit;
	int err = 0;

	if (!entry->ino || entry->seq)
		return 0;
	edit = inode_edit(change, entry->ino, &err);
	if (!edit && err != -ESTALE)
		return err;
	if (edit && edit->v.type == TYPE_DIR) {
		sweep_push(change->cache, entry->ino);
		return 1;
	}
	return merge_unbind(change, sweep->ino, (struct slice){ entry->name, entry->len },
			    entry->ino);
}

static int is_moving(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	(void)arg;
	(void)dir;
	(void)name;
	return info->seq != 0;
}

static int sweep_end(struct change *change, struct inode_edit *edit)
{
	uint64_t ino = edit->inode->ino;
	int got;

	got = name_any_in(change->cache, ino);
	if (!got)
		got = name_each_of(change->cache, ino, is_moving, NULL);
	if (got)
		return got < 0 ? got : stale_mark_held(change, ino);
	return merge_drop_dir(change, edit);
}

/* Go on with the top one; *ret_seen: names looked at. */
static int sweep_some(struct change *change, struct sweep *sweep, unsigned *ret_seen)
{
	struct entry entries[NAMES_AT_ONCE];
	struct inode_edit *edit;
	int err = 0, got, n;

	edit = inode_edit(change, sweep->ino, &err);
	if (!edit || edit->v.type != TYPE_DIR) {
		sweep_pop(change->cache, sweep);
		return err == -ESTALE ? 0 : err;
	}
	n = read_some(change, sweep, entries);
	for (int i = 0; i < n; i++) {
		got = sweep_entry(change, sweep, &entries[i]);
		if (got < 0)
			return got;
		sweep->len = entries[i].len;
		memcpy(sweep->name, entries[i].name, entries[i].len);
		*ret_seen += 1;
		if (got)
			return 0;
	}
	if (n < 0 || n == NAMES_AT_ONCE)
		return MIN(n, 0);
	sweep_pop(change->cache, sweep);
	*ret_seen += 1;
	return sweep_end(change, edit);
}

static int sweep_run(struct change *change)
{
	unsigned seen = 0;
	struct sweep *sweep;
	int err;

	err = FAULT("merge.sweep");
	while (!err && seen < NAMES_PER_CHANGE && (sweep = sweep_top(change->cache)))
		err = sweep_some(change, sweep, &seen);
	return err;
}

int merge_finish(struct cache *cache)
{
	int err = 0;

	while (!err && sweep_top(cache))
		err = writer_call(cache, sweep_run, NULL);
	hoard_poke(cache);
	return err;
}

/* ---- our own records ---- */

/* Under the lock. */
static struct own *own_find(struct merge *merge, uint64_t ino)
{
	for (struct hash_node *n = hash_first(&merge->own, hash_u64(ino)); n; n = hash_next(n)) {
		struct own *own = container_of(n, struct own, node);

		if (own->ino == ino)
			return own;
	}
	return NULL;
}

struct kept {
	struct hash_node *first;
	uint64_t position;
};

static void own_prune_one(struct hash_node *node, void *arg)
{
	struct own *own = container_of(node, struct own, node);
	struct kept *kept = arg;

	/* Pulled since: listed_at of the directory says so, and no entry that is older comes any more. */
	if (own->version <= kept->position) {
		free(own);
		return;
	}
	node->next = kept->first;
	kept->first = node;
}

static void own_prune(struct cache *cache)
{
	struct merge *merge = cache->apply->merge;
	struct kept kept = { NULL, cache->position };

	hash_drain(&merge->own, own_prune_one, &kept);
	while (kept.first) {
		struct hash_node *node = kept.first;

		kept.first = node->next;
		hash_insert(&merge->own, node, node->value);
	}
	merge->own_max = merge->own.n * 2 + OWN_MIN;
}

void merge_own_name(struct cache *cache, uint64_t ino, uint64_t version)
{
	struct merge *merge = cache->apply->merge;
	struct own *own;

	pthread_mutex_lock(&cache->lock);
	if (version <= cache->position)
		goto out;
	own = own_find(merge, ino);
	if (!own && merge->own.n >= merge->own_max)
		own_prune(cache);
	if (!own) {
		own = calloc(1, sizeof(*own));
		if (!own)
			goto out;	/* then a listing of this very moment is believed too much */
		own->ino = ino;
		hash_insert(&merge->own, &own->node, hash_u64(ino));
	}
	own->version = MAX(own->version, version);
out:
	pthread_mutex_unlock(&cache->lock);
}

uint64_t merge_own_version(struct cache *cache, uint64_t ino)
{
	struct own *own;
	uint64_t version;

	pthread_mutex_lock(&cache->lock);
	own = own_find(cache->apply->merge, ino);
	version = own && own->version > cache->position ? own->version : 0;
	pthread_mutex_unlock(&cache->lock);
	return version;
}

uint64_t merge_own_before_start(struct cache *cache)
{
	return cache->apply->merge->own_before;
}

void merge_own_moved(struct cache *cache, uint64_t from_dir, uint64_t to_dir)
{
	uint64_t version = merge_own_version(cache, from_dir);

	if (version)
		merge_own_name(cache, to_dir, version);
}

bool merge_is_overtaken(struct cache *cache, const struct inode_edit *dir, uint64_t position)
{
	struct own *own;
	bool is;

	pthread_mutex_lock(&cache->lock);
	own = own_find(cache->apply->merge, dir->inode->ino);
	is = position < dir->v.listed_at || (own && position < own->version);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

/* ---- start and end ---- */

int merge_new(uint64_t own_before, struct merge **ret_merge)
{
	struct merge *merge = calloc(1, sizeof(*merge));
	int err;

	if (!merge)
		return -ENOMEM;
	err = hash_init(&merge->own);
	if (err) {
		free(merge);
		return err;
	}
	list_init(&merge->sweeps);
	merge->own_max = OWN_MIN;
	merge->own_before = own_before;
	*ret_merge = merge;
	return 0;
}

static void own_drain(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct own, node));
}

void merge_free(struct merge *merge)
{
	struct sweep *sweep, *next;

	if (!merge)
		return;
	list_each_safe(sweep, next, &merge->sweeps, node)
		free(sweep);
	hash_drain(&merge->own, own_drain, NULL);
	hash_release(&merge->own);
	free(merge);
}
