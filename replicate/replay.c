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

static void advance_soon(struct replay *replay)
{
	if (replay->is_deferred)
		return;
	replay->is_deferred = true;
	loop_defer(replay->replicate->loop, &replay->job);
}

static struct sending *first(const struct replay *replay)
{
	return list_is_empty(&replay->sendings) ? NULL : list_first(&replay->sendings, struct sending, node);
}

static struct sending *last(const struct replay *replay)
{
	return list_is_empty(&replay->sendings) ? NULL : list_entry(replay->sendings.prev, struct sending, node);
}

static void remove_sending(struct replay *replay, struct sending *sending)
{
	list_del(&sending->node);
	replay->n_sendings--;
	sending_free(sending);
}

/* ---- waiting ---- */

static void idle(struct replay *replay)
{
	struct replicate *r = replay->replicate;

	replay->step = REPLAY_IDLE;
	loop_timer_cancel(r->loop, &replay->timer);
	replicate_note_replay(r, false, 0, 0);
	if (replay->was_woken) {
		replay->was_woken = false;
		replay_wake(replay);
	}
	if (replay->step == REPLAY_IDLE)
		replicate_replay_is_idle(r);
}

static void run(struct replay *replay)
{
	replay->step = REPLAY_RUN;
	replay->is_dry = false;
	advance_soon(replay);
}

static void timer_fired(struct loop_timer *timer)
{
	run(container_of(timer, struct replay, timer));
}

static void gather(struct replay *replay)
{
	loop_timer_set(replay->replicate->loop, &replay->timer, clock_us() + REPLAY_GATHER_US);
}

/*
 * Everything in the log is younger than the aging window.  A program's fsync ends no wait: what it means, that the data are
 * safe from a crash, is so.
 */
static void ripen(struct replay *replay)
{
	char why[160];

	if (!replay->young_since_us)
		replay->young_since_us = replay->looked_us;
	snprintf(why, sizeof(why), "on a weak link changes go when they are %llu s old; izo-nfsd --sync sends them now",
		 (unsigned long long)replay->pace.min_age_s);
	replicate_note_waits(replay->replicate, why);
	replicate_note_replay(replay->replicate, aside_is_busy(&replay->aside), 0, 0);
	replay->step = REPLAY_GATHER;
	loop_timer_set(replay->replicate->loop, &replay->timer, replay->looked_us + replay->young_us);
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

static void end_when_quiet(struct replay *replay)
{
	struct sending *sending, *next;

	list_each_safe(sending, next, &replay->sendings, node) {
		if (sending->step == SENDING_OVER || sending->step == SENDING_RETIRED)
			remove_sending(replay, sending);
	}
	if (replay->n_sendings || replay->is_taking || aside_is_busy(&replay->aside))
		return;
	if (!replay->is_started || !replay->hold_us)
		idle(replay);
	else
		hold(replay, replay->hold_us);
}

/* Give up all that is out; then hold so long, if not 0. */
static void end(struct replay *replay, uint64_t hold_us)
{
	struct sending *sending;

	replay->step = REPLAY_END;
	replay->hold_us = hold_us;
	loop_timer_cancel(replay->replicate->loop, &replay->timer);
	list_each(sending, &replay->sendings, node)
		sending_drop(sending);
	aside_stop(&replay->aside);
	advance_soon(replay);
}

/* ---- taking ---- */

static void moved(struct sending *sending)
{
	advance_soon(&sending->replicate->replay);
}

/*
 * Where the batch is to end, so that what is small need not wait for a large content to be sent ahead: the large one is a batch of
 * its own.
 */
static size_t end_of_part(const struct cml_batch *taken)
{
	for (size_t i = 0; i < taken->n; i++) {
		/* A DETACH is never parted from what it is for. */
		size_t from = i && taken->items[i - 1].record.body.op == KML_DETACH ? i - 1 : i;

		if (batch_is_large(&taken->items[i]))
			return from ? from : i + 1;
	}
	return taken->n;
}

/* Takes records, and cuts them into as many sendings as it needs. */
static void run_take(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, take_work);
	struct cache *cache = replay->replicate->cache;
	struct cml_batch *taken, *rest;
	struct sending *sending;
	int err;

	err = FAULT("replay.take");
	replay->took = (struct cml_taken){ 0 };
	if (!err)
		err = cml_take_wanted(cache, &replay->wants, &replay->took);
	taken = replay->took.batch;
	while (!err && taken) {
		size_t n = end_of_part(taken);

		rest = NULL;
		if (n < taken->n)
			err = cml_split(taken, n, &rest);
		if (!err)
			err = sending_new(replay->replicate, taken, moved, &sending);
		if (!err)
			list_append(&replay->taken, &sending->node);
		else
			cml_give_back(cache, taken);
		if (err && rest)
			cml_give_back(cache, rest);
		taken = rest;
	}
	replay->take_err = err;
}

