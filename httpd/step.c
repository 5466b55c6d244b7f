/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "base/log.h"
#include "httpd/apply.h"
#include "httpd/change.h"

#define FSYNC_MAX 8	/* directories that are synced one by one */

/* What a record is about, as the tables have it.  id 0: there is none. */
struct facts {
	struct object object, parent, from, replaced;
	struct name_row at;		/* what the wanted name holds; object 0: nothing */
	struct name_row source;		/* the name to be taken away */
	bool has_source;
};

/* ---- gathering facts ---- */

static int find(struct segment *segment, struct kml_oid oid, struct object *ret_object, struct certify_object *ret_facts)
{
	int got = object_by_oid(segment->tree->sql, oid, ret_object);

	if (got <= 0) {
		memset(ret_object, 0, sizeof(*ret_object));
		return got;
	}
	*ret_facts = (struct certify_object){
		.is = ret_object->gone ? OBJECT_GONE : OBJECT_THERE,
		.type = ret_object->attr.type,
		.names = ret_object->attr.nlink,
		.data_version = ret_object->data_version,
		.attr_version = ret_object->attr_version,
		.data_by = ret_object->data_by,
		.attr_by = ret_object->attr_by,
	};
	if (ret_object->attr.type != KML_DIR || ret_object->gone)
		return 0;
	got = names_any_in(segment->tree->sql, ret_object->id);
	ret_facts->is_empty = !got;
	return got < 0 ? got : 0;
}

static bool is_reserved(const struct object *dir, struct slice name)
{
	return dir->id == ROOT_ID && name.len == strlen(STATE_DIR) && !memcmp(name.data, STATE_DIR, name.len);
}

/* What a name in f->parent holds. */
static int find_at(struct segment *segment, struct slice name, struct facts *f, struct certify_facts *c)
{
	struct object other;
	int got;

	c->is_reserved |= is_reserved(&f->parent, name);
	if (!f->parent.id || f->parent.gone)
		return 0;
	got = name_get(segment->tree->sql, f->parent.id, name, &f->at);
	if (got <= 0) {
		f->at.object = 0;
		return got;
	}
	if (f->at.object == f->object.id) {
		c->name = NAME_SAME;
	} else if (f->at.object == f->replaced.id) {
		c->name = NAME_REPLACED;
	} else {
		got = object_by_id(segment->tree->sql, f->at.object, &other);
		if (got <= 0)
			return got ? got : -EUCLEAN;
		c->name = other.attr.type == KML_DIR ? NAME_OTHER_DIR : NAME_OTHER;
	}
	return 0;
}

/* The name to be taken away: where the record says, or where this client's object was put instead. */
static int find_source(struct segment *segment, const struct object *dir, struct slice name, struct facts *f,
		       enum name_holds *ret_holds)
{
	int got;

	if (!dir->id || !f->object.id)
		return 0;
	got = name_get(segment->tree->sql, dir->id, name, &f->source);
	if (got < 0)
		return got;
	if (got && f->source.object == f->object.id) {
		f->has_source = true;
		*ret_holds = NAME_SAME;
		return 0;
	}
	*ret_holds = got ? NAME_OTHER : NAME_FREE;
	got = name_get_wanted(segment->tree->sql, dir->id, name, f->object.id, segment->client, &f->source);
	if (got > 0) {
		f->has_source = true;
		*ret_holds = NAME_SAME;
	}
	return got < 0 ? got : 0;
}

/* Is dir the directory 'above' or below it? */
static int is_below(struct segment *segment, int64_t dir, int64_t above)
{
	struct name_row row;
	int got;

	while (dir != ROOT_ID) {
		if (dir == above)
			return 1;
		got = name_of(segment->tree->sql, dir, &row);
		if (got <= 0)
			return got;
		dir = row.dir;
	}
	return 0;
}

