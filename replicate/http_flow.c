/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What flow.h says, done with curl's requests: some begin later, the bodies of some are paused; and what they tell of the
 * link (meter.h).
 */
#include "replicate/http.h"

#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "replicate/http_internal.h"

#define SMALL (8u << 10)			/* a body that goes in the first window of TCP (RFC 6928) */
#define AGAIN_US (1 * US_PER_S)		/* there was no memory */

/* Look again in so long, or sooner where that is set already. */
static void look_in(struct http *http, uint64_t us)
{
	uint64_t at_us = clock_us() + us;

	if (!list_is_linked(&http->flow_timer.node) || http->flow_timer.at_us > at_us)
		loop_timer_set(http->loop, &http->flow_timer, at_us);
}

/* ---- beginning ---- */

int http_flow_start(struct http_request *request)
{
	struct http *http = request->http;
	uint64_t now = clock_us(), wait_us = flow_start_wait_us(&http->flow, request->class, request->waits_since_us, now);

	request->is_held = wait_us != 0;
	if (request->is_held) {
		if (!request->waits_since_us)
			request->waits_since_us = now;
		look_in(http, wait_us);
		return 0;
	}
	request->waits_since_us = 0;
	if (curl_multi_add_handle(http->multi, request->easy))
		return -1;
	flow_began(&http->flow, request->class);
	request->has_begun = true;
	return 0;
}

/* ---- bodies ---- */

/* Must it wait with more of its body?  Then it is paused, and goes on by itself. */
static bool holds(struct http_request *request, enum flow_way way)
{
	struct http *http = request->http;
	uint64_t now = clock_us(), wait_us = flow_wait_us(&http->flow, request->class, way, request->waits_since_us, now);

	if (!wait_us) {
		request->waits_since_us = 0;
		return false;
	}
	if (!request->waits_since_us)
		request->waits_since_us = now;
	request->was_paused = true;
	request->paused |= 1u << way;
	look_in(http, wait_us);
	return true;
}

static void moved(struct http_request *request, enum flow_way way, size_t n)
{
	struct http *http = request->http;

	if (!request->first_us[way]) {
		request->first_us[way] = clock_us();
		request->moved_before[way] = http->moved[way];
	}
	http->moved[way] += n;
	flow_moved(&http->flow, way, n, clock_us());
}

static ssize_t body_take(struct http_request *request, void *to, size_t n)
{
	if (request->source)
		return request->source(request, to, n);
	memcpy(to, (const char *)request->body + request->body_at, n);
	return (ssize_t)n;
}

size_t http_body_goes(char *to, size_t size, size_t n, void *arg)
{
	struct http_request *request = arg;
	size_t left = request->source ? size * n : request->body_len - request->body_at;
	ssize_t got;

	if (!left)
		return 0;
	if (holds(request, FLOW_UP))
		return CURL_READFUNC_PAUSE;
	got = body_take(request, to, flow_piece(&request->http->flow, FLOW_UP, MIN(size * n, left)));
	if (got == HTTP_WAIT) {
		/* We wait for our own disk: what that takes says nothing of the link. */
		request->is_source_waiting = request->was_paused = true;
		return CURL_READFUNC_PAUSE;
	}
	if (got < 0) {
		request->sink_err = (int)got;
		return CURL_READFUNC_ABORT;
	}
	request->body_at += (size_t)got;
	if (got)
		moved(request, FLOW_UP, (size_t)got);
	return (size_t)got;
}

/* curl found that a connection of before was closed, and begins anew on another one. */
int http_body_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_request *request = arg;

	if (origin != SEEK_SET || offset < 0)
		return CURL_SEEKFUNC_FAIL;
	if (request->source ? (size_t)offset != request->body_at : (uint64_t)offset > request->body_len)
		return CURL_SEEKFUNC_FAIL;
	request->body_at = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

bool http_body_may_come(struct http_request *request, size_t n)
{
	if (holds(request, FLOW_DOWN))
		return false;
	moved(request, FLOW_DOWN, n);
	return true;
}

/* ---- going on ---- */

