/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conflicts, by answer and record:
 *
 *	STORE CONFLICT, GONE		our inode becomes a new object NAME.conflict-HOST-DATE (split())
 *	RENAME, LINK GONE		it becomes a new object under the name that we gave it (in_place())
 *	anything RENAMED		the name here follows (settle_renamed())
 *	MKDIR MERGED			conflict_merge.c
 *	CREATE..., STORE REFUSED	stays here only; cml_retire.c keeps its marks
 *	the rest			dropped: upstream is asked for what is there now
 *
 * Our inode is what programs have open, so it is the one that becomes another object; what upstream
 * has gets a new inode under the old names.  Records further on in the log that speak of the old oid are
 * about upstream's object from then on, but for STOREs, which could only meet the same answer: those go.
 */
#include "cache/conflict.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/acl.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/conflict_merge.h"
#include "cache/conflict_note.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/nameop.h"
#include "cache/object.h"
#include "cache/record.h"
#include "cache/stale.h"
#include "cache/writer.h"

#define TRIES_MAX 100000	/* for a name that is free */

/* One record to be settled. */
struct settle {
	struct change *change;
	uint64_t ino;
	struct inode_edit *edit;	/* the object; NULL: gone, or another one by now */
	const struct kml_record *record;
	const struct kml_answer *answer;
};

static const struct slice no_name = { NULL, 0 };

/* ---- names ---- */

int conflict_name(struct slice name, const char *host, int64_t time_s, unsigned n,
		  char ret_name[256])
{
	char suffix[KML_HOST_MAX + 64], date[32];
	time_t sec = time_s;
	size_t keep, len;
	struct tm tm;
	int got;

	if (!gmtime_r(&sec, &tm) || !strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm))
		(void)snprintf(date, sizeof(date), "00000000-000000");
	got = snprintf(suffix, sizeof(suffix), ".conflict-%.*s-%s", KML_HOST_MAX,
		       *host ? host : "unknown", date);
	if (got > 0 && n > 1)
		got += snprintf(suffix + got, sizeof(suffix) - got, "-%u", n);
	if (got <= 0 || (size_t)got >= sizeof(suffix))
		return -ENAMETOOLONG;
	len = got;
	for (char *s = suffix; *s; s++) {
		if (*s == '/' || (unsigned char)*s < ' ' || *s == 0x7f)
			*s = '_';	/* a host calls itself what it likes */
	}
	keep = MIN(name.len, CACHE_NAME_MAX - len);
	/* Not in the middle of a character, if it is UTF-8. */
	for (size_t back = 0; keep < name.len && back < 3 && keep > 1 &&
	     ((const unsigned char *)name.data)[keep] >> 6 == 2; back++)
		keep--;
	memcpy(ret_name, name.data, keep);
	memcpy(ret_name + keep, suffix, len + 1);
	return 0;
}

int conflict_free_name(struct change *change, uint64_t dir, struct slice name, int64_t time_s,
		       char ret_name[256])
{
	struct cache *cache = change->cache;
	char host[sizeof(cache->cml->host)];
	struct name_info info;
	int got;

	pthread_mutex_lock(&cache->lock);
	memcpy(host, cache->cml->host, sizeof(host));
	pthread_mutex_unlock(&cache->lock);
	for (unsigned n = 1; n < TRIES_MAX; n++) {
		got = conflict_name(name, host, time_s, n, ret_name);
		if (got)
			return got;
		pthread_mutex_lock(&cache->lock);
		got = name_get(cache, dir, (struct slice){ ret_name, strlen(ret_name) }, &info);
		pthread_mutex_unlock(&cache->lock);
		if (got <= 0)
			return got;
	}
	return -EEXIST;
}

/* The names of an inode that upstream knows, or will. */
struct known {
	uint64_t dir, seq;
	uint8_t len;
	char name[CACHE_NAME_MAX];
};

struct known_names {
	struct known *v;
	unsigned n, n_local;
};

