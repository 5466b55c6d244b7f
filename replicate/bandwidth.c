/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/bandwidth.h"

#include <time.h>
#include "base/clock.h"

static bool is_time(const struct bandwidth *limit, unsigned minute)
{
	if (limit->from < limit->to)
		return minute >= limit->from && minute < limit->to;
	return minute >= limit->from || minute < limit->to;
}

const struct bandwidth *bandwidth_at(const struct bandwidth *limits, size_t n, unsigned minute)
{
	const struct bandwidth *always = NULL;

	for (size_t i = 0; i < n; i++) {
		if (limits[i].has_times && is_time(&limits[i], minute))
			return &limits[i];
		if (!limits[i].has_times && !always)
			always = &limits[i];
	}
	return always;
}

unsigned bandwidth_minute(void)
{
	struct timespec now = clock_wall();
	struct tm tm;

	if (!localtime_r(&now.tv_sec, &tm))
		return 0;
	return (unsigned)(tm.tm_hour * 60 + tm.tm_min);
}
