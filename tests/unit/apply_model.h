/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apply_model: an upstream in memory with a journal, for tests of what comes from there.
 *
 * Each m_*() is one change and one journal entry, by a client (0: a local program).  Nothing is certified: a test
 * asks for what is possible.  m_pull() gives the journal to the cache, m_list() and m_object() answer questions.
 */
#ifndef TESTS_APPLY_MODEL_H
#define TESTS_APPLY_MODEL_H

#include "tests/unit/cache_fixture.h"
#include "cache/apply.h"
#include "rpcgen/kml_codec.h"

#define M_OBJECTS 4096
#define M_ENTRIES 8192
#define OTHERS 7ull		/* another client */

struct m_name {
	struct kml_oid dir, oid;	/* oid none: unused */
	char name[40];
};

struct model {
	struct kml_object objects[M_OBJECTS];
	struct m_name names[M_OBJECTS];
	struct kml_entry entries[M_ENTRIES];	/* of position [i] + 1 */
	unsigned n_objects, n_names;
	uint64_t position, next_number;
	int64_t now;			/* ns, goes on with each change */
};

static UNUSED struct kml_object *m_object_of(struct model *m, struct kml_oid oid)
{
	for (unsigned i = 0; i < m->n_objects; i++) {
		if (kml_oid_equal(m->objects[i].oid, oid))
			return &m->objects[i];
	}
	return NULL;
}

static UNUSED struct m_name *m_find(struct model *m, struct kml_oid dir, const char *name)
{
	for (unsigned i = 0; i < m->n_names; i++) {
		if (kml_oid_equal(m->names[i].dir, dir) && !kml_oid_is_none(m->names[i].oid) &&
		    !strcmp(m->names[i].name, name))
			return &m->names[i];
	}
	return NULL;
}

static UNUSED struct kml_oid m_oid(struct model *m, struct kml_oid dir, const char *name)
{
	struct m_name *n = m_find(m, dir, name);

	return n ? n->oid : KML_NO_OID;
}

static UNUSED unsigned m_count(struct model *m, struct kml_oid dir)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_names; i++)
		n += kml_oid_equal(m->names[i].dir, dir) && !kml_oid_is_none(m->names[i].oid);
	return n;
}

static UNUSED void m_add_name(struct model *m, struct kml_oid dir, const char *name, struct kml_oid oid)
{
	struct m_name *n = NULL;

	for (unsigned i = 0; i < m->n_names && !n; i++) {
		if (kml_oid_is_none(m->names[i].oid))
			n = &m->names[i];
	}
	if (!n) {
		assert_true(m->n_names < M_OBJECTS);
		n = &m->names[m->n_names++];
	}
	n->dir = dir;
	n->oid = oid;
	snprintf(n->name, sizeof(n->name), "%s", name);
}

static UNUSED struct kml_time m_time(int64_t ns)
{
	return (struct kml_time){ ns / 1000000000, ns % 1000000000 };
}

static UNUSED bool m_later(struct kml_time a, struct kml_time b)
{
	return a.sec != b.sec ? a.sec > b.sec : a.nsec > b.nsec;
}

static UNUSED kml_name m_text(const char *name)
{
	kml_name text_of = { 0 };

	assert_int_equal(kml_name_set(&text_of, text(name)), 0);
	return text_of;
}

/* ---- one change ---- */

static UNUSED struct kml_entry *m_begin(struct model *m, uint64_t client, enum kml_op op)
{
	struct kml_entry *entry = &m->entries[m->position];

	assert_true(m->position < M_ENTRIES);
	m->now += 1000;
	entry->position = ++m->position;
	entry->client = client;
	entry->record.format = KML_VERSION;
	entry->record.body.op = op;
	entry->record.time = m_time(m->now);
	return entry;
}

static UNUSED void m_dir_changed(struct model *m, struct kml_entry *entry, struct kml_oid dir, int more_dirs)
{
	struct kml_object *o = m_object_of(m, dir);

	assert_non_null(o);
	o->attr.nlink += more_dirs;
	if (entry->client && m_later(entry->record.time, o->attr.mtime))
		o->attr.mtime = entry->record.time;
}

static UNUSED void m_end(struct model *m, struct kml_entry *entry, const struct kml_oid *oids, unsigned n)
{
	struct kml_object *after = calloc(KML_AFTER_MAX, sizeof(*after));

	assert_non_null(after);
	entry->after.after_val = after;
	for (unsigned i = 0; i < n; i++) {
		bool is_double = kml_oid_is_none(oids[i]);

		for (unsigned j = 0; j < i; j++)
			is_double |= kml_oid_equal(oids[i], oids[j]);
		if (is_double)
			continue;
		after[entry->after.after_len] = *m_object_of(m, oids[i]);
		after[entry->after.after_len].extra = (kml_extra){ 0 };
		assert_int_equal(kml_extra_set(&after[entry->after.after_len].extra,
					       kml_extra_get(&m_object_of(m, oids[i])->extra)), 0);
		entry->after.after_len++;
	}
}

