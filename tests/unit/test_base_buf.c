/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

static void grows_and_keeps(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 0);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(buf_u32be(&buf, i), 0);
	assert_int_equal(buf.len, 40000);
	assert_int_equal(buf.data[4 * 9999 + 3], 9999 & 0xff);
	buf_consume(&buf, 39996);
	assert_int_equal(buf.len, 4);
	assert_int_equal(buf.data[3], 9999 & 0xff);
	buf_consume(&buf, 100);
	assert_int_equal(buf.len, 0);
	buf_release(&buf);
}

static void limit_sticks(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 10);
	assert_int_equal(buf_append(&buf, "12345678", 8), 0);
	assert_int_equal(buf_append(&buf, "123", 3), -EMSGSIZE);
	/* It would fit, but what was meant to stand before it does not. */
	assert_int_equal(buf_append(&buf, "1", 1), -EMSGSIZE);
	assert_null(buf_extend(&buf, 1));
	assert_int_equal(buf_printf(&buf, "x"), -EMSGSIZE);
	assert_int_equal(buf_error(&buf), -EMSGSIZE);
	assert_int_equal(buf.len, 8);
	buf_reset(&buf);
	assert_int_equal(buf_append(&buf, "1234567890", 10), 0);
	buf_release(&buf);
}

static void prints(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 0);
	assert_int_equal(buf_printf(&buf, "%d-%s", 7, "seven"), 0);
	assert_int_equal(buf_printf(&buf, "%s", ""), 0);
	assert_int_equal(buf.len, 7);
	assert_memory_equal(buf.data, "7-seven", 7);
	buf_release(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_keeps),
		cmocka_unit_test(limit_sticks),
		cmocka_unit_test(prints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
