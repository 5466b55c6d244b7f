/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench: what the programs of this folder have in common. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "bench/figures.h"

#define LARGE_FILE (64u << 20)	/* bytes of the file that is written, and read, round and round */

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fprintf(stderr, "%s: ", program_invocation_short_name);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	exit(1);
}

#endif