/* How many may be on their way at a time. */
static size_t most_of(const struct replay *replay)
{
	return replay->pace.batches ? MIN(replay->pace.batches, REPLAY_BATCHES) : REPLAY_BATCHES;
}

/* What stands aside, by what the take found. */
static void sort_aside(struct replay *replay)
{
	const struct cml_taken *took = &replay->took;
	struct sending *sending;

	list_each(sending, &replay->taken, node) {
		const struct cml_item *item = sending->batch->taken->items;

		item += item->record.body.op == KML_DETACH;
		sending->was_ahead = batch_is_large(item) && aside_taken(&replay->aside, item->ino);
	}
	if (replay->step != REPLAY_END)
		aside_found(&replay->aside, &replay->wants, took, most_of(replay));
	replay->n_moved += took->n_moved;
	if (!took->has_more && replay->n_moved) {
		replay->move_us = clock_us() + replay->n_moved * REPLAY_MOVE_REST_US;
		replay->n_moved = 0;
	}
}

static void taken(struct work *work)
{
	struct replay *replay = container_of(work, struct replay, take_work);
	struct sending *sending, *next;

	replay->is_taking = false;
	replay->young_us = replay->took.young_us;
	sort_aside(replay);
	if (!list_is_empty(&replay->taken) || replay->took.has_more)
		replay->is_dry = false;
	list_each_safe(sending, next, &replay->taken, node) {
		list_del(&sending->node);
		list_append(&replay->sendings, &sending->node);
		replay->n_sendings++;
		if (replay->step == REPLAY_END)
			sending_drop(sending);
		else
			sending_start(sending);
	}
	if (replay->take_err) {
		hold_text(replay, "the log cannot be read", strerror(-replay->take_err));
		end(replay, replay->is_started ? backoff(replay, true) : 0);
	} else if (!replay->is_dry) {
		replay->young_since_us = 0;
		replicate_note_replay(replay->replicate, true, 0, 0);
	} else if (replay->step == REPLAY_RUN && replay->was_woken) {
		/* Something came while the log was looked through: who appends has said so, and does not again. */
		gather(replay);
	}
	advance_soon(replay);
}

static bool may_take(const struct replay *replay)
{
	const struct sending *sending;

	if (replay->is_taking || replay->is_dry || replay->n_sendings >= most_of(replay))
		return false;
	list_each(sending, &replay->sendings, node) {
		if (sending->is_cut || sending->is_dropped || sending->step == SENDING_FAILED)
			return false;
	}
	return true;
}

static void take(struct replay *replay)
{
	replay->was_woken = false;
	replay->is_dry = true;		/* unless it finds some, or somebody says in the mean that there may be some by now */
	replicate_note_waits(replay->replicate, replay->pace.may_replay ? NULL :
			     "the link is paid for: changes go when they are asked for, by izo-nfsd --sync");
	if (!replay->pace.may_replay) {
		aside_stop(&replay->aside);
		replay->young_us = 0;
		replay->took.is_held = false;
		replay->is_dry = true;	/* that aside_stop() moved some changes nothing */
		advance_soon(replay);
		return;
	}
	if (has_ripened(replay))
		replay->pace.min_age_s = 0;
	replay->looked_us = clock_us();
	replay->is_taking = true;
	replay->wants = (struct cml_wants){
		.max_records = replay->max_records,
		.max_bytes = MIN(replay->pace.bytes, (uint64_t)REPLAY_BYTES),
		.min_age_s = replay->pace.min_age_s,
		.large = BATCH_INLINE,
		.may_move = replay->looked_us >= replay->move_us,
		.has_detach = replay->replicate->probe.hello.has_detach,
		.ready = replay->ready,
		.n_ready = aside_ready(&replay->aside, replay->ready),
	};
	/* Before the log is looked at: what comes after that look is never missed. */
	atomic_store(&replay->wants_wake, true);
	worker_post(replay->replicate->worker, &replay->take_work, run_take, taken);
}

