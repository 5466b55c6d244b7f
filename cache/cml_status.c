/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What status and replay ask of the log: figures, and the conflicts on record. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/conflict_note.h"
#include "cache/conflict_where.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/writer.h"

void cml_totals(struct cache *cache, struct cml_totals *ret)
{
	struct cml *cml = cache->cml;
	int64_t now = cache_now_ns(), time = now;
	sqlite3_stmt *stmt;

	pthread_mutex_lock(&cache->lock);
	*ret = (struct cml_totals){
		.records = cml->records,
		.bytes = cml->waiting_bytes,
		.frozen_seq = cml->frozen_seq,
		.last_seq = __atomic_load_n(&cml->last_seq, __ATOMIC_RELAXED),
	};
	if (db_query(cache->read_db, &stmt, "SELECT time FROM cml ORDER BY seq LIMIT 1", "") > 0) {
		time = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	if (db_query(cache->read_db, &stmt,
		     "SELECT count(*) FROM conflict WHERE id > coalesce("
		     "(SELECT value FROM meta WHERE key = 'conflicts_seen'), 0)", "") > 0) {
		ret->conflicts = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	ret->oldest_s = now > time ? (uint64_t)(now - time) / 1000000000 : 0;
}

void cml_set_wakeup(struct cache *cache, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&cache->lock);
	cache->cml->wakeup = fn;
	cache->cml->wakeup_arg = arg;
	pthread_mutex_unlock(&cache->lock);
}

void cml_set_host(struct cache *cache, const char *host)
{
	struct cml *cml = cache->cml;

	pthread_mutex_lock(&cache->lock);
	(void)snprintf(cml->host, sizeof(cml->host), "%s", host);	/* as much as fits */
	pthread_mutex_unlock(&cache->lock);
}

uint64_t cml_acked(struct cache *cache)
{
	uint64_t acked;

	pthread_mutex_lock(&cache->lock);
	acked = cache->cml->acked;
	pthread_mutex_unlock(&cache->lock);
	return acked;
}

/* ---- conflicts ---- */

/* The next one after that id: 1, 0: there is none, -errno. */
static int conflict_next(struct cache *cache, uint64_t after, struct cml_conflict *ret)
{
	struct slice path, what, merge;
	sqlite3_stmt *stmt;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt,
		       "SELECT id, at, path, what, why FROM conflict LEFT JOIN merge USING (id) WHERE id > ?1 ORDER BY id LIMIT 1",
		       "i", (int64_t)after);
	if (got > 0) {
		ret->id = sqlite3_column_int64(stmt, 0);
		ret->when_s = sqlite3_column_int64(stmt, 1);
		path = db_column(stmt, 2);
		what = db_column(stmt, 3);
		(void)snprintf(ret->path, sizeof(ret->path), "%.*s", (int)path.len,
			       path.len ? (const char *)path.data : "");
		(void)snprintf(ret->what, sizeof(ret->what), "%.*s", (int)what.len,
			       what.len ? (const char *)what.data : "");
		merge = db_column(stmt, 4);
		(void)snprintf(ret->merge, sizeof(ret->merge), "%.*s", (int)merge.len,
			       merge.len ? (const char *)merge.data : "");
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return got;
}

/* What was not done to it, with where it is by now. */
static void tell_where(struct cache *cache, struct cml_conflict *conflict)
{
	struct conflict_side side;

	if (conflict_side_get(cache, conflict->id, &side) <= 0)
		return;
	if (!*conflict->path)
		conflict_path(cache, &side, conflict->path, sizeof(conflict->path));
	conflict_tell_where(cache, &side, conflict->what, sizeof(conflict->what));
	kml_record_release(&side.record);
}

static int seen_run(struct change *change)
{
	return meta_set_int(change, "conflicts_seen", *(int64_t *)change->arg);
}

int cml_conflicts(struct cache *cache, void (*fn)(void *arg, const struct cml_conflict *conflict),
		  void *arg)
{
	struct cml_conflict conflict = { 0 };
	int64_t seen;
	int got;

	while ((got = conflict_next(cache, conflict.id, &conflict)) > 0) {
		tell_where(cache, &conflict);
		fn(arg, &conflict);
	}
	seen = conflict.id;
	if (!got && seen)
		(void)writer_call(cache, seen_run, &seen);	/* else they count as new once more */
	return got;
}
