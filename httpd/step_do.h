/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * step_do: one record being done (private to step*.c): step.c has the verdict, step_name.c and step_object.c do what the record says.
 *
 * What they give: 0, with step->verdict perhaps turned into REFUSED or RENAMED and the tables changed; or what step_record() gives.
 */
#ifndef HTTPD_STEP_DO_H
#define HTTPD_STEP_DO_H

#include "httpd/change.h"
#include "httpd/step.h"

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

/* ---- step.c ---- */

/*
 * A step on disk has failed.  Gives what step_record() gives, or 0 with the verdict turned into
 * REFUSED. dir, name: what was not as expected.
 */
int step_failed(struct step *step, int err, int64_t dir, struct slice name);
/* It is done, and in the tables.  name: the one it got, for RENAMED. */
int step_done(struct step *step, const struct name *name);

/* ---- step_name.c ---- */

int step_make(struct step *step, const struct kml_make *make);
int step_link(struct step *step, const struct kml_link *link);
int step_unlink(struct step *step);
int step_rename(struct step *step, const struct kml_rename *r);

/* ---- step_object.c ---- */

/* Names came and went in the directory. */
int step_forward(struct step *step, const struct kml_setattr *s);
int step_setattr(struct step *step, const struct kml_setattr *s);
int step_setacl(struct step *step, const struct kml_setacl *s);
int step_store(struct step *step, const struct kml_store *store);
int step_detach(struct step *step, const struct kml_detach *record);

#endif
