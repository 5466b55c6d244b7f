/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits, who goes ahead of whom, limits by the time of day, the pace of each state: all on a clock of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "replicate/bandwidth.h"
#include "replicate/flow.h"
#include "replicate/pace.h"

#define RATE 100000u
#define START_US (1000 * US_PER_S)

/* Everybody sends as much as he may for so long: how many bytes each of them gets through. */
static void run(struct flow *flow, const enum flow_class *classes, size_t n, uint64_t us, uint64_t *ret_bytes)
{
	uint64_t since[8] = { 0 };

	memset(ret_bytes, 0, n * sizeof(*ret_bytes));
	for (uint64_t now = START_US; now < START_US + us; now += US_PER_MS) {
		for (size_t i = 0; i < n; i++) {
			size_t piece = flow_piece(flow, FLOW_UP, 200000);

			if (flow_wait_us(flow, classes[i], FLOW_UP, since[i], now)) {
				since[i] = since[i] ? since[i] : now;
				continue;
			}
			since[i] = 0;
			flow_moved(flow, FLOW_UP, piece, now);
			ret_bytes[i] += piece;
		}
	}
}

/* However many there are, and whatever they are: no more than the limit, and not much less. */
static void limit_holds(void **state)
{
	static const enum flow_class classes[] = { FLOW_ASKED, FLOW_AHEAD, FLOW_ASKED, FLOW_AHEAD };

	(void)state;
	for (size_t n = 1; n <= ARRAY_SIZE(classes); n++) {
		for (unsigned share = 50; share <= 100; share += 50) {
			struct flow flow;
			uint64_t bytes[4], sum = 0;

			flow_init(&flow);
			flow_set_share(&flow, share);
			flow_limit(&flow, FLOW_UP, RATE, START_US);
			run(&flow, classes, n, 60 * US_PER_S, bytes);
			for (size_t i = 0; i < n; i++)
				sum += bytes[i];
			assert_in_range(sum, 58 * RATE, 62 * RATE);
		}
	}
}

static void no_limit_no_wait(void **state)
{
	struct flow flow;

	(void)state;
	flow_init(&flow);
	for (int class = FLOW_ASKED; class <= FLOW_CONTROL; class++) {
		flow_began(&flow, FLOW_ASKED);
		flow_moved(&flow, FLOW_DOWN, 1 << 30, START_US);
		assert_int_equal(flow_start_wait_us(&flow, class, 0, START_US), 0);
		assert_int_equal(flow_wait_us(&flow, class, FLOW_DOWN, 0, START_US), 0);
	}
	assert_int_equal(flow_piece(&flow, FLOW_DOWN, 200000), 200000);
}

/* Under a limit who waits gets nearly all; the other one is late, and does not starve. */
static void who_waits_goes_ahead(void **state)
{
	static const enum flow_class classes[] = { FLOW_AHEAD, FLOW_ASKED };
	struct flow flow;
	uint64_t bytes[2];

	(void)state;
	flow_init(&flow);
	flow_limit(&flow, FLOW_UP, RATE, START_US);
	run(&flow, classes, 2, 60 * US_PER_S, bytes);
	assert_true(bytes[1] > 9 * bytes[0]);
	assert_true(bytes[0] > 0);
}

static void limits_are_of_one_way(void **state)
{
	struct flow flow;

	(void)state;
	flow_init(&flow);
	flow_limit(&flow, FLOW_UP, RATE, START_US);
	flow_moved(&flow, FLOW_UP, RATE * 10, START_US);
	assert_int_not_equal(flow_wait_us(&flow, FLOW_ASKED, FLOW_UP, 0, START_US), 0);
	assert_int_equal(flow_wait_us(&flow, FLOW_ASKED, FLOW_DOWN, 0, START_US), 0);
	/* what is small and tells the state of things is counted, not held */
	assert_int_equal(flow_wait_us(&flow, FLOW_CONTROL, FLOW_UP, 0, START_US), 0);
}

