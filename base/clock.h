/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clock: what time it is, in a form that tests can turn.
 *
 * clock_us() is monotonic and goes on while the machine sleeps (CLOCK_BOOTTIME), so a back-off does
 * not sit out the night.  clock_wall() is the time of day.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define US_PER_S 1000000ull
#define US_PER_MS 1000ull
#define CLOCK_NEVER UINT64_MAX

uint64_t clock_us(void);
struct timespec clock_wall(void);

/* Tests: move both clocks forward from now on by so much. */
void clock_advance(uint64_t us);

/* ns since 1970, of a time that a file may have had. */
static inline int64_t clock_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int clock_cmp(struct timespec a, struct timespec b)
{
	if (a.tv_sec != b.tv_sec)
		return a.tv_sec < b.tv_sec ? -1 : 1;
	return a.tv_nsec < b.tv_nsec ? -1 : a.tv_nsec > b.tv_nsec;
}

#endif