static int gather_rename(struct segment *segment, const struct kml_rename *r, struct facts *f, struct certify_facts *c)
{
	int got = 0;

	got = find(segment, r->oid, &f->object, &c->object);
	if (!got)
		got = find(segment, r->from_parent, &f->from, &c->from);
	if (!got)
		got = find(segment, r->to_parent, &f->parent, &c->parent);
	if (!got && !kml_oid_is_none(r->replaced))
		got = find(segment, r->replaced, &f->replaced, &c->replaced);
	if (!got)
		got = find_source(segment, &f->from, kml_name_get(&r->from_name), f, &c->from_name);
	if (!got)
		got = find_at(segment, kml_name_get(&r->to_name), f, c);
	if (!got && f->object.attr.type == KML_DIR && f->parent.id && !f->parent.gone) {
		got = is_below(segment, f->parent.id, f->object.id);
		c->is_into_itself = got > 0;
	}
	return got < 0 ? got : 0;
}

static int gather(struct segment *segment, const struct kml_body *body, const struct kml_make *make, struct facts *f,
		  struct certify_facts *c)
{
	const struct kml_link *link = &body->kml_body_u.link;
	const struct kml_unlink *gone = &body->kml_body_u.unlink;
	int got;

	c->client = segment->client;
	if (make) {
		got = find(segment, make->oid, &f->object, &c->object);
		if (!got)
			got = find(segment, make->parent, &f->parent, &c->parent);
		return got ? got : find_at(segment, kml_name_get(&make->name), f, c);
	}
	switch (body->op) {
	case KML_LINK:
		got = find(segment, link->oid, &f->object, &c->object);
		if (!got)
			got = find(segment, link->parent, &f->parent, &c->parent);
		return got ? got : find_at(segment, kml_name_get(&link->name), f, c);
	case KML_REMOVE:
	case KML_RMDIR:
		got = find(segment, gone->oid, &f->object, &c->object);
		if (!got)
			got = find(segment, gone->parent, &f->parent, &c->parent);
		return got ? got : find_source(segment, &f->parent, kml_name_get(&gone->name), f, &c->name);
	case KML_RENAME:
		return gather_rename(segment, &body->kml_body_u.rename, f, c);
	case KML_SETATTR:
		return find(segment, body->kml_body_u.setattr.oid, &f->object, &c->object);
	case KML_STORE:
		return find(segment, body->kml_body_u.store.oid, &f->object, &c->object);
	default:
		return 0;
	}
}

/* ---- names beside a name that is taken ---- */

void apply_conflict_name(struct slice name, const char *host, struct kml_time time, unsigned n, struct name *ret_name)
{
	char suffix[KML_HOST_MAX + 64], date[32];
	time_t sec = (time_t)time.sec;
	size_t keep;
	struct tm tm;
	int len;

	if (!gmtime_r(&sec, &tm) || !strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm))
		snprintf(date, sizeof(date), "00000000-000000");
	len = snprintf(suffix, sizeof(suffix), ".conflict-%.*s-%s", KML_HOST_MAX, *host ? host : "unknown", date);
	for (char *s = suffix; *s; s++) {
		if (*s == '/' || (unsigned char)*s < ' ' || *s == 0x7f)
			*s = '_';	/* a host calls itself what it likes */
	}
	if (n > 1)
		len += snprintf(suffix + len, sizeof(suffix) - (size_t)len, "-%u", n);
	keep = MIN(name.len, KML_NAME_MAX - (size_t)len);
	/* Not in the middle of a character, if it is UTF-8. */
	for (size_t back = 0; keep < name.len && back < 3 && keep > 1 &&
	     ((const unsigned char *)name.data)[keep] >> 6 == 2; back++)
		keep--;
	memcpy(ret_name->text, name.data, keep);
	memcpy(ret_name->text + keep, suffix, (size_t)len + 1);
	ret_name->len = keep + (size_t)len;
}

static int free_name(struct segment *segment, const struct kml_record *record, int64_t dir, struct slice wanted,
		     struct name *ret_name)
{
	struct name_row row;
	int got;