static int known_add(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct known_names *names = arg;
	struct known *v;

	if (name_is_local(name)) {
		names->n_local++;
		return 0;
	}
	v = realloc(names->v, (names->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	names->v = v;
	v += names->n++;
	v->dir = dir;
	v->seq = info->seq;
	v->len = name.len;
	memcpy(v->name, name.data, name.len);
	return 0;
}

static struct slice known_name(const struct known *known)
{
	return (struct slice){ known->name, known->len };
}

/* ---- the record of conflicts ---- */

/* dir, name: the name in dispute; dir 0: none. */
static int __attribute__((format(printf, 5, 6))) note(const struct settle *s, enum conflict_kind kind, uint64_t dir,
						      struct slice name, const char *format, ...)
{
	const struct conflict_note n = {
		.change = s->change, .kind = kind, .ino = s->ino, .edit = s->edit, .dir = dir, .name = name,
		.record = s->record, .answer = s->answer,
	};
	va_list args;
	int err;

	va_start(args, format);
	err = conflict_note(&n, format, args);
	va_end(args);
	return err;
}

/* ---- our inode as a new object ---- */

/* What is still in the log about the inode's object is another's now; STOREs go. */
static int pass_on_records(const struct settle *s, uint64_t heir)
{
	struct db *db = writer_db(s->change->cache);
	int err;

	err = db_run(db, "DELETE FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3", "iii",
		     (int64_t)s->ino, (int64_t)KML_STORE, (int64_t)s->record->seq);
	if (!err)
		err = cml_count_records(s->change, -(int64_t)sqlite3_changes(db_handle(db)));
	if (!err)
		err = db_run(db, "UPDATE cml SET ino = ?1 WHERE ino = ?2 AND seq > ?3", "iii",
			     (int64_t)heir, (int64_t)s->ino, (int64_t)s->record->seq);
	return err;
}

/* All of the content is here: what is missing becomes zeros.  1: something was missing. */
static int fill_gaps(struct cache *cache, struct inode_edit *edit)
{
	struct object *object = NULL;
	struct extent gap;
	bool is_whole = true;
	int err = 0;

	while (!err && extent_first_gap(&edit->present, 0, edit->v.size, &gap)) {
		is_whole = false;
		if (!object) {
			pthread_mutex_lock(&cache->lock);
			object = object_get(cache, edit->inode, true, &err);
			pthread_mutex_unlock(&cache->lock);
			if (!object)
				break;
		}
		/* A fetch that broke off may have left bytes there. */
		if (fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, gap.start,
			      gap.end - gap.start) < 0)
			err = -errno;
		else
			err = extent_add(&edit->present, gap.start, gap.end);
	}
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	pthread_mutex_unlock(&cache->lock);
	if (!err && !is_whole)
		err = object_grow(cache, edit->inode->ino, edit->v.gen, edit->v.size);
	return err ? err : !is_whole;
}

/* All bytes are to be sent.  1: some were not here. */
static int renew_content(struct change *change, struct inode_edit *edit)
{
	int err, got;

	err = EDIT_MAPS(edit);
	if (err)
		return err;
	if (!edit->v.gen)
		EDIT(edit, gen, 1);
	got = fill_gaps(change->cache, edit);
	if (got < 0)
		return got;
	err = extent_copy(&edit->dirty, &edit->present);
	if (!err)
		err = park_wake_content_after(change, edit->inode->ino);
	if (err)
		return err;
	extent_cut(&edit->dirty, edit->v.size);
	extent_release(&edit->dirty_next);
	edit->set_taken = true;
	edit->taken_seq = 0;
	edit->is_committed = true;
	EDIT(edit, keep_size, 0);
	EDIT(edit, size, edit->v.size);
	EDIT(edit, mtime, edit->v.mtime);
	EDIT(edit, ctime, edit->v.ctime);
	return got;
}

/*
 * A new object with the one name that is given, to be bound by the caller with *ret_seq.  heir: the
 * inode that upstream's object has now, 0: none.  1: parts of its content were not here.
 */
static int renew(const struct settle *s, const struct inode_edit *dir, struct slice name,
		 unsigned n_local, uint64_t heir, uint64_t *ret_seq)
{
	struct change *change = s->change;
	struct inode_edit *edit = s->edit;
	bool is_file = edit->v.type == TYPE_REG;
	int err, got = 0;

	EDIT(edit, data_version, 0);
	EDIT(edit, attr_version, 0);
	EDIT(edit, links_up, 1);
	EDIT(edit, nlink, n_local + 1);
	EDIT(edit, is_stale, false);
	inode_edit_touch(change, edit);
	err = pass_on_records(s, heir);
	if (!err && is_file) {
		got = renew_content(change, edit);
		err = MIN(got, 0);
	}
	if (!err)
		err = nameop_log_make(change, edit, dir, name, ret_seq);
	if (!err && is_file)
		err = cml_append_store(change, edit);
	return err ? err : got;
}

/* ---- STORE: CONFLICT, GONE ---- */

/* An inode for upstream's object, whose oid ours has just given up. */
static struct inode_edit *make_heir(const struct settle *s, struct kml_oid oid, unsigned names,
				    int *ret_err)
{
	const struct kml_object *object = s->answer->object;
	const struct inode_values *ours = &s->edit->v;
	struct inode_values v = {
		.oid = oid,
		.type = (enum file_type)object->attr.type,
		.mode = object->attr.mode,
		.uid = object->attr.uid,
		.gid = object->attr.gid,
		.major = object->attr.major,
		.minor = object->attr.minor,
		.nlink = MAX(object->attr.nlink, names),
		.links_up = names,
		.size = object->attr.size,
		.keep_size = object->attr.size,
		.atime = cml_time_ns(object->attr.atime),
		.mtime = cml_time_ns(object->attr.mtime),
		.ctime = s->change->now,
		.data_version = object->data_version,
		.attr_version = object->attr_version,
		.is_stale = true,	/* what came between the answer and now was not applied */
	};
	struct inode_edit *heir;
	struct acls *acls = NULL;

	if (ours->attr_seq) {
		/* A SETATTR is on its way to it. */
		v.attr_seq = ours->attr_seq;
		v.mode = ours->mode;
		v.uid = ours->uid;
		v.gid = ours->gid;
		v.atime = ours->atime;
	}
	heir = inode_make(s->change, &v, ret_err);
	if (!heir)
		return NULL;
	*ret_err = ours->attr_seq ? acls_copy(ours->acls, &acls) : merge_acls(heir, object);
	if (*ret_err)
		return NULL;
	if (acls)
		inode_edit_acls(heir, acls);
	return heir;
}

/* The names that were ours: the heir's, or nothing's. */
static int hand_over(const struct settle *s, const struct known_names *names, uint64_t heir)
{
	int err = 0;

	for (unsigned i = 0; i < names->n && !err; i++) {
		const struct known *known = &names->v[i];

		if (heir)
			err = name_bind(s->change, known->dir, known_name(known), heir, known->seq);
		else
			err = name_unbind(s->change, known->dir, known_name(known), known->seq);
		if (!err && !heir)
			err = stale_ask(s->change, known->dir);
	}
	return err;
}

static int split_names(struct settle *s, const struct known_names *names)
{
	struct change *change = s->change;
	bool is_there = s->answer->status == KML_CONFLICT && s->answer->object;
	struct kml_oid old = s->edit->v.oid, oid;
	struct inode_edit *dir, *heir = NULL;
	struct slice name;
	char text[256];
	uint64_t seq;
	int err, got;

	dir = inode_edit(change, names->v[0].dir, &err);
	if (!dir)
		return err;
	err = conflict_free_name(change, names->v[0].dir, known_name(&names->v[0]),
				 s->record->time.sec, text);
	if (err)
		return err;
	name = (struct slice){ text, strlen(text) };
	err = inode_new_oid(change, &oid);
	if (!err)
		err = inode_set_oid(change, s->edit, oid);
	if (!err && is_there) {
		heir = make_heir(s, old, names->n, &err);
		if (!heir)
			return err;
	}
	if (!err)
		err = FAULT("conflict.split");
	if (!err)
		err = hand_over(s, names, heir ? heir->inode->ino : 0);
	if (err)
		return err;
	got = renew(s, dir, name, names->n_local, heir ? heir->inode->ino : 0, &seq);
	if (got < 0)
		return got;
	err = name_bind(change, names->v[0].dir, name, s->ino, seq);
	if (err)
		return err;
	nameop_dir_changed(change, dir, false);
	return note(s, CONFLICT_COPY, names->v[0].dir, known_name(&names->v[0]), "%s at the server while it was written to here: both are kept, this one is ours%s",
		    is_there ? "changed" : "removed",
		    got ? "; the parts of it that were never read here are zeros" : "");
}

static int split(struct settle *s)
{
	struct known_names names = { 0 };
	int err;

	/* Without a name its content is nobody's any more, or only an open program's. */
	if (!s->edit || !s->edit->v.links_up)
		return 0;
	err = name_each_of(s->change->cache, s->ino, known_add, &names);
	if (!err && names.n)
		err = split_names(s, &names);
	free(names.v);
	return err;
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
static bool is_of_nothing(const struct settle *s)
{
	enum kml_op op = s->record->body.op;

	return (op == KML_SETATTR || op == KML_SETACL) && (s->answer->status == KML_GONE || !s->edit || s->edit->is_removed);
}

static int drop(const struct settle *s)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(s->record, places);
	uint64_t dir = n ? cml_find_oid(s->change->cache, places[n - 1].dir) : 0;
	struct slice name = n ? places[n - 1].name : no_name;
	int err = 0;

	/* The directories are marked by cml_retire.c. */
	if (s->edit && s->edit->v.links_up)
		err = stale_ask(s->change, s->ino);
	if (err || is_of_nothing(s))
		return err;
	switch (s->answer->status) {
	case KML_REFUSED:
		err = note(s, CONFLICT_UNDONE, dir, name, "%s is refused by the server: %s", what_of(s->record),
			   strerror((int)s->answer->error));
		break;
	case KML_GONE:
		err = note(s, CONFLICT_UNDONE, dir, name, "%s came to nothing: it was removed at the server", what_of(s->record));
		break;
	default:
		err = note(s, CONFLICT_UNDONE, dir, name, "%s came to nothing: it was changed at the server", what_of(s->record));
	}
	return err;
}

/* ---- RENAME, LINK: GONE ---- */

/* A name that we gave it since, or another one that is gone with it. */
static int in_place_other(struct settle *s, const struct known *known)
{
	struct change *change = s->change;
	struct inode_edit *dir;
	uint64_t seq;
	int err;

	if (!known->seq) {
		err = name_unbind(change, known->dir, known_name(known), 0);
		return err ? err : stale_ask(change, known->dir);
	}
	dir = inode_edit(change, known->dir, &err);
	if (!dir)
		return err;
	err = nameop_log_link(change, s->edit, dir, known_name(known), &seq);
	if (!err)
		err = name_bind(change, known->dir, known_name(known), s->ino, seq);
	if (!err)
		EDIT(s->edit, nlink, s->edit->v.nlink + 1);
	return err;
}

/* The name that the record gave it, or any that we gave it. */
static const struct known *in_place_first(const struct settle *s, const struct known_names *names)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(s->record, places);
	const struct known *first = &names->v[0];

	for (unsigned i = 0; i < names->n; i++) {
		const struct known *known = &names->v[i];

		if (n && known->dir == cml_find_oid(s->change->cache, places[n - 1].dir) &&
		    known->len == places[n - 1].name.len && !memcmp(known->name, places[n - 1].name.data, known->len))
			return known;
		if (known->seq && !first->seq)
			first = known;
	}
	return first;
}

