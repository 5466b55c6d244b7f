/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cml_upstream: an upstream in memory, for tests of the log: one client, nobody else changes anything unless
 * the test does.  It keeps answers, as docs/PROTOCOL.md 7 says, and certifies by the same table in short.
 */
#ifndef TESTS_CML_UPSTREAM_H
#define TESTS_CML_UPSTREAM_H

#include <errno.h>
#include "tests/unit/cache_fixture.h"

#define UP_OBJECTS 8000
#define UP_NAMES 1000
#define UP_ANSWERS 100000
#define UP_SIZE_MAX 4096		/* of a file */

struct up_object {
	struct kml_oid oid;
	enum kml_type type;
	uint32_t mode, uid, gid, names, n_access, n_default;
	struct kml_time atime, mtime;
	uint64_t size, data_version, attr_version;
	char data[UP_SIZE_MAX];
	bool is_gone, is_theirs;	/* changed last by somebody else */
};

struct up_name {
	struct kml_oid dir, oid;
	char name[256];			/* "": free */
};

struct upstream {
	uint64_t position, last_seq;
	struct up_object objects[UP_OBJECTS];
	unsigned n_objects;
	struct up_name names[UP_NAMES];
	struct { uint64_t seq, made_version; enum kml_status status; } kept[UP_ANSWERS];
	unsigned n_kept;
	unsigned n_odd;			/* answers other than OK */
};

/* All zeros before: it may lie in shared memory. */
static UNUSED void up_init(struct upstream *up)
{
	up->position = 1;
	up->objects[0].oid = KML_ROOT;
	up->objects[0].type = KML_DIR;
	up->objects[0].names = 1;
	up->n_objects = 1;
}

static UNUSED struct upstream *up_new(void)
{
	struct upstream *up = calloc(1, sizeof(*up));

	assert_non_null(up);
	up_init(up);
	return up;
}

static UNUSED struct up_object *up_object(struct upstream *up, struct kml_oid oid)
{
	for (unsigned i = 0; i < up->n_objects; i++) {
		if (kml_oid_equal(up->objects[i].oid, oid))
			return &up->objects[i];
	}
	return NULL;
}

static UNUSED struct up_name *up_find(struct upstream *up, struct kml_oid dir, struct slice name)
{
	for (unsigned i = 0; i < UP_NAMES; i++) {
		struct up_name *n = &up->names[i];

		if (n->name[0] && kml_oid_equal(n->dir, dir) && strlen(n->name) == name.len &&
		    !memcmp(n->name, name.data, name.len))
			return n;
	}
	return NULL;
}

static UNUSED void up_bind(struct upstream *up, struct kml_oid dir, struct slice name, struct kml_oid oid)
{
	for (unsigned i = 0; i < UP_NAMES; i++) {
		struct up_name *n = &up->names[i];

		if (n->name[0])
			continue;
		n->dir = dir;
		n->oid = oid;
		snprintf(n->name, sizeof(n->name), "%.*s", (int)name.len, (const char *)name.data);
		up_object(up, oid)->names++;
		return;
	}
	fail_msg("no room for a name");
}

static UNUSED void up_unbind(struct upstream *up, struct up_name *n)
{
	struct up_object *o = up_object(up, n->oid);

	n->name[0] = '\0';
	if (!--o->names)
		o->is_gone = true;
}

static UNUSED void up_touch(struct upstream *up, struct kml_oid dir, struct kml_time time)
{
	struct up_object *o = up_object(up, dir);

	if (time.sec > o->mtime.sec || (time.sec == o->mtime.sec && time.nsec > o->mtime.nsec))
		o->mtime = time;
}

/* New content by the rules at struct kml_store; bytes: the ranges' bytes one after the other. */
static UNUSED void up_store(struct up_object *o, const struct kml_store *s, const char *bytes)
{
	uint64_t keep = MIN(MIN(s->keep_size, o->size), s->size);

	assert_true(s->size <= UP_SIZE_MAX);
	memset(o->data + keep, 0, UP_SIZE_MAX - keep);
	for (unsigned i = 0; i < s->ranges.ranges_len; i++) {
		const struct kml_range *r = &s->ranges.ranges_val[i];

		assert_true(r->length && r->offset + r->length <= s->size);
		memcpy(o->data + r->offset, bytes, r->length);
		bytes += r->length;
	}
	o->size = s->size;
	o->mtime = s->mtime;
}

