/* SPDX-License-Identifier: GPL-2.0-or-later */
/* figures: what is made of times taken. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline int latency_cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* n pieces of work in took_ns: how many a second; and of the latencies the median and 99th percentile in us. */
static inline void print_rate(uint64_t n, uint64_t took_ns, uint64_t *latency_ns, uint64_t n_latencies)
{
	qsort(latency_ns, n_latencies, sizeof(*latency_ns), latency_cmp);
	(void)printf("%.0f %.1f %.1f\n", (double)n * 1e9 / (double)took_ns, (double)latency_ns[n_latencies / 2] / 1e3,
		     (double)latency_ns[n_latencies * 99 / 100] / 1e3);
}

#endif
