/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "httpd/apply.h"
#include "httpd/change.h"
#include "httpd/facl.h"

#define CHUNK 64		/* names read at a time */

/* ---- names ---- */

/* Errors that say: there is no such file.  After any other one nothing is known. */
static bool is_nothing(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -ENAMETOOLONG || err == -ESTALE ||
	       err == -ELOOP || err == -EXDEV;
}

/*
 * A file, or a directory above it, that the server may not look at, or the disk does not give: it
 * stays as it is.
 */
static bool is_hidden(int err)
{
	return err == -EACCES || err == -EPERM || err == -EIO || err == -EUCLEAN || err == -EBADMSG;
}

static int pass_by(struct run *run, const char *name, int err)
{
	static struct log_gate gate;	/* under the tree's lock */
	unsigned held;

	if (log_gate_open(&gate, 60, &held))
		log_warn("%s: cannot look at what is in it, so changes of it are not noticed: "
			 "name=%s more=%u: %s",
			 run->tree->path, name, held, strerror(-err));
	return 0;
}

/* What the name holds: 1 and *ret_stat, 0: nothing that is exported, or -errno. */
static int stat_name(struct run *run, int64_t dir, const char *name, struct file_stat *ret_stat)
{
	int fd, err;

	if (dir == ROOT_ID && !strcmp(name, STATE_DIR))
		return 0;
	fd = tree_dir(run->tree, dir);
	err = fd < 0 ? fd : file_stat(fd, name, ret_stat);
	if (err)
		return is_nothing(err) ? 0 : err;
	return ret_stat->dev == run->tree->dev;
}

/* (1): a name of the object where it is not any more: 1 and *ret_row, 0: all are good. */
static int lost_name(struct run *run, const struct object *object, struct name_row *ret_row)
{
	AUTO_FREE struct name_row *rows = NULL;
	struct file_stat st;
	size_t n;
	int got;

	got = names_of(run->tree->sql, object->id, &rows, &n);
	for (size_t i = 0; !got && i < n; i++) {
		got = stat_name(run, rows[i].dir, rows[i].name.text, &st);
		if (got < 0 && !is_hidden(got))
			return got;
		if (!got || (got > 0 && !run_same_file(object, &st))) {
			*ret_row = rows[i];
			return 1;
		}
		got = 0;
	}
	return got;
}

static int make_with(struct run *run, struct object *object, int64_t dir, struct slice name,
		     struct slice target)
{
	struct change_by by = change_by_local();
	struct buf acls;
	int err = 0;

	by.uid = object->attr.uid;
	buf_init(&acls, 0);
	if (run->tree->has_acls)
		err = facl_read(tree_dir(run->tree, dir), name.data, object->attr.type, &acls);
	if (err && (is_nothing(err) || is_hidden(err)))
		err = 0;	/* gone again, and an event will say so; or not for us */
	if (!err)
		err = change_make(run->tree, &by, object, dir, name, (struct slice){ NULL, 0 },
				  target, (struct slice){ acls.data, acls.len });
	buf_release(&acls);
	return err;
}

static int make(struct run *run, int64_t dir, struct slice name, const struct file_stat *st)
{
	struct object object = { .attr = st->attr };
	char target[KML_TARGET_MAX + 1];
	struct slice text = { NULL, 0 };
	int err;

	if (st->attr.type == KML_LNK) {
		int len = file_readlink(tree_dir(run->tree, dir), name.data, target);

		if (len <= 0)
			/* gone again; an event will say so */
			return len == -ENOMEM ? len : 0;
		text = (struct slice){ target, (size_t)len };
	}
	run_take_file(&object, st);
	run->names++;
	err = run_begin(run);
	if (!err)
		err = make_with(run, &object, dir, name, text);
	if (err)
		return err;
	run_watch_racy(run, &object, dir, name);
	return object.attr.type == KML_DIR ? run_add_id(&run->walk, object.id) : 0;
}

/* The known object has come to dir/name, where 'replaced' was (or NULL). */
static int moved(struct run *run, struct object *object, const struct name_row *from, int64_t dir,
		 struct slice name, struct object *replaced, const struct file_stat *st)
{
	struct change_by by = change_by_local();
	int err;

	run->names++;
	err = run_begin(run);
	if (!err)
		err = run_refresh_dir(run, from->dir);
	if (err >= 0)
		err = change_rename(run->tree, &by, object, from, dir, name,
				    (struct slice){ NULL, 0 }, replaced);
	if (err)
		return err;
	tree_forget_dir(run->tree, object->id);
	err = run_compare(run, object, st, true);
	if (!err && object->attr.type == KML_DIR)
		err = run_add_id(&run->walk, object->id);
	return err;
}

static int seems_missing(struct run *run, int64_t dir, struct slice name, uint64_t since_us)
{
	if (!run->is_finding)
		return run_add_missing(run, dir, name, since_us);
	run->left++;
	return 0;
}