/* A directory that names can be put into. */
static UNUSED void up_assert_dir(struct upstream *up, struct kml_oid dir)
{
	assert_non_null(up_object(up, dir));
	assert_false(up_object(up, dir)->is_gone);
}

/* Is it below that one, or that one itself? */
static UNUSED bool up_is_below(struct upstream *up, struct kml_oid dir, struct kml_oid top)
{
	for (unsigned depth = 0; depth < 100; depth++) {
		struct up_name *n = NULL;

		if (kml_oid_equal(dir, top))
			return true;
		for (unsigned i = 0; i < UP_NAMES && !n; i++) {
			if (up->names[i].name[0] && kml_oid_equal(up->names[i].oid, dir))
				n = &up->names[i];
		}
		if (!n)
			return false;
		dir = n->dir;
	}
	return true;
}

static UNUSED bool up_is_empty(struct upstream *up, struct kml_oid dir)
{
	for (unsigned i = 0; i < UP_NAMES; i++) {
		if (up->names[i].name[0] && kml_oid_equal(up->names[i].dir, dir))
			return false;
	}
	return true;
}

static UNUSED enum kml_status up_make(struct upstream *up, const struct kml_record *record,
				      const struct kml_make *make, enum kml_type type)
{
	struct up_object *o;

	assert_null(up_object(up, make->oid));
	up_assert_dir(up, make->parent);
	assert_null(up_find(up, make->parent, kml_name_get(&make->name)));
	assert_true(up->n_objects < UP_OBJECTS);
	o = &up->objects[up->n_objects++];
	o->oid = make->oid;
	o->type = type;
	o->mode = make->mode;
	o->uid = make->uid;
	o->gid = make->gid;
	o->atime = make->atime;
	o->mtime = make->mtime;
	o->data_version = o->attr_version = up->position;
	up_bind(up, make->parent, kml_name_get(&make->name), make->oid);
	up_touch(up, make->parent, record->time);
	return KML_OK;
}

static UNUSED enum kml_status up_unlink(struct upstream *up, const struct kml_record *record)
{
	const struct kml_unlink *u = &record->body.kml_body_u.unlink;
	struct up_name *n = up_find(up, u->parent, kml_name_get(&u->name));

	if (!n || !kml_oid_equal(n->oid, u->oid))
		return KML_ALREADY;
	if (up_object(up, u->oid)->is_theirs && up_object(up, u->oid)->names == 1 &&
	    up_object(up, u->oid)->data_version != u->data_base)
		return KML_CONFLICT;
	if (record->body.op == KML_RMDIR)
		assert_true(up_is_empty(up, u->oid));
	up_unbind(up, n);
	up_touch(up, u->parent, record->time);
	return KML_OK;
}

static UNUSED enum kml_status up_rename(struct upstream *up, const struct kml_record *record)
{
	const struct kml_rename *r = &record->body.kml_body_u.rename;
	struct up_name *from = up_find(up, r->from_parent, kml_name_get(&r->from_name)),
		       *to = up_find(up, r->to_parent, kml_name_get(&r->to_name));

	assert_non_null(from);
	assert_true(kml_oid_equal(from->oid, r->oid));
	up_assert_dir(up, r->to_parent);
	if (up_object(up, r->oid)->type == KML_DIR)
		assert_false(up_is_below(up, r->to_parent, r->oid));
	if (to) {
		assert_true(kml_oid_equal(to->oid, r->replaced));
		up_unbind(up, to);
	}
	up_bind(up, r->to_parent, kml_name_get(&r->to_name), r->oid);
	up_unbind(up, from);
	up_touch(up, r->from_parent, record->time);
	up_touch(up, r->to_parent, record->time);
	return KML_OK;
}

static UNUSED enum kml_status up_setattr(struct upstream *up, const struct kml_setattr *s)
{
	struct up_object *o = up_object(up, s->oid);

	assert_non_null(o);
	if (s->set == KML_SET_FORWARD) {
		assert_int_equal(o->type, KML_DIR);
		up_touch(up, s->oid, s->mtime);
		return KML_OK;
	}
	if (o->is_gone)
		return KML_GONE;
	if (o->attr_version != s->attr_base && o->is_theirs)
		return KML_CONFLICT;
	if (s->set & KML_SET_MODE)
		o->mode = s->mode;
	if (s->set & KML_SET_UID)
		o->uid = s->uid;
	if (s->set & KML_SET_GID)
		o->gid = s->gid;
	if (s->set & KML_SET_ATIME)
		o->atime = s->atime;
	if (s->set & KML_SET_MTIME)
		o->mtime = s->mtime;
	o->attr_version = up->position;
	return KML_OK;
}

