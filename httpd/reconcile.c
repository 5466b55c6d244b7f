/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "httpd/apply.h"
#include "httpd/reconcile_name.h"

#define CHUNK 64		/* names read at a time */

struct reading {
	struct run *run;
	int64_t dir;
	int64_t known;		/* names that the tables have too */
	int err;		/* of looking at one */
};

static int read_name(void *arg, const char *name)
{
	struct reading *reading = arg;
	bool is_known;

	reading->err = run_look_at_name(reading->run, reading->dir, (struct slice){ name, strlen(name) }, clock_us(), &is_known);
	reading->known += is_known;
	return reading->err;
}

static int find_missing(struct run *run, int64_t dir)
{
	AUTO_FREE struct name_row *rows = malloc(CHUNK * sizeof(*rows));
	struct name after = { 0 };
	struct file_stat st;
	size_t n;
	int got;

	if (!rows)
		return -ENOMEM;
	do {
		got = names_after(run->tree->sql, dir, name_slice(&after), rows, CHUNK, &n);
		if (got)
			return got;
		for (size_t i = 0; i < n; i++) {
			got = run_stat_name(run, dir, rows[i].name.text, &st);
			if (!got)
				got = run_add_missing(run, dir, name_slice(&rows[i].name), clock_us());
			if (got < 0 && !run_is_hidden(got))
				return got;
		}
		if (n)
			after = rows[n - 1].name;
	} while (n == CHUNK);
	return 0;
}

static int settle_replaced(struct run *run)
{
	int err = 0;

	for (size_t i = 0; !err && i < run->replaced.n; i++) {
		/* the list may move meanwhile */
		struct reconcile_item item = run->replaced.v[i];

		err = run_replaced_name(run, &item);
	}
	run->replaced.n = 0;
	return err;
}

static int count_names(struct tree *tree, int64_t dir, int64_t *ret_n)
{
	sqlite3_stmt *stmt;
	int got = sql_query(tree->sql, &stmt, "SELECT count(*) FROM name WHERE dir = ?1", "i", dir);

	if (got <= 0)
		return got ? got : -EUCLEAN;
	*ret_n = sqlite3_column_int64(stmt, 0);
	sql_done(stmt);
	return 0;
}

/* Pass 1 for all of a directory. */
static int read_dir(struct run *run, int64_t dir)
{
	struct reading reading = { .run = run, .dir = dir };
	size_t missing = run->missing.n;
	uint64_t shown;
	struct name_row row;
	int64_t names;
	int fd, err, is_changed;

	fd = tree_dir(run->tree, dir);
	if (fd == -ENOMEM || fd == -EMFILE || fd == -ENFILE)
		return fd;
	if (fd < 0) {
		/* It is not where it was, or not to be opened: its name will tell. */
		err = name_of(run->tree->sql, dir, &row);
		if (err > 0 && run_is_hidden(fd))
			return run_pass_by(run, row.name.text, fd);
		return err <= 0 ? err : run_add_missing(run, row.dir, name_slice(&row.name), clock_us());
	}
	if (run->hooks && run->hooks->enter)
		run->hooks->enter(run->hooks->arg, dir, fd);
	/* Its attributes, too: they may have changed after its name was looked at, and before there were events of it. */
	is_changed = run_compare_and_refresh_dir(run, dir);
	if (is_changed < 0)
		return is_changed;
	shown = run->names;
	err = count_names(run->tree, dir, &names);
	if (!err)
		err = file_each(fd, read_name, &reading);
	if (err && !reading.err && run_is_hidden(err))
		return run_pass_by(run, "(its names)", err);
	if (!err && reading.known < names)
		err = find_missing(run, dir);
	if (!err)
		err = settle_replaced(run);
	if (!err && is_changed && shown == run->names && missing == run->missing.n)
		err = run_journal_dir_time(run, dir, is_changed);
	return err == -ENOENT ? 0 : err;
}

/* Pass 1 for names of one directory, the first of the items; *ret_n: how many. */
static int look_at_names(struct run *run, const struct reconcile_item *items, size_t n,
			 size_t *ret_n)
{
	size_t missing = run->missing.n, replaced = run->replaced.n, left = run->left, i = 0;
	uint64_t shown = run->names;
	int64_t dir = items[0].dir;
	bool is_known;
	int err = 0, is_changed;

	/* One event per name: the directory's time once for all of them. */
	is_changed = run_refresh_dir(run, dir);
	if (is_changed < 0)
		return is_changed;
	for (; !err && i < n && items[i].dir == dir && items[i].name.len; i++) {
		err = run_look_at_name(run, dir, name_slice(&items[i].name), items[i].since_us, &is_known);
		if (!err)
			err = run_breathe(run);
	}
	*ret_n = i;
	/* A name that came and went has changed nothing but the directory's time. */
	if (!err && is_changed && shown == run->names &&
	    missing == run->missing.n && replaced == run->replaced.n && left == run->left)
		err = run_journal_dir_time(run, dir, is_changed);
	return err;
}

