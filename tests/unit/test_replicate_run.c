/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Link, replay, fetch, pull: what each does with an upstream that misbehaves. */
#include "tests/unit/replicate_world.h"

/* ---- link ---- */

static void connects_pulls_and_lists(void **state)
{
	struct world *w = *state;

	w->upstream->position = 1500;
	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->position == 1500 && w->cache->deep_listings == 1);
	assert_int_equal(w->cache->entries, 1500);
	assert_string_equal(w->cache->upstream_id, "upstream-one");
	assert_int_equal(w->cache->listed, 1001);
	upstream_change(w->upstream, 3);
	WAIT_FOR(w->cache, 5, w->cache->position == 1503);
	UNTIL(5, status(w).upstream_position == 1503);
	assert_string_equal(status(w).reason, "");
	assert_string_equal(status(w).held, "");
	assert_true(status(w).requests >= 4);
}

static void not_there_then_there(void **state)
{
	struct world *w = *state;

	upstream_stop(w->upstream);
	start(w);
	UNTIL(5, status(w).failures > 0 && status(w).probe_in_s > 0);
	assert_int_equal(status(w).state, LINK_DISCONNECTED);
	assert_non_null(strstr(status(w).reason, "127.0.0.1"));
	assert_false(w->cache->fetcher->has_link(w->cache->fetcher_arg));
	upstream_start(w->upstream);
	assert_int_equal(replicate_sync(w->replicate), 0);
	UNTIL(1, status(w).state == LINK_CONNECTED);
	/* and goes again: whoever waits is told, and it is looked for */
	upstream_stop(w->upstream);
	UNTIL(5, status(w).state == LINK_DISCONNECTED);
	WAIT_FOR(w->cache, 5, w->cache->link_lost >= 1);
	upstream_start(w->upstream);
	UNTIL(10, status(w).state == LINK_CONNECTED);
}

/* What must not be talked to; each is named, and the log stays. */
static const struct refusal {
	const char *name, *prefix;
	enum misdeed misdeed;
	int status;
	const char *id;
	uint64_t position;
	const char *why;
	uint64_t acked;
	enum doubt_kind doubt;
	uint64_t mark;			/* 0: no entry is known */
} refusals[] = {
	{ "a web page", "/izo/v1/hello", GARBAGE, 0, NULL, 0, "not an izo-httpd" },
	{ "another server", "/", STATUS, 404, NULL, 0, "not an izo-httpd" },
	{ "a redirection", "/", STATUS, 302, NULL, 0, "not an izo-httpd" },
	{ "a password", "/", STATUS, 401, NULL, 0, "401" },
	{ "root is nonsense", "/izo/v1/object", GARBAGE, 0, NULL, 0, "root object is malformed" },
	{ "another upstream", "", GOOD, 0, "upstream-two", 0, "another upstream", 0, DOUBT_OTHER },
	{ "restored", "", GOOD, 0, NULL, 10, "older state", 0, DOUBT_PUT_BACK },
	{ "restored and gone on with", "", GOOD, 0, NULL, 0, "older state", 3, DOUBT_PUT_BACK },
	{ "restored, gone on with, and never sent anything", "", GOOD, 0, NULL, 1, "older state", 0, DOUBT_PUT_BACK, 78 },
};

static void refused(void **state)
{
	teardown(state);
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *refusal = &refusals[i];
		struct world *w;

		setup(state);
		w = *state;
		if (refusal->id)
			snprintf(w->cache->upstream_id, sizeof(w->cache->upstream_id), "%s",
				 refusal->id);
		w->cache->position = refusal->position;
		w->cache->mark = (struct kml_mark){ refusal->mark ? refusal->position : 0, refusal->mark };
		w->upstream->known_mark = 77;
		w->cache->acked = w->cache->last_seq = refusal->acked;
		misbehave(w->upstream, "", refusal->prefix, refusal->misdeed, refusal->status, -1);
		double_append(w->cache, false, 0, 0);
		start(w);
		UNTIL(5, status(w).probe_in_s >= 10);
		assert_int_equal(status(w).state, LINK_DISCONNECTED);
		if (!strstr(status(w).reason, refusal->why))
			fail_msg("%s: %s", refusal->name, status(w).reason);
		assert_int_equal(status(w).doubt.kind, refusal->doubt);
		if (refusal->doubt) {
			assert_string_equal(status(w).doubt.known_id, w->cache->upstream_id);
			assert_string_not_equal(status(w).doubt.id, "");
		}
		assert_int_equal(waiting(w), 1);
		assert_int_equal(SERVED(replays), 0);
		assert_int_equal(w->cache->entries, 0);
		teardown(state);
	}
	setup(state);
}