/* oid none: one is made up. */
static UNUSED struct kml_oid m_make(struct model *m, uint64_t client, enum kml_type type, struct kml_oid dir,
				    const char *name, struct kml_oid oid)
{
	static const enum kml_op ops[] = { [KML_REG] = KML_CREATE, [KML_DIR] = KML_MKDIR,
					   [KML_LNK] = KML_SYMLINK, [KML_FIFO] = KML_MKNOD };
	struct kml_entry *entry = m_begin(m, client, ops[type]);
	struct kml_object *o = &m->objects[m->n_objects++];
	struct kml_make make = { .parent = dir };

	assert_true(m->n_objects < M_OBJECTS);
	assert_null(m_find(m, dir, name));
	o->oid = kml_oid_is_none(oid) ? (struct kml_oid){ 0, m->next_number++ } : oid;
	o->attr = (struct kml_attr){ .type = type, .mode = 0644, .nlink = type == KML_DIR ? 2 : 1,
				     .atime = entry->record.time, .mtime = entry->record.time };
	o->data_version = o->attr_version = m->position;
	make.name = m_text(name);
	make.oid = o->oid;
	if (type == KML_LNK) {
		assert_int_equal(kml_extra_set(&o->extra, text("some/where")), 0);
		entry->record.body.kml_body_u.symlink.make = make;
		assert_int_equal(kml_target_set(&entry->record.body.kml_body_u.symlink.target,
						text("some/where")), 0);
	} else if (type == KML_FIFO) {
		entry->record.body.kml_body_u.mknod.make = make;
		entry->record.body.kml_body_u.mknod.type = type;
	} else {
		entry->record.body.kml_body_u.make = make;
	}
	m_add_name(m, dir, name, o->oid);
	m_dir_changed(m, entry, dir, type == KML_DIR);
	m_end(m, entry, (struct kml_oid[]){ o->oid, dir }, 2);
	return o->oid;
}

static UNUSED struct kml_oid m_file(struct model *m, struct kml_oid dir, const char *name)
{
	return m_make(m, OTHERS, KML_REG, dir, name, KML_NO_OID);
}

static UNUSED struct kml_oid m_dir(struct model *m, struct kml_oid dir, const char *name)
{
	return m_make(m, OTHERS, KML_DIR, dir, name, KML_NO_OID);
}

static UNUSED void m_link(struct model *m, uint64_t client, struct kml_oid oid, struct kml_oid dir,
			  const char *name)
{
	struct kml_entry *entry = m_begin(m, client, KML_LINK);

	assert_null(m_find(m, dir, name));
	entry->record.body.kml_body_u.link = (struct kml_link){ oid, dir, m_text(name) };
	m_object_of(m, oid)->attr.nlink++;
	m_add_name(m, dir, name, oid);
	m_dir_changed(m, entry, dir, 0);
	m_end(m, entry, (struct kml_oid[]){ oid, dir }, 2);
}

/* nlink after a name has gone. */
static UNUSED void m_lost(struct kml_object *o)
{
	o->attr.nlink = o->attr.type == KML_DIR ? 0 : o->attr.nlink - 1;
}

static UNUSED void m_remove(struct model *m, uint64_t client, struct kml_oid dir, const char *name)
{
	struct m_name *n = m_find(m, dir, name);
	struct kml_object *o = m_object_of(m, n->oid);
	bool is_dir = o->attr.type == KML_DIR;
	struct kml_entry *entry = m_begin(m, client, is_dir ? KML_RMDIR : KML_REMOVE);

	assert_true(!is_dir || !m_count(m, o->oid));
	entry->record.body.kml_body_u.unlink = (struct kml_unlink){ dir, m_text(name), o->oid, o->data_version };
	n->oid = KML_NO_OID;
	m_lost(o);
	m_dir_changed(m, entry, dir, -(int)is_dir);
	m_end(m, entry, (struct kml_oid[]){ o->oid, dir }, 2);
}

static UNUSED void m_rename(struct model *m, uint64_t client, struct kml_oid from, const char *from_name,
			    struct kml_oid to, const char *to_name)
{
	struct m_name *n = m_find(m, from, from_name), *there = m_find(m, to, to_name);
	struct kml_entry *entry = m_begin(m, client, KML_RENAME);
	struct kml_rename *r = &entry->record.body.kml_body_u.rename;
	struct kml_object *o = m_object_of(m, n->oid);
	bool is_dir = o->attr.type == KML_DIR;

