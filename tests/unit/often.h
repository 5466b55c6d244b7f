/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * often: how often a test does what it does by chance, or at each of many places.
 *
 * All of it in the build without a sanitizer.  Under one, which makes it several times slower, a quarter: what is looked for there
 * is in the code that each of them runs.
 */
#ifndef TESTS_OFTEN_H
#define TESTS_OFTEN_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EACH 4			/* the step from one place to the next */
#else
#define EACH 1
#endif

/* Of n rounds, how many. */
#define OFTEN(n) (((n) + EACH - 1) / EACH)

#endif
