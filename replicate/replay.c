/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/replay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "replicate/internal.h"

#define SHRINK 8			/* a refused batch is tried again in parts of it */

static void take(struct replay *replay);
static void give_back(struct replay *replay, uint64_t hold_us);

static void hand_over(struct replay *replay, enum replay_step step, void (*run)(struct work *),
		      void (*then)(struct work *))
{
	replay->step = step;
	replay->work.run = run;
	replay->work.done = then;
	worker_post(replay->replicate->worker, &replay->work);
}

/* ---- waiting ---- */

static void idle(struct replay *replay)
{
	struct replicate *r = replay->replicate;

	replay->step = REPLAY_IDLE;
	replay->must_stop = false;
	replicate_note_replay(r, false, 0, 0);
	if (replay->was_woken) {
		replay->was_woken = false;
		replay_wake(replay);
	}
	if (replay->step == REPLAY_IDLE)
		replicate_replay_is_idle(r);
}

static void timer_fired(struct loop_timer *timer)
{
	take(container_of(timer, struct replay, timer));
}

static void gather(struct replay *replay)
{
	replay->step = REPLAY_GATHER;
	loop_timer_set(replay->replicate->loop, &replay->timer, clock_us() + REPLAY_GATHER_US);
}

/*
 * Everything in the log is younger than the aging window.  A program's fsync ends no wait: what it means, that the data are
 * safe from a crash, is so.
 */
static void ripen(struct replay *replay)
{
	uint64_t now_us = clock_us();
	char why[160];

	if (!replay->young_since_us)
		replay->young_since_us = now_us;
	snprintf(why, sizeof(why), "on a weak link changes go when they are %llu s old; izo-nfsd --sync sends them now",
		 (unsigned long long)replay->pace.min_age_s);
	replicate_note_waits(replay->replicate, why);
	replicate_note_replay(replay->replicate, false, 0, 0);
	replay->step = REPLAY_GATHER;
	loop_timer_set(replay->replicate->loop, &replay->timer, now_us + replay->young_us);
}

static bool has_ripened(const struct replay *replay)
{
	return replay->young_since_us &&
	       clock_us() - replay->young_since_us >= REPLAY_WINDOWS * replay->pace.min_age_s * US_PER_S;
}

/* Try again after a while; why the log does not drain is told already. */
static void hold(struct replay *replay, uint64_t us)
{
	replay->step = REPLAY_HELD;
	replicate_note_replay(replay->replicate, false, 0, 0);
	loop_timer_set(replay->replicate->loop, &replay->timer, clock_us() + us);
}

/* How long, after a trouble that may pass by itself or (is_lasting) only with somebody's help. */
static uint64_t backoff(struct replay *replay, bool is_lasting)
{
	unsigned tries = replay->tries++;

	return link_backoff_us(is_lasting ? MAX(tries, LINK_TRIES_LONG + 1u) : tries,
			       replicate_random());
}

static void hold_text(struct replay *replay, const char *what, const char *why)
{
	char text[256];

	snprintf(text, sizeof(text), "%s%s%s", what, why ? ": " : "", why ? why : "");
	replicate_hold(replay->replicate, text);
}

/* ---- giving back ---- */

static void run_give_back(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);

	cml_give_back(replay->replicate->cache, replay->batch->taken);
}

static void given_back(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);

	batch_free(replay->batch);
	replay->batch = NULL;
	if (replay->must_stop || !replay->is_started || !replay->hold_us)
		idle(replay);
	else
		hold(replay, replay->hold_us);
}

static void give_back(struct replay *replay, uint64_t hold_us)
{
	replay->hold_us = hold_us;
	hand_over(replay, REPLAY_GIVE_BACK, run_give_back, given_back);
}

/* ---- taking in the answers ---- */

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
	struct replay *replay = container_of(work, struct replay, work);
	const struct kml_answers *answers = &replay->answers;

	replay->work_err = cml_retire(replay->replicate->cache, replay->batch->taken,
				      answers->answers.answers_val, count_settled(answers));
}

