/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * command: izo-nfsd called to talk to the daemon that runs: --offline, --online, --status, --sync, --conflicts, --log,
 * --top, --debug, --link, --resolve, --diff, --kept, --forget, --hoard, --unhoard, --hoard-list, --accept-upstream, --export-log;
 * or to do something
 * without one: --export-log, --replay-log, --check.
 */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include "cmd/config.h"
#include "cmd/ctl.h"

enum command {
	COMMAND_NONE,
	COMMAND_OFFLINE,
	COMMAND_ONLINE,
	COMMAND_STATUS,
	COMMAND_SYNC,
	COMMAND_CONFLICTS,
	COMMAND_LOG,
	COMMAND_TOP,
	COMMAND_DEBUG,
	COMMAND_EXPORT,
	COMMAND_REPLAY,
	COMMAND_CHECK,
	COMMAND_RESOLVE,
	COMMAND_DIFF,
	COMMAND_KEPT,
	COMMAND_FORGET,
	COMMAND_HOARD,
	COMMAND_UNHOARD,
	COMMAND_HOARD_LIST,
	COMMAND_LINK,
	COMMAND_ACCEPT
};

struct command_args {
	enum command command;
	const char *tree;		/* NULL: all */
	bool is_json;
	const char *debug;		/* of --debug: names */
	const char *path;		/* of --resolve, --diff, --hoard, --unhoard; of --forget: a number, or "all"; of --link: a word;
					   of --accept-upstream: ID@POSITION */
	const char *keep;		/* of --resolve: "mine", "theirs", "both", "merged" */
	unsigned interval_s;		/* of --top */
	const char *file;		/* of --export-log, --replay-log */
	bool repair;			/* with --check */
	bool has_upstream, has_cache;	/* --upstream, --cache was given */
	bool has_depth;			/* of --hoard; else the default */
	uint32_t depth, priority;	/* HOARD_ALL: everything below; 0: the default */
};

#define COMMAND_WAIT_S 60		/* for one answer: a slow disk is not a hung daemon */

/* Gives the program's exit status; what there is to say has been printed. */
int command_run(const struct config *config, const struct command_args *args);

/* Says why on stderr (why may be NULL).  Gives EXIT_FAILURE. */
int command_fail(const char *why, int err);
/* A request of that name, with the tree when one is meant; NULL: out of memory. */
json_t *command_request(const char *name, const char *tree);
/* sync.c: replay now, and wait for it.  Gives the program's exit status. */
int command_sync(struct ctl *ctl, const char *tree);
/* records.c: print the records that wait, tree by tree.  Likewise. */
int command_log(struct ctl *ctl, const struct command_args *args);
/* resolve.c: settle a conflict; show both sides of one; list, and remove, what lost.  Likewise. */
int command_resolve(struct ctl *ctl, const struct command_args *args);
int command_diff(struct ctl *ctl, const struct config *config, const struct command_args *args);
int command_kept(const struct config *config, const struct command_args *args);
int command_forget(const struct config *config, const struct command_args *args);
/* hoard.c: hoard, unhoard, list what is.  Likewise. */
int command_hoard(struct ctl *ctl, const struct command_args *args);
/* accept_ask.c: go on with another upstream, or state of one.  Likewise. */
int command_accept(struct ctl *ctl, const char *control, const struct command_args *args);
/* live.c: show what goes on until told to end; once, where there is no terminal.  Likewise. */
int command_top(const char *control, const struct command_args *args);
/*
 * export.c: the tree's log into a file.  ctl: to the daemon, or NULL: there is none.  Likewise.
 */
int command_export(struct ctl *ctl, const struct config_tree *tree, const char *path);
/* replay.c: such a file to its upstream.  Likewise; REPLAY_EXIT_CONFLICTS: all of it, but something was told of. */
#define REPLAY_EXIT_CONFLICTS 4
int command_replay(const struct config *config, const struct command_args *args);
/* check.c: look through caches, and mend them.  Likewise, or one of these. */
enum { CHECK_EXIT_DAMAGED = 3, CHECK_EXIT_MENDED = 4 };
int command_check(const struct config *config, const struct command_args *args);

#endif
