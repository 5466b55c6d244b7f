/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps that give names or take them away. */
#include "httpd/step_do.h"

#include <errno.h>
#include "httpd/change.h"

/* ---- which name ---- */

/* A directory that is gone comes back, and those above it. */
static int revive(struct step *step, struct object *dir)
{
	struct segment *segment = step->segment;
	struct tree *tree = segment->tree;
	struct slice wanted = { NULL, 0 };
	struct name was, name;
	struct name_row row;
	struct object parent;
	int got;

	got = object_by_id(tree->sql, dir->was_dir, &parent);
	if (got > 0)
		got = object_was_name(tree->sql, dir->id, &was);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (parent.gone) {
		got = revive(step, &parent);
		if (got || step->verdict.status == KML_REFUSED)
			return got;
	}
	name = was;
	got = name_get(tree->sql, parent.id, name_slice(&was), &row);
	if (got > 0) {
		wanted = name_slice(&was);
		got = facts_free_name(segment, step->record, parent.id, wanted, &name);
	}
	if (got < 0)
		return got;
	got = disk_revive(segment, dir, parent.id, name.text, step->how);
	if (got)
		return step_failed(step, got, parent.id, name_slice(&name));
	got = change_revive(tree, &step->by, dir, parent.id, name_slice(&name), wanted);
	if (!got)
		got = segment_touch(segment, parent.id, true, false);
	if (!got)
		got = segment_touch(segment, dir->id, true, true);
	return got;
}

/* For what gets a name: its directory is there, *ret_name and *ret_wanted are the name it gets. */
static int settle_name(struct step *step, struct slice wanted, struct name *ret_name,
		       struct slice *ret_wanted)
{
	struct facts *f = &step->f;
	int err = 0;

	if (step->verdict.must_revive)
		err = revive(step, &f->parent);
	if (err || step->verdict.status == KML_REFUSED)
		return err;
	name_set(ret_name, wanted);
	*ret_wanted = (struct slice){ NULL, 0 };
	if (step->verdict.status != KML_RENAMED)
		return 0;
	*ret_wanted = wanted;
	return facts_free_name(step->segment, step->record, f->parent.id, wanted, ret_name);
}

/* ---- what is done ---- */

int step_make(struct step *step, const struct kml_make *make)
{
	struct segment *segment = step->segment;
	const struct plan *plan = &segment->plan[step->i];
	struct object object = { .oid = make->oid,
				 .attr = plan->staged.attr,
				 .file = plan->staged.id };
	struct slice wanted, target = { NULL, 0 };
	struct name name;
	int err;

	if (plan->refused) {
		step->verdict.status = KML_REFUSED;
		step->verdict.error = plan->refused;
		return 0;
	}
	err = settle_name(step, kml_name_get(&make->name), &name, &wanted);
	if (err || step->verdict.status == KML_REFUSED)
		return err;
	if (step->how != HOW_DONE)
		err = disk_place(segment, step->record->seq, step->f.parent.id, name.text,
				 step->how);
	if (err)
		return step_failed(step, err, step->f.parent.id, name_slice(&name));
	segment->plan[step->i].is_staged = false;	/* it has left stage/ */
	if (step->record->body.op == KML_SYMLINK)
		target = kml_target_get(&step->record->body.kml_body_u.symlink.target);
	err = change_make(segment->tree, &step->by, &object, step->f.parent.id, name_slice(&name),
			  wanted, target, (struct slice){ NULL, 0 });
	if (!err)
		err = segment_touch(segment, step->f.parent.id, true, false);
	if (!err)
		err = segment_touch(segment, object.id, false, true);
	return err ? err : step_done(step, &name);
}

int step_link(struct step *step, const struct kml_link *link)
{
	struct segment *segment = step->segment;
	struct slice wanted;
	struct name name;
	int err;

	err = settle_name(step, kml_name_get(&link->name), &name, &wanted);
	if (err || step->verdict.status == KML_REFUSED)
		return err;
	if (step->how != HOW_DONE)
		err = disk_link(segment, &step->f.object, step->f.parent.id, name.text, step->how);
	if (err)
		return step_failed(step, err, step->f.parent.id, name_slice(&name));
	err = change_link(segment->tree, &step->by, &step->f.object, step->f.parent.id,
			  name_slice(&name), wanted);
	if (!err)
		err = segment_touch(segment, step->f.parent.id, true, false);
	if (!err)
		err = segment_touch(segment, step->f.object.id, false, true);
	return err ? err : step_done(step, &name);
}

int step_unlink(struct step *step)
{
	struct segment *segment = step->segment;
	struct facts *f = &step->f;
	bool is_dir = f->object.attr.type == KML_DIR;
	int err = 0;

	if (step->how != HOW_DONE)
		err = is_dir ? disk_rmdir(segment, &f->object, &f->source, step->how)
			     : disk_remove(segment, step->record->seq, &f->object, &f->source,
					   step->how);
	if (err == -ENOTEMPTY || err == -EEXIST) {
		/* What is in it is not in the tables yet. */
		err = segment_look(segment, f->object.id, (struct slice){ NULL, 0 });
		*step->ret_error = ENOTEMPTY;
		return err ? err : STEP_SURPRISE;
	}
	if (err)
		return step_failed(step, err, f->source.dir, name_slice(&f->source.name));
	if (is_dir)
		tree_forget_dir(segment->tree, f->object.id);
	err = change_unlink(segment->tree, &step->by, &f->object, &f->source);
	if (!err)
		err = segment_touch(segment, f->source.dir, true, false);
	if (!err)
		err = segment_touch(segment, f->object.id, false, true);
	return err ? err : step_done(step, NULL);
}

int step_rename(struct step *step, const struct kml_rename *r)
{
	struct segment *segment = step->segment;
	struct facts *f = &step->f;
	bool is_over = step->verdict.status == KML_OK && f->at.object;
	struct slice wanted;
	struct name name;
	int err;

	err = settle_name(step, kml_name_get(&r->to_name), &name, &wanted);
	if (err || step->verdict.status == KML_REFUSED)
		return err;
	if (is_over && f->is_aside) {
		name = f->at.name;
		wanted = kml_name_get(&r->to_name);
		step->verdict.status = KML_RENAMED;
	}
	if (step->how != HOW_DONE)
		err = disk_rename(segment, step->record->seq, f, f->parent.id, name.text, is_over, step->how);
	if (err) {
		int look = segment_look(segment, f->source.dir, name_slice(&f->source.name));

		return look ? look : step_failed(step, err, f->parent.id, name_slice(&name));
	}
	err = change_rename(segment->tree, &step->by, &f->object, &f->source, f->parent.id,
			    name_slice(&name), wanted, is_over ? &f->replaced : NULL);
	if (!err)
		err = segment_touch(segment, f->source.dir, true, false);
	if (!err)
		err = segment_touch(segment, f->parent.id, true, false);
	if (!err)
		err = segment_touch(segment, f->object.id, false, true);
	if (!err && is_over) {
		tree_forget_dir(segment->tree, f->replaced.id);
		err = segment_touch(segment, f->replaced.id, false, true);
	}
	return err ? err : step_done(step, &name);
}