static void retired(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);
	struct replicate *r = replay->replicate;
	size_t asked = replay->answers.answers.answers_len, n = count_settled(&replay->answers);
	const struct kml_answer *retry = n < asked ? &replay->answers.answers.answers_val[n] : NULL;

	batch_free(replay->batch);
	replay->batch = NULL;
	if (replay->work_err)
		hold_text(replay, "the cache cannot take in the upstream's answers",
			  strerror(-replay->work_err));
	else if (retry)
		hold_text(replay, "the upstream cannot take changes now",
			  retry->error ? strerror((int)retry->error) : NULL);
	else
		replicate_hold(r, NULL);
	if (!replay->work_err && n) {
		replay->tries = 0;
		r->was_useful = true;
		replay->max_records = MIN(replay->max_records * SHRINK, (size_t)BATCH_RECORDS);
		background_kick(&r->background);
	}
	replicate_note_position(r, replay->answers.position);
	kml_answers_release(&replay->answers);
	if (replay->must_stop || !replay->is_started)
		idle(replay);
	else if (replay->work_err || retry)
		hold(replay, backoff(replay, replay->work_err != 0));
	else
		take(replay);
}

static void retire(struct replay *replay)
{
	size_t n = count_settled(&replay->answers);
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += replay->batch->taken->items[i].bytes;
	replicate_note_replay(replay->replicate, true, n, bytes);
	hand_over(replay, REPLAY_RETIRE, run_retire, retired);
}

/* ---- the request ---- */

static void refused(struct replay *replay, int err)
{
	const char *trouble = replay->request.trouble;
	bool is_lasting = true;

	switch (err) {
	case -EINVAL:
	case -EMSGSIZE:
		hold_text(replay, "the upstream does not accept the records", trouble);
		if (replay->max_records > 1) {
			/* In parts, so that only what is really refused stays. */
			replay->max_records =
				MAX(MIN(replay->max_records, replay->batch->n) / SHRINK, (size_t)1);
			is_lasting = false;
		}
		break;
	case -EBADE:
		hold_text(
			replay,
			"the upstream has done these records but no longer knows with what result",
			trouble);
		break;
	case -EBADMSG:
		hold_text(replay, "the upstream's answer to the records is malformed", NULL);
		break;
	case -EACCES:
	case -ENOENT:
		hold_text(replay, "the upstream does not let this client replay", trouble);
		break;
	default:
		hold_text(replay, "the upstream cannot take changes now", trouble);
		is_lasting = false;
		break;
	}
	log_warn("replay: batch refused, trying again later: %s first=%llu records=%zu",
		 trouble[0] ? trouble : "malformed answer",
		 (unsigned long long)replay->batch->taken->items[0].record.seq, replay->batch->n);
	give_back(replay, backoff(replay, is_lasting));
}

static void answered(struct http_request *request, int err)
{
	struct replay *replay = container_of(request, struct replay, request);

	if (!err)
		err = FAULT("replay.answer");
	if (!err)
		err = batch_decode_answers(replay->batch, request, &replay->answers);
	if (err)
		log_debug(LOG_REPLAY, "replay: batch not answered: records=%zu http=%ld err=%d", replay->batch->n,
			  request->status, err);
	http_request_release(request);
	if (!err) {
		log_debug(LOG_REPLAY, "replay: answered: records=%zu", replay->batch->n);
		retire(replay);
	} else if (!http_is_lost(err)) {
		refused(replay, err);
	} else {
		give_back(replay, backoff(replay, false));
		/*
		 * Before anything else: whether they were done is for the upstream to say, next
		 * time.
		 */
		(void)replicate_lost_by(replay->replicate, err, request->trouble);
	}
}

