/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/stale.h"

#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "cache/apply_state.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/writer.h"

#define AT_ONCE 64			/* rows under one hold of the lock */
#define HELD_US (5 * US_PER_S)	/* what was held up is tried again so much later at the latest: as a note of writing ends */
#define NOTHING_US US_PER_S		/* so long "there is nothing" is believed without looking again */

struct note {
	struct hash_node node;
	uint64_t ino;
	bool is_out;			/* given out, not answered */
	bool was_marked;		/* since then */
	bool is_held;			/* until acked moves on, or held_until_us */
	uint64_t held_acked, held_until_us;
	uint64_t after;			/* until the journal has been pulled up to there */
};

struct stale {
	/* under cache->lock */
	struct hash_table notes;
	uint64_t next_ino;		/* where to look on */
	/* Nothing was found when the log was like that and these were the marks. */
	uint64_t marks, nothing_marks, nothing_acked, nothing_records, nothing_position,
		nothing_until_us;
};

struct candidate {
	uint64_t ino;
	struct kml_oid oid;
	bool is_dir;
};

/* ---- notes; under the lock ---- */

static struct note *note_find(struct stale *stale, uint64_t ino)
{
	for (struct hash_node *n = hash_first(&stale->notes, hash_u64(ino)); n; n = hash_next(n)) {
		struct note *note = container_of(n, struct note, node);

		if (note->ino == ino)
			return note;
	}
	return NULL;
}

static struct note *note_get(struct stale *stale, uint64_t ino)
{
	struct note *note = note_find(stale, ino);

	if (note)
		return note;
	note = calloc(1, sizeof(*note));
	if (!note)
		return NULL;
	note->ino = ino;
	hash_insert(&stale->notes, &note->node, hash_u64(ino));
	return note;
}

static void note_free(struct stale *stale, struct note *note)
{
	hash_remove(&stale->notes, &note->node);
	free(note);
}

/* ---- marking ---- */

