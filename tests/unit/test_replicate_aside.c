/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Large contents are sent ahead while their records stand aside: small ones pass, whatever becomes of the large ones. */
#include "tests/unit/replicate_world.h"

#include "base/fault.h"
#include "base/log.h"
#include "replicate/aside.h"
#include "replicate/stage.h"

#define LARGE (2u << 20)
#define SMALL 100u

static int aside_setup(void **state)
{
	struct world *w;

	setup(state);
	w = *state;
	w->cache->stands_aside = true;
	return 0;
}

/* One large one, and three small ones behind it. */
static void append_some(struct world *w, uint64_t size, int changes)
{
	double_append(w->cache, true, size, changes);
	for (unsigned i = 0; i < 3; i++)
		double_append(w->cache, true, SMALL, 0);
}

/* The first that was appended, and only that one, has not come. */
static bool small_ones_came(struct world *w)
{
	return SERVED(n_done) == 3 && waiting(w) == 1;
}

static void assert_came(struct world *w, size_t at, uint64_t number, uint64_t size)
{
	struct upstream *u = w->upstream;

	assert_true(at < u->n_done);
	assert_int_equal(u->done[at].len, size);
	for (uint64_t i = 0; i < size; i++)
		if (u->done[at].data[i] != byte_at(number, i))
			fail_msg("number %llu differs at %llu", (unsigned long long)number, (unsigned long long)i);
}

static void all_came(struct world *w, size_t n)
{
	WAIT_FOR(w->cache, 20, double_waiting(w->cache) == 0);
	assert_int_equal(w->upstream->n_done, n);
	assert_int_equal(w->upstream->done_twice, 0);
	assert_int_equal(w->upstream->n_staged, 0);
}

static void small_ones_pass(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	append_some(w, LARGE, 0);
	connect_now(w);
	UNTIL(10, small_ones_came(w));
	assert_true(status(w).is_replaying);
	/* Later ones, too. */
	double_append(w->cache, true, SMALL, 0);
	UNTIL(10, SERVED(n_done) == 4);
	behave(w->upstream);
	all_came(w, 5);
	assert_came(w, 4, 1, LARGE);
	/* It was sent once: what was there when its record was taken was not sent again. */
	assert_int_equal(w->upstream->staged_bytes, LARGE);
}

static void several_go_beside_each_other(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	for (unsigned i = 0; i < 2 * ASIDE_SLOTS + 1; i++)
		double_append(w->cache, true, LARGE + i, 0);
	double_append(w->cache, true, SMALL, 0);
	connect_now(w);
	UNTIL(10, SERVED(n_done) == 1);
	UNTIL(10, SERVED(gone_wrong) == ASIDE_SLOTS);
	behave(w->upstream);
	all_came(w, 2 * ASIDE_SLOTS + 2);
	assert_int_equal(w->upstream->gone_wrong, ASIDE_SLOTS);
	for (unsigned at = 1; at < w->upstream->n_done; at++)
		assert_came(w, at, w->upstream->done[at].len - LARGE + 1, w->upstream->done[at].len);
}

/* No room upstream for it: said, tried again, and nobody else's trouble. */
static void refused(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", STATUS, 507, -1);
	append_some(w, LARGE, 0);
	connect_now(w);
	UNTIL(10, small_ones_came(w));
	UNTIL(10, strstr(status(w).held, "does not take a large file"));
	double_append(w->cache, true, SMALL, 0);
	UNTIL(10, SERVED(n_done) == 4);
	assert_non_null(strstr(status(w).held, "does not take a large file"));
	assert_int_equal(status(w).state, LINK_CONNECTED);
	behave(w->upstream);
	all_came(w, 5);
	UNTIL(5, !status(w).held[0]);
}

static int changes_left(struct cache *cache)
{
	int left = -1;

	for (size_t i = 0; i < cache->n; i++)
		if (cache->log[i].number == 1)
			left = cache->log[i].changes;
	return left;
}

