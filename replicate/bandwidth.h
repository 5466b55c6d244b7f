/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bandwidth: limits of the link's rate, by the time of day.
 *
 * Of the limits whose time it is the first one holds; one without times holds when none of the others does, wherever it stands.
 */
#ifndef REPLICATE_BANDWIDTH_H
#define REPLICATE_BANDWIDTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BANDWIDTH_DAY 1440u	/* minutes */

struct bandwidth {
	bool has_times;
	unsigned from, to;	/* minutes since midnight, [from, to); from > to: over midnight */
	uint64_t up, down;	/* bytes a second; 0: no limit */
};

/* The one that holds at that minute of the day, or NULL. */
const struct bandwidth *bandwidth_at(const struct bandwidth *limits, size_t n, unsigned minute);
/* This machine's time of day, in its time zone, in minutes. */
unsigned bandwidth_minute(void);

#endif
