/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * awake: how long a thread that waits for the next event looks for it before it sleeps.
 *
 * Waking a processor that idles takes as long as answering a call.  A program that makes one call after the other sends
 * the next one within that time: whoever is still looking then has it at once.  It looks only while the last events did
 * come soon, and so costs a processor for a few microseconds after the last of them, and nothing when calls are rare.
 */
#ifndef BASE_AWAKE_H
#define BASE_AWAKE_H

#include <stdbool.h>
#include <stdint.h>

#define AWAKE_US 60	/* two wakings */
#define AWAKE_AFTER 4	/* so many events in a row that came within that */
#define AWAKE_WAKING_US 60	/* what the thread's own waking takes at most, which is in what it measures when it slept */

/* Zeroed: nothing came yet. */
struct awake {
	unsigned soon;	/* of the last events those that came soon; at most AWAKE_AFTER */
};

/* Microseconds to look for the next event; 0: sleep at once. */
static inline uint64_t awake_us(const struct awake *awake)
{
	return awake->soon == AWAKE_AFTER ? AWAKE_US : 0;
}

/*
 * The next event came after so many microseconds; has_slept: part of which it slept.  One that comes late does not undo all: who
 * was preempted once would sleep ever after, as each then waits for the other's waking.
 */
static inline void awake_came(struct awake *awake, uint64_t after_us, bool has_slept)
{
	if (after_us >= AWAKE_US + (has_slept ? AWAKE_WAKING_US : 0))
		awake->soon /= 2;
	else if (awake->soon < AWAKE_AFTER)
		awake->soon++;
}

#endif
