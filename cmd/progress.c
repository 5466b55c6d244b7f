/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/report.h"

#define WIDTH_DEFAULT 80
#define WIDTH_MAX 200
#define BAR_MIN 10
#define BAR_MAX 40

void progress_begin(struct progress *progress, FILE *out)
{
	*progress = (struct progress){ .out = out, .is_shown = isatty(fileno(out)), .began_us = clock_us() };
}

/*
 * Bytes tell best how long it will take, but a thousand empty files have none: the half that is behind
 * is what is shown.
 */
static double part_done(const struct progress_at *at)
{
	uint64_t records = at->records_done + at->records_left,
		 bytes = at->bytes_done + at->bytes_left;
	double by_records = records ? (double)at->records_done / (double)records : 1;
	double by_bytes = bytes ? (double)at->bytes_done / (double)bytes : 1;

	return MIN(by_records, by_bytes);
}

void progress_line(char *line, size_t size, const struct progress_at *at, uint64_t elapsed_us,
		   unsigned width)
{
	char done[REPORT_TEXT], all[REPORT_TEXT], speed[REPORT_TEXT], tail[160], bar[BAR_MAX + 1];
	double part = part_done(at);
	uint64_t per_s =
		elapsed_us ? (uint64_t)((double)at->bytes_done * US_PER_S / (double)elapsed_us) : 0;
	int tail_len, bar_len, filled;

	tail_len = snprintf(tail, sizeof(tail),
			    "%3d %%  %" PRIu64 " of %" PRIu64 " %s  %s of %s  %s/s",
			    (int)(part * 100), at->records_done,
			    at->records_done + at->records_left, at->what ? at->what : "records", report_bytes(done, at->bytes_done),
			    report_bytes(all, at->bytes_done + at->bytes_left),
			    report_bytes(speed, per_s));
	bar_len = MIN((int)width - tail_len - 4, BAR_MAX);
	if (bar_len < BAR_MIN) {
		(void)snprintf(line, MIN(size, (size_t)width), "%s", tail);
		return;
	}
	filled = (int)(part * bar_len);
	memset(bar, '=', (size_t)filled);
	memset(bar + filled, ' ', (size_t)(bar_len - filled));
	bar[bar_len] = '\0';
	(void)snprintf(line, size, "[%s] %s", bar, tail);
}

void progress_show(struct progress *progress, const struct progress_at *at)
{
	unsigned width = WIDTH_DEFAULT;
	char line[WIDTH_MAX + 1];
	struct winsize window;

	if (!progress->is_shown)
		return;
	if (ioctl(fileno(progress->out), TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
		width = MIN(window.ws_col, WIDTH_MAX);
	progress_line(line, sizeof(line), at, clock_us() - progress->began_us, width);
	fprintf(progress->out, "\r\033[K%s", line);
	(void)fflush(progress->out);	/* a terminal that is gone ends us anyway */
	progress->has_line = true;
}

void progress_end(struct progress *progress)
{
	if (!progress->has_line)
		return;
	fprintf(progress->out, "\r\033[K");
	(void)fflush(progress->out);	/* as above */
	progress->has_line = false;
}