static void list(struct world *w)
{
	w->cache->fetcher->list(w->cache->fetcher_arg, 2, &KML_ROOT);
}

/* The machine sleeps in the middle of a back-off: that was waiting too. */
static void suspended(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "", "/izo/v1/hello", GARBAGE, 0, -1);
	start(w);
	UNTIL(5, status(w).probe_in_s >= 10);
	misbehave(w->upstream, "", "/izo/v1/hello", GOOD, 0, -1);
	clock_advance(3600 * US_PER_S);
	/* The kernel wakes who waited; here it is somebody who wants a listing, which is no reason to try. */
	list(w);
	UNTIL(5, status(w).state == LINK_CONNECTED);
}

static void offline(void **state)
{
	struct world *w = *state;
	unsigned requests;

	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->deep_listings == 1);
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	assert_true(CACHED(is_offline));
	UNTIL(5, status(w).state == LINK_OFFLINE);
	WAIT_FOR(w->cache, 5, w->cache->link_lost == 1);
	UNTIL(5, !w->cache->fetcher->has_link(w->cache->fetcher_arg));
	requests = SERVED(requests);
	double_append(w->cache, false, 0, 0);
	assert_int_equal(replicate_sync(w->replicate), 0);
	/* a wish that slipped through is answered */
	w->cache->fetcher->list(w->cache->fetcher_arg, 2, &KML_ROOT);
	WAIT_FOR(w->cache, 5, w->cache->lists_failed == 1);
	assert_int_equal(SERVED(requests), requests);
	assert_int_equal(waiting(w), 1);
	/* sticky */
	stop(w);
	start(w);
	assert_int_equal(status(w).state, LINK_OFFLINE);
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	assert_replayed(w, 1);
	assert_int_equal(status(w).state, LINK_CONNECTED);
}

static void journal_reset(void **state)
{
	struct world *w = *state;

	w->upstream->position = 100;
	w->upstream->oldest = 50;
	w->cache->position = 10;
	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->resets == 1 && w->cache->deep_listings >= 1);
	assert_int_equal(w->cache->position, 100);
	/* while connected: it fell behind between two polls */
	LOCKED(w->upstream, w->upstream->oldest = 200, w->upstream->position = 300);
	WAIT_FOR(w->cache, 5, w->cache->position == 300);
}

static void journal_garbage_applies_nothing(void **state)
{
	struct world *w = *state;

	w->upstream->position = 20;
	misbehave(w->upstream, "GET", "/izo/v1/journal", GARBAGE, 0, -1);
	start(w);
	UNTIL(5, SERVED(gone_wrong) >= 1);
	UNTIL(5, status(w).state == LINK_DISCONNECTED);
	assert_int_equal(w->cache->entries, 0);
	behave(w->upstream);
	replicate_sync(w->replicate);
	WAIT_FOR(w->cache, 5, w->cache->position == 20);
}

static void journal_that_breaks_off(void **state)
{
	struct world *w = *state;

	w->upstream->position = 20;
	misbehave(w->upstream, "GET", "/izo/v1/journal", CUT_BODY, 0, 1);
	start(w);
	WAIT_FOR(w->cache, 10, w->cache->position == 20);
	assert_int_equal(w->cache->entries, 20);
}

