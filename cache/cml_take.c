/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking records out of the log, for sending.
 *
 * A STORE is frozen when it is first taken.  Then, in one transaction,
 * (1) its row gets the keep_size and the base that it goes by, however often it is sent;
 * (2) keep_size of the inode begins anew with the size as it is: the next store is done on what
 *     this one makes;
 * (3) taken_seq is set: what is written from now on is dirty_next, and makes another STORE.
 * A write that fell between (2) and (3) would be in neither: the content is held.
 * What is sent is the file as it is at the time of sending: dirty and dirty_next.  Where an earlier
 * sending has been applied already, and only its answer was lost, the next STORE brings the rest.
 *
 * A second STORE of a file waits until the first is answered: if that is refused, what the second
 * one has is not a whole file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/record.h"
#include "cache/writer.h"

#define WRITING_WAIT_US 1000

struct take {
	size_t max_records, max_fds;
	uint64_t max_bytes;
	uint64_t bytes;
	size_t fds;
	int64_t born_before;		/* ns since 1970: what is younger is not taken */
	int64_t born_until;		/* but not what is beyond this */
	int64_t too_young;		/* the first that is: when it was born; else INT64_MAX */
	struct cml_batch *batch;
};

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

/* Is it the file's first STORE in the log?  1, 0, -errno. */
static int is_first(struct change *change, uint64_t ino, uint64_t seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT 1 FROM cml WHERE ino = ?1 AND op = ?2 AND seq < ?3 LIMIT 1", "iii",
		       (int64_t)ino, (int64_t)KML_STORE, (int64_t)seq);
	if (got > 0)
		db_done(stmt);
	return got < 0 ? got : !got;
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

/* What take_one() gives. */
enum { TAKEN, SKIPPED, ENOUGH };

/* The first time: (1), (2), (3).  The content is held, so that no write falls between them. */
int cml_freeze_store(struct change *change, struct inode_edit *edit, struct kml_record *record)
{
	struct kml_store *store = &record->body.kml_body_u.store;
	int err;

	err = EDIT_MAPS(edit);
	if (err)
		return err;
	store->keep_size = edit->v.keep_size;
	store->data_base = edit->v.data_version;
	err = cml_row_update(change, record);
	if (err)
		return err;
	/* The maps that go into the row speak of what no COMMIT has followed, too. */
	EDIT(edit, size, edit->v.size);
	EDIT(edit, mtime, edit->v.mtime);
	EDIT(edit, ctime, edit->v.ctime);
	EDIT(edit, keep_size, edit->v.size);
	edit->set_taken = true;
	edit->taken_seq = MAX(edit->inode->work->taken_seq, record->seq);
	return 0;
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

static int take_store(struct change *change, struct take *take, struct cml_item *item)
{
	struct cache *cache = change->cache;
	struct inode_edit *edit;
	uint64_t keep_size;
	int got;

	got = is_first(change, item->ino, item->record.seq);
	if (got <= 0)
		return got ? got : ENOUGH;
	if (take->fds >= take->max_fds)
		return ENOUGH;
	edit = inode_edit(change, item->ino, &got);
	if (!edit && got == -ESTALE) {
		/* The file is gone, its REMOVE comes later in the log: nobody needs this one. */
		got = cml_drop(change, item->record.seq);
		return got ? got : SKIPPED;
	}
	if (!edit)
		return got;
	keep_size = edit->v.keep_size;
	if (item->record.body.kml_body_u.store.keep_size == CML_NOT_TAKEN) {
		got = cml_freeze_store(change, edit, &item->record);
		if (got)
			return got;
	}
	got = take_content(cache, edit->inode, keep_size, item);
	if (got == -EMFILE || got == -ENFILE)
		return take->batch->n ? ENOUGH : got;
	if (got) {
		log_error("cml: the content of inode %llu cannot be read for sending, the log is "
			  "held up: %s", (unsigned long long)item->ino, strerror(-got));
		return got == -ENOMEM ? got : -EIO;
	}
	take->fds += item->fd >= 0;
	take->bytes += item->bytes;
	got = find_replaced(change, item);
	return got ? got : TAKEN;
}

/* The record after that number: 1, 0: there is none. */
static int read_next(struct change *change, uint64_t after, struct cml_item *item)
{
	struct slice text;
	sqlite3_stmt *stmt;
	uint64_t seq;
	int got, err;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT seq, ino, record FROM cml WHERE seq > ?1 ORDER BY seq LIMIT 1", "i",
		       (int64_t)after);
	if (got <= 0)
		return got;
	*item = (struct cml_item){ .fd = -1 };
	seq = sqlite3_column_int64(stmt, 0);
	item->ino = sqlite3_column_int64(stmt, 1);
	text = db_column(stmt, 2);
	err = kml_record_decode(text.data, text.len, &item->record);
	db_done(stmt);
	if (err && err != -ENOMEM)
		log_error("cml: record %llu cannot be read, the log is held up: %s",
			  (unsigned long long)seq, strerror(-err));
	return err ? (err == -ENOMEM ? err : -EIO) : 1;
}

