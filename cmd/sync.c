/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --sync: tell the daemon to replay, then look again and again until its log is empty or it is clear
 * that it will not be: the user said offline, there is no link and a try made now has failed, or something
 * holds the log for HELD_S.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/progress.h"
#include "cmd/report.h"

#define LOOK_EVERY_MS 200
#define SETTLE_S 1		/* a failure sooner may be of something begun before we asked */
#define LINK_S 30		/* for a link to come up, or to fail */
#define HELD_S 10		/* without progress, and the daemon says what holds it */
#define STUCK_S 300		/* without progress, for no reason given */

struct sync {
	struct ctl *ctl;
	const char *tree;
	json_t *before;			/* the status before the replay was asked for */
	uint64_t asked_us, moved_us;	/* when asked; when something last moved */
	uint64_t last_mark;		/* sum of what moves */
	struct progress progress;
};

static json_t *tree_before(const struct sync *sync, const char *name)
{
	json_t *tree;
	size_t i;

	json_array_foreach(json_object_get(sync->before, "trees"), i, tree)
		if (!strcmp(report_text(tree, "name"), name))
			return tree;
	return NULL;
}

/* Why this tree's log will not empty itself, or NULL: go on waiting. */
static const char *hopeless(const struct sync *sync, const json_t *tree, uint64_t now_us)
{
	const json_t *before = tree_before(sync, report_text(tree, "name"));
	const char *state = report_text(tree, "state"), *held = report_text(tree, "held");
	uint64_t idle_s = (now_us - sync->moved_us) / US_PER_S;
	uint64_t asked_us_ago = now_us - sync->asked_us;
	bool has_failed = report_number(tree, "failures") > report_number(before, "failures");

	if (*report_text(tree, "failure"))
		return report_text(tree, "failure");
	if (!strcmp(state, "offline"))
		return "it is offline by your word; izo-nfsd --online ends that";
	if (!strcmp(state, "disconnected") &&
	    ((has_failed && asked_us_ago >= SETTLE_S * US_PER_S) ||
	     asked_us_ago >= LINK_S * US_PER_S))
		return *report_text(tree, "reason") ? report_text(tree, "reason") :
						      "there is no link";
	if (*held && idle_s >= HELD_S)
		return held;
	if (idle_s >= STUCK_S)
		return "nothing has moved for 5 minutes; see izo-nfsd --status and the journal";
	return NULL;
}

static void show(struct sync *sync, const json_t *trees)
{
	struct progress_at at = { 0 };
	const json_t *tree;
	uint64_t mark, sent = 0;
	size_t i;

	json_array_foreach(trees, i, tree) {
		const json_t *before = tree_before(sync, report_text(tree, "name"));

		at.records_done += report_number(tree, "replayed_records") -
				   report_number(before, "replayed_records");
		at.bytes_done += report_number(tree, "replayed_bytes") -
				 report_number(before, "replayed_bytes");
		at.records_left += report_number(tree, "records");
		at.bytes_left += report_number(tree, "bytes");
		/* A large file is acknowledged as a whole, which over a weak link takes its time. */
		sent += report_number(tree, "sent_bytes");
	}
	mark = sent + at.records_done + at.bytes_done + at.records_left + at.bytes_left;
	if (mark != sync->last_mark)
		sync->moved_us = clock_us();
	sync->last_mark = mark;
	progress_show(&sync->progress, &at);
}

/* True when it is over, one way or the other; *ret_status is then the exit status. */
static bool look(struct sync *sync, const json_t *status, int *ret_status)
{
	const json_t *trees = json_object_get(status, "trees"), *tree;
	uint64_t now_us, waiting = 0, conflicts = 0;
	size_t i;

	show(sync, trees);
	now_us = clock_us();
	json_array_foreach(trees, i, tree) {
		uint64_t records = report_number(tree, "records");
		const char *why = records ? hopeless(sync, tree, now_us) : NULL;

		waiting += records;
		conflicts += report_number(tree, "conflicts");
		if (!why)
			continue;
		progress_end(&sync->progress);
		fprintf(stderr, "izo-nfsd: tree %s: %" PRIu64 " records stay in the log: %s\n",
			report_text(tree, "name"), records, why);
		*ret_status = EXIT_FAILURE;
		return true;
	}
	if (waiting)
		return false;
	progress_end(&sync->progress);
	if (conflicts)
		fprintf(stderr,
			"izo-nfsd: everything is replayed; %" PRIu64
			" conflicts wait, izo-nfsd --conflicts lists "
			"them\n",
			conflicts);
	*ret_status = EXIT_SUCCESS;
	return true;
}

static int get_status(struct sync *sync, json_t **ret_status, char **ret_why)
{
	json_t *answer;
	int err;

	free(*ret_why);
	err = ctl_ask(sync->ctl, command_request("status", sync->tree), COMMAND_WAIT_S, &answer,
		      ret_why);
	if (err)
		return err;
	*ret_status = json_incref(json_object_get(answer, "status"));
	json_decref(answer);
	return 0;
}

static int sync_run(struct sync *sync, int *ret_status, char **ret_why)
{
	const struct timespec pause = { 0, LOOK_EVERY_MS * 1000000 };
	json_t *answer, *status;
	bool is_over = false;
	int err;

	err = get_status(sync, &sync->before, ret_why);
	if (err)
		return err;
	free(*ret_why);
	err = ctl_ask(sync->ctl, command_request("sync", sync->tree), COMMAND_WAIT_S, &answer,
		      ret_why);
	if (err)
		return err;
	json_decref(answer);
	sync->asked_us = sync->moved_us = clock_us();
	for (;;) {
		err = get_status(sync, &status, ret_why);
		if (err)
			return err;
		is_over = look(sync, status, ret_status);
		json_decref(status);
		if (is_over)
			return 0;
		(void)nanosleep(&pause, NULL);	/* woken early: it looks early */
	}
}

int command_sync(struct ctl *ctl, const char *tree)
{
	struct sync sync = { .ctl = ctl, .tree = tree };
	AUTO_FREE char *why = NULL;
	int err, status = EXIT_FAILURE;

	progress_begin(&sync.progress, stderr);
	err = sync_run(&sync, &status, &why);
	progress_end(&sync.progress);
	json_decref(sync.before);
	if (err)
		fprintf(stderr, "izo-nfsd: %s\n", why ? why : strerror(-err));
	return status;
}
