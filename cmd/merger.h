/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * merger: runs the commands of the keys "merge" on conflicts of two contents (cache/merged.h), one at a time.
 *
 * Each conflict is given to its command once, by itself, as soon as theirs can be had; and whenever somebody asks.  What came of it, if it did not
 * settle it, is on record (--conflicts).  The command runs as the owner of our copy (base/run.h), with an environment of its own: BASE (empty: none
 * was kept), MINE, THEIRS, RESULT: paths of files; NAME: the path in the tree; TREE.  It settles the conflict by ending with 0 and
 * having written something to RESULT.
 *
 * Threads: any that may block; a lock keeps them apart.
 */
#ifndef CMD_MERGER_H
#define CMD_MERGER_H

#include <stdbool.h>
#include <stdint.h>

struct cache;
struct config_tree;
struct merger;

/* Removes what a crash has left.  config: constant meanwhile.  0 or -errno. */
int merger_new(struct cache *cache, const struct config_tree *config, struct merger **ret_merger);
/* What runs is ended, and nothing begun any more. */
void merger_stop(struct merger *merger);
/* With nobody else in it.  NULL is fine. */
void merger_free(struct merger *merger);

/* Is there any command? */
bool merger_has_work(const struct merger *merger);
/* Give each that was not tried yet to its command.  0; -errno: of the database. */
int merger_round(struct merger *merger);
/* Is the conflict one that is yet to be tried? */
bool merger_waits_for(struct merger *merger, uint64_t id);
/* This one, now.  0: it is settled; -errno, and one sentence in *ret_why, to be freed. */
int merger_merge(struct merger *merger, uint64_t id, char **ret_why);

#endif
