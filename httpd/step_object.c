/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps on an object itself: its attributes, and its content. */
#include "httpd/step_do.h"

#include <errno.h>
#include <stdlib.h>
#include "httpd/change.h"
#include "httpd/detach.h"

/* What a failed step on an object itself means: look at it under its names. */
static int failed_object(struct step *step, int err)
{
	int look = segment_look_object(step->segment, step->f.object.id);

	return look ? look : step_failed(step, err, ROOT_ID, (struct slice){ ".", 1 });
}

/* ---- attributes ---- */

static void take_attr(struct kml_attr *attr, const struct kml_setattr *s)
{
	if (s->set & KML_SET_MODE)
		attr->mode = s->mode;
	if (s->set & KML_SET_UID)
		attr->uid = s->uid;
	if (s->set & KML_SET_GID)
		attr->gid = s->gid;
	if (s->set & KML_SET_ATIME)
		attr->atime = s->atime;
	if (s->set & KML_SET_MTIME)
		attr->mtime = s->mtime;
}

int step_forward(struct step *step, const struct kml_setattr *s)
{
	struct segment *segment = step->segment;
	struct object *dir = &step->f.object;
	int err = 0;

	if (file_time_cmp(s->mtime, dir->attr.mtime) > 0) {
		dir->attr.mtime = s->mtime;
		err = object_update(segment->tree->sql, dir);
		if (!err)
			err = change_dir_time(segment->tree, &step->by, dir);
		if (!err)
			err = segment_touch(segment, dir->id, true, false);
	}
	return err ? err : step_done(step, NULL);
}

int step_setattr(struct step *step, const struct kml_setattr *s)
{
	struct segment *segment = step->segment;
	struct object *object = &step->f.object;
	unsigned set = s->set & 31;
	int err = 0;

	if (object->attr.type == KML_LNK)
		set &= ~(unsigned)KML_SET_MODE;		/* a symlink has none */
	take_attr(&object->attr, s);
	if (step->how != HOW_DONE)
		err = disk_setattr(segment, object, &object->attr, set);
	if (err)
		return failed_object(step, err);
	err = change_setattr(segment->tree, &step->by, object, set);
	if (!err)
		err = segment_touch(segment, object->id, object->attr.type == KML_DIR, true);
	return err ? err : step_done(step, NULL);
}

int step_setacl(struct step *step, const struct kml_setacl *s)
{
	struct segment *segment = step->segment;
	struct object *object = &step->f.object;
	struct slice acls;
	struct buf buf;
	int err = 0;

	buf_init(&buf, 0);
	if (s->acls.access.kml_acl_len || s->acls.def.kml_acl_len)
		err = kml_acls_encode(&buf, &s->acls);
	acls = (struct slice){ buf.data, buf.len };
	object->attr.mode = s->mode;
	if (!err && step->how != HOW_DONE) {
		err = disk_setacl(segment, object, acls);
		if (err) {
			buf_release(&buf);
			return failed_object(step, err);
		}
	}
	if (!err)
		err = change_setacl(segment->tree, &step->by, object, acls);
	buf_release(&buf);
	if (!err)
		err = segment_touch(segment, object->id, object->attr.type == KML_DIR, true);
	return err ? err : step_done(step, NULL);
}

/* ---- content ---- */

static int touch_dirs_of(struct segment *segment, int64_t id)
{
	AUTO_FREE struct name_row *rows = NULL;
	size_t n;
	int err = names_of(segment->tree->sql, id, &rows, &n);

	for (size_t i = 0; !err && i < n; i++)
		err = segment_touch(segment, rows[i].dir, true, false);
	return err;
}

/* The file takes the place of the object's under all of its names. */
static int store_at_all(struct step *step)
{
	AUTO_FREE struct name_row *rows = NULL;
	const struct object *object = &step->f.object;
	size_t n;
	int err = names_of(step->segment->tree->sql, object->id, &rows, &n);

	return err ? err : disk_store(step->segment, step->record->seq, object, rows, n, &step->segment->plan[step->i], step->how);
}