static int batch_room(struct cml_batch *batch)
{
	size_t cap = batch->next ? batch->next * 2 : 64;
	struct cml_item *items;

	if (batch->n < batch->next)
		return 0;
	items = realloc(batch->items, cap * sizeof(*items));
	if (!items)
		return -ENOMEM;
	batch->items = items;
	batch->next = cap;
	return 0;
}

static void item_release(struct cml_item *item)
{
	mem_close_fd(&item->fd);
	kml_record_release(&item->record);
}

static void batch_clear(struct cml_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		item_release(&batch->items[i]);
	batch->n = 0;
}

void cml_batch_free(struct cml_batch *batch)
{
	if (!batch)
		return;
	batch_clear(batch);
	free(batch->items);
	free(batch);
}

/* There is nothing more in the log: what has been put off until then (forward.h).  As read_next(). */
static int read_forward(struct change *change, const struct take *take, uint64_t after, struct cml_item *item)
{
	int got = forward_append(change, take->max_records - take->batch->n);

	return got <= 0 ? got : read_next(change, after, item);
}

/*
 * What may have been sent already cannot fold any more: nothing is won by waiting.  What was born after the window from now on
 * was so by a clock that has been set back since, and would wait for it to come round again.
 */
static bool is_young(const struct change *change, struct take *take, const struct kml_record *record)
{
	int64_t born = cml_time_ns(record->time);

	if (born <= take->born_before || born > take->born_until || record->seq <= change->cache->cml->frozen_seq)
		return false;
	take->too_young = born;
	return true;
}

static int take_all(struct change *change, struct take *take, uint64_t *io_after)
{
	struct cml_batch *batch = take->batch;
	int got;

	while (batch->n < take->max_records && (!batch->n || take->bytes <= take->max_bytes)) {
		struct cml_item *item;
		uint64_t seq;

		got = batch_room(batch);
		if (got)
			return got;
		item = &batch->items[batch->n];
		got = read_next(change, *io_after, item);
		if (!got)
			got = read_forward(change, take, *io_after, item);
		if (got <= 0)
			return got;
		if (is_young(change, take, &item->record)) {
			item_release(item);
			return 0;
		}
		seq = item->record.seq;
		got = item->record.body.op == KML_STORE ? take_store(change, take, item) : TAKEN;
		if (got == TAKEN)
			batch->n++;
		else
			item_release(item);
		if (got < 0 || got == ENOUGH)
			return MIN(got, 0);
		*io_after = seq;
	}
	return 0;
}

/* On the disk before any of it is sent: after a crash the rest is still to be folded, and this is not. */
static int freeze_to(struct change *change, uint64_t seq)
{
	if (seq <= change->cache->cml->frozen_seq)
		return 0;
	change->wants_sync = true;
	return meta_set_int(change, "frozen", seq);
}

static int take_run(struct change *change)
{
	struct take *take = change->arg;
	struct cache *cache = change->cache;
	struct cml *cml = cache->cml;
	uint64_t after;
	int err;

	/* It may be run again. */
	batch_clear(take->batch);
	take->bytes = take->fds = 0;
	take->too_young = INT64_MAX;
	pthread_mutex_lock(&cache->lock);
	after = cml->out_seq;
	pthread_mutex_unlock(&cache->lock);
	err = FAULT("cml.take");
	if (!err)
		err = take_all(change, take, &after);
	if (!err)
		err = freeze_to(change, after);
	if (err)
		return err;
	/* Should the transaction fail they are frozen all the same, which does no harm. */
	pthread_mutex_lock(&cache->lock);
	cml->frozen_seq = MAX(cml->frozen_seq, after);
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

/* Sync what would else have to be synced on the writer thread, where others wait. */
void cml_sync_content(struct cache *cache, uint64_t ino)
{
	struct inode *inode;
	bool is_synced = true;
	int err;

	if (cache->durability == DURABILITY_ASYNC || cache->no_sync)
		return;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &err);
	if (inode)
		is_synced = inode_is_durable(inode);
	pthread_mutex_unlock(&cache->lock);
	if (!is_synced)
		(void)object_sync_inode(cache, inode);	/* a failure is the error state */
	pthread_mutex_lock(&cache->lock);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
}

