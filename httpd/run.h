/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * run: one run of the reconciler: what it still has to look at, its transaction, and the comparing
 * of one object (private to reconcile*.c and run.c).
 *
 * Under the tree's lock.  Errors: 0 or -errno.
 */
#ifndef HTTPD_RUN_H
#define HTTPD_RUN_H

#include "httpd/reconcile.h"

struct id_list {
	int64_t *v;	/* owned */
	size_t n, cap;
};

struct item_list {
	struct reconcile_item *v;	/* owned */
	size_t n, cap;
};

struct run {
	struct tree *tree;
	const struct reconcile_hooks *hooks;
	bool is_deep;			/* go into directories that were known before, too */
	/* no directory is being read: its own time is looked at with its name */
	bool is_by_name;
	bool may_yield;			/* the lock is ours to give away for a moment */
	bool is_finding;		/* what is missing is left to who looks at it next */
	size_t left;			/* so many names were */
	bool in_txn;
	uint64_t held_since_us;
	uint64_t first_position;	/* of this transaction */
	uint64_t changes;
	uint64_t names;			/* entries about names: they show their directory's time */
	struct id_list walk;		/* directories to be read */
	size_t walked;
	/* names that hold another file than recorded: after all new names */
	struct item_list replaced;
	struct item_list missing;	/* names that hold nothing: at the very end */
	size_t gone;			/* of these, looked at by then */
};

int run_add_id(struct id_list *list, int64_t id);
int run_add_item(struct item_list *list, int64_t dir, struct slice name);
/* since_us: whatever made it so has happened by then. */
int run_add_missing(struct run *run, int64_t dir, struct slice name, uint64_t since_us);

/* A transaction is begun with the first change. */
int run_begin(struct run *run);
/* err: what became of it; not 0: roll back. */
int run_end(struct run *run, int err);
/*
 * Between two pieces of work: let others have the lock when it was held for long.  -EINTR: give up.
 */
int run_breathe(struct run *run);
/* Let others have the lock, until then at least.  Only where may_yield.  -EINTR: give up. */
int run_give_way(struct run *run, uint64_t until_us);

void run_take_file(struct object *object, const struct file_stat *st);
bool run_same_file(const struct object *object, const struct file_stat *st);
/*
 * The object is there, as st: journal what is new about it.  is_moved: its ctime is explained
 * already.
 */
int run_compare(struct run *run, struct object *object, const struct file_stat *st, bool is_moved);
/* A directory's own attributes; all but its mtime, unless it is looked at by name. */
int run_compare_dir(struct run *run, int64_t id);
/* Look at it again soon, if a write might have been missed. */
void run_watch_racy(struct run *run, const struct object *object, int64_t dir, struct slice name);

/*
 * Take over the directory's mtime, so that the entries about its names show it.  RUN_LATER,
 * RUN_EARLIER: it was another one, and is now later or earlier.  One that somebody set back is journalled here.
 */
#define RUN_LATER 1
#define RUN_EARLIER 2
int run_refresh_dir(struct run *run, int64_t id);
/* The same, and what run_compare_dir() does, of one look at it. */
int run_compare_and_refresh_dir(struct run *run, int64_t id);
/* No entry shows it: which says what run_refresh_dir() gave. */
int run_journal_dir_time(struct run *run, int64_t id, int which);

#endif
