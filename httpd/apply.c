/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/reserve.h"
#include "httpd/journal.h"
#include "httpd/segment.h"
#include "httpd/turn.h"
#include "httpd/upload.h"

/*
 * The order of things, for one segment (docs/ARCHITECTURE.md "The upstream"):
 *
 *  (1) What local programs did to what the records are about is journalled, in a transaction of its
 *      own.
 *  (2) New files and contents are made in stage/ and synced.
 *  (3) Commit A: the records and what was staged go into 'intent'; before it, stage/done-MARK-0 is
 *      made.
 *  (4) Per record: certify by the tables, one rename (or link, unlink, chmod) on disk, the tables
 *      (not committed), then rename done-MARK-K to done-MARK-K+1.
 *  (5) The directories' times; sync.
 *  (6) Commit B: tables, journal, answers, last seq, minus the intent.
 *
 * After a crash between A and B the tables are as before the segment, and the files are as after
 * its first K records, or K+1.  Certifying depends on nothing but the tables and the records, so
 * going through the first K again without touching a file gives the tables that belong to the
 * files; for the one behind them a look at the files tells; the rest is done as if for the first
 * time.  Looking at files alone would not do: CREATE a, RENAME a b leaves no trace of the CREATE at
 * a.
 */

/* records that may be done on a full disk before it is looked at again */
#define REMOVALS_MAX 256
/* for one record, one after the other; a hundred times would not help either */
#define SURPRISES_MAX 20

/* ---- answers ---- */

static int keep_answer(struct tree *tree, uint64_t client, struct kml_answer *answer)
{
	struct kml_answers one = { .answers = { 1, answer } };
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = kml_answers_encode(&buf, &one);
	if (!err)
		err = sql_run(tree->sql,
			      "INSERT OR REPLACE INTO answer (client, seq, answer) VALUES (?1, ?2, ?3)", "iib",
			      (int64_t)client, (int64_t)answer->seq,
			      (struct slice){ buf.data, buf.len });
	buf_release(&buf);
	return err;
}

static int kept_answer(struct tree *tree, uint64_t client, uint64_t seq,
		       struct kml_answer *ret_answer)
{
	struct kml_answers one;
	sqlite3_stmt *stmt;
	struct slice text;
	int got;

	got = sql_query(tree->sql, &stmt,
			"SELECT answer FROM answer WHERE client = ?1 AND seq = ?2", "ii",
			(int64_t)client, (int64_t)seq);
	if (got <= 0)
		return got;
	text = sql_column(stmt, 0);
	got = kml_answers_decode(text.data, text.len, &one);
	sql_done(stmt);
	if (got || one.answers.answers_len != 1)
		return got ? got : -EUCLEAN;
	*ret_answer = one.answers.answers_val[0];
	free(one.answers.answers_val);
	return 1;
}

static int count_client(const struct segment *segment, uint64_t seq)
{
	return sql_run(segment->tree->sql,
		       "INSERT INTO client (client, last_seq, host, seen) VALUES (?1, ?2, ?3, ?4) "
		       "ON CONFLICT (client) DO UPDATE SET last_seq = ?2, host = ?3, seen = ?4",
		       "iiti", (int64_t)segment->client, (int64_t)seq, segment->host,
		       file_now().sec);
}

static void release_answers(struct kml_answer *answers, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		xdr_free((xdrproc_t)xdr_kml_answer, &answers[i]);
	memset(answers, 0, n * sizeof(*answers));
}

static int forget_acked(struct tree *tree, uint64_t client, uint64_t acked)
{
	return sql_run(tree->sql, "DELETE FROM answer WHERE client = ?1 AND seq <= ?2", "ii",
		       (int64_t)client, (int64_t)MIN(acked, (uint64_t)INT64_MAX));
}

/* ---- a segment ---- */

/* What became of a segment. */
struct outcome {
	uint32_t done;		/* records that are answered */
	int why;		/* STEP_SURPRISE, STEP_RETRY, or 0: all of them */
	int error;		/* errno */
};

/*
 * Records that no step can be found for after SURPRISES_MAX tries are refused: what cannot be
 * applied must not hold up what has nothing to do with it.
 */
static int refuse(struct segment *segment, uint32_t i, int error, struct kml_answer *ret_answer)
{
	*ret_answer = (struct kml_answer){ .seq = segment->records[i].seq, .status = KML_REFUSED,
					   .error = (unsigned)(error ? error : EBUSY) };
	segment->must_end = true;
	log_warn("apply: record refused, local programs keep getting in its way: client=%016llx "
		 "seq=%llu %s: %s",
		 (unsigned long long)segment->client, (unsigned long long)segment->records[i].seq,
		 kml_op_name(segment->records[i].body.op), strerror((int)ret_answer->error));
	return segment->records[i].body.op == KML_DETACH ? step_stand_back(segment, i) : 0;
}

