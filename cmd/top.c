/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/top.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "base/clock.h"
#include "base/histogram.h"
#include "base/mem.h"
#include "cmd/report.h"

#define PROCEDURES_MAX 128
#define LINE 256

struct sheet {
	const struct top_screen *screen;
	unsigned n;			/* lines so far */
};

static void line(struct sheet *sheet, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct sheet *sheet, const char *format, ...)
{
	const struct top_screen *screen = sheet->screen;
	char text[LINE];
	va_list args;

	if (screen->rows && sheet->n >= screen->rows)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);	/* cut short is good enough */
	va_end(args);
	if (screen->columns && strlen(text) > screen->columns)
		text[screen->columns] = '\0';
	/* Names and reasons come from others: none of their control characters reaches the terminal. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	/* The last line of a terminal is not ended: it would scroll. */
	fprintf(screen->out, "%s%s", sheet->n ? screen->line_end : "", text);
	sheet->n++;
}

/* What a counter went up by; all of it when the daemon was restarted in between. */
static uint64_t more(const json_t *before, const json_t *now, const char *name)
{
	uint64_t was = report_number(before, name), is = report_number(now, name);

	return is >= was ? is - was : is;
}

/* ---- procedures ---- */

struct row {
	const json_t *now;
	uint64_t calls, errors, p50_us, p99_us, max_us;
};

static const json_t *find(const json_t *procedures, const json_t *wanted)
{
	const json_t *one;
	size_t i;

	json_array_foreach(procedures, i, one)
		if (!strcmp(report_text(one, "name"), report_text(wanted, "name")) &&
		    !strcmp(report_text(one, "program"), report_text(wanted, "program")))
			return one;
	return NULL;
}

static void add_latency(const json_t *procedure, uint64_t buckets[HISTOGRAM_BUCKETS], bool is_before)
{
	const json_t *pair;
	size_t i;

	json_array_foreach(json_object_get(procedure, "latency"), i, pair) {
		unsigned bucket = histogram_bucket((uint64_t)json_integer_value(json_array_get(pair, 0)));
		uint64_t n = (uint64_t)json_integer_value(json_array_get(pair, 1));

		if (is_before)
			buckets[bucket] -= MIN(n, buckets[bucket]);	/* a restart in between: fewer than before */
		else
			buckets[bucket] += n;
	}
}

/* The longest of those counted.  The longest ever is known exactly, and is among them when it has changed. */
static uint64_t longest(const uint64_t buckets[HISTOGRAM_BUCKETS], const json_t *before, const json_t *now)
{
	uint64_t max_us = report_number(now, "max_us"), top_us = 0;

	if (max_us != report_number(before, "max_us"))
		return max_us;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (buckets[i])
			top_us = i == HISTOGRAM_BUCKETS - 1 ? max_us : histogram_top(i);
	return MIN(top_us, max_us);
}

static size_t take_rows(const json_t *before, const json_t *now, struct row rows[PROCEDURES_MAX])
{
	const json_t *one;
	size_t i, n = 0;

	json_array_foreach(now, i, one) {
		const json_t *was = find(before, one);
		uint64_t buckets[HISTOGRAM_BUCKETS] = { 0 };
		struct row *row = &rows[n];

		*row = (struct row){ .now = one, .calls = more(was, one, "calls"), .errors = more(was, one, "errors") };
		if (!row->calls || n == PROCEDURES_MAX - 1)
			continue;
		add_latency(one, buckets, false);
		add_latency(was, buckets, true);
		row->max_us = longest(buckets, was, one);
		row->p50_us = histogram_percentile(buckets, 500, row->max_us);
		row->p99_us = histogram_percentile(buckets, 990, row->max_us);
		n++;
	}
	return n;
}

static int by_calls(const void *a, const void *b)
{
	const struct row *one = a, *two = b;

	return one->calls == two->calls ? 0 : one->calls < two->calls ? 1 : -1;
}

