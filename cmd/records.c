/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --log: the records of the client's modification log that wait, tree by tree, oldest first, and what they wait for.
 *
 * The daemon gives them in pieces, and each is printed as it comes: a long log is held nowhere as a whole.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/report.h"

struct listing {
	struct ctl *ctl;
	bool is_json;
	uint64_t printed;		/* records, of all trees */
};

/* Prints why it failed. */
static int ask(struct listing *listing, json_t *request, json_t **ret_answer)
{
	AUTO_FREE char *why = NULL;
	int err = ctl_ask(listing->ctl, request, COMMAND_WAIT_S, ret_answer, &why);

	if (err)
		(void)command_fail(why, err);
	return err;
}

/* ---- for people ---- */

/* What all of them wait for. */
static const char *tree_waits(const json_t *tree)
{
	const char *state = report_text(tree, "state");

	if (*report_text(tree, "failure"))
		return report_text(tree, "failure");
	if (!strcmp(state, "offline"))
		return "offline by your word: they wait for izo-nfsd --online";
	if (!strcmp(state, "disconnected"))
		return *report_text(tree, "reason") ? report_text(tree, "reason") : "there is no link";
	return report_text(tree, "held");
}

static void print_tree(const json_t *tree)
{
	const char *waits = tree_waits(tree);
	char bytes[REPORT_TEXT];

	printf("tree %s: %" PRIu64 " records, %s of content", report_text(tree, "name"), report_number(tree, "records"),
	       report_bytes(bytes, report_number(tree, "bytes")));
	if (*waits) {
		printf("; ");
		report_clean(stdout, waits);
	}
	printf("\n");
}

static void print_detail(const json_t *record)
{
	const json_t *set = json_object_get(record, "set"), *name;
	const char *to = report_text(record, "to"), *stage = report_text(record, "stage");
	char bytes[REPORT_TEXT];
	size_t i;

	if (*to) {
		printf(" -> ");
		report_clean(stdout, to);
	}
	if (json_object_get(record, "bytes"))
		printf("  %s", report_bytes(bytes, report_number(record, "bytes")));
	json_array_foreach(set, i, name)
		printf("%s%s", i ? "," : "  ", json_string_value(name));
	if (strcmp(stage, "waiting"))
		printf("  (%s)", stage);
}

static void print_record(const json_t *record)
{
	char date[REPORT_TEXT];

	printf("%8" PRIu64 "  %s  uid %-6" PRIu64 " %-8s ", report_number(record, "seq"),
	       report_date(date, (int64_t)report_number(record, "when_s")), report_number(record, "uid"), report_text(record, "op"));
	report_clean(stdout, report_text(record, "path"));
	print_detail(record);
	printf("\n");
}

/* ---- for programs: one array, a record a line ---- */

static int print_record_json(struct listing *listing, const char *tree, json_t *record)
{
	if (json_object_set_new(record, "tree", json_string(tree)) < 0)
		return -1;
	printf(listing->printed ? ",\n" : "\n");
	return json_dumpf(record, stdout, JSON_COMPACT);
}

/* ---- */

static int print_piece(struct listing *listing, const char *tree, const json_t *records)
{
	json_t *record;
	size_t i;

	json_array_foreach(records, i, record) {
		if (listing->is_json && print_record_json(listing, tree, record) < 0)
			return -1;
		if (!listing->is_json)
			print_record(record);
		listing->printed++;
	}
	return 0;
}

static int list_tree(struct listing *listing, const json_t *tree)
{
	const char *name = report_text(tree, "name");
	uint64_t after = 0;

	for (;;) {
		json_t *request = json_pack("{s:s, s:s, s:I}", "command", "log", "tree", name, "after", (json_int_t)after);
		const json_t *records;
		json_t *answer;
		int err = ask(listing, request, &answer);
		size_t n;

		if (err)
			return err;
		if (!after && !listing->is_json)
			print_tree(tree);
		records = json_object_get(answer, "records");
		n = json_array_size(records);
		err = print_piece(listing, name, records);
		if (n)
			after = report_number(json_array_get(records, n - 1), "seq");
		json_decref(answer);
		if (err || !n)
			return err;
	}
}

int command_log(struct ctl *ctl, const struct command_args *args)
{
	struct listing listing = { .ctl = ctl, .is_json = args->is_json };
	json_t *status, *tree;
	size_t i;
	int err = ask(&listing, command_request("status", args->tree), &status);

	if (err)
		return EXIT_FAILURE;
	if (args->is_json)
		printf("[");		/* left open when it fails: not taken for all of it */
	json_array_foreach(json_object_get(json_object_get(status, "status"), "trees"), i, tree) {
		err = list_tree(&listing, tree);
		if (err)
			break;
	}
	json_decref(status);
	if (args->is_json && !err)
		printf(listing.printed ? "\n]\n" : "]\n");
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
