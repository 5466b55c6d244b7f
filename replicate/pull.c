/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/pull.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/apply.h"
#include "replicate/internal.h"

#define EMPTY_PAUSE_US (1 * US_PER_S)	/* after an answer that had nothing and did not wait */
#define CACHE_PAUSE_US (30 * US_PER_S)	/* after the cache would not take it */
#define RESET_AGAIN_US (30 * US_PER_S)	/* two resets nearer than this make no sense */

static void drop_entries(struct pull *pull)
{
	for (size_t i = 0; i < pull->n; i++)
		kml_entry_release(&pull->entries[i]);
	pull->n = 0;
}

static int take_in(struct pull *pull, uint64_t position)
{
	int err = FAULT("pull.apply");

	apply_next_mark(pull->replicate->cache, &pull->mark);
	if (!err)
		err = apply_entries(pull->replicate->cache, pull->entries, pull->n, position);
	log_debug(LOG_PULL, "pull: entries taken in: n=%zu position=%" PRIu64 " err=%d", pull->n,
		  position, err);
	if (err)
		log_error("pull: the cache does not take in what changed upstream, trying again in "
			  "%llu s: %s",
			  CACHE_PAUSE_US / US_PER_S, strerror(-err));
	drop_entries(pull);
	return err ? -ECANCELED : 0;
}

static int entry_came(void *arg, struct slice body)
{
	struct pull *pull = arg;
	struct kml_entry *entry = &pull->entries[pull->n];
	int err;

	err = kml_entry_decode(body.data, body.len, entry);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	pull->n++;
	if (entry->position <= pull->at)
		return -EBADMSG;
	pull->at = entry->position;
	pull->mark = (struct kml_mark){ pull->at, kml_entry_mark(body) };
	return pull->n == PULL_CHUNK ? take_in(pull, pull->at) : 0;
}

static int bytes_came(struct http_request *request, const void *data, size_t len)
{
	struct pull *pull = container_of(request, struct pull, request);

	return frames_feed(&pull->frames, data, len, entry_came, pull);
}

static void again_in(struct pull *pull, uint64_t us)
{
	loop_timer_set(pull->replicate->loop, &pull->again, clock_us() + us);
}

/* The journal does not reach back to where the cache stands. */
static void fell_behind(struct pull *pull)
{
	struct replicate *r = pull->replicate;
	uint64_t now = clock_us();

	if (pull->reset_us && now - pull->reset_us < RESET_AGAIN_US) {
		replicate_event(r, LINK_LOST,
				"the upstream's journal does not go on from the position it gave");
		return;
	}
	pull->reset_us = now;
	log_info("pull: the upstream's journal does not reach back to position %" PRIu64
		 ", listing the tree again", apply_position(r->cache));
	/*
	 * The upstream says anew who it is and where it stands; then replicate.c resets the cache
	 * and starts us.
	 */
	replicate_probe(r);
}

static void finish_well(struct pull *pull)
{
	struct replicate *r = pull->replicate;
	bool had_entries = pull->at > apply_position(r->cache) || pull->n;
	uint64_t position = pull->at;

	if (pull->request.has_position && pull->request.position > position)
		position = pull->request.position;
	if ((pull->n || position > apply_position(r->cache)) && take_in(pull, position)) {
		again_in(pull, CACHE_PAUSE_US);
		return;
	}
	replicate_note_position(r, position);
	r->was_useful = true;
	/*
	 * A server that does not wait, or whose clock runs otherwise, must not be asked without
	 * end.
	 */
	if (quality_pace(&r->quality).pull_us)
		again_in(pull, quality_pace(&r->quality).pull_us);
	else if (!had_entries && clock_us() - pull->started_us < EMPTY_PAUSE_US)
		again_in(pull, EMPTY_PAUSE_US);
	else
		pull_start(pull);
	background_kick(&r->background);
}

static void answer_ended(struct http_request *request, int err)
{
	struct pull *pull = container_of(request, struct pull, request);
	struct replicate *r = pull->replicate;
	bool is_ended = pull->frames.is_ended;
	char why[256];

	if (!err && is_ended) {
		finish_well(pull);
		return;
	}
	switch (err) {
	case -EIDRM:
		fell_behind(pull);
		return;
	case -EBADE:
		replicate_event(r, LINK_REFUSED,
				"the upstream's journal ends before what this cache has seen of "
				"it: it was put back to an older state");
		return;
	case -ECANCELED:
		again_in(pull, CACHE_PAUSE_US);
		return;
	}
	/* What broke off is good as far as it goes; what is malformed is good for nothing. */
	if (pull->n && err != -EBADMSG && !take_in(pull, pull->at))
		background_kick(&r->background);
	if (!err)
		snprintf(why, sizeof(why), "the upstream's journal broke off");
	else if (err == -EBADMSG)
		snprintf(why, sizeof(why), "the upstream's journal is malformed");
	else
		snprintf(why, sizeof(why), "%s", request->trouble);
	replicate_event(r, LINK_LOST, why);
}

void pull_start(struct pull *pull)
{
	struct replicate *r = pull->replicate;
	struct http_request *request = &pull->request;
	int wait_s;

	pull_stop(pull);
	pull->is_started = true;
	if (pull->is_paused)
		return;
	pull->at = apply_position(r->cache);
	pull->mark = (struct kml_mark){ 0 };
	pull->started_us = clock_us();
	frames_init(&pull->frames);
	wait_s = quality_pace(&r->quality).pull_us ? 0 : PULL_WAIT_S;
	request->method = "GET";
	request->class = FLOW_CONTROL;
	request->sink = bytes_came;
	request->done = answer_ended;
	request->stall_s = PULL_WAIT_S + HTTP_STALL_S;
	snprintf(request->path, sizeof(request->path), "/izo/v1/journal?from=%" PRIu64 "&wait=%d",
		 pull->at, wait_s);
	if (http_start(&r->http, request))
		again_in(pull, EMPTY_PAUSE_US);	/* no memory: there may be some later */
}

static void again_fired(struct loop_timer *timer)
{
	pull_start(container_of(timer, struct pull, again));
}

void pull_stop(struct pull *pull)
{
	pull->is_started = false;
	http_cancel(&pull->request);
	loop_timer_cancel(pull->replicate->loop, &pull->again);
	drop_entries(pull);
	frames_release(&pull->frames);
}

void pull_pause(struct pull *pull, bool is_paused)
{
	bool is_started = pull->is_started;

	if (pull->is_paused == is_paused)
		return;
	pull->is_paused = is_paused;
	if (!is_started)
		return;
	pull_stop(pull);
	pull_start(pull);
}

int pull_init(struct pull *pull, struct replicate *replicate)
{
	memset(pull, 0, sizeof(*pull));
	pull->replicate = replicate;
	pull->again.fire = again_fired;
	pull->entries = calloc(PULL_CHUNK, sizeof(*pull->entries));
	return pull->entries ? 0 : -ENOMEM;
}

void pull_release(struct pull *pull)
{
	if (!pull->entries)
		return;
	pull_stop(pull);
	http_request_release(&pull->request);
	free(pull->entries);
	pull->entries = NULL;
}
