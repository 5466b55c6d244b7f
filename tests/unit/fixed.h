/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fixed: a program's tests that are written down, before those that it adds from tables of cases. */
#ifndef TESTS_UNIT_FIXED_H
#define TESTS_UNIT_FIXED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* How many there are: behind them the array is empty. */
static inline size_t fixed_tests(const struct CMUnitTest *tests)
{
	size_t n = 0;

	while (tests[n].test_func)
		n++;
	return n;
}

#endif
