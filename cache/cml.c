/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Appending to the client's modification log.
 *
 * (1) A record gets the next number and goes to the end, in the transaction of the change itself.
 * (2) Only what was never taken (seq above frozen_seq) is folded (fold.h), moved or dropped.
 * (3) A file has one STORE that was not taken, at most.  It carries the file's mtime as it is when taken, so
 *     it must come after a SETATTR of times that was done before the content it is for.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/cml.h"
#include "cache/cml_export.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/fold.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/record.h"
#include "cache/writer.h"

struct waiting {
	struct hash_node node;
	uint64_t ino, bytes;
	bool is_aside;
};

/* ---- figures ---- */

static struct waiting *waiting_of(const struct cml *cml, uint64_t ino)
{
	for (struct hash_node *n = hash_first(&cml->waiting, hash_u64(ino)); n; n = hash_next(n)) {
		struct waiting *waiting = container_of(n, struct waiting, node);

		if (waiting->ino == ino)
			return waiting;
	}
	return NULL;
}

uint64_t cml_bytes_of(const struct cml *cml, uint64_t ino)
{
	const struct waiting *waiting = waiting_of(cml, ino);

	return waiting ? waiting->bytes : 0;
}

void cml_count_bytes(struct cache *cache, uint64_t ino, uint64_t bytes)
{
	struct cml *cml = cache->cml;
	struct waiting *waiting;

	pthread_mutex_lock(&cache->lock);
	waiting = waiting_of(cml, ino);
	if (!waiting && bytes) {
		waiting = calloc(1, sizeof(*waiting));
		if (waiting) {
			waiting->ino = ino;
			hash_insert(&cml->waiting, &waiting->node, hash_u64(ino));
		}
	}
	if (waiting) {	/* without memory a figure in the status is too low */
		cml->waiting_bytes += bytes - waiting->bytes;
		waiting->bytes = bytes;
	}
	if (waiting && !bytes) {
		hash_remove(&cml->waiting, &waiting->node);
		free(waiting);
	}
	pthread_mutex_unlock(&cache->lock);
}

void cml_set_aside(struct cache *cache, uint64_t ino, bool is_aside)
{
	struct waiting *waiting;

	pthread_mutex_lock(&cache->lock);
	waiting = waiting_of(cache->cml, ino);
	if (waiting)
		waiting->is_aside = is_aside;
	pthread_mutex_unlock(&cache->lock);
}

bool cml_is_aside(const struct cml *cml, uint64_t ino)
{
	const struct waiting *waiting = waiting_of(cml, ino);

	return waiting && waiting->is_aside;
}

/* After the commit. */
static void records_counted(struct cache *cache, void *arg)
{
	struct cml *cml = cache->cml;
	intptr_t more = (intptr_t)arg;

	pthread_mutex_lock(&cache->lock);
	cml->records += more;
	if (more > 0 && cml->wakeup)
		cml->wakeup(cml->wakeup_arg);
	pthread_mutex_unlock(&cache->lock);
}

int cml_count_records(struct change *change, int64_t more)
{
	return more ? writer_after_commit(change, records_counted, (void *)(intptr_t)more) : 0;
}

/* ---- records ---- */

int64_t cml_time_ns(struct kml_time time)
{
	const int64_t most = INT64_MAX / 1000000000 - 1;

	return MAX(MIN((int64_t)time.sec, most), -most) * 1000000000 + time.nsec;
}

struct kml_time cml_time(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		sec--;
		rest += 1000000000;
	}
	return (struct kml_time){ sec, (unsigned)rest };
}

bool cml_sets_attributes(const struct kml_record *record)
{
	const struct kml_body *body = &record->body;

	return body->op == KML_SETACL || (body->op == KML_SETATTR && body->kml_body_u.setattr.set != KML_SET_FORWARD);
}

const struct kml_make *cml_make_of(const struct kml_record *record)
{
	switch (record->body.op) {
	case KML_CREATE:
	case KML_MKDIR:
		return &record->body.kml_body_u.make;
	case KML_SYMLINK:
		return &record->body.kml_body_u.symlink.make;
	case KML_MKNOD:
		return &record->body.kml_body_u.mknod.make;
	default:
		return NULL;
	}
}