	for (unsigned n = 1; n < 100000; n++) {
		apply_conflict_name(wanted, segment->host, record->time, n, ret_name);
		got = name_get(segment->tree->sql, dir, name_slice(ret_name), &row);
		if (got <= 0)
			return got;
	}
	return -EEXIST;
}

/* ---- steps on disk ---- */

/* How a step is to be done. */
enum how {
	HOW_DO,
	HOW_MAYBE,	/* a crash may have come after it: look first */
	HOW_DONE	/* nothing on disk */
};

static enum how how_to(const struct segment *segment, uint32_t i)
{
	if (!segment->is_redo || i > segment->done)
		return HOW_DO;
	return i == segment->done ? HOW_MAYBE : HOW_DONE;
}

/* What an error of a step means: STEP_SURPRISE, STEP_RETRY, or the (negative) error for REFUSED. */
static int classify(int err)
{
	switch (err) {
	case -ENOENT:
	case -EEXIST:
	case -ESTALE:
	case -ENOTDIR:
	case -EISDIR:
	case -ENOTEMPTY:
	case -ELOOP:
	case -EXDEV:
		return STEP_SURPRISE;
	case -ENOSPC:
	case -EDQUOT:
	case -EIO:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return STEP_RETRY;
	default:
		return err;
	}
}

static bool is_file(const struct file_stat *st, const struct object *object)
{
	return st->attr.type == object->attr.type && file_id_equal(st->id, object->file);
}

/* The name holds the object's file, and nobody has changed what is in it. */
static int check_file(struct segment *segment, int dirfd, const char *name, const struct object *object)
{
	struct file_stat st;
	int err = file_stat(dirfd, name, &st);

	if (err)
		return err;
	if (!is_file(&st, object))
		return -ESTALE;
	if (object->attr.type != KML_REG)
		return 0;
	if (st.attr.size != object->attr.size || file_time_cmp(st.attr.mtime, object->attr.mtime))
		return -ESTALE;
	/* What this segment did to it has changed its ctime. */
	if (object->ctime && object->ctime != st.ctime && !segment_is_touched(segment, object->id))
		return -ESTALE;
	return 0;
}

static int place(struct segment *segment, uint64_t seq, int64_t dir, const char *name, enum how how)
{
	int dirfd = tree_dir(segment->tree, dir);
	char staged[64];
	struct file_stat st;

	if (dirfd < 0)
		return dirfd;
	segment_stage_name(segment->client, seq, staged);
	if (how == HOW_MAYBE && file_stat(segment->tree->stage_fd, staged, &st) == -ENOENT)
		return 0;
	return file_rename_new(segment->tree->stage_fd, staged, dirfd, name);
}

static int link_step(struct segment *segment, const struct object *object, int64_t dir, const char *name, enum how how)
{
	struct name_row row;
	struct file_stat st;
	int fd, dirfd, got;

	got = name_of(segment->tree->sql, object->id, &row);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	fd = tree_dir(segment->tree, row.dir);
	dirfd = fd < 0 ? fd : tree_dir(segment->tree, dir);
	if (dirfd < 0)
		return dirfd;
	if (how == HOW_MAYBE && !file_stat(dirfd, name, &st) && is_file(&st, object))
		return 0;
	got = check_file(segment, fd, row.name.text, object);
	if (got)
		return got;
	if (linkat(fd, row.name.text, dirfd, name, 0) < 0)
		return -errno;
	got = file_stat(dirfd, name, &st);
	if (!got && !is_file(&st, object)) {
		(void)unlinkat(dirfd, name, 0);	/* ours, and of a file that somebody just put there */
		got = -ESTALE;
	}
	return got;
}

static int remove_step(struct segment *segment, uint64_t seq, const struct object *object, const struct name_row *row,
		       enum how how)
{
	int dirfd = tree_dir(segment->tree, row->dir), trash = segment->tree->trash_fd;
	char name[64];
	struct file_stat st;
	int err;