static UNUSED enum kml_status up_setacl(struct upstream *up, const struct kml_setacl *s)
{
	struct up_object *o = up_object(up, s->oid);

	assert_non_null(o);
	if (o->is_gone)
		return KML_GONE;
	if (o->attr_version != s->attr_base && o->is_theirs)
		return KML_CONFLICT;
	o->mode = s->mode;
	o->n_access = s->acls.access.kml_acl_len;
	o->n_default = s->acls.def.kml_acl_len;
	o->attr_version = up->position;
	return KML_OK;
}

static UNUSED enum kml_status up_store_record(struct upstream *up, const struct kml_store *s,
					      const char *bytes)
{
	struct up_object *o = up_object(up, s->oid);

	assert_non_null(o);
	if (o->is_gone)
		return KML_GONE;
	if (o->data_version != s->data_base && o->is_theirs)
		return KML_CONFLICT;
	up_store(o, s, bytes);
	o->data_version = up->position;
	o->is_theirs = false;
	return KML_OK;
}

static UNUSED enum kml_status up_run(struct upstream *up, const struct kml_record *record,
				     const char *bytes)
{
	const struct kml_body *body = &record->body;
	const struct kml_link *link = &body->kml_body_u.link;

	switch (body->op) {
	case KML_CREATE:
		return up_make(up, record, &body->kml_body_u.make, KML_REG);
	case KML_MKDIR:
		return up_make(up, record, &body->kml_body_u.make, KML_DIR);
	case KML_SYMLINK:
		return up_make(up, record, &body->kml_body_u.symlink.make, KML_LNK);
	case KML_MKNOD:
		return up_make(up, record, &body->kml_body_u.mknod.make, KML_FIFO);
	case KML_LINK:
		assert_null(up_find(up, link->parent, kml_name_get(&link->name)));
		assert_false(up_object(up, link->oid)->is_gone);
		up_assert_dir(up, link->parent);
		up_bind(up, link->parent, kml_name_get(&link->name), link->oid);
		up_touch(up, link->parent, record->time);
		return KML_OK;
	case KML_REMOVE:
	case KML_RMDIR:
		return up_unlink(up, record);
	case KML_RENAME:
		return up_rename(up, record);
	case KML_SETATTR:
		return up_setattr(up, &body->kml_body_u.setattr);
	case KML_STORE:
		return up_store_record(up, &body->kml_body_u.store, bytes);
	case KML_SETACL:
		return up_setacl(up, &body->kml_body_u.setacl);
	case KML_DETACH:
		break;	/* it is asked for by nobody who sends to this one */
	}
	return KML_REFUSED;
}

/* One record that arrives: applied once, answered as often as asked. */
static UNUSED struct kml_answer up_apply(struct upstream *up, const struct kml_record *record,
					 const char *bytes)
{
	struct kml_answer answer = { .seq = record->seq };

	assert_true(record->seq > 0);
	assert_int_equal(record->format, KML_VERSION);
	if (record->seq <= up->last_seq) {
		for (unsigned i = up->n_kept; i-- > 0;) {
			if (up->kept[i].seq != record->seq)
				continue;
			answer.status = up->kept[i].status;
			answer.made_version = up->kept[i].made_version;
			return answer;
		}
		fail_msg("record %llu comes late", (unsigned long long)record->seq);
	}
	up->position++;
	answer.status = up_run(up, record, bytes);
	answer.made_version = answer.status == KML_OK ? up->position : 0;
	up->n_odd += answer.status != KML_OK;
	assert_true(up->n_kept < UP_ANSWERS);
	up->kept[up->n_kept].seq = record->seq;
	up->kept[up->n_kept].status = answer.status;
	up->kept[up->n_kept++].made_version = answer.made_version;
	up->last_seq = record->seq;
	return answer;
}

/* The bytes of a store's ranges, as one reads them for sending.  To be freed. */
static UNUSED char *up_read(const struct cml_item *item)
{
	const struct kml_store *s = &item->record.body.kml_body_u.store;
	char *bytes = calloc(1, item->bytes + 1), *at = bytes;

	assert_non_null(bytes);
	for (unsigned i = 0; i < s->ranges.ranges_len; i++) {
		const struct kml_range *r = &s->ranges.ranges_val[i];

		assert_true(item->fd >= 0);
		assert_true(pread(item->fd, at, r->length, r->offset) >= 0);
		at += r->length;
	}
	assert_int_equal(at - bytes, item->bytes);
	return bytes;
}

