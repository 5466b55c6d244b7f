/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/sending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "replicate/internal.h"

static void give_back(struct sending *sending);

static void move(struct sending *sending, enum sending_step step)
{
	sending->step = step;
	if (sending->is_dropped && step != SENDING_RETIRED && step != SENDING_OVER)
		give_back(sending);
	else
		sending->moved(sending);
}

static void fail(struct sending *sending, int err, const char *what, const char *trouble)
{
	sending->err = err;
	sending->what = what;
	sending->trouble = trouble && *trouble ? trouble : NULL;
	move(sending, SENDING_FAILED);
}

static void fail_here(struct sending *sending, int err, const char *what)
{
	sending->is_local = true;
	fail(sending, err, what, err == -EBUSY ? NULL : strerror(-err));
}

static void hand_over(struct sending *sending, enum sending_step step, void (*run)(struct work *),
		      void (*then)(struct work *))
{
	sending->step = step;
	sending->is_working = true;
	worker_post(sending->replicate->worker, &sending->work, run, then);
}

/* The next record's file is written all the time: it goes when it is quiet. */
static void fail_for_writer(struct sending *sending)
{
	fail_here(sending, -EBUSY, "a file is being written all the time and cannot be copied; it goes when it is quiet");
}

/* ---- the contents ---- */

static void read_batch(struct work *work)
{
	struct sending *sending = container_of(work, struct sending, work);
	struct replicate *r = sending->replicate;
	struct batch *batch = sending->batch;

	sending->work_err = batch_read_small(batch, r->cache);
	if (!sending->work_err && batch->n)
		sending->work_err = batch_encode(batch, r->client, r->host, cml_acked(r->cache));
	if (!sending->work_err && batch->n && sending->may_pack)
		batch_pack(batch);
}

static void batch_read(struct work *work)
{
	struct sending *sending = container_of(work, struct sending, work);
	struct batch *batch = sending->batch;

	sending->is_working = false;
	if (sending->work_err) {
		fail_here(sending, sending->work_err, "the cache cannot be read");
	} else if (!batch->n) {
		fail_for_writer(sending);
	} else {
		sending->last_seq = batch->taken->items[batch->n - 1].record.seq;
		sending->is_cut = batch->n < batch->n_taken;
		move(sending, SENDING_READY);
	}
}

static void stage_next(struct sending *sending, size_t from);

static void staged(struct stage *stage, int err)
{
	struct sending *sending = container_of(stage, struct sending, stage);
	struct batch_item *item = &sending->batch->items[sending->at];

	if (sending->is_dropped) {
		move(sending, SENDING_STAGE);
	} else if (!err) {
		item->is_staged = stage->key[0] != '\0';
		memcpy(item->key, stage->key, sizeof(item->key));
		stage_next(sending, sending->at + 1);
	} else if (err == -EBUSY && stage->is_local && sending->at) {
		/* What stands before it goes now, it and the rest later. */
		sending->batch->n = sending->at;
		stage_next(sending, sending->batch->n);
	} else if (err == -EBUSY && stage->is_local) {
		fail_for_writer(sending);
	} else if (stage->is_local) {
		fail_here(sending, err, "the cache cannot be read");
	} else {
		fail(sending, err, "the upstream does not take a large file", stage->request.trouble);
	}
}

void sending_fill_stage(struct replicate *replicate, struct stage *stage)
{
	stage->cache = replicate->cache;
	stage->http = &replicate->http;
	stage->worker = replicate->worker;
	stage->client = replicate->client;
	stage->portion = &replicate->quality.piece;
	stage->may_pack = replicate->probe.hello.has_zstd;
	stage->may_delta = replicate->probe.hello.has_deltas;
	stage->losses = &replicate->replay.losses;
}

static void stage_next(struct sending *sending, size_t from)
{
	struct stage *stage = &sending->stage;

	sending->at = batch_next_large(sending->batch, from);
	if (sending->at == sending->batch->n) {
		hand_over(sending, SENDING_READ, read_batch, batch_read);
		return;
	}
	sending->step = SENDING_STAGE;
	sending_fill_stage(sending->replicate, stage);
	stage->was_sent = sending->was_ahead;
	stage->item = &sending->batch->taken->items[sending->at];
	stage->done = staged;
	stage_start(stage);
}

void sending_start(struct sending *sending)
{
	sending->may_pack = sending->replicate->probe.hello.has_zstd;
	stage_next(sending, 0);
}

/* ---- the request ---- */

