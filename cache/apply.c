/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What came from upstream: first contact, the journal, single objects.  Listings: listing.c; content:
 * apply_content.c; how it is merged: merge.h.
 *
 * After a reset nothing is known of what happened between the old position and the new one.  Listed directories
 * stay listed, so that everything goes on working should the link be lost again, but are stale, and
 * no listing made before the new position is good enough for them.  A directory's listing has the versions of all
 * that is in it, so files need not be asked for one by one.
 */
#include "cache/apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/apply_state.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/stale.h"
#include "cache/writer.h"

#define ENTRIES_PER_CHANGE 500
#define INOS_PER_CHANGE 20000

/* ---- position ---- */

static void position_reached(struct cache *cache, void *arg)
{
	uint64_t position = *(uint64_t *)arg;

	pthread_mutex_lock(&cache->lock);
	cache->position = position;
	if (cache->next_mark.position == position)
		cache->mark = cache->next_mark;
	pthread_mutex_unlock(&cache->lock);
}

static int mark_set(struct change *change, uint64_t position)
{
	struct kml_mark mark;
	int err;

	pthread_mutex_lock(&change->cache->lock);
	mark = change->cache->next_mark;
	pthread_mutex_unlock(&change->cache->lock);
	if (!mark.position || mark.position != position)
		return 0;
	err = meta_set_int(change, "mark_at", (int64_t)mark.position);
	return err ? err : meta_set_int(change, "mark", (int64_t)mark.value);
}

/* *position stays where it is until the change is over. */
static int position_set(struct change *change, uint64_t *position)
{
	int err;

	err = meta_set_int(change, "position", (int64_t)*position);
	if (!err)
		err = mark_set(change, *position);
	return err ? err : writer_after_commit(change, position_reached, position);
}

void apply_mark(struct cache *cache, struct kml_mark *ret_mark)
{
	pthread_mutex_lock(&cache->lock);
	*ret_mark = cache->mark;
	pthread_mutex_unlock(&cache->lock);
}

void apply_next_mark(struct cache *cache, const struct kml_mark *mark)
{
	pthread_mutex_lock(&cache->lock);
	cache->next_mark = *mark;
	pthread_mutex_unlock(&cache->lock);
}

uint64_t apply_position(struct cache *cache)
{
	uint64_t position;

	pthread_mutex_lock(&cache->lock);
	position = cache->position;
	pthread_mutex_unlock(&cache->lock);
	return position;
}

bool apply_tree_is_listed(struct cache *cache)
{
	sqlite3_stmt *stmt;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt,
		       "SELECT 1 FROM inode WHERE type = 2 AND is_listed = 0 LIMIT 1", "");
	if (got > 0)
		db_done(stmt);
	pthread_mutex_unlock(&cache->lock);
	return !got;
}

/* ---- first contact ---- */

struct contact {
	const char *upstream_id;
	uint64_t position;
	const struct kml_object *root;
};

static void contact_made(struct cache *cache, void *arg)
{
	const struct contact *contact = arg;

	pthread_mutex_lock(&cache->lock);
	memcpy(cache->upstream_id, contact->upstream_id, strlen(contact->upstream_id) + 1);
	pthread_mutex_unlock(&cache->lock);
}

static int contact_run(struct change *change)
{
	struct contact *contact = change->arg;
	struct inode_edit *root;
	uint64_t ino;
	int err;

	root = inode_edit(change, CACHE_ROOT, &err);
	if (!root)
		return err;
	/* What a new cache calls empty is so only if nothing has ever happened there. */
	if (contact->position)
		EDIT(root, is_listed, false);
	err = merge_object(change, contact->root, contact->position, &ino);
	if (!err)
		err = meta_set_text(change, "upstream_id", contact->upstream_id);
	if (!err)
		err = position_set(change, &contact->position);
	if (!err)
		err = FAULT("apply.upstream");
	return err ? err : writer_after_commit(change, contact_made, contact);
}

int apply_upstream(struct cache *cache, const char *upstream_id, uint64_t position_there,
		   const struct kml_object *root)
{
	struct contact contact = { upstream_id, position_there, root };
	char known_id[sizeof(cache->upstream_id)];
	uint64_t position;

	pthread_mutex_lock(&cache->lock);
	memcpy(known_id, cache->upstream_id, sizeof(known_id));
	position = cache->position;
	pthread_mutex_unlock(&cache->lock);
	if (!known_id[0]) {
		if (!upstream_id[0] || strlen(upstream_id) >= sizeof(known_id) ||
		    !kml_oid_equal(root->oid, KML_ROOT) || root->attr.type != KML_DIR)
			return -EINVAL;
		return writer_call(cache, contact_run, &contact);
	}
	if (strcmp(known_id, upstream_id))
		return -EXDEV;
	return position_there < position ? -ESTALE : 0;
}

bool apply_has_upstream(struct cache *cache)
{
	bool has;

	pthread_mutex_lock(&cache->lock);
	has = cache->upstream_id[0] != 0;
	pthread_mutex_unlock(&cache->lock);
	return has;
}

void apply_known(struct cache *cache, char ret_id[40], uint64_t *ret_position)
{
	pthread_mutex_lock(&cache->lock);
	memcpy(ret_id, cache->upstream_id, sizeof(cache->upstream_id));
	*ret_position = cache->position;
	pthread_mutex_unlock(&cache->lock);
}

static int has_acls_run(struct change *change)
{
	return meta_set_int(change, "has_acls", *(const bool *)change->arg);
}

