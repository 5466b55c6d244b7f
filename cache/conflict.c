/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conflicts, by answer and record:
 *
 *	STORE CONFLICT, GONE		our inode becomes a new object NAME.conflict-HOST-DATE (conflict_split.c)
 *	RENAME, LINK GONE		it becomes a new object under the name that we gave it (conflict_place.c)
 *	anything RENAMED		the name here follows (settle_renamed())
 *	MKDIR MERGED			conflict_merge.c
 *	CREATE..., STORE REFUSED	stays here only; cml_retire.c keeps its marks
 *	the rest			dropped: upstream is asked for what is there now (conflict_drop())
 *
 * Our inode is what programs have open, so it is the one that becomes another object (conflict_renew.c); what upstream
 * has gets a new inode under the old names.  Records further on in the log that speak of the old oid are
 * about upstream's object from then on, but for STOREs, which could only meet the same answer: those go.
 *
 * conflict_say() puts each on record, by conflict_note.c.
 */
#include "cache/conflict.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "cache/cml_state.h"
#include "cache/conflict_merge.h"
#include "cache/conflict_state.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/stale.h"
#include "cache/writer.h"

static const struct slice no_name = { NULL, 0 };

int conflict_say(const struct conflict *c, enum conflict_kind kind, uint64_t dir, struct slice name, const char *format, ...)
{
	const struct conflict_note n = {
		.change = c->change, .kind = kind, .ino = c->ino, .edit = c->edit, .dir = dir, .name = name,
		.record = c->record, .answer = c->answer,
	};
	va_list args;
	int err;

	va_start(args, format);
	err = conflict_note(&n, format, args);
	va_end(args);
	return err;
}

/* The last name that the record has; valid as long as that.  Gives its directory, 0: there is none, or it has no name. */
static uint64_t name_in_dispute(const struct conflict *c, struct slice *ret_name)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(c->record, places);

	*ret_name = n ? places[n - 1].name : no_name;
	return n ? cml_find_oid(c->change->cache, places[n - 1].dir) : 0;
}

/* ---- the rest is dropped ---- */

static const char *what_of(const struct kml_record *record)
{
	switch (record->body.op) {
	case KML_LINK:
		return "a link to it";
	case KML_REMOVE:
	case KML_RMDIR:
		return "its removal";
	case KML_RENAME:
		return "a rename of it";
	case KML_SETATTR:
		return "a change of its attributes";
	case KML_SETACL:
		return "a change of its access control list";
	default:
		return "a change of it";
	}
}

/* Attributes of what is gone on both sides: nothing is there to have others. */
static bool is_of_nothing(const struct conflict *c)
{
	enum kml_op op = c->record->body.op;

	return (op == KML_SETATTR || op == KML_SETACL) && (c->answer->status == KML_GONE || !c->edit || c->edit->is_removed);
}

/* What it set here is to be seen no more. */
static int drop_attributes(const struct conflict *c)
{
	if (!cml_sets_attributes(c->record))
		return 0;
	if (c->answer->status != KML_CONFLICT && c->answer->status != KML_REFUSED)
		return 0;
	return merge_attrs_again(c->change, c->edit, c->answer->object);
}

int conflict_drop(const struct conflict *c)
{
	struct slice name;
	uint64_t dir = name_in_dispute(c, &name);
	int err = 0;

	/* The directories are marked by cml_retire.c. */
	if (c->edit)
		err = drop_attributes(c);
	if (!err && c->edit && c->edit->v.links_up)
		err = stale_ask(c->change, c->ino);
	if (err || is_of_nothing(c))
		return err;
	switch (c->answer->status) {
	case KML_REFUSED:
		err = conflict_say(c, CONFLICT_UNDONE, dir, name, "%s is refused by the server: %s", what_of(c->record),
				   strerror((int)c->answer->error));
		break;
	case KML_GONE:
		err = conflict_say(c, CONFLICT_UNDONE, dir, name, "%s came to nothing: it was removed at the server", what_of(c->record));
		break;
	default:
		err = conflict_say(c, CONFLICT_UNDONE, dir, name, "%s came to nothing: it was changed at the server", what_of(c->record));
	}
	return err;
}

/* ---- RENAMED ---- */

/* For %.*s: in a sentence that has 255 bytes. */
#define ANSWER_NAME(answer) \
	(int)MIN((answer)->name.kml_name_len, 160), (answer)->name.kml_name_val ? (answer)->name.kml_name_val : ""

static int clear_marks(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	const struct conflict *c = arg;

	return info->seq == c->record->seq ? name_retire(c->change, dir, name, info->seq) : 0;
}

