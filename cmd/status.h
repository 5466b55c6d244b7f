/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * status: what the daemon tells of itself, as JSON; izo-nfsd(8) "STATUS" documents it for programs.
 *
 * New members may come; those that are there keep their names and meaning.  report.h makes it text.
 *
 * Threads: any, while the daemon's trees and server are there.  New references; NULL: out of memory.
 */
#ifndef CMD_STATUS_H
#define CMD_STATUS_H

#include <jansson.h>
#include <stdint.h>

struct daemon;
struct daemon_tree;

#define STATUS_FORMAT 1

/* only: NULL for all trees. */
json_t *status_json(struct daemon *daemon, const struct daemon_tree *only);
/* An array: the conflicts on record, those of one tree or of all. */
json_t *status_conflicts_json(const struct daemon *daemon, const struct daemon_tree *only);
/* An array: at most 'most' records of a tree's log above seq 'after'.  NULL: it cannot be read. */
json_t *status_log_json(const struct daemon_tree *tree, uint64_t after, unsigned most);

/* status_space.c: objects of a tree's status; an array: what is hoarded, and what of it is missing (NULL: it cannot be read). */
json_t *status_space_json(const struct daemon_tree *tree);
json_t *status_hoard_json(const struct daemon_tree *tree);
json_t *status_hoard_list_json(const struct daemon *daemon, const struct daemon_tree *only);

/*
 * Text that others chose: JSON has only UTF-8, names may be any bytes.  A byte that does not fit becomes
 * U+FFFD.
 */
json_t *status_text(const char *s);

#endif