/* Of one that is being written no copy is made as long as it can wait; then it is taken as it stands, and gets there. */
static void never_still(void **state)
{
	struct world *w = *state;
	unsigned changes = ASIDE_TRIES * STAGE_LIVE + STAGE_LIVE;

	append_some(w, LARGE, (int)changes);
	connect_now(w);
	UNTIL(10, small_ones_came(w));
	for (unsigned i = 1; i < ASIDE_TRIES; i++) {
		WAIT_FOR(w->cache, 10, changes_left(w->cache) == (int)(changes - i * STAGE_LIVE));
		/* Its time has come when the clock says so, and somebody looks: a small one is a reason to. */
		clock_advance(ASIDE_STILL_US);
		double_append(w->cache, true, SMALL, 0);
	}
	all_came(w, 4 + ASIDE_TRIES - 1);
	assert_came(w, w->upstream->n_done - 1, 1, LARGE + changes);
	assert_int_equal(CACHED(looks), ASIDE_TRIES);
}

static void the_link_is_lost(void **state)
{
	struct world *w = *state;
	uint64_t size = STAGE_ALL + LARGE;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", CUT_BODY, 0, 1);
	append_some(w, size, 0);
	connect_now(w);
	all_came(w, 4);
	assert_came(w, 3, 1, size);
	/* Half of it was there, and was not sent again. */
	assert_true(w->upstream->staged_bytes < size + size / 4);
}

static void stopped_in_the_middle(void **state)
{
	struct world *w = *state;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	append_some(w, LARGE, 0);
	connect_now(w);
	UNTIL(10, SERVED(gone_wrong) == 1);
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	UNTIL(5, status(w).state == LINK_OFFLINE);
	UNTIL(5, !status(w).is_replaying);
	behave(w->upstream);
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	all_came(w, 4);
	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	double_append(w->cache, true, LARGE, 0);
	UNTIL(10, SERVED(gone_wrong) == 2);
	/* The teardown stops it: within three seconds, with nothing left out. */
}

/* The look finds nothing that can go, and by then there is something. */
static void appended_while_the_log_is_looked_at(void **state)
{
	struct world *w = *state;
	unsigned looks;

	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	append_some(w, LARGE, 0);
	connect_now(w);
	UNTIL(10, small_ones_came(w));
	UNTIL(10, SERVED(gone_wrong) == 1);
	LOCKED(w->cache, w->cache->takes_last = true; looks = w->cache->taken);
	replicate_sync(w->replicate);
	UNTIL(10, CACHED(taken) > looks);
	double_append(w->cache, true, SMALL, 0);
	usleep(300000);		/* that has been told, most likely; else this finds nothing */
	LOCKED(w->cache, w->cache->takes_last = false);
	UNTIL(10, SERVED(n_done) == 4);
	behave(w->upstream);
	all_came(w, 5);
}

#ifdef IZO_FAULTS
static void wait_for_another(void *arg)
{
	struct world *w = arg;

	/* Is to be looked through as it was before this one is known to be upstream. */
	(void)replicate_sync(w->replicate);
	usleep(300000);		/* that has been taken up, most likely; else this finds nothing */
}

/* Who looks into the log meanwhile does not know of it yet, and finds nothing that can go. */
static void ready_while_the_log_is_looked_at(void **state)
{
	struct world *w = *state;

	fault_call("stage.look", 1, wait_for_another, w);
	double_append(w->cache, true, LARGE, 0);
	connect_now(w);
	all_came(w, 1);
	fault_call("", 0, NULL, NULL);
}
#endif

#define ASIDE_TEST(name) cmocka_unit_test_setup_teardown(name, aside_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ASIDE_TEST(small_ones_pass),
		ASIDE_TEST(several_go_beside_each_other),
		ASIDE_TEST(refused),
		ASIDE_TEST(never_still),
		ASIDE_TEST(appended_while_the_log_is_looked_at),
#ifdef IZO_FAULTS
		ASIDE_TEST(ready_while_the_log_is_looked_at),
#endif
		ASIDE_TEST(the_link_is_lost),
		ASIDE_TEST(stopped_in_the_middle),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