/* A second's worth is all that is saved up, however long nothing went; another limit gives nothing. */
static void nothing_is_saved_up(void **state)
{
	struct flow flow;
	uint64_t now = START_US + 3600 * US_PER_S, sum = 0;

	(void)state;
	flow_init(&flow);
	flow_limit(&flow, FLOW_UP, RATE, START_US);
	while (!flow_wait_us(&flow, FLOW_ASKED, FLOW_UP, 0, now)) {
		flow_moved(&flow, FLOW_UP, 1000, now);
		sum += 1000;
	}
	assert_in_range(sum, RATE, RATE + 1000);
	flow_limit(&flow, FLOW_UP, RATE, now);
	assert_int_not_equal(flow_wait_us(&flow, FLOW_ASKED, FLOW_UP, 0, now), 0);
	flow_limit(&flow, FLOW_UP, 2 * RATE, now);
	assert_int_not_equal(flow_wait_us(&flow, FLOW_ASKED, FLOW_UP, 0, now), 0);
	flow_limit(&flow, FLOW_UP, 0, now);
	assert_int_equal(flow_wait_us(&flow, FLOW_ASKED, FLOW_UP, 0, now), 0);
}

/* On a weak link what nobody waits for stands still while somebody waits for something, but for a piece now and then. */
static void weak_stands_aside(void **state)
{
	struct flow flow;
	uint64_t now = START_US;

	(void)state;
	flow_init(&flow);
	flow_set_share(&flow, 50);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now), 0);
	assert_int_equal(flow_wait_us(&flow, FLOW_AHEAD, FLOW_UP, 0, now), 0);
	flow_began(&flow, FLOW_ASKED);
	assert_int_not_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now), 0);
	assert_int_not_equal(flow_wait_us(&flow, FLOW_AHEAD, FLOW_UP, 0, now), 0);
	assert_int_equal(flow_wait_us(&flow, FLOW_ASKED, FLOW_DOWN, 0, now), 0);
	assert_int_not_equal(flow_wait_us(&flow, FLOW_AHEAD, FLOW_UP, now - FLOW_TURN_US + 1, now), 0);
	assert_int_equal(flow_wait_us(&flow, FLOW_AHEAD, FLOW_UP, now - FLOW_TURN_US, now), 0);
	assert_true(flow_piece(&flow, FLOW_UP, 200000) <= 16 << 10);
	flow_ended(&flow, FLOW_ASKED, 0, 0, now);
	assert_int_equal(flow_wait_us(&flow, FLOW_AHEAD, FLOW_UP, 0, now), 0);
	/* that somebody looks at the journal is nobody's wait */
	flow_began(&flow, FLOW_CONTROL);
	assert_int_equal(flow_wait_us(&flow, FLOW_AHEAD, FLOW_UP, 0, now), 0);
}

/* Bodies that nobody waits for rest as long as they took, at a share of a half; requests without one do not. */
static void weak_rests(void **state)
{
	struct flow flow;
	uint64_t now = START_US;

	(void)state;
	flow_init(&flow);
	flow_set_share(&flow, 50);
	flow_began(&flow, FLOW_AHEAD);
	flow_ended(&flow, FLOW_AHEAD, 0, 2 * US_PER_S, now);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now), 0);
	flow_began(&flow, FLOW_AHEAD);
	flow_ended(&flow, FLOW_AHEAD, 1, 2 * US_PER_S, now);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now), 2 * US_PER_S);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_ASKED, 0, now), 0);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_CONTROL, 0, now), 0);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now + 2 * US_PER_S), 0);
	flow_ended(&flow, FLOW_AHEAD, 1, 3600 * US_PER_S, now);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now), FLOW_REST_MAX_US);
	/* and goes on at once when the link is better */
	flow_set_share(&flow, 100);
	assert_int_equal(flow_start_wait_us(&flow, FLOW_AHEAD, 0, now), 0);
}

/* ---- limits by the time of day ---- */

#define AT(h, m) ((h) * 60 + (m))

