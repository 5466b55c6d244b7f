/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Invariant 5: handles are durable and unforgeable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "nfsd/fh.h"

#define TREE 0x01020304u
#define INO 0x0506070809ull

static const uint8_t key[FH_KEY_LEN] = { 1,  2,	 3,  4,	 5,  6,	 7,  8,	 9,  10, 11,
					 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
					 23, 24, 25, 26, 27, 28, 29, 30, 31, 32 };

/* As a server with this one tree would take it. */
static bool opens(const uint8_t *k, const void *fh, size_t len, uint64_t *ret_ino)
{
	struct slice slice = { fh, len };
	uint32_t tree;

	return fh_tree(slice, &tree) && tree == TREE && fh_open(k, slice, ret_ino);
}

static void round_trip(void **state)
{
	static const uint64_t inos[] = { 0, 2, INO, UINT32_MAX, INT64_MAX, UINT64_MAX };
	uint8_t fh[FH_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inos); i++) {
		uint64_t ino = 1;

		fh_seal(key, TREE, inos[i], fh);
		assert_true(opens(key, fh, sizeof(fh), &ino));
		assert_int_equal(ino, inos[i]);
	}
}

/*
 * Handles outlive the program, so their bytes are a format.  The MAC was computed with Python:
 * hashlib.blake2s(fh[:16], digest_size=16, key=bytes(range(1, 33))).
 */
static void bytes_are_fixed(void **state)
{
	static const uint8_t want[FH_LEN] = {
		1, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5, 6, 7, 8, 9,
		0xe3, 0xcf, 0xa4, 0xdb, 0xfc, 0xfd, 0x24, 0x0d,
		0xd0, 0x66, 0xd8, 0x86, 0xb6, 0xe2, 0x2c, 0x20,
	};
	uint8_t fh[FH_LEN];

	(void)state;
	fh_seal(key, TREE, INO, fh);
	assert_memory_equal(fh, want, sizeof(want));
}

static void every_flipped_bit_is_noticed(void **state)
{
	uint8_t fh[FH_LEN];
	uint64_t ino;

	(void)state;
	fh_seal(key, TREE, INO, fh);
	for (size_t bit = 0; bit < FH_LEN * 8; bit++) {
		fh[bit / 8] ^= 1u << bit % 8;
		if (opens(key, fh, sizeof(fh), &ino))
			fail_msg("bit %zu of byte %zu may be changed", bit % 8, bit / 8);
		fh[bit / 8] ^= 1u << bit % 8;
	}
	assert_true(opens(key, fh, sizeof(fh), &ino));
}

static void every_bit_of_the_key_counts(void **state)
{
	uint8_t other[FH_KEY_LEN], fh[FH_LEN];
	uint64_t ino;

	(void)state;
	fh_seal(key, TREE, INO, fh);
	for (size_t bit = 0; bit < FH_KEY_LEN * 8; bit++) {
		memcpy(other, key, sizeof(other));
		other[bit / 8] ^= 1u << bit % 8;
		assert_false(opens(other, fh, sizeof(fh), &ino));
	}
}

/* Put the MAC of one object's handle on another one, and of one tree's on another tree. */
static void macs_are_not_interchangeable(void **state)
{
	uint8_t a[FH_LEN], b[FH_LEN];
	uint64_t ino;

	(void)state;
	fh_seal(key, TREE, INO, a);
	fh_seal(key, TREE, INO + 1, b);
	memcpy(b + 16, a + 16, 16);
	assert_false(opens(key, b, sizeof(b), &ino));

	fh_seal(key, TREE + 1, INO, b);
	memcpy(b + 4, a + 4, 4);
	assert_false(opens(key, b, sizeof(b), &ino));
}

static const struct form_case {
	const char *name;
	size_t len;
	uint8_t first, second;	/* bytes 0 and 1 */
} form_cases[] = {
	{ "empty", 0, 1, 0 },
	{ "one byte short", FH_LEN - 1, 1, 0 },
	{ "one byte more", FH_LEN + 1, 1, 0 },
	{ "the longest of NFS v3", 64, 1, 0 },
	{ "a later format", FH_LEN, 2, 0 },
	{ "format 0", FH_LEN, 0, 0 },
	{ "what must be zero is not", FH_LEN, 1, 1 },
};

static void other_forms_are_not_ours(void **state)
{
	const struct form_case *c = *state;
	uint8_t fh[64] = { 0 };
	uint32_t tree;

	fh_seal(key, TREE, INO, fh);
	fh[0] = c->first;
	fh[1] = c->second;
	assert_false(fh_tree((struct slice){ fh, c->len }, &tree));
}

int main(void)
{
	struct CMUnitTest tests[5 + ARRAY_SIZE(form_cases)] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(bytes_are_fixed),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(every_bit_of_the_key_counts),
		cmocka_unit_test(macs_are_not_interchangeable),
	};

	for (size_t i = 0; i < ARRAY_SIZE(form_cases); i++)
		tests[5 + i] = (struct CMUnitTest){ form_cases[i].name, other_forms_are_not_ours,
						    NULL, NULL, (void *)&form_cases[i] };
	return cmocka_run_group_tests_name("fh", tests, NULL, NULL);
}