/* ---- what comes back ---- */

static const char *why_retry(int error)
{
	/* Removals would have been done (docs/PROTOCOL.md 7): what is next is no removal, and those behind it wait for it. */
	if (error == ENOSPC || error == EDQUOT)
		return "its disk is full; make room there, for what is removed here waits, too";
	return error > 0 ? strerror(error) : NULL;
}

/* Its answers are taken in.  False: that was the end for now. */
static bool settled(struct replay *replay, struct sending *sending)
{
	struct replicate *r = replay->replicate;
	int err = sending->err, retry = sending->retry_error;

	if (err)
		hold_text(replay, "the cache cannot take in the upstream's answers", strerror(-err));
	else if (retry)
		hold_text(replay, "the upstream cannot take changes now", why_retry(retry));
	else
		replicate_hold(r, aside_trouble(&replay->aside));
	if (!err && sending->n_settled) {
		replay->tries = 0;
		r->was_useful = true;
		replay->max_records = MIN(replay->max_records * SHRINK, (size_t)REPLAY_RECORDS);
		background_kick(&r->background);
	}
	replicate_note_position(r, sending->position);
	remove_sending(replay, sending);
	/* What waited for these answers can be taken now: another store of a file, say. */
	replay->is_dry = false;
	if (!err && !retry)
		return true;
	end(replay, backoff(replay, err != 0));
	return false;
}

static void retire(struct replay *replay, struct sending *sending)
{
	sending_retire(sending);
	replicate_note_replay(replay->replicate, true, sending->n_settled, sending->bytes_settled);
}

static void lost(struct replay *replay, struct sending *sending)
{
	end(replay, backoff(replay, false));
	/*
	 * Before anything else: whether they were done is for the upstream to say, next
	 * time.
	 */
	(void)replicate_lost_by(replay->replicate, sending->err, sending->trouble);
}

/* In parts, so that only what is really refused stays. */
static bool shrink(struct replay *replay, const struct sending *sending)
{
	if (replay->max_records <= 1)
		return false;
	replay->max_records = MAX(MIN(replay->max_records, sending->batch->n) / SHRINK, (size_t)1);
	return true;
}

/* It was posted and answered, but not with what was asked for. */
static void refused(struct replay *replay, struct sending *sending)
{
	const char *trouble = sending->trouble;
	bool is_lasting = true;

	switch (sending->err) {
	case -EINVAL:
	case -EMSGSIZE:
		hold_text(replay, "the upstream does not accept the records", trouble);
		is_lasting = !shrink(replay, sending);
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
		 trouble ? trouble : "malformed answer",
		 (unsigned long long)sending->batch->taken->items[0].record.seq, sending->batch->n);
	end(replay, backoff(replay, is_lasting));
}

/* All before it are retired. */
static void failed(struct replay *replay, struct sending *sending)
{
	if (sending->err == -ESTALE && sending->after) {
		/* It was not its turn, because of what was before it: now it is. */
		sending_drop(sending);
	} else if (sending->is_posted && !sending->is_local) {
		refused(replay, sending);
	} else {
		bool is_lasting = sending->is_local && sending->err != -EBUSY;

		hold_text(replay, sending->what, sending->trouble);
		end(replay, backoff(replay, is_lasting));
	}
}

/* ---- all of it ---- */

/* (3); true: something that ends all. */
static bool look_for_failed(struct replay *replay)
{
	struct sending *sending;
	bool is_stopped = false;

	list_each(sending, &replay->sendings, node) {
		bool is_failed = sending->step == SENDING_FAILED;

		if (is_failed && !sending->is_local && http_is_lost(sending->err)) {
			lost(replay, sending);
			return true;
		}
		if (is_stopped)
			sending_drop(sending);
		is_stopped |= is_failed || sending->is_cut || sending->is_dropped;
	}
	return false;
}

/* (1), (2) */
static void post_ready(struct replay *replay)
{
	bool may_wait = replay->replicate->probe.hello.may_wait;
	struct sending *sending, *before = NULL;

	list_each(sending, &replay->sendings, node) {
		if (sending->step == SENDING_READY && (!before || may_wait))
			sending_post(sending, before ? before->last_seq : 0);
		if (!sending_is_under_way(sending))
			return;
		before = sending;
	}
}

