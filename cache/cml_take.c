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
 *
 * One whose content is large, and not all upstream yet, stands aside (cml_aside.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/cml.h"
#include "cache/cml_aside.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/detach.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/record.h"
#include "cache/writer.h"

#define MOVES_MAX 256		/* records that stand aside in one transaction: others want the writer too */

struct take {
	struct cml_wants *wants;
	struct cml_taken *taken;
	size_t max_records, max_fds;
	uint64_t bytes;
	size_t fds;
	int64_t born_before;		/* ns since 1970: what is younger is not taken */
	int64_t born_until;		/* but not what is beyond this */
	int64_t too_young;		/* the first that is: when it was born; else INT64_MAX */
	uint64_t last_to_go;		/* nothing behind that number can go but what stands aside */
	struct cml_batch *batch;
};

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

/* What take_one() gives. */
enum { TAKEN, SKIPPED, ENOUGH, MOVED };	/* TAKEN is 0 */

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
	got = cml_item_fill(change, edit, keep_size, item);
	if (got == -EMFILE || got == -ENFILE)
		return take->batch->n ? ENOUGH : got;
	if (got) {
		log_error("cml: the content of inode %llu cannot be read for sending, the log is "
			  "held up: %s", (unsigned long long)item->ino, strerror(-got));
		return got == -ENOMEM ? got : -EIO;
	}
	take->fds += item->fd >= 0;
	take->bytes += item->bytes;
	cml_set_aside(cache, item->ino, false);
	return TAKEN;
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

static void batch_clear(struct cml_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		cml_item_clear(&batch->items[i]);
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

/* ---- what stands aside ---- */

/* Is its content upstream, as it is now? */
static bool is_ready(struct cache *cache, const struct cml_wants *wants, uint64_t ino)
{
	const struct cml_ready *ready = NULL;
	struct inode *inode;
	bool is = false;
	int err;

	for (size_t i = 0; i < wants->n_ready && !ready; i++)
		if (wants->ready[i].ino == ino)
			ready = &wants->ready[i];
	if (!ready || !ready->write_gen)
		return ready != NULL;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &err);
	if (inode)
		is = inode->work->write_gen == ready->write_gen;
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return is;
}

/* The last record that can go: of those that do not stand aside, or whose content is there by now. */
static int find_last_to_go(struct change *change, struct take *take)
{
	struct cml *cml = change->cache->cml;
	uint64_t seq;
	int got = 0;

	take->last_to_go = cml->last_other;
	for (size_t i = 0; i < take->wants->n_ready && got >= 0; i++) {
		struct cml_ready *ready = &take->wants->ready[i];

		got = cml_last_of(change, ready->ino, KML_STORE, &seq);
		ready->is_gone = !got;
		if (got > 0)
			take->last_to_go = MAX(take->last_to_go, seq);
	}
	return MIN(got, 0);
}

/* Would the first record behind it be too young to be taken?  Then nothing is won.  1, 0, -errno. */
static int is_next_young(struct change *change, struct take *take, const struct cml_item *item)
{
	sqlite3_stmt *stmt;
	int64_t born;
	int got;

	if (take->born_before == INT64_MAX)
		return 0;
	got = db_query(writer_db(change->cache), &stmt, "SELECT time FROM cml WHERE seq > ?1 AND ino <> ?2 ORDER BY seq LIMIT 1", "ii",
		       (int64_t)item->record.seq, (int64_t)item->ino);
	if (got <= 0)
		return got;
	born = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	if (born <= take->born_before || born > take->born_until)
		return 0;
	take->too_young = born;
	return 1;
}

static int stop_aside(struct change *change, struct take *take, const struct cml_item *item)
{
	int err = cml_aside_list(change, item->record.seq, take->wants, take->taken);

	for (size_t i = 0; i < take->taken->n_aside && !err; i++)
		cml_set_aside(change->cache, take->taken->aside[i], true);
	return err ? err : ENOUGH;
}

static int move_aside(struct change *change, struct take *take, const struct cml_item *item)
{
	struct cml_taken *taken = take->taken;
	int got = cml_aside_move(change, item->ino, item->record.seq);

	if (got <= 0)
		return got ? got : TAKEN;
	taken->n_moved += (size_t)got;
	if (taken->n_aside < CML_ASIDES)
		taken->aside[taken->n_aside++] = item->ino;
	cml_set_aside(change->cache, item->ino, true);
	return MOVED;
}

/* TAKEN: it is to be taken; MOVED: it stands behind the rest now; ENOUGH: it stays, and nothing passes it; or -errno. */
static int step_aside(struct change *change, struct take *take, const struct cml_item *item)
{
	struct cache *cache = change->cache;
	const struct cml_wants *wants = take->wants;
	int got;

	if (item->record.body.op != KML_STORE || item->record.seq <= cache->cml->frozen_seq ||
	    !cml_aside_is_large(cache, item->ino, wants) || is_ready(cache, wants, item->ino))
		return TAKEN;
	got = is_first(change, item->ino, item->record.seq);
	if (got <= 0)
		return got ? got : TAKEN;
	/* What is put off until there is nothing more need not wait for it. */
	got = item->record.seq > take->last_to_go ? forward_append(change, take->max_records - take->batch->n) : 0;
	if (got < 0)
		return got;
	if (got)
		take->last_to_go = cache->cml->last_other;
	got = item->record.seq > take->last_to_go;
	if (!got)
		got = is_next_young(change, take, item);
	if (got)
		return got < 0 ? got : stop_aside(change, take, item);
	take->taken->is_held = !wants->may_move;
	take->taken->has_more = take->taken->n_moved >= MOVES_MAX;
	if (take->taken->is_held || take->taken->has_more)
		return ENOUGH;
	return move_aside(change, take, item);
}

/* ---- */

/* The record after that number, as TAKEN, SKIPPED, ...; or -errno. */
static int take_one(struct change *change, struct take *take, struct cml_item *item)
{
	int got;

	if (is_young(change, take, &item->record))
		return ENOUGH;
	got = step_aside(change, take, item);
	if (got == TAKEN && item->record.body.op == KML_STORE)
		got = take_store(change, take, item);
	return got;
}

/* The last item, which is taken, may need a DETACH before it; after: the number of the record before that. */
static int take_detach(struct change *change, struct take *take, uint64_t after)
{
	struct cml_batch *batch = take->batch;
	struct cml_item *last = &batch->items[batch->n - 1], detach = { .ino = last->ino, .fd = -1 };
	int got = take->wants->has_detach ? detach_before(writer_db(change->cache), last->ino, after, &last->record, &detach.record) : 0;

	if (got <= 0)
		return got;
	got = batch_room(batch);
	if (got) {
		kml_record_release(&detach.record);
		return got;
	}
	batch->items[batch->n] = batch->items[batch->n - 1];
	batch->items[batch->n - 1] = detach;
	batch->n++;
	return 0;
}

static int take_all(struct change *change, struct take *take, uint64_t *io_after)
{
	struct cml_batch *batch = take->batch;
	int got;

	got = find_last_to_go(change, take);
	if (got)
		return got;
	while (batch->n < take->max_records && (!batch->n || take->bytes <= take->wants->max_bytes)) {
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
		seq = item->record.seq;
		got = take_one(change, take, item);
		if (got == TAKEN) {
			batch->n++;
			got = take_detach(change, take, *io_after);
		} else {
			cml_item_clear(item);
		}
		if (got < 0 || got == ENOUGH)
			return MIN(got, 0);
		if (got != MOVED)
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
	*take->taken = (struct cml_taken){ 0 };
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

/* How long until what was born then is of that age, by the wall clock; as that may be set, no longer than the age. */
static uint64_t until_of_age(int64_t born, uint64_t age_s)
{
	int64_t wait_ns = born - clock_ns(clock_wall()) + (int64_t)(age_s * 1000000000);

	return MIN((uint64_t)MAX(wait_ns, 0) / 1000 + 1, age_s * US_PER_S);
}

int cml_take_wanted(struct cache *cache, struct cml_wants *wants, struct cml_taken *ret_taken)
{
	int64_t now = clock_ns(clock_wall()), age = (int64_t)(wants->min_age_s * 1000000000);
	struct cml_batch *batch = calloc(1, sizeof(*batch));
	struct cml_taken taken = { 0 };
	struct take take = {
		.wants = wants,
		.taken = &taken,
		.max_records = MIN(MAX(wants->max_records, 1), (size_t)KML_BATCH_MAX - 1),
		.born_before = age ? now - age : INT64_MAX,
		.born_until = age ? now + age : INT64_MAX,
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
		taken.batch = batch;
	} else {
		cml_batch_free(batch);
		taken.young_us = take.too_young == INT64_MAX ? 0 : until_of_age(take.too_young, wants->min_age_s);
	}
	if (!err)
		*ret_taken = taken;
	return err;
}

int cml_take_aged(struct cache *cache, size_t max_records, uint64_t max_bytes, uint64_t min_age_s,
		  struct cml_batch **ret_batch, uint64_t *ret_young_us)
{
	struct cml_wants wants = {
		.max_records = max_records, .max_bytes = max_bytes, .min_age_s = min_age_s, .large = UINT64_MAX,
	};
	struct cml_taken taken;
	int err = cml_take_wanted(cache, &wants, &taken);

	if (err)
		return err;
	*ret_batch = taken.batch;
	*ret_young_us = taken.young_us;
	return 0;
}

int cml_take(struct cache *cache, size_t max_records, uint64_t max_bytes, struct cml_batch **ret_batch)
{
	uint64_t young_us;

	return cml_take_aged(cache, max_records, max_bytes, 0, ret_batch, &young_us);
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
