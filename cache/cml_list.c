/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log, record by record, for people: izo-nfsd --log. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"

#define GONE "?"	/* in place of the path of a directory that there is no more */

void cml_record_path(struct cache *cache, uint64_t ino, const struct kml_record *record, char *ret_path, size_t size)
{
	struct cml_place places[2];

	if (cml_places_of(record, places))
		cml_place_path(cache, &places[0], GONE, ret_path, size);
	else
		name_path(cache, ino, ret_path, size);
}

static void entry_paths(struct cache *cache, uint64_t ino, const struct kml_record *record, struct cml_entry *entry)
{
	const kml_target *target = &record->body.kml_body_u.symlink.target;
	struct cml_place places[2];
	unsigned n = cml_places_of(record, places);

	cml_record_path(cache, ino, record, entry->path, CML_PATH_MAX);
	if (n == 2)
		cml_place_path(cache, &places[1], GONE, entry->to, CML_PATH_MAX);
	else if (entry->op == KML_SYMLINK)
		(void)snprintf(entry->to, CML_PATH_MAX, "%.*s", (int)target->kml_target_len, target->kml_target_val);
	else
		entry->to[0] = '\0';
}

/* Under the lock. */
static enum cml_stage stage_of(const struct cml *cml, const struct cml_entry *entry, uint64_t ino)
{
	if (entry->seq <= cml->out_seq)
		return CML_IS_OUT;
	if (entry->seq <= cml->frozen_seq)
		return CML_IS_FIXED;
	return entry->op == KML_STORE && cml_is_aside(cml, ino) ? CML_STANDS_ASIDE : CML_WAITS;
}

/* Under the lock; the statement stands on the row. */
static int entry_fill(struct cache *cache, sqlite3_stmt *stmt, struct cml_entry *entry)
{
	const struct cml *cml = cache->cml;
	uint64_t ino = sqlite3_column_int64(stmt, 1);
	struct slice bytes = db_column(stmt, 3);
	struct kml_record record = { 0 };
	int err = kml_record_decode(bytes.data, bytes.len, &record);

	if (err)
		return err == -ENOMEM ? err : -EUCLEAN;
	entry->seq = sqlite3_column_int64(stmt, 0);
	entry->when_s = sqlite3_column_int64(stmt, 2) / 1000000000;
	entry->op = record.body.op;
	entry->uid = record.uid;
	entry->bytes = entry->op == KML_STORE ? cml_bytes_of(cml, ino) : 0;
	entry->set = entry->op == KML_SETATTR ? record.body.kml_body_u.setattr.set : 0;
	entry->stage = stage_of(cml, entry, ino);
	entry_paths(cache, ino, &record, entry);
	kml_record_release(&record);
	return 0;
}

/* The next one after that seq: 1, 0: there is none, -errno. */
static int entry_next(struct cache *cache, uint64_t after, struct cml_entry *entry)
{
	sqlite3_stmt *stmt;
	int got, err = 0;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt, "SELECT seq, ino, time, record FROM cml WHERE seq > ?1 ORDER BY seq LIMIT 1", "i",
		       (int64_t)after);
	if (got > 0) {
		err = entry_fill(cache, stmt, entry);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return err ? err : got;
}

int cml_list(struct cache *cache, uint64_t after, unsigned most, void (*fn)(void *arg, const struct cml_entry *entry), void *arg)
{
	AUTO_FREE struct cml_entry *entry = malloc(sizeof(*entry));
	int got = 1;

	if (!entry)
		return -ENOMEM;
	for (unsigned n = 0; n < most && got > 0; n++) {
		got = entry_next(cache, after, entry);
		if (got <= 0)
			break;
		after = entry->seq;
		fn(arg, entry);
	}
	return MIN(got, 0);
}
