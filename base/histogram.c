/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/histogram.h"

#include "base/mem.h"

uint64_t histogram_top(unsigned bucket)
{
	unsigned e = bucket / 4 + 1, m = bucket % 4;

	return bucket < 4 ? bucket : ((5ull + m) << (e - 2)) - 1;
}

uint64_t histogram_percentile(const uint64_t buckets[HISTOGRAM_BUCKETS], unsigned thousandths, uint64_t max)
{
	uint64_t total = 0, rank, seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += buckets[i];
	if (!total)
		return 0;
	/* In two parts, so that no number of calls overflows it. */
	rank = total / 1000 * thousandths + (total % 1000 * thousandths + 999) / 1000;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += buckets[i];
		if (seen >= rank && seen)
			return MIN(histogram_top(i), max);
	}
	return max;
}