/* (4): all records of the segment, up to the first that must wait. */
static int run_records(struct segment *segment, bool refuse_first, int refuse_error,
		       struct kml_answer *answers, struct outcome *ret_outcome)
{
	struct outcome outcome = { 0 };
	int got = 0;

	for (uint32_t i = 0; i < segment->n; i++) {
		if (!segment->is_redo && tree_is_stopping(segment->tree)) {
			outcome = (struct outcome){ i, STEP_RETRY, ESHUTDOWN };
			break;
		}
		got = FAULT("apply.step");
		if (!got && refuse_first && !i)
			got = refuse(segment, i, refuse_error, &answers[i]);
		else if (!got)
			got = step_record(segment, i, &answers[i], &outcome.error);
		if (got) {
			outcome.why = got;
			break;
		}
		outcome.done = i + 1;
		got = FAULT("apply.stepped");
		if (!got && !segment->must_end)
			got = segment_progress(segment, i);
		if (!got)
			got = keep_answer(segment->tree, segment->client, &answers[i]);
		if (got)
			return got;
		if (segment->must_end)
			break;
	}
	*ret_outcome = outcome;
	return got < 0 ? got : 0;
}

/* (4) to (6).  On failure the tables are as before, and tree->needs_redo is set. */
static int run_segment(struct segment *segment, bool refuse_first, int refuse_error,
		       struct kml_answer *answers, struct outcome *ret_outcome)
{
	struct tree *tree = segment->tree;
	struct outcome outcome = { 0 };
	int err;

	err = tree_begin(tree);
	if (err)
		goto fail;
	err = run_records(segment, refuse_first, refuse_error, answers, &outcome);
	if (!err)
		err = step_finish(segment);
	if (!err && outcome.done)
		err = count_client(segment, segment->records[outcome.done - 1].seq);
	if (!err)
		err = forget_acked(tree, segment->client, segment->acked);
	if (!err)
		err = sql_exec(tree->sql, "DELETE FROM intent");
	if (!err)
		err = FAULT("apply.commit");
	if (err) {
		tree_rollback(tree);
		goto fail;
	}
	err = tree_commit(tree);
	if (err)
		goto fail;
	(void)FAULT("apply.committed");		/* a place to be killed at */
	*ret_outcome = outcome;
	return 0;
fail:
	release_answers(answers, segment->n);	/* they are kept when it is redone, or made anew */
	tree->needs_redo = true;
	return err;
}

static int delete_revived(void *arg, const char *name)
{
	const struct segment *segment = arg;
	unsigned long long mark;

	if (sscanf(name, "revived-%16llx-", &mark) == 1 && mark == segment->mark)
		/* its mark is never used again */
		(void)unlinkat(segment->tree->stage_fd, name, 0);
	return 0;
}

/* After commit B: what was removed is deleted now, what was staged for nothing too. */
static void clear_away(struct segment *segment, uint32_t done)
{
	char name[64], upload[KML_KEY_MAX + 32];

	for (uint32_t i = 0; i < done; i++) {
		const struct kml_record *record = &segment->records[i];
		const struct kml_content *content = &record->body.kml_body_u.store.content;

		if (record->body.op == KML_REMOVE) {
			segment_delete_trash(segment, record->seq);
			continue;
		}
		if (segment->plan[i].is_staged) {
			segment_stage_name(segment->client, record->seq, name);
			/* ENOENT: it was used */
			(void)file_delete(segment->tree->stage_fd, name);
		}
		if (record->body.op == KML_STORE && content->where == KML_STAGED) {
			upload_seal(segment->tree, segment->client, content->kml_content_u.key,
				    upload);
			/* ENOENT: it was used itself */
			(void)unlinkat(segment->tree->stage_fd, upload, 0);
		}
	}
	if (segment->has_revived)
		(void)file_each(segment->tree->stage_fd, delete_revived, segment);
	segment_progress_end(segment);
}

/* ---- after a crash ---- */

static int delete_rubbish(void *arg, const char *name)
{
	int dirfd = *(int *)arg;
	char second[8];

	if (sscanf(name, "up-%7s", second) == 1)
		return 0;
	(void)file_delete(dirfd, name);		/* the next start tries again */
	return 0;
}

/*
 * What was made ready for records that are not done by now.  A local program may have been quicker than the server that carried them out by
 * half, so what an upload's place holds may also be the old content.
 */
