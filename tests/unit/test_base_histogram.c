/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/histogram.h"
#include "base/mem.h"
#include "tests/unit/fixed.h"

/* Every value is in a bucket that ends at it or less than a quarter above it, and buckets follow each other. */
static void buckets_hold_what_they_say(void **state)
{
	unsigned last = 0;

	(void)state;
	for (uint64_t value = 0; value < 1 << 26; value += 1 + value / 1000) {
		unsigned bucket = histogram_bucket(value);

		assert_in_range(bucket, last, last + 1);
		assert_true(histogram_top(bucket) >= value);
		assert_true(histogram_top(bucket) - value <= value / 4);
		if (bucket)
			assert_true(histogram_top(bucket - 1) < value);
		last = bucket;
	}
	assert_int_equal(last, HISTOGRAM_BUCKETS - 1);
	assert_int_equal(histogram_top(last), (1 << 26) - 1);
	assert_int_equal(histogram_bucket(1 << 26), last);
	assert_int_equal(histogram_bucket(UINT64_MAX), last);
}

static const struct percentile_case {
	const char *name;
	struct {
		uint64_t value, n;
	} add[4];
	unsigned thousandths;
	uint64_t want;
} percentile_cases[] = {
	{ "of nothing", { { 0 } }, 500, 0 },
	{ "of one value", { { 100, 1 } }, 500, 100 },
	{ "never above the largest", { { 97, 1 } }, 990, 97 },
	{ "the median of three", { { 1, 1 }, { 2, 1 }, { 3, 1 } }, 500, 2 },
	{ "half are enough for the median", { { 1, 2 }, { 3, 2 } }, 500, 1 },
	{ "99 % are not all", { { 1, 99 }, { 1000, 1 } }, 990, 1 },
	{ "99 % of fewer than a hundred are all", { { 1, 98 }, { 1000, 1 } }, 990, 1000 },
	{ "in a wide bucket: its top", { { 1100, 10 }, { 5000000, 1 } }, 500, 1279 },
	{ "beyond the last bucket: the largest", { { 1, 1 }, { 1ull << 40, 9 } }, 900, 1ull << 40 },
	{ "more values than 1000 times fit", { { 1, UINT64_MAX / 4 }, { 3, UINT64_MAX / 2 } }, 330, 1 },
	{ "the same, further on", { { 1, UINT64_MAX / 4 }, { 3, UINT64_MAX / 2 } }, 340, 3 },
};

static void percentile(void **state)
{
	const struct percentile_case *c = *state;
	uint64_t buckets[HISTOGRAM_BUCKETS] = { 0 }, max = 0;

	for (size_t i = 0; i < ARRAY_SIZE(c->add); i++) {
		buckets[histogram_bucket(c->add[i].value)] += c->add[i].n;
		max = MAX(max, c->add[i].n ? c->add[i].value : 0);
	}
	assert_int_equal(histogram_percentile(buckets, c->thousandths, max), c->want);
}

int main(void)
{
	struct CMUnitTest tests[32] = { cmocka_unit_test(buckets_hold_what_they_say) };
	size_t n = fixed_tests(tests);

	for (size_t i = 0; i < ARRAY_SIZE(percentile_cases); i++)
		tests[n++] = (struct CMUnitTest){ percentile_cases[i].name, percentile, NULL, NULL,
						  (void *)&percentile_cases[i] };
	return _cmocka_run_group_tests("histogram", tests, n, NULL, NULL);
}
