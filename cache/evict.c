/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/evict.h"

#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/base.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/extent.h"
#include "cache/hoard_table.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/park.h"
#include "cache/writer.h"

struct victim {
	uint64_t ino, used;
	double score;
	uint32_t gen, priority;
};

/* The victims so far: a heap with the one on top that would be the last to go. */
struct walk {
	struct evict *evict;
	struct victim *v;
	size_t n, room;
	uint64_t bytes;		/* of those */
	uint64_t need;		/* what the bases that went have not given */
	int64_t now_s;
};

static bool goes_before(const struct victim *a, const struct victim *b)
{
	return a->priority != b->priority ? a->priority < b->priority : a->score > b->score;
}

static int by_turn(const void *a, const void *b)
{
	return goes_before(b, a) - goes_before(a, b);
}

/* ---- the heap ---- */

static void sink(struct walk *walk)
{
	struct victim *v = walk->v;
	size_t i = 0, child;

	while ((child = 2 * i + 1) < walk->n) {
		struct victim x = v[i];

		child += child + 1 < walk->n && goes_before(&v[child], &v[child + 1]);
		if (!goes_before(&v[i], &v[child]))
			return;
		v[i] = v[child];
		v[child] = x;
		i = child;
	}
}

static void pop(struct walk *walk)
{
	walk->bytes -= walk->v[0].used;
	walk->v[0] = walk->v[--walk->n];
	sink(walk);
}

static int push(struct walk *walk, const struct victim *victim)
{
	size_t i = walk->n;

	if (walk->n == walk->room) {
		size_t room = walk->room ? 2 * walk->room : 256;
		struct victim *v = realloc(walk->v, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		walk->v = v;
		walk->room = room;
	}
	walk->v[walk->n++] = *victim;
	walk->bytes += victim->used;
	for (; i && goes_before(&walk->v[(i - 1) / 2], &walk->v[i]); i = (i - 1) / 2) {
		struct victim x = walk->v[i];

		walk->v[i] = walk->v[(i - 1) / 2];
		walk->v[(i - 1) / 2] = x;
	}
	return 0;
}

/* Would it be among those that go, as far as is known? */
static bool is_candidate(const struct walk *walk, const struct victim *victim)
{
	if (walk->bytes < walk->need && walk->n < EVICT_MOST)
		return true;
	return walk->n && goes_before(victim, &walk->v[0]);
}

/* ---- the walk ---- */

/* What the database says: 1: clean; 0: it must stay; -ENOENT: nobody's file, or of another generation; -errno. */
static int look_at_row(struct evict *evict, const struct object_file *file)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(evict->db, &stmt,
		       "SELECT links_up > 0 AND data_version <> 0 AND data_seq = 0 AND attr_seq = 0 AND is_dirty = 0"
		       " AND dirty IS NULL AND dirty_next IS NULL"
		       " AND NOT EXISTS (SELECT 1 FROM cml WHERE cml.ino = inode.ino)"
		       " FROM inode WHERE ino = ?1 AND gen = ?2", "ii", (int64_t)file->ino, (int64_t)file->gen);
	if (got <= 0)
		return got ? got : -ENOENT;
	got = sqlite3_column_int(stmt, 0);
	db_done(stmt);
	return got;
}

static double score(struct walk *walk, const struct object_file *file)
{
	struct cache *cache = walk->evict->cache;
	int64_t used_s = file->used_s, age_s;
	struct inode *inode;

	pthread_mutex_lock(&cache->lock);
	inode = inode_find(cache, file->ino);
	if (inode)
		used_s = MAX(used_s, (int64_t)inode->read_s);
	pthread_mutex_unlock(&cache->lock);
	age_s = walk->now_s > used_s ? walk->now_s - used_s : 0;
	return ((double)age_s + 1) * (double)file->used / ((double)file->used + EVICT_ROUND_TRIP);
}

static int look_at_file(void *arg, const struct object_file *file)
{
	struct walk *walk = arg;
	struct evict *evict = walk->evict;
	struct victim victim = { .ino = file->ino, .used = file->used, .gen = file->gen };
	int64_t priority;
	int got;

	if (__atomic_load_n(evict->is_stopping, __ATOMIC_RELAXED))
		return -ECANCELED;
	evict->total_bytes += file->used;
	if (!file->used || !evict->need)
		return 0;
	got = look_at_row(evict, file);
	if (got == -ENOENT)
		return 0;
	if (!got)
		evict->dirty_bytes += file->used;
	if (got <= 0)
		return got;
	victim.score = score(walk, file);
	if (!is_candidate(walk, &victim))
		return 0;
	priority = hoard_priority(evict->cache, evict->db, file->ino);
	if (priority < 0)
		return (int)priority;
	if (priority >= evict->priority) {
		evict->hoarded_bytes += file->used;
		return 0;
	}
	victim.priority = (uint32_t)priority;
	if (!is_candidate(walk, &victim))
		return 0;
	if (walk->n == EVICT_MOST)
		pop(walk);
	got = push(walk, &victim);
	while (!got && walk->bytes - walk->v[0].used >= walk->need)
		pop(walk);
	return got;
}

