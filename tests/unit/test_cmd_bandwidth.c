/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the key bandwidth takes, and what it does not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/mem.h"
#include "cmd/bandwidth.h"

#define K 1024ull
#define AT(h, m) ((h) * 60 + (m))

static const struct {
	const char *value;
	struct bandwidth want;
} good[] = {
	{ "up=500K", { .up = 500 * K } },
	{ "up=500k down=2M", { .up = 500 * K, .down = 2048 * K } },
	{ "  down=1G\tup=1024 ", { .up = 1024, .down = K * K * K } },
	{ "up=none", { .up = 0 } },
	{ "08:00-18:00 up=100K", { true, AT(8, 0), AT(18, 0), 100 * K, 0 } },
	{ "22:30-06:15 down=none", { true, AT(22, 30), AT(6, 15), 0, 0 } },
	{ "00:00-24:00 up=1K", { true, 0, BANDWIDTH_DAY, K, 0 } },
	{ "18:00-24:00 up=1K", { true, AT(18, 0), BANDWIDTH_DAY, K, 0 } },
	{ "24:00-06:00 up=1K", { true, 0, AT(6, 0), K, 0 } },
	{ "23:59-00:00 up=1K", { true, AT(23, 59), 0, K, 0 } },
};

static const char *const bad[] = {
	"", "  ", "500K", "up", "up=", "up=0", "up=1023", "up=-1K", "up=1X", "up=1Kbit", "up=1K up=1K", "down=1K down=1K",
	"up = 1K", "sideways=1K", "up=99999999999999999999", "up=1K;down=1K", "up=1K, down=1K",
	"08:00-18:00", "08:00-18:00 09:00-10:00 up=1K", "up=1K 08:00-18:00", "8:00-18:00 up=1K", "08:00-18 up=1K",
	"08:60-18:00 up=1K", "08:00-24:01 up=1K", "25:00-26:00 up=1K", "08:00 up=1K", "08:00-08:00 up=1K", "24:00-00:00 up=1K",
	"08:00-18:00x up=1K", "08:00-18:00-19:00 up=1K", "08:0a-18:00 up=1K",
	"up=1000000000000000000000000000000000000000000",
};

static void values(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct config_limits limits = { 0 };
		const struct bandwidth *want = &good[i].want, *got;

		if (bandwidth_parse(good[i].value, &limits))
			fail_msg("\"%s\" is refused", good[i].value);
		got = limits.v;
		assert_int_equal(limits.n, 1);
		if (got->has_times != want->has_times || got->from != want->from || got->to != want->to ||
		    got->up != want->up || got->down != want->down)
			fail_msg("\"%s\": %u-%u up=%llu down=%llu", good[i].value, got->from, got->to,
				 (unsigned long long)got->up, (unsigned long long)got->down);
		free(limits.v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct config_limits limits = { 0 };

		if (bandwidth_parse(bad[i], &limits) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
		assert_null(limits.v);
	}
}

static void one_without_times(void **state)
{
	struct config_limits limits = { 0 };

	(void)state;
	assert_int_equal(bandwidth_parse("08:00-09:00 up=1K", &limits), 0);
	assert_int_equal(bandwidth_parse("up=1K", &limits), 0);
	assert_int_equal(bandwidth_parse("09:00-10:00 up=1K", &limits), 0);
	assert_int_equal(bandwidth_parse("down=1K", &limits), -EINVAL);
	assert_int_equal(limits.n, 3);
	free(limits.v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(one_without_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
