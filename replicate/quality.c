/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/quality.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/cml.h"
#include "replicate/internal.h"

#define LOOK_US (20 * US_PER_S)		/* whether it is time for another limit */

/* ---- what it is like ---- */

bool quality_is_weak(const struct quality *quality, char *ret_why)
{
	const struct meter *meter = &quality->replicate->http.meter;
	char figures[QUALITY_TEXT - 16];

	ret_why[0] = '\0';
	if (quality->kind == LINK_KIND_WEAK)
		snprintf(ret_why, QUALITY_TEXT, "it is said to be so");
	if (quality->kind == LINK_KIND_WEAK || quality->kind == LINK_KIND_STRONG)
		return quality->kind == LINK_KIND_WEAK;
	if (!meter->is_weak)
		return false;
	meter_print(meter, figures, sizeof(figures));
	snprintf(ret_why, QUALITY_TEXT, "measured%s%s", figures[0] ? ": " : "", figures);
	return true;
}

struct pace quality_pace(const struct quality *quality)
{
	const struct replicate *r = quality->replicate;

	return pace_of(r->state, quality->kind == LINK_KIND_PAID, quality->is_asked, r->http.meter.rate[METER_UP],
		       quality->window_s);
}

/* To the other state, where it is another. */
static void judge(struct quality *quality)
{
	struct replicate *r = quality->replicate;
	char why[QUALITY_TEXT];
	bool is_weak = quality_is_weak(quality, why);

	if (link_is_up(r->state) && is_weak != (r->state == LINK_WEAK))
		replicate_event(r, is_weak ? LINK_SLOW : LINK_FAST, why);
}

void quality_measured(struct http *http)
{
	struct replicate *r = container_of(http, struct replicate, http);

	r->quality.piece = quality_pace(&r->quality).bytes;
	replicate_note_meter(r);
	judge(&r->quality);
}

/* ---- what follows ---- */

static void limit(struct quality *quality)
{
	struct replicate *r = quality->replicate;
	const struct bandwidth *now = bandwidth_at(quality->limits, quality->n_limits, bandwidth_minute());
	uint64_t up = now ? now->up : 0, down = now ? now->down : 0;

	http_limit(&r->http, FLOW_UP, up);
	http_limit(&r->http, FLOW_DOWN, down);
	replicate_note_limits(r, up, down);
}

void quality_follow(struct quality *quality)
{
	struct replicate *r = quality->replicate;
	struct pace pace = quality_pace(quality);

	quality->piece = pace.bytes;
	atomic_store(&quality->may_hoard, pace.may_hoard);
	http_set_share(&r->http, pace.share);
	limit(quality);
	replicate_note_meter(r);
}

void quality_ask(struct quality *quality)
{
	quality->is_asked = true;
	quality_follow(quality);
}

void quality_asked_is_done(struct quality *quality)
{
	if (!quality->is_asked)
		return;
	quality->is_asked = false;
	quality_follow(quality);
}

static enum link_kind kind_of(const struct quality *quality)
{
	unsigned word = cml_link_word(quality->replicate->cache);

	return word && word <= LINK_KINDS ? (enum link_kind)(word - 1) : quality->configured;
}

void quality_follow_user(struct quality *quality)
{
	struct replicate *r = quality->replicate;
	enum link_kind kind = kind_of(quality);

	if (kind == quality->kind)
		return;
	quality->kind = kind;
	quality_follow(quality);
	judge(quality);
	if (link_is_up(r->state))
		replicate_go_on(r);
}

void quality_lost(struct quality *quality)
{
	quality->is_asked = false;
	http_cancel(&quality->sounding);
	meter_forget(&quality->replicate->http.meter);
	replicate_note_meter(quality->replicate);
}

/* ---- looking by itself ---- */

/* What it took is measured with all others; what it says is of no interest. */
static void sounded(struct http_request *request, int err)
{
	struct quality *quality = container_of(request, struct quality, sounding);

	if (err)
		(void)replicate_lost_by(quality->replicate, err, request->trouble);
}

static void sound(struct quality *quality)
{
	struct replicate *r = quality->replicate;
	struct http_request *request = &quality->sounding;
	uint64_t now = clock_us();

	if (r->state != LINK_WEAK || quality->kind != LINK_KIND_AUTO || http_is_active(request) ||
	    now - quality->sounded_us < QUALITY_SOUND_US)
		return;
	quality->sounded_us = now;
	request->method = "GET";
	request->class = FLOW_CONTROL;
	request->is_quick = true;
	request->done = sounded;
	snprintf(request->path, sizeof(request->path), "/izo/v1/hello?client=%016" PRIx64, r->client);
	(void)http_start(&r->http, request);	/* without memory: the next time */
}

static void look(struct loop_timer *timer)
{
	struct quality *quality = container_of(timer, struct quality, timer);

	loop_timer_set(quality->replicate->loop, timer, clock_us() + LOOK_US);
	limit(quality);
	sound(quality);
}

/* ---- begin and end ---- */

int quality_init(struct quality *quality, struct replicate *replicate, const struct replicate_config *config)
{
	memset(quality, 0, sizeof(*quality));
	quality->replicate = replicate;
	quality->window_s = config->window_s;
	quality->configured = config->kind;
	quality->kind = kind_of(quality);
	quality->timer.fire = look;
	replicate->http.measured = quality_measured;
	if (config->n_limits) {
		quality->limits = calloc(config->n_limits, sizeof(*quality->limits));
		if (!quality->limits)
			return -ENOMEM;
		memcpy(quality->limits, config->limits, config->n_limits * sizeof(*quality->limits));
		quality->n_limits = config->n_limits;
	}
	quality_follow(quality);
	loop_timer_set(replicate->loop, &quality->timer, clock_us() + LOOK_US);
	return 0;
}

void quality_release(struct quality *quality)
{
	if (!quality->replicate)
		return;
	loop_timer_cancel(quality->replicate->loop, &quality->timer);
	http_request_release(&quality->sounding);
	free(quality->limits);
	quality->limits = NULL;
}
