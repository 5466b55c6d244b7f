/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking in the upstream's answers: all of a batch in one change.
 *
 * For each record, in order:
 * (1) the marks that it left on names and on its object are cleared, and the object learns the
 *     version that the record made;
 * (2) of a STORE: what was dirty is the upstream's too now; dirty_next becomes dirty;
 * (3) an answer other than "done" is settled (conflict.c);
 * (4) its row goes.
 * A record that the upstream REFUSED for good leaves its marks where nothing but our copy is left to
 * show for it (keeps_marks()): nothing from upstream ever touches what is marked.
 */
#include <errno.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/base.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/conflict.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/detach.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/record.h"
#include "cache/space.h"
#include "cache/stale.h"
#include "cache/writer.h"

static bool is_done(const struct kml_answer *answer)
{
	return answer->status == KML_OK || answer->status == KML_ALREADY;
}

static bool keeps_marks(const struct kml_record *record, const struct kml_answer *answer)
{
	if (answer->status != KML_REFUSED)
		return false;
	if (cml_make_of(record) || record->body.op == KML_STORE)
		return true;
	/* ESTALE: the upstream does not know it, for it refused to make it, or its directory. */
	return answer->error == ESTALE && record->body.op != KML_REMOVE &&
	       record->body.op != KML_RMDIR;
}

/* ---- (1) ---- */

static int retire_names(struct change *change, const struct kml_record *record,
			const struct kml_answer *answer)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(record, places);
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		uint64_t dir = cml_find_oid(change->cache, places[i].dir);

		if (!dir)
			continue;
		/* A listing from before that knows nothing of the name, which is clean from here on. */
		if (answer->made_version)
			merge_own_name(change->cache, dir, answer->made_version);
		err = name_retire(change, dir, places[i].name, record->seq);
		/* Upstream has something else there, perhaps: look. */
		if (!err && answer->status != KML_OK)
			err = stale_ask(change, dir);
	}
	return err;
}

static int learn_version(struct change *change, struct inode_edit *edit,
			 const struct kml_record *record, const struct kml_answer *answer)
{
	bool is_make = cml_make_of(record) != NULL;
	bool is_data = is_make || record->body.op == KML_STORE;
	bool is_attr = is_make || cml_sets_attributes(record);
	bool was_done = is_done(answer) || answer->status == KML_RENAMED;

	if (!was_done || (!is_data && !is_attr))
		return 0;
	/* Done before, and the version it made is not known any more? */
	if (!answer->made_version)
		return stale_ask(change, edit->inode->ino);
	/* One before it came to nothing (conflict.c): what this record made is not what is here. */
	if (!is_make && is_attr && !edit->v.attr_version)
		return stale_ask(change, edit->inode->ino);
	if (is_data && answer->made_version > edit->v.data_version) {
		EDIT(edit, data_version, answer->made_version);
		/* Who waits for bytes of the version before would be told that it is gone. */
		int err = park_wake_content_after(change, edit->inode->ino);
		if (err)
			return err;
	}
	if (is_attr && answer->made_version > edit->v.attr_version)
		EDIT(edit, attr_version, answer->made_version);
	return 0;
}

/* Its names: an older state of the object does not know of what the record did to them. */
static void retire_links(struct change *change, uint64_t ino, const struct kml_record *record, const struct kml_answer *answer)
{
	struct cml_place places[2];

	if (answer->made_version && cml_places_of(record, places))
		merge_own_name(change->cache, ino, answer->made_version);
}

/* The object that a RENAME took a name from. */
static int retire_replaced(struct change *change, const struct kml_record *record, const struct kml_answer *answer)
{
	const struct kml_oid *replaced = &record->body.kml_body_u.rename.replaced;
	struct inode_edit *edit;
	uint64_t ino;
	int err = 0;

	if (record->body.op != KML_RENAME || kml_oid_is_none(*replaced))
		return 0;
	ino = cml_find_oid(change->cache, *replaced);
	edit = ino ? inode_edit(change, ino, &err) : NULL;
	if (!edit)
		return err == -ESTALE ? 0 : err;
	if (edit->v.attr_seq == record->seq)
		EDIT(edit, attr_seq, 0);
	if (edit->v.type != TYPE_DIR)
		retire_links(change, ino, record, answer);
	return 0;
}