	*r = (struct kml_rename){ .from_parent = from, .to_parent = to, .oid = o->oid };
	r->from_name = m_text(from_name);
	r->to_name = m_text(to_name);
	if (there) {
		struct kml_object *victim = m_object_of(m, there->oid);

		assert_true(victim->attr.type != KML_DIR || !m_count(m, victim->oid));
		r->replaced = victim->oid;
		r->replaced_base = victim->data_version;
		if (victim->attr.type == KML_DIR)
			m_object_of(m, to)->attr.nlink--;
		m_lost(victim);
		there->oid = KML_NO_OID;
	}
	n->oid = KML_NO_OID;
	m_add_name(m, to, to_name, o->oid);
	m_dir_changed(m, entry, from, -(int)is_dir);
	m_dir_changed(m, entry, to, is_dir);
	m_end(m, entry, (struct kml_oid[]){ o->oid, from, to, r->replaced }, 4);
}

static UNUSED void m_chmod(struct model *m, uint64_t client, struct kml_oid oid, unsigned mode)
{
	struct kml_entry *entry = m_begin(m, client, KML_SETATTR);
	struct kml_object *o = m_object_of(m, oid);

	entry->record.body.kml_body_u.setattr = (struct kml_setattr){
		.oid = oid, .set = KML_SET_MODE, .mode = mode, .attr_base = o->attr_version };
	o->attr.mode = mode;
	o->attr_version = m->position;
	m_end(m, entry, &oid, 1);
}

/* Names came and went in the directory. */
static UNUSED void m_forward(struct model *m, uint64_t client, struct kml_oid dir, struct kml_time mtime)
{
	struct kml_entry *entry = m_begin(m, client, KML_SETATTR);
	struct kml_object *o = m_object_of(m, dir);

	entry->record.body.kml_body_u.setattr = (struct kml_setattr){ .oid = dir, .set = KML_SET_MTIME, .mtime = mtime };
	if (m_later(mtime, o->attr.mtime))
		o->attr.mtime = mtime;
	m_end(m, entry, &dir, 1);
}

static UNUSED void m_store_at(struct model *m, uint64_t client, struct kml_oid oid, uint64_t size,
			      struct kml_time mtime)
{
	struct kml_entry *entry = m_begin(m, client, KML_STORE);
	struct kml_object *o = m_object_of(m, oid);

	entry->record.body.kml_body_u.store = (struct kml_store){
		.oid = oid, .data_base = o->data_version, .size = size, .mtime = mtime };
	o->attr.size = size;
	o->attr.mtime = mtime;
	o->data_version = m->position;
	m_end(m, entry, &oid, 1);
}

static UNUSED void m_store(struct model *m, uint64_t client, struct kml_oid oid, uint64_t size)
{
	m_store_at(m, client, oid, size, m_time(m->now));
}

static UNUSED struct model *m_new(void)
{
	struct model *m = calloc(1, sizeof(*m));
	struct timespec now;

	assert_non_null(m);
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
	m->now = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	m->objects[m->n_objects++] = (struct kml_object){
		.oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .uid = 5, .nlink = 2 } };
	m->objects[0].attr.mtime = m_time(m->now);
	m->next_number = 2;
	m_chmod(m, 0, KML_ROOT, 0751);
	return m;
}

static UNUSED void m_free(struct model *m)
{
	for (uint64_t i = 0; i < m->position; i++)
		kml_entry_release(&m->entries[i]);
	for (unsigned i = 0; i < m->n_objects; i++)
		free(m->objects[i].extra.kml_extra_val);
	free(m);
}

/* ---- to the cache ---- */

static UNUSED void m_pull_to(struct model *m, struct fixture *f, uint64_t position)
{
	uint64_t from = apply_position(f->cache);

	assert_true(from <= position && position <= m->position);
	assert_int_equal(apply_entries(f->cache, m->entries + from, position - from, position), 0);
	assert_int_equal(apply_position(f->cache), position);
}

static UNUSED void m_pull(struct model *m, struct fixture *f)
{
	m_pull_to(m, f, m->position);
}

/* A listing as it was when it was made. */
struct m_listing {
	uint64_t position;
	size_t n;
	struct kml_listed *v;
};

static UNUSED void m_listing_add(struct m_listing *l, struct kml_oid parent, const char *name,
				 const struct kml_object *object)
{
	struct kml_listed *e;

	l->v = realloc(l->v, (l->n + 1) * sizeof(*l->v));
	assert_non_null(l->v);
	e = &l->v[l->n++];
	*e = (struct kml_listed){ .parent = parent, .object = *object };
	e->name = m_text(name);
	e->object.extra = (kml_extra){ 0 };
	assert_int_equal(kml_extra_set(&e->object.extra, kml_extra_get(&object->extra)), 0);
}

