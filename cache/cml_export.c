/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of an open cache, for a file: see the header. */
#include "cache/cml_export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/detach.h"
#include "cache/dentry.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/writer.h"

void cml_export_head_release(struct cml_export_head *head)
{
	kml_file_head_release(&head->head);
}

void cml_exported_release(struct cml_exported *exported)
{
	kml_saved_release(&exported->saved);
}

int cml_export_rest(struct kml_saved *saved, const struct extent_map *present)
{
	const struct kml_store *store = &saved->record.body.kml_body_u.store;
	struct extent_map rest = { 0 };
	int err = extent_copy(&rest, present);

	extent_cut(&rest, store->size);
	for (u_int i = 0; i < store->ranges.ranges_len && !err; i++)
		err = extent_remove(&rest, store->ranges.ranges_val[i].offset,
				    store->ranges.ranges_val[i].offset + store->ranges.ranges_val[i].length);
	/* So torn a file: what does not fit would be missing only should the store meet a conflict. */
	rest.n = MIN(rest.n, (uint32_t)KML_RANGES_MAX);
	if (!err && rest.n) {
		saved->rest.rest_val = calloc(rest.n, sizeof(struct kml_range));
		err = saved->rest.rest_val ? 0 : -ENOMEM;
	}
	if (!err) {
		saved->rest.rest_len = rest.n;
		for (uint32_t i = 0; i < rest.n; i++)
			saved->rest.rest_val[i] = (struct kml_range){ rest.v[i].start, rest.v[i].end - rest.v[i].start };
	}
	extent_release(&rest);
	return err;
}

/* ---- begin ---- */

#define FORWARD_AT_ONCE 4096

struct begin {
	uint64_t last_seq;
};

