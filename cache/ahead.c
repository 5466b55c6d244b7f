/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/park.h"
#include "cache/writer.h"

#define NOTES 256		/* reads that have not been looked at; more are not noted */
#define STREAMS 8
#define GUESSED 1024		/* files asked for and not read, of one reader */
#define AT_ONCE 32		/* files that cache->lock is held for */
#define ROWS_MOST 2048		/* looked at for one read */
#define CLIMB_MOST 64
#define STEPS_DOWN 4
#define IDLE_US (30 * US_PER_S)	/* a reader that has not read for so long is another one */
#define MISSES_MOST 8		/* in a row: what was asked for is not what is read */

struct note {
	uint64_t ino;
	bool is_miss;
};

/* In a directory, behind a cookie; is_middle: what stands before it comes when the end is reached.  dir 0: nowhere. */
struct place {
	uint64_t dir;
	int64_t cookie;
	bool is_middle;
};

/* One who reads. */
struct stream {
	uint64_t dir;			/* where; 0: free */
	uint64_t last;			/* the file */
	uint64_t top;			/* the directory that he walks through; 0: he does not */
	unsigned reads, misses;		/* of different files in dir; in a row */
	uint64_t used_us;
	struct place at;		/* what is asked for next */
	uint64_t window, out;		/* bytes; out: asked for and not passed by; */
	uint64_t passed;		/* passed by since the window changed */
	struct guessed {
		uint64_t ino, bytes;
	} guessed[GUESSED];		/* a ring, in the order in which they were asked for */
	size_t first, n;
};

struct ahead {
	struct cache *cache;
	char *db_path;
	pthread_t thread;
	pthread_mutex_t lock;		/* the last one */
	pthread_cond_t wake;
	/* under lock */
	bool is_stopping, is_looking;
	struct note notes[NOTES];
	size_t n_notes;
	/* the thread's */
	struct db *db;
	struct stream streams[STREAMS];
};

void ahead_note_read(struct cache *cache, struct inode *inode, bool is_miss)
{
	struct ahead *ahead = cache->ahead;

	inode->is_guessed = false;
	if (!ahead || inode->v.size > AHEAD_SMALL)
		return;
	pthread_mutex_lock(&ahead->lock);
	if (ahead->n_notes < NOTES)
		ahead->notes[ahead->n_notes++] = (struct note){ inode->ino, is_miss };
	if (ahead->n_notes == 1)
		pthread_cond_signal(&ahead->wake);
	pthread_mutex_unlock(&ahead->lock);
}

bool ahead_is_idle(struct cache *cache)
{
	struct ahead *ahead = cache->ahead;
	bool is;

	pthread_mutex_lock(&ahead->lock);
	is = !ahead->n_notes && !ahead->is_looking;
	pthread_mutex_unlock(&ahead->lock);
	return is;
}

/* ---- the tree ---- */

/* One number, or a second one too: 1, 0: no row, -errno. */
static int numbers(struct ahead *ahead, const char *sql, uint64_t a, int64_t b, uint64_t *ret, int64_t *ret_second)
{
	sqlite3_stmt *stmt;
	int got = db_query(ahead->db, &stmt, sql, "ii", (int64_t)a, b);

	if (got <= 0)
		return got;
	*ret = (uint64_t)sqlite3_column_int64(stmt, 0);
	if (ret_second)
		*ret_second = sqlite3_column_int64(stmt, 1);
	db_done(stmt);
	return 1;
}

/* One of its names: 1, 0: it has none. */
static int name_of(struct ahead *ahead, uint64_t ino, uint64_t *ret_dir, int64_t *ret_cookie)
{
	return numbers(ahead, "SELECT dir, cookie FROM name WHERE ino = ?1 AND ino > ?2 LIMIT 1", ino, 0, ret_dir, ret_cookie);
}

/* 0: there is none. */
static uint64_t parent_of(struct ahead *ahead, uint64_t dir)
{
	uint64_t parent = 0;

	if (dir == CACHE_ROOT || numbers(ahead, "SELECT parent FROM inode WHERE ino = ?1 AND ino > ?2", dir, 0, &parent, NULL) <= 0)
		return 0;
	return parent;
}

/* The first directory in dir behind that cookie: 1, 0, -errno. */
static int dir_behind(struct ahead *ahead, uint64_t dir, int64_t cookie, uint64_t *ret)
{
	return numbers(ahead,
		       "SELECT n.ino FROM name n JOIN inode i ON i.ino = n.ino WHERE n.dir = ?1 AND n.cookie > ?2 AND i.type = 2"
		       " ORDER BY n.cookie LIMIT 1", dir, cookie, ret, NULL);
}

