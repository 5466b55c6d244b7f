/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of byte ranges: cases by hand, and random operations against a bitmap. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "cache/extent.h"

static const struct gap_case {
	const char *name;
	struct extent add[3];		/* unused ones are {0,0} */
	struct extent ask, want;	/* want {0,0}: no gap */
} gap_cases[] = {
	{ "empty", { { 0 } }, { 3, 9 }, { 3, 9 } },
	{ "touching joins", { { 0, 4 }, { 4, 8 } }, { 0, 8 }, { 0, 0 } },
	{ "hole between", { { 0, 2 }, { 6, 8 } }, { 0, 8 }, { 2, 6 } },
	{ "before", { { 4, 8 } }, { 0, 8 }, { 0, 4 } },
	{ "behind", { { 0, 4 } }, { 2, 8 }, { 4, 8 } },
	{ "two holes, the first", { { 2, 3 }, { 5, 6 } }, { 0, 9 }, { 0, 2 } },
	{ "filled in", { { 0, 2 }, { 6, 8 }, { 1, 7 } }, { 0, 8 }, { 0, 0 } },
	{ "nothing asked", { { 0 } }, { 5, 5 }, { 0, 0 } },
};

static void first_gap(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(gap_cases); i++) {
		const struct gap_case *c = &gap_cases[i];
		struct extent_map map = { 0 };
		struct extent got = { 0, 0 };

		for (size_t j = 0; j < 3 && c->add[j].end; j++)
			assert_int_equal(extent_add(&map, c->add[j].start, c->add[j].end), 0);
		if (extent_first_gap(&map, c->ask.start, c->ask.end, &got) != (c->want.end != 0) ||
		    got.start != c->want.start || got.end != c->want.end)
			fail_msg("%s", c->name);
		extent_release(&map);
	}
}

#define BITS 400

static unsigned long seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (seed >> 33) % n;
}

/* Sorted, apart, not empty; and each bit as it should be. */
static void check(const struct extent_map *map, const bool *bits)
{
	uint64_t reached = 0, bytes = 0;
	bool got[BITS] = { false };

	for (uint32_t i = 0; i < map->n; i++) {
		assert_true(map->v[i].start < map->v[i].end);
		assert_true(!i || map->v[i].start > reached);
		reached = map->v[i].end;
		assert_true(reached <= BITS);
		for (uint64_t b = map->v[i].start; b < reached; b++)
			got[b] = true;
	}
	for (unsigned b = 0; b < BITS; b++)
		bytes += bits[b];
	assert_memory_equal(got, bits, sizeof(got));
	assert_int_equal(extent_bytes(map), bytes);
}

static void check_gap(const struct extent_map *map, const bool *bits, unsigned start, unsigned end)
{
	struct extent got = { 0, 0 };
	unsigned from = start, to;

	while (from < end && bits[from])
		from++;
	for (to = from; to < end && !bits[to]; to++)
		;
	assert_int_equal(extent_first_gap(map, start, end, &got), from < end);
	if (from < end) {
		assert_int_equal(got.start, from);
		assert_int_equal(got.end, to);
	}
}

static void check_codec(const struct extent_map *map, const bool *bits)
{
	struct extent_map back = { 0 };
	struct buf buf;

	buf_init(&buf, 0);
	assert_int_equal(extent_encode(&buf, map), 0);
	assert_int_equal(extent_decode(&back, (struct slice){ buf.data, buf.len }), 0);
	check(&back, bits);
	extent_release(&back);
	buf_release(&buf);
}

static void against_bitmap(void **state)
{
	struct extent_map map = { 0 }, other = { 0 };
	bool bits[BITS] = { false };

	(void)state;
	seed = (unsigned long)time(NULL);
	print_message("seed %lu\n", seed);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned start = rnd(BITS), end = start + rnd(BITS - start + 1), what = rnd(20);

		if (what < 9) {
			assert_int_equal(extent_add(&map, start, end), 0);
			memset(bits + start, true, end - start);
		} else if (what < 17) {
			end = MIN(end, start + 40);
			assert_int_equal(extent_remove(&map, start, end), 0);
			memset(bits + start, false, end - start);
		} else if (what < 18) {
			extent_cut(&map, start);
			memset(bits + start, false, BITS - start);
		} else {
			extent_release(&other);
			for (unsigned i = 0; i < 5; i++) {
				start = rnd(BITS - 10);
				assert_int_equal(extent_add(&other, start, start + 10), 0);
				memset(bits + start, true, 10);
			}
			assert_int_equal(extent_union(&map, &other), 0);
		}
		check(&map, bits);
		check_gap(&map, bits, rnd(BITS), BITS);
		if (!(round % 64))
			check_codec(&map, bits);
	}
	extent_release(&map);
	extent_release(&other);
}

static void reserve_is_enough(void **state)
{
	struct extent_map map = { 0 };
	const struct extent *v;

	(void)state;
	assert_int_equal(extent_reserve(&map, 100), 0);
	v = map.v;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(extent_add(&map, i * 10, i * 10 + 5), 0);
	assert_ptr_equal(map.v, v);
	extent_release(&map);
}

static void bad_blobs(void **state)
{
	static const uint64_t touching[] = { 0, 4, 4, 8 }, backwards[] = { 8, 9, 0, 4 },
			      empty[] = { 5, 5 };
	struct extent_map map = { 0 };

	(void)state;
	assert_int_equal(extent_add(&map, 1, 2), 0);
	assert_int_equal(extent_decode(&map, (struct slice){ touching, 32 }), -EUCLEAN);
	assert_int_equal(extent_decode(&map, (struct slice){ backwards, 32 }), -EUCLEAN);
	assert_int_equal(extent_decode(&map, (struct slice){ empty, 16 }), -EUCLEAN);
	assert_int_equal(extent_decode(&map, (struct slice){ touching, 15 }), -EUCLEAN);
	assert_int_equal(map.n, 1);
	assert_int_equal(extent_decode(&map, (struct slice){ NULL, 0 }), 0);
	assert_int_equal(map.n, 0);
	extent_release(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_gap),
		cmocka_unit_test(against_bitmap),
		cmocka_unit_test(reserve_is_enough),
		cmocka_unit_test(bad_blobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