/* A server in trouble is asked again, but not without end. */
static void status_500_is_no_hot_loop(void **state)
{
	static const char *const prefixes[] = {
		"/izo/v1/journal", "/izo/v1/replay", "/izo/v1/list",
		"/izo/v1/object/0000000000000000-0000000000000007"
	};

	teardown(state);
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		struct world *w;

		setup(state);
		w = *state;
		misbehave(w->upstream, "", prefixes[i], STATUS, 500, -1);
		w->cache->stale[0].oid = (struct kml_oid){ 0, 7 };
		w->cache->n_stale = 1;
		double_append(w->cache, false, 0, 0);
		start(w);
		UNTIL(5, SERVED(gone_wrong) >= 1);
		usleep(1500000);
		if (SERVED(requests) > 20)
			fail_msg("%s: %u requests", prefixes[i], SERVED(requests));
		behave(w->upstream);
		replicate_sync(w->replicate);
		WAIT_FOR(w->cache, 20, double_waiting(w->cache) == 0 && !w->cache->n_stale &&
			 w->cache->deep_listings);
		teardown(state);
	}
	setup(state);
}

/* ---- replay ---- */

static void replays_all_kinds(void **state)
{
	struct world *w = *state;

	double_append(w->cache, false, 0, 0);
	double_append(w->cache, true, 0, 0);		/* an empty file */
	double_append(w->cache, true, 1, 0);
	double_append(w->cache, true, 1u << 20, 0);	/* the largest that goes inline */
	double_append(w->cache, true, (1u << 20) + 1, 0);
	double_append(w->cache, true, 20u << 20, 0);	/* three pieces */
	double_append(w->cache, true, 300, 0);
	connect_now(w);
	assert_replayed(w, 7);
	UNTIL(5, !status(w).is_replaying);
	assert_int_equal(status(w).replay_records, 7);
	assert_int_equal(status(w).replay_bytes,
			 1 + (1u << 20) + (1u << 20) + 1 + (20u << 20) + 300);
	/* and what comes later goes by itself */
	double_append(w->cache, false, 0, 0);
	assert_replayed(w, 8);
}

/* The answer is lost: sent again, done once. */
static void lost_answer(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 5; i++)
		double_append(w->cache, i % 2, 100, 0);
	misbehave(w->upstream, "POST", "/izo/v1/replay", CUT, 0, 2);
	connect_now(w);
	assert_replayed(w, 5);
	assert_true(SERVED(replays) >= 3);
	assert_true(CACHED(given_back) >= 1);
}

static void changes_while_sent(void **state)
{
	struct world *w = *state;

	double_append(w->cache, true, 5000, 2);
	double_append(w->cache, true, 3u << 20, 1);	/* is sent again */
	double_append(w->cache, true, 3u << 20, 3);	/* is copied */
	connect_now(w);
	assert_replayed(w, 3);
}

static void never_still(void **state)
{
	struct world *w = *state;

	double_append(w->cache, false, 0, 0);
	double_append(w->cache, true, 2u << 20, -1);
	double_append(w->cache, false, 0, 0);
	connect_now(w);
	UNTIL(20, strstr(status(w).held, "written all the time"));
	assert_int_equal(waiting(w), 2);	/* what stood before it has gone */
	LOCKED(w->cache, w->cache->log[1].changes = 0);
	replicate_sync(w->replicate);
	assert_replayed(w, 3);
	UNTIL(5, !status(w).held[0]);
}

static void held_by_upstream(void **state)
{
	struct world *w = *state;

	w->upstream->retry_error = ENOSPC;
	double_append(w->cache, false, 0, 0);
	connect_now(w);
	UNTIL(5, strstr(status(w).held, "its disk is full; make room there"));
	assert_int_equal(status(w).state, LINK_CONNECTED);
	assert_int_equal(waiting(w), 1);
	LOCKED(w->upstream, w->upstream->retry_error = 0);
	replicate_sync(w->replicate);
	assert_replayed(w, 1);
	UNTIL(5, !status(w).held[0]);
}