/* The directory that a walk through top comes to after dir: 1, 0: it is over, -errno. */
static int next_dir(struct ahead *ahead, uint64_t top, uint64_t dir, uint64_t *ret)
{
	int got = dir_behind(ahead, dir, 0, ret);

	for (int i = 0; !got && dir != top && i < CLIMB_MOST; i++) {
		int64_t cookie;

		got = name_of(ahead, dir, &dir, &cookie);
		if (got <= 0)
			return got;
		got = dir_behind(ahead, dir, cookie, ret);
	}
	return got;
}

static bool is_below(struct ahead *ahead, uint64_t dir, uint64_t top)
{
	for (int i = 0; dir && i < CLIMB_MOST; i++) {
		if (dir == top)
			return true;
		dir = parent_of(ahead, dir);
	}
	return false;
}

/* ---- who reads ---- */

/*
 * The directory that he walks through who was in 'from' and is in 'to' now; 0: that is no walk.  Who walks already may come
 * out of where he began, and some steps down again.
 */
static uint64_t top_of_walk(struct ahead *ahead, const struct stream *stream, uint64_t from, uint64_t to)
{
	uint64_t above = to, from_parent = parent_of(ahead, from);

	if (!stream->top && to == from_parent)
		return to;
	for (int i = 0; i < (stream->top ? STEPS_DOWN : 1); i++) {
		above = parent_of(ahead, above);
		if (above && (above == from || above == from_parent || (stream->top && is_below(ahead, from, above))))
			return above;
	}
	return stream->top && is_below(ahead, from, to) ? to : 0;
}

static bool follows(struct ahead *ahead, struct stream *stream, uint64_t dir, uint64_t *ret_top)
{
	*ret_top = stream->top;
	if (!stream->dir)
		return false;
	if (stream->dir == dir || (stream->top && is_below(ahead, dir, stream->top)))
		return true;
	*ret_top = top_of_walk(ahead, stream, stream->dir, dir);
	return *ret_top;
}

static void forget_guessed(struct stream *stream)
{
	stream->first = stream->n = 0;
	stream->out = stream->passed = 0;
}

/* Whose read it is; one who is new, in the place of who has not read for longest. */
static struct stream *stream_of(struct ahead *ahead, uint64_t dir, uint64_t now_us)
{
	struct stream *oldest = &ahead->streams[0];
	uint64_t top;

	for (size_t i = 0; i < STREAMS; i++) {
		struct stream *stream = &ahead->streams[i];

		if (stream->dir && now_us - stream->used_us > IDLE_US)
			stream->dir = 0;
		if (follows(ahead, stream, dir, &top)) {
			stream->top = top;
			return stream;
		}
		if (!stream->dir || (oldest->dir && stream->used_us < oldest->used_us))
			oldest = stream;
	}
	oldest->dir = dir;
	oldest->last = oldest->top = 0;
	oldest->reads = oldest->misses = 0;
	oldest->at = (struct place){ 0 };
	oldest->window = AHEAD_MIN;
	forget_guessed(oldest);
	return oldest;
}

/* It was asked for, and so was what stands before it, which he has passed by. */
static void pass_by(struct stream *stream, uint64_t ino)
{
	size_t i = 0;

	while (i < stream->n && stream->guessed[(stream->first + i) % GUESSED].ino != ino)
		i++;
	if (i == stream->n)
		return;
	for (i++; i; i--) {
		stream->out -= stream->guessed[stream->first].bytes;
		stream->passed += stream->guessed[stream->first].bytes;
		stream->first = (stream->first + 1) % GUESSED;
		stream->n--;
	}
	if (stream->passed >= stream->window / 2) {
		stream->window = MIN(2 * stream->window, AHEAD_MAX);
		stream->passed = 0;
	}
}

/* ---- asking ---- */

/* Files that may have to be asked for, behind a place. */
struct candidates {
	uint64_t inos[AT_ONCE];
	size_t n;
	uint64_t bytes;
	unsigned rows;		/* that were looked at */
};

