/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far ahead of who reads a large file its content is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/mem.h"
#include "cache/readahead.h"

#define KIB 1024ull
#define MIB (KIB * KIB)

/* One READ, and up to where content is asked for then. */
struct step {
	uint64_t start, len, want;
};

static const struct steps_case {
	const char *name;
	struct step v[8];
} steps_cases[] = {
	{ "from the start on",
	  { { 0, 4 * KIB, 260 * KIB }, { 4 * KIB, 4 * KIB, 8 * KIB }, { 8 * KIB, 124 * KIB, 132 * KIB },
	    /* Less than half of the window is left: it grows fourfold. */
	    { 132 * KIB, 4 * KIB, 1160 * KIB } } },
	{ "large READs begin with more",
	  { { 0, MIB, 3 * MIB }, { MIB, MIB, 2 * MIB }, { 2 * MIB, MIB, 11 * MIB }, { 3 * MIB, MIB, 4 * MIB },
	    { 4 * MIB, MIB, 5 * MIB }, { 5 * MIB, MIB, 6 * MIB }, { 6 * MIB, MIB, 7 * MIB }, { 7 * MIB, MIB, 24 * MIB } } },
	{ "not from the start: the second one that goes on",
	  { { 50 * MIB, 64 * KIB, 50 * MIB + 64 * KIB }, { 50 * MIB + 64 * KIB, 64 * KIB, 50 * MIB + 384 * KIB } } },
	{ "here and there",
	  { { 50 * MIB, 4 * KIB, 50 * MIB + 4 * KIB }, { 10 * MIB, 4 * KIB, 10 * MIB + 4 * KIB },
	    { 70 * MIB, 4 * KIB, 70 * MIB + 4 * KIB }, { 40 * MIB, 4 * KIB, 40 * MIB + 4 * KIB } } },
	{ "backwards",
	  { { 50 * MIB, MIB, 51 * MIB }, { 49 * MIB, MIB, 50 * MIB }, { 48 * MIB, MIB, 49 * MIB } } },
	{ "several at once, in any order",
	  { { 0, 128 * KIB, 384 * KIB }, { 256 * KIB, 128 * KIB, 1408 * KIB }, { 128 * KIB, 128 * KIB, 256 * KIB },
	    { 384 * KIB, 128 * KIB, 512 * KIB } } },
	{ "elsewhere: it begins anew",
	  { { 0, MIB, 3 * MIB }, { 60 * MIB, MIB, 61 * MIB }, { 61 * MIB, MIB, 64 * MIB } } },
};

static void steps(void **state)
{
	const struct steps_case *c = *state;
	struct readahead ra = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(c->v) && c->v[i].len; i++)
		assert_int_equal(readahead_step(&ra, c->v[i].start, c->v[i].start + c->v[i].len), c->v[i].want);
}

/* However much is read on, the window has its bounds, and enough is asked for before it is needed. */
static void in_the_long_run(void **state)
{
	static const uint64_t lens[] = { 4 * KIB, 128 * KIB, MIB };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct readahead ra = { 0 };
		uint64_t asked = 0;

		for (uint64_t at = 0; at < 1024 * MIB; at += lens[i]) {
			uint64_t to = readahead_step(&ra, at, at + lens[i]);

			asked = MAX(asked, to);
			assert_true(asked <= at + lens[i] + READAHEAD_MAX);
			if (at >= 64 * MIB)
				assert_true(asked >= at + lens[i] + READAHEAD_MAX / 2);
		}
	}
}

/* Two who read the same file on, one who jumps about in it, and 20 other files, do not disturb each other. */
static void several_readers(void **state)
{
	static struct readahead_readers readers;
	uint64_t a = 0, b = 0;

	(void)state;
	for (uint64_t i = 0; i < 40; i++) {
		uint64_t to_a = readahead_read(&readers, 7, i * MIB, (i + 1) * MIB);
		uint64_t to_b = readahead_read(&readers, 7, (500 + i) * MIB, (501 + i) * MIB);

		a = MAX(a, to_a);
		b = MAX(b, to_b);
		assert_int_equal(readahead_read(&readers, 7, (900 + i * 37 % 40 * 3) * MIB, (900 + i * 37 % 40 * 3) * MIB + 1),
				 (900 + i * 37 % 40 * 3) * MIB + 1);
		for (uint64_t ino = 100; ino < 120; ino++)
			(void)readahead_read(&readers, ino, i * MIB, (i + 1) * MIB);
	}
	assert_true(a >= 40 * MIB + READAHEAD_MAX / 2);
	assert_true(b >= 540 * MIB + READAHEAD_MAX / 2);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(steps_cases) + 2];
	size_t n = 0;

	for (; n < ARRAY_SIZE(steps_cases); n++)
		tests[n] = (struct CMUnitTest){ steps_cases[n].name, steps, NULL, NULL, (void *)&steps_cases[n] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(in_the_long_run);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(several_readers);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
