/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "httpd/apply.h"

/*
 * Between the look at a file and what is done to it a local program may have put another one in its place, or written to it.  So nothing
 * is overwritten or removed that has not been looked at where nobody else can reach it: it is moved to stage/ or trash/ first, and
 * back when it is not what the tables say.  Its ctime is the move's then.
 */

/* Is it what loses a name?  Where it may only do so because it has others, it must have them. */
static bool is_to_go(const struct file_stat *st, const struct object *object)
{
	return disk_is_as_known(st, object) && st->attr.nlink >= object->attr.nlink;
}

/* What was moved away, and is somebody's, goes back to its name, or beside it when there is another one by now. */
static int put_back(struct segment *segment, int from, const char *from_name, const struct name_row *row)
{
	struct tree *tree = segment->tree;
	int dirfd = tree_dir(tree, row->dir), err;
	int64_t dir = dirfd < 0 ? ROOT_ID : row->dir;	/* its directory has gone, too */
	struct name name = row->name;

	if (dirfd < 0)
		dirfd = tree->root_fd;
	err = file_rename_new(from, from_name, dirfd, name.text);
	for (unsigned n = 1; err == -EEXIST && n < 1000; n++) {
		apply_conflict_name(name_slice(&row->name), tree->host, file_now(), n, &name);
		err = file_rename_new(from, from_name, dirfd, name.text);
	}
	segment->needs_syncfs = true;
	if (!err)
		return segment_look(segment, dir, name_slice(&name));
	log_error("%s: a file that was changed while it was being replaced or removed cannot be put back, and is left in " STATE_DIR
		  " as %s: %s", row->name.text, from_name, strerror(-err));
	return err;
}

int swap_take_away(struct segment *segment, uint64_t seq, const struct object *object, const struct name_row *row)
{
	int dirfd = tree_dir(segment->tree, row->dir), trash = segment->tree->trash_fd, err;
	struct file_stat st;
	char name[64];

	if (dirfd < 0)
		return dirfd;
	segment_trash_name(segment->client, seq, name);
	(void)file_delete(trash, name);		/* left by a crash; the next call tells */
	err = FAULT("step.remove");
	if (!err)
		err = file_rename_new(dirfd, row->name.text, trash, name);
	if (err)
		return err;
	err = FAULT("step.removed");
	if (!err)
		err = file_stat(trash, name, &st);
	if (err)
		return -EINPROGRESS;
	if (is_to_go(&st, object))
		return 0;
	return put_back(segment, trash, name, row) ? -EINPROGRESS : -ESTALE;
}

int swap_was_taken_away(struct segment *segment, uint64_t seq, const struct object *object, const struct name_row *row)
{
	struct file_stat st;
	char name[64];

	segment_trash_name(segment->client, seq, name);
	if (file_stat(segment->tree->trash_fd, name, &st))
		return 0;
	if (is_to_go(&st, object))
		return 1;
	return put_back(segment, segment->tree->trash_fd, name, row) ? -EINPROGRESS : 0;
}

/* What 'to' held is at 'from' now, and goes.  Somebody may have put another one there meanwhile: that is his, and will be found. */
static int remove_replaced(struct segment *segment, uint64_t seq, const struct facts *f)
{
	int err = swap_take_away(segment, seq, &f->replaced, &f->source);

	if (!err)
		segment_delete_trash(segment, seq);
	return err && err != -ESTALE && err != -ENOENT ? -EINPROGRESS : 0;
}

/*
 * What is at 'from' comes to 'to', and what was there goes: the two change places, and what has come out is looked at before it is
 * removed.  So 'to' always holds one of them.
 */
int swap_rename_over(struct segment *segment, uint64_t seq, const struct facts *f, int from, int to, const char *name)
{
	const char *from_name = f->source.name.text;
	struct file_stat st;
	int err;

	err = FAULT("step.over");
	if (!err)
		err = f->replaced.attr.type == KML_DIR ? -EOPNOTSUPP : file_exchange(from, from_name, to, name);
	/* A directory must be empty, the kernel says.  And where there is no exchange a moment is left. */
	if (err == -EOPNOTSUPP)
		return renameat(from, from_name, to, name) < 0 ? -errno : 0;
	if (err)
		return err;
	err = FAULT("step.exchanged");
	if (!err)
		err = file_stat(from, from_name, &st);
	if (!err && is_to_go(&st, &f->replaced))
		return remove_replaced(segment, seq, f);
	if (!err)
		err = file_exchange(from, from_name, to, name);
	return err ? -EINPROGRESS : -ESTALE;
}

int swap_finish_remove(struct segment *segment, uint64_t seq, const struct facts *f)
{
	int got = swap_was_taken_away(segment, seq, &f->replaced, &f->source);

	if (got > 0)
		segment_delete_trash(segment, seq);
	return MIN(got, 0);
}

int swap_finish_over(struct segment *segment, uint64_t seq, const struct facts *f, int from)
{
	struct file_stat st;

	if (!file_stat(from, f->source.name.text, &st) && is_to_go(&st, &f->replaced))
		return remove_replaced(segment, seq, f);
	return segment_look(segment, f->source.dir, name_slice(&f->source.name));
}

/* It was not the object's file that has come out from under the name, so all is as it was before.  -ESTALE, then. */
static int take_back(struct segment *segment, const char *staged, const struct name_row *row, int dirfd, struct plan *plan)
{
	int stage = segment->tree->stage_fd, err = file_exchange(stage, staged, dirfd, row->name.text);
	struct file_stat st;

	if (err && err != -ENOENT)
		return -EINPROGRESS;
	if (!err && file_stat(stage, staged, &st))
		return -EINPROGRESS;
	if (!err && file_id_equal(st.id, plan->staged.id))
		return -ESTALE;
	/* And ours has been removed there, or replaced, just then. */
	plan->is_staged = plan->is_upload = false;
	return put_back(segment, stage, staged, row) ? -EINPROGRESS : -ESTALE;
}

int swap_store_at(struct segment *segment, const char *staged, const struct object *object, const struct name_row *row, struct plan *plan)
{
	int stage = segment->tree->stage_fd, dirfd = tree_dir(segment->tree, row->dir), err;
	struct file_stat st;

	if (dirfd < 0)
		return dirfd;
	err = FAULT("step.store");
	if (!err)
		err = file_exchange(stage, staged, dirfd, row->name.text);
	if (err == -EOPNOTSUPP)
		return renameat(stage, staged, dirfd, row->name.text) < 0 ? -errno : 0;
	if (err)
		return err;
	err = FAULT("step.stored");
	if (!err)
		err = file_stat(stage, staged, &st);
	if (err)
		return -EINPROGRESS;
	if (!disk_is_as_known(&st, object))
		return take_back(segment, staged, row, dirfd, plan);
	(void)unlinkat(stage, staged, 0);	/* else it is rubbish */
	return 0;
}

int swap_keep_what_came_out(struct segment *segment, const char *staged, const struct object *object, const struct name_row *row,
			      const struct plan *plan)
{
	struct file_stat st;

	if (file_stat(segment->tree->stage_fd, staged, &st) || file_id_equal(st.id, plan->staged.id) || disk_is_as_known(&st, object))
		return 0;
	return put_back(segment, segment->tree->stage_fd, staged, row) ? -EINPROGRESS : 0;
}