/* Until there are enough of so many bytes: 1, 0: the directory is at its end, -errno. */
static int candidates_find(struct ahead *ahead, struct place *place, uint64_t most, struct candidates *found)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(ahead->db, &stmt,
		       "SELECT n.cookie, i.ino, i.size, i.type = 1 AND i.size BETWEEN 1 AND ?3 AND i.data_version > 0 AND length(coalesce(i.present, x'')) = 0"
		       " FROM name n JOIN inode i ON i.ino = n.ino WHERE n.dir = ?1 AND n.cookie > ?2 ORDER BY n.cookie", "iii",
		       (int64_t)place->dir, place->cookie, (int64_t)AHEAD_SMALL);
	for (; got > 0; got = db_next(stmt)) {
		place->cookie = sqlite3_column_int64(stmt, 0);
		found->rows++;
		if (sqlite3_column_int(stmt, 3)) {
			found->inos[found->n++] = (uint64_t)sqlite3_column_int64(stmt, 1);
			found->bytes += (uint64_t)sqlite3_column_int64(stmt, 2);
		}
		if (found->n == AT_ONCE || found->bytes >= most || found->rows >= ROWS_MOST) {
			db_done(stmt);
			return 1;
		}
	}
	return got;
}

/* Asks for what is absent of them; there is room for all of them in guessed.  False: nothing more is to be asked for now. */
static bool ask(struct ahead *ahead, struct stream *stream, const struct candidates *found)
{
	struct cache *cache = ahead->cache;
	struct inode *inodes[AT_ONCE];
	size_t n = 0;
	bool may;
	int err;

	pthread_mutex_lock(&cache->lock);
	may = park_may_guess(cache, stream->out + AHEAD_MIN);
	for (size_t i = 0; may && i < found->n; i++) {
		struct inode *inode = inode_get(cache, found->inos[i], &err);

		if (inode && !inode->is_guessed)
			inodes[n++] = inode;
		else
			inode_put(cache, inode);
	}
	if (n)
		park_guess(cache, inodes, n);
	for (size_t i = 0; i < n; i++) {
		if (inodes[i]->is_guessed) {
			stream->guessed[(stream->first + stream->n++) % GUESSED] =
				(struct guessed){ inodes[i]->ino, inodes[i]->v.size };
			stream->out += inodes[i]->v.size;
		}
		inode_put(cache, inodes[i]);
	}
	pthread_mutex_unlock(&cache->lock);
	return may;
}

/* Inodes that are to have a content file. */
struct numbering {
	uint64_t inos[GUESSED];
	size_t n;
};

static int number_run(struct change *change)
{
	const struct numbering *numbering = change->arg;

	for (size_t i = 0; i < numbering->n; i++) {
		int err;
		struct inode_edit *edit = inode_edit(change, numbering->inos[i], &err);

		if (!edit && err != -ESTALE)
			return err;
		if (edit && edit->v.type == TYPE_REG && !edit->v.gen)
			EDIT(edit, gen, 1);
	}
	return 0;
}

/*
 * What has been asked for since: it gets the numbers of its content files while it is on its way.  Else each piece of what comes
 * would have to wait for a transaction (apply_content.c (4)), and the rest for that piece.
 */
static void number_files(struct ahead *ahead, const struct stream *stream, size_t since)
{
	struct numbering numbering = { .n = 0 };

	for (size_t i = since; i < stream->n; i++)
		numbering.inos[numbering.n++] = stream->guessed[(stream->first + i) % GUESSED].ino;
	if (numbering.n)
		(void)writer_call(ahead->cache, number_run, &numbering);	/* then it is done when they come */
}

/* Where to go on when the end of a directory was reached: 1, 0: nowhere, -errno. */
static int next_place(struct ahead *ahead, struct stream *stream)
{
	struct place *at = &stream->at;
	uint64_t dir = at->dir;
	int got = 0;

	at->cookie = 0;
	if (at->is_middle) {
		at->is_middle = false;
		return 1;
	}
	at->dir = 0;
	if (stream->top)
		got = next_dir(ahead, stream->top, dir, &at->dir);
	return got;
}

static int fill(struct ahead *ahead, struct stream *stream)
{
	size_t n_before = stream->n;
	unsigned rows = 0;
	int got = 1;

	if (stream->out > stream->window / 2)
		return 0;	/* few at a time would be many requests */
	while (got > 0 && stream->at.dir && stream->out < stream->window && stream->n + AT_ONCE <= GUESSED && rows < ROWS_MOST) {
		struct candidates found = { .n = 0 };

		got = candidates_find(ahead, &stream->at, stream->window - stream->out, &found);
		rows += found.rows + 1;
		if (found.n && !ask(ahead, stream, &found))
			break;
		if (!got)
			got = next_place(ahead, stream);
	}
	if (stream->n > n_before)
		log_debug(LOG_CACHE, "ahead: files=%zu window=%llu bytes=%llu top=%llu", stream->n - n_before,
			  (unsigned long long)stream->window, (unsigned long long)stream->out, (unsigned long long)stream->top);
	number_files(ahead, stream, n_before);
	return got;
}

