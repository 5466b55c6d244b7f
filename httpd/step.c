/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "httpd/change.h"
#include "httpd/detach.h"

struct step {
	struct segment *segment;
	uint32_t i;
	const struct kml_record *record;
	struct change_by by;
	enum how how;
	struct facts f;
	struct verdict verdict;
	struct kml_answer *answer;
	int *ret_error;
};

/*
 * A step on disk has failed.  Gives what step_record() gives, or 0 with the verdict turned into
 * REFUSED. dir, name: what was not as expected.
 */
static int failed(struct step *step, int err, int64_t dir, struct slice name)
{
	int meaning = disk_classify(err);

	if (err == -EINPROGRESS)
		return -EIO;
	if (step->how == HOW_DONE)
		return err;
	if (meaning == STEP_SURPRISE) {
		*step->ret_error = -err;
		err = segment_look(step->segment, dir, name);
		return err ? err : STEP_SURPRISE;
	}
	if (meaning == STEP_RETRY) {
		*step->ret_error = -err;
		return STEP_RETRY;
	}
	step->verdict.status = KML_REFUSED;
	step->verdict.error = -err;
	step->segment->must_end = true;
	return 0;
}

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
		return failed(step, got, parent.id, name_slice(&name));
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

static int done(struct step *step, const struct name *name)
{
	step->answer->made_version = step->segment->tree->position;
	if (step->verdict.status == KML_RENAMED)
		return kml_name_set(&step->answer->name, name_slice(name));
	return 0;
}

static int do_make(struct step *step, const struct kml_make *make)
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
		return failed(step, err, step->f.parent.id, name_slice(&name));
	segment->plan[step->i].is_staged = false;	/* it has left stage/ */
	if (step->record->body.op == KML_SYMLINK)
		target = kml_target_get(&step->record->body.kml_body_u.symlink.target);
	err = change_make(segment->tree, &step->by, &object, step->f.parent.id, name_slice(&name),
			  wanted, target, (struct slice){ NULL, 0 });
	if (!err)
		err = segment_touch(segment, step->f.parent.id, true, false);
	if (!err)
		err = segment_touch(segment, object.id, false, true);
	return err ? err : done(step, &name);
}

static int do_link(struct step *step, const struct kml_link *link)
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
		return failed(step, err, step->f.parent.id, name_slice(&name));
	err = change_link(segment->tree, &step->by, &step->f.object, step->f.parent.id,
			  name_slice(&name), wanted);
	if (!err)
		err = segment_touch(segment, step->f.parent.id, true, false);
	if (!err)
		err = segment_touch(segment, step->f.object.id, false, true);
	return err ? err : done(step, &name);
}

static int do_unlink(struct step *step)
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
		return failed(step, err, f->source.dir, name_slice(&f->source.name));
	if (is_dir)
		tree_forget_dir(segment->tree, f->object.id);
	err = change_unlink(segment->tree, &step->by, &f->object, &f->source);
	if (!err)
		err = segment_touch(segment, f->source.dir, true, false);
	if (!err)
		err = segment_touch(segment, f->object.id, false, true);
	return err ? err : done(step, NULL);
}

static int do_rename(struct step *step, const struct kml_rename *r)
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

		return look ? look : failed(step, err, f->parent.id, name_slice(&name));
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
	return err ? err : done(step, &name);
}

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

/* What a failed step on an object itself means: look at it under its names. */
static int failed_object(struct step *step, int err)
{
	int look = segment_look_object(step->segment, step->f.object.id);

	return look ? look : failed(step, err, ROOT_ID, (struct slice){ ".", 1 });
}

/* Names came and went in the directory. */
static int do_forward(struct step *step, const struct kml_setattr *s)
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
	return err ? err : done(step, NULL);
}

static int do_setattr(struct step *step, const struct kml_setattr *s)
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
	return err ? err : done(step, NULL);
}

static int do_setacl(struct step *step, const struct kml_setacl *s)
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
	return err ? err : done(step, NULL);
}

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

static int do_store(struct step *step, const struct kml_store *store)
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
	return err ? err : done(step, NULL);
}

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

/* The copy takes the place of the object's file under the names that the record is for.  A record before it may have set times. */
static int detach_on_disk(struct step *step, const struct detach_names *names)
{
	struct segment *segment = step->segment;
	struct plan *plan = &segment->plan[step->i];
	struct object *object = &step->f.object, copy = *object;
	int err;

	err = disk_store(segment, step->record->seq, object, names->rows, names->n_kept, plan, step->how);
	copy.file = plan->staged.id;
	if (!err && file_time_cmp(object->attr.mtime, plan->staged.attr.mtime))
		err = disk_setattr(segment, &copy, &object->attr, KML_SET_ATIME | KML_SET_MTIME);
	return err;
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
	return err ? err : done(step, NULL);
}