static const struct replay_trouble {
	enum misdeed misdeed;
	int status;
	const char *held;
} replay_troubles[] = {
	{ STATUS, 400, "does not accept" }, { STATUS, 413, "does not accept" },
	{ STATUS, 409, "no longer knows" }, { STATUS, 403, "does not let" },
	{ STATUS, 500, "cannot take changes" }, { STATUS, 507, "cannot take changes" },
	{ GARBAGE, 0, "malformed" },
};

/* Held with its reason, nothing dropped, no hot loop, the link stays; then it goes on. */
static void replay_is_refused(void **state)
{
	teardown(state);
	for (size_t i = 0; i < ARRAY_SIZE(replay_troubles); i++) {
		const struct replay_trouble *trouble = &replay_troubles[i];
		struct world *w;

		setup(state);
		w = *state;
		misbehave(w->upstream, "POST", "/izo/v1/replay", trouble->misdeed, trouble->status,
			  -1);
		double_append(w->cache, false, 0, 0);
		double_append(w->cache, true, 10, 0);
		connect_now(w);
		UNTIL(5, status(w).held[0]);
		if (!strstr(status(w).held, trouble->held))
			fail_msg("%d: %s", trouble->status, status(w).held);
		usleep(300000);
		assert_int_equal(status(w).state, LINK_CONNECTED);
		assert_true(SERVED(gone_wrong) <= 2);
		assert_int_equal(waiting(w), 2);
		behave(w->upstream);
		replicate_sync(w->replicate);
		assert_replayed(w, 2);
		UNTIL(5, !status(w).held[0]);
		teardown(state);
	}
	setup(state);
}

static void restored_cache_replays_nothing(void **state)
{
	struct world *w = *state;

	w->upstream->extra_last_seq = 50;
	w->upstream->position = 7;
	double_append(w->cache, false, 0, 0);
	connect_now(w);
	UNTIL(5, strstr(status(w).held, "older state"));
	assert_int_equal(status(w).doubt.kind, DOUBT_CACHE_PUT_BACK);
	WAIT_FOR(w->cache, 5, w->cache->resets == 1 && w->cache->deep_listings >= 1);
	replicate_sync(w->replicate);
	usleep(200000);
	assert_int_equal(SERVED(replays), 0);
	assert_int_equal(waiting(w), 1);
}

/* The line breaks in the middle of a large file: it goes on from there. */
static void staging_resumes(void **state)
{
	struct world *w = *state;

	double_append(w->cache, true, 30u << 20, 0);
	usleep(150000); /* let the file's ctime be of the past, as that of a file found in the log
			   is */
	misbehave(w->upstream, "PUT", "/izo/v1/stage", CUT_BODY, 0, 1);
	connect_now(w);
	assert_replayed(w, 1);
	assert_int_equal(SERVED(gone_wrong), 1);
	/* what had come was not sent again */
	assert_int_equal(SERVED(staged_bytes), 30u << 20);
}

/* Likewise packed, and from an upstream that has lost the end of what it said that it has. */
static void staging_goes_on_earlier(void **state)
{
	struct world *w = *state;

	double_append(w->cache, true, 30u << 20, 0);
	usleep(150000);
	misbehave(w->upstream, "PUT", "/izo/v1/stage", STATUS, 409, 1);
	connect_now(w);
	assert_replayed(w, 1);
	assert_int_equal(SERVED(gone_wrong), 1);
	assert_int_equal(CACHED(given_back), 0);
}

/* What zeros and text are made of goes packed, what is random as it is, and all of it to who cannot unpack. */
static void packed_where_it_pays(void **state)
{
	teardown(state);
	for (int cannot = 0; cannot < 2; cannot++) {
		struct world *w;

		setup(state);
		w = *state;
		w->upstream->cannot_unpack = cannot;
		double_append(w->cache, true, 3u << 20, 0);
		for (int i = 0; i < 10; i++)
			double_append(w->cache, true, 20000, 0);
		connect_now(w);
		assert_replayed(w, 11);
		if (cannot) {
			assert_int_equal(w->upstream->packed, 0);
			assert_true(w->upstream->body_bytes > (3u << 20) + 200000);
		} else {
			assert_true(w->upstream->packed >= 2);
			assert_true(w->upstream->body_bytes < 1u << 20);
		}
		teardown(state);
	}
	setup(state);
}

