/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "cache/cml.h"
#include "cmd/report.h"

json_t *command_request(const char *name, const char *tree)
{
	return tree ? json_pack("{s:s, s:s}", "command", name, "tree", tree) :
		      json_pack("{s:s}", "command", name);
}

int command_fail(const char *why, int err)
{
	fprintf(stderr, "izo-nfsd: %s\n", why ? why : strerror(-err));
	return EXIT_FAILURE;
}

/* ---- no daemon runs ---- */

static int mark_tree(const struct config_tree *tree, bool is_offline)
{
	AUTO_FREE char *why = NULL;
	int err = cml_mark_offline(tree->cache, is_offline, &why);

	if (!err) {
		printf("tree %s: the next start is %s\n", tree->name,
		       is_offline ? "offline" : "online");
		return 0;
	}
	if (err == -ENOENT)
		fprintf(stderr,
			"izo-nfsd: tree %s: there is no cache in %s yet; start the daemon once\n",
			tree->name, tree->cache);
	else if (err == -EBUSY)
		fprintf(stderr,
			"izo-nfsd: tree %s: a daemon has the cache %s, but answers at another control socket; "
			"give --control or --config\n",
			tree->name, tree->cache);
	else
		fprintf(stderr, "izo-nfsd: tree %s: %s\n", tree->name, why ? why : strerror(-err));
	return err;
}

/* The mark is all that was asked for: with it made this is no failure. */
static int mark_offline(const struct config *config, const struct command_args *args)
{
	int status = EXIT_SUCCESS;

	for (size_t i = 0; i < config->n_trees; i++) {
		const struct config_tree *tree = &config->trees[i];

		if (args->tree && strcmp(args->tree, tree->name))
			continue;
		if (mark_tree(tree, args->command == COMMAND_OFFLINE))
			status = EXIT_FAILURE;
	}
	return status;
}

/* The only tree, or the one that was named. */
static int export_log(struct ctl *ctl, const struct config *config, const struct command_args *args)
{
	const struct config_tree *tree = args->tree ? config_tree(config, args->tree) : &config->trees[0];

	if (!args->tree && config->n_trees > 1)
		return command_fail("--export-log is of one tree: name it with --tree", 0);
	return command_export(ctl, tree, args->file);
}

static int without_daemon(const struct config *config, const struct command_args *args,
			  const char *why)
{
	bool marks = args->command == COMMAND_OFFLINE || args->command == COMMAND_ONLINE;

	fprintf(stderr,
		"izo-nfsd: %s; start it with \"systemctl start izo-nfsd\" or \"service izo-nfsd start\"\n",
		why);
	return marks ? mark_offline(config, args) : EXIT_FAILURE;
}

/* ---- with the daemon ---- */

static int print_json(const json_t *json)
{
	if (json_dumpf(json, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
		return command_fail("the answer cannot be written", 0);
	return EXIT_SUCCESS;
}

static int show_status(const json_t *answer, bool is_json)
{
	const json_t *status = json_object_get(answer, "status");

	if (!is_json)
		report_status(stdout, status);
	else if (print_json(status))
		return EXIT_FAILURE;
	return report_exit(status);
}

static int show_conflicts(const json_t *answer, bool is_json)
{
	const json_t *conflicts = json_object_get(answer, "conflicts");

	if (is_json)
		return print_json(conflicts);
	report_conflicts(stdout, conflicts);
	return EXIT_SUCCESS;
}

static const char *const names[] = {
	[COMMAND_OFFLINE] = "offline", [COMMAND_ONLINE] = "online", [COMMAND_STATUS] = "status",
	[COMMAND_SYNC] = "sync", [COMMAND_CONFLICTS] = "conflicts", [COMMAND_LOG] = "log",
	[COMMAND_TOP] = "top", [COMMAND_DEBUG] = "debug", [COMMAND_LINK] = "link",
};

static int with_daemon(struct ctl *ctl, const struct config *config, const struct command_args *args)
{
	AUTO_FREE char *why = NULL;
	json_t *request, *answer;
	int err, status = EXIT_SUCCESS;

	if (args->command == COMMAND_SYNC)
		return command_sync(ctl, args->tree);
	if (args->command == COMMAND_LOG)
		return command_log(ctl, args);
	if (args->command == COMMAND_RESOLVE)
		return command_resolve(ctl, args);
	if (args->command == COMMAND_DIFF)
		return command_diff(ctl, config, args);
	if (args->command == COMMAND_ACCEPT)
		return command_accept(ctl, config->control, args);
	if (args->command == COMMAND_HOARD || args->command == COMMAND_UNHOARD || args->command == COMMAND_HOARD_LIST)
		return command_hoard(ctl, args);
	request = command_request(names[args->command], args->tree);
	/* Without memory it is refused for lacking this. */
	if (args->command == COMMAND_DEBUG)
		(void)json_object_set_new(request, "names", json_string(args->debug));
	if (args->command == COMMAND_LINK)
		(void)json_object_set_new(request, "kind", json_string(args->path));
	err = ctl_ask(ctl, request, COMMAND_WAIT_S, &answer, &why);
	if (err)
		return command_fail(why, err);
	if (args->command == COMMAND_STATUS)
		status = show_status(answer, args->is_json);
	else if (args->command == COMMAND_CONFLICTS)
		status = show_conflicts(answer, args->is_json);
	else if (args->command == COMMAND_DEBUG)
		printf("debugged from now on: %s\n", report_text(answer, "debug"));
	json_decref(answer);
	return status;
}

int command_run(const struct config *config, const struct command_args *args)
{
	AUTO_FREE char *why = NULL;
	struct ctl *ctl;
	int err, status;

	if (args->tree && !config_tree(config, args->tree)) {
		fprintf(stderr, "izo-nfsd: there is no tree \"%s\"; %s names:", args->tree,
			config->path ? config->path : "the command line");
		for (size_t i = 0; i < config->n_trees; i++)
			fprintf(stderr, " %s", config->trees[i].name);
		fprintf(stderr, "\n");
		return EXIT_FAILURE;
	}
	if (args->command == COMMAND_REPLAY)
		return command_replay(config, args);
	if (args->command == COMMAND_CHECK)
		return command_check(config, args);
	/* These are about files, whether there is a daemon or not. */
	if (args->command == COMMAND_KEPT || args->command == COMMAND_FORGET) {
		status = args->command == COMMAND_KEPT ? command_kept(config, args) : command_forget(config, args);
		return fflush(stdout) == EOF ? EXIT_FAILURE : status;
	}
	/* The daemon that answers here need not be that cache's. */
	if (args->command == COMMAND_EXPORT && args->has_cache)
		return export_log(NULL, config, args);
	err = ctl_open(config->control, &ctl, &why);
	if (err == -ECONNREFUSED && args->command == COMMAND_EXPORT)
		return export_log(NULL, config, args);
	if (err == -ECONNREFUSED)
		return without_daemon(config, args, why);
	if (err)
		return command_fail(why, err);
	status = args->command == COMMAND_TOP ? command_top(config->control, args) :
		 args->command == COMMAND_EXPORT ? export_log(ctl, config, args) : with_daemon(ctl, config, args);
	ctl_close(ctl);
	if (fflush(stdout) == EOF)
		return EXIT_FAILURE;
	return status;
}