	if (dirfd < 0)
		return dirfd;
	segment_trash_name(segment->client, seq, name);
	if (how == HOW_MAYBE && !file_stat(trash, name, &st) && is_file(&st, object))
		return 0;
	err = check_file(segment, dirfd, row->name.text, object);
	if (err)
		return err;
	(void)file_delete(trash, name);		/* left by a crash; the next call tells */
	err = file_rename_new(dirfd, row->name.text, trash, name);
	if (err)
		return err == -EXDEV ? -EPERM : err;
	err = file_stat(trash, name, &st);
	if (!err && (!is_file(&st, object) ||
		     (st.attr.type == KML_REG && (st.attr.size != object->attr.size ||
						  file_time_cmp(st.attr.mtime, object->attr.mtime))))) {
		/* Somebody was quicker; his file is not ours to remove. */
		err = file_rename_new(trash, name, dirfd, row->name.text);
		if (err)
			log_error("%s: a file that was changed while it was being removed is left in " STATE_DIR "/trash/%s: %s",
				  row->name.text, name, strerror(-err));
		return -ESTALE;
	}
	return err;
}

static int rmdir_step(struct segment *segment, const struct object *object, const struct name_row *row, enum how how)
{
	int dirfd = tree_dir(segment->tree, row->dir);
	struct file_stat st;
	int err;

	if (dirfd < 0)
		return dirfd;
	err = file_stat(dirfd, row->name.text, &st);
	if (err == -ENOENT && how == HOW_MAYBE)
		return 0;
	if (!err && !is_file(&st, object))
		err = -ESTALE;
	if (!err && unlinkat(dirfd, row->name.text, AT_REMOVEDIR) < 0)
		err = -errno;
	return err;
}

static int rename_step(struct segment *segment, const struct facts *f, int64_t dir, const char *name, bool is_over,
		       enum how how)
{
	int from = tree_dir(segment->tree, f->source.dir), to = tree_dir(segment->tree, dir);
	const char *from_name = f->source.name.text;
	struct file_stat st;
	int err;

	if (from < 0 || to < 0)
		return from < 0 ? from : to;
	if (how == HOW_MAYBE && !file_stat(to, name, &st) && is_file(&st, &f->object) &&
	    (file_stat(from, from_name, &st) || !is_file(&st, &f->object)))
		return 0;
	err = file_stat(from, from_name, &st);
	if (!err && !is_file(&st, &f->object))
		err = -ESTALE;
	if (!err && is_over)
		err = check_file(segment, to, name, &f->replaced);
	if (err)
		return err;
	if (!is_over)
		err = file_rename_new(from, from_name, to, name);
	else if (renameat(from, from_name, to, name) < 0)
		err = -errno;
	return err == -EXDEV ? -EPERM : err;
}

/*
 * Leave in rows the names that do not have the new content yet; each must be as the tables say.  *ret_done: so many
 * have it, from before a crash.  Then one that somebody changed meanwhile is left to him, and looked at later: the
 * record is done, and cannot be undone.
 */
static int names_to_store(struct segment *segment, const struct object *object, const struct plan *plan, enum how how,
			  struct name_row *rows, size_t *io_n, size_t *ret_done)
{
	struct object old = *object;
	size_t n = 0, done = 0;
	struct file_stat st;
	int dirfd, err;

