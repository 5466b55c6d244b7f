/* SPDX-License-Identifier: GPL-2.0-or-later */
/* no_fault_points: the whole of a test that is nothing without fault points (base/fault.h), in a build that has none. */
#ifndef TESTS_NO_FAULT_POINTS_H
#define TESTS_NO_FAULT_POINTS_H

static void no_fault_points(void **state)
{
	(void)state;
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_fault_points) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