/* The next STORE after that number, as readers see it: its number, 0: there is none, it is young, or it cannot be read. */
static uint64_t next_store(struct cache *cache, uint64_t after, int64_t born_before, uint64_t *ret_ino)
{
	uint64_t seq = 0;
	sqlite3_stmt *stmt;

	pthread_mutex_lock(&cache->lock);
	if (db_query(cache->read_db, &stmt,
		     "SELECT seq, ino, time FROM cml WHERE seq > ?1 AND op = ?2 ORDER BY seq LIMIT 1", "ii",
		     (int64_t)after, (int64_t)KML_STORE) > 0) {
		if (sqlite3_column_int64(stmt, 2) <= born_before)
			seq = sqlite3_column_int64(stmt, 0);
		*ret_ino = sqlite3_column_int64(stmt, 1);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return seq;
}

static void sync_before(struct cache *cache, const struct take *take)
{
	uint64_t seq, ino;
	size_t n = 0;

	if (cache->durability == DURABILITY_ASYNC || cache->no_sync)
		return;
	pthread_mutex_lock(&cache->lock);
	seq = cache->cml->out_seq;
	pthread_mutex_unlock(&cache->lock);
	while (n++ < MIN(take->max_records, take->max_fds) &&
	       (seq = next_store(cache, seq, take->born_before, &ino)))
		cml_sync_content(cache, ino);
}

/* A line for each record: whoever looks for one wants its seq. */
static void log_taken(const struct cml_batch *batch)
{
	if (!log_is_traced(LOG_CML))
		return;
	for (size_t i = 0; i < batch->n; i++)
		log_debug(LOG_CML, "cml: taken: seq=%llu %s ino=%llu bytes=%llu",
			  (unsigned long long)batch->items[i].record.seq,
			  kml_op_name(batch->items[i].record.body.op),
			  (unsigned long long)batch->items[i].ino,
			  (unsigned long long)batch->items[i].bytes);
}

int cml_take(struct cache *cache, size_t max_records, uint64_t max_bytes, struct cml_batch **ret_batch)
{
	uint64_t young_us;

	return cml_take_aged(cache, max_records, max_bytes, 0, ret_batch, &young_us);
}

/* How long until what was born then is of that age, by the wall clock; as that may be set, no longer than the age. */
static uint64_t until_of_age(int64_t born, uint64_t age_s)
{
	int64_t wait_ns = born - clock_ns(clock_wall()) + (int64_t)(age_s * 1000000000);

	return MIN((uint64_t)MAX(wait_ns, 0) / 1000 + 1, age_s * US_PER_S);
}

int cml_take_aged(struct cache *cache, size_t max_records, uint64_t max_bytes, uint64_t min_age_s,
		  struct cml_batch **ret_batch, uint64_t *ret_young_us)
{
	struct cml_batch *batch = calloc(1, sizeof(*batch));
	struct take take = {
		.max_records = MIN(MAX(max_records, 1), (size_t)KML_BATCH_MAX),
		.max_bytes = max_bytes,
		.born_before = min_age_s ? clock_ns(clock_wall()) - (int64_t)(min_age_s * 1000000000) : INT64_MAX,
		.born_until = min_age_s ? clock_ns(clock_wall()) + (int64_t)(min_age_s * 1000000000) : INT64_MAX,
		.too_young = INT64_MAX,
		.batch = batch,
	};
	struct rlimit limit;
	int err;

	if (!batch)
		return -ENOMEM;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		limit.rlim_cur = 1024;
	take.max_fds = limit.rlim_cur == RLIM_INFINITY ? KML_BATCH_MAX : MAX(limit.rlim_cur / 4, 1);
	sync_before(cache, &take);
	err = writer_call(cache, take_run, &take);
	if (!err && batch->n) {
		pthread_mutex_lock(&cache->lock);
		cache->cml->out_seq = batch->items[batch->n - 1].record.seq;
		pthread_mutex_unlock(&cache->lock);
		log_taken(batch);
		*ret_batch = batch;
		*ret_young_us = 0;
		return 0;
	}
	cml_batch_free(batch);
	if (!err) {
		*ret_batch = NULL;
		*ret_young_us = take.too_young == INT64_MAX ? 0 : until_of_age(take.too_young, min_age_s);
	}
	return err;
}

int cml_split(struct cml_batch *batch, size_t at, struct cml_batch **ret_rest)
{
	struct cml_batch *rest = calloc(1, sizeof(*rest));
	size_t n = batch->n - at;

	if (rest)
		rest->items = malloc(n * sizeof(*rest->items));
	if (!rest || !rest->items) {
		free(rest);
		return -ENOMEM;
	}
	memcpy(rest->items, batch->items + at, n * sizeof(*rest->items));
	rest->n = rest->next = n;
	batch->n = at;
	*ret_rest = rest;
	return 0;
}

void cml_give_back(struct cache *cache, struct cml_batch *batch)
{
	struct cml *cml = cache->cml;

	if (!batch)
		return;
	pthread_mutex_lock(&cache->lock);
	if (batch->n)
		cml->out_seq = MIN(cml->out_seq, batch->items[0].record.seq - 1);
	pthread_mutex_unlock(&cache->lock);
	if (batch->n)
		log_debug(LOG_CML, "cml: a batch is given back, but for what was retired of it: seq=%llu to=%llu",
			  (unsigned long long)batch->items[0].record.seq,
			  (unsigned long long)batch->items[batch->n - 1].record.seq);
	cml_batch_free(batch);
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
		cache_cond_wait(&cache->content_idle, &cache->lock, clock_us() + WRITING_WAIT_US);
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
