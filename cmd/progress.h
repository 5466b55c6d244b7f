/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * progress: one line on a terminal that shows how far something has come; nothing elsewhere.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
	FILE *out;
	bool is_shown;		/* out is a terminal */
	bool has_line;		/* something stands on it now */
	uint64_t began_us;
};

struct progress_at {
	uint64_t records_done, records_left;
	uint64_t bytes_done, bytes_left;
	const char *what;		/* they are, instead of records; may be NULL */
};

void progress_begin(struct progress *progress, FILE *out);
void progress_show(struct progress *progress, const struct progress_at *at);
/* Clears the line, so that a message can be written. */
void progress_end(struct progress *progress);

/* The line as it is shown, cut to width columns (without the newline); for progress_show() and tests. */
void progress_line(char *line, size_t size, const struct progress_at *at, uint64_t elapsed_us,
		   unsigned width);

#endif
