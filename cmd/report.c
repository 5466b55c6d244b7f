/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/report.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

const char *report_bytes(char text[REPORT_TEXT], uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		(void)snprintf(text, REPORT_TEXT, "%" PRIu64 " bytes", bytes);
		return text;
	}
	for (; n >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		n /= 1024;
	(void)snprintf(text, REPORT_TEXT, "%.1f %s", n, units[unit]);
	return text;
}

const char *report_age(char text[REPORT_TEXT], uint64_t s)
{
	if (s < 60)
		(void)snprintf(text, REPORT_TEXT, "%" PRIu64 " s", s);
	else if (s < 3600)
		(void)snprintf(text, REPORT_TEXT, "%" PRIu64 " min", s / 60);
	else if (s < 48 * 3600)
		(void)snprintf(text, REPORT_TEXT, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
			       s / 60 % 60);
	else
		(void)snprintf(text, REPORT_TEXT, "%" PRIu64 " days", s / 86400);
	return text;
}

const char *report_us(char text[REPORT_TEXT], uint64_t us)
{
	if (us < 1000)
		(void)snprintf(text, REPORT_TEXT, "%" PRIu64 " us", us);
	else if (us < 1000000)
		(void)snprintf(text, REPORT_TEXT, "%.1f ms", (double)us / 1000);
	else
		(void)snprintf(text, REPORT_TEXT, "%.2f s", (double)us / 1000000);
	return text;
}

const char *report_date(char text[REPORT_TEXT], int64_t s)
{
	time_t when = (time_t)s;
	struct tm tm;

	if (!localtime_r(&when, &tm) || !strftime(text, REPORT_TEXT, "%Y-%m-%d %H:%M:%S", &tm))
		text[0] = '\0';
	return text;
}

uint64_t report_number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

const char *report_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