struct kml_oid cml_oid_of(const struct kml_record *record)
{
	switch (record->body.op) {
	case KML_LINK:
		return record->body.kml_body_u.link.oid;
	case KML_REMOVE:
	case KML_RMDIR:
		return record->body.kml_body_u.unlink.oid;
	case KML_RENAME:
		return record->body.kml_body_u.rename.oid;
	case KML_SETATTR:
		return record->body.kml_body_u.setattr.oid;
	case KML_STORE:
		return record->body.kml_body_u.store.oid;
	case KML_SETACL:
		return record->body.kml_body_u.setacl.oid;
	case KML_DETACH:
		return record->body.kml_body_u.detach.oid;
	default:
		return cml_make_of(record)->oid;
	}
}

unsigned cml_places_of(const struct kml_record *record, struct cml_place ret_places[2])
{
	const struct kml_make *make = cml_make_of(record);
	const struct kml_link *link = &record->body.kml_body_u.link;
	const struct kml_unlink *gone = &record->body.kml_body_u.unlink;
	const struct kml_rename *rename = &record->body.kml_body_u.rename;

	if (make) {
		ret_places[0] = (struct cml_place){ make->parent, kml_name_get(&make->name) };
		return 1;
	}
	switch (record->body.op) {
	case KML_LINK:
		ret_places[0] = (struct cml_place){ link->parent, kml_name_get(&link->name) };
		return 1;
	case KML_REMOVE:
	case KML_RMDIR:
		ret_places[0] = (struct cml_place){ gone->parent, kml_name_get(&gone->name) };
		return 1;
	case KML_RENAME:
		ret_places[0] = (struct cml_place){ rename->from_parent,
						    kml_name_get(&rename->from_name) };
		ret_places[1] = (struct cml_place){ rename->to_parent,
						    kml_name_get(&rename->to_name) };
		return 2;
	default:
		return 0;
	}
}

/* ---- oids of merged directories ---- */

#define ALIAS "merged "		/* keys in table meta: "merged ORIGIN-NUMBER" */
#define ALIAS_END "merged!"	/* sorts after all of them */

static void alias_key(struct kml_oid oid, char ret_key[sizeof(ALIAS) + KML_OID_TEXT])
{
	memcpy(ret_key, ALIAS, sizeof(ALIAS));
	kml_oid_print(oid, ret_key + sizeof(ALIAS) - 1);
}

uint64_t cml_find_oid(struct cache *cache, struct kml_oid oid)
{
	char key[sizeof(ALIAS) + KML_OID_TEXT], text[KML_OID_TEXT];
	uint64_t ino = inode_find_oid(cache, &oid);
	struct slice value;
	sqlite3_stmt *stmt;

	if (ino)
		return ino;
	alias_key(oid, key);
	if (db_query(writer_db_or_read(cache), &stmt, "SELECT value FROM meta WHERE key = ?1", "t", key) <= 0)
		return 0;
	value = db_column(stmt, 0);
	memcpy(text, value.data, MIN(value.len, sizeof(text) - 1));
	text[MIN(value.len, sizeof(text) - 1)] = '\0';
	db_done(stmt);
	return kml_oid_parse(text, &oid) ? 0 : inode_find_oid(cache, &oid);
}

int cml_alias_add(struct change *change, struct kml_oid oid, struct kml_oid is)
{
	char key[sizeof(ALIAS) + KML_OID_TEXT], text[KML_OID_TEXT];

	alias_key(oid, key);
	kml_oid_print(is, text);
	return meta_set_text(change, key, text);
}

int cml_alias_clear(struct change *change)
{
	return db_run(writer_db(change->cache), "DELETE FROM meta WHERE key >= ?1 AND key < ?2",
		      "tt", ALIAS, ALIAS_END);
}

void cml_place_path(struct cache *cache, const struct cml_place *place, const char *gone, char *ret_path, size_t size)
{
	uint64_t dir = cml_find_oid(cache, place->dir);

	if (dir)
		name_path_in(cache, dir, place->name, ret_path, size);
	else
		(void)snprintf(ret_path, size, "%s/%.*s", gone, (int)place->name.len, (const char *)place->name.data);
}