/* A name that the tables do not have. */
static int new_name(struct run *run, int64_t dir, struct slice name, const struct file_stat *st)
{
	struct change_by by = change_by_local();
	struct object object;
	struct name_row from;
	int got;

	got = object_by_file(run->tree->sql, st->id, &object);
	if (got > 0 && object.attr.type != st->attr.type)
		got = 0;
	if (got <= 0)
		return got ? got : make(run, dir, name, st);
	got = lost_name(run, &object, &from);
	if (got)
		return got < 0 ? got : moved(run, &object, &from, dir, name, NULL, st);
	if (object.attr.type == KML_DIR)
		return 0;	/* it is on its way right now; its events come */
	run->names++;
	got = run_begin(run);
	if (!got)
		got = change_link(run->tree, &by, &object, dir, name, (struct slice){ NULL, 0 });
	return got ? got : run_compare(run, &object, st, true);
}

/*
 * A directory's name holds something else, and where the directory went is not known yet: give it a
 * name that nobody has, and look for it to the end.  It gets its new name when it is found, or is
 * removed with what is missing.
 */
static int park(struct run *run, struct object *object, const struct name_row *row)
{
	struct change_by by = change_by_local();
	char name[64];
	int err;

	snprintf(name, sizeof(name), ".moved-%lld-%llu", (long long)object->id,
		 (unsigned long long)run->tree->position);
	run->names++;
	/* The name it had is where it belongs, should it have to come back. */
	err = change_rename(run->tree, &by, object, row, row->dir,
			    (struct slice){ name, strlen(name) }, name_slice(&row->name), NULL);
	if (err)
		return err;
	tree_forget_dir(run->tree, object->id);
	return run_add_missing(run, row->dir, (struct slice){ name, strlen(name) }, clock_us());
}

/* A name that holds another file than the tables say. */
static int replaced_name(struct run *run, const struct reconcile_item *item)
{
	struct change_by by = change_by_local();
	struct slice name = name_slice(&item->name);
	struct object old, known;
	struct file_stat st;
	struct name_row row, from;
	int got;

	got = stat_name(run, item->dir, item->name.text, &st);
	if (got < 0)
		return is_hidden(got) ? 0 : got;
	if (!got)
		return seems_missing(run, item->dir, name, clock_us());
	got = name_get(run->tree->sql, item->dir, name, &row);
	if (!got)
		/* the old object was found elsewhere meanwhile */
		return new_name(run, item->dir, name, &st);
	if (got > 0)
		got = object_by_id(run->tree->sql, row.object, &old);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (run_same_file(&old, &st)) {
		got = run_compare(run, &old, &st, false);
		if (!got)
			run_watch_racy(run, &old, item->dir, name);
		return got;
	}
	got = run_begin(run);
	if (got)
		return got;
	if (old.attr.type == KML_DIR) {
		got = park(run, &old, &row);
		return got ? got : new_name(run, item->dir, name, &st);
	}
	got = object_by_file(run->tree->sql, st.id, &known);
	if (got > 0 && known.attr.type != st.attr.type)
		got = 0;
	if (got < 0)
		return got;
	if (got && known.attr.type != KML_DIR) {
		got = lost_name(run, &known, &from);
		if (got < 0)
			return got;
		if (got)
			return moved(run, &known, &from, item->dir, name, &old, &st);
	} else if (!got && old.attr.type == KML_REG && st.attr.type == KML_REG &&
		   old.attr.nlink == 1) {
		/*
		 * An editor's way to save: the new file has the old one's place, and is its next
		 * version.
		 */
		got = run_compare(run, &old, &st, false);
		if (!got)
			run_watch_racy(run, &old, item->dir, name);
		/* No entry is about the name, yet the directory's time has changed. */
		run->names++;
		return got ? got : run_journal_dir_time(run, item->dir, RUN_LATER);
	}
	run->names++;
	got = change_unlink(run->tree, &by, &old, &row);
	return got ? got : new_name(run, item->dir, name, &st);
}

static bool is_entered(const struct run *run, const struct object *dir)
{
	return !run->hooks || !run->hooks->is_entered ||
	       run->hooks->is_entered(run->hooks->arg, dir->id, dir->file);
}