	for (size_t i = 0; how == HOW_MAYBE && i < *io_n; i++) {
		dirfd = tree_dir(segment->tree, rows[i].dir);
		if (dirfd >= 0 && !file_stat(dirfd, rows[i].name.text, &st) && file_id_equal(st.id, plan->staged.id))
			done++;
		else
			rows[n++] = rows[i];
	}
	if (how == HOW_MAYBE)
		*io_n = n;
	if (done)
		old.ctime = 0;	/* it has lost names since */
	n = 0;
	for (size_t i = 0; i < *io_n; i++) {
		dirfd = tree_dir(segment->tree, rows[i].dir);
		err = dirfd < 0 ? dirfd : check_file(segment, dirfd, rows[i].name.text, &old);
		if (!err)
			rows[n++] = rows[i];
		else if (!done || classify(err) != STEP_SURPRISE)
			return err;
		else if (segment_look(segment, rows[i].dir, name_slice(&rows[i].name)))
			return -ENOMEM;
	}
	*io_n = n;
	*ret_done = done;
	return 0;
}

/* The new content takes the place of the old under each of its names.  -EINPROGRESS: under some only. */
static int store_step(struct segment *segment, uint64_t seq, const struct object *object, struct plan *plan, enum how how)
{
	AUTO_FREE struct name_row *rows = NULL;
	struct tree *tree = segment->tree;
	char staged[64], second[72];
	size_t n, done = 0;
	int dirfd, err;

	segment_stage_name(segment->client, seq, staged);
	snprintf(second, sizeof(second), "%s+", staged);
	err = names_of(tree->sql, object->id, &rows, &n);
	if (!err)
		err = names_to_store(segment, object, plan, how, rows, &n, &done);
	if (err || !n)
		return err;
	/* Attributes that were set since it was staged. */
	if (object->attr.mode != plan->staged.attr.mode || object->attr.uid != plan->staged.attr.uid ||
	    object->attr.gid != plan->staged.attr.gid) {
		err = file_set(tree->stage_fd, staged, plan->staged.id, &object->attr,
			       KML_SET_MODE | KML_SET_UID | KML_SET_GID);
		segment->needs_syncfs = true;
	}
	for (size_t i = 0; !err && i < n; i++) {
		const char *from = i + 1 < n ? second : staged;

		dirfd = tree_dir(tree, rows[i].dir);
		if (from == second) {
			(void)unlinkat(tree->stage_fd, second, 0);	/* left by a crash; the next call tells */
			if (linkat(tree->stage_fd, staged, tree->stage_fd, second, 0) < 0)
				err = -errno;
		}
		if (!err)
			err = FAULT("step.store");
		if (!err && renameat(tree->stage_fd, from, dirfd, rows[i].name.text) < 0)
			err = -errno;
		if (err && done + i)
			return -EINPROGRESS;
	}
	return err;
}

static int setattr_step(struct segment *segment, struct object *object, const struct kml_attr *attr, unsigned set)
{
	struct tree *tree = segment->tree;
	const char *name = "";
	struct name_row row;
	struct file_stat st;
	int dirfd = tree->root_fd, got;

	if (object->id != ROOT_ID) {
		got = name_of(tree->sql, object->id, &row);
		if (got <= 0)
			return got ? got : -EUCLEAN;
		dirfd = tree_dir(tree, row.dir);
		if (dirfd < 0)
			return dirfd;
		name = row.name.text;
		got = file_set(dirfd, name, object->file, attr, set);
	} else {
		got = file_set_fd(dirfd, attr, set);
	}
	segment->needs_syncfs = true;
	if (!got)
		got = file_stat(dirfd, name, &st);
	if (got)
		return got;
	/* As the file system took it: its clock may be coarser. */
	object->attr.mode = st.attr.mode;
	object->attr.uid = st.attr.uid;
	object->attr.gid = st.attr.gid;
	object->attr.atime = st.attr.atime;
	if (set & KML_SET_MTIME)
		object->attr.mtime = st.attr.mtime;
	return 0;
}

/*
 * Which file a directory that came back is, says the name of a file in stage/: going through the records again after
 * a crash has to know it, and a later record may have moved it away by then.
 */
static void revived_prefix(const struct segment *segment, int64_t id, char prefix[64])
{
	snprintf(prefix, 64, "revived-%016llx-%lld-", (unsigned long long)segment->mark, (long long)id);
}