static int in_place_names(struct settle *s, const struct known_names *names)
{
	const struct known *known = in_place_first(s, names);
	struct change *change = s->change;
	struct inode_edit *dir;
	struct kml_oid oid;
	uint64_t seq;
	int err, got;

	dir = inode_edit(change, known->dir, &err);
	if (!dir)
		return err;
	err = inode_new_oid(change, &oid);
	if (!err)
		err = inode_set_oid(change, s->edit, oid);
	if (err)
		return err;
	got = renew(s, dir, known_name(known), names->n_local, 0, &seq);
	if (got < 0)
		return got;
	err = name_bind(change, known->dir, known_name(known), s->ino, seq);
	for (unsigned i = 0; i < names->n && !err; i++)
		if (&names->v[i] != known)
			err = in_place_other(s, &names->v[i]);
	if (err)
		return err;
	return note(s, CONFLICT_NEW, 0, no_name, "%s at the server, %s here: it is kept as a new one",
		    s->answer->status == KML_GONE ? "removed" : "never made",
		    s->record->body.op == KML_LINK ? "linked" : "renamed");
}

/* Is there anything to make a new object of? */
static int can_renew(const struct settle *s)
{
	struct extent gap;
	int err;

	if (!s->edit || !s->edit->v.links_up || s->edit->v.type == TYPE_DIR)
		return 0;
	if (s->edit->v.type != TYPE_REG)
		return 1;
	err = EDIT_MAPS(s->edit);
	if (err)
		return err;
	/* What was written to it counts, what was only read does not, unless it is whole. */
	return s->edit->dirty.n || s->edit->dirty_next.n ||
	       !extent_first_gap(&s->edit->present, 0, s->edit->v.size, &gap);
}

