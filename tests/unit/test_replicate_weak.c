/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A weak link, and one that is paid for: what goes, what waits, who goes ahead; between a double of the cache and an upstream. */
#include "tests/unit/replicate_cache.h"
#include "tests/unit/replicate_upstream.h"
#include "replicate/bandwidth.h"
#include "replicate/pace.h"
#include "replicate/replay.h"
#include "replicate/replicate.h"

#define WINDOW_S 60
#define LARGE (3u << 20)		/* staged, in several pieces */

struct world {
	struct cache *cache;
	struct upstream *upstream;
	struct replicate *replicate;
};

static struct replicate_status status(struct world *w)
{
	struct replicate_status s;

	replicate_get_status(w->replicate, &s);
	return s;
}

#define COUNTED(owner, field) ({ \
		__typeof__((owner)->field) value_; \
		pthread_mutex_lock(&(owner)->lock); \
		value_ = (owner)->field; \
		pthread_mutex_unlock(&(owner)->lock); \
		value_; \
	})
#define CACHED(field) COUNTED(w->cache, field)
#define SERVED(field) COUNTED(w->upstream, field)

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->cache = double_new();
	w->upstream = upstream_new();
	upstream_start(w->upstream);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->replicate)
		replicate_stop(w->replicate);
	upstream_free(w->upstream);
	assert_int_equal(w->cache->n_out, 0);
	double_free(w->cache);
	free(w);
	return 0;
}

static void start(struct world *w, enum link_kind kind, const struct bandwidth *limits, size_t n_limits)
{
	struct replicate_config config = { .cache = w->cache, .url = w->upstream->url, .host = "testhost", .kind = kind,
					   .window_s = WINDOW_S, .limits = limits, .n_limits = n_limits };

	assert_int_equal(replicate_start(&config, &w->replicate, NULL), 0);
	UNTIL(30, link_is_up(status(w).state));
}

static void say(struct world *w, enum link_kind kind)
{
	assert_int_equal(replicate_set_kind(w->replicate, &kind), 0);
	UNTIL(30, status(w).kind == kind);
}

static size_t waiting(struct world *w)
{
	size_t n;

	LOCKED(w->cache, n = double_waiting(w->cache));
	return n;
}

/* The log has been looked at since, and nothing was found that may go. */
static void looked(struct world *w)
{
	unsigned before = CACHED(taken);

	UNTIL(30, CACHED(taken) > before);
}

static void young_waits(void **state)
{
	struct world *w = *state;

	start(w, LINK_KIND_WEAK, NULL, 0);
	assert_int_equal(status(w).state, LINK_WEAK);
	assert_non_null(strstr(status(w).reason, "said to be so"));
	double_append(w->cache, false, 0, 0);
	double_append(w->cache, true, 100, 0);
	looked(w);
	UNTIL(30, strstr(status(w).waits, "60 s old"));
	assert_int_equal(waiting(w), 2);
	assert_int_equal(SERVED(replays), 0);
	assert_string_equal(status(w).held, "");
	/* by and by it is of age; what came later is not */
	clock_advance((WINDOW_S - 1) * US_PER_S);
	double_append(w->cache, false, 0, 0);
	clock_advance(1 * US_PER_S);
	UNTIL(30, waiting(w) == 1);
	assert_int_equal(SERVED(n_done), 2);
	assert_int_equal(w->upstream->done[1].seq, 2);
}

/* An editor saves all the time by way of a temporary file: the log has one record of it, which is always young. */
static void always_young(void **state)
{
	struct world *w = *state;
	unsigned windows = 0;

	start(w, LINK_KIND_WEAK, NULL, 0);
	double_append(w->cache, false, 0, 0);
	looked(w);
	while (waiting(w) && windows <= REPLAY_WINDOWS) {
		unsigned looks = CACHED(taken);

		LOCKED(w->cache, w->cache->log[0].born_us = clock_us() + WINDOW_S * US_PER_S);
		clock_advance(WINDOW_S * US_PER_S);
		windows++;
		UNTIL(30, CACHED(taken) > looks);
		if (windows < REPLAY_WINDOWS)
			assert_int_equal(waiting(w), 1);
		else
			UNTIL(30, waiting(w) == 0);
	}
	assert_int_equal(windows, REPLAY_WINDOWS);
}

static void asked_goes(void **state)
{
	struct world *w = *state;

	start(w, LINK_KIND_WEAK, NULL, 0);
	double_append(w->cache, true, 100, 0);
	looked(w);
	assert_int_equal(replicate_sync(w->replicate), 0);
	UNTIL(30, waiting(w) == 0);
	/* Once; what comes before replay has found the log empty goes with it. */
	UNTIL(30, !status(w).waits[0] && !status(w).is_replaying);
	double_append(w->cache, true, 100, 0);
	UNTIL(30, strstr(status(w).waits, "60 s old"));
	assert_int_equal(waiting(w), 1);
	/* --online asks too */
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	UNTIL(30, status(w).state == LINK_OFFLINE);
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	UNTIL(30, waiting(w) == 0);
}