/* Pass 1 for one name; since_us as in struct reconcile_item. */
static int look_at(struct run *run, int64_t dir, struct slice name, uint64_t since_us, bool *ret_is_known)
{
	struct object object;
	struct file_stat st;
	struct name_row row, own;
	int is_there, is_known, got;

	*ret_is_known = false;
	if (name.len == 1 && *(const char *)name.data == '.') {
		if (dir == ROOT_ID)
			return run_compare_dir(run, ROOT_ID);
		got = name_of(run->tree->sql, dir, &own);
		if (got <= 0)
			return got;
		dir = own.dir;
		since_us = clock_us();
		name = name_slice(&own.name);
	}
	/* A directory that is not where it was: its own name will tell. */
	for (int fd; (fd = tree_dir(run->tree, dir)) < 0 && is_nothing(fd);
	     name = name_slice(&own.name)) {
		got = name_of(run->tree->sql, dir, &own);
		if (got <= 0)
			return got;
		dir = own.dir;
		since_us = clock_us();
	}
	is_there = stat_name(run, dir, name.data, &st);
	if (is_there < 0)
		return is_hidden(is_there) ? pass_by(run, name.data, is_there) : is_there;
	is_known = name_get(run->tree->sql, dir, name, &row);
	if (is_known < 0)
		return is_known;
	if (!is_there)
		return is_known ? seems_missing(run, dir, name, since_us) : 0;
	if (!is_known)
		return new_name(run, dir, name, &st);
	*ret_is_known = true;
	got = object_by_id(run->tree->sql, row.object, &object);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (!run_same_file(&object, &st))
		return run_add_item(&run->replaced, dir, name);
	/* That another name of it was moved may explain its ctime, and is going to be found. */
	if (object.attr.nlink > 1 && object.ctime != st.ctime && object.attr.type == KML_REG)
		return run_add_item(&run->replaced, dir, name);
	got = run_compare(run, &object, &st, false);
	if (!got)
		run_watch_racy(run, &object, dir, name);
	if (!got && object.attr.type == KML_DIR && (run->is_deep || !is_entered(run, &object)))
		got = run_add_id(&run->walk, object.id);
	return got;
}

/* ---- pass 2 ---- */

static int remove_name(struct run *run, const struct name_row *row)
{
	struct change_by by = change_by_local();
	struct object object;
	struct name_row child;
	size_t n;
	int got;

	got = object_by_id(run->tree->sql, row->object, &object);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	while (object.attr.type == KML_DIR) {
		got = names_after(run->tree->sql, object.id, (struct slice){ NULL, 0 }, &child, 1,
				  &n);
		if (!got && n)
			got = remove_name(run, &child);
		if (got)
			return got;
		if (!n)
			break;
	}
	/* Removing what was in it has changed its row. */
	got = object_by_id(run->tree->sql, row->object, &object);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	tree_forget_dir(run->tree, object.id);
	return change_unlink(run->tree, &by, &object, row);
}

static int missing_name(struct run *run, const struct reconcile_item *item)
{
	struct object object;
	struct file_stat st;
	struct name_row row;
	int got;

	got = name_get(run->tree->sql, item->dir, name_slice(&item->name), &row);
	if (got <= 0)
		return got;
	got = stat_name(run, item->dir, item->name.text, &st);
	if (got < 0)
		return is_hidden(got) ? 0 : got;
	if (got) {
		got = object_by_id(run->tree->sql, row.object, &object);
		if (got <= 0)
			return got ? got : -EUCLEAN;
		/* Back again: what it is now will be looked at when its event comes. */
		if (run_same_file(&object, &st) || !run->hooks || !run->hooks->again)
			return 0;
		run->hooks->again(run->hooks->arg, item);
		return 0;
	}
	got = run_begin(run);
	if (!got)
		got = run_refresh_dir(run, item->dir);
	return got < 0 ? got : remove_name(run, &row);
}

/* ---- runs ---- */

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

	reading->err = look_at(reading->run, reading->dir, (struct slice){ name, strlen(name) }, clock_us(), &is_known);
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
			got = stat_name(run, dir, rows[i].name.text, &st);
			if (!got)
				got = run_add_missing(run, dir, name_slice(&rows[i].name), clock_us());
			if (got < 0 && !is_hidden(got))
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

		err = replaced_name(run, &item);
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
		if (err > 0 && is_hidden(fd))
			return pass_by(run, row.name.text, fd);
		return err <= 0 ? err : run_add_missing(run, row.dir, name_slice(&row.name), clock_us());
	}
	if (run->hooks && run->hooks->enter)
		run->hooks->enter(run->hooks->arg, dir, fd);
	/* What changed after its name was looked at, and before there were events of it. */
	err = run_compare_dir(run, dir);
	if (err)
		return err;
	is_changed = run_refresh_dir(run, dir);
	if (is_changed < 0)
		return is_changed;
	shown = run->names;
	err = count_names(run->tree, dir, &names);
	if (!err)
		err = file_each(fd, read_name, &reading);
	if (err && !reading.err && is_hidden(err))
		return pass_by(run, "(its names)", err);
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
		err = look_at(run, dir, name_slice(&items[i].name), items[i].since_us, &is_known);
		if (!err)
			err = run_breathe(run);
	}
	*ret_n = i;
	/*
	 * A name that came and went has changed nothing but the directory's time.  Not in the middle
	 * of a client's batch, which is about to change it once more.
	 */
	if (!err && is_changed && (run->may_yield || run->is_finding) && shown == run->names &&
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

			err = missing_name(run, &item);
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
