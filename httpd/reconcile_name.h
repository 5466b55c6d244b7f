/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reconcile_name: what one name holds, against what the tables say that it holds (private to reconcile*.c).
 *
 * Under the tree's lock, in a run.  Errors: 0 or -errno; what the server may not look at is none.
 */
#ifndef HTTPD_RECONCILE_NAME_H
#define HTTPD_RECONCILE_NAME_H

#include "httpd/run.h"

/* The server may not look at it, or the disk does not give it: it stays as it is. */
bool run_is_hidden(int err);
/* Say that of it in the log, now and then.  0. */
int run_pass_by(struct run *run, const char *name, int err);

/* What the name holds: 1 and *ret_stat, 0: nothing that is exported, or -errno. */
int run_stat_name(struct run *run, int64_t dir, const char *name, struct file_stat *ret_stat);

/*
 * Pass 1 for one name: journal what is there, note it as missing, or as another file's (run->replaced), and a directory
 * that is new as one to be read.  since_us as in struct reconcile_item.  *ret_is_known: the tables had the name.
 */
int run_look_at_name(struct run *run, int64_t dir, struct slice name, uint64_t since_us, bool *ret_is_known);
/* Of run->replaced, once all new names have been seen: it holds another file than the tables say. */
int run_replaced_name(struct run *run, const struct reconcile_item *item);
/* Pass 2, for one of run->missing: it is removed, if it holds nothing still. */
int run_missing_name(struct run *run, const struct reconcile_item *item);

#endif