static void undo_rest(struct segment *segment, uint32_t done)
{
	struct file_stat st;
	char name[64];

	for (uint32_t i = done; i < segment->n; i++) {
		struct plan *plan = &segment->plan[i];

		segment_stage_name(segment->client, segment->records[i].seq, name);
		if (plan->is_upload && (file_stat(segment->tree->stage_fd, name, &st) || !file_id_equal(st.id, plan->staged.id)))
			plan->is_upload = false;
		prepare_undo(segment, i);
	}
}

/* Do what is left of the intent.  With the lock. */
static int redo(struct tree *tree)
{
	struct kml_answer *answers = NULL;
	struct outcome outcome = { 0 };
	struct segment segment;
	struct kml_batch batch;
	struct plan *plan;
	uint64_t mark;
	int got;

	got = segment_read_intent(tree, &batch, &plan, &mark);
	if (got <= 0)
		return got;
	got = segment_init(&segment, tree, batch.client, batch.host);
	answers = calloc(batch.records.records_len + 1, sizeof(*answers));
	if (!got && !answers)
		got = -ENOMEM;
	if (!got) {
		segment.records = batch.records.records_val;
		segment.n = batch.records.records_len;
		segment.plan = plan;
		segment.is_redo = true;
		segment.mark = mark;
		segment.acked = batch.acked;
		got = segment_progress_find(&segment);
	}
	if (!got) {
		segment.needs_syncfs = true;
		log_info("apply: finishing a batch that was interrupted: client=%016llx records=%u "
			 "done=%u",
			 (unsigned long long)batch.client, segment.n, segment.done);
		got = run_segment(&segment, false, 0, answers, &outcome);
	}
	if (!got) {
		clear_away(&segment, outcome.done);
		undo_rest(&segment, outcome.done);
		release_answers(answers, segment.n);
		if (segment.look.n)
			got = reconcile_locked(tree, segment.look.v, segment.look.n);
	}
	segment_release(&segment);
	free(answers);
	free(plan);
	kml_batch_release(&batch);
	return got;
}

int apply_lock(struct tree *tree)
{
	int err;

	tree_lock(tree);
	err = tree->broken;
	if (!err && tree->needs_redo) {
		err = redo(tree);
		/* Somebody has filled the disk in the middle of it. */
		if (err == -ENOSPC && reserve_give_up(tree->reserve))
			err = redo(tree);
		if (!err)
			tree->needs_redo = false;
	}
	if (err)
		tree_unlock(tree);
	return err;
}

int apply_recover(struct tree *tree)
{
	int err;

	tree_lock(tree);
	tree->needs_redo = true;
	tree_unlock(tree);
	err = apply_lock(tree);
	if (err)
		return err;
	err = file_each(tree->stage_fd, delete_rubbish, &tree->stage_fd);
	if (!err)
		err = file_each(tree->trash_fd, delete_rubbish, &tree->trash_fd);
	if (!err)
		err = journal_prune(tree, JOURNAL_KEPT);
	tree_unlock(tree);
	if (!err)
		upload_expire(tree);
	return err;
}

/* ---- a batch ---- */

static int check_batch(const struct kml_batch *batch)
{
	uint64_t seq = 0;

	if (!batch->client)
		return -EINVAL;
	for (u_int i = 0; i < batch->records.records_len; i++) {
		if (batch->records.records_val[i].seq <= seq ||
		    batch->records.records_val[i].seq > INT64_MAX)
			return -EINVAL;
		seq = batch->records.records_val[i].seq;
	}
	return 0;
}

/* Exactly once: what was applied before gets its answer again.  *ret_n: so many. */
static int repeat_answers(struct tree *tree, const struct kml_batch *batch,
			  struct kml_answer *answers, uint32_t *ret_n)
{
	uint64_t last;
	uint32_t i;
	int got;

	got = turn_last_seq(tree->sql, batch->client, &last);
	if (got)
		return got;
	for (i = 0; i < batch->records.records_len && batch->records.records_val[i].seq <= last;
	     i++) {
		uint64_t seq = batch->records.records_val[i].seq;

		got = kept_answer(tree, batch->client, seq, &answers[i]);
		if (got < 0)
			return got;
		/* A server that knew no DETACH was sent the same without, perhaps, and had no answer to keep. */
		if (!got && seq > batch->acked && batch->records.records_val[i].body.op != KML_DETACH)
			return -ESTALE;
		if (!got)
			answers[i] = (struct kml_answer){ .seq = seq, .status = KML_ALREADY };
		*ret_n = i + 1;
	}
	*ret_n = i;
	return 0;
}