static void by_the_time_of_day(void **state)
{
	static const struct bandwidth limits[] = {
		{ .up = 1 },
		{ .has_times = true, .from = AT(8, 0), .to = AT(18, 0), .up = 2 },
		{ .has_times = true, .from = AT(22, 30), .to = AT(6, 0), .up = 3 },
		{ .has_times = true, .from = AT(17, 0), .to = AT(20, 0), .up = 4 },
		{ .has_times = true, .from = AT(5, 0), .to = BANDWIDTH_DAY, .up = 5 },
	};
	static const struct {
		unsigned minute;
		size_t n;		/* of the limits above */
		uint64_t up;		/* 0: none */
	} cases[] = {
		{ AT(12, 0), 0, 0 }, { AT(12, 0), 1, 1 },
		{ AT(7, 59), 2, 1 }, { AT(8, 0), 2, 2 }, { AT(17, 59), 2, 2 }, { AT(18, 0), 2, 1 },
		/* over midnight */
		{ AT(22, 29), 3, 1 }, { AT(22, 30), 3, 3 }, { AT(23, 59), 3, 3 }, { AT(0, 0), 3, 3 }, { AT(5, 59), 3, 3 },
		{ AT(6, 0), 3, 1 },
		/* the first one counts */
		{ AT(17, 30), 4, 2 }, { AT(18, 0), 4, 4 }, { AT(20, 0), 4, 1 },
		{ AT(5, 30), 5, 3 }, { AT(6, 30), 5, 5 }, { AT(23, 59), 5, 3 }, { AT(21, 0), 5, 5 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct bandwidth *got = bandwidth_at(limits, cases[i].n, cases[i].minute);

		if ((got ? got->up : 0) != cases[i].up)
			fail_msg("%02u:%02u of %zu: %d", cases[i].minute / 60, cases[i].minute % 60, cases[i].n,
				 got ? (int)got->up : 0);
	}
	assert_in_range(bandwidth_minute(), 0, BANDWIDTH_DAY - 1);
}

/* ---- the pace ---- */

static void pace_of_each_state(void **state)
{
	struct pace pace = pace_of(LINK_CONNECTED, false, false, 0, 60);

	(void)state;
	assert_true(pace.may_replay && pace.may_list && pace.may_hoard);
	assert_int_equal(pace.min_age_s, 0);
	assert_int_equal(pace.share, 100);
	assert_int_equal(pace.pull_us, 0);

	pace = pace_of(LINK_WEAK, false, false, 0, 60);
	assert_true(pace.may_replay && pace.may_list && pace.may_hoard);
	assert_int_equal(pace.min_age_s, 60);
	assert_int_equal(pace.share, PACE_SHARE);
	assert_int_equal(pace.batches, 1);
	assert_int_equal(pace.stale, 1);

	/* asked for: at once, without rest; readers still go ahead */
	pace = pace_of(LINK_WEAK, false, true, 0, 60);
	assert_int_equal(pace.min_age_s, 0);
	assert_in_range(pace.share, 90, 99);

	for (int s = LINK_WEAK; s <= LINK_CONNECTED; s++) {
		pace = pace_of(s, true, false, 0, 60);
		assert_false(pace.may_replay || pace.may_list || pace.may_hoard);
		assert_int_equal(pace.pull_us, PACE_PULL_US);
		pace = pace_of(s, true, true, 0, 60);
		assert_true(pace.may_replay);
		assert_int_equal(pace.min_age_s, 0);
		assert_false(pace.may_list || pace.may_hoard);
	}
}

static void portions(void **state)
{
	(void)state;
	for (int s = LINK_WEAK; s <= LINK_CONNECTED; s++) {
		assert_int_equal(pace_of(s, false, false, 1, 0).bytes, PACE_BYTES_MIN);
		assert_int_equal(pace_of(s, false, false, 100000, 0).bytes, 100000 * PACE_STEP_S);
		assert_int_equal(pace_of(s, false, false, 1 << 30, 0).bytes, PACE_BYTES_MAX);
	}
	/* without a measurement nothing that would take a minute */
	assert_in_range(pace_of(LINK_CONNECTED, false, false, 0, 0).bytes, PACE_BYTES_WEAK + 1, 1 << 20);
	assert_int_equal(pace_of(LINK_WEAK, false, false, 0, 0).bytes, PACE_BYTES_WEAK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit_holds),
		cmocka_unit_test(no_limit_no_wait),
		cmocka_unit_test(who_waits_goes_ahead),
		cmocka_unit_test(limits_are_of_one_way),
		cmocka_unit_test(nothing_is_saved_up),
		cmocka_unit_test(weak_stands_aside),
		cmocka_unit_test(weak_rests),
		cmocka_unit_test(by_the_time_of_day),
		cmocka_unit_test(pace_of_each_state),
		cmocka_unit_test(portions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
