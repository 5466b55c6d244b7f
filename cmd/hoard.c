/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --hoard, --unhoard, --hoard-list. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/place.h"
#include "cmd/report.h"

static int ask(struct ctl *ctl, json_t *request, json_t **ret_answer)
{
	AUTO_FREE char *why = NULL;
	int err = ctl_ask(ctl, request, COMMAND_WAIT_S, ret_answer, &why);

	if (err)
		(void)command_fail(why, err);
	return err;
}

static json_t *request_of(const struct command_args *args, const char *path)
{
	bool is_hoard = args->command == COMMAND_HOARD;
	json_t *request = command_request(is_hoard ? "hoard" : "unhoard", args->tree);

	/* What cannot be set, for want of memory, makes a request that is refused. */
	(void)json_object_set_new(request, "path", json_string(path));
	if (is_hoard && args->has_depth)
		(void)json_object_set_new(request, "depth", json_integer((json_int_t)args->depth));
	if (is_hoard && args->priority)
		(void)json_object_set_new(request, "priority", json_integer((json_int_t)args->priority));
	return request;
}

static int change(struct ctl *ctl, const struct command_args *args)
{
	char path[PATH_MAX];
	json_t *answer;
	int err = place_clean(args->path, path);

	if (err)
		return command_fail(NULL, err);
	if (ask(ctl, request_of(args, path), &answer))
		return EXIT_FAILURE;
	printf("tree %s: ", report_text(answer, "tree"));
	report_clean(stdout, report_text(answer, "path"));
	printf(args->command == COMMAND_HOARD ? " is hoarded; --hoard-list says when all of it is here\n" :
						" is not hoarded any more\n");
	json_decref(answer);
	return EXIT_SUCCESS;
}

static int list(struct ctl *ctl, const struct command_args *args)
{
	const json_t *entries, *entry;
	json_t *answer;
	size_t i;
	int status;

	if (ask(ctl, command_request("hoard-list", args->tree), &answer))
		return EXIT_FAILURE;
	entries = json_object_get(answer, "hoard");
	status = report_hoard_exit(entries);
	if (args->is_json && (json_dumpf(entries, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF))
		status = command_fail("the answer cannot be written", 0);
	if (!args->is_json && !json_array_size(entries))
		printf("nothing is hoarded\n");
	json_array_foreach(entries, i, entry)
		if (!args->is_json)
			report_hoard_entry(stdout, entry);
	json_decref(answer);
	return status;
}

int command_hoard(struct ctl *ctl, const struct command_args *args)
{
	return args->command == COMMAND_HOARD_LIST ? list(ctl, args) : change(ctl, args);
}