static int in_place(struct settle *s)
{
	struct known_names names = { 0 };
	struct cml_place places[2];
	uint64_t store;
	int got;

	/* Where a STORE follows, that one settles it. */
	got = cml_last_of(s->change, s->ino, KML_STORE, &store);
	if (got)
		return MIN(got, 0);
	got = can_renew(s);
	if (got <= 0)
		return got ? got : drop(s);
	for (unsigned i = 0, n = cml_places_of(s->record, places); i < n; i++) {
		uint64_t dir = cml_find_oid(s->change->cache, places[i].dir);

		got = dir ? name_retire(s->change, dir, places[i].name, s->record->seq) : 0;
		if (got)
			return got;
	}
	got = name_each_of(s->change->cache, s->ino, known_add, &names);
	if (!got)
		got = names.n ? in_place_names(s, &names) : drop(s);
	free(names.v);
	return got;
}

/* ---- RENAMED ---- */

/* For %.*s: in a sentence that has 255 bytes. */
#define ANSWER_NAME(answer) \
	(int)MIN((answer)->name.kml_name_len, 160), (answer)->name.kml_name_val ? (answer)->name.kml_name_val : ""

static int clear_marks(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	const struct settle *s = arg;

	return info->seq == s->record->seq ? name_retire(s->change, dir, name, info->seq) : 0;
}

