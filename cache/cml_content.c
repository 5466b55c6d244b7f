/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a STORE brings: the content of its file as it is now, when it is taken, and while it is read for sending.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/writer.h"

#define WRITING_WAIT_US 1000

/* ---- a store as it is to be sent ---- */

/*
 * Too many ranges for one record: join neighbours with content between them that is here too, though it
 * is the upstream's own.
 */
static void join_ranges(struct extent_map *map, const struct extent_map *present)
{
	struct extent gap;
	uint32_t n = 1;

	if (map->n <= KML_RANGES_MAX)
		return;
	for (uint32_t i = 1; i < map->n; i++) {
		if (extent_first_gap(present, map->v[n - 1].end, map->v[i].start, &gap))
			map->v[n++] = map->v[i];
		else
			map->v[n - 1].end = map->v[i].end;
	}
	map->n = n;
}

int cml_fill_store(const struct inode *inode, uint64_t keep_size, struct kml_record *record, uint64_t *ret_bytes)
{
	struct kml_store *store = &record->body.kml_body_u.store;
	struct extent_map map = { 0 };
	struct kml_range *ranges = NULL;
	int err;

	err = extent_copy(&map, &inode->work->dirty);
	if (!err)
		err = extent_union(&map, &inode->work->dirty_next);
	if (!err) {
		extent_cut(&map, inode->v.size);
		join_ranges(&map, &inode->present);
		err = map.n > KML_RANGES_MAX ? -EFBIG : 0;
	}
	if (!err && map.n) {
		ranges = calloc(map.n, sizeof(*ranges));
		err = ranges ? 0 : -ENOMEM;
	}
	if (err)
		goto out;
	for (uint32_t i = 0; i < map.n; i++)
		ranges[i] = (struct kml_range){ map.v[i].start, map.v[i].end - map.v[i].start };
	free(store->ranges.ranges_val);
	store->ranges.ranges_val = ranges;
	store->ranges.ranges_len = map.n;
	store->size = inode->v.size;
	store->keep_size = MIN(MIN(store->keep_size, keep_size), store->size);
	store->mtime = cml_time(inode->v.mtime);
	*ret_bytes = extent_bytes(&map);
out:
	extent_release(&map);
	return err;
}

/* Under the lock: a descriptor of its own of the content file. */
static int open_content(struct cache *cache, struct inode *inode)
{
	struct object *object;
	int fd, err;

	object = object_get(cache, inode, true, &err);
	if (!object)
		return err;
	fd = fcntl(object->fd, F_DUPFD_CLOEXEC, 0);
	err = fd < 0 ? -errno : fd;
	object_put(cache, object);
	return err;
}

void cml_item_clear(struct cml_item *item)
{
	mem_close_fd(&item->fd);
	kml_record_release(&item->record);
	item->record = (struct kml_record){ 0 };
}

static int take_content(struct cache *cache, struct inode *inode, uint64_t keep_size,
			struct cml_item *item)
{
	int err;

	pthread_mutex_lock(&cache->lock);
	err = cml_fill_store(inode, keep_size, &item->record, &item->bytes);
	item->write_gen = inode->work->write_gen;
	if (!err && item->bytes) {
		item->fd = open_content(cache, inode);
		err = MIN(item->fd, 0);
	}
	pthread_mutex_unlock(&cache->lock);
	return err;
}

/* A save by temporary file and rename whose temporary was on its way before it was renamed. */
static int find_replaced(struct change *change, struct cml_item *item)
{
	struct kml_record record;
	struct slice text;
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT record FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3 ORDER BY seq DESC LIMIT 1", "iii",
		       (int64_t)item->ino, (int64_t)KML_RENAME, (int64_t)item->record.seq);
	if (got <= 0)
		return got;
	text = db_column(stmt, 0);
	got = kml_record_decode(text.data, text.len, &record);
	db_done(stmt);
	if (got)
		return got == -ENOMEM ? got : 0;	/* it is only good for a guess; its own turn comes */
	item->replaces = record.body.kml_body_u.rename.replaced;
	kml_record_release(&record);
	return 0;
}

int cml_item_fill(struct change *change, struct inode_edit *edit, uint64_t keep_size, struct cml_item *item)
{
	int err = take_content(change->cache, edit->inode, keep_size, item);

	return err ? err : find_replaced(change, item);
}

/* ---- while it is being read ---- */

struct refresh {
	struct cml_item *item;
	bool is_settled;	/* it could be looked at */
	bool has_changed;
};

/* Under the lock.  While a write is under way nothing can be said. */
static void look(struct cache *cache, struct inode *inode, struct refresh *refresh)
{
	struct cml_item *item = refresh->item;
	int err;

	refresh->is_settled = !inode->work->n_writing;
	refresh->has_changed = inode->work->write_gen != item->write_gen;
	if (!refresh->is_settled || !refresh->has_changed)
		return;
	err = cml_fill_store(inode, inode->v.keep_size, &item->record, &item->bytes);
	if (!err && item->fd < 0 && item->bytes) {
		item->fd = open_content(cache, inode);
		err = MIN(item->fd, 0);
	}
	/* Where that did not work the next look tries again: nothing half is ever sealed. */
	if (!err)
		item->write_gen = inode->work->write_gen;
	else
		log_warn("cml: content of inode %llu changed and cannot be looked at anew: %s",
			 (unsigned long long)item->ino, strerror(-err));
}

static int refresh_run(struct change *change)
{
	struct refresh *refresh = change->arg;
	struct cache *cache = change->cache;
	struct inode *inode;
	int err;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, refresh->item->ino, &err);
	if (inode)
		look(cache, inode, refresh);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return inode ? 0 : err;
}

/*
 * A transaction that is open may still fail, and then takes back what it did to the file (a truncation,
 * say), when that may have been sent already.  So where there is one the look is taken on
 * the writer thread, behind it, and counts when the commit has worked.
 */
static int refresh_once(struct cache *cache, struct refresh *refresh)
{
	struct inode *inode;
	bool is_pinned;
	int err;

	refresh->is_settled = false;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, refresh->item->ino, &err);
	if (!inode) {
		pthread_mutex_unlock(&cache->lock);
		return err;
	}
	is_pinned = inode->pins;
	if (inode->work->n_writing)
		cond_wait(&cache->content_idle, &cache->lock, clock_us() + WRITING_WAIT_US);
	else if (!is_pinned)
		look(cache, inode, refresh);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	/* In the error state it fails, and soon nothing is pinned. */
	if (!refresh->is_settled && is_pinned && writer_call(cache, refresh_run, refresh)) {
		refresh->is_settled = false;
		refresh->item->write_gen = UINT64_MAX;	/* what was seen is not so any more */
	}
	return 0;
}

bool cml_refresh(struct cache *cache, struct cml_item *item)
{
	struct refresh refresh = { .item = item };
	int err;

	if (item->record.body.op != KML_STORE)
		return false;
	do {
		err = refresh_once(cache, &refresh);
		/* Gone: removed meanwhile, and so said further on in the log; any content will do. */
		if (err)
			return err != -ESTALE;
	} while (!refresh.is_settled);
	return refresh.has_changed;
}
