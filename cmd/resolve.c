/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --resolve, --diff, --kept, --forget: conflicts and what is left of them, for people. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "cache/kept.h"
#include "cmd/command.h"
#include "cmd/place.h"
#include "cmd/report.h"

#define WAIT_S 3600	/* contents may have to be fetched and copied */

/* A path, or the number of a conflict as it is. */
static int whole_path(const char *path, char ret[PATH_MAX])
{
	if (path[strspn(path, "0123456789")] || strlen(path) >= PATH_MAX)
		return place_clean(path, ret);
	(void)strcpy(ret, path);
	return 0;
}

static int ask(struct ctl *ctl, const struct command_args *args, const char *command, json_t **ret_answer)
{
	AUTO_FREE char *why = NULL;
	char path[PATH_MAX];
	json_t *request = command_request(command, args->tree);
	int err = request ? whole_path(args->path, path) : -ENOMEM;

	if (!err && json_object_set_new(request, "path", json_string(path)))
		err = -EILSEQ;		/* no UTF-8 */
	if (!err && args->keep && json_object_set_new(request, "keep", json_string(args->keep)))
		err = -ENOMEM;
	if (err) {
		json_decref(request);
		(void)command_fail(err == -EILSEQ ? "the path is not UTF-8: give the conflict's number, which --conflicts --json shows" :
						    NULL, err);
		return err;
	}
	err = ctl_ask(ctl, request, WAIT_S, ret_answer, &why);
	if (err)
		(void)command_fail(why, err);
	return err;
}

int command_resolve(struct ctl *ctl, const struct command_args *args)
{
	json_t *answer;
	uint64_t n;

	if (ask(ctl, args, "resolve", &answer))
		return EXIT_FAILURE;
	n = report_number(answer, "settled");
	if (args->is_json)
		printf("{\"settled\": %" PRIu64 "}\n", n);
	else
		printf("settled, with %s kept: %" PRIu64 " conflict%s%s\n", args->keep, n, n == 1 ? "" : "s",
		       strcmp(args->keep, "both") ? "; what lost is listed by izo-nfsd --kept" : "");
	json_decref(answer);
	return EXIT_SUCCESS;
}

/* ---- diff ---- */

/* 0: it ran, and found them equal or not. */
static int run_diff(const char *dir, const char *mine, const char *theirs, const char *command)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		if (chdir(dir) < 0)
			_exit(127);
		if (command)
			(void)execl("/bin/sh", "sh", "-c", command, "sh", "theirs", "mine", access("base", F_OK) ? NULL : "base",
				    (char *)NULL);
		else
			(void)execlp("diff", "diff", "-u", "-r", "-N", "--label", theirs, "--label", mine, "theirs", "mine",
				     (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
		return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EIO;
}

static void remove_sides(const char *dir)
{
	const char *slash = strrchr(dir, '/');
	AUTO_FREE char *above = strndup(dir, (size_t)(slash - dir));
	AUTO_CLOSE int fd = above ? open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0)
		(void)kept_remove_tree(fd, slash + 1);	/* what stays the next one removes */
}

int command_diff(struct ctl *ctl, const struct config *config, const struct command_args *args)
{
	AUTO_FREE char *mine = NULL, *theirs = NULL;
	const char *dir;
	json_t *answer;
	int err = 0;

	if (ask(ctl, args, "sides", &answer))
		return EXIT_FAILURE;
	dir = report_text(answer, "dir");
	if (asprintf(&mine, "mine   %s", report_text(answer, "path")) < 0 ||
	    asprintf(&theirs, "theirs %s", report_text(answer, "name")) < 0)
		err = -ENOMEM;
	(void)fflush(stdout);
	if (!err)
		err = run_diff(dir, mine, theirs, config->diff);
	remove_sides(dir);
	json_decref(answer);
	if (err == -ENOENT)
		return command_fail("the program that compares them is not there: install diffutils, or set diff in the configuration", err);
	return err ? command_fail("the program that compares them has failed", err) : EXIT_SUCCESS;
}

/* ---- what lost ---- */

struct kept {
	const char *tree;
	json_t *array;		/* NULL: for people */
	uint64_t n;
};

static void show_kept(void *arg, uint64_t id, const char *about, const char *path)
{
	struct kept *kept = arg;

	kept->n++;
	if (kept->array) {
		(void)json_array_append_new(kept->array, json_pack("{s:s, s:I, s:s, s:s}", "tree", kept->tree, "id", (json_int_t)id,
								   "about", about, "file", path));	/* or it is missing */
		return;
	}
	printf("%" PRIu64 "  %s  ", id, kept->tree);
	report_clean(stdout, about);
	printf("\n    ");
	report_clean(stdout, path);
	printf("\n");
}

int command_kept(const struct config *config, const struct command_args *args)
{
	struct kept kept = { .array = args->is_json ? json_array() : NULL };
	int err = 0;

	for (size_t i = 0; i < config->n_trees && !err; i++) {
		kept.tree = config->trees[i].name;
		if (!args->tree || !strcmp(args->tree, kept.tree))
			err = kept_each(config->trees[i].cache, show_kept, &kept);
	}
	if (!err && kept.array)
		err = json_dumpf(kept.array, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF ? -EIO : 0;
	else if (!err && !kept.n)
		printf("nothing is kept\n");
	json_decref(kept.array);
	return err ? command_fail(NULL, err) : EXIT_SUCCESS;
}

struct forget {
	const char *cache;
	uint64_t id, n;		/* id 0: all */
	int err;
};

static void forget_one(void *arg, uint64_t id, const char *about, const char *path)
{
	struct forget *forget = arg;
	int err;

	(void)about;
	(void)path;
	if (forget->id && forget->id != id)
		return;
	err = kept_forget(forget->cache, id);
	forget->n += !err;
	if (err)
		forget->err = err;
}

int command_forget(const struct config *config, const struct command_args *args)
{
	struct forget forget = { .id = strcmp(args->path, "all") ? strtoull(args->path, NULL, 10) : 0 };
	unsigned n_trees = 0;

	for (size_t i = 0; i < config->n_trees; i++)
		n_trees += !args->tree || !strcmp(args->tree, config->trees[i].name);
	if (forget.id && n_trees > 1)
		return command_fail("there are several trees: say which with --tree", -EINVAL);
	for (size_t i = 0; i < config->n_trees && !forget.err; i++) {
		if (args->tree && strcmp(args->tree, config->trees[i].name))
			continue;
		forget.cache = config->trees[i].cache;
		forget.err = kept_each(forget.cache, forget_one, &forget);
	}
	if (forget.err)
		return command_fail(NULL, forget.err);
	if (forget.id && !forget.n)
		return command_fail("nothing of that number is kept; izo-nfsd --kept lists what is", -ENOENT);
	printf("forgotten: %" PRIu64 "\n", forget.n);
	return EXIT_SUCCESS;
}