static int note_revived(struct segment *segment, int64_t id, struct file_id file)
{
	char prefix[64], name[128];
	int fd;

	segment->has_revived = true;
	revived_prefix(segment, id, prefix);
	snprintf(name, sizeof(name), "%s%llu-%lld", prefix, (unsigned long long)file.ino, (long long)file.btime);
	fd = openat(segment->tree->stage_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	(void)close(fd);	/* only its name says something */
	return 0;
}

struct revived_search {
	char prefix[64];
	struct file_id file;
};

static int find_revived(void *arg, const char *name)
{
	struct revived_search *search = arg;
	size_t len = strlen(search->prefix);
	unsigned long long ino;
	long long btime;

	if (strncmp(name, search->prefix, len) || sscanf(name + len, "%llu-%lld", &ino, &btime) != 2)
		return 0;
	search->file = (struct file_id){ ino, btime };
	return 1;
}

static int revive_step(struct segment *segment, struct object *dir, int64_t parent, const char *name, enum how how)
{
	AUTO_CLOSE int fd = -1;
	struct revived_search search;
	struct file_stat st;
	int dirfd, err;

	if (how == HOW_DONE) {
		revived_prefix(segment, dir->id, search.prefix);
		err = file_each(segment->tree->stage_fd, find_revived, &search);
		if (err > 0)
			dir->file = search.file;
		segment->has_revived = true;
		return err < 0 ? err : err ? 0 : -EUCLEAN;
	}
	dirfd = tree_dir(segment->tree, parent);
	if (dirfd < 0)
		return dirfd;
	if (mkdirat(dirfd, name, 0700) < 0 && (errno != EEXIST || how != HOW_MAYBE))
		return -errno;
	err = FAULT("step.revive");
	fd = err ? err : file_open_dir(dirfd, name, segment->tree->dev);
	err = fd < 0 ? fd : file_set_fd(fd, &dir->attr, KML_SET_MODE | KML_SET_UID | KML_SET_GID | KML_SET_ATIME |
							KML_SET_MTIME);
	if (!err)
		err = file_stat(fd, "", &st);
	if (!err)
		err = note_revived(segment, dir->id, st.id);
	if (err) {
		(void)unlinkat(dirfd, name, AT_REMOVEDIR);	/* not empty: then it is somebody's, and will be found */
		return err;
	}
	dir->file = st.id;
	return 0;
}

/* ---- one record ---- */

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
 * A step on disk has failed.  Gives what step_record() gives, or 0 with the verdict turned into REFUSED.
 * dir, name: what was not as expected.
 */
static int failed(struct step *step, int err, int64_t dir, struct slice name)
{
	int meaning = classify(err);

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
		got = free_name(segment, step->record, parent.id, wanted, &name);
	}
	if (got < 0)
		return got;
	got = revive_step(segment, dir, parent.id, name.text, step->how);
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
static int settle_name(struct step *step, struct slice wanted, struct name *ret_name, struct slice *ret_wanted)
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
	return free_name(step->segment, step->record, f->parent.id, wanted, ret_name);
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
	struct object object = { .oid = make->oid, .attr = plan->staged.attr, .file = plan->staged.id };
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
		err = place(segment, step->record->seq, step->f.parent.id, name.text, step->how);
	if (err)
		return failed(step, err, step->f.parent.id, name_slice(&name));
	if (step->record->body.op == KML_SYMLINK)
		target = kml_target_get(&step->record->body.kml_body_u.symlink.target);
	err = change_make(segment->tree, &step->by, &object, step->f.parent.id, name_slice(&name), wanted, target);
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
		err = link_step(segment, &step->f.object, step->f.parent.id, name.text, step->how);
	if (err)
		return failed(step, err, step->f.parent.id, name_slice(&name));
	err = change_link(segment->tree, &step->by, &step->f.object, step->f.parent.id, name_slice(&name), wanted);
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
		err = is_dir ? rmdir_step(segment, &f->object, &f->source, step->how) :
			       remove_step(segment, step->record->seq, &f->object, &f->source, step->how);
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
	if (step->how != HOW_DONE)
		err = rename_step(segment, f, f->parent.id, name.text, is_over, step->how);
	if (err) {
		int look = segment_look(segment, f->source.dir, name_slice(&f->source.name));

		return look ? look : failed(step, err, f->parent.id, name_slice(&name));
	}
	err = change_rename(segment->tree, &step->by, &f->object, &f->source, f->parent.id, name_slice(&name), wanted,
			    is_over ? &f->replaced : NULL);
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
		err = setattr_step(segment, object, &object->attr, set);
	if (err)
		return failed_object(step, err);
	err = change_setattr(segment->tree, &step->by, object, set);
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
		 * It was not to be expected that this one would be applied, an earlier record made it so; or the CREATE
		 * with whose file its content was to come was refused.
		 */
		*step->ret_error = EAGAIN;
		return STEP_SURPRISE;
	}
	if (plan->is_into) {
		/* Its content came with the file; a record between the two may have set the time. */
		object->attr.size = plan->staged.attr.size;
		if (step->how != HOW_DONE && file_time_cmp(object->attr.mtime, plan->staged.attr.mtime))
			err = setattr_step(segment, object, &attr, KML_SET_MTIME);
	} else {
		if (step->how != HOW_DONE)
			err = store_step(segment, step->record->seq, object, plan, step->how);
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
		return do_setattr(step, &body->kml_body_u.setattr);
	case KML_STORE:
		return do_store(step, &body->kml_body_u.store);
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

static const struct kml_make *make_of(const struct kml_body *body)
{
	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return &body->kml_body_u.make;
	case KML_SYMLINK:
		return &body->kml_body_u.symlink.make;
	case KML_MKNOD:
		return &body->kml_body_u.mknod.make;
	default:
		return NULL;
	}
}

