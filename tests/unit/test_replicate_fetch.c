/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the cache wishes for, asked of an upstream that misbehaves: many small files at a time, and who goes first. */
#include "tests/unit/replicate_world.h"

#define SMALL 100
#define VERSION 5	/* the upstream's, of all */

static struct fetch_range small(uint64_t number)
{
	return (struct fetch_range){ .ino = number, .oid = { 0, number }, .version = VERSION, .len = SMALL, .is_whole = true };
}

/* So many small files that nobody waits for, from that number on. */
static void wish_ahead(struct world *w, uint64_t first, size_t n, enum fetch_class class)
{
	struct fetch_range ranges[400];

	assert_true(n <= ARRAY_SIZE(ranges));
	for (size_t i = 0; i < n; i++)
		ranges[i] = small(first + i);
	w->cache->fetcher->ahead(w->cache->fetcher_arg, ranges, n, class);
}

static void hurry(struct world *w, uint64_t number)
{
	w->cache->fetcher->hurry(w->cache->fetcher_arg, number, VERSION, 0);
}

static void wish_now(struct world *w, uint64_t number)
{
	w->cache->fetcher->data(w->cache->fetcher_arg, number, &(struct kml_oid){ 0, number }, VERSION, 0, SMALL);
}

/* The answer to that file's wish; 1: there was none. */
static int answer_of(struct world *w, uint64_t ino)
{
	int err = 1;

	pthread_mutex_lock(&w->cache->lock);
	for (int i = 0; i < (int)ARRAY_SIZE(w->cache->ends) && i < w->cache->contents_ended; i++)
		if (w->cache->ends[i].ino == ino)
			err = w->cache->ends[i].err;
	pthread_mutex_unlock(&w->cache->lock);
	return err;
}

/* Which request it was that asked for this file alone; -1: none did. */
static int asked_alone(struct world *w, uint64_t number)
{
	char path[64];
	int at = -1;

	snprintf(path, sizeof(path), "GET content/%016x-%016" PRIx64, 0, number);
	pthread_mutex_lock(&w->upstream->lock);
	for (unsigned i = 0; at < 0 && i < MIN(w->upstream->requests, ARRAY_SIZE(w->upstream->paths)); i++)
		if (!strcmp(w->upstream->paths[i], path))
			at = (int)i;
	pthread_mutex_unlock(&w->upstream->lock);
	return at;
}

static void connect_for_small(struct world *w)
{
	w->upstream->small_len = SMALL;
	connect_now(w);
	/* The log of requests is for what comes. */
	WAIT_FOR(w->cache, 5, w->cache->deep_listings == 1);
	UNTIL(5, SERVED(journals) > 0);
	LOCKED(w->upstream, w->upstream->requests = 0);
}

/* ---- many in one request ---- */

static void many_in_one_request(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	wish_ahead(w, 100, 50, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 50);
	assert_int_equal(SERVED(contents), 1);
	assert_int_equal(CACHED(wholes), 50);
	assert_int_equal(CACHED(content_err), 0);
	for (uint64_t i = 0; i < 50; i++)	/* as they were wished for */
		assert_int_equal(w->cache->whole_inos[i], 100 + i);
	/* Together they took few transactions. */
	assert_true(CACHED(whole_batches) < 25);
	UNTIL(5, status(w).fetch_bytes == 50 * SMALL);
	/* More than one request is to have. */
	wish_ahead(w, 1000, 300, FETCH_HOARD);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 350);
	assert_int_equal(SERVED(contents), 4);
	assert_int_equal(SERVED(most_wishes), CONTENTS_MOST);
	assert_int_equal(CACHED(wholes), 350);
}

/* One alone, large ones, and parts of files go by themselves. */
static void not_together(void **state)
{
	struct world *w = *state;
	struct fetch_range ranges[] = { small(7), small(8), small(9) };

	connect_for_small(w);
	wish_ahead(w, 6, 1, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 1);
	ranges[0].is_whole = false;
	ranges[1].len = CONTENTS_SMALL + 1;
	w->cache->fetcher->ahead(w->cache->fetcher_arg, ranges, 3, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 4);
	for (uint64_t number = 6; number <= 9; number++) {
		assert_int_equal(answer_of(w, number), 0);
		assert_true(asked_alone(w, number) >= 0);
	}
	assert_int_equal(SERVED(contents), 0);
}