static int begin_run(struct change *change)
{
	struct begin *begin = change->arg;
	struct cache *cache = change->cache;
	struct cml *cml = cache->cml;
	int got, err;

	/* What is put off until the log is empty belongs to it. */
	while ((got = forward_append(change, FORWARD_AT_ONCE)) > 0)
		;
	err = got;
	if (!err)
		err = meta_set_int(change, "frozen", MAX(cml->last_seq, cml->frozen_seq));
	if (err)
		return err;
	/* On the disk before any of it can be sent from the file. */
	change->wants_sync = true;
	/* Should the transaction fail they are frozen all the same, which does no harm. */
	pthread_mutex_lock(&cache->lock);
	begin->last_seq = cml->last_seq;
	cml->frozen_seq = MAX(cml->frozen_seq, begin->last_seq);
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

static int fill_head(struct cache *cache, struct kml_file_head *head)
{
	int64_t now = cache_now_ns();

	pthread_mutex_lock(&cache->lock);
	*head = (struct kml_file_head){
		.client = cache->client_id,
		.host = strdup(cache->cml->host),
		.upstream = strdup(cache->upstream_id),
		.tree = strdup(""),
		.position = cache->position,
		.acked = cache->cml->acked,
		.made = cml_time(now),
	};
	pthread_mutex_unlock(&cache->lock);
	return head->host && head->upstream && head->tree ? 0 : -ENOMEM;
}

int cml_export_begin(struct cache *cache, struct cml_export_head *ret_head)
{
	struct cml_export_head head = { 0 };
	struct cml_totals totals;
	struct begin begin;
	int err = cml_flush(cache);

	if (!err)
		err = writer_call(cache, begin_run, &begin);
	if (!err)
		err = fill_head(cache, &head.head);
	if (err) {
		cml_export_head_release(&head);
		return err;
	}
	cml_totals(cache, &totals);
	head.last_seq = begin.last_seq;
	head.records = totals.records;
	head.bytes = totals.bytes;
	*ret_head = head;
	return 0;
}

uint64_t cml_export_last(struct cache *cache)
{
	return __atomic_load_n(&cache->cml->last_seq, __ATOMIC_RELAXED);
}

/* ---- records ---- */

#define RANGES_MAX (1u << 17)	/* of all that are given at once; but for the last */

struct next {
	uint64_t from, last_seq;
	uint64_t after;			/* what has been looked at */
	size_t max, n, ranges;
	struct cml_exported *v;
	bool has_skipped;
};

struct place {
	struct kml_listed *listed;
	struct cache *cache;
};

/* The first name that upstream knows, or will: 1 ends it. */
static int take_name(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct place *place = arg;
	struct inode *inode;
	int err = 0;

	(void)info;
	if (name_is_local(name))
		return 0;
	pthread_mutex_lock(&place->cache->lock);
	inode = inode_get(place->cache, dir, &err);
	if (inode)
		place->listed->parent = inode->v.oid;
	inode_put(place->cache, inode);
	pthread_mutex_unlock(&place->cache->lock);
	if (!inode)
		return err == -ESTALE ? 0 : err;
	err = kml_name_set(&place->listed->name, name);
	return err ? err : 1;
}

/* The file and a name of it; it may have none that counts. */
static int fill_about(struct change *change, const struct inode_edit *edit, struct kml_saved *saved)
{
	const struct inode_values *v = &edit->v;
	struct kml_listed *about = calloc(1, sizeof(*about));
	struct place place = { about, change->cache };
	int got;

	if (!about)
		return -ENOMEM;
	saved->about = about;
	about->object = (struct kml_object){
		.oid = v->oid,
		.attr = { .type = (enum kml_type)v->type, .mode = v->mode, .uid = v->uid, .gid = v->gid, .nlink = v->nlink,
			  .size = v->size, .atime = cml_time(v->atime), .mtime = cml_time(v->mtime) },
		.data_version = v->data_version,
		.attr_version = v->attr_version,
	};
	got = name_each_of(change->cache, edit->inode->ino, take_name, &place);
	if (got > 0)
		return 0;
	xdr_free((xdrproc_t)xdr_kml_listed, about);
	free(about);
	saved->about = NULL;
	return got;
}

/* 1; 0: its file is gone. */
static int take_store(struct change *change, struct cml_exported *exported)
{
	struct cache *cache = change->cache;
	struct kml_record *record = &exported->saved.record;
	struct inode_edit *edit;
	uint64_t keep_size, bytes;
	int err;

	edit = inode_edit(change, exported->ino, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	keep_size = edit->v.keep_size;
	if (record->body.kml_body_u.store.keep_size == CML_NOT_TAKEN) {
		err = cml_freeze_store(change, edit, record);
		if (err)
			return err;
	}
	pthread_mutex_lock(&cache->lock);
	err = cml_fill_store(edit->inode, keep_size, record, &bytes);
	if (!err)
		err = cml_export_rest(&exported->saved, &edit->inode->present);
	exported->gen = edit->inode->v.gen;
	exported->write_gen = edit->inode->work->write_gen;
	pthread_mutex_unlock(&cache->lock);
	if (!err)
		err = fill_about(change, edit, &exported->saved);
	return err ? err : 1;
}

/* The record after that seq: 1, 0: there is none up to the last. */
static int read_next(struct change *change, const struct next *next, struct cml_exported *exported)
{
	struct slice text;
	sqlite3_stmt *stmt;
	int got, err;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT seq, ino, record FROM cml WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT 1", "ii",
		       (int64_t)next->after, (int64_t)next->last_seq);
	if (got <= 0)
		return got;
	*exported = (struct cml_exported){ .ino = sqlite3_column_int64(stmt, 1) };
	text = db_column(stmt, 2);
	err = kml_record_decode(text.data, text.len, &exported->saved.record);
	db_done(stmt);
	return err ? (err == -ENOMEM ? err : -EUCLEAN) : 1;
}

int cml_export_detach(struct db *db, uint64_t after, struct cml_exported *exported)
{
	struct kml_record detach;
	int got = detach_before(db, exported->ino, after, &exported->saved.record, &detach);

	if (got > 0) {
		kml_record_release(&exported->saved.record);
		exported->saved.record = detach;
	}
	return got;
}

static int take_one(struct change *change, struct cml_exported *exported)
{
	AUTO_FREE char *path = malloc(CML_PATH_MAX);
	const struct kml_record *record = &exported->saved.record;

	if (!path)
		return -ENOMEM;
	cml_record_path(change->cache, exported->ino, record, path, CML_PATH_MAX);
	exported->saved.path = strdup(path);
	if (!exported->saved.path)
		return -ENOMEM;
	return record->body.op == KML_STORE ? take_store(change, exported) : 1;
}

static void clear(struct next *next)
{
	for (size_t i = 0; i < next->n; i++)
		cml_exported_release(&next->v[i]);
	next->n = 0;
}

static int next_run(struct change *change)
{
	struct next *next = change->arg;
	int got = 1;

	/* It may be run again. */
	clear(next);
	next->after = next->from;
	next->has_skipped = false;
	next->ranges = 0;
	while (next->n < next->max && next->ranges <= RANGES_MAX) {
		struct cml_exported *exported = &next->v[next->n];

		got = read_next(change, next, exported);
		if (got <= 0)
			break;
		got = cml_export_detach(writer_db(change->cache), next->after, exported);
		if (got < 0) {
			cml_exported_release(exported);
			break;
		}
		next->after = exported->saved.record.seq;
		got = take_one(change, exported);
		if (got > 0) {
			next->n++;
			if (exported->saved.record.body.op == KML_STORE)
				next->ranges += exported->saved.record.body.kml_body_u.store.ranges.ranges_len + exported->saved.rest.rest_len;
			continue;
		}
		next->has_skipped |= !got;
		cml_exported_release(exported);
		if (got < 0)
			break;
	}
	return MIN(got, 0);
}

int cml_export_next(struct cache *cache, uint64_t after, uint64_t last_seq, size_t n, struct cml_exported *ret,
		    size_t *ret_n, uint64_t *ret_after, bool *ret_skipped)
{
	struct next next = { .from = after, .last_seq = last_seq, .max = n, .v = ret };
	int err = writer_call(cache, next_run, &next);

	if (err) {
		clear(&next);
		return err;
	}
	*ret_n = next.n;
	*ret_after = next.after;
	*ret_skipped = next.has_skipped;
	return 0;
}

bool cml_export_look(struct cache *cache, uint64_t ino, uint64_t write_gen)
{
	struct cml_item item = { .ino = ino, .fd = -1, .write_gen = write_gen };
	bool has_changed;

	item.record.body.op = KML_STORE;
	has_changed = cml_refresh(cache, &item);
	mem_close_fd(&item.fd);
	kml_record_release(&item.record);
	return has_changed;
}
