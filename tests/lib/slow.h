/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_SLOW_H
#define TESTS_SLOW_H

#include <stdlib.h>

/* So many times as slow as an ordinary machine is this one: what tests/check has found, 1 when it was not asked. */
static inline unsigned times_slow(void)
{
	const char *text = getenv("IZO_SLOW");
	unsigned long times = text ? strtoul(text, NULL, 10) : 1;

	return times ? (unsigned)times : 1;
}

#endif
