/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * top: what went on between two looks at the daemon (status.h), as a table for people.
 */
#ifndef CMD_TOP_H
#define CMD_TOP_H

#include <jansson.h>
#include <stdio.h>

struct top_screen {
	FILE *out;
	unsigned rows, columns;		/* what has no room is left out; 0: there is room for everything */
	const char *line_end;		/* what ends each line: "\n", or with the rest of a terminal's line cleared */
};

/*
 * before, now: two statuses of one daemon, the older first.  Of each procedure that was called between them: its rate,
 * errors, and the percentiles of these calls alone, those called most first.
 */
void top_print(const struct top_screen *screen, const json_t *before, const json_t *now);

#endif