static void one_is_left_out(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	w->upstream->left_out = 12;
	/* Of a guess nobody asks further. */
	wish_ahead(w, 10, 5, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 5);
	assert_int_equal(CACHED(wholes), 4);
	assert_int_equal(answer_of(w, 12), 0);
	assert_int_equal(asked_alone(w, 12), -1);
	/* What is to be here is asked for alone. */
	LOCKED(w->upstream, w->upstream->left_out = 22);
	wish_ahead(w, 20, 5, FETCH_HOARD);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 10);
	assert_int_equal(CACHED(wholes), 8);
	assert_int_equal(answer_of(w, 22), 0);
	assert_true(asked_alone(w, 22) >= 0);
}

/* Somebody came to wait for it while the request was under way. */
static void waited_for_meanwhile(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	w->upstream->left_out = 12;
	misbehave(w->upstream, "POST", "/izo/v1/contents", HANG, 0, -1);
	wish_ahead(w, 10, 5, FETCH_GUESS);
	UNTIL(5, SERVED(gone_wrong) == 1);
	hurry(w, 12);
	/* Wishes are taken in order: when this one is answered, the other has been heard. */
	wish_now(w, 99);
	UNTIL(5, answer_of(w, 99) == 0);
	behave(w->upstream);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 6);
	assert_true(asked_alone(w, 12) >= 0);
	assert_int_equal(answer_of(w, 12), 0);
}

static void upstream_knows_only_one_at_a_time(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	LOCKED(w->upstream, w->upstream->small_len = 0);
	wish_ahead(w, 10, 5, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 5);
	for (uint64_t i = 10; i < 15; i++) {
		assert_int_equal(answer_of(w, i), 0);
		assert_true(asked_alone(w, i) >= 0);
	}
	assert_int_equal(status(w).state, LINK_CONNECTED);
	/* It is not asked that again. */
	LOCKED(w->upstream, w->upstream->small_len = SMALL);
	wish_ahead(w, 20, 5, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 10);
	assert_int_equal(SERVED(contents), 0);
	assert_int_equal(CACHED(wholes), 0);
}

/* ---- what goes wrong ---- */

static const struct wrong_case {
	const char *name;
	enum misdeed misdeed;
	int status, apply_err;
	uint64_t small_len;
	int hoard_err;
} wrong_cases[] = {
	{ "it ends in the middle of a file", CUT_BODY, 0, 0, SMALL, 0 },
	{ "nonsense", GARBAGE, 0, 0, SMALL, 0 },
	{ "status 500", STATUS, 500, 0, SMALL, 0 },
	{ "status 400", STATUS, 400, 0, SMALL, 0 },
	{ "another length than was asked for", GOOD, 0, 0, SMALL + 1, 0 },
	{ "no room", GOOD, 0, -ENOSPC, SMALL, -ENOSPC },
	{ "the cache wants another version by now", GOOD, 0, -ESTALE, SMALL, -ESTALE },
};

/* Guesses are over without an error, since nobody has asked; what is to be here is asked for alone; the link stays. */
static void goes_wrong(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	for (size_t i = 0; i < ARRAY_SIZE(wrong_cases); i++) {
		const struct wrong_case *c = &wrong_cases[i];
		uint64_t first = 100 + 100 * i;
		unsigned wholes = CACHED(wholes);

		print_message("%s\n", c->name);
		LOCKED(w->cache, w->cache->contents_ended = 0, w->cache->content_apply_err = c->apply_err);
		LOCKED(w->upstream, w->upstream->small_len = c->small_len, w->upstream->requests = 0);
		misbehave(w->upstream, "POST", "/izo/v1/contents", c->misdeed, c->status, -1);
		wish_ahead(w, first, 6, FETCH_GUESS);
		WAIT_FOR(w->cache, 5, w->cache->contents_ended == 6);
		wish_ahead(w, first + 50, 6, FETCH_HOARD);
		WAIT_FOR(w->cache, 5, w->cache->contents_ended == 12);
		for (uint64_t k = 0; k < 6; k++) {
			assert_int_equal(answer_of(w, first + k), c->apply_err == -ESTALE ? -ESTALE : 0);
			assert_int_equal(asked_alone(w, first + k), -1);
			assert_int_equal(answer_of(w, first + 50 + k), c->hoard_err);
		}
		assert_int_equal(status(w).state, LINK_CONNECTED);
		if (c->small_len != SMALL)
			assert_int_equal(CACHED(wholes), wholes);
	}
	assert_int_equal(CACHED(link_lost), 0);
}