/* From weak to strong nothing is given up, and what waited goes. */
static void gets_better(void **state)
{
	struct world *w = *state;
	unsigned lost;

	start(w, LINK_KIND_WEAK, NULL, 0);
	lost = CACHED(link_lost);
	double_append(w->cache, true, 100, 0);
	looked(w);
	say(w, LINK_KIND_STRONG);
	UNTIL(30, status(w).state == LINK_CONNECTED);
	UNTIL(30, waiting(w) == 0);
	assert_string_equal(status(w).waits, "");
	assert_int_equal(CACHED(link_lost), lost);
	say(w, LINK_KIND_WEAK);
	UNTIL(30, status(w).state == LINK_WEAK);
}

static void takes_last(struct world *w, bool do_they)
{
	LOCKED(w->cache, w->cache->takes_last = do_they);
	pthread_cond_broadcast(&w->cache->changed);
}

/* It does so while the log is looked through for what may go on a weak one. */
static void gets_better_meanwhile(void **state)
{
	struct world *w = *state;

	start(w, LINK_KIND_WEAK, NULL, 0);
	takes_last(w, true);
	double_append(w->cache, true, 100, 0);
	looked(w);
	say(w, LINK_KIND_STRONG);
	UNTIL(30, status(w).state == LINK_CONNECTED);
	takes_last(w, false);
	UNTIL(30, waiting(w) == 0);
}

static void wish(struct world *w, uint64_t ino, uint64_t offset, uint64_t len)
{
	struct kml_oid oid = { 1, ino };

	w->cache->fetcher->data(w->cache->fetcher_arg, ino, &oid, w->upstream->content_version, offset, len);
}

/*
 * A large file goes in small pieces, and a piece that does not get through keeps no reader waiting: it is answered while the piece
 * still hangs.
 */
static void read_goes_ahead(void **state)
{
	struct world *w = *state;
	unsigned requests;

	w->upstream->content_version = 3;
	w->upstream->content_len = 500000;
	start(w, LINK_KIND_WEAK, NULL, 0);
	misbehave(w->upstream, "PUT", "/izo/v1/stage", HANG, 0, -1);
	double_append(w->cache, true, LARGE, 0);
	clock_advance(WINDOW_S * US_PER_S);
	UNTIL(30, SERVED(gone_wrong) >= 1);
	assert_int_equal(SERVED(staged_bytes), 0);
	wish(w, 5, 0, 400000);
	UNTIL(30, CACHED(contents_ended) == 1);
	assert_int_equal(SERVED(staged_bytes), 0);
	assert_int_equal(waiting(w), 1);
	requests = SERVED(requests);
	behave(w->upstream);
	/* Between two pieces it rests. */
	for (int i = 0; i < 200 && waiting(w); i++) {
		clock_advance(100 * US_PER_MS);
		usleep(20000);
	}
	UNTIL(30, waiting(w) == 0);
	assert_int_equal(SERVED(staged_bytes), LARGE);
	/* each a few seconds of the slowest link that nothing is known of */
	assert_true(SERVED(requests) - requests >= LARGE / PACE_BYTES_WEAK - 1);
	assert_true(CACHED(most_bytes) <= PACE_BYTES_MAX);
}

static void hoards(struct world *w, bool may)
{
	UNTIL(30, w->cache->fetcher->may_hoard(w->cache->fetcher_arg) == may);
	UNTIL(30, w->cache->fetcher->may_guess(w->cache->fetcher_arg) == may);
}

