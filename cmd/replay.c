/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --replay-log: a file that --export-log has written, perhaps on another machine, goes to its upstream (replicate/replay_file.h). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/progress.h"
#include "cmd/report.h"
#include "replicate/replay_file.h"

struct replay_command {
	struct progress progress;
	struct progress_at all;
	struct progress_at at;
};

static void moved(void *arg, uint64_t records, uint64_t bytes)
{
	struct replay_command *command = arg;

	command->at = (struct progress_at){ records, command->all.records_left - records, bytes, command->all.bytes_left - bytes };
	progress_show(&command->progress, &command->at);
}

/* What became of it, as the end of a sentence. */
static void print_outcome(const struct replay_file_note *note)
{
	switch (note->status) {
	case KML_RENAMED:
		printf("the name was taken there; it is now ");
		report_clean(stdout, note->name);
		return;
	case KML_CONFLICT:
	case KML_GONE:
		printf("%s there meanwhile; ", note->status == KML_GONE ? "removed" : "changed");
		if (!note->is_kept) {
			printf(note->op == KML_STORE ? "ours could not be kept beside it, it is in this file only" : "not done");
			return;
		}
		printf("%s, ours as ", note->status == KML_GONE ? "it is back" : "both are kept");
		report_clean(stdout, *note->name ? note->name : "before");
		return;
	default:
		printf("the server refuses it: %s%s", strerror(note->error),
		       note->op == KML_STORE ? "; its content is in this file only" : "");
	}
}

static void print_note(void *arg, const struct replay_file_note *note)
{
	struct replay_command *command = arg;

	progress_end(&command->progress);
	printf("%8" PRIu64 "  %-8s ", note->seq, kml_op_name(note->op));
	report_clean(stdout, note->path);
	printf(": ");
	print_outcome(note);
	printf("\n");
	progress_show(&command->progress, &command->at);
}

/* The one that was named, the one that has the log's name, or the only one. */
static const struct config_tree *tree_of(const struct config *config, const char *name, const struct kml_file_head *head)
{
	const struct config_tree *tree = config_tree(config, name ? name : head->tree);

	if (!tree && !name && config->n_trees == 1)
		tree = &config->trees[0];
	if (!tree)
		log_error("the log is of tree \"%s\", which is not configured here: give its server with --upstream", head->tree);
	return tree;
}

static int say_result(const struct replay_file_result *result, const struct kml_file_totals *totals, int err, const char *why)
{
	if (err) {
		fprintf(stderr, "izo-nfsd: %" PRIu64 " of %" PRIu64 " records are at the server: %s; try again, nothing is done twice\n",
			result->records, totals->records, why ? why : strerror(-err));
		return EXIT_FAILURE;
	}
	printf("%" PRIu64 " records are at the server", result->records);
	if (result->before)
		printf(", %" PRIu64 " of them were already", result->before);
	printf(result->notes ? "; %" PRIu64 " met something else there, see above\n" : "\n", result->notes);
	if (result->lost)
		fprintf(stderr, "izo-nfsd: keep the file: it has content that the server has not taken\n");
	return result->notes ? REPLAY_EXIT_CONFLICTS : EXIT_SUCCESS;
}

static int replay(const struct config *config, const struct command_args *args, int fd, struct kml_file *file)
{
	const struct kml_file_head *head = kml_file_get_head(file);
	const struct kml_file_totals totals = kml_file_get_totals(file);
	const struct config_tree *tree = tree_of(config, args->tree, head);
	struct replay_command command = { .all = { 0, totals.records, 0, totals.bytes } };
	struct replay_file_config what = { file, fd, NULL, print_note, moved, &command };
	struct replay_file_result result;
	AUTO_FREE char *why = NULL;
	char date[REPORT_TEXT], bytes[REPORT_TEXT];
	int err;

	if (!tree)
		return EXIT_FAILURE;
	if (!head->upstream[0] && !args->has_upstream) {
		log_error("the log is of a cache that has never met its server: say with --upstream which one it is for");
		return EXIT_FAILURE;
	}
	what.url = tree->upstream;
	printf("the log of tree %s on %s, of %s: %" PRIu64 " records, %s of content\n", head->tree, head->host,
	       report_date(date, head->made.sec), totals.records, report_bytes(bytes, totals.bytes));
	(void)fflush(stdout);	/* what cannot be written is found at the end */
	command.at = command.all;
	progress_begin(&command.progress, stderr);
	err = replay_file_run(&what, &result, &why);
	progress_end(&command.progress);
	return say_result(&result, &totals, err, why);
}

int command_replay(const struct config *config, const struct command_args *args)
{
	AUTO_CLOSE int fd = open(args->file, O_RDONLY | O_CLOEXEC);
	struct kml_file *file = NULL;
	const char *why = NULL;
	int status, err = fd < 0 ? -errno : kml_file_open(fd, &file, &why);

	if (err) {
		log_error("%s: %s", args->file, why ? why : strerror(-err));
		return EXIT_FAILURE;
	}
	status = replay(config, args, fd, file);
	kml_file_free(file);
	return fflush(stdout) == EOF ? EXIT_FAILURE : status;
}