static void unpause(struct http_request *request, uint64_t now)
{
	static const int bits[FLOW_WAYS] = { [FLOW_UP] = CURLPAUSE_SEND, [FLOW_DOWN] = CURLPAUSE_RECV };
	unsigned was = request->paused;
	int paused = 0;

	for (int way = 0; way < FLOW_WAYS; way++) {
		uint64_t wait_us;

		if (!(was & 1u << way))
			continue;
		wait_us = flow_wait_us(&request->http->flow, request->class, way, request->waits_since_us, now);
		if (wait_us) {
			paused |= bits[way];
			look_in(request->http, wait_us);
		} else {
			request->paused &= ~(1u << way);
		}
	}
	/* It may call back, and be paused anew, in this call. */
	if (request->paused != was)
		(void)curl_easy_pause(request->easy, paused);
}

void http_more(struct http_request *request)
{
	if (!request->easy || !request->is_source_waiting)
		return;
	request->is_source_waiting = false;
	/* Where it has to wait besides, it goes on when that is over; what goes wrong here ends it, which is told like any other end. */
	if (!(request->paused & 1u << FLOW_UP))
		(void)curl_easy_pause(request->easy, request->paused & 1u << FLOW_DOWN ? CURLPAUSE_RECV : CURLPAUSE_CONT);
}

static void go_on(struct loop_timer *timer)
{
	struct http *http = container_of(timer, struct http, flow_timer);
	struct http_request *request;
	uint64_t now = clock_us();

	list_each(request, &http->requests, node) {
		if (request->is_held && http_flow_start(request)) {
			request->is_held = true;
			look_in(http, AGAIN_US);
		} else if (request->paused) {
			unpause(request, now);
		}
	}
}

void http_limit(struct http *http, enum flow_way way, uint64_t rate)
{
	flow_limit(&http->flow, way, rate, clock_us());
	look_in(http, 0);
}

void http_set_share(struct http *http, unsigned share)
{
	flow_set_share(&http->flow, share);
	look_in(http, 0);
}

void http_flow_setup(struct http *http)
{
	flow_init(&http->flow);
	http->flow_timer.fire = go_on;
}

/* ---- the end ---- */

static uint64_t time_of(const struct http_request *request, CURLINFO what)
{
	curl_off_t us = 0;

	(void)curl_easy_getinfo(request->easy, what, &us);
	return us > 0 ? (uint64_t)us : 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What went over the link, of all requests, while this one's body did: the link is theirs together. */
static uint64_t moved_since(const struct http_request *request, enum flow_way way)
{
	return request->first_us[way] ? request->http->moved[way] - request->moved_before[way] : 0;
}

void http_measure(struct http_request *request)
{
	struct meter *meter = &request->http->meter;
	uint64_t began_us = time_of(request, CURLINFO_PRETRANSFER_TIME_T);
	uint64_t answered_us = less(time_of(request, CURLINFO_STARTTRANSFER_TIME_T), began_us);

	/* Not TCP's handshake, nor what the kernel knows of the connection: it may end at a tunnel's door on this machine. */
	if (request->is_quick || (request->has_work && request->body_at <= SMALL))
		meter_round_trip(meter, less(answered_us, request->work_us));
	/* What was held back by us says nothing of the link. */
	if (!request->was_paused && request->has_work)
		meter_transfer(meter, METER_UP, moved_since(request, FLOW_UP),
			       less(answered_us, request->work_us + meter->round_trip_us));
	if (!request->was_paused && request->first_us[FLOW_DOWN])
		meter_transfer(meter, METER_DOWN, moved_since(request, FLOW_DOWN), less(clock_us(), request->first_us[FLOW_DOWN]));
}

void http_flow_end(struct http_request *request)
{
	struct http *http = request->http;
	uint64_t now = clock_us();

	if (request->has_begun)
		flow_ended(&http->flow, request->class, request->body_at,
			   request->first_us[FLOW_UP] ? now - request->first_us[FLOW_UP] : 0, now);
	request->has_begun = request->is_held = false;
	request->paused = 0;
	look_in(http, 0);
}