static uint64_t bytes_of(const struct kml_batch *batch)
{
	uint64_t bytes = 0;

	for (u_int i = 0; i < batch->records.records_len; i++) {
		const struct kml_body *body = &batch->records.records_val[i].body;

		bytes += 4096;
		if (body->op == KML_STORE && body->kml_body_u.store.content.where == KML_INLINE)
			bytes += body->kml_body_u.store.content.kml_content_u.bytes.bytes_len;
	}
	return bytes;
}

/* (1) to (6) for the records of the segment; -ENOSPC and the like before A leave all as it was. */
static int one_segment(struct segment *segment, bool refuse_first, int refuse_error,
		       struct kml_answer *answers, struct outcome *ret_outcome)
{
	struct outcome outcome = { 0 };
	int err;

	/*
	 * What was a surprise may be that one of them is not where it was: the look must see that.
	 */
	tree_forget_dirs(segment->tree);
	err = prepare_look(segment);
	if (!err)
		err = FAULT("apply.stage");
	if (!err)
		err = prepare_stage(segment);
	if (err)
		return err;
	if (!segment->n && !segment->cut_error) {
		ret_outcome->why = STEP_SURPRISE;
		return 0;
	}
	if (segment->n) {
		err = segment_progress_begin(segment);
		if (!err)
			err = segment_write_intent(segment);
		if (err) {
			segment_progress_end(segment);
			return err;
		}
		(void)FAULT("apply.intended");	/* a place to be killed at */
		err = run_segment(segment, refuse_first, refuse_error, answers, &outcome);
		if (err)
			return err;
		clear_away(segment, outcome.done);
	}
	if (!outcome.why && segment->cut_error) {
		outcome.why = STEP_RETRY;
		outcome.error = segment->cut_error;
	}
	*ret_outcome = outcome;
	return 0;
}

/*
 * A DETACH is done right before the record that it is for: between the two, a name could come that the DETACH had not seen.  Where they
 * did not go through in one go it is done again, with what it is for; one that was refused has seen to it that the store is not done.
 * Gives whether the record before the one that is next is such a DETACH; then its answer is given up.
 */
static bool must_detach_again(const struct kml_batch *batch, struct kml_answer *answers, uint32_t next)
{
	if (!next || next == batch->records.records_len || batch->records.records_val[next - 1].body.op != KML_DETACH ||
	    answers[next - 1].status == KML_REFUSED)
		return false;
	release_answers(&answers[next - 1], 1);
	return true;
}

/* All that is new in a batch, in as many segments as it takes.  *io_n: records answered. */
static int apply_new(struct tree *tree, const struct kml_batch *batch, struct kml_answer *answers,
		     uint32_t *io_n)
{
	uint32_t total = batch->records.records_len, first = *io_n, surprises = 0, again = 0, again_at = total;
	struct plan *plan = calloc(total + 1, sizeof(*plan));
	struct outcome outcome = { 0 };
	struct segment segment;
	int err;

	if (!plan)
		return -ENOMEM;
	err = segment_init(&segment, tree, batch->client, batch->host);
	if (err) {
		free(plan);
		return err;
	}
	while (!err && first < total && outcome.why != STEP_RETRY) {
		bool refuse_first = surprises >= SURPRISES_MAX;
		int refuse_error = outcome.error;

		segment.records = batch->records.records_val + first;
		segment.plan = plan + first;
		segment.n = total - first;
		segment.acked = batch->acked;
		segment.cut_error = 0;
		segment.must_end = false;
		segment.needs_syncfs = segment.has_revived = false;
		segment.mark = hash_u64(tree->position ^
					hash_u64(batch->records.records_val[first].seq ^
						 hash_u64((uint64_t)file_ns(file_now()))));
		segment_forget_touched(&segment);
		for (uint32_t i = first; i < total; i++)
			/* the file it was to fill has its place by now */
			plan[i].is_into = false;
		if (refuse_first)
			prepare_undo(&segment, 0);
		outcome = (struct outcome){ 0 };
		err = one_segment(&segment, refuse_first, refuse_error, answers + first, &outcome);
		if (err)
			break;
		surprises = outcome.done ? outcome.why == STEP_SURPRISE : surprises + 1;
		first += outcome.done;
		if (first != again_at)
			again = 0;
		again_at = first;
		if (outcome.why != STEP_RETRY && again < SURPRISES_MAX && must_detach_again(batch, answers, first)) {
			plan[--first] = (struct plan){ 0 };	/* what was staged has its place */
			again++;
		}
	}
	/* What local programs did meanwhile to what was touched. */
	tree_forget_dirs(tree);
	if (!err && segment.look.n && reconcile_locked(tree, segment.look.v, segment.look.n))
		log_warn("apply: could not look again at what local programs changed; a later look "
			 "will find it");
	/* What is to be redone needs what was made ready for it. */
	for (uint32_t i = tree->needs_redo ? first + segment.n : first; i < total; i++) {
		segment.records = batch->records.records_val;
		segment.plan = plan;
		prepare_undo(&segment, i);
	}
	segment_release(&segment);
	free(plan);
	*io_n = first;
	if (!err && first < total)
		answers[first].error = (unsigned)(outcome.error ? outcome.error : EAGAIN);
	return err;
}