/* Pass 1. */
static int look_at_items(struct run *run, const struct reconcile_item *items, size_t n)
{
	size_t done;
	int err = 0;

	run->is_by_name = true;
	for (size_t i = 0; !err && i < n; i += done) {
		done = 1;
		if (items[i].name.len)
			err = look_at_names(run, items + i, n - i, &done);
		else
			err = run_add_id(&run->walk, items[i].dir);
	}
	run->is_by_name = false;
	return err ? err : settle_replaced(run);
}

static int walk(struct run *run)
{
	int err = 0;

	while (!err && run->walked < run->walk.n) {
		err = read_dir(run, run->walk.v[run->walked++]);
		if (!err)
			err = run_breathe(run);
	}
	return err;
}

/* Until there are the events of whatever made names go missing. */
static int wait_for_events(struct run *run)
{
	uint64_t since_us = 0;

	for (size_t i = run->gone; i < run->missing.n; i++)
		since_us = MAX(since_us, run->missing.v[i].since_us);
	if (since_us + RECONCILE_EVENTS_US <= clock_us())
		return 0;
	return run_give_way(run, since_us + RECONCILE_EVENTS_US);
}

/* Where what is missing may have gone: the names that events have told of. */
static int look_at_told(struct run *run)
{
	const struct reconcile_hooks *hooks = run->may_yield ? run->hooks : run->tree->watching;
	AUTO_FREE struct reconcile_item *items = NULL;
	size_t n = 0;
	int err;

	if (!hooks || !hooks->told)
		return 0;
	err = run->may_yield ? wait_for_events(run) : 0;
	if (err)
		return err;
	err = hooks->told(hooks->arg, &items, &n);
	if (err == -EOVERFLOW) {
		/* Where it has gone will be seen.  Who cannot wait for that takes it as removed. */
		if (run->may_yield)
			run->missing.n = run->gone;
		return 0;
	}
	tree_forget_dirs(run->tree);
	run->is_finding = true;
	if (!err)
		err = look_at_items(run, items, n);
	run->is_finding = false;
	return err ? err : walk(run);
}

static int run_all(struct run *run, const struct reconcile_item *items, size_t n)
{
	int err = look_at_items(run, items, n);

	if (!err)
		err = walk(run);
	while (!err && run->gone < run->missing.n) {
		size_t known = run->missing.n;

		err = look_at_told(run);
		for (; !err && run->gone < MIN(known, run->missing.n); run->gone++) {
			/* the list may move meanwhile */
			struct reconcile_item item = run->missing.v[run->gone];

			err = run_missing_name(run, &item);
			if (!err)
				err = run_breathe(run);
		}
	}
	return run_end(run, err);
}

static void release(struct run *run)
{
	free(run->walk.v);
	free(run->replaced.v);
	free(run->missing.v);
}

static int take_lock_and_run(struct run *run, const struct reconcile_item *items, size_t n,
			     uint64_t *ret_changes)
{
	int err = apply_lock(run->tree);

	if (err)
		return err;
	run->held_since_us = clock_us();
	err = run_all(run, items, n);
	tree_unlock(run->tree);
	release(run);
	if (ret_changes)
		*ret_changes = run->changes;
	log_debug(LOG_WATCH, "reconcile: names=%zu directories=%zu changes=%llu err=%d", n,
		  run->walked, (unsigned long long)run->changes, err);
	return err;
}

int reconcile_names(struct tree *tree, const struct reconcile_item *items, size_t n,
		    const struct reconcile_hooks *hooks, uint64_t *ret_changes)
{
	struct run run = { .tree = tree, .hooks = hooks, .may_yield = true };

	return take_lock_and_run(&run, items, n, ret_changes);
}

int reconcile_all(struct tree *tree, const struct reconcile_hooks *hooks, uint64_t *ret_changes)
{
	struct run run = { .tree = tree, .hooks = hooks, .is_deep = true, .may_yield = true };
	struct reconcile_item root = { .dir = ROOT_ID };

	return take_lock_and_run(&run, &root, 1, ret_changes);
}

int reconcile_locked(struct tree *tree, const struct reconcile_item *items, size_t n)
{
	struct run run = { .tree = tree };
	int err = run_all(&run, items, n);

	release(&run);
	return err;
}