static void link_is_lost(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	misbehave(w->upstream, "POST", "/izo/v1/contents", HANG, 0, -1);
	wish_ahead(w, 10, 20, FETCH_GUESS);
	wish_ahead(w, 40, 20, FETCH_HOARD);
	UNTIL(5, SERVED(gone_wrong) == 2);
	upstream_stop(w->upstream);
	WAIT_FOR(w->cache, 20, w->cache->contents_ended == 40);
	for (uint64_t i = 0; i < 20; i++) {
		assert_int_equal(answer_of(w, 10 + i), -EIO);
		assert_int_equal(answer_of(w, 40 + i), -EIO);
	}
	assert_false(w->cache->fetcher->may_guess(w->cache->fetcher_arg));
	/* And without one at once. */
	wish_ahead(w, 70, 1, FETCH_GUESS);
	WAIT_FOR(w->cache, 5, w->cache->contents_ended == 41);
	behave(w->upstream);
}

static void stopped_in_the_middle(void **state)
{
	struct world *w = *state;

	connect_for_small(w);
	misbehave(w->upstream, "POST", "/izo/v1/contents", HANG, 0, -1);
	wish_ahead(w, 10, 20, FETCH_GUESS);
	UNTIL(5, SERVED(gone_wrong) == 1);
	stop(w);
	assert_int_equal(w->cache->contents_ended, 20);
	behave(w->upstream);
}

/* ---- who goes first ---- */

/* Files that cannot go together, so that each takes a slot. */
static void wish_parts(struct world *w, uint64_t first, size_t n, enum fetch_class class)
{
	struct fetch_range ranges[30];

	for (size_t i = 0; i < n; i++) {
		ranges[i] = small(first + i);
		ranges[i].is_whole = false;
	}
	w->cache->fetcher->ahead(w->cache->fetcher_arg, ranges, n, class);
}

/* One of the requests under way is answered; what comes into its place is that file. */
static void next_is(struct world *w, uint64_t number)
{
	assert_int_equal(asked_alone(w, number), -1);
	LOCKED(w->upstream, w->upstream->let_pass++);
	UNTIL(10, asked_alone(w, number) >= 0);
}

static void who_goes_first(void **state)
{
	enum { HOARD = 100, GUESS = 200, ASKED = 300, N = 12 };
	struct world *w = *state;

	connect_for_small(w);
	misbehave(w->upstream, "GET", "/izo/v1/content", HANG, 0, -1);
	/* What can wait leaves room for what can wait less. */
	wish_parts(w, HOARD, N, FETCH_HOARD);
	UNTIL(5, SERVED(gone_wrong) == FETCH_SLOTS - 8);
	wish_parts(w, GUESS, N, FETCH_GUESS);
	UNTIL(5, SERVED(gone_wrong) == FETCH_SLOTS - 4);
	for (uint64_t i = 0; i < 6; i++)
		wish_now(w, ASKED + i);
	UNTIL(5, SERVED(gone_wrong) == FETCH_SLOTS);
	assert_true(asked_alone(w, ASKED + 3) >= 0);
	/* The last guess becomes what somebody waits for. */
	hurry(w, GUESS + N - 1);
	next_is(w, ASKED + 4);
	next_is(w, ASKED + 5);
	next_is(w, GUESS + N - 1);
	/* Four more slots must be free before a guess begins. */
	LOCKED(w->upstream, w->upstream->let_pass = 4);
	WAIT_FOR(w->cache, 10, w->cache->contents_ended == 7);
	next_is(w, GUESS + 4);
	next_is(w, GUESS + 5);
	for (uint64_t i = 4; i < N; i++)
		assert_int_equal(asked_alone(w, HOARD + i), -1);
	behave(w->upstream);
	WAIT_FOR(w->cache, 10, w->cache->contents_ended == 2 * N + 6);
	for (uint64_t i = 0; i < N; i++) {
		assert_int_equal(answer_of(w, HOARD + i), 0);
		assert_int_equal(answer_of(w, GUESS + i), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_in_one_request),
		TEST(not_together),
		TEST(one_is_left_out),
		TEST(waited_for_meanwhile),
		TEST(upstream_knows_only_one_at_a_time),
		TEST(goes_wrong),
		TEST(link_is_lost),
		TEST(stopped_in_the_middle),
		TEST(who_goes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
