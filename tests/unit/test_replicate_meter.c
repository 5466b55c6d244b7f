/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is measured of a link, and when it is weak. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/mem.h"
#include "replicate/meter.h"

#define MS US_PER_MS
#define KIB 1024u

static void trips(struct meter *meter, unsigned n, uint64_t us)
{
	while (n--)
		meter_round_trip(meter, us);
}

/* So much at such a rate, in bytes a second. */
static void transfers(struct meter *meter, unsigned n, enum meter_way way, uint64_t bytes, uint64_t rate)
{
	while (n--)
		meter_transfer(meter, way, bytes, bytes * US_PER_S / rate);
}

/* RFC 6298, 2.2 and 2.3, by hand. */
static void round_trip_is_smoothed(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	meter_round_trip(&meter, 80 * MS);
	assert_int_equal(meter.round_trip_us, 80 * MS);
	assert_int_equal(meter.variation_us, 40 * MS);
	/* the fourth one in a row is believed */
	trips(&meter, METER_LEAST_OF, 160 * MS);
	assert_int_equal(meter.round_trip_us, 90 * MS);
	assert_int_equal(meter.variation_us, (uint64_t)(((40 * 0.75 * 0.75 * 0.75) * 0.75 + 20) * MS));
	/* a shorter one at once, and sooner */
	meter_round_trip(&meter, 40 * MS);
	assert_int_equal(meter.round_trip_us, 65 * MS);
}

/* A busy server answers late, but nothing answers early. */
static void server_that_is_slow(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	trips(&meter, 4, 20 * MS);
	for (int i = 0; i < 20; i++) {
		trips(&meter, METER_LEAST_OF - 1, 3000 * MS);
		trips(&meter, 1, 20 * MS);
	}
	assert_int_equal(meter.round_trip_us, 20 * MS);
	assert_false(meter.is_weak);
	trips(&meter, 10, 3000 * MS);
	assert_true(meter.is_weak);
}

static void small_ones_say_nothing(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	trips(&meter, 1, 10 * MS);
	transfers(&meter, 50, METER_UP, METER_LARGE - 1, 1000);
	assert_int_equal(meter.rate[METER_UP], 0);
	assert_false(meter.is_weak);
}

/* 64 KiB in three round trips of 100 ms: that is TCP's beginning, whatever the link is. */
static void short_ones_only_raise(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	trips(&meter, 4, 100 * MS);
	for (int i = 0; i < 10; i++)
		meter_transfer(&meter, METER_DOWN, METER_LARGE, 700 * MS);
	assert_int_equal(meter.rate[METER_DOWN], 0);
	transfers(&meter, 1, METER_DOWN, 10 << 20, 1000 * KIB);
	assert_int_equal(meter.rate[METER_DOWN], 1000 * KIB);
	for (int i = 0; i < 10; i++)
		meter_transfer(&meter, METER_DOWN, METER_LARGE, 700 * MS);
	assert_int_equal(meter.rate[METER_DOWN], 1000 * KIB);
	meter_transfer(&meter, METER_DOWN, 4 << 20, 700 * MS);
	assert_int_equal(meter.rate[METER_DOWN], (4ull << 20) * 10 / 7);
}

/* One transfer that was slow, among others, is another's doing. */
static void rates_are_of_the_better(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	trips(&meter, 1, 1 * MS);
	transfers(&meter, 2, METER_UP, 1 << 20, 1000 * KIB);
	for (int i = 0; i < 10; i++) {
		transfers(&meter, 1, METER_UP, 1 << 20, 10 * KIB);
		transfers(&meter, 1, METER_UP, 1 << 20, 1000 * KIB);
	}
	assert_in_range(meter.rate[METER_UP], 999 * KIB, 1000 * KIB);
	transfers(&meter, 20, METER_UP, 1 << 20, 10 * KIB);
	assert_in_range(meter.rate[METER_UP], 10 * KIB - 1, 11 * KIB);
}

static const struct verdict_case {
	const char *name;
	uint64_t trip_ms, up, down;	/* 0: unknown */
	bool from_strong, from_weak;	/* is weak then, having been the one or the other */
} verdicts[] = {
	{ "a network in the house", 1, 100 << 20, 100 << 20, false, false },
	{ "100 ms each way, 10 Mbit/s", 200, 1280 * KIB, 1280 * KIB, false, false },
	{ "by satellite", 600, 500 * KIB, 5000 * KIB, true, true },
	{ "a telephone, far from everything", 120, 20 * KIB, 100 * KIB, true, true },
	{ "slow one way is slow", 30, 60 * KIB, 2000 * KIB, true, true },
	{ "the other way too", 30, 2000 * KIB, 60 * KIB, true, true },
	{ "in between, by rate", 30, 200 * KIB, 2000 * KIB, false, true },
	{ "in between, by round trip", 350, 2000 * KIB, 2000 * KIB, false, true },
	{ "nothing but round trips, short", 30, 0, 0, false, false },
	{ "nothing but round trips, long", 900, 0, 0, true, true },
};

