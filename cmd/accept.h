/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * accept: what the daemon does when it is told that who answers at a tree's URL is its upstream from now on.
 *
 *	command		more members	in the answer
 *	accept		tree, id, position	position: of what was accepted
 *
 * The daemon lists that upstream's tree, and then closes all trees and opens them again, as a restart would: the cache is changed by
 * who opens it (cache/adopt.h).
 */
#ifndef CMD_ACCEPT_H
#define CMD_ACCEPT_H

#include <jansson.h>
#include "cmd/daemon.h"

/* 0 and a new reference in *ret_answer; or -errno and one sentence, to be freed, in *ret_why. */
int accept_answer(struct daemon *daemon, const struct daemon_tree *tree, const json_t *request, json_t **ret_answer, char **ret_why);

#endif