static void print_procedures(struct sheet *sheet, const json_t *before, const json_t *now, double s)
{
	struct row rows[PROCEDURES_MAX];
	size_t n = take_rows(before, now, rows);

	qsort(rows, n, sizeof(rows[0]), by_calls);
	line(sheet, "%-20s %10s %10s %10s %10s %10s", "PROCEDURE", "CALLS/S", "ERRORS/S", "P50", "P99", "MAX");
	for (size_t i = 0; i < n; i++) {
		char name[LINE], p50[REPORT_TEXT], p99[REPORT_TEXT], max[REPORT_TEXT];

		(void)snprintf(name, sizeof(name), "%s %s", report_text(rows[i].now, "program"),
			       report_text(rows[i].now, "name"));
		line(sheet, "%-20.20s %10.1f %10.1f %10s %10s %10s", name, (double)rows[i].calls / s,
		     (double)rows[i].errors / s, report_us(p50, rows[i].p50_us), report_us(p99, rows[i].p99_us),
		     report_us(max, rows[i].max_us));
	}
}

/* ---- what stands above them ---- */

static void print_tree(struct sheet *sheet, const json_t *tree)
{
	uint64_t records = report_number(tree, "records"), conflicts = report_number(tree, "conflicts");
	const char *why = report_text(tree, "held");
	char bytes[REPORT_TEXT], waiting[LINE] = "nothing waits", in_conflict[LINE] = "";

	if (!*why)
		why = report_text(tree, "reason");
	if (records)
		(void)snprintf(waiting, sizeof(waiting), "%" PRIu64 " records, %s wait%s", records,
			       report_bytes(bytes, report_number(tree, "bytes")),
			       json_is_true(json_object_get(tree, "replaying")) ? ", being replayed" : "");
	if (conflicts)
		(void)snprintf(in_conflict, sizeof(in_conflict), ", %" PRIu64 " conflicts", conflicts);
	line(sheet, "%s: %s, %s%s%s%s", report_text(tree, "export"), report_text(tree, "state"), waiting, in_conflict,
	     *why ? "; " : "", why);
}

static void print_totals(struct sheet *sheet, const json_t *before, const json_t *now, double s)
{
	const json_t *calls = json_object_get(now, "calls"), *calls_before = json_object_get(before, "calls"),
		     *nfs = json_object_get(now, "nfs"), *nfs_before = json_object_get(before, "nfs");
	char in[REPORT_TEXT], out[REPORT_TEXT];

	line(sheet, "under way %" PRIu64 "  connections %" PRIu64 "  in %s/s  out %s/s  slow %" PRIu64
	     "  resent %" PRIu64 "  paused %" PRIu64 "  put off %" PRIu64, report_number(calls, "under_way"),
	     report_number(nfs, "connections"),
	     report_bytes(in, (uint64_t)((double)more(nfs_before, nfs, "bytes_in") / s)),
	     report_bytes(out, (uint64_t)((double)more(nfs_before, nfs, "bytes_out") / s)),
	     more(calls_before, calls, "slow"), more(calls_before, calls, "duplicates"),
	     more(calls_before, calls, "pauses"), more(calls_before, calls, "put_off"));
}

void top_print(const struct top_screen *screen, const json_t *before, const json_t *now)
{
	const json_t *calls = json_object_get(now, "calls"), *calls_before = json_object_get(before, "calls");
	uint64_t us = more(calls_before, calls, "at_us");
	double s = us ? (double)us / US_PER_S : 1;
	struct sheet sheet = { .screen = screen };
	const json_t *tree;
	char age[REPORT_TEXT];
	size_t i;

	line(&sheet, "izo-nfsd %s, pid %" PRIu64 ", serving on %s for %s", report_text(now, "version"),
	     report_number(now, "pid"), report_text(now, "listen"), report_age(age, report_number(now, "uptime_s")));
	json_array_foreach(json_object_get(now, "trees"), i, tree)
		print_tree(&sheet, tree);
	print_totals(&sheet, before, now, s);
	line(&sheet, "%s", "");
	print_procedures(&sheet, json_object_get(calls_before, "procedures"), json_object_get(calls, "procedures"), s);
}