static void answered(struct http_request *request, int err)
{
	struct sending *sending = container_of(request, struct sending, request);

	if (!err)
		err = FAULT("replay.answer");
	if (!err) {
		err = batch_decode_answers(sending->batch, request, &sending->answers);
		request->trouble[0] = '\0';
	}
	log_debug(LOG_REPLAY, "replay: %s: seq=%llu to=%llu records=%zu http=%ld err=%d",
		  err ? "batch not answered" : "answered",
		  (unsigned long long)sending->batch->taken->items[0].record.seq,
		  (unsigned long long)sending->last_seq, sending->batch->n, request->status, err);
	http_request_release(request);
	if (err)
		fail(sending, err, "the upstream cannot take changes now", request->trouble);
	else
		move(sending, SENDING_ANSWERED);
}

void sending_post(struct sending *sending, uint64_t after)
{
	struct http_request *request = &sending->request;
	int err;

	sending->step = SENDING_POST;
	sending->is_posted = true;
	sending->after = after;
	batch_request(sending->batch, after, request);
	request->done = answered;
	log_debug(LOG_REPLAY, "replay: batch sent: seq=%llu to=%llu records=%zu body=%zu after=%llu",
		  (unsigned long long)sending->batch->taken->items[0].record.seq,
		  (unsigned long long)sending->last_seq, sending->batch->n, sending->batch->body.len,
		  (unsigned long long)after);
	err = http_start(&sending->replicate->http, request);
	if (err)
		fail_here(sending, err, "the request cannot be made");
}

/* ---- the answers ---- */

/* Answers are in order; from the first RETRY on they say nothing. */
static size_t count_settled(const struct kml_answers *answers)
{
	size_t n = 0;

	while (n < answers->answers.answers_len &&
	       answers->answers.answers_val[n].status != KML_RETRY)
		n++;
	return n;
}

static void run_retire(struct work *work)
{
	struct sending *sending = container_of(work, struct sending, work);

	sending->work_err = cml_retire(sending->replicate->cache, sending->batch->taken,
				       sending->answers.answers.answers_val, sending->n_settled);
}

static void retired(struct work *work)
{
	struct sending *sending = container_of(work, struct sending, work);

	sending->is_working = false;
	sending->err = sending->work_err;
	batch_free(sending->batch);
	sending->batch = NULL;
	kml_answers_release(&sending->answers);
	move(sending, SENDING_RETIRED);
}

void sending_retire(struct sending *sending)
{
	const struct kml_answers *answers = &sending->answers;
	size_t n = count_settled(answers);

	for (size_t i = 0; i < n; i++)
		sending->bytes_settled += sending->batch->taken->items[i].bytes;
	sending->n_settled = n;
	sending->position = answers->position;
	if (n < answers->answers.answers_len)
		sending->retry_error = answers->answers.answers_val[n].error ?
					       (int)answers->answers.answers_val[n].error : -1;
	hand_over(sending, SENDING_RETIRE, run_retire, retired);
}

/* ---- start and end ---- */

int sending_new(struct replicate *replicate, struct cml_batch *taken, void (*moved)(struct sending *),
		struct sending **ret_sending)
{
	struct sending *sending = calloc(1, sizeof(*sending));
	int err;

	if (!sending)
		return -ENOMEM;
	err = batch_new(taken, &sending->batch);
	if (err) {
		free(sending);
		return err;
	}
	sending->replicate = replicate;
	sending->moved = moved;
	stage_init(&sending->stage);
	sending->request.class = FLOW_AHEAD;
	*ret_sending = sending;
	return 0;
}

void sending_free(struct sending *sending)
{
	batch_free(sending->batch);
	kml_answers_release(&sending->answers);
	http_request_release(&sending->request);
	stage_release(&sending->stage);
	free(sending);
}

bool sending_is_under_way(const struct sending *sending)
{
	return sending->step >= SENDING_POST && sending->step <= SENDING_RETIRED && !sending->is_dropped;
}

/* ---- giving back ---- */

static void run_give_back(struct work *work)
{
	struct sending *sending = container_of(work, struct sending, work);

	cml_give_back(sending->replicate->cache, sending->batch->taken);
}

static void given_back(struct work *work)
{
	struct sending *sending = container_of(work, struct sending, work);

	sending->is_working = false;
	batch_free(sending->batch);
	sending->batch = NULL;
	move(sending, SENDING_OVER);
}

static void give_back(struct sending *sending)
{
	hand_over(sending, SENDING_GIVE_BACK, run_give_back, given_back);
}

void sending_drop(struct sending *sending)
{
	if (sending->is_dropped)
		return;
	sending->is_dropped = true;
	if (sending->is_working || sending->step == SENDING_RETIRED || sending->step == SENDING_OVER)
		return;
	if (sending->step == SENDING_STAGE && !stage_cancel(&sending->stage))
		return;
	if (sending->step == SENDING_POST)
		http_cancel(&sending->request);
	give_back(sending);
}