/* It was not asked for: from here on, then. */
static void missed(struct stream *stream, uint64_t dir, int64_t cookie)
{
	bool is_beside = dir == stream->dir || dir == stream->at.dir;

	stream->window = is_beside ? MAX(stream->window / 2, AHEAD_MIN) : AHEAD_MIN;
	stream->passed = 0;
	if (++stream->misses == MISSES_MOST) {
		stream->misses = 0;
		forget_guessed(stream);
	}
	stream->at = (struct place){ dir, cookie, true };
}

static int note_read(struct ahead *ahead, const struct note *note)
{
	uint64_t now_us = clock_us(), dir;
	struct stream *stream;
	int64_t cookie;
	int got;

	got = name_of(ahead, note->ino, &dir, &cookie);
	if (got <= 0)
		return got;
	stream = stream_of(ahead, dir, now_us);
	stream->used_us = now_us;
	if (note->is_miss) {
		missed(stream, dir, cookie);
	} else {
		stream->misses = 0;
		pass_by(stream, note->ino);
	}
	if (dir != stream->dir)
		stream->reads = 0;
	stream->dir = dir;
	stream->reads += note->ino != stream->last;
	stream->last = note->ino;
	return stream->top || stream->reads > 1 ? fill(ahead, stream) : 0;
}

/* ---- the thread ---- */

static void look_at_notes(struct ahead *ahead, const struct note *notes, size_t n)
{
	int got = 0;

	if (!ahead->db)
		got = db_open(ahead->db_path, DB_READER, false, &ahead->db);
	for (size_t i = 0; i < n && got >= 0; i++)
		got = note_read(ahead, &notes[i]);
	if (got < 0)
		log_debug(LOG_CACHE, "ahead: nothing is asked for ahead: %s", strerror(-got));
}

static void *ahead_run(void *arg)
{
	struct ahead *ahead = arg;
	struct note notes[NOTES];

	pthread_mutex_lock(&ahead->lock);
	while (!ahead->is_stopping) {
		size_t n = ahead->n_notes;

		if (!n) {
			cond_wait(&ahead->wake, &ahead->lock, CLOCK_NEVER);
			continue;
		}
		memcpy(notes, ahead->notes, n * sizeof(notes[0]));
		ahead->n_notes = 0;
		ahead->is_looking = true;
		pthread_mutex_unlock(&ahead->lock);
		look_at_notes(ahead, notes, n);
		pthread_mutex_lock(&ahead->lock);
		ahead->is_looking = false;
	}
	pthread_mutex_unlock(&ahead->lock);
	return NULL;
}

static void ahead_free(struct ahead *ahead)
{
	db_close(ahead->db);
	free(ahead->db_path);
	free(ahead);
}

int ahead_start(struct cache *cache, const char *db_path)
{
	struct ahead *ahead = calloc(1, sizeof(*ahead));
	int err = -ENOMEM;

	if (!ahead)
		return -ENOMEM;
	ahead->cache = cache;
	ahead->db_path = strdup(db_path);
	if (ahead->db_path)
		err = cond_init(&ahead->wake);
	if (err) {
		ahead_free(ahead);
		return err;
	}
	(void)pthread_mutex_init(&ahead->lock, NULL);	/* cannot fail with default attributes */
	err = thread_start(&ahead->thread, "izo-ahead", ahead_run, ahead);
	if (err) {
		pthread_mutex_destroy(&ahead->lock);
		pthread_cond_destroy(&ahead->wake);
		ahead_free(ahead);
		return err;
	}
	cache->ahead = ahead;
	return 0;
}

void ahead_stop(struct cache *cache)
{
	struct ahead *ahead = cache->ahead;

	if (!ahead)
		return;
	thread_stop(ahead->thread, &ahead->lock, &ahead->wake, &ahead->is_stopping);
	cache->ahead = NULL;
	pthread_mutex_destroy(&ahead->lock);
	pthread_cond_destroy(&ahead->wake);
	ahead_free(ahead);
}

