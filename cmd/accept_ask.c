/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --accept-upstream: tell the daemon, and wait until it has opened its trees again. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/report.h"

#define LIST_S 3600		/* a large tree over a slow link */
#define OPEN_S 600		/* and a large cache */
#define LOOK_EVERY_MS 200

/* "ID@POSITION", as --status gives it. */
static json_t *request_of(const struct command_args *args)
{
	const char *at = strrchr(args->path, '@');
	json_t *request = command_request("accept", args->tree);

	if (json_object_set_new(request, "id", json_stringn(args->path, (size_t)(at - args->path))) ||
	    json_object_set_new(request, "position", json_integer((json_int_t)strtoull(at + 1, NULL, 10)))) {
		json_decref(request);
		return NULL;
	}
	return request;
}

/* The tree's part of a status; NULL: nobody answers now.  A new reference. */
static json_t *tree_status(const char *control, const char *name)
{
	AUTO_FREE char *why = NULL;
	json_t *answer = NULL, *tree = NULL;
	struct ctl *ctl;

	if (ctl_open(control, &ctl, &why))
		return NULL;
	free(why);
	why = NULL;
	if (!ctl_ask(ctl, command_request("status", name), COMMAND_WAIT_S, &answer, &why))
		tree = json_incref(json_array_get(json_object_get(json_object_get(answer, "status"), "trees"), 0));
	json_decref(answer);
	ctl_close(ctl);
	return tree;
}

/* Once it has been opened again: a number goes up each time. */
static json_t *wait_for(const char *control, const char *name, uint64_t opened)
{
	const struct timespec pause = { 0, LOOK_EVERY_MS * 1000000 };
	uint64_t until_us = clock_us() + OPEN_S * US_PER_S;
	json_t *tree;

	for (;;) {
		tree = tree_status(control, name);
		if (tree && report_number(tree, "opened") > opened)
			return tree;
		json_decref(tree);
		if (clock_us() >= until_us)
			return NULL;
		(void)nanosleep(&pause, NULL);	/* woken early: it looks early */
	}
}

static int tell(const json_t *tree, const struct command_args *args)
{
	const char *id = report_text(tree, "upstream_id"), *at = strrchr(args->path, '@');
	uint64_t records = report_number(tree, "records"), conflicts = report_number(tree, "conflicts");

	if (strlen(id) != (size_t)(at - args->path) || strncmp(id, args->path, strlen(id)) || json_is_true(json_object_get(tree, "adopt_failed")))
		return command_fail("the cache could not go on with it, and is as it was; the daemon's log says why", 0);
	printf("tree %s goes on with upstream %s\n", report_text(tree, "name"), id);
	printf("to be sent: %" PRIu64 " records; conflicts: %" PRIu64 "%s\n", records, conflicts,
	       conflicts ? ", izo-nfsd --conflicts lists them" : "");
	printf("what it does not have, or has otherwise, and was here as a whole, is listed by izo-nfsd --kept\n");
	return EXIT_SUCCESS;
}

int command_accept(struct ctl *ctl, const char *control, const struct command_args *args)
{
	AUTO_FREE char *why = NULL;
	json_t *before, *answer, *tree;
	uint64_t opened;
	int err, status;

	before = tree_status(control, args->tree);
	opened = report_number(before, "opened");
	json_decref(before);
	err = ctl_ask(ctl, request_of(args), LIST_S, &answer, &why);
	if (err)
		return command_fail(why, err);
	tree = wait_for(control, report_text(answer, "tree"), opened);
	if (tree)
		status = tell(tree, args);
	else
		status = command_fail("the daemon does not answer any more: see its log; if it ended before it was done, nothing has changed, "
				      "and it asks again", 0);
	json_decref(tree);
	json_decref(answer);
	return status;
}