/* ---- append ---- */

int cml_speaks_of(struct cache *cache, uint64_t ino)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db_or_read(cache), &stmt, "SELECT 1 FROM cml WHERE ino = ?1 LIMIT 1", "i", (int64_t)ino);
	if (got > 0)
		db_done(stmt);
	return got;
}

int cml_last_of(struct change *change, uint64_t ino, enum kml_op op, uint64_t *ret_seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT seq FROM cml WHERE ino = ?1 AND op = ?2 ORDER BY seq DESC LIMIT 1",
		       "ii", (int64_t)ino, (int64_t)op);
	if (got <= 0)
		return got;
	*ret_seq = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 1;
}

int cml_drop(struct change *change, uint64_t seq)
{
	int err;

	err = db_run(writer_db(change->cache), "DELETE FROM cml WHERE seq = ?1", "i", (int64_t)seq);
	return err ? err : cml_count_records(change, -1);
}

int cml_row_record(sqlite3_stmt *stmt, int column, struct kml_record *ret_record)
{
	struct slice text = db_column(stmt, column);
	int err = kml_record_decode(text.data, text.len, ret_record);

	db_done(stmt);
	if (err)
		return err == -ENOMEM ? err : -EUCLEAN;
	return 1;
}

int cml_row_update(struct change *change, const struct kml_record *record)
{
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = kml_record_encode(&buf, record);
	if (!err)
		err = db_run(writer_db(change->cache), "UPDATE cml SET record = ?1 WHERE seq = ?2",
			     "bi", (struct slice){ buf.data, buf.len }, (int64_t)record->seq);
	buf_release(&buf);
	return err;
}

int cml_row_replace(struct change *change, const struct kml_record *record, uint64_t was)
{
	int err = cml_row_update(change, record);

	return err ? err : db_run(writer_db(change->cache), "UPDATE cml SET op = ?1, was = ?2, was_to = 0 WHERE seq = ?3", "iii",
				  (int64_t)record->body.op, (int64_t)was, (int64_t)record->seq);
}

/* The marks that the record's names have. */
static int marks_of(struct change *change, const struct kml_record *record, const uint64_t *dirs, uint64_t ret_was[2])
{
	struct cml_place places[2];
	unsigned n = dirs ? cml_places_of(record, places) : 0;
	int err = 0;

	ret_was[0] = ret_was[1] = 0;
	for (unsigned i = 0; i < n && !err; i++)
		err = mark_get(change, dirs[i], places[i].name, &ret_was[i]);
	return err;
}

uint64_t cml_next_seq(struct cache *cache, enum kml_op op)
{
	if (cml_may_detach(op))
		(void)counter_take(cache, COUNTER_SEQ);
	return counter_take(cache, COUNTER_SEQ);
}

static int append(struct change *change, uint64_t ino, struct kml_record *record, const uint64_t *dirs,
		  uint64_t *ret_seq)
{
	struct cml *cml = change->cache->cml;
	uint64_t was[2];
	struct buf buf;
	int err;

	err = marks_of(change, record, dirs, was);
	if (err)
		return err;
	record->format = KML_VERSION;
	record->seq = cml_next_seq(change->cache, record->body.op);
	record->time = cml_time(change->now);
	buf_init(&buf, 0);
	err = kml_record_encode(&buf, record);
	if (!err)
		err = FAULT("cml.append");
	if (!err)
		err = db_run(writer_db(change->cache),
			     "INSERT INTO cml (seq, op, ino, time, record, was, was_to) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
			     "iiiibii", (int64_t)record->seq, (int64_t)record->body.op, (int64_t)ino,
			     change->now, (struct slice){ buf.data, buf.len }, (int64_t)was[0], (int64_t)was[1]);
	buf_release(&buf);
	if (!err)
		err = cml_count_records(change, 1);
	if (err)
		return err;
	*ret_seq = record->seq;
	__atomic_store_n(&cml->last_seq, record->seq, __ATOMIC_RELAXED);
	cml->last_other = record->seq;
	log_debug(LOG_CML, "cml: appended: seq=%llu %s ino=%llu", (unsigned long long)record->seq,
		  kml_op_name(record->body.op), (unsigned long long)ino);
	return 0;
}