/* Its name here, unless that has become another one since. */
static int follow_name(const struct conflict *c, uint64_t dir, struct slice name)
{
	struct slice given = kml_name_get(&c->answer->name);
	struct cache *cache = c->change->cache;
	struct name_info info = { 0 }, other = { 0 };
	int got, has_other = 0;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, dir, name, &info);
	if (got > 0)
		has_other = name_get(cache, dir, given, &other);
	pthread_mutex_unlock(&cache->lock);
	if (got <= 0 || has_other < 0)
		return MIN(MIN(got, has_other), 0);
	if (info.ino != c->ino || info.seq || (has_other && other.ino != c->ino))
		return 0;	/* the listing, which is asked for anew, shows it where it is */
	got = name_unbind(c->change, dir, name, 0);
	if (got)
		return got;
	if (!has_other)
		return name_bind(c->change, dir, given, c->ino, 0);
	/* A listing has brought the one before the answer came: the other is one name less. */
	EDIT(c->edit, links_up, c->edit->v.links_up - 1);
	return 0;
}

/* It has no name here any more: removed, which is done further on in the log, or tells where it is; or replaced, which may do neither. */
static int settle_renamed_and_gone(const struct conflict *c, uint64_t dir, struct slice name)
{
	uint64_t seq;
	int got;

	got = cml_last_of(c->change, c->ino, c->record->body.op == KML_MKDIR ? KML_RMDIR : KML_REMOVE, &seq);
	if (got)
		return MIN(got, 0);
	return conflict_say(c, CONFLICT_COPY, dir, name, "its name was taken at the server, and it was replaced here since: it is there as %.*s",
			    ANSWER_NAME(c->answer));
}

static int settle_renamed(struct conflict *c)
{
	struct slice name;
	uint64_t dir = name_in_dispute(c, &name);	/* none: an answer may be nonsense */
	int err;

	if (!c->edit || !c->edit->v.links_up)
		return settle_renamed_and_gone(c, dir, name);
	err = name_each_of(c->change->cache, c->ino, clear_marks, c);
	if (!err && dir && c->answer->name.kml_name_len)
		err = follow_name(c, dir, name);
	if (!err)
		err = conflict_say(c, CONFLICT_COPY, dir, name, "its name was taken at the server: ours is there as %.*s", ANSWER_NAME(c->answer));
	return err;
}

/* ---- REFUSED ---- */

static int settle_refused(struct conflict *c)
{
	const char *why = strerror((int)c->answer->error);
	enum kml_op op = c->record->body.op;

	if (cml_make_of(c->record))
		return conflict_say(c, CONFLICT_HERE, 0, no_name, "the server refuses to make it (%s): it stays here only", why);
	/* Never made there: that is on record, and what was written to it is what is kept. */
	if (op == KML_STORE && c->answer->error == ESTALE && c->edit && !c->edit->v.attr_version &&
	    !c->edit->v.data_version)
		return 0;
	if (op == KML_STORE)
		return conflict_say(c, CONFLICT_HERE, 0, no_name, "the server refuses its new content (%s): that stays here only", why);
	if (c->answer->error != ESTALE)
		return conflict_drop(c);
	/* Never made there, so nothing is to be removed, and the rest goes with it. */
	if (op == KML_RENAME && c->edit && !c->edit->v.attr_version && !c->edit->v.data_version)
		return conflict_in_place(c);
	return 0;
}

/* ---- by answer ---- */

int conflict_settle(struct change *change, uint64_t ino, const struct kml_record *record,
		    const struct kml_answer *answer)
{
	struct conflict c = { .change = change, .ino = ino, .record = record, .answer = answer };
	enum kml_op op = record->body.op;
	int err = 0;

	c.edit = inode_edit(change, ino, &err);
	if (!c.edit && err != -ESTALE)
		return err;
	/* The inode may be another object by now, whose conflict has been settled before. */
	if (c.edit && !kml_oid_equal(c.edit->v.oid, cml_oid_of(record)) &&
	    cml_find_oid(change->cache, cml_oid_of(record)) != ino)
		return 0;
	switch (answer->status) {
	case KML_MERGED:
		return conflict_merge(change, c.edit, record, answer);
	case KML_RENAMED:
		return settle_renamed(&c);
	case KML_REFUSED:
		return settle_refused(&c);
	case KML_CONFLICT:
	case KML_GONE:
		if (op == KML_STORE)
			return conflict_split(&c);
		if ((op == KML_RENAME || op == KML_LINK) && answer->status == KML_GONE && c.edit)
			return conflict_in_place(&c);
		/* ino 0: what it was done to is a new object by now, and that is on record. */
		return ino ? conflict_drop(&c) : 0;
	case KML_OK:
	case KML_ALREADY:
	case KML_RETRY:
		break;
	}
	return 0;
}