void report_clean(FILE *out, const char *s)
{
	for (; *s; s++)
		(void)putc((unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s, out);
}

/* ---- status ---- */

static bool is_up(const json_t *tree)
{
	const char *state = report_text(tree, "state");

	return !strcmp(state, "connected") || !strcmp(state, "weak");
}

/* ", WORD RATE up, RATE down" of what is not 0. */
static void print_rates(FILE *out, const char *before, const char *word, uint64_t up, uint64_t down)
{
	char text[REPORT_TEXT];

	if (up || down)
		fprintf(out, "%s%s", before, word);
	if (up)
		fprintf(out, "%s/s up", report_bytes(text, up));
	if (down)
		fprintf(out, "%s%s/s down", up ? ", " : "", report_bytes(text, down));
}

/* What was measured, and what is allowed; of a link that is not there nothing is known. */
static void print_quality(FILE *out, const json_t *tree)
{
	uint64_t us = report_number(tree, "round_trip_us"), up = report_number(tree, "up_rate"),
		 down = report_number(tree, "down_rate"), up_limit = report_number(tree, "up_limit"),
		 down_limit = report_number(tree, "down_limit");
	char text[REPORT_TEXT];

	if (!us && !up && !down && !up_limit && !down_limit)
		return;
	fprintf(out, "  measured   %s%s", us ? "round trip " : up || down ? "" : "nothing yet", us ? report_us(text, us) : "");
	print_rates(out, us ? ", " : "", "", up, down);
	print_rates(out, "; ", "limited to ", up_limit, down_limit);
	fprintf(out, "\n");
}

static void print_link(FILE *out, const json_t *tree)
{
	const char *reason = report_text(tree, "reason");
	uint64_t probe_in_s = report_number(tree, "probe_in_s"),
		 theirs = report_number(tree, "upstream_position");
	char age[REPORT_TEXT];

	fprintf(out, "  link       %s for %s", report_text(tree, "state"),
		report_age(age, report_number(tree, "since_s")));
	if (*reason) {
		fprintf(out, ": ");
		report_clean(out, reason);
	}
	if (probe_in_s)
		fprintf(out, "; next try in %s", report_age(age, probe_in_s));
	if (!strcmp(report_text(tree, "link"), "paid"))
		fprintf(out, "; paid for");
	fprintf(out, "\n");
	print_quality(out, tree);
	fprintf(out, "  position   %" PRIu64, report_number(tree, "position"));
	if (theirs || is_up(tree))
		fprintf(out, ", upstream's %" PRIu64 "\n", theirs);
	else
		fprintf(out, ", upstream's not heard of yet\n");
}

static void print_waiting(FILE *out, const json_t *tree)
{
	uint64_t records = report_number(tree, "records");
	const char *held = report_text(tree, "held"), *waits_for = report_text(tree, "waits_for");
	char bytes[REPORT_TEXT], age[REPORT_TEXT];

	if (records)
		fprintf(out,
			"  waiting    %" PRIu64 " records, %s of content, the oldest for %s%s\n",
			records, report_bytes(bytes, report_number(tree, "bytes")),
			report_age(age, report_number(tree, "oldest_s")),
			json_is_true(json_object_get(tree, "replaying")) ? "; being replayed" : "");
	else
		fprintf(out, "  waiting    nothing\n");
	if (records && *waits_for && !*held)
		fprintf(out, "             %s\n", waits_for);
	if (*held) {
		fprintf(out, "  held       ");
		report_clean(out, held);
		fprintf(out, "\n");
	}
}

/* In what the one that is there is not what is known. */
static const char *unlike_what(const char *kind, bool is_behind)
{
	if (!strcmp(kind, "other"))
		return ", another one";
	if (!strcmp(kind, "put back"))
		return is_behind ? ", an older state of it" : ", put back to an older state, and changed since";
	if (!strcmp(kind, "cache put back"))
		return "; this cache is what was put back";
	return "; it has changes of this cache from elsewhere";
}

/* What is there, what is safe, and what can be done. */
static void print_question(FILE *out, const json_t *tree)
{
	const json_t *asks = json_object_get(tree, "asks");
	const char *kind = report_text(asks, "kind");

	if (!*kind || !strcmp(kind, "none"))
		return;		/* or a daemon that was not restarted after an update */
	fprintf(out, "  ASKS YOU   is this the server, and the state of it, that you want?\n");
	fprintf(out, "             known here: %s at position %" PRIu64 "\n", report_text(asks, "known_id"),
		report_number(asks, "known_position"));
	fprintf(out, "             there now:  %s at position %" PRIu64 "%s\n", report_text(asks, "id"), report_number(asks, "position"),
		unlike_what(kind, report_number(asks, "position") < report_number(asks, "known_position")));
	fprintf(out, "             All that is in the cache is safe, and goes on working; nothing is sent.\n"
		     "             If not: bring the right one back, and the log goes on by itself.\n"
		     "             If so:  izo-nfsd --accept-upstream %s --tree %s\n"
		     "             which loses nothing that is here; izo-nfsd --export-log FILE before it keeps a copy of what waits.\n",
		report_text(asks, "accept"), report_text(tree, "name"));
}

static void print_tree(FILE *out, const json_t *tree)
{
	uint64_t conflicts = report_number(tree, "conflicts");
	const char *failure = report_text(tree, "failure"), *squash = report_text(tree, "squash");
	char bytes[REPORT_TEXT];

	if (!strcmp(squash, "none"))
		squash = "";
	fprintf(out, "\n%s from ", report_text(tree, "export"));
	report_clean(out, report_text(tree, "upstream"));
	fprintf(out, " (tree %s%s%s%s)\n", report_text(tree, "name"),
		json_is_true(json_object_get(tree, "read_only")) ? ", read-only" : "",
		*squash ? ", squash=" : "", squash);
	if (*failure) {
		fprintf(out, "  FAILED     ");
		report_clean(out, failure);
		fprintf(out, "\n");
	}
	print_link(out, tree);
	print_waiting(out, tree);
	print_question(out, tree);
	fprintf(out, "  cache      %s: %" PRIu64 " objects, %" PRIu64 " with content, %s\n",
		report_text(tree, "cache"), report_number(tree, "objects"),
		report_number(tree, "contents"),
		report_bytes(bytes, report_number(tree, "content_bytes")));
	report_space(out, tree);
	if (conflicts)
		fprintf(out, "  conflicts  %" PRIu64 "; izo-nfsd --conflicts lists them\n",
			conflicts);
	else
		fprintf(out, "  conflicts  none\n");
}

static void print_calls(FILE *out, const json_t *calls)
{
	const json_t *slowest = json_object_get(calls, "slowest");
	uint64_t slow = report_number(calls, "slow");
	char took[REPORT_TEXT], age[REPORT_TEXT];

	if (!calls)
		return;		/* a daemon that was not restarted after an update */
	fprintf(out, "calls: %.1f/s, %" PRIu64 " under way", json_real_value(json_object_get(calls, "per_s")),
		report_number(calls, "under_way"));
	if (json_is_object(slowest))
		fprintf(out, "; slowest: %s %s, %s, %s ago", report_text(slowest, "program"),
			report_text(slowest, "name"), report_us(took, report_number(slowest, "us")),
			report_age(age, report_number(slowest, "ago_s")));
	if (slow)
		fprintf(out, "; %" PRIu64 " took longer than %" PRIu64 " ms", slow,
			report_number(calls, "slow_call_ms"));
	fprintf(out, "\n");
}

void report_status(FILE *out, const json_t *status)
{
	char age[REPORT_TEXT];
	const json_t *one;
	size_t i;

	fprintf(out, "izo-nfsd %s, pid %" PRIu64 ", serving on %s for %s\n",
		report_text(status, "version"), report_number(status, "pid"),
		report_text(status, "listen"), report_age(age, report_number(status, "uptime_s")));
	print_calls(out, json_object_get(status, "calls"));
	json_array_foreach(json_object_get(status, "trees"), i, one)
		print_tree(out, one);
	json_array_foreach(json_object_get(status, "mounts"), i, one) {
		fprintf(out, i ? "" : "\n");
		fprintf(out, "%s is mounted on ", report_text(one, "export"));
		report_clean(out, report_text(one, "point"));
		fprintf(out, "\n");
	}
	json_array_foreach(json_object_get(status, "warnings"), i, one) {
		fprintf(out, "%swarning: ", i ? "" : "\n");
		report_clean(out, json_string_value(one));
		fprintf(out, "\n");
	}
}

/* The higher counts; the numbers of enum report_exit are for scripts and say nothing of order. */
static int badness(int status)
{
	switch (status) {
	case REPORT_FAILED:
		return 5;
	case REPORT_CONFLICTS:
		return 4;
	case REPORT_WAITING:
		return 3;
	case REPORT_UNLINKED:
		return 2;
	case REPORT_MISSING:
		return 1;
	default:
		return 0;
	}
}

static int tree_exit(const json_t *tree)
{
	if (*report_text(tree, "failure"))
		return REPORT_FAILED;
	if (report_number(tree, "conflicts"))
		return REPORT_CONFLICTS;
	if (report_number(tree, "records") || *report_text(tree, "held"))
		return REPORT_WAITING;
	if (!is_up(tree))
		return REPORT_UNLINKED;
	if (report_number(json_object_get(tree, "hoard"), "missing_files"))
		return REPORT_MISSING;
	return REPORT_FINE;
}

int report_exit(const json_t *status)
{
	int worst = REPORT_FINE;
	const json_t *tree;
	size_t i;

	json_array_foreach(json_object_get(status, "trees"), i, tree) {
		int got = tree_exit(tree);

		if (badness(got) > badness(worst))
			worst = got;
	}
	return worst;
}

/* ---- conflicts ---- */

void report_conflicts(FILE *out, const json_t *conflicts)
{
	const json_t *one;
	size_t i;

	if (!json_array_size(conflicts))
		fprintf(out, "no conflicts\n");
	json_array_foreach(conflicts, i, one) {
		char date[REPORT_TEXT];

		fprintf(out, "%s  %s  ", report_date(date, (int64_t)report_number(one, "when_s")), report_text(one, "tree"));
		report_clean(out, report_text(one, "path"));
		fprintf(out, "\n    ");
		report_clean(out, report_text(one, "what"));
		fprintf(out, "\n");
		if (*report_text(one, "merge")) {
			fprintf(out, "    merge: ");
			report_clean(out, report_text(one, "merge"));
			fprintf(out, "\n");
		}
	}
}
