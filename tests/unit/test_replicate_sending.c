/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several batches on their way at once: what becomes of them when one comes to nothing. */
#include "tests/unit/replicate_world.h"

#define STORES 12u
#define SIZE (700u << 10)	/* two of them are a batch */

static void append_stores(struct world *w)
{
	for (unsigned i = 0; i < STORES; i++)
		double_append(w->cache, true, SIZE + i, 0);
}

/* All that may be on its way at once is, and no answer comes. */
static void hang_all(struct world *w)
{
	misbehave(w->upstream, "POST", "/izo/v1/replay", HANG, 0, -1);
	append_stores(w);
	connect_now(w);
	UNTIL(5, SERVED(replaying) >= 3);
}

static void in_order(void **state)
{
	struct world *w = *state;

	hang_all(w);
	/* they go on in whatever order the threads wake up in: each waits for its turn */
	behave(w->upstream);
	assert_replayed(w, STORES);
	assert_true(w->upstream->most_replaying >= 3);
	assert_int_equal(CACHED(given_back), 0);
}

/* What was sent behind others to an upstream that does not know of it would be applied before them. */
static void one_at_a_time(void **state)
{
	struct world *w = *state;

	w->upstream->cannot_wait = true;
	misbehave(w->upstream, "POST", "/izo/v1/replay", HANG, 0, -1);
	append_stores(w);
	connect_now(w);
	UNTIL(5, SERVED(replaying) == 1);
	usleep(300000);
	behave(w->upstream);
	assert_replayed(w, STORES);
	assert_int_equal(w->upstream->most_replaying, 1);
}

/* The second of them, with seqs 3 and 4. */
static const struct second {
	const char *name;
	enum misdeed misdeed;
	int status;
	bool is_done;			/* though nobody hears of it */
	const char *held;
} seconds[] = {
	{ "its answer is lost", CUT, 0, true, NULL },
	{ "the server fails", STATUS, 500, false, "cannot take changes" },
	{ "too early", STATUS, 412, false, NULL },
	{ "too early, when the first is through", LATE, 412, false, NULL },
	{ "malformed", STATUS, 400, false, "does not accept" },
	{ "the link is lost", STATUS, 503, false, NULL },
	{ "nonsense", GARBAGE, 0, false, "malformed" },
};

static void second_fails(void **state)
{
	teardown(state);
	for (size_t i = 0; i < ARRAY_SIZE(seconds); i++) {
		const struct second *second = &seconds[i];
		struct world *w;

		print_message("%s\n", second->name);
		setup(state);
		w = *state;
		w->upstream->company = 2;
		misbehave(w->upstream, "POST", "/izo/v1/replay/2", second->misdeed, second->status, 1);
		append_stores(w);
		connect_now(w);
		UNTIL(10, SERVED(gone_wrong) == 1);
		if (second->held) {
			UNTIL(10, strstr(status(w).held, second->held));
			/* the first was taken in, and nothing behind the second */
			assert_int_equal(waiting(w), STORES - 2);
			assert_int_equal(SERVED(n_done), 2);
			WAIT_FOR(w->cache, 5, w->cache->n_out == 0);
			replicate_sync(w->replicate);
		}
		assert_replayed(w, STORES);
		UNTIL(5, !status(w).held[0]);
		teardown(state);
	}
	setup(state);
}

/* RETRY in the middle of the first: what is before it is taken in, what was sent behind it is not done. */
static void first_is_cut_short(void **state)
{
	struct world *w = *state;

	w->upstream->retry_error = ENOSPC;
	w->upstream->retry_from = 2;
	w->upstream->company = 3;
	append_stores(w);
	connect_now(w);
	UNTIL(5, strstr(status(w).held, "its disk is full; make room there"));
	WAIT_FOR(w->cache, 5, w->cache->n_out == 0);
	assert_int_equal(waiting(w), STORES - 1);
	/* and that is it for a while: nothing more was taken than what was out by then */
	usleep(300000);
	assert_true(CACHED(taken) <= STORES / 2);
	LOCKED(w->upstream, w->upstream->retry_error = 0);
	replicate_sync(w->replicate);
	assert_replayed(w, STORES);
}

/* A file that does not keep still, in the middle of the second: nothing passes it. */
static void end_of_one_does_not_go(void **state)
{
	struct world *w = *state;

	append_stores(w);
	w->cache->log[3].changes = -1;
	connect_now(w);
	UNTIL(20, strstr(status(w).held, "written all the time"));
	WAIT_FOR(w->cache, 5, w->cache->n_out == 0);
	assert_int_equal(waiting(w), STORES - 3);
	assert_int_equal(SERVED(n_done), 3);
	LOCKED(w->cache, w->cache->log[3].changes = 0);
	replicate_sync(w->replicate);
	assert_replayed(w, STORES);
}

static void offline_with_several_out(void **state)
{
	struct world *w = *state;

	hang_all(w);
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	WAIT_FOR(w->cache, 5, w->cache->n_out == 0);
	assert_int_equal(waiting(w), STORES);
	behave(w->upstream);
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	assert_replayed(w, STORES);
}

static void stopped_with_several_out(void **state)
{
	struct world *w = *state;

	hang_all(w);
	stop(w);
	assert_int_equal(w->cache->n_out, 0);
	behave(w->upstream);
	start(w);
	assert_replayed(w, STORES);
}

/* What stands before a large content goes while that is sent ahead. */
static void small_ones_do_not_wait_for_large_ones(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	double_append(w->cache, true, 100, 0);
	double_append(w->cache, true, 3u << 20, 0);
	double_append(w->cache, true, 100, 0);
	double_append(w->cache, true, 3u << 20, 0);
	connect_now(w);
	WAIT_FOR(w->cache, 5, double_waiting(w->cache) == 3);
	/* and the next large one goes beside the first */
	UNTIL(5, SERVED(gone_wrong) == 2);
	behave(w->upstream);
	assert_replayed(w, 4);
}

/* A DETACH is never sent without the record behind it, however large that is. */
static void detach_goes_along(void **state)
{
	static const uint64_t sizes[] = { 100, 3u << 20, 100 };
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		double_append(w->cache, false, 0, 0);
		w->cache->log[w->cache->n - 1].is_detach = true;
		double_append(w->cache, true, sizes[i], 0);
	}
	connect_now(w);
	assert_replayed(w, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_order),
		TEST(one_at_a_time),
		TEST(second_fails),
		TEST(first_is_cut_short),
		TEST(end_of_one_does_not_go),
		TEST(offline_with_several_out),
		TEST(stopped_with_several_out),
		TEST(small_ones_do_not_wait_for_large_ones),
		TEST(detach_goes_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