static void post(struct replay *replay)
{
	struct http_request *request = &replay->request;
	int err;

	replay->step = REPLAY_POST;
	batch_request(replay->batch, request);
	request->done = answered;
	log_debug(LOG_REPLAY, "replay: batch sent: seq=%llu to=%llu records=%zu body=%zu",
		  (unsigned long long)replay->batch->taken->items[0].record.seq,
		  (unsigned long long)replay->batch->taken->items[replay->batch->n - 1].record.seq,
		  replay->batch->n, replay->batch->body.len);
	err = http_start(&replay->replicate->http, request);
	if (err)
		give_back(replay, backoff(replay, false));
}

/* ---- the contents ---- */

static void read_batch(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);
	struct replicate *r = replay->replicate;

	replay->work_err = batch_read_small(replay->batch, r->cache);
	if (!replay->work_err && replay->batch->n)
		replay->work_err = batch_encode(replay->batch, r->client, r->host,
						cml_acked(r->cache));
}

/*
 * The next record's file is written all the time: what stands before it goes now, it and the rest
 * later.
 */
static void hold_for_writer(struct replay *replay)
{
	hold_text(replay,
		  "a file is being written all the time and cannot be copied; it goes when it is "
		  "quiet",
		  NULL);
	give_back(replay, backoff(replay, false));
}

static void batch_read(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);

	if (replay->must_stop) {
		give_back(replay, 0);
	} else if (replay->work_err) {
		hold_text(replay, "the cache cannot be read", strerror(-replay->work_err));
		give_back(replay, backoff(replay, true));
	} else if (!replay->batch->n) {
		hold_for_writer(replay);
	} else {
		post(replay);
	}
}

static void stage_next(struct replay *replay, size_t from);

static void staged(struct stage *stage, int err)
{
	struct replay *replay = container_of(stage, struct replay, stage);
	struct batch *batch = replay->batch;
	struct batch_item *item = &batch->items[replay->at];

	if (replay->must_stop) {
		give_back(replay, 0);
	} else if (!err) {
		item->is_staged = stage->key[0] != '\0';
		memcpy(item->key, stage->key, sizeof(item->key));
		stage_next(replay, replay->at + 1);
	} else if (err == -EBUSY && stage->is_local && replay->at) {
		batch->n = replay->at;
		stage_next(replay, batch->n);
	} else if (err == -EBUSY && stage->is_local) {
		hold_for_writer(replay);
	} else if (stage->is_local) {
		hold_text(replay, "the cache cannot be read", strerror(-err));
		give_back(replay, backoff(replay, true));
	} else if (http_is_lost(err)) {
		give_back(replay, backoff(replay, false));
		(void)replicate_lost_by(replay->replicate, err, stage->request.trouble);
	} else {
		hold_text(replay, "the upstream does not take a large file",
			  stage->request.trouble);
		give_back(replay, backoff(replay, false));
	}
}

static void stage_next(struct replay *replay, size_t from)
{
	struct replicate *r = replay->replicate;
	struct stage *stage = &replay->stage;

	replay->at = batch_next_large(replay->batch, from);
	if (replay->at == replay->batch->n) {
		hand_over(replay, REPLAY_READ, read_batch, batch_read);
		return;
	}
	replay->step = REPLAY_STAGE;
	stage->cache = r->cache;
	stage->http = &r->http;
	stage->worker = r->worker;
	stage->client = r->client;
	stage->item = &replay->batch->taken->items[replay->at];
	stage->piece = &r->quality.piece;
	stage->may_delta = r->probe.hello.has_deltas;
	stage->done = staged;
	stage_start(stage);
}

/* ---- taking ---- */

static void run_take(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);
	struct cml_batch *taken = NULL;

	replay->work_err = FAULT("replay.take");
	if (!replay->work_err)
		replay->work_err = cml_take_aged(replay->replicate->cache, replay->max_records,
						 MIN(replay->pace.bytes, (uint64_t)BATCH_BYTES),
						 replay->pace.min_age_s, &taken, &replay->young_us);
	if (replay->work_err || !taken)
		return;
	replay->work_err = batch_new(taken, &replay->batch);
	if (replay->work_err)
		cml_give_back(replay->replicate->cache, taken);
}

