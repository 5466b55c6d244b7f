/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"

#define LINES 120
#define LINE_LEN 240

static char lines[LINES][LINE_LEN];
static unsigned n_lines, step;
static uint64_t seed, began_us;
static FILE *file;
static bool is_done;

static void show(void)
{
	if (is_done)
		return;
	(void)printf("# seed %" PRIu64 ", step %u; the last that was done:\n", seed, step);
	for (unsigned i = n_lines > LINES ? n_lines - LINES : 0; i < n_lines; i++)
		(void)printf("#   %s\n", lines[i % LINES]);
	(void)fflush(stdout);
}

void trace_open(uint64_t of_seed, const char *path)
{
	seed = of_seed;
	began_us = clock_us();
	file = fopen(path, "w");
	if (!file) {
		perror(path);
		exit(1);
	}
	(void)setvbuf(file, NULL, _IOLBF, 0);
	(void)atexit(show);
}

void trace_step(unsigned now)
{
	step = now;
}

unsigned trace_now(void)
{
	return step;
}

void trace(const char *format, ...)
{
	char *line = lines[n_lines++ % LINES];
	uint64_t ms = (clock_us() - began_us) / US_PER_MS;
	int n = snprintf(line, LINE_LEN, "%4u %3" PRIu64 ".%03" PRIu64 " ", step, ms / 1000, ms % 1000);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line + n, LINE_LEN - (size_t)n, format, args);
	va_end(args);
	(void)fprintf(file, "%s\n", line);
}

static void say(const char *prefix, const char *format, va_list args)
{
	char text[1000];

	(void)vsnprintf(text, sizeof(text), format, args);
	(void)printf("%s%s\n", prefix, text);
	(void)fprintf(file, "%s%s\n", prefix, text);
}

void trace_found(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("# ", format, args);
	va_end(args);
}

void trace_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("not ok - ", format, args);
	va_end(args);
	exit(1);
}

void trace_done(void)
{
	is_done = true;
	(void)fclose(file);
}