static UNUSED void m_snapshot(struct model *m, struct kml_oid dir, struct m_listing *l)
{
	*l = (struct m_listing){ .position = m->position };
	m_listing_add(l, KML_NO_OID, "", m_object_of(m, dir));
	for (unsigned i = 0; i < m->n_names; i++) {
		const struct m_name *n = &m->names[i];

		if (kml_oid_equal(n->dir, dir) && !kml_oid_is_none(n->oid))
			m_listing_add(l, dir, n->name, m_object_of(m, n->oid));
	}
}

/* The first n lines of it, then, if all, the end. */
static UNUSED int m_deliver(struct fixture *f, uint64_t ino, struct m_listing *l)
{
	struct apply_listing *listing;
	int err;

	assert_int_equal(apply_listing_begin(f->cache, ino, l->position, false, &listing), 0);
	err = apply_listing_add(listing, l->v, l->n);
	err = apply_listing_end(listing, err);
	for (size_t i = 0; i < l->n; i++)
		kml_listed_release(&l->v[i]);
	free(l->v);
	*l = (struct m_listing){ 0 };
	return err;
}

static UNUSED int m_list(struct model *m, struct fixture *f, struct kml_oid dir, uint64_t ino)
{
	struct kml_object *o = m_object_of(m, dir);
	struct m_listing l;

	if (!o || !o->attr.nlink) {
		apply_listing_failed(f->cache, ino, -ESTALE);
		return apply_object(f->cache, &dir, NULL, m->position);
	}
	m_snapshot(m, dir, &l);
	return m_deliver(f, ino, &l);
}

/* Answer one question that the cache has.  False: it has none. */
static UNUSED bool m_answer(struct model *m, struct fixture *f)
{
	struct kml_object *o;
	struct kml_oid oid;
	uint64_t ino;
	bool is_dir;

	if (!apply_next_stale(f->cache, &ino, &oid, &is_dir))
		return false;
	if (is_dir) {
		int err = m_list(m, f, oid, ino);

		assert_true(!err || err == -EAGAIN);
		if (err)
			apply_listing_failed(f->cache, ino, -EIO);
		return true;
	}
	o = m_object_of(m, oid);
	assert_int_equal(apply_object(f->cache, &oid, o && o->attr.nlink ? o : NULL, m->position), 0);
	return true;
}

static UNUSED uint64_t ino_of(struct fixture *f, struct kml_oid oid)
{
	char sql[160];

	snprintf(sql, sizeof(sql), "SELECT coalesce(max(ino), 0) FROM inode WHERE oid_origin = %lld AND oid_number = %lld",
		 (long long)oid.origin, (long long)oid.number);
	return query(f, sql);
}

static UNUSED int64_t inode_column(struct fixture *f, uint64_t ino, const char *column)
{
	char sql[160];

	snprintf(sql, sizeof(sql), "SELECT coalesce(max(%s), -1) FROM inode WHERE ino = %lld", column,
		 (long long)ino);
	return query(f, sql);
}

/* Both trees are the same, from this directory on: names, attributes, links. */
static UNUSED void m_compare(struct model *m, struct fixture *f, struct kml_oid dir, uint64_t ino)
{
	char sql[100];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM name WHERE ino > 0 AND dir = %lld", (long long)ino);
	assert_int_equal(query(f, sql), m_count(m, dir));
	for (unsigned i = 0; i < m->n_names; i++) {
		const struct m_name *n = &m->names[i];
		const struct kml_object *o;
		uint64_t child;

		if (!kml_oid_equal(n->dir, dir) || kml_oid_is_none(n->oid))
			continue;
		o = m_object_of(m, n->oid);
		child = found(f, ino, n->name);
		if (!child)
			print_error("missing: %s\n", n->name);
		assert_true(child != 0);
		assert_int_equal(child, ino_of(f, n->oid));
		assert_int_equal(f->op.attr.type, o->attr.type);
		assert_int_equal(f->op.attr.mode, o->attr.mode);
		if (f->op.attr.nlink != o->attr.nlink)
			print_error("nlink of %s: %u, upstream %u\n", n->name, f->op.attr.nlink, o->attr.nlink);
		assert_int_equal(f->op.attr.nlink, o->attr.nlink);
		assert_int_equal(f->op.attr.mtime.tv_sec, o->attr.mtime.sec);
		assert_int_equal(f->op.attr.mtime.tv_nsec, o->attr.mtime.nsec);
		if (o->attr.type == KML_REG)
			assert_int_equal(f->op.attr.size, o->attr.size);
		if (o->attr.type == KML_DIR)
			m_compare(m, f, n->oid, child);
	}
}

#endif
