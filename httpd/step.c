/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/step_do.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

int step_failed(struct step *step, int err, int64_t dir, struct slice name)
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

int step_done(struct step *step, const struct name *name)
{
	step->answer->made_version = step->segment->tree->position;
	if (step->verdict.status == KML_RENAMED)
		return kml_name_set(&step->answer->name, name_slice(name));
	return 0;
}

static int do_it(struct step *step)
{
	const struct kml_body *body = &step->record->body;

	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return step_make(step, &body->kml_body_u.make);
	case KML_SYMLINK:
		return step_make(step, &body->kml_body_u.symlink.make);
	case KML_MKNOD:
		return step_make(step, &body->kml_body_u.mknod.make);
	case KML_LINK:
		return step_link(step, &body->kml_body_u.link);
	case KML_REMOVE:
	case KML_RMDIR:
		return step_unlink(step);
	case KML_RENAME:
		return step_rename(step, &body->kml_body_u.rename);
	case KML_SETATTR:
		if (body->kml_body_u.setattr.set == KML_SET_FORWARD)
			return step_forward(step, &body->kml_body_u.setattr);
		return step_setattr(step, &body->kml_body_u.setattr);
	case KML_STORE:
		return step_store(step, &body->kml_body_u.store);
	case KML_SETACL:
		return step_setacl(step, &body->kml_body_u.setacl);
	case KML_DETACH:
		return step_detach(step, &body->kml_body_u.detach);
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

/* Who had them refused shows them already, and needs to know what there is instead. */
static bool is_about_attributes(const struct kml_body *body)
{
	return body->op == KML_SETATTR || body->op == KML_SETACL;
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
		return is_about_attributes(&step->record->body) && step->f.object.id ? answer_object(step, step->f.object.id) : 0;
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