static void staging_is_refused(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", STATUS, 507, -1);
	double_append(w->cache, true, 3u << 20, 0);
	connect_now(w);
	UNTIL(5, strstr(status(w).held, "does not take a large file"));
	behave(w->upstream);
	replicate_sync(w->replicate);
	assert_replayed(w, 1);
}

/* With nothing changed: who is there, and the wait for what comes next. */
static void coming_back_costs_one_request(void **state)
{
	struct world *w = *state;
	unsigned journals;

	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->deep_listings == 1);
	UNTIL(5, SERVED(journals) > 0);
	journals = SERVED(journals);
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	UNTIL(5, status(w).state == LINK_OFFLINE);
	LOCKED(w->upstream, w->upstream->requests = 0);
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	UNTIL(5, SERVED(journals) > journals);
	assert_int_equal(SERVED(requests), 2);
	assert_string_equal(w->upstream->paths[0], "GET hello");
	assert_string_equal(w->upstream->paths[1], "GET journal");
}

/* ---- fetch ---- */

static void wish(struct world *w, uint64_t version, uint64_t offset, uint64_t len)
{
	w->cache->fetcher->data(w->cache->fetcher_arg, 9, &(struct kml_oid){ 0, 9 }, version,
				offset, len);
}

static void assert_content(struct world *w, uint64_t offset, uint64_t len)
{
	for (uint64_t i = offset; i < offset + len; i++)
		if (w->cache->content[i] != content_at(i))
			fail_msg("differs at %llu", (unsigned long long)i);
}

static void fetches(void **state)
{
	struct world *w = *state;

	connect_now(w);
	assert_true(w->cache->fetcher->has_link(w->cache->fetcher_arg));
	wish(w, 5, 1000, 2u << 20);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 1);
	assert_int_equal(w->cache->content_err, 0);
	assert_int_equal(w->cache->content_len, 2u << 20);
	assert_content(w, 1000, 2u << 20);
	UNTIL(5, status(w).fetch_bytes == 2u << 20);
	/* another version than wanted */
	wish(w, 4, 0, 10);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 2);
	assert_int_equal(w->cache->content_err, -ESTALE);
	/* more than there is */
	wish(w, 5, (3u << 20) - 5, 10);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 3);
	assert_int_equal(w->cache->content_err, -EIO);
	wish(w, 5, 0, 0);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 4);
	assert_int_equal(w->cache->content_err, 0);
	LOCKED(w->cache, w->cache->content_apply_err = -ENOSPC);
	wish(w, 5, 0, 10);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 5);
	assert_int_equal(w->cache->content_err, -ENOSPC);
	assert_int_equal(status(w).state, LINK_CONNECTED);
}

/* What was under way goes on from where it broke off; one bad file is not the end of the link. */
static void fetch_breaks_off(void **state)
{
	struct world *w = *state;

	connect_now(w);
	misbehave(w->upstream, "GET", "/izo/v1/content", CUT_BODY, 0, 2);
	wish(w, 5, 4096, 2u << 20);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 1);
	assert_int_equal(w->cache->content_err, 0);
	assert_int_equal(w->cache->content_len, 2u << 20);
	assert_content(w, 4096, 2u << 20);
	misbehave(w->upstream, "GET", "/izo/v1/content", CUT_BODY, 0, -1);
	wish(w, 5, 0, 2u << 20);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 2);
	assert_int_equal(w->cache->content_err, -EIO);
	misbehave(w->upstream, "GET", "/izo/v1/content", STATUS, 500, -1);
	wish(w, 5, 0, 10);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 3);
	assert_int_equal(w->cache->content_err, -EIO);
	misbehave(w->upstream, "GET", "/izo/v1/content", GARBAGE, 0, -1);
	wish(w, 5, 0, 10);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 4);
	assert_int_equal(w->cache->content_err, -EIO);
	assert_int_equal(status(w).state, LINK_CONNECTED);
	assert_int_equal(w->cache->link_lost, 0);
}

