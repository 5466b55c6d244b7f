/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --check, --repair: of caches that no daemon has (cache/check.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/check.h"
#include "cmd/command.h"
#include "cmd/progress.h"
#include "cmd/report.h"

#define SHOW_EVERY_US (200 * US_PER_MS)

struct telling {
	const char *tree;
	struct progress progress;
	uint64_t show_us;
};

static void print_finding(void *arg, enum check_kind kind, const char *text)
{
	struct telling *telling = arg;
	const char *tree = telling->tree;

	progress_end(&telling->progress);
	printf("tree %s: %s", tree, kind == CHECK_DAMAGE ? "damaged: " : kind == CHECK_MENDED ? "mended: " : "");
	report_clean(stdout, text);
	printf("\n");
}

/* Holes are passed over, so the bytes may not come to their sum. */
static void show_progress(void *arg, const struct check_progress *at)
{
	struct telling *telling = arg;
	const struct progress_at shown = { at->files_done, at->files - at->files_done, at->bytes_done,
					   at->bytes - MIN(at->bytes, at->bytes_done), "files" };

	if (clock_us() < telling->show_us)
		return;
	telling->show_us = clock_us() + SHOW_EVERY_US;
	(void)fflush(stdout);	/* its end is looked at */
	progress_show(&telling->progress, &shown);
}

static int say_result(const struct config_tree *tree, const struct check_result *result)
{
	if (result->kept)
		printf("tree %s: %" PRIu64 " files are in %s/lost+found: look at them, then remove them\n", tree->name, result->kept, tree->cache);
	if (result->damage) {
		printf("tree %s: damage: %" PRIu64, tree->name, result->damage);
		printf(result->mended ? ", mended: %" PRIu64 "\n" : "; izo-nfsd --check --repair mends what can be mended\n", result->mended);
		return CHECK_EXIT_DAMAGED;
	}
	if (result->mended) {
		printf("tree %s: mended: %" PRIu64 "; nothing else is wrong\n", tree->name, result->mended);
		return CHECK_EXIT_MENDED;
	}
	printf("tree %s: the cache in %s is sound\n", tree->name, tree->cache);
	return EXIT_SUCCESS;
}

static int check_tree(const struct config_tree *tree, bool repair)
{
	struct telling telling = { .tree = tree->name };
	const struct check_config config = { tree->cache, repair, print_finding, &telling, show_progress };
	struct check_result result;
	AUTO_FREE char *why = NULL;
	int err;

	progress_begin(&telling.progress, stderr);
	err = cache_check(&config, &result, &why);
	progress_end(&telling.progress);
	if (!err)
		return say_result(tree, &result);
	log_error("tree %s: the cache cannot be %s: %s", tree->name, repair ? "mended" : "checked", why ? why : strerror(-err));
	return EXIT_FAILURE;
}

/* Of several trees: one that could not be looked at counts most, then one that stays damaged. */
static int worse(int a, int b)
{
	static const int order[] = { EXIT_FAILURE, CHECK_EXIT_DAMAGED, CHECK_EXIT_MENDED };

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (a == order[i] || b == order[i])
			return order[i];
	return EXIT_SUCCESS;
}

int command_check(const struct config *config, const struct command_args *args)
{
	int status = EXIT_SUCCESS;

	for (size_t i = 0; i < config->n_trees; i++)
		if (!args->tree || !strcmp(args->tree, config->trees[i].name))
			status = worse(status, check_tree(&config->trees[i], args->repair));
	return fflush(stdout) == EOF ? EXIT_FAILURE : status;
}
