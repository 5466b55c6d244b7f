/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/reconcile_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "httpd/change.h"
#include "httpd/facl.h"

/* Errors that say: there is no such file.  After any other one nothing is known. */
static bool is_nothing(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -ENAMETOOLONG || err == -ESTALE ||
	       err == -ELOOP || err == -EXDEV;
}

bool run_is_hidden(int err)
{
	return err == -EACCES || err == -EPERM || err == -EIO || err == -EUCLEAN || err == -EBADMSG;
}

int run_pass_by(struct run *run, const char *name, int err)
{
	static struct log_gate gate;	/* under the tree's lock */
	unsigned held;

	if (log_gate_open(&gate, 60, &held))
		log_warn("%s: cannot look at what is in it, so changes of it are not noticed: "
			 "name=%s more=%u: %s",
			 run->tree->path, name, held, strerror(-err));
	return 0;
}

int run_stat_name(struct run *run, int64_t dir, const char *name, struct file_stat *ret_stat)
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
		got = run_stat_name(run, rows[i].dir, rows[i].name.text, &st);
		if (got < 0 && !run_is_hidden(got))
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
	if (err && (is_nothing(err) || run_is_hidden(err)))
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
int run_replaced_name(struct run *run, const struct reconcile_item *item)
{
	struct change_by by = change_by_local();
	struct slice name = name_slice(&item->name);
	struct object old, known;
	struct file_stat st;
	struct name_row row, from;
	int got;

	got = run_stat_name(run, item->dir, item->name.text, &st);
	if (got < 0)
		return run_is_hidden(got) ? 0 : got;
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

int run_look_at_name(struct run *run, int64_t dir, struct slice name, uint64_t since_us, bool *ret_is_known)
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
	is_there = run_stat_name(run, dir, name.data, &st);
	if (is_there < 0)
		return run_is_hidden(is_there) ? run_pass_by(run, name.data, is_there) : is_there;
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

/* ---- what is missing ---- */

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

int run_missing_name(struct run *run, const struct reconcile_item *item)
{
	struct object object;
	struct file_stat st;
	struct name_row row;
	int got;

	got = name_get(run->tree->sql, item->dir, name_slice(&item->name), &row);
	if (got <= 0)
		return got;
	got = run_stat_name(run, item->dir, item->name.text, &st);
	if (got < 0)
		return run_is_hidden(got) ? 0 : got;
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
