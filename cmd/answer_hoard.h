/* SPDX-License-Identifier: GPL-2.0-or-later */
/* answer_hoard: the daemon's side of --hoard, --unhoard and --hoard-list; as the other answers of answer.c. */
#ifndef CMD_ANSWER_HOARD_H
#define CMD_ANSWER_HOARD_H

#include <jansson.h>

struct daemon;
struct daemon_tree;

json_t *answer_hoard(struct daemon *daemon, const struct daemon_tree *only, const json_t *request);
json_t *answer_unhoard(struct daemon *daemon, const struct daemon_tree *only, const json_t *request);
json_t *answer_hoard_list(struct daemon *daemon, const struct daemon_tree *only, const json_t *request);

#endif