static void taken(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, work);

	replay->hold_us = 0;
	if (replay->work_err) {
		hold_text(replay, "the log cannot be read", strerror(-replay->work_err));
		if (replay->must_stop || !replay->is_started)
			idle(replay);
		else
			hold(replay, backoff(replay, true));
	} else if (!replay->batch) {
		replicate_hold(replay->replicate, replay->forbidden);
		if (replay->young_us && !replay->must_stop && replay->is_started) {
			ripen(replay);
			return;
		}
		replay->young_since_us = 0;
		quality_asked_is_done(&replay->replicate->quality);
		idle(replay);
	} else if (replay->must_stop) {
		give_back(replay, 0);
	} else {
		replay->young_since_us = 0;
		replicate_note_replay(replay->replicate, true, 0, 0);
		stage_next(replay, 0);
	}
}

static void take(struct replay *replay)
{
	replay->was_woken = false;
	replay->pace = quality_pace(&replay->replicate->quality);
	replicate_note_waits(replay->replicate, replay->pace.may_replay ? NULL :
			     "the link is paid for: changes go when they are asked for, by izo-nfsd --sync");
	if (!replay->pace.may_replay) {
		idle(replay);
		return;
	}
	if (has_ripened(replay))
		replay->pace.min_age_s = 0;
	/* Before the log is looked at: what comes after that look is never missed. */
	atomic_store(&replay->wants_wake, true);
	hand_over(replay, REPLAY_TAKE, run_take, taken);
}

/* ---- from outside ---- */

void replay_wake(struct replay *replay)
{
	if (!replay->is_started || replay->forbidden)
		return;
	if (replay->step == REPLAY_IDLE)
		gather(replay);
	else if (replay->step != REPLAY_GATHER && replay->step != REPLAY_HELD)
		replay->was_woken = true;
}

void replay_now(struct replay *replay)
{
	if (!replay->is_started || replay->forbidden)
		return;
	if (replay->step == REPLAY_GATHER || replay->step == REPLAY_HELD) {
		loop_timer_cancel(replay->replicate->loop, &replay->timer);
		take(replay);
	} else if (replay->step == REPLAY_IDLE) {
		take(replay);
	} else {
		replay->was_woken = true;
	}
}

void replay_go_on(struct replay *replay)
{
	if (!replay->is_started || replay->forbidden)
		return;
	if (replay->step == REPLAY_GATHER)
		gather(replay);
	else
		replay_wake(replay);
}

void replay_start(struct replay *replay, const char *forbidden)
{
	replay->is_started = true;
	replay->forbidden = forbidden;
	replicate_hold(replay->replicate, forbidden);
	replay_wake(replay);
}

void replay_stop(struct replay *replay)
{
	replay->is_started = false;
	switch (replay->step) {
	case REPLAY_IDLE:
		replicate_replay_is_idle(replay->replicate);
		return;
	case REPLAY_GATHER:
	case REPLAY_HELD:
		loop_timer_cancel(replay->replicate->loop, &replay->timer);
		idle(replay);
		return;
	case REPLAY_POST:
		http_cancel(&replay->request);
		give_back(replay, 0);
		return;
	case REPLAY_STAGE:
		replay->must_stop = true;
		if (stage_cancel(&replay->stage))
			give_back(replay, 0);
		return;
	case REPLAY_TAKE:
	case REPLAY_READ:
	case REPLAY_RETIRE:
	case REPLAY_GIVE_BACK:
		replay->must_stop = true;
		return;
	}
}

void replay_init(struct replay *replay, struct replicate *replicate)
{
	memset(replay, 0, sizeof(*replay));
	replay->replicate = replicate;
	replay->timer.fire = timer_fired;
	replay->max_records = BATCH_RECORDS;
	replay->request.class = FLOW_AHEAD;
	stage_init(&replay->stage);
}

void replay_release(struct replay *replay)
{
	http_request_release(&replay->request);
	stage_release(&replay->stage);
}