/* ---- (2) ---- */

static void map_move(struct extent_map *to, struct extent_map *from)
{
	extent_release(to);
	*to = *from;
	*from = (struct extent_map){ 0 };
}

static int retire_content(struct change *change, struct inode_edit *edit,
			  const struct kml_record *record, const struct kml_answer *answer)
{
	const struct kml_store *store = &record->body.kml_body_u.store;
	bool is_last, is_ours = kml_oid_equal(store->oid, edit->v.oid);
	uint64_t last_store = 0;
	int err;

	err = MIN(cml_last_of(change, edit->inode->ino, KML_STORE, &last_store), 0);
	if (!err)
		err = EDIT_MAPS(edit);
	if (err)
		return err;
	is_last = edit->inode->work->taken_seq == record->seq;
	if (edit->inode->work->has_uncommitted) {
		/* The maps that go into the row speak of these as well. */
		EDIT(edit, size, edit->v.size);
		EDIT(edit, mtime, edit->v.mtime);
		EDIT(edit, ctime, edit->v.ctime);
	}
	if (is_ours && !is_done(answer)) {
		/* It stays to be sent, with the next STORE, if there ever is one. */
		err = extent_union(&edit->dirty, &edit->dirty_next);
		if (!err && store->keep_size < edit->v.keep_size)
			EDIT(edit, keep_size, store->keep_size);
		if (!err && is_last)
			extent_release(&edit->dirty_next);
	} else if (is_last) {
		map_move(&edit->dirty, &edit->dirty_next);
		/* Where one was frozen behind another these may be that one's bytes once more, see below. */
		if (last_store <= record->seq && !edit->inode->work->has_uncommitted)
			extent_release(&edit->dirty);
	} else {
		/* Another one is frozen: dirty_next is that one's, and of what was written since too. */
		err = extent_copy(&edit->dirty, &edit->dirty_next);
	}
	if (err)
		return err;
	if (is_last) {
		edit->set_taken = true;
		edit->taken_seq = 0;
	}
	/* The next WRITE is to ask anew whether it may (data.c), for what is here now is the base of what it makes. */
	if (edit->v.is_dirty && is_done(answer) && !edit->dirty.n && !edit->dirty_next.n && !edit->inode->work->has_uncommitted &&
	    base_is_wanted(change, edit))
		EDIT(edit, is_dirty, false);
	cml_count_bytes(change->cache, edit->inode->ino,
			extent_bytes(&edit->dirty) + extent_bytes(&edit->dirty_next));
	return 0;
}

static int retire_object(struct change *change, uint64_t ino, const struct kml_record *record,
			 const struct kml_answer *answer)
{
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err == -ESTALE ? 0 : err;
	err = 0;
	if (!keeps_marks(record, answer)) {
		if (edit->v.attr_seq == record->seq)
			EDIT(edit, attr_seq, 0);
		if (edit->v.data_seq == record->seq)
			EDIT(edit, data_seq, 0);
	}
	/* It may have become another object since: a conflict, or a removed file that got a name again. */
	if (kml_oid_equal(cml_oid_of(record), edit->v.oid) ||
	    cml_find_oid(change->cache, cml_oid_of(record)) == ino)
		err = learn_version(change, edit, record, answer);
	if (edit->v.type != TYPE_DIR)
		retire_links(change, ino, record, answer);
	if (!err && record->body.op == KML_STORE)
		err = retire_content(change, edit, record, answer);
	/* Refused: its next one has to part from other names, as this would have. */
	if (!err && record->body.op == KML_STORE && answer->status != KML_REFUSED)
		err = detach_forget(change, ino);
	return err;
}

/* ---- all of it ---- */

/* The object of the record as of now (a conflict may have given it to another inode): 1, 0: the record is gone. */
static int read_ino(struct change *change, uint64_t seq, uint64_t *ret_ino)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT ino FROM cml WHERE seq = ?1", "i",
		       (int64_t)seq);
	if (got <= 0)
		return got;
	*ret_ino = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return 1;
}