/* What is at its end, from either end of the list.  As settled(). */
static bool clear(struct replay *replay)
{
	struct sending *sending;

	while ((sending = last(replay)) && sending->step == SENDING_OVER) {
		remove_sending(replay, sending);
		/* Its records are in the log again, since whenever it was last found to be empty. */
		replay->is_dry = false;
	}
	while ((sending = first(replay)) && sending->step == SENDING_RETIRED) {
		if (!settled(replay, sending))
			return false;
	}
	return true;
}

/* Nothing is out, and nothing was to be taken. */
static void nothing_left(struct replay *replay)
{
	replicate_hold(replay->replicate, replay->forbidden ? replay->forbidden : aside_trouble(&replay->aside));
	if (replay->young_us) {
		/* The link has got better while they were looked for: they are not too young any more. */
		if (replay->pace.min_age_s < replay->wants.min_age_s)
			run(replay);
		else
			ripen(replay);
		return;
	}
	replay->young_since_us = 0;
	if (replay->took.is_held)
		loop_timer_set(replay->replicate->loop, &replay->timer, replay->move_us);
	/* A large content is on its way; aside_moved() goes on. */
	if (replay->took.is_held || aside_is_busy(&replay->aside)) {
		replicate_note_replay(replay->replicate, true, 0, 0);
		return;
	}
	if (replay->pace.may_replay)
		quality_asked_is_done(&replay->replicate->quality);
	idle(replay);
}

static void advance(struct replay *replay)
{
	struct sending *head;

	if (!clear(replay))
		return;
	if (look_for_failed(replay))
		return;
	head = first(replay);
	if (head && head->step == SENDING_FAILED)
		failed(replay, head);
	else if (head && head->step == SENDING_ANSWERED)
		retire(replay, head);
	if (replay->step != REPLAY_RUN)
		return;
	post_ready(replay);
	if (!replay->is_taking)
		replay->pace = quality_pace(&replay->replicate->quality);
	if (may_take(replay))
		take(replay);
	else if (!replay->n_sendings && !replay->is_taking)
		nothing_left(replay);
}

static void run_job(struct loop_job *job)
{
	struct replay *replay = container_of(job, struct replay, job);

	replay->is_deferred = false;
	if (replay->step == REPLAY_RUN)
		advance(replay);
	else if (replay->step == REPLAY_END)
		end_when_quiet(replay);
}

static void aside_moved(struct aside *aside)
{
	struct replay *replay = container_of(aside, struct replay, aside);

	replay->is_dry = false;
	if (replay->step == REPLAY_GATHER) {
		loop_timer_cancel(replay->replicate->loop, &replay->timer);
		run(replay);
	} else {
		advance_soon(replay);
	}
}

/* ---- from outside ---- */

void replay_wake(struct replay *replay)
{
	if (!replay->is_started || replay->forbidden)
		return;
	if (replay->step == REPLAY_IDLE) {
		replay->step = REPLAY_GATHER;
		gather(replay);
	} else if (replay->step == REPLAY_RUN && replay->is_dry && !replay->is_taking && !replay->was_woken) {
		replay->was_woken = true;
		gather(replay);
	} else if (replay->step != REPLAY_GATHER && replay->step != REPLAY_HELD) {
		replay->was_woken = true;
	}
}

void replay_now(struct replay *replay)
{
	if (!replay->is_started || replay->forbidden)
		return;
	if (replay->step == REPLAY_END) {
		replay->was_woken = true;
		replay->hold_us = 0;
		return;
	}
	loop_timer_cancel(replay->replicate->loop, &replay->timer);
	run(replay);
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
		if (aside_is_busy(&replay->aside))
			end(replay, 0);
		else
			idle(replay);
		return;
	case REPLAY_RUN:
		end(replay, 0);
		return;
	case REPLAY_END:
		replay->hold_us = 0;
		return;
	}
}

void replay_init(struct replay *replay, struct replicate *replicate)
{
	memset(replay, 0, sizeof(*replay));
	replay->replicate = replicate;
	replay->timer.fire = timer_fired;
	replay->job.run = run_job;
	replay->max_records = REPLAY_RECORDS;
	list_init(&replay->sendings);
	list_init(&replay->taken);
	aside_init(&replay->aside, replicate, aside_moved);
}

void replay_release(struct replay *replay)
{
	aside_release(&replay->aside);
}