static int mark(struct change *change, uint64_t ino, bool is_held)
{
	struct cache *cache = change->cache;
	struct stale *stale = cache->apply->stale;
	struct inode_edit *edit;
	struct note *note;
	int err = 0;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	/* Even if it is so already: what memory says may be older than the row. */
	EDIT(edit, is_stale, true);

	pthread_mutex_lock(&cache->lock);
	note = is_held ? note_get(stale, ino) : note_find(stale, ino);
	if (note && note->is_out)
		note->was_marked = true;
	if (note && is_held) {
		note->is_held = true;
		note->held_acked = cache->cml->acked;
		note->held_until_us = clock_us() + HELD_US;
	} else if (is_held) {
		err = -ENOMEM;
	}
	stale->marks++;
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int stale_ask(struct change *change, uint64_t ino)
{
	return mark(change, ino, false);
}

int stale_mark_held(struct change *change, uint64_t ino)
{
	return mark(change, ino, true);
}

int stale_ask_after(struct change *change, uint64_t ino, uint64_t position)
{
	struct cache *cache = change->cache;
	struct note *note;
	int err;

	err = mark(change, ino, false);
	if (err)
		return err;
	pthread_mutex_lock(&cache->lock);
	note = note_get(cache->apply->stale, ino);
	if (note)
		note->after = MAX(note->after, position);
	pthread_mutex_unlock(&cache->lock);
	return note ? 0 : -ENOMEM;
}

int stale_answered(struct change *change, uint64_t ino)
{
	struct cache *cache = change->cache;
	struct inode_edit *edit;
	struct note *note;
	bool was_marked;
	int err = 0;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	pthread_mutex_lock(&cache->lock);
	note = note_find(cache->apply->stale, ino);
	was_marked = note && note->is_out && note->was_marked;
	pthread_mutex_unlock(&cache->lock);
	if (!was_marked)
		EDIT(edit, is_stale, false);
	return 0;
}

int stale_asked(struct cache *cache, uint64_t ino)
{
	struct note *note;

	pthread_mutex_lock(&cache->lock);
	note = note_get(cache->apply->stale, ino);
	if (note)
		note->is_out = true;
	pthread_mutex_unlock(&cache->lock);
	return note ? 0 : -ENOMEM;
}

void stale_done(struct cache *cache, uint64_t ino)
{
	struct stale *stale = cache->apply->stale;
	struct note *note;

	pthread_mutex_lock(&cache->lock);
	note = note_find(stale, ino);
	if (note && (note->is_held || note->after > cache->position))
		note->is_out = note->was_marked = false;
	else if (note)
		note_free(stale, note);
	stale->marks++;
	pthread_mutex_unlock(&cache->lock);
}

void stale_forget(struct cache *cache, uint64_t ino)
{
	struct note *note;

	pthread_mutex_lock(&cache->lock);
	note = note_find(cache->apply->stale, ino);
	if (note)
		note_free(cache->apply->stale, note);
	pthread_mutex_unlock(&cache->lock);
}

struct reset {
	struct cache *cache;
	uint64_t from, to, position;
};

static bool dir_reset(struct hash_node *node, void *arg)
{
	struct inode *inode = container_of(node, struct inode, by_ino);
	const struct reset *reset = arg;
	struct note *note;

	if (inode->v.type != TYPE_DIR || inode->ino < reset->from || inode->ino > reset->to)
		return true;
	inode->v.listed_at = MAX(inode->v.listed_at, reset->position);
	inode->v.is_stale |= inode->v.is_listed;
	note = note_find(reset->cache->apply->stale, inode->ino);
	if (note)
		note->was_marked = note->is_out;
	return true;
}

void stale_reset_dirs(struct cache *cache, uint64_t from, uint64_t to, uint64_t position)
{
	struct reset reset = { cache, from, to, position };
	size_t hand = 0;

	pthread_mutex_lock(&cache->lock);
	hash_sweep(&cache->inodes, &hand, SIZE_MAX, dir_reset, &reset);
	cache->apply->stale->marks++;
	pthread_mutex_unlock(&cache->lock);
}

/* ---- giving out; under the lock but for stale_next() itself ---- */

/* Does something of ours wait on it?  1, 0, -errno. */
static int is_ours(struct cache *cache, const struct candidate *c)
{
	int got = cml_speaks_of(cache, c->ino);

	return !got && c->is_dir ? name_any_marked_in(cache, c->ino) : got;
}

static bool is_held(struct cache *cache, uint64_t ino)
{
	struct stale *stale = cache->apply->stale;
	struct note *note = note_find(stale, ino);

	if (!note)
		return false;
	if (note->is_out)
		return true;
	if (note->after > cache->position)
		return true;
	if (note->is_held && note->held_acked == cache->cml->acked &&
	    clock_us() < note->held_until_us)
		return true;
	note_free(stale, note);
	return false;
}

/* Up to AT_ONCE that are stale, from stale->next_ino on; gives how many, 0: no more, or -errno. */
static int read_some(struct cache *cache, struct candidate *ret)
{
	struct stale *stale = cache->apply->stale;
	sqlite3_stmt *stmt;
	int got, n = 0;

	got = db_query(cache->read_db, &stmt,
		       "SELECT ino, oid_origin, oid_number, type FROM inode WHERE is_stale <> 0"
		       " AND ino > ?1 AND links_up > 0 AND is_dirty = 0 ORDER BY ino LIMIT ?2",
		       "ii", (int64_t)stale->next_ino, (int64_t)AT_ONCE);
	while (got > 0) {
		ret[n].ino = sqlite3_column_int64(stmt, 0);
		ret[n].oid.origin = sqlite3_column_int64(stmt, 1);
		ret[n].oid.number = sqlite3_column_int64(stmt, 2);
		ret[n].is_dir = sqlite3_column_int(stmt, 3) == TYPE_DIR;
		n++;
		got = db_next(stmt);
	}
	return got ? got : n;
}

/* 1: found; 0: none among these; -errno. */
static int find_among(struct cache *cache, const struct candidate *candidates, int n,
		      struct candidate *ret)
{
	struct stale *stale = cache->apply->stale;

	for (int i = 0; i < n; i++) {
		struct note *note;
		int got;

		stale->next_ino = candidates[i].ino;
		if (is_held(cache, candidates[i].ino))
			continue;
		got = is_ours(cache, &candidates[i]);
		if (got < 0)
			return got;
		if (got)
			continue;
		note = note_get(stale, candidates[i].ino);
		if (!note)
			return -ENOMEM;
		note->is_out = true;
		*ret = candidates[i];
		return 1;
	}
	return 0;
}

static bool is_quiet(const struct cache *cache)
{
	const struct stale *stale = cache->apply->stale;

	return stale->nothing_marks == stale->marks && stale->nothing_acked == cache->cml->acked &&
	       stale->nothing_records == cache->cml->records &&
	       stale->nothing_position == cache->position && clock_us() < stale->nothing_until_us;
}

static void found_nothing(struct cache *cache)
{
	struct stale *stale = cache->apply->stale;

	stale->nothing_marks = stale->marks;
	stale->nothing_acked = cache->cml->acked;
	stale->nothing_records = cache->cml->records;
	stale->nothing_position = cache->position;
	stale->nothing_until_us = clock_us() + NOTHING_US;
}

bool stale_next(struct cache *cache, uint64_t *ret_ino, struct kml_oid *ret_oid, bool *ret_is_dir)
{
	struct stale *stale = cache->apply->stale;
	struct candidate candidates[AT_ONCE], found;
	bool has_wrapped = false;
	int got = 0;

	pthread_mutex_lock(&cache->lock);
	if (is_quiet(cache)) {
		pthread_mutex_unlock(&cache->lock);
		return false;
	}
	has_wrapped = !stale->next_ino;
	for (;;) {
		int n = read_some(cache, candidates);

		got = n > 0 ? find_among(cache, candidates, n, &found) : n;
		if (got)
			break;
		if (n < AT_ONCE) {
			stale->next_ino = 0;
			if (has_wrapped)
				break;
			has_wrapped = true;
		}
		/* Others want the lock too. */
		pthread_mutex_unlock(&cache->lock);
		pthread_mutex_lock(&cache->lock);
	}
	if (!got)
		found_nothing(cache);
	pthread_mutex_unlock(&cache->lock);
	/* An error of the database is met again, and told, where something is asked of the caller. */
	if (got <= 0)
		return false;
	*ret_ino = found.ino;
	*ret_oid = found.oid;
	*ret_is_dir = found.is_dir;
	return true;
}

/* ---- start and end ---- */

int stale_new(struct stale **ret_stale)
{
	struct stale *stale = calloc(1, sizeof(*stale));
	int err;

	if (!stale)
		return -ENOMEM;
	err = hash_init(&stale->notes);
	if (err) {
		free(stale);
		return err;
	}
	stale->nothing_marks = UINT64_MAX;
	*ret_stale = stale;
	return 0;
}

static void note_drain(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct note, node));
}

void stale_free(struct stale *stale)
{
	if (!stale)
		return;
	hash_drain(&stale->notes, note_drain, NULL);
	hash_release(&stale->notes);
	free(stale);
}