/* Its name here, unless that has become another one since. */
static int follow_name(const struct settle *s, uint64_t dir, struct slice name)
{
	struct slice given = kml_name_get(&s->answer->name);
	struct cache *cache = s->change->cache;
	struct name_info info = { 0 }, other = { 0 };
	int got, has_other = 0;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, dir, name, &info);
	if (got > 0)
		has_other = name_get(cache, dir, given, &other);
	pthread_mutex_unlock(&cache->lock);
	if (got <= 0 || has_other < 0)
		return MIN(MIN(got, has_other), 0);
	if (info.ino != s->ino || info.seq || (has_other && other.ino != s->ino))
		return 0;	/* the listing, which is asked for anew, shows it where it is */
	got = name_unbind(s->change, dir, name, 0);
	if (got)
		return got;
	if (!has_other)
		return name_bind(s->change, dir, given, s->ino, 0);
	/* A listing has brought the one before the answer came: the other is one name less. */
	EDIT(s->edit, links_up, s->edit->v.links_up - 1);
	return 0;
}

/* It has no name here any more: removed, which is done further on in the log, or tells where it is; or replaced, which may do neither. */
static int settle_renamed_and_gone(const struct settle *s, uint64_t dir, struct slice name)
{
	uint64_t seq;
	int got;

	got = cml_last_of(s->change, s->ino, s->record->body.op == KML_MKDIR ? KML_RMDIR : KML_REMOVE, &seq);
	if (got)
		return MIN(got, 0);
	return note(s, CONFLICT_COPY, dir, name, "its name was taken at the server, and it was replaced here since: it is there as %.*s",
		    ANSWER_NAME(s->answer));
}