int step_store(struct step *step, const struct kml_store *store)
{
	struct segment *segment = step->segment;
	struct plan *plan = &segment->plan[step->i];
	struct object *object = &step->f.object;
	struct kml_attr attr = { .mtime = store->mtime };
	int err = 0;

	if (plan->refused) {
		step->verdict.status = KML_REFUSED;
		step->verdict.error = plan->refused;
		return 0;
	}
	if ((!plan->is_staged && !plan->is_into) ||
	    (plan->is_into && !file_id_equal(object->file, segment->plan[plan->into].staged.id))) {
		/*
		 * It was not to be expected that this one would be applied, an earlier record made
		 * it so; or the CREATE with whose file its content was to come was refused.
		 */
		*step->ret_error = EAGAIN;
		return STEP_SURPRISE;
	}
	if (plan->is_into) {
		/*
		 * Its content came with the file; a record between the two may have set the time.
		 */
		object->attr.size = plan->staged.attr.size;
		if (step->how != HOW_DONE &&
		    file_time_cmp(object->attr.mtime, plan->staged.attr.mtime))
			err = disk_setattr(segment, object, &attr, KML_SET_MTIME);
	} else {
		if (step->how != HOW_DONE)
			err = store_at_all(step);
		object->attr.size = plan->staged.attr.size;
		object->file = plan->staged.id;
		object->ctime = 0;
		object->is_racy = false;
	}
	object->attr.mtime = plan->staged.attr.mtime;
	if (err)
		return failed_object(step, err);
	err = change_store(segment->tree, &step->by, object, store);
	if (!err)
		err = segment_touch(segment, object->id, false, true);
	if (!err)
		err = touch_dirs_of(segment, object->id);	/* the renames took place in them */
	return err ? err : step_done(step, NULL);
}

/* ---- parting from other names ---- */

int step_stand_back(struct segment *segment, uint32_t i)
{
	const struct kml_record *record = &segment->records[i];
	struct change_by local = { .time = record->time, .uid = record->uid };
	struct object object;
	int got = object_by_oid(segment->tree->sql, record->body.kml_body_u.detach.oid, &object);

	if (got <= 0 || object.gone || object.attr.type != KML_REG)
		return MIN(got, 0);
	return change_store(segment->tree, &local, &object, NULL);
}

/* A record before this one may have set times since the copy was staged; mode, owner and lists are for disk_store() to see to. */
static int set_times_of_copy(struct step *step)
{
	struct segment *segment = step->segment;
	const struct plan *plan = &segment->plan[step->i];
	const struct kml_attr *attr = &step->f.object.attr;
	char staged[64];
	int err;

	if (!file_time_cmp(attr->mtime, plan->staged.attr.mtime))
		return 0;
	segment_stage_name(segment->client, step->record->seq, staged);
	err = file_set(segment->tree->stage_fd, staged, plan->staged.id, attr, KML_SET_ATIME | KML_SET_MTIME);
	segment->needs_syncfs = true;
	/* Its name is free, or has the old file, when it has had its place since before a crash. */
	return step->how == HOW_MAYBE && (err == -ENOENT || err == -ESTALE) ? 0 : err;
}

/* The copy takes the place of the object's file under the names that the record is for. */
static int detach_on_disk(struct step *step, const struct detach_names *names)
{
	int err = set_times_of_copy(step);

	return err ? err : disk_store(step->segment, step->record->seq, &step->f.object, names->rows, names->n_kept,
				      &step->segment->plan[step->i], step->how);
}

static int detach(struct step *step, const struct detach_names *names)
{
	struct segment *segment = step->segment;
	struct object *object = &step->f.object, other;
	int err = 0;

	if (step->how != HOW_DONE)
		err = detach_on_disk(step, names);
	if (err)
		return failed_object(step, err);
	err = change_detach(segment->tree, &step->by, object, names->rows + names->n_kept, names->n - names->n_kept, &other);
	if (err)
		return err;
	object->file = segment->plan[step->i].staged.id;
	object->ctime = 0;
	object->is_racy = false;
	err = object_update(segment->tree->sql, object);
	if (!err)
		err = segment_touch(segment, object->id, false, true);
	if (!err)
		err = segment_touch(segment, other.id, false, true);
	if (!err)
		err = touch_dirs_of(segment, object->id);	/* the renames took place in them */
	return err ? err : step_done(step, NULL);
}

int step_detach(struct step *step, const struct kml_detach *record)
{
	struct segment *segment = step->segment;
	const struct plan *plan = &segment->plan[step->i];
	struct detach_names names;
	int err;

	if (plan->refused) {
		step->verdict.status = KML_REFUSED;
		step->verdict.error = plan->refused;
		return step_stand_back(segment, step->i);
	}
	if (!plan->is_staged) {
		*step->ret_error = EAGAIN;
		return STEP_SURPRISE;	/* as in step_store() */
	}
	err = detach_names_get(segment->tree->sql, &step->f.object, segment->client, record, &names);
	if (!err)
		err = detach(step, &names);
	detach_names_release(&names);
	if (!err && step->verdict.status == KML_REFUSED)
		err = step_stand_back(segment, step->i);
	return err;
}
