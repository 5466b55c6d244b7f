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
#include "cmd/accept.h"
#include "cmd/answer_export.h"
#include "cmd/answer_hoard.h"
#include "cmd/daemon.h"
#include "cmd/key.h"
#include "cmd/settle.h"
#include "cmd/status.h"
#include "replicate/replicate.h"

#define FOLLOW_S 10		/* for the link to do as it was told */
#define FOLLOW_LOOK_MS 2
#define LOG_PIECE 500		/* records in one answer */

json_t *answer_refuse(const char *format, ...)
{
	AUTO_FREE char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text ? json_pack("{s:b, s:s}", "ok", 0, "error", text) : NULL;
}

static json_t *answer_status(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	json_t *status;

	(void)request;
	daemon_look_at_mounts(daemon);
	status = status_json(daemon, only);
	return status ? json_pack("{s:b, s:o}", "ok", 1, "status", status) : NULL;
}

/* The same, by who asks for it again and again: mounts are not looked for each time. */
static json_t *answer_top(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	json_t *status = status_json(daemon, only);

	(void)request;
	return status ? json_pack("{s:b, s:o}", "ok", 1, "status", status) : NULL;
}

static json_t *answer_conflicts(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	json_t *conflicts = status_conflicts_json(daemon, only);

	(void)request;
	if (!conflicts)
		return answer_refuse("the list of conflicts cannot be read from the cache");
	return json_pack("{s:b, s:o}", "ok", 1, "conflicts", conflicts);
}

/* A piece of a tree's log: what comes after a seq.  An empty one is its end. */
static json_t *answer_log(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	const json_t *after = json_object_get(request, "after");
	json_t *records;

	(void)daemon;
	if (!only)
		return answer_refuse("the request names no tree");
	if (after && (!json_is_integer(after) || json_integer_value(after) < 0))
		return answer_refuse("\"after\" is not the number of a record");
	records = status_log_json(only, (uint64_t)json_integer_value(after), LOG_PIECE);
	if (!records)
		return answer_refuse("tree %s: the log cannot be read from the cache", only->config->name);
	return json_pack("{s:b, s:o}", "ok", 1, "records", records);
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
			return answer_refuse("tree %s: --%s failed: %s; --status may tell more",
				      tree->config->name, command, strerror(-err));
		told++;
		log_info("control: --%s: tree=%s", command, tree->config->name);
	}
	return json_pack("{s:b, s:I}", "ok", 1, "trees", (json_int_t)told);
}

static json_t *answer_offline(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	(void)request;
	return tell_trees(daemon, only, "offline", tree_offline);
}

static json_t *answer_online(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	(void)request;
	return tell_trees(daemon, only, "online", tree_online);
}

static json_t *answer_sync(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	(void)request;
	return tell_trees(daemon, only, "sync", tree_sync);
}

/* What the user says of the link, or that what the configuration says is to count again. */
static json_t *answer_link(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "kind"));
	bool is_configured = name && !strcmp(name, LINK_CONFIGURED);
	enum link_kind kind = LINK_KIND_AUTO;

	if (!name || (!is_configured && key_parse_link(name, &kind)))
		return answer_refuse("\"%s\" is not auto, weak, strong, paid or " LINK_CONFIGURED, name ? name : "");
	for (size_t i = 0; i < daemon->config->n_trees; i++) {
		struct daemon_tree *tree = &daemon->trees[i];
		int err = only && only != tree ? 0 : replicate_set_kind(tree->replicate, is_configured ? NULL : &kind);

		if (err)
			return answer_refuse("tree %s: --link failed: %s; --status may tell more", tree->config->name, strerror(-err));
		if (!only || only == tree)
			log_info("control: --link %s: tree=%s", name, tree->config->name);
	}
	return json_pack("{s:b}", "ok", 1);
}

