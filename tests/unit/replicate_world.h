/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replicate_world: the whole of replicate/ between a double of the cache and an upstream that misbehaves. */
#ifndef TESTS_REPLICATE_WORLD_H
#define TESTS_REPLICATE_WORLD_H

#include "tests/unit/replicate_cache.h"
#include "tests/unit/replicate_upstream.h"
#include "replicate/fetch.h"
#include "replicate/replicate.h"

struct world {
	struct cache *cache;
	struct upstream *upstream;
	struct replicate *replicate;
};

static UNUSED size_t waiting(struct world *w)
{
	size_t n;

	LOCKED(w->cache, n = double_waiting(w->cache));
	return n;
}

static UNUSED struct replicate_status status(struct world *w)
{
	struct replicate_status s;

	replicate_get_status(w->replicate, &s);
	return s;
}

/* What another thread counts. */
#define COUNTED(owner, field) ({ \
		__typeof__((owner)->field) value_; \
		pthread_mutex_lock(&(owner)->lock); \
		value_ = (owner)->field; \
		pthread_mutex_unlock(&(owner)->lock); \
		value_; \
	})
#define CACHED(field) COUNTED(w->cache, field)
#define SERVED(field) COUNTED(w->upstream, field)

static UNUSED int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->cache = double_new();
	w->upstream = upstream_new();
	upstream_start(w->upstream);
	*state = w;
	return 0;
}

static UNUSED void start(struct world *w)
{
	struct replicate_config config = { .cache = w->cache,
					   .url = w->upstream->url,
					   .host = "testhost" };

	assert_int_equal(replicate_start(&config, &w->replicate, NULL), 0);
}

static UNUSED void stop(struct world *w)
{
	uint64_t began = clock_us();

	replicate_stop(w->replicate);
	w->replicate = NULL;
	assert_true(clock_us() - began < patient_s(20) * US_PER_S);
}

static UNUSED int teardown(void **state)
{
	struct world *w = *state;

	if (w->replicate)
		stop(w);
	upstream_free(w->upstream);
	assert_null(w->cache->fetcher);
	assert_int_equal(w->cache->n_out, 0);
	double_free(w->cache);
	free(w);
	return 0;
}

static UNUSED void connect_now(struct world *w)
{
	start(w);
	UNTIL(5, status(w).state == LINK_CONNECTED);
}

/* Everything in the log arrived, once, and is what it was. */
static UNUSED void assert_replayed(struct world *w, size_t n)
{
	struct upstream *u = w->upstream;

	WAIT_FOR(w->cache, 20, double_waiting(w->cache) == 0);
	/* Nothing is under way any more: it needs no lock, which a failure would leave locked. */
	assert_int_equal(u->done_twice, 0);
	assert_int_equal(u->n_done, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(u->done[i].seq, i + 1);
		if (u->done[i].op != KML_STORE)
			continue;
		assert_int_equal(u->done[i].len, w->cache->log[i].size);
		for (uint64_t k = 0; k < u->done[i].len; k++)
			if (u->done[i].data[k] != byte_at(i + 1, k))
				fail_msg("seq %zu differs at %llu", i + 1, (unsigned long long)k);
	}
	assert_int_equal(u->n_staged, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