/* Reads until it has not been written to meanwhile, and applies. */
static UNUSED struct kml_answer up_send(struct upstream *up, struct cache *cache, struct cml_item *item)
{
	struct kml_answer answer;
	char *bytes = NULL;

	if (item->record.body.op == KML_STORE) {
		do {
			free(bytes);
			bytes = up_read(item);
		} while (cml_refresh(cache, item));
	}
	answer = up_apply(up, &item->record, bytes);
	free(bytes);
	return answer;
}

/* Send and retire all there is. */
static UNUSED void up_drain(struct upstream *up, struct cache *cache)
{
	struct kml_answer answers[100];
	struct cml_batch *batch;

	for (;;) {
		assert_int_equal(cml_take(cache, 100, 1 << 20, &batch), 0);
		if (!batch)
			return;
		for (size_t i = 0; i < batch->n; i++)
			answers[i] = up_send(up, cache, &batch->items[i]);
		assert_int_equal(cml_retire(cache, batch, answers, batch->n), 0);
	}
}

/* What upstream has at a path below the root, NULL: nothing. */
static UNUSED struct up_object *up_at(struct upstream *up, const char *path)
{
	struct kml_oid dir = KML_ROOT;
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		struct up_name *n = up_find(up, dir, text(part));

		if (!n)
			return NULL;
		dir = n->oid;
	}
	return up_object(up, dir);
}

static UNUSED void assert_up(struct upstream *up, const char *path, const char *content)
{
	struct up_object *o = up_at(up, path);

	assert_non_null(o);
	assert_int_equal(o->size, strlen(content));
	assert_memory_equal(o->data, content, o->size);
}

/* ---- do both trees agree? ---- */

static UNUSED void up_compare_file(struct upstream *up, struct fixture *f, uint64_t ino, struct kml_oid oid)
{
	static char got[UP_SIZE_MAX + 1];
	struct up_object *o = up_object(up, oid);

	assert_non_null(o);
	assert_false(o->is_gone);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.type, o->type);
	assert_int_equal(f->op.attr.mode, o->mode);
	assert_int_equal(f->op.attr.mtime.tv_sec, o->mtime.sec);
	assert_int_equal(f->op.attr.mtime.tv_nsec, o->mtime.nsec);
	if (o->type != KML_REG)
		return;
	assert_int_equal(f->op.attr.size, o->size);
	assert_int_equal(f->op.attr.nlink, o->names);
	assert_int_equal(f_read(f, ino, 0, got, sizeof(got)), 0);
	assert_int_equal(f->op.count, o->size);
	assert_memory_equal(got, o->data, o->size);
}

/* With an empty log, a cache without local names: names, contents, modes, times. */
static UNUSED void up_compare(struct upstream *up, struct fixture *f)
{
	unsigned here = 0, there = 0;
	sqlite3 *db = open_db(f);
	sqlite3_stmt *stmt;

	assert_int_equal(sqlite3_prepare_v2(db,
		"SELECT d.oid_origin, d.oid_number, name.name, i.ino, i.oid_origin, i.oid_number FROM name"
		" JOIN inode AS d ON d.ino = name.dir JOIN inode AS i ON i.ino = name.ino", -1, &stmt, NULL),
		SQLITE_OK);
	for (; sqlite3_step(stmt) == SQLITE_ROW; here++) {
		struct kml_oid dir = { sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1) },
			       oid = { sqlite3_column_int64(stmt, 4), sqlite3_column_int64(stmt, 5) };
		struct slice name = { sqlite3_column_blob(stmt, 2), sqlite3_column_bytes(stmt, 2) };
		struct up_name *n = up_find(up, dir, name);

		if (!n)
			fail_msg("%.*s is not there", (int)name.len, (const char *)name.data);
		assert_true(kml_oid_equal(n->oid, oid));
		up_compare_file(up, f, sqlite3_column_int64(stmt, 3), oid);
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	for (unsigned i = 0; i < UP_NAMES; i++)
		there += up->names[i].name[0] != '\0';
	assert_int_equal(here, there);
}

#endif