static int step_decide(struct step *step)
{
	struct segment *segment = step->segment;
	const struct kml_make *make = make_of(&step->record->body);
	struct certify_facts c = { 0 };
	int err;

	err = gather(segment, &step->record->body, make, &step->f, &c);
	if (err)
		return err;
	step->verdict = certify(step->record, &c);
	if (step->verdict.status == KML_OK || step->verdict.status == KML_RENAMED)
		err = do_it(step);
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
		.how = how_to(segment, i),
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
		  (unsigned long long)segment->client, (unsigned long long)record->seq, kml_op_name(record->body.op),
		  kml_status_name(answer.status), answer.error, (unsigned long long)answer.made_version);
	*ret_answer = answer;
	return 0;
}

/* ---- the end of a segment ---- */

static bool is_attr_equal(const struct kml_attr *a, const struct kml_attr *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

/* The row learns what the file is now; or, when somebody else was there meanwhile, that it has to be looked at. */
static int finish_file(struct segment *segment, int64_t id)
{
	struct tree *tree = segment->tree;
	struct object object;
	struct file_stat st;
	struct name_row row;
	int dirfd, got;

	got = object_by_id(tree->sql, id, &object);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (object.gone || id == ROOT_ID)
		return 0;
	got = name_of(tree->sql, id, &row);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	dirfd = tree_dir(tree, row.dir);
	got = dirfd < 0 ? dirfd : file_stat(dirfd, row.name.text, &st);
	if (!got && is_file(&st, &object)) {
		object.ctime = st.ctime;
		object.file_nlink = st.attr.nlink;
		object.attr.atime = st.attr.atime;
		object.is_racy = false;
		if (is_attr_equal(&object.attr, &st.attr) && object.attr.size == st.attr.size &&
		    (object.attr.type == KML_DIR || !file_time_cmp(object.attr.mtime, st.attr.mtime)))
			return object_update(tree->sql, &object);
	}
	object.ctime = 0;
	got = object_update(tree->sql, &object);
	return got ? got : segment_look(segment, row.dir, name_slice(&row.name));
}

/* Whatever fails here is only a directory's time: the names are what counts. */
static int finish_dir(struct segment *segment, int64_t id, int *ret_fd)
{
	struct object dir;
	struct file_stat st;
	struct name_row row;
	int got, fd;

	*ret_fd = -1;
	got = object_by_id(segment->tree->sql, id, &dir);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (dir.gone)
		return 0;
	fd = tree_dir(segment->tree, id);
	if (fd < 0)
		return 0;
	*ret_fd = fd;
	(void)file_set_fd(fd, &dir.attr, KML_SET_MTIME);
	got = file_stat(fd, "", &st);
	if (got)
		return got;
	/* As the file system took it. */
	dir.attr.mtime = st.attr.mtime;
	dir.ctime = st.ctime;
	dir.file_nlink = st.attr.nlink;
	if (is_attr_equal(&dir.attr, &st.attr))
		return object_update(segment->tree->sql, &dir);
	dir.ctime = 0;		/* somebody else was there meanwhile */
	got = object_update(segment->tree->sql, &dir);
	if (got || id == ROOT_ID)
		return got ? got : segment_look(segment, ROOT_ID, (struct slice){ ".", 1 });
	got = name_of(segment->tree->sql, id, &row);
	return got > 0 ? segment_look(segment, row.dir, name_slice(&row.name)) : got ? got : -EUCLEAN;
}

struct finish {
	struct segment *segment;
	int64_t dirs[FSYNC_MAX];
	size_t n_dirs;
	bool is_files;		/* which of the two rounds */
	int err;
};

static void finish_one(struct finish *finish, struct touched *touched)
{
	int fd;

	if (finish->err)
		return;
	if (finish->is_files) {
		if (touched->is_file)
			finish->err = finish_file(finish->segment, touched->id);
		return;
	}
	if (!touched->is_dir_time)
		return;
	finish->err = finish_dir(finish->segment, touched->id, &fd);
	if (fd < 0)
		return;
	if (finish->n_dirs < FSYNC_MAX)
		finish->dirs[finish->n_dirs] = touched->id;
	finish->n_dirs++;
}

static void finish_all(struct finish *finish)
{
	const struct hash_table *table = &finish->segment->touched;

	for (size_t i = 0; i <= table->mask && table->bucket; i++) {
		for (struct hash_node *node = table->bucket[i]; node; node = node->next) {
			tree_trim_dirs(finish->segment->tree);
			finish_one(finish, container_of(node, struct touched, node));
		}
	}
}

static int sync_all(struct segment *segment, const struct finish *finish)
{
	int fd, err = FAULT("step.sync");

	if (err)
		return err;
	if (segment->needs_syncfs || finish->n_dirs > FSYNC_MAX)
		return syncfs(segment->tree->root_fd) < 0 ? -errno : 0;
	for (size_t i = 0; i < finish->n_dirs; i++) {
		fd = tree_dir(segment->tree, finish->dirs[i]);
		if (fd < 0)
			return syncfs(segment->tree->root_fd) < 0 ? -errno : 0;
		if (fsync(fd) < 0)
			return -errno;
	}
	return 0;
}

int step_finish(struct segment *segment)
{
	struct finish finish = { .segment = segment };

	/* Directories first: a directory that was made here is a file that was touched, too, and its time is part of that. */
	finish_all(&finish);
	finish.is_files = true;
	finish_all(&finish);
	if (finish.err)
		return finish.err;
	finish.err = FAULT("step.finish");
	if (finish.err)
		return finish.err;
	finish.err = sync_all(segment, &finish);
	if (finish.err == -EIO) {
		/* A second try might say that all is well when it is not. */
		segment->tree->broken = finish.err;
		log_error("%s: cannot be synced; changes are refused until a restart", segment->tree->path);
	}
	return finish.err;
}