static void lists(void **state)
{
	struct world *w = *state;

	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->deep_listings == 1);
	list(w);
	WAIT_FOR(w->cache, 5, w->cache->listings == 1);
	/* overtaken by what was pulled: asked for again until it is not */
	LOCKED(w->cache, w->cache->overtaken = 3);
	list(w);
	WAIT_FOR(w->cache, 5, w->cache->listings == 2);
	assert_int_equal(w->cache->lists_failed, 0);
	misbehave(w->upstream, "GET", "/izo/v1/list", STATUS, 410, -1);
	list(w);
	WAIT_FOR(w->cache, 5, w->cache->lists_failed == 1);
	assert_int_equal(w->cache->list_err, -ESTALE);
	misbehave(w->upstream, "GET", "/izo/v1/list", GARBAGE, 0, -1);
	list(w);
	WAIT_FOR(w->cache, 5, w->cache->lists_failed == 2);
	assert_int_equal(w->cache->list_err, -EIO);
	assert_int_equal(status(w).state, LINK_CONNECTED);
	/* half of one is no listing */
	misbehave(w->upstream, "GET", "/izo/v1/list", CUT_BODY, 0, 1);
	list(w);
	WAIT_FOR(w->cache, 5, w->cache->lists_failed == 3);
	assert_int_equal(w->cache->listings, 2);
}

/* The whole tree's listing is overtaken by changes: then they wait for it. */
static void tree_is_overtaken(void **state)
{
	struct world *w = *state;

	LOCKED(w->cache, w->cache->overtaken = 2);
	connect_now(w);
	WAIT_FOR(w->cache, 15, w->cache->deep_listings == 1);
	upstream_change(w->upstream, 5);
	WAIT_FOR(w->cache, 5, w->cache->position == 5);
}

static void refreshes_what_is_stale(void **state)
{
	struct world *w = *state;

	w->cache->stale[0].oid = (struct kml_oid){ 0, 7 };
	w->cache->stale[1].oid = (struct kml_oid){ 0, 404 };
	w->cache->stale[2].oid = (struct kml_oid){ 0, 60 };
	w->cache->stale[2].ino = 50;
	w->cache->stale[2].is_dir = true;
	w->cache->n_stale = 3;
	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->n_stale == 0);
	assert_int_equal(w->cache->objects, 1);
	assert_int_equal(w->cache->objects_gone, 1);
	assert_int_equal(w->cache->listings, 1);
}

/* What a proxy says whose server is away is no word about an object; it is asked for again. */
static void somebody_says(struct world *w, const char *what, int status)
{
	w->cache->stale[0].oid = (struct kml_oid){ 0, 7 };
	w->cache->stale[1].oid = (struct kml_oid){ 0, 60 };
	w->cache->stale[1].ino = 50;
	w->cache->stale[1].is_dir = true;
	w->cache->n_stale = 2;
	misbehave(w->upstream, "", what, SOMEBODY, status, 1);
	connect_now(w);
	WAIT_FOR(w->cache, 20, w->cache->n_stale == 0);
	assert_int_equal(w->upstream->wrong.times, 0);
	assert_int_equal(w->cache->objects, 1);
	assert_int_equal(w->cache->listings, 1);
	assert_int_equal(w->cache->objects_gone, 0);
}

static void somebody_says_that_an_object_is_not_found(void **state)
{
	somebody_says(*state, "/izo/v1/object/0000000000000000-0000000000000007", 404);
}

static void somebody_says_that_an_object_is_gone(void **state)
{
	somebody_says(*state, "/izo/v1/object/0000000000000000-0000000000000007", 410);
}