static int do_detach(struct step *step, const struct kml_detach *record)
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
		return STEP_SURPRISE;	/* as in do_store() */
	}
	err = detach_names_get(segment->tree->sql, &step->f.object, segment->client, record, &names);
	if (!err)
		err = detach(step, &names);
	detach_names_release(&names);
	if (!err && step->verdict.status == KML_REFUSED)
		err = step_stand_back(segment, step->i);
	return err;
}

static int do_it(struct step *step)
{
	const struct kml_body *body = &step->record->body;

	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return do_make(step, &body->kml_body_u.make);
	case KML_SYMLINK:
		return do_make(step, &body->kml_body_u.symlink.make);
	case KML_MKNOD:
		return do_make(step, &body->kml_body_u.mknod.make);
	case KML_LINK:
		return do_link(step, &body->kml_body_u.link);
	case KML_REMOVE:
	case KML_RMDIR:
		return do_unlink(step);
	case KML_RENAME:
		return do_rename(step, &body->kml_body_u.rename);
	case KML_SETATTR:
		if (body->kml_body_u.setattr.set == KML_SET_FORWARD)
			return do_forward(step, &body->kml_body_u.setattr);
		return do_setattr(step, &body->kml_body_u.setattr);
	case KML_STORE:
		return do_store(step, &body->kml_body_u.store);
	case KML_SETACL:
		return do_setacl(step, &body->kml_body_u.setacl);
	case KML_DETACH:
		return do_detach(step, &body->kml_body_u.detach);
	}
	return -EUCLEAN;
}

static int answer_object(struct step *step, int64_t id)
{
	struct object object;
	int got = object_by_id(step->segment->tree->sql, id, &object);

	if (got <= 0)
		return got ? got : -EUCLEAN;
	step->answer->object = calloc(1, sizeof(*step->answer->object));
	if (!step->answer->object)
		return -ENOMEM;
	return object_to_kml(step->segment->tree->sql, &object, step->answer->object);
}

/* Two clients that make the same directory where lists are inherited say the same of it: that is no conflict. */
static int excuse_same_acls(struct step *step, const struct kml_setacl *s)
{
	const struct object *object = &step->f.object;
	struct buf has, wanted;
	int err = 0;

	buf_init(&has, 0);
	buf_init(&wanted, 0);
	if (s->acls.access.kml_acl_len || s->acls.def.kml_acl_len)
		err = kml_acls_encode(&wanted, &s->acls);
	if (!err)
		err = object_acls(step->segment->tree->sql, object, &has);
	if (!err && object->attr.mode == s->mode && has.len == wanted.len &&
	    (!has.len || !memcmp(has.data, wanted.data, has.len)))
		step->verdict.status = KML_ALREADY;
	buf_release(&has);
	buf_release(&wanted);
	return err;
}

static int step_decide(struct step *step)
{
	struct segment *segment = step->segment;
	const struct kml_make *make = segment_make_of(&step->record->body);
	struct certify_facts c = { 0 };
	int err;

	err = facts_gather(segment, &step->record->body, make, &step->f, &c);
	if (err)
		return err;
	step->verdict = certify(step->record, &c);
	if (step->verdict.status == KML_OK || step->verdict.status == KML_RENAMED)
		err = do_it(step);
	else if (step->verdict.status == KML_CONFLICT && step->record->body.op == KML_SETACL)
		err = excuse_same_acls(step, &step->record->body.kml_body_u.setacl);
	if (err)
		return err;
	step->answer->status = step->verdict.status;
	switch (step->verdict.status) {
	case KML_REFUSED:
		step->answer->error = (unsigned)step->verdict.error;
		return 0;
	case KML_MERGED:
		err = object_alias(segment->tree->sql, make->oid, step->f.at.object);
		return err ? err : answer_object(step, step->f.at.object);
	case KML_CONFLICT:
		return answer_object(step, step->f.object.id);
	default:
		return 0;
	}
}

int step_record(struct segment *segment, uint32_t i, struct kml_answer *ret_answer, int *ret_error)
{
	const struct kml_record *record = &segment->records[i];
	struct kml_answer answer = { .seq = record->seq };
	struct step step = {
		.segment = segment,
		.i = i,
		.record = record,
		.by = { segment->client, record->seq, record->time, record->uid },
		.how = disk_how(segment, i),
		.answer = &answer,
		.ret_error = ret_error,
	};
	int err;

	tree_trim_dirs(segment->tree);
	err = step_decide(&step);
	if (err) {
		xdr_free((xdrproc_t)xdr_kml_answer, &answer);
		return err;
	}
	log_debug(LOG_APPLY, "apply: client=%016llx seq=%llu %s: %s error=%u version=%llu",
		  (unsigned long long)segment->client, (unsigned long long)record->seq,
		  kml_op_name(record->body.op), kml_status_name(answer.status), answer.error,
		  (unsigned long long)answer.made_version);
	*ret_answer = answer;
	return 0;
}
