/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/cml.h"
#include "cmd/daemon.h"
#include "cmd/status.h"
#include "replicate/replicate.h"

#define FOLLOW_S 10		/* for the link to do as it was told */
#define FOLLOW_LOOK_MS 2

static json_t *refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static json_t *refuse(const char *format, ...)
{
	AUTO_FREE char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text ? json_pack("{s:b, s:s}", "ok", 0, "error", text) : NULL;
}

static json_t *answer_status(struct daemon *daemon, const struct daemon_tree *only)
{
	json_t *status;

	daemon_look_at_mounts(daemon);
	status = status_json(daemon, only);
	return status ? json_pack("{s:b, s:o}", "ok", 1, "status", status) : NULL;
}

static json_t *answer_conflicts(struct daemon *daemon, const struct daemon_tree *only)
{
	json_t *conflicts = status_conflicts_json(daemon, only);

	if (!conflicts)
		return refuse("the list of conflicts cannot be read from the cache");
	return json_pack("{s:b, s:o}", "ok", 1, "conflicts", conflicts);
}

/*
 * The link follows on its own thread.  Who gets the answer may rely on it: that nothing is sent any more, or
 * that what he asks for next is not refused for being offline.
 */
static int set_offline(struct daemon_tree *tree, bool is_offline)
{
	const struct timespec pause = { 0, FOLLOW_LOOK_MS * 1000000 };
	uint64_t until_us = clock_us() + FOLLOW_S * US_PER_S;
	struct replicate_status link = { 0 };
	int err = replicate_set_offline(tree->replicate, is_offline);

	if (err)
		return err;
	for (;;) {
		replicate_get_status(tree->replicate, &link);
		if ((link.state == LINK_OFFLINE) == is_offline)
			return 0;
		if (clock_us() >= until_us)
			return -ETIMEDOUT;
		(void)nanosleep(&pause, NULL);	/* woken early: it looks early */
	}
}

static int tree_offline(struct daemon_tree *tree)
{
	return set_offline(tree, true);
}

static int tree_online(struct daemon_tree *tree)
{
	return set_offline(tree, false);
}

/* What programs have written and not synced is part of what is to be replayed: log it before anybody counts. */
static int tree_sync(struct daemon_tree *tree)
{
	int err = cml_flush(tree->cache);

	return err ? err : replicate_sync(tree->replicate);
}

static json_t *tell_trees(struct daemon *daemon, const struct daemon_tree *only,
			  const char *command, int (*tell)(struct daemon_tree *tree))
{
	size_t told = 0;

	for (size_t i = 0; i < daemon->config->n_trees; i++) {
		struct daemon_tree *tree = &daemon->trees[i];
		int err;

		if (only && only != tree)
			continue;
		err = tell(tree);
		if (err)
			return refuse("tree %s: --%s failed: %s; --status may tell more",
				      tree->config->name, command, strerror(-err));
		told++;
		log_info("control: --%s: tree=%s", command, tree->config->name);
	}
	return json_pack("{s:b, s:I}", "ok", 1, "trees", (json_int_t)told);
}

json_t *answer_request(void *arg, const json_t *request)
{
	struct daemon *daemon = arg;
	const char *command = json_string_value(json_object_get(request, "command"));
	const char *name = json_string_value(json_object_get(request, "tree"));
	const struct daemon_tree *only = NULL;

	for (size_t i = 0; name && i < daemon->config->n_trees; i++)
		if (!strcmp(daemon->config->trees[i].name, name))
			only = &daemon->trees[i];
	if (name && !only)
		return refuse("the daemon has no tree \"%s\"", name);
	if (!command)
		return refuse("the request names no command");
	if (!strcmp(command, "status"))
		return answer_status(daemon, only);
	if (!strcmp(command, "conflicts"))
		return answer_conflicts(daemon, only);
	if (!strcmp(command, "offline"))
		return tell_trees(daemon, only, command, tree_offline);
	if (!strcmp(command, "online"))
		return tell_trees(daemon, only, command, tree_online);
	if (!strcmp(command, "sync"))
		return tell_trees(daemon, only, command, tree_sync);
	return refuse("the daemon (version %s) does not know the command \"%s\"", IZO_VERSION,
		      command);
}