int cml_append(struct change *change, uint64_t ino, const struct kml_record *record, const uint64_t *dirs, uint64_t *ret_seq)
{
	struct kml_record r = *record;
	int got = 0;

	r.uid = change->op ? change->op->cred.uid : 0;
	if (r.body.op == KML_SETATTR && r.body.kml_body_u.setattr.set != KML_SET_FORWARD)
		got = fold_setattr(change, ino, &r.body.kml_body_u.setattr, ret_seq);
	if (r.body.op == KML_SETACL)
		got = fold_setacl(change, ino, &r.body.kml_body_u.setacl);
	return got ? MIN(got, 0) : append(change, ino, &r, dirs, ret_seq);
}

/* Has a SETATTR after this number set times?  keeps (3) */
static int times_set_since(struct change *change, uint64_t ino, uint64_t seq)
{
	struct kml_record record;
	sqlite3_stmt *stmt;
	bool has = false;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT record FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3", "iii",
		       (int64_t)ino, (int64_t)KML_SETATTR, (int64_t)seq);
	while (got > 0 && !has) {
		struct slice text = db_column(stmt, 0);

		got = kml_record_decode(text.data, text.len, &record);
		if (got) {
			db_done(stmt);
			return got == -ENOMEM ? got : -EUCLEAN;
		}
		has = record.body.kml_body_u.setattr.set & (KML_SET_ATIME | KML_SET_MTIME);
		kml_record_release(&record);
		if (has)
			db_done(stmt);
		else
			got = db_next(stmt);
	}
	return has ? 1 : got;
}

int cml_append_store(struct change *change, struct inode_edit *edit)
{
	struct kml_record record = { 0 };
	struct kml_store *store = &record.body.kml_body_u.store;
	uint64_t ino = edit->inode->ino, seq = 0;
	int got;

	assert(edit->has_maps);
	if (!edit->v.links_up)
		return 0;
	cml_count_bytes(change->cache, ino,
			extent_bytes(&edit->dirty) + extent_bytes(&edit->dirty_next));
	got = cml_last_of(change, ino, KML_STORE, &seq);
	if (got > 0 && seq > change->cache->cml->frozen_seq) {
		got = times_set_since(change, ino, seq);
		if (!got && edit->v.data_seq != seq)
			EDIT(edit, data_seq, seq);
		if (got > 0)
			got = cml_drop(change, seq);
		else if (!got)
			return 0;
	}
	if (got < 0)
		return got;
	record.uid = change->op ? change->op->cred.uid : edit->v.uid;
	record.body.op = KML_STORE;
	store->oid = edit->v.oid;
	store->keep_size = CML_NOT_TAKEN;
	got = append(change, ino, &record, NULL, &seq);
	if (!got)
		EDIT(edit, data_seq, seq);
	return got;
}

/* What is left of an object's records; 0: nothing. */
static int last_seq_of(struct change *change, uint64_t ino, uint64_t *ret_seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT max(seq) FROM cml WHERE ino = ?1",
		       "i", (int64_t)ino);
	if (got <= 0)
		return got;
	*ret_seq = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}

int cml_forget(struct change *change, struct inode_edit *edit)
{
	struct db *db = writer_db(change->cache);
	uint64_t seq = 0;
	int err;

	err = db_run(db, "DELETE FROM cml WHERE ino = ?1 AND op IN (?2, ?3, ?4) AND seq > ?5", "iiiii",
		     (int64_t)edit->inode->ino, (int64_t)KML_SETATTR, (int64_t)KML_STORE,
		     (int64_t)KML_SETACL, (int64_t)change->cache->cml->frozen_seq);
	if (!err)
		err = cml_count_records(change, -(int64_t)sqlite3_changes(db_handle(db)));
	if (!err)
		err = last_seq_of(change, edit->inode->ino, &seq);
	if (err)
		return err;
	/* The marks of what was dropped would stay for ever. */
	if (edit->v.data_seq)
		EDIT(edit, data_seq, seq);
	if (edit->v.attr_seq)
		EDIT(edit, attr_seq, seq);
	cml_count_bytes(change->cache, edit->inode->ino, 0);
	return 0;
}

