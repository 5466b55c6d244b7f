/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * settle: what the daemon does when it is asked to settle a conflict, or to show both sides of one; and when the configuration
 * says how all are settled.
 *
 *	command		more members	in the answer
 *	resolve		path, keep	settled: how many
 *	sides		path		dir: has "mine", "theirs", "base" if there is one, for the caller to remove; path, name: what they are called
 *
 * path: in a tree or on a mount of one, of ours as it is now or of the name in dispute; or a conflict's number.
 * keep: "mine", "theirs", "both", or "merged": what the configured command makes of both.
 */
#ifndef CMD_SETTLE_H
#define CMD_SETTLE_H

#include <jansson.h>
#include "cmd/daemon.h"

/* 0 and a new reference in *ret_answer; or -errno and one sentence, to be freed, in *ret_why. */
int settle_answer(struct daemon *daemon, const struct daemon_tree *only, const json_t *request, json_t **ret_answer, char **ret_why);
int sides_answer(struct daemon *daemon, const struct daemon_tree *only, const json_t *request, json_t **ret_answer, char **ret_why);

#endif