int apply_has_acls(struct cache *cache, bool has_acls)
{
	bool is_so;
	int err;

	pthread_mutex_lock(&cache->lock);
	is_so = cache->has_acls == has_acls;
	pthread_mutex_unlock(&cache->lock);
	if (is_so)
		return 0;
	err = writer_call(cache, has_acls_run, &has_acls);
	if (err)
		return err;
	pthread_mutex_lock(&cache->lock);
	cache->has_acls = has_acls;
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

/* ---- the journal ---- */

struct entries {
	const struct kml_entry *v;
	size_t n;
	uint64_t position;
};

static int entries_run(struct change *change)
{
	struct entries *entries = change->arg;
	int err = 0;

	for (size_t i = 0; i < entries->n && !err; i++)
		err = apply_entry(change, &entries->v[i]);
	if (!err)
		err = FAULT("apply.entries");
	return err ? err : position_set(change, &entries->position);
}

int apply_entries(struct cache *cache, const struct kml_entry *entries, size_t n, uint64_t position)
{
	uint64_t reached = apply_position(cache);
	int err = 0;

	/* Sent again: they are in already. */
	while (n && entries->position <= reached) {
		entries++;
		n--;
	}
	while (!err && (n || position > reached)) {
		struct entries some = { entries, MIN(n, (size_t)ENTRIES_PER_CHANGE), position };

		entries += some.n;
		n -= some.n;
		if (some.n)
			some.position = MAX(n ? 0 : position, entries[-1].position);
		err = writer_call(cache, entries_run, &some);
		if (!err)
			err = merge_finish(cache);
		reached = some.position;
	}
	return err;
}

/* ---- reset ---- */

struct reset {
	uint64_t from, to, last;	/* inode numbers */
	uint64_t position;
};

static void dirs_are_stale(struct cache *cache, void *arg)
{
	const struct reset *reset = arg;

	stale_reset_dirs(cache, reset->from, reset->to, reset->position);
}

static int reset_measure(struct change *change)
{
	struct reset *reset = change->arg;
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT max(ino) FROM inode", "");
	if (got <= 0)
		return got ? got : -EIO;
	reset->last = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}

static int reset_run(struct change *change)
{
	struct db *db = writer_db(change->cache);
	struct reset *reset = change->arg;
	int err;

	err = db_run(db,
		     "UPDATE inode SET listed_at = max(listed_at, ?4) WHERE ino BETWEEN ?1 AND ?2"
		     " AND type = ?3",
		     "iiii", (int64_t)reset->from, (int64_t)reset->to, (int64_t)TYPE_DIR,
		     (int64_t)reset->position);
	if (!err)
		err = db_run(db,
			     "UPDATE inode SET is_stale = 1 WHERE ino BETWEEN ?1 AND ?2 AND type = ?3"
			     " AND (is_listed <> 0 OR EXISTS (SELECT 1 FROM name WHERE dir = inode.ino))",
			     "iii", (int64_t)reset->from, (int64_t)reset->to, (int64_t)TYPE_DIR);
	if (!err)
		err = FAULT("apply.reset");
	if (!err && reset->to >= reset->last)
		err = position_set(change, &reset->position);
	return err ? err : writer_after_commit(change, dirs_are_stale, reset);
}

int apply_reset(struct cache *cache, uint64_t position)
{
	struct reset reset = { .position = position };
	int err;

	err = writer_call(cache, reset_measure, &reset);
	/* A crash between two of these leaves the old position, with which the upstream asks for a reset again. */
	while (!err && reset.to < reset.last) {
		reset.from = reset.to + 1;
		reset.to += INOS_PER_CHANGE;
		err = writer_call(cache, reset_run, &reset);
	}
	if (!err)
		log_info("cache: what changed upstream is not known, everything is compared:"
			 " dir=%s position=%llu", cache->dir, (unsigned long long)position);
	return err;
}

/* ---- one object ---- */

struct single {
	struct kml_oid oid;
	const struct kml_object *object;	/* NULL: gone */
	uint64_t position;			/* 0: not known */
	uint64_t ino;				/* 0: not known here */
};

static int single_run(struct change *change)
{
	struct single *single = change->arg;
	int err;

	single->ino = inode_find_oid(change->cache, &single->oid);
	if (!single->ino)
		return 0;
	err = stale_answered(change, single->ino);
	if (err)
		return err;
	if (!single->object || !single->object->attr.nlink)
		return merge_gone(change, single->ino);
	return merge_object(change, single->object, single->position ? single->position : apply_position(change->cache),
			    &single->ino);
}

int apply_object(struct cache *cache, const struct kml_oid *oid, const struct kml_object *object, uint64_t position)
{
	struct single single = { *oid, object, position, 0 };
	int err;

	err = writer_call(cache, single_run, &single);
	if (single.ino)
		stale_done(cache, single.ino);
	return err ? err : merge_finish(cache);
}

bool apply_next_stale(struct cache *cache, uint64_t *ret_ino, struct kml_oid *ret_oid,
		      bool *ret_is_dir)
{
	return stale_next(cache, ret_ino, ret_oid, ret_is_dir);
}

/* ---- start and end ---- */

int apply_open(struct cache *cache)
{
	struct apply *apply = calloc(1, sizeof(*apply));
	int64_t own = 0;
	int err;

	if (!apply)
		return -ENOMEM;
	cache->apply = apply;	/* apply_close() frees what there is */
	pthread_mutex_lock(&cache->lock);
	err = MIN(meta_get_int(cache->read_db, "own_position", &own), 0);
	pthread_mutex_unlock(&cache->lock);
	if (!err)
		err = merge_new((uint64_t)own, &apply->merge);
	return err ? err : stale_new(&apply->stale);
}

void apply_close(struct cache *cache)
{
	if (!cache->apply)
		return;
	merge_free(cache->apply->merge);
	stale_free(cache->apply->stale);
	free(cache->apply);
	cache->apply = NULL;
}