uint64_t cml_frozen_seq(struct cache *cache)
{
	return cache->cml ? cache->cml->frozen_seq : 0;
}

/* ---- opening ---- */

static int count(struct db *db, const char *sql, uint64_t *ret)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(db, &stmt, sql, "");
	if (got <= 0)
		return got;
	*ret = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 0;
}

/* One file with a STORE. */
static int load_bytes(struct cache *cache, sqlite3_stmt *stmt)
{
	struct extent_map map = { 0 };
	uint64_t bytes = 0;
	int err = 0;

	for (int column = 1; column <= 2 && !err; column++) {
		err = extent_decode(&map, db_column(stmt, column));
		bytes += extent_bytes(&map);
	}
	extent_release(&map);
	if (!err)
		cml_count_bytes(cache, sqlite3_column_int64(stmt, 0), bytes);
	return err;
}

static int load_all_bytes(struct cache *cache, struct db *db)
{
	sqlite3_stmt *stmt;
	int got, err;

	got = db_query(db, &stmt,
		       "SELECT ino, dirty, dirty_next FROM inode WHERE ino IN"
		       " (SELECT ino FROM cml WHERE op = ?1)", "i", (int64_t)KML_STORE);
	while (got > 0) {
		err = load_bytes(cache, stmt);
		if (err) {
			db_done(stmt);
			return err;
		}
		got = db_next(stmt);
	}
	return got;
}

/* Up to which record may have been sent.  Where nobody has noted that, as in an older cache, all of them. */
static int load_frozen(struct change *change, uint64_t last, int64_t *ret_frozen)
{
	int got = meta_get_int(writer_db(change->cache), "frozen", ret_frozen);

	if (got)
		return MIN(got, 0);
	*ret_frozen = last;
	return meta_set_int(change, "frozen", last);
}

static int load(struct change *change)
{
	struct cache *cache = change->cache;
	struct db *db = writer_db(cache);
	struct cml *cml = cache->cml;
	uint64_t last = 0, records = 0, exported;
	int64_t acked = 0, frozen;
	int err;

	err = count(db, "SELECT coalesce(max(seq), 0) FROM cml", &last);
	if (!err)
		err = count(db, "SELECT count(*) FROM cml", &records);
	if (!err)
		err = MIN(meta_get_int(db, "acked", &acked), 0);
	/* What was sent is here or acknowledged.  An upstream that knows more has met a later state of this cache. */
	last = MAX(last, (uint64_t)acked);
	if (!err)
		err = load_frozen(change, last, &frozen);
	if (!err)
		err = cml_exported_seq(cache->dirfd, &exported);
	if (!err)
		err = load_all_bytes(cache, db);
	if (err)
		return err;
	pthread_mutex_lock(&cache->lock);
	__atomic_store_n(&cml->last_seq, last, __ATOMIC_RELAXED);
	cml->last_other = last;
	cml->frozen_seq = MAX(MAX(frozen, acked), (int64_t)exported);
	cml->records = records;
	cml->acked = acked;
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

int cml_open(struct cache *cache)
{
	struct cml *cml = calloc(1, sizeof(*cml));
	int err;

	if (!cml)
		return -ENOMEM;
	err = hash_init(&cml->waiting);
	if (err) {
		free(cml);
		return err;
	}
	cache->cml = cml;
	if (gethostname(cml->host, sizeof(cml->host) - 1) < 0)
		cml->host[0] = '\0';	/* too long for us, or it has none */
	return writer_call(cache, load, NULL);
}

static void waiting_free(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct waiting, node));
}

void cml_close(struct cache *cache)
{
	struct cml *cml = cache->cml;

	if (!cml)
		return;
	hash_drain(&cml->waiting, waiting_free, NULL);
	hash_release(&cml->waiting);
	free(cml);
	cache->cml = NULL;
}
