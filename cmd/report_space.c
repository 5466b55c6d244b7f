/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <string.h>
#include "cmd/report.h"

static void print_room(FILE *out, const json_t *space)
{
	uint64_t limit = report_number(space, "limit_bytes"), floor = report_number(space, "floor_bytes");
	const json_t *used = json_object_get(space, "used_bytes");
	const char *full = report_text(space, "full");
	char a[REPORT_TEXT], b[REPORT_TEXT];

	if (limit || floor)
		fprintf(out, "  room       ");
	if (limit && json_is_integer(used))
		fprintf(out, "%s of %s (cache_limit)", report_bytes(a, report_number(space, "used_bytes")), report_bytes(b, limit));
	else if (limit)
		fprintf(out, "%s (cache_limit), being counted", report_bytes(b, limit));
	if (floor)
		fprintf(out, "%s%s free on the disk, of which %s stay so (disk_floor)", limit ? "; " : "",
			report_bytes(a, report_number(space, "avail_bytes")), report_bytes(b, floor));
	if (limit || floor)
		fprintf(out, "\n");
	if (*full)
		fprintf(out, "  FULL       writes are refused: %s\n", full);
}

static void print_hoard(FILE *out, const json_t *hoard)
{
	uint64_t entries = report_number(hoard, "entries"), missing = report_number(hoard, "missing_files"),
		 no_room = report_number(hoard, "no_room_bytes"), unlisted = report_number(hoard, "unlisted");
	char bytes[REPORT_TEXT];

	if (!entries)
		return;
	fprintf(out, "  hoard      %" PRIu64 " %s: ", entries, entries == 1 ? "entry" : "entries");
	if (!json_is_true(json_object_get(hoard, "known"))) {
		fprintf(out, "being looked at\n");
		return;
	}
	fprintf(out, "%" PRIu64 " files, %s", report_number(hoard, "files"), report_bytes(bytes, report_number(hoard, "bytes")));
	if (missing)
		fprintf(out, "; %" PRIu64 " of them are missing, %s%s", missing,
			report_bytes(bytes, report_number(hoard, "missing_bytes")),
			json_is_true(json_object_get(hoard, "fetching")) ? ", which are being fetched" : "");
	else if (!unlisted)
		fprintf(out, ", all here");
	if (unlisted)
		fprintf(out, "; %" PRIu64 " directories are not known yet", unlisted);
	if (no_room)
		fprintf(out, "; %s do not fit: raise cache_limit, or --unhoard something", report_bytes(bytes, no_room));
	fprintf(out, "\n");
}

void report_space(FILE *out, const json_t *tree)
{
	print_room(out, json_object_get(tree, "space"));
	print_hoard(out, json_object_get(tree, "hoard"));
}

void report_hoard_entry(FILE *out, const json_t *entry)
{
	const json_t *depth = json_object_get(entry, "depth");
	uint64_t missing = report_number(entry, "missing_files"), unlisted = report_number(entry, "unlisted");
	char bytes[REPORT_TEXT];

	fprintf(out, "%s  ", report_text(entry, "tree"));
	report_clean(out, report_text(entry, "path"));
	if (json_is_integer(depth))
		fprintf(out, "  depth %" PRIu64, report_number(entry, "depth"));
	else
		fprintf(out, "  recursive");
	fprintf(out, ", priority %" PRIu64 "%s: ", report_number(entry, "priority"),
		json_is_true(json_object_get(entry, "configured")) ? ", configured" : "");
	if (!json_is_true(json_object_get(entry, "there"))) {
		fprintf(out, "there is nothing there\n");
		return;
	}
	fprintf(out, "%" PRIu64 " files, %s", report_number(entry, "files"), report_bytes(bytes, report_number(entry, "bytes")));
	if (missing)
		fprintf(out, "; MISSING %" PRIu64 ", %s", missing, report_bytes(bytes, report_number(entry, "missing_bytes")));
	else if (!unlisted)
		fprintf(out, ", all here");
	if (unlisted)
		fprintf(out, "; %" PRIu64 " directories are not known yet", unlisted);
	fprintf(out, "\n");
}

int report_hoard_exit(const json_t *entries)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(entries, i, entry)
		if (report_number(entry, "missing_files") || report_number(entry, "unlisted") ||
		    !json_is_true(json_object_get(entry, "there")))
			return REPORT_MISSING;
	return REPORT_FINE;
}
