/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trace: what was done, step by step; the last of it is shown when the torture finds something.
 *
 * However the program ends, but by trace_done(), that is a failure: seed, step, the reason and the last lines are printed.
 */
#ifndef TESTS_TORTURE_TRACE_H
#define TESTS_TORTURE_TRACE_H

#include <stdint.h>

/* All lines go to that file, too. */
void trace_open(uint64_t seed, const char *path);
void trace_step(unsigned step);
unsigned trace_now(void);	/* the step */
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line of what is found different; only of use before trace_fail(). */
void trace_found(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void trace_done(void);

#endif