/* The number of that name; false: it is not one. */
static bool get_number(const json_t *request, const char *name, uint64_t *ret_value)
{
	const json_t *value = json_object_get(request, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret_value = (uint64_t)json_integer_value(value);
	return true;
}

static json_t *refuse_export(const struct daemon_tree *tree, int err)
{
	struct cache_status status;

	cache_status(tree->cache, &status);
	if (!status.is_failed)
		return answer_refuse("tree %s: the log cannot be read from the cache: %s", tree->config->name, strerror(-err));
	return answer_refuse("tree %s: its cache has failed: %s; stop the daemon, then --export-log reads from the disk what is there",
		      tree->config->name, status.failure);
}

static json_t *answer_export(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	json_t *answer;
	int err = 0;

	(void)daemon, (void)request;
	if (!only)
		return answer_refuse("the request names no tree");
	answer = answer_export_begin(only, &err);
	if (!err)
		log_info("control: --export-log: tree=%s", only->config->name);
	return err ? refuse_export(only, err) : answer;
}

static json_t *answer_records(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	uint64_t after, last_seq, most;
	json_t *answer;
	int err = 0;

	(void)daemon;
	if (!only || !get_number(request, "after", &after) || !get_number(request, "last_seq", &last_seq) ||
	    !get_number(request, "most", &most))
		return answer_refuse("the request does not say which records of which tree");
	answer = answer_export_records(only, after, last_seq, most, &err);
	return err ? refuse_export(only, err) : answer;
}

static json_t *answer_look(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	uint64_t ino, write_gen;

	(void)daemon;
	if (!only || !get_number(request, "ino", &ino) || !get_number(request, "write_gen", &write_gen))
		return answer_refuse("the request does not say which content of which tree");
	return answer_export_look(only, ino, write_gen);
}

static json_t *answer_debug(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	const char *names = json_string_value(json_object_get(request, "names"));
	char text[LOG_TRACE_TEXT];

	(void)daemon, (void)only;
	if (!names || log_trace(names))
		return answer_refuse("\"%s\" names no component of the daemon (version %s)", names ? names : "", IZO_VERSION);
	log_info("control: --debug: debugged from now on: %s", log_trace_text(text));
	return json_pack("{s:b, s:s}", "ok", 1, "debug", text);
}

static json_t *answer_settle(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	AUTO_FREE char *why = NULL;
	json_t *answer = NULL;

	return settle_answer(daemon, only, request, &answer, &why) ? answer_refuse("%s", why ? why : "out of memory") : answer;
}

static json_t *answer_sides(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	AUTO_FREE char *why = NULL;
	json_t *answer = NULL;

	return sides_answer(daemon, only, request, &answer, &why) ? answer_refuse("%s", why ? why : "out of memory") : answer;
}

static json_t *answer_accept(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	AUTO_FREE char *why = NULL;
	json_t *answer = NULL;

	return accept_answer(daemon, only, request, &answer, &why) ? answer_refuse("%s", why ? why : "out of memory") : answer;
}

static const struct command {
	const char *name;
	enum control_right right;
	json_t *(*answer)(struct daemon *daemon, const struct daemon_tree *only, const json_t *request);
} commands[] = {
	{ "status",	CONTROL_LOOK,	answer_status },
	{ "conflicts",	CONTROL_LIST,	answer_conflicts },
	{ "log",	CONTROL_LIST,	answer_log },
	{ "top",	CONTROL_LIST,	answer_top },
	{ "offline",	CONTROL_ALL,	answer_offline },
	{ "online",	CONTROL_ALL,	answer_online },
	{ "sync",	CONTROL_ALL,	answer_sync },
	{ "link",	CONTROL_ALL,	answer_link },
	{ "debug",	CONTROL_ALL,	answer_debug },
	{ "export",	CONTROL_ALL,	answer_export },
	{ "export-records", CONTROL_ALL, answer_records },
	{ "export-look", CONTROL_ALL,	answer_look },
	{ "resolve",	CONTROL_ALL,	answer_settle },
	{ "sides",	CONTROL_ALL,	answer_sides },
	{ "hoard",	CONTROL_ALL,	answer_hoard },
	{ "unhoard",	CONTROL_ALL,	answer_unhoard },
	{ "hoard-list",	CONTROL_LIST,	answer_hoard_list },
	{ "accept",	CONTROL_ALL,	answer_accept },
};

json_t *answer_request(void *arg, enum control_right right, const json_t *request)
{
	struct daemon *daemon = arg;
	const char *name = json_string_value(json_object_get(request, "command"));
	const char *tree = json_string_value(json_object_get(request, "tree"));
	const struct command *command = NULL;
	const struct daemon_tree *only = NULL;

	if (!name)
		return answer_refuse("the request names no command");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			command = &commands[i];
	if (!command)
		return answer_refuse("the daemon (version %s) does not know the command \"%s\"", IZO_VERSION, name);
	if (right < command->right)
		return answer_refuse("--%s is for root%s only", name,
			      command->right == CONTROL_LIST ? " and the group that control_group names" : "");
	for (size_t i = 0; tree && i < daemon->config->n_trees; i++)
		if (!strcmp(daemon->config->trees[i].name, tree))
			only = &daemon->trees[i];
	if (tree && !only)
		return answer_refuse("the daemon has no tree \"%s\"", tree);
	return command->answer(daemon, only, request);
}
