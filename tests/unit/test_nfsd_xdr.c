/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "nfsd/xdr.h"

/* A copy that ends where the input does, so that the address sanitizer sees a byte too much. */
static unsigned char *exactly(const void *data, size_t len)
{
	unsigned char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, data, len);
	return copy;
}

static void what_is_written_reads_back(void **state)
{
	unsigned char buf[64];
	struct xdr_out out = xdr_out_of(buf, sizeof(buf));
	struct xdr_in in;
	struct slice s;

	(void)state;
	xdr_out_u32(&out, 0xfffefdfc);
	xdr_out_u64(&out, 0x0102030405060708);
	xdr_out_opaque(&out, "abcde", 5);
	xdr_out_fixed(&out, "xyz", 3);
	xdr_out_opaque(&out, "", 0);
	assert_int_equal(out.p - buf, 4 + 8 + 4 + 8 + 4 + 4);
	assert_memory_equal(buf,
			    "\xff\xfe\xfd\xfc\1\2\3\4\5\6\7\10\0\0\0\5abcde\0\0\0xyz\0\0\0\0\0",
			    32);

	in = xdr_in_of(buf, (size_t)(out.p - buf));
	assert_int_equal(xdr_in_u32(&in), 0xfffefdfc);
	assert_int_equal(xdr_in_u64(&in), 0x0102030405060708);
	s = xdr_in_opaque(&in, 5);
	assert_int_equal(s.len, 5);
	assert_memory_equal(s.data, "abcde", 5);
	s = xdr_in_fixed(&in, 3);
	assert_memory_equal(s.data, "xyz", 3);
	assert_int_equal(xdr_in_opaque(&in, 10).len, 0);
	assert_true(xdr_in_done(&in));
}

static const struct opaque_case {
	const char *name;
	const char *bytes;
	size_t len, max;
	bool is_good;
} opaque_cases[] = {
	{ "opaque: as long as it may be", "\0\0\0\4abcd", 8, 4, true },
	{ "opaque: longer than it may be", "\0\0\0\5abcde\0\0\0", 12, 4, false },
	{ "opaque: padding is missing", "\0\0\0\5abcde", 9, 8, false },
	{ "opaque: half of its length", "\0\0", 2, 8, false },
	{ "opaque: longer than the input", "\0\0\0\10abcd", 8, 8, false },
	{ "opaque: 2^32-1, padding must not wrap", "\xff\xff\xff\xff""abcd", 8, UINT32_MAX, false },
	{ "opaque: 2^32-4", "\xff\xff\xff\xfc""abcd", 8, UINT32_MAX, false },
	{ "opaque: empty input", "", 0, 8, false },
};

static void opaque(void **state)
{
	const struct opaque_case *c = *state;
	unsigned char *data = exactly(c->bytes, c->len);
	struct xdr_in in = xdr_in_of(data, c->len);
	struct slice s = xdr_in_opaque(&in, c->max);

	assert_int_equal(xdr_in_done(&in), c->is_good);
	assert_int_equal(s.len, c->is_good ? 4 : 0);
	free(data);
}

static void errors_stick(void **state)
{
	unsigned char *data = exactly("\0\0\0\2\0\0\0\7", 8);
	struct xdr_in in = xdr_in_of(data, 8);

	(void)state;
	assert_false(xdr_in_bool(&in));		/* 2 is none */
	assert_int_equal(xdr_in_u32(&in), 0);	/* not 7 */
	assert_null(xdr_in_opaque(&in, 8).data);
	assert_false(xdr_in_done(&in));
	free(data);
}

static void limits_of_enums(void **state)
{
	struct xdr_in in = xdr_in_of("\0\0\0\2\0\0\0\3", 8);

	(void)state;
	assert_int_equal(xdr_in_enum(&in, 3), 2);
	assert_false(in.is_bad);
	assert_int_equal(xdr_in_enum(&in, 3), 0);
	assert_true(in.is_bad);
}

static void something_left_over_is_not_done(void **state)
{
	struct xdr_in in = xdr_in_of("\0\0\0\1\0\0\0\0", 8);

	(void)state;
	assert_true(xdr_in_bool(&in));
	assert_int_equal(xdr_in_left(&in), 4);
	assert_false(xdr_in_done(&in));
}

static void a_u64_cut_in_half(void **state)
{
	unsigned char *data = exactly("\0\0\0\1\0\0", 6);
	struct xdr_in in = xdr_in_of(data, 6);

	(void)state;
	(void)xdr_in_u64(&in);
	assert_true(in.is_bad);
	free(data);
}

int main(void)
{
	struct CMUnitTest tests[5 + ARRAY_SIZE(opaque_cases)] = {
		cmocka_unit_test(what_is_written_reads_back),
		cmocka_unit_test(errors_stick),
		cmocka_unit_test(limits_of_enums),
		cmocka_unit_test(something_left_over_is_not_done),
		cmocka_unit_test(a_u64_cut_in_half),
	};

	for (size_t i = 0; i < ARRAY_SIZE(opaque_cases); i++)
		tests[5 + i] = (struct CMUnitTest){ opaque_cases[i].name, opaque, NULL, NULL,
						    (void *)&opaque_cases[i] };
	return cmocka_run_group_tests_name("xdr", tests, NULL, NULL);
}