/* ---- evicting ---- */

struct piece {
	struct evict *evict;
	struct victim *v;
	size_t n;
	bool is_done[EVICT_PIECE];
	bool has_later;
};

enum verdict { MUST_STAY, LATER, MAY_GO };

/* On the writer thread: by what is true for all that comes behind this change. */
static enum verdict judge(struct cache *cache, const struct inode_edit *edit, uint32_t gen)
{
	const struct inode_values *v = &edit->v;
	const struct inode *inode = edit->inode;
	const struct inode_work *work = inode->work;
	enum verdict verdict = MAY_GO;

	pthread_mutex_lock(&cache->lock);
	if (v->type != TYPE_REG || v->gen != gen || !v->links_up || !v->data_version || v->data_seq || v->attr_seq ||
	    v->is_dirty || inode->v.is_dirty || work->has_uncommitted || work->dirty.n || work->dirty_next.n || work->taken_seq)
		verdict = MUST_STAY;
	/* What has just been fetched has somebody who wants to read it. */
	else if (work->n_writing || work->is_held || work->cut_pending || work->has_fetched || park_wants(cache, inode->ino))
		verdict = LATER;
	pthread_mutex_unlock(&cache->lock);
	return verdict;
}

static int evict_one(struct change *change, struct piece *piece, size_t i)
{
	struct cache *cache = change->cache;
	const struct victim *victim = &piece->v[i];
	struct inode_edit *edit;
	enum verdict verdict;
	int64_t priority;
	int err, got;

	edit = inode_edit(change, victim->ino, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	verdict = judge(cache, edit, victim->gen);
	piece->has_later |= verdict == LATER;
	if (verdict != MAY_GO)
		return 0;
	/*
	 * A record that is refused may yet need the content: a file that was renamed here and removed there is made anew
	 * from it.
	 */
	got = cml_speaks_of(cache, victim->ino);
	priority = got ? 0 : hoard_priority(cache, writer_db(cache), victim->ino);
	if (got || priority < 0)
		return got < 0 ? got : MIN((int)priority, 0);
	if (priority >= piece->evict->priority)
		return 0;
	edit->drops_content = true;
	err = EDIT_MAPS(edit);
	if (err)
		return err;
	extent_release(&edit->present);
	EDIT(edit, gen, edit->v.gen + 1);
	piece->is_done[i] = true;
	return 0;
}

static int piece_run(struct change *change)
{
	struct piece *piece = change->arg;
	int err = FAULT("evict.change");

	/* Files are removed when it is over: it must be on the disk by then. */
	change->wants_sync = true;
	for (size_t i = 0; i < piece->n; i++)
		piece->is_done[i] = false;	/* it may be run again */
	for (size_t i = 0; i < piece->n && !err; i++)
		err = evict_one(change, piece, i);
	return err;
}

static int evict_piece(struct evict *evict, struct victim *v, size_t n)
{
	struct piece piece = { .evict = evict, .v = v, .n = n };
	int err = writer_call(evict->cache, piece_run, &piece);

	evict->has_later |= piece.has_later;
	for (size_t i = 0; i < n && !err; i++) {
		if (!piece.is_done[i])
			continue;
		(void)FAULT("evict.unlink");	/* to be killed at: it cannot fail more than object_unlink() does */
		object_unlink(evict->cache, v[i].ino, v[i].gen);
		evict->freed_bytes += v[i].used;
		evict->freed_files++;
	}
	return err;
}

int evict(struct evict *evict)
{
	struct walk walk = { .evict = evict, .now_s = clock_wall().tv_sec };
	int err = 0;

	evict->total_bytes = base_used(evict->cache);
	if (evict->need)
		err = base_evict(evict->cache, evict->need, false, &evict->freed_bytes, &evict->freed_files);
	walk.need = evict->need - MIN(evict->need, evict->freed_bytes);
	if (!err)
		err = object_each_file(evict->cache, look_at_file, &walk);
	if (walk.n)
		qsort(walk.v, walk.n, sizeof(*walk.v), by_turn);
	for (size_t at = 0; at < walk.n && !err && evict->freed_bytes < evict->need; at += EVICT_PIECE) {
		err = evict_piece(evict, walk.v + at, MIN(walk.n - at, (size_t)EVICT_PIECE));
		if (__atomic_load_n(evict->is_stopping, __ATOMIC_RELAXED))
			break;
	}
	if (!err && evict->freed_bytes < evict->need)
		err = base_evict(evict->cache, evict->need - evict->freed_bytes, true, &evict->freed_bytes, &evict->freed_files);
	if (evict->freed_files)
		log_debug(LOG_CACHE, "evict: files=%llu bytes=%llu wanted=%llu err=%d", (unsigned long long)evict->freed_files,
			  (unsigned long long)evict->freed_bytes, (unsigned long long)evict->need, err);
	free(walk.v);
	return err;
}