static int settle_renamed(struct settle *s)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(s->record, places);
	uint64_t dir = n ? cml_find_oid(s->change->cache, places[n - 1].dir) : 0;
	struct slice name = n ? places[n - 1].name : no_name;	/* an answer may be nonsense */
	int err;

	if (!s->edit || !s->edit->v.links_up)
		return settle_renamed_and_gone(s, dir, name);
	err = name_each_of(s->change->cache, s->ino, clear_marks, s);
	if (!err && dir && s->answer->name.kml_name_len)
		err = follow_name(s, dir, name);
	if (!err)
		err = note(s, CONFLICT_COPY, dir, name, "its name was taken at the server: ours is there as %.*s", ANSWER_NAME(s->answer));
	return err;
}

/* ---- REFUSED ---- */

static int settle_refused(struct settle *s)
{
	const char *why = strerror((int)s->answer->error);
	enum kml_op op = s->record->body.op;

	if (cml_make_of(s->record))
		return note(s, CONFLICT_HERE, 0, no_name, "the server refuses to make it (%s): it stays here only", why);
	/* Never made there: that is on record, and what was written to it is what is kept. */
	if (op == KML_STORE && s->answer->error == ESTALE && s->edit && !s->edit->v.attr_version &&
	    !s->edit->v.data_version)
		return 0;
	if (op == KML_STORE)
		return note(s, CONFLICT_HERE, 0, no_name, "the server refuses its new content (%s): that stays here only", why);
	/* What upstream has is to be taken again, though it is the version that we know. */
	if (op == KML_SETACL && s->edit && s->answer->error != ESTALE)
		EDIT(s->edit, attr_version, 0);
	if (s->answer->error != ESTALE)
		return drop(s);
	/* Never made there, so nothing is to be removed, and the rest goes with it. */
	if (op == KML_RENAME && s->edit && !s->edit->v.attr_version && !s->edit->v.data_version)
		return in_place(s);
	return 0;
}

int conflict_settle(struct change *change, uint64_t ino, const struct kml_record *record,
		    const struct kml_answer *answer)
{
	struct settle s = { .change = change, .ino = ino, .record = record, .answer = answer };
	enum kml_op op = record->body.op;
	int err = 0;

	s.edit = inode_edit(change, ino, &err);
	if (!s.edit && err != -ESTALE)
		return err;
	/* The inode may be another object by now, whose conflict has been settled before. */
	if (s.edit && !kml_oid_equal(s.edit->v.oid, cml_oid_of(record)) &&
	    cml_find_oid(change->cache, cml_oid_of(record)) != ino)
		return 0;
	switch (answer->status) {
	case KML_MERGED:
		return conflict_merge(change, s.edit, record, answer);
	case KML_RENAMED:
		return settle_renamed(&s);
	case KML_REFUSED:
		return settle_refused(&s);
	case KML_CONFLICT:
	case KML_GONE:
		if (op == KML_STORE)
			return split(&s);
		if ((op == KML_RENAME || op == KML_LINK) && answer->status == KML_GONE && s.edit)
			return in_place(&s);
		/* ino 0: what it was done to is a new object by now, and that is on record. */
		return ino ? drop(&s) : 0;
	case KML_OK:
	case KML_ALREADY:
	case KML_RETRY:
		break;
	}
	return 0;
}
