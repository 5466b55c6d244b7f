/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/clock.h"

#include <stdatomic.h>

static _Atomic uint64_t advanced_us;

uint64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / 1000 +
	       atomic_load_explicit(&advanced_us, memory_order_relaxed);
}

struct timespec clock_wall(void)
{
	uint64_t more = atomic_load_explicit(&advanced_us, memory_order_relaxed);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += (time_t)(more / US_PER_S);
	now.tv_nsec += (long)(more % US_PER_S) * 1000;
	if (now.tv_nsec >= 1000000000l) {
		now.tv_sec++;
		now.tv_nsec -= 1000000000l;
	}
	return now;
}

void clock_advance(uint64_t us)
{
	atomic_fetch_add(&advanced_us, us);
}
