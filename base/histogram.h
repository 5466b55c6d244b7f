/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * histogram: counts of values on a logarithmic scale, four steps to a doubling, so a percentile read from it is at
 * most a quarter above the truth.
 *
 * A histogram is an array of HISTOGRAM_BUCKETS counters of the caller's.  Buckets 0 to 3 hold the values 0 to 3; from
 * there on bucket 4(e-1)+m holds [(4+m) 2^(e-2), (5+m) 2^(e-2)), e being 2 to 25.  The last one also holds all
 * that is above: with microseconds that is what took longer than 58 s.
 *
 * Threads: none of its own; nothing here writes.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 100

static inline unsigned histogram_bucket(uint64_t value)
{
	unsigned e;

	if (value < 4)
		return (unsigned)value;
	if (value >> 26)
		return HISTOGRAM_BUCKETS - 1;
	e = 63 - (unsigned)__builtin_clzll(value);
	return 4 * (e - 1) + (unsigned)(value >> (e - 2) & 3);
}

/* The largest value that belongs into a bucket (of the last one: as if nothing above were in it). */
uint64_t histogram_top(unsigned bucket);

/*
 * The value that so many thousandths of all values do not exceed, 0 when there are none: the top of
 * the bucket that it is in, but never more than max, the largest value there was.
 */
uint64_t histogram_percentile(const uint64_t buckets[HISTOGRAM_BUCKETS], unsigned thousandths, uint64_t max);

#endif