/* Takes no room but for the tables.  A program's removal may be a RENAME first: into its trash can, or where a file is open. */
static bool is_removal(const struct kml_record *record)
{
	return record->body.op == KML_REMOVE || record->body.op == KML_RMDIR || record->body.op == KML_RENAME;
}

/* 0, -ENOSPC: not even with what is kept for them. */
static int room_for_removals(struct tree *tree)
{
	if (!tree_has_room(tree, TREE_ROOM_MIN))
		return 0;
	(void)reserve_give_up(tree->reserve);
	return reserve_has_room(tree->reserve, TREE_ROOM_MIN) ? 0 : -ENOSPC;
}

/*
 * How far the batch can be gone through from record 'from' on: *ret_to.  On a full disk there is the reserve for the removals that come
 * next, since they are what makes room; nothing else is done with it.  0, -ENOSPC: not at all, or -errno.
 */
static int find_room(struct tree *tree, const struct kml_batch *batch, uint32_t from, uint32_t *ret_to)
{
	uint32_t to = batch->records.records_len;
	int err = reserve_is_tight(tree->reserve) ? -ENOSPC : tree_has_room(tree, TREE_ROOM_MIN + bytes_of(batch));

	if (err == -ENOSPC) {
		for (to = from; to < batch->records.records_len && to - from < REMOVALS_MAX &&
				is_removal(&batch->records.records_val[to]); to++)
			;
		if (to > from)
			err = room_for_removals(tree);
	}
	*ret_to = to;
	return err;
}

/* All that is new in a batch and that there is room for.  As apply_new(). */
static int apply_with_room(struct tree *tree, const struct kml_batch *batch, struct kml_answer *answers, uint32_t *io_n)
{
	struct kml_batch part = *batch;
	int err = 0;

	while (!err && *io_n < batch->records.records_len) {
		err = find_room(tree, batch, *io_n, &part.records.records_len);
		if (!err)
			err = apply_new(tree, &part, answers, io_n);
		reserve_fill(tree->reserve);
		if (*io_n < part.records.records_len)
			break;
	}
	return err;
}

static int apply_locked(struct tree *tree, const struct kml_batch *batch,
			struct kml_answer *answers)
{
	uint32_t total = batch->records.records_len, n = 0;
	unsigned error;
	int err;

	err = repeat_answers(tree, batch, answers, &n);
	if (err)
		return err;
	if (must_detach_again(batch, answers, n))
		n--;
	err = apply_with_room(tree, batch, answers, &n);
	if (err && n < total)
		answers[n].error = (unsigned)-err;
	if (err)
		log_warn("apply: batch not applied, the client will send it again: client=%016llx "
			 "records=%u: %s",
			 (unsigned long long)batch->client, total - n, strerror(-err));
	error = n < total ? answers[n].error : 0;
	for (uint32_t i = n; i < total; i++)
		answers[i] = (struct kml_answer){ .seq = batch->records.records_val[i].seq,
						  .status = KML_RETRY,
						  .error = error };
	/* Only thrift, and the next batch says it again. */
	if (total == 0 && batch->acked)
		(void)forget_acked(tree, batch->client, batch->acked);
	return 0;
}

int apply_batch(struct tree *tree, const struct kml_batch *batch, struct buf *answers_buf)
{
	struct kml_answers answers = { 0 };
	uint32_t n = batch->records.records_len;
	int err;

	err = check_batch(batch);
	if (err)
		return err;
	answers.answers.answers_val = calloc(n + 1, sizeof(struct kml_answer));
	if (!answers.answers.answers_val)
		return -ENOMEM;
	answers.answers.answers_len = n;
	err = apply_lock(tree);
	if (err) {
		kml_answers_release(&answers);
		return err;
	}
	err = apply_locked(tree, batch, answers.answers.answers_val);
	answers.position = tree->position;
	tree_unlock(tree);
	if (!err)
		err = kml_answers_encode(answers_buf, &answers);
	kml_answers_release(&answers);
	return err;
}