static void see(struct meter *meter, uint64_t trip_ms, uint64_t up, uint64_t down)
{
	for (int i = 0; i < 40; i++) {
		trips(meter, 1, trip_ms * MS);
		if (up)
			transfers(meter, 1, METER_UP, 64 << 20, up);
		if (down)
			transfers(meter, 1, METER_DOWN, 64 << 20, down);
	}
}

static void weak_or_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
		const struct verdict_case *c = &verdicts[i];

		for (int was_weak = 0; was_weak < 2; was_weak++) {
			struct meter meter = { 0 };

			see(&meter, was_weak ? 2000 : 1, 0, 0);
			assert_int_equal(meter.is_weak, was_weak);
			see(&meter, c->trip_ms, c->up, c->down);
			if (meter.is_weak != (was_weak ? c->from_weak : c->from_strong))
				fail_msg("%s, having been %s", c->name, was_weak ? "weak" : "strong");
		}
	}
}

/* Rates that go up and down around one mark change nothing any more. */
static void does_not_flap(void **state)
{
	struct meter meter = { 0 };
	unsigned changes = 0;

	(void)state;
	trips(&meter, 4, 20 * MS);
	for (unsigned i = 0; i < 1000; i++) {
		bool was = meter.is_weak;

		transfers(&meter, 1, METER_UP, 8 << 20, i / 5 % 2 ? METER_WEAK_RATE * 3 / 2 : METER_WEAK_RATE / 2);
		changes += meter.is_weak != was;
	}
	assert_in_range(changes, 0, 1);
}

static void not_by_one_sample(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	for (int i = 0; i < METER_AGREE; i++) {
		assert_false(meter.is_weak);
		trips(&meter, 1, 5000 * MS);
	}
	assert_true(meter.is_weak);
	/* nor by one transfer and many round trips */
	meter = (struct meter){ 0 };
	trips(&meter, 4, 20 * MS);
	for (int i = 0; i < METER_AGREE; i++) {
		assert_false(meter.is_weak);
		transfers(&meter, 1, METER_DOWN, 1 << 20, 10 * KIB);
		if (i + 1 < METER_AGREE)
			trips(&meter, 20, 20 * MS);
	}
	assert_true(meter.is_weak);
}

/* After a break it may be another network: figures go, and the first sample decides. */
static void forgets(void **state)
{
	struct meter meter = { 0 };

	(void)state;
	see(&meter, 900, 10 * KIB, 10 * KIB);
	assert_true(meter.is_weak);
	meter_forget(&meter);
	assert_true(meter.is_weak);
	assert_int_equal(meter.rate[METER_UP], 0);
	trips(&meter, 1, 2 * MS);
	assert_int_equal(meter.round_trip_us, 2 * MS);
	assert_false(meter.is_weak);
	/* a good one that begins slowly stays one */
	meter_forget(&meter);
	trips(&meter, METER_AGREE - 1, 2000 * MS);
	assert_false(meter.is_weak);
	trips(&meter, 1, 2000 * MS);
	assert_true(meter.is_weak);
	/* and comes back within a few */
	trips(&meter, 8, 2 * MS);
	assert_false(meter.is_weak);
}

static void printed(void **state)
{
	struct meter meter = { .round_trip_us = 812 * MS, .rate = { [METER_UP] = 37 * KIB } };
	char text[80];

	(void)state;
	meter_print(&meter, text, sizeof(text));
	assert_string_equal(text, "round trip 812 ms, 37 KiB/s up");
	meter = (struct meter){ .round_trip_us = 1500, .rate = { 2048 * KIB, 5 * KIB } };
	meter_print(&meter, text, sizeof(text));
	assert_string_equal(text, "round trip 1.5 ms, 2.0 MiB/s up, 5.0 KiB/s down");
	meter_print(&meter, text, 20);
	assert_int_equal(strlen(text), 19);
	meter = (struct meter){ 0 };
	meter_print(&meter, text, sizeof(text));
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip_is_smoothed),
		cmocka_unit_test(server_that_is_slow),
		cmocka_unit_test(small_ones_say_nothing),
		cmocka_unit_test(short_ones_only_raise),
		cmocka_unit_test(rates_are_of_the_better),
		cmocka_unit_test(weak_or_not),
		cmocka_unit_test(does_not_flap),
		cmocka_unit_test(not_by_one_sample),
		cmocka_unit_test(forgets),
		cmocka_unit_test(printed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