static int retire_one(struct change *change, const struct kml_record *record,
		      const struct kml_answer *answer)
{
	uint64_t ino;
	int got;

	got = read_ino(change, record->seq, &ino);
	if (got <= 0)
		return got;
	got = FAULT("cml.retire");
	if (!got && !keeps_marks(record, answer))
		got = retire_names(change, record, answer);
	if (!got)
		got = retire_object(change, ino, record, answer);
	if (!got)
		got = retire_replaced(change, record, answer);
	if (!got && !is_done(answer))
		got = conflict_settle(change, ino, record, answer);
	if (!got)
		got = base_record_ended(change, ino, record);
	return got ? got : cml_drop(change, record->seq);
}

struct retire {
	struct cml_batch *batch;
	const struct kml_answer *answers;
	size_t n;
};

static int is_log_empty(struct change *change)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml LIMIT 1", "");
	if (got > 0)
		db_done(stmt);
	return got < 0 ? got : !got;
}

static int retire_run(struct change *change)
{
	struct retire *retire = change->arg;
	uint64_t last = retire->batch->items[retire->n - 1].record.seq, position = 0;
	int got = 0;

	for (size_t i = 0; i < retire->n && !got; i++) {
		got = retire_one(change, &retire->batch->items[i].record, &retire->answers[i]);
		position = MAX(position, retire->answers[i].made_version);
	}
	if (!got)
		got = meta_set_int(change, "acked", last);
	/* For merge.c, after a start: until that has been pulled older states may come. */
	if (!got && position)
		got = meta_set_int(change, "own_position", (int64_t)position);
	if (!got)
		got = is_log_empty(change);
	if (got <= 0)
		return got;
	got = cml_alias_clear(change);
	return got ? got : detach_sweep(change);
}

static void log_retired(const struct retire *retire, int err)
{
	if (!log_is_traced(LOG_CML))
		return;
	for (size_t i = 0; i < retire->n; i++)
		log_debug(LOG_CML, "cml: retired: seq=%llu %s ino=%llu status=%d err=%d",
			  (unsigned long long)retire->batch->items[i].record.seq,
			  kml_op_name(retire->batch->items[i].record.body.op),
			  (unsigned long long)retire->batch->items[i].ino, (int)retire->answers[i].status, err);
}

int cml_retire(struct cache *cache, struct cml_batch *batch, const struct kml_answer *answers,
	       size_t n_answers)
{
	struct retire retire = { .batch = batch, .answers = answers };
	struct cml *cml = cache->cml;
	uint64_t last = 0;
	int err = 0;

	while (retire.n < MIN(n_answers, batch->n) && answers[retire.n].status != KML_RETRY &&
	       answers[retire.n].seq == batch->items[retire.n].record.seq)
		retire.n++;
	/* A DETACH goes again with what it is for (detach.h). */
	if (retire.n && retire.n < batch->n && batch->items[retire.n - 1].record.body.op == KML_DETACH)
		retire.n--;
	if (n_answers && batch->n && answers[0].seq != batch->items[0].record.seq)
		err = -EBADMSG;
	if (retire.n) {
		last = batch->items[retire.n - 1].record.seq;
		for (size_t i = 0; i < retire.n; i++) {
			if (batch->items[i].record.body.op == KML_STORE)
				cml_sync_content(cache, batch->items[i].ino);
		}
		err = writer_call(cache, retire_run, &retire);
		log_retired(&retire, err);
	}
	if (retire.n < batch->n || err)
		cml_give_back(cache, batch);
	else
		cml_batch_free(batch);
	if (err || !retire.n)
		return err;
	pthread_mutex_lock(&cache->lock);
	cml->acked = MAX(cml->acked, last);
	/* Given back from the first on; but the answered ones are gone. */
	cml->out_seq = MAX(cml->out_seq, last);
	pthread_mutex_unlock(&cache->lock);
	space_poke(cache);
	return 0;
}
