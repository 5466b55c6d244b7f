/* SPDX-License-Identifier: GPL-2.0-or-later */
/* until: wait for what another thread or process does, by looking again every few milliseconds, with a bound that only what hangs comes to. */
#ifndef TESTS_UNTIL_H
#define TESTS_UNTIL_H

#include <unistd.h>
#include "base/clock.h"
#include "tests/lib/slow.h"

/* That bound: so many seconds on an ordinary machine with nothing else to do, which the one that runs the tests is not. */
static inline unsigned patient_s(unsigned seconds)
{
	return seconds * 2 * times_slow();
}

#define UNTIL(seconds, condition) do { \
		uint64_t end_ = clock_us() + patient_s(seconds) * US_PER_S; \
		while (!(condition) && clock_us() < end_) \
			usleep(2000); \
		if (!(condition)) \
			fail_msg("not within %u s: %s", patient_s(seconds), #condition); \
	} while (0)

#endif
