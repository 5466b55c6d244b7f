/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * often: how often a test does what it does by chance, or at each of many places.
 *
 * All of it in the build without a sanitizer.  Under one, which makes it several times slower, a quarter, on a slow machine a twelfth: what is
 * looked for there is in the code that each of them runs.
 */
#ifndef TESTS_OFTEN_H
#define TESTS_OFTEN_H

#include "tests/lib/slow.h"

/* The step from one place to the next. */
static inline unsigned each(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return times_slow() > 1 ? 12 : 4;
#else
	return 1;
#endif
}

/* Of n rounds, how many. */
static inline unsigned often(unsigned n)
{
	return (n + each() - 1) / each();
}

#endif
