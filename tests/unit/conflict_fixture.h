/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conflict_fixture: a batch is answered as the test says; what is on record then, and whether the tables agree. */
#ifndef TESTS_CONFLICT_FIXTURE_H
#define TESTS_CONFLICT_FIXTURE_H

#include "tests/unit/cache_fixture.h"

#include "base/log.h"
#include "cache/apply.h"
#include "cache/conflict_name.h"

#define HOST "laptop"
#define THEIRS ((struct kml_oid){ 0, 77 })

static UNUSED struct cml_batch *take(struct fixture *f)
{
	struct cml_batch *batch;

	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	assert_true(batch->n <= 100);
	return batch;
}

/* A batch, its operations as wanted, and answers that all say "done" until somebody changes one. */
struct round {
	struct cml_batch *batch;
	struct kml_answer answers[100];
	struct kml_object object;
};

static UNUSED uint64_t version;

/* The root's listing says this, as it was at that position: itself, and names in it. */
static UNUSED void root_is_listed(struct fixture *f, uint64_t position, const struct kml_listed *listed, uint32_t n)
{
	struct apply_listing *listing;

	assert_int_equal(apply_listing_begin(f->cache, ROOT, position, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, listed, n), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
}

static UNUSED void round_begin(struct fixture *f, struct round *r, const char *want)
{
	char got[1000] = "";
	size_t at = 0;

	memset(r, 0, sizeof(*r));
	r->batch = take(f);
	for (size_t i = 0; i < r->batch->n; i++) {
		at += snprintf(got + at, sizeof(got) - at, "%s ",
			       kml_op_name(r->batch->items[i].record.body.op));
		r->answers[i] = (struct kml_answer){ .seq = r->batch->items[i].record.seq,
						     .made_version = ++version };
	}
	assert_string_equal(got, want);
}

static UNUSED void answer(struct round *r, size_t i, enum kml_status status)
{
	r->answers[i].status = status;
	if (status != KML_RENAMED)
		r->answers[i].made_version = 0;
}

static UNUSED void answer_refused(struct round *r, size_t i, int error)
{
	answer(r, i, KML_REFUSED);
	r->answers[i].error = error;
}

static UNUSED void answer_object(struct round *r, size_t i, enum kml_status status, struct kml_oid oid,
			  enum kml_type type, uint64_t size)
{
	answer(r, i, status);
	r->object = (struct kml_object){
		.oid = oid,
		.attr = { .type = type, .mode = 0604, .uid = 3, .gid = 4, .nlink = 1, .size = size,
			  .mtime = { 5000, 6 } },
		.data_version = ++version,
		.attr_version = version,
	};
	r->answers[i].object = &r->object;
}

static UNUSED void answer_renamed(struct round *r, size_t i, const char *name)
{
	answer(r, i, KML_RENAMED);
	r->answers[i].name = (kml_name){ strlen(name), (char *)name };
}

static UNUSED int round_retire(struct fixture *f, struct round *r)
{
	return cml_retire(f->cache, r->batch, r->answers, r->batch->n);
}

static UNUSED void round_end(struct fixture *f, struct round *r)
{
	assert_int_equal(round_retire(f, r), 0);
}

static UNUSED void all_done(struct fixture *f, const char *want)
{
	struct round r;

	round_begin(f, &r, want);
	round_end(f, &r);
}

static const struct kml_record *record(const struct round *r, size_t i)
{
	return &r->batch->items[i].record;
}

/* The name of a copy of ours, by the time of the record. */
static UNUSED const char *copy_name(const char *name, const struct kml_record *rec)
{
	static char got[256];

	assert_int_equal(conflict_name(text(name), HOST, rec->time.sec, 1, got), 0);
	return got;
}

static UNUSED struct cml_conflict last_conflict;

static UNUSED unsigned n_conflicts;

static UNUSED void count_conflict(void *arg, const struct cml_conflict *conflict)
{
	(void)arg;
	assert_true(conflict->id > last_conflict.id || !n_conflicts);
	last_conflict = *conflict;
	n_conflicts++;
}

static UNUSED void assert_conflicts(struct fixture *f, unsigned n, const char *path)
{
	n_conflicts = 0;
	assert_int_equal(cml_conflicts(f->cache, count_conflict, NULL), 0);
	assert_int_equal(n_conflicts, n);
	if (!n)
		return;
	assert_string_equal(last_conflict.path, path);
	assert_true(last_conflict.what[0] != '\0');
	assert_true(last_conflict.when_s > 1000000000);
}

static UNUSED bool is_stale(struct fixture *f, uint64_t ino)
{
	char sql[80];

	snprintf(sql, sizeof(sql), "SELECT is_stale FROM inode WHERE ino = %llu", (unsigned long long)ino);
	return query(f, sql) != 0;
}

static UNUSED void assert_no_marks(struct fixture *f)
{
	/* Whatever is on record can be told. */
	n_conflicts = 0;
	assert_int_equal(cml_conflicts(f->cache, count_conflict, NULL), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM cml"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE seq OR NOT ino"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE data_seq OR attr_seq OR length(dirty)"
				  " OR length(dirty_next)"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM meta WHERE key LIKE 'merged%'"), 0);
}

/* Counts that must agree with the tables. */
static UNUSED void assert_sane(struct fixture *f)
{
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE ino > 0 AND ino NOT IN (SELECT ino FROM inode)"),
			 0);
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE dir NOT IN (SELECT ino FROM inode)"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE type = 1 AND links_up <> (SELECT count(*)"
				  " FROM name WHERE name.ino = inode.ino AND CAST(name AS TEXT) NOT LIKE '.nfs%')"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode AS d WHERE type = 2 AND nlink <> 2 + (SELECT count(*)"
				  " FROM name JOIN inode AS i ON i.ino = name.ino WHERE name.dir = d.ino"
				  " AND i.type = 2)"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode AS d WHERE type = 2 AND ino > 2 AND parent <>"
				  " (SELECT dir FROM name WHERE name.ino = d.ino)"), 0);
}

static UNUSED int setup(void **state)
{
	struct fixture *f;

	assert_int_equal(f_setup(state), 0);
	f = *state;
	cml_set_host(f->cache, HOST);
	return 0;
}

static UNUSED int teardown(void **state)
{
	assert_sane(*state);
	return f_teardown(state);
}

/* A file that upstream knows as it is here. */
static UNUSED uint64_t known_file(struct fixture *f, const char *name, const char *content)
{
	uint64_t ino = made(f, ROOT, name, content);

	all_done(f, content ? "CREATE STORE " : "CREATE ");
	assert_no_marks(f);
	return ino;
}

static UNUSED uint64_t rewritten(struct fixture *f, const char *name)
{
	uint64_t ino = known_file(f, name, "before");

	assert_int_equal(f_write(f, ino, 2, "OURS"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	return ino;
}

#endif