static void paid_is_asked_for(void **state)
{
	struct world *w = *state;
	unsigned journals;

	w->upstream->content_version = 3;
	w->upstream->content_len = 500000;
	w->upstream->position = 5;
	start(w, LINK_KIND_PAID, NULL, 0);
	assert_int_equal(status(w).kind, LINK_KIND_PAID);
	hoards(w, false);
	/* what has changed is looked at, once */
	WAIT_FOR(w->cache, 30, w->cache->position == 5);
	journals = SERVED(journals);
	double_append(w->cache, true, 100, 0);
	UNTIL(30, strstr(status(w).waits, "paid for"));
	clock_advance(10 * WINDOW_S * US_PER_S / 4);
	/* a reader is asking */
	wish(w, 5, 0, 400000);
	UNTIL(30, CACHED(contents_ended) == 1);
	assert_int_equal(CACHED(deep_listings), 0);
	assert_int_equal(SERVED(replays), 0);
	assert_int_equal(SERVED(journals), journals);
	assert_int_equal(waiting(w), 1);
	/* so is --sync, for what there is now */
	upstream_change(w->upstream, 1);
	assert_int_equal(replicate_sync(w->replicate), 0);
	UNTIL(30, waiting(w) == 0);
	WAIT_FOR(w->cache, 30, w->cache->position >= 6);
	UNTIL(30, strstr(status(w).waits, "paid for") || !status(w).is_replaying);
	double_append(w->cache, true, 100, 0);
	UNTIL(30, strstr(status(w).waits, "paid for"));
	assert_int_equal(waiting(w), 1);
	/* the journal is looked at again after some minutes */
	upstream_change(w->upstream, 1);
	clock_advance(PACE_PULL_US);
	WAIT_FOR(w->cache, 30, w->cache->position == w->upstream->position);
	/* it is not paid for any more */
	say(w, LINK_KIND_AUTO);
	UNTIL(30, waiting(w) == 0);
	WAIT_FOR(w->cache, 30, w->cache->deep_listings == 1);
	hoards(w, true);
	upstream_change(w->upstream, 1);
	WAIT_FOR(w->cache, 30, w->cache->position == w->upstream->position);
}

/* All requests together; on the real clock, so that only the lower bound of the time says something. */
static void limits_hold(void **state)
{
	static const struct bandwidth limits[] = { { .up = 200000, .down = 200000 } };
	struct world *w = *state;
	uint64_t began_us;

	w->upstream->content_version = 3;
	w->upstream->content_len = 400000;
	w->upstream->cannot_unpack = true;	/* so that what is sent has the size that it has */
	start(w, LINK_KIND_STRONG, limits, 1);
	assert_int_equal(status(w).up_limit, 200000);
	assert_int_equal(status(w).down_limit, 200000);
	WAIT_FOR(w->cache, 30, w->cache->deep_listings == 1);
	began_us = clock_us();
	/* each is more than may have been saved up, however slow this machine is, so each is held back */
	for (uint64_t ino = 5; ino < 7; ino++)
		wish(w, ino, 0, 400000);
	UNTIL(30, CACHED(contents_ended) == 2);
	/* 600,000 bytes at least at 200,000 a second, of which one second's may have been there */
	assert_true(clock_us() - began_us >= 17 * US_PER_S / 10);
	began_us = clock_us();
	double_append(w->cache, true, 600000, 0);
	UNTIL(30, waiting(w) == 0);
	assert_true(clock_us() - began_us >= 17 * US_PER_S / 10);
	assert_int_equal(status(w).state, LINK_CONNECTED);
	/* what was held back by us says nothing of the link */
	assert_int_equal(status(w).down_rate, 0);
}

/* What was said stays, over a restart, until it is taken back. */
static void word_is_kept(void **state)
{
	struct world *w = *state;

	start(w, LINK_KIND_AUTO, NULL, 0);
	say(w, LINK_KIND_PAID);
	replicate_stop(w->replicate);
	start(w, LINK_KIND_WEAK, NULL, 0);
	assert_int_equal(status(w).kind, LINK_KIND_PAID);
	assert_int_equal(status(w).state, LINK_CONNECTED);
	assert_int_equal(replicate_set_kind(w->replicate, NULL), 0);
	UNTIL(30, status(w).state == LINK_WEAK);
	assert_int_equal(status(w).kind, LINK_KIND_WEAK);
}

static void is_measured(void **state)
{
	struct world *w = *state;

	w->upstream->content_version = 3;
	w->upstream->content_len = CONTENT_MAX;
	start(w, LINK_KIND_AUTO, NULL, 0);
	UNTIL(30, status(w).round_trip_us > 0);
	wish(w, 5, 0, CONTENT_MAX);
	UNTIL(30, CACHED(contents_ended) == 1);
	UNTIL(30, status(w).down_rate > 0);
	assert_int_equal(status(w).state, LINK_CONNECTED);
	/* This server does not say how long it worked: who knows what was the link's part. */
	double_append(w->cache, true, 1 << 20, 0);
	UNTIL(30, waiting(w) == 0);
	assert_int_equal(status(w).up_rate, 0);
	/* it is another link then, for all we know */
	upstream_stop(w->upstream);
	UNTIL(30, !link_is_up(status(w).state));
	assert_int_equal(status(w).down_rate, 0);
	upstream_start(w->upstream);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(young_waits),
		TEST(always_young),
		TEST(asked_goes),
		TEST(gets_better),
		TEST(gets_better_meanwhile),
		TEST(read_goes_ahead),
		TEST(paid_is_asked_for),
		TEST(limits_hold),
		TEST(word_is_kept),
		TEST(is_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