static void somebody_says_that_a_directory_is_not_found(void **state)
{
	somebody_says(*state, "/izo/v1/list/0000000000000000-000000000000003c", 404);
}

/* An izo-httpd whose answers do not say whose they are is believed. */
static void older_upstream(void **state)
{
	struct world *w = *state;

	is_older = true;
	w->cache->stale[0].oid = (struct kml_oid){ 0, 404 };
	w->cache->n_stale = 1;
	connect_now(w);
	WAIT_FOR(w->cache, 20, w->cache->n_stale == 0);
	is_older = false;
	assert_int_equal(w->cache->objects_gone, 1);
}

/*
 * An upstream that says nothing holds up nobody: not a stop, not going offline; each wish is
 * answered once.
 */
static void hanging_upstream(void **state)
{
	struct world *w = *state;

	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->deep_listings == 1);
	misbehave(w->upstream, "", "/", HANG, 0, -1);
	for (int i = 0; i < 20; i++) {
		wish(w, 5, (uint64_t)i * 100, 100);
		list(w);
	}
	double_append(w->cache, true, 10, 0);
	UNTIL(5, SERVED(gone_wrong) >= 9);
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	WAIT_FOR(w->cache, 2, w->cache->contents_ended == 20 && w->cache->lists_failed == 20);
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	UNTIL(5, status(w).state == LINK_DISCONNECTED);
	stop(w);
	assert_int_equal(w->cache->contents_ended, 20);
	assert_int_equal(w->cache->lists_failed, 20);
	assert_int_equal(waiting(w), 1);
}

static void stops_in_the_middle(void **state)
{
	struct world *w = *state;

	connect_now(w);
	WAIT_FOR(w->cache, 5, w->cache->deep_listings == 1);
	misbehave(w->upstream, "POST", "/izo/v1/replay", HANG, 0, -1);
	double_append(w->cache, true, 10, 0);
	for (int i = 0; i < 20; i++)
		list(w);
	UNTIL(5, SERVED(gone_wrong) >= 1);
	stop(w);
	assert_int_equal(CACHED(listings) + (unsigned)w->cache->lists_failed, 20);
	behave(w->upstream);
	start(w);
	assert_replayed(w, 1);
}

static void bad_urls(void **state)
{
	static const char *const urls[] = { "", "nfs://server/", "http://", "server" };
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct replicate_config config = { .cache = w->cache,
						   .url = urls[i],
						   .host = "testhost" };
		char *why = NULL;

		assert_int_equal(replicate_start(&config, &w->replicate, &why), -EINVAL);
		assert_null(w->replicate);
		assert_non_null(strstr(why, "http://HOST:PORT/"));
		free(why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(connects_pulls_and_lists),
		TEST(not_there_then_there),
		TEST(refused),
		TEST(suspended),
		TEST(offline),
		TEST(journal_reset),
		TEST(journal_garbage_applies_nothing),
		TEST(journal_that_breaks_off),
		TEST(status_500_is_no_hot_loop),
		TEST(replays_all_kinds),
		TEST(lost_answer),
		TEST(changes_while_sent),
		TEST(never_still),
		TEST(held_by_upstream),
		TEST(replay_is_refused),
		TEST(restored_cache_replays_nothing),
		TEST(staging_resumes),
		TEST(staging_goes_on_earlier),
		TEST(packed_where_it_pays),
		TEST(staging_is_refused),
		TEST(coming_back_costs_one_request),
		TEST(fetches),
		TEST(fetch_breaks_off),
		TEST(lists),
		TEST(tree_is_overtaken),
		TEST(refreshes_what_is_stale),
		TEST(somebody_says_that_an_object_is_not_found),
		TEST(somebody_says_that_an_object_is_gone),
		TEST(somebody_says_that_a_directory_is_not_found),
		TEST(older_upstream),
		TEST(hanging_upstream),
		TEST(stops_in_the_middle),
		TEST(bad_urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
