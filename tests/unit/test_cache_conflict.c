/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a record that the upstream would not apply as it stood, answer by answer. */
#include "tests/unit/cache_fixture.h"

#include "base/log.h"
#include "cache/apply.h"
#include "cache/settle.h"
#include "cache/conflict_name.h"
#include "cache/inode.h"
#include "cache/object.h"

#define HOST "laptop"
#define THEIRS ((struct kml_oid){ 0, 77 })

/* ---- helpers ---- */

static struct cml_batch *take(struct fixture *f)
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

static uint64_t version;

static void round_begin(struct fixture *f, struct round *r, const char *want)
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

static void answer(struct round *r, size_t i, enum kml_status status)
{
	r->answers[i].status = status;
	if (status != KML_RENAMED)
		r->answers[i].made_version = 0;
}

static void answer_refused(struct round *r, size_t i, int error)
{
	answer(r, i, KML_REFUSED);
	r->answers[i].error = error;
}

static void answer_object(struct round *r, size_t i, enum kml_status status, struct kml_oid oid,
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

static void answer_renamed(struct round *r, size_t i, const char *name)
{
	answer(r, i, KML_RENAMED);
	r->answers[i].name = (kml_name){ strlen(name), (char *)name };
}

static int round_retire(struct fixture *f, struct round *r)
{
	return cml_retire(f->cache, r->batch, r->answers, r->batch->n);
}

static void round_end(struct fixture *f, struct round *r)
{
	assert_int_equal(round_retire(f, r), 0);
}

static void all_done(struct fixture *f, const char *want)
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
static const char *copy_name(const char *name, const struct kml_record *rec)
{
	static char got[256];

	assert_int_equal(conflict_name(text(name), HOST, rec->time.sec, 1, got), 0);
	return got;
}

static struct cml_conflict last_conflict;
static unsigned n_conflicts;

static void count_conflict(void *arg, const struct cml_conflict *conflict)
{
	(void)arg;
	assert_true(conflict->id > last_conflict.id || !n_conflicts);
	last_conflict = *conflict;
	n_conflicts++;
}

static void assert_conflicts(struct fixture *f, unsigned n, const char *path)
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

static bool is_stale(struct fixture *f, uint64_t ino)
{
	char sql[80];

	snprintf(sql, sizeof(sql), "SELECT is_stale FROM inode WHERE ino = %llu", (unsigned long long)ino);
	return query(f, sql) != 0;
}

static void assert_no_marks(struct fixture *f)
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
static void assert_sane(struct fixture *f)
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

static int setup(void **state)
{
	struct fixture *f;

	assert_int_equal(f_setup(state), 0);
	f = *state;
	cml_set_host(f->cache, HOST);
	return 0;
}

static int teardown(void **state)
{
	assert_sane(*state);
	return f_teardown(state);
}

/* A file that upstream knows as it is here. */
static uint64_t known_file(struct fixture *f, const char *name, const char *content)
{
	uint64_t ino = made(f, ROOT, name, content);

	all_done(f, content ? "CREATE STORE " : "CREATE ");
	assert_no_marks(f);
	return ino;
}

static uint64_t rewritten(struct fixture *f, const char *name)
{
	uint64_t ino = known_file(f, name, "before");

	assert_int_equal(f_write(f, ino, 2, "OURS"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	return ino;
}

/* ---- names ---- */

static void names(void **state)
{
	static const struct {
		const char *name, *host;
		int64_t time_s;
		unsigned n;
		const char *want;
	} cases[] = {
		{ "a", "h", 0, 0, "a.conflict-h-19700101-000000" },
		{ "a.txt", "lap", 1700000000, 1, "a.txt.conflict-lap-20231114-221320" },
		{ "a", "h", 1700000000, 2, "a.conflict-h-20231114-221320-2" },
		{ "a", "", 1700000000, 17, "a.conflict-unknown-20231114-221320-17" },
		{ "a", "x/y\n", 1700000000, 0, "a.conflict-x_y_-20231114-221320" },
	};
	char got[256], longest[255], umlauts[254];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(conflict_name(text(cases[i].name), cases[i].host, cases[i].time_s, cases[i].n,
					       got), 0);
		assert_string_equal(got, cases[i].want);
	}
	memset(longest, 'n', sizeof(longest));
	assert_int_equal(conflict_name((struct slice){ longest, sizeof(longest) }, HOST, 0, 100000, got), 0);
	assert_int_equal(strlen(got), 255);
	assert_string_equal(strchr(got, '.'), ".conflict-laptop-19700101-000000-100000");
	/* Never in the middle of a character: one of two lengths is odd. */
	for (size_t i = 0; i < sizeof(umlauts); i += 2)
		memcpy(umlauts + i, "\xc3\xa4", 2);
	for (unsigned n = 1; n < 12; n += 9) {
		assert_int_equal(conflict_name((struct slice){ umlauts, sizeof(umlauts) }, HOST, 0, n, got), 0);
		assert_int_equal((strchr(got, '.') - got) % 2, 0);
		assert_true(strlen(got) >= 254);
	}
}

/* ---- STORE ---- */

static void both_changed(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = rewritten(f, "a"), theirs;
	struct cml_totals totals;
	struct kml_oid oid, asked;
	uint64_t asked_ino;
	char copy[256], path[260];
	struct round r;
	bool is_dir;

	for (int again = 0; again < 2; again++) {
		round_begin(f, &r, "STORE ");
		oid = record(&r, 0)->body.kml_body_u.store.oid;
		snprintf(copy, sizeof(copy), "%s", copy_name("a", record(&r, 0)));
		answer_object(&r, 0, KML_CONFLICT, oid, KML_REG, 9);
#ifdef IZO_FAULTS
		/* main() has it fail the first time: then nothing has happened, and all of it is done anew. */
		if (!again) {
			assert_int_equal(round_retire(f, &r), -ENOMEM);
			assert_int_equal(found(f, ROOT, "a"), ino);
			assert_content(f, ino, "beOURS");
			continue;
		}
#endif
		round_end(f, &r);
		break;
	}
	/* Theirs has the name, ours is beside it, and whoever has ours open goes on with it. */
	theirs = found(f, ROOT, "a");
	assert_true(theirs && theirs != ino);
	assert_int_equal(f->op.attr.size, 9);
	assert_int_equal(f->op.attr.mode, 0604);
	assert_int_equal(f->op.attr.mtime.tv_sec, 5000);
	assert_int_equal(found(f, ROOT, copy), ino);
	assert_content(f, ino, "beOURS");
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.nlink, 1);
	snprintf(path, sizeof(path), "/%s", copy);
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.conflicts, 1);
	assert_int_equal(totals.records, 2);
	assert_int_equal(totals.bytes, 6);
	assert_conflicts(f, 1, path);
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.conflicts, 0);
	/* Theirs is asked for, for it may have changed since. */
	assert_true(apply_next_stale(f->cache, &asked_ino, &asked, &is_dir));
	assert_true(asked_ino == theirs || !asked_ino);
	assert_true(kml_oid_equal(asked, oid));
	assert_false(is_dir);
	f_reopen(f);
	assert_int_equal(f_write(f, ino, 6, "!"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	round_begin(f, &r, "CREATE STORE ");
	assert_false(kml_oid_equal(record(&r, 0)->body.kml_body_u.make.oid, oid));
	assert_true(kml_oid_equal(record(&r, 0)->body.kml_body_u.make.oid,
				  record(&r, 1)->body.kml_body_u.store.oid));
	assert_int_equal(record(&r, 1)->body.kml_body_u.store.data_base, 0);
	assert_int_equal(record(&r, 1)->body.kml_body_u.store.keep_size, 0);
	assert_int_equal(r.batch->items[1].bytes, 7);
	round_end(f, &r);
	assert_content(f, ino, "beOURS!");
	if (query(f, "SELECT count(*) FROM cml"))
		all_done(f, "STORE ");
	assert_no_marks(f);
}

static void changed_here_removed_there(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = rewritten(f, "a");
	char copy[256];
	struct round r;

	round_begin(f, &r, "STORE ");
	snprintf(copy, sizeof(copy), "%s", copy_name("a", record(&r, 0)));
	answer(&r, 0, KML_GONE);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "a"), 0);
	assert_int_equal(found(f, ROOT, copy), ino);
	assert_content(f, ino, "beOURS");
	all_done(f, "CREATE STORE ");
	assert_no_marks(f);
}

/* What is in the log behind it is about theirs from then on. */
static void records_behind_a_conflict(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = rewritten(f, "a"), dir = made_dir(f, ROOT, "d"), theirs;
	struct kml_oid oid;
	char copy[256];
	struct round r;

	round_begin(f, &r, "STORE MKDIR ");
	assert_int_equal(f_chmod(f, ino, 0640), 0);
	assert_int_equal(f_write(f, ino, 0, "X"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_int_equal(f_rename(f, ROOT, "a", dir, "b"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	oid = record(&r, 0)->body.kml_body_u.store.oid;
	answer_object(&r, 0, KML_CONFLICT, oid, KML_REG, 9);
	round_end(f, &r);
	theirs = found(f, dir, "b");
	assert_true(theirs != ino && theirs);
	assert_int_equal(found(f, ROOT, "c"), theirs);
	assert_int_equal(f->op.attr.mode, 0640);	/* on its way there */
	assert_int_equal(found(f, ROOT, "a"), 0);
	assert_content(f, ino, "XeOURS");
	round_begin(f, &r, "SETATTR RENAME LINK CREATE STORE ");
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(r.batch->items[i].ino, theirs);
	assert_true(kml_oid_equal(record(&r, 1)->body.kml_body_u.rename.oid, oid));
	snprintf(copy, sizeof(copy), "%.*s", (int)record(&r, 3)->body.kml_body_u.make.name.kml_name_len,
		 record(&r, 3)->body.kml_body_u.make.name.kml_name_val);
	assert_true(found(f, dir, copy) == ino || found(f, ROOT, copy) == ino);
	round_end(f, &r);
	assert_no_marks(f);
}

/* The answers to all of these come at once, each given on what upstream had. */
static void removed_in_the_same_batch(void **state)
{
	struct fixture *f = *state;
	struct round r;
	uint64_t ino;

	ino = rewritten(f, "a");
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	round_begin(f, &r, "STORE SETATTR RENAME ");
	for (size_t i = 0; i < 3; i++)
		answer(&r, i, KML_GONE);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "a"), 0);
	assert_int_equal(found(f, ROOT, "b"), 0);
	assert_content(f, ino, "beOURS");
	assert_int_equal(query(f, "SELECT count(*) FROM conflict"), 1);
	all_done(f, "CREATE STORE ");
	assert_no_marks(f);
}

/* Nobody needs a copy of what was removed here as well. */
static void removed_here_too(void **state)
{
	struct fixture *f = *state;
	struct round r;
	uint64_t ino = rewritten(f, "a");

	round_begin(f, &r, "STORE ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(f_getattr(f, ino), -ESTALE);
	answer_object(&r, 0, KML_CONFLICT, record(&r, 0)->body.kml_body_u.store.oid, KML_REG, 9);
	round_end(f, &r);
	round_begin(f, &r, "REMOVE ");
	answer_object(&r, 0, KML_CONFLICT, record(&r, 0)->body.kml_body_u.unlink.oid, KML_REG, 9);
	round_end(f, &r);
	/* The removal came to nothing, which is said; the directory is asked for. */
	assert_conflicts(f, 1, "/a");
	assert_true(is_stale(f, ROOT));
	assert_no_marks(f);
}

/* Renamed over what another has changed, and removed, while another changed it too: it stays, beside its name. */
static void renamed_aside_and_removed(void **state)
{
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .nlink = 3 }, .data_version = 1, .attr_version = 1 };
	struct kml_listed listed[3] = { { .object = root }, { .parent = KML_ROOT }, { .parent = KML_ROOT } };
	struct fixture *f = *state;
	struct apply_listing *listing;
	char *why = NULL;
	struct kml_oid oid;
	struct round r;

	assert_int_equal(apply_upstream(f->cache, "an upstream", 0, &root), 0);
	(void)rewritten(f, "a");
	round_begin(f, &r, "STORE ");
	round_end(f, &r);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	round_begin(f, &r, "RENAME ");
	oid = record(&r, 0)->body.kml_body_u.rename.oid;
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	answer_renamed(&r, 0, "b.conflict-x");
	round_end(f, &r);
	round_begin(f, &r, "REMOVE ");
	answer_object(&r, 0, KML_CONFLICT, oid, KML_REG, 9);
	round_end(f, &r);
	assert_conflicts(f, 1, "/b");
	assert_null(strstr(last_conflict.what, "it is there as"));
	/* The listing shows it, and another one under the name that it was to have. */
	listed[1].object = (struct kml_object){ .oid = { 7, 7 }, .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 8, .attr_version = 8 };
	listed[2].object = (struct kml_object){ .oid = oid, .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 9, .attr_version = 9 };
	listed[1].name = (kml_name){ 1, (char *)"b" };
	listed[2].name = (kml_name){ 12, (char *)"b.conflict-x" };
	assert_int_equal(apply_listing_begin(f->cache, ROOT, version, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, listed, 3), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	assert_conflicts(f, 1, "/b");
	assert_non_null(strstr(last_conflict.what, "; it is there as b.conflict-x"));
	/* Removed after all: that one, and not who has the name. */
	assert_int_equal(settle_conflict(f->cache, last_conflict.id, SETTLE_MINE, &why), 0);
	free(why);
	assert_int_equal(found(f, ROOT, "b.conflict-x"), 0);
	assert_true(found(f, ROOT, "b") != 0);
	round_begin(f, &r, "REMOVE ");
	assert_true(kml_oid_equal(record(&r, 0)->body.kml_body_u.unlink.oid, oid));
	round_end(f, &r);
	assert_conflicts(f, 0, "");
}

/* A new one that the upstream has under another name, for ours was taken, and that another was renamed over here meanwhile. */
static void replaced_aside(void **state)
{
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .nlink = 3 }, .data_version = 1, .attr_version = 1 };
	struct kml_listed listed[4] = { { .object = root }, { .parent = KML_ROOT }, { .parent = KML_ROOT }, { .parent = KML_ROOT } };
	struct fixture *f = *state;
	struct apply_listing *listing;
	struct kml_oid oid;
	struct round r;

	assert_int_equal(apply_upstream(f->cache, "an upstream", 0, &root), 0);
	(void)known_file(f, "a", "content");
	assert_int_equal(f_symlink(f, ROOT, "b", "target"), 0);
	round_begin(f, &r, "SYMLINK ");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	answer_renamed(&r, 0, "b.conflict-x");
	round_end(f, &r);
	assert_conflicts(f, 1, "/b");
	assert_non_null(strstr(last_conflict.what, "it is there as b.conflict-x"));
	/* Not renamed either: by each of its names, and not by who has the one that was wanted. */
	round_begin(f, &r, "RENAME ");
	oid = record(&r, 0)->body.kml_body_u.rename.oid;
	answer_object(&r, 0, KML_CONFLICT, oid, KML_REG, 9);
	round_end(f, &r);
	for (size_t i = 1; i < ARRAY_SIZE(listed); i++) {
		listed[i].object = (struct kml_object){ .oid = oid, .attr = { .type = KML_REG, .nlink = 2 }, .data_version = 9, .attr_version = 9 };
		listed[i].name = (kml_name){ 1, (char *)(i == 1 ? "b" : i == 2 ? "c" : "d") };
	}
	listed[1].object = (struct kml_object){ .oid = { 7, 7 }, .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 8, .attr_version = 8 };
	assert_int_equal(apply_listing_begin(f->cache, ROOT, version, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, listed, ARRAY_SIZE(listed)), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	assert_conflicts(f, 2, "/b");
	assert_non_null(strstr(last_conflict.what, "; it is there as c and d") ?: strstr(last_conflict.what, "; it is there as d and c"));
}

/* Ours, where only part of the file is here. */
static void parts_that_are_not_here(void **state)
{
	struct fixture *f = *state;
	struct kml_listed listed[2] = {
		{ .object = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .nlink = 2 } } },
		{ .parent = KML_ROOT, .name = { 3, (char *)"big" },
		  .object = { .oid = THEIRS, .data_version = 3, .attr_version = 3,
			      .attr = { .type = KML_REG, .mode = 0644, .nlink = 1, .size = 10 } } },
	};
	struct apply_listing *listing;
	char got[16], copy[256];
	struct round r;
	uint64_t ino;

	assert_int_equal(apply_upstream(f->cache, "an upstream", 4, &listed[0].object), 0);
	assert_int_equal(apply_listing_begin(f->cache, ROOT, 4, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, listed, 2), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	ino = found(f, ROOT, "big");
	assert_true(ino != 0);
	assert_int_equal(f_write(f, ino, 4, "OURS"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	round_begin(f, &r, "STORE ");
	assert_int_equal(record(&r, 0)->body.kml_body_u.store.data_base, 3);
	assert_int_equal(record(&r, 0)->body.kml_body_u.store.keep_size, 10);
	assert_int_equal(r.batch->items[0].bytes, 4);
	snprintf(copy, sizeof(copy), "%s", copy_name("big", record(&r, 0)));
	answer_object(&r, 0, KML_CONFLICT, THEIRS, KML_REG, 12);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, copy), ino);
	assert_int_equal(f_read(f, ino, 0, got, sizeof(got)), 0);
	assert_int_equal(f->op.count, 10);
	assert_memory_equal(got, "\0\0\0\0OURS\0\0", 10);
	assert_int_equal(f_read(f, found(f, ROOT, "big"), 0, got, sizeof(got)), -EIO);	/* not here, no link */
	round_begin(f, &r, "CREATE STORE ");
	assert_int_equal(r.batch->items[1].bytes, 10);
	round_end(f, &r);
	assert_no_marks(f);
}

static void refused_content(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = rewritten(f, "a");
	struct round r;

	round_begin(f, &r, "STORE ");
	answer_refused(&r, 0, EFBIG);
	round_end(f, &r);
	/* It stays here, and nothing from upstream may touch it. */
	assert_content(f, ino, "beOURS");
	assert_true(query(f, "SELECT data_seq FROM inode WHERE ino > 2") > 0);
	assert_conflicts(f, 1, "/a");
	f_reopen(f);
	assert_int_equal(f_truncate(f, ino, 5), 0);
	assert_int_equal(f_write(f, ino, 0, "N"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	/* With the next one all of it is tried again. */
	round_begin(f, &r, "STORE ");
	assert_int_equal(r.batch->items[0].bytes, 4);
	assert_int_equal(record(&r, 0)->body.kml_body_u.store.keep_size, 5);
	round_end(f, &r);
	assert_content(f, ino, "NeOUR");
	assert_no_marks(f);
}

/* ---- making ---- */

static void refused_object(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), ino = made(f, dir, "a", "content");
	struct kml_oid oid;
	struct round r;

	round_begin(f, &r, "MKDIR CREATE STORE ");
	oid = record(&r, 1)->body.kml_body_u.make.oid;
	answer_refused(&r, 0, EPERM);
	answer_refused(&r, 1, ESTALE);
	answer_refused(&r, 2, ESTALE);
	round_end(f, &r);
	f_reopen(f);
	assert_int_equal(found(f, dir, "a"), ino);
	assert_content(f, ino, "content");
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE ino > 2 AND data_seq AND attr_seq"), 2);
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE seq"), 2);
	assert_int_equal(query(f, "SELECT count(*) FROM conflict"), 2);
	/* What is done to it comes to nothing, and protects it as before. */
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	round_begin(f, &r, "SETATTR ");
	answer_refused(&r, 0, ESTALE);
	round_end(f, &r);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE ino > 2 AND data_seq AND attr_seq"), 2);
	/* Given another name it is tried as a new one. */
	assert_int_equal(f_rename(f, dir, "a", ROOT, "b"), 0);
	round_begin(f, &r, "RENAME ");
	answer_refused(&r, 0, ESTALE);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "b"), ino);
	round_begin(f, &r, "CREATE STORE ");
	assert_false(kml_oid_equal(record(&r, 0)->body.kml_body_u.make.oid, oid));
	assert_int_equal(r.batch->items[1].bytes, 7);
	round_end(f, &r);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	round_begin(f, &r, "RMDIR ");
	answer_refused(&r, 0, ESTALE);
	round_end(f, &r);
	assert_no_marks(f);
}

static void name_was_taken(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "x"), other, dir, link;
	struct round r;

	round_begin(f, &r, "CREATE STORE ");
	answer_renamed(&r, 0, "a.conflict-1");
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "a"), 0);
	assert_int_equal(found(f, ROOT, "a.conflict-1"), ino);
	assert_true(is_stale(f, ROOT));
	assert_conflicts(f, 1, "/a.conflict-1");
	assert_true(query(f, "SELECT data_version FROM inode WHERE ino > 2") > 0);
	assert_no_marks(f);

	/* Of a rename, of a link, of a directory; and of one that has had another name since. */
	assert_int_equal(f_rename(f, ROOT, "a.conflict-1", ROOT, "b"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	dir = made_dir(f, ROOT, "d");
	other = made(f, ROOT, "e", NULL);
	round_begin(f, &r, "RENAME LINK MKDIR CREATE ");
	answer_renamed(&r, 0, "b.conflict-2");
	answer_renamed(&r, 1, "c.conflict-3");
	answer_renamed(&r, 2, "d.conflict-4");
	answer_renamed(&r, 3, "e.conflict-5");
	assert_int_equal(f_rename(f, ROOT, "e", ROOT, "f"), 0);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "b.conflict-2"), ino);
	assert_int_equal(found(f, ROOT, "c.conflict-3"), ino);
	assert_int_equal(found(f, ROOT, "d.conflict-4"), dir);
	assert_int_equal(found(f, ROOT, "f"), other);
	assert_int_equal(found(f, ROOT, "e.conflict-5"), 0);
	link = found(f, ROOT, "b");
	assert_int_equal(link, 0);
	all_done(f, "RENAME ");
	assert_no_marks(f);
}

/* ---- the same directory made on both sides ---- */

static void merged(void **state)
{
	struct fixture *f = *state;
	uint64_t dir, sub, ino, asked_ino;
	struct kml_oid asked;
	struct round r;
	bool is_dir;

	f_keep_records(f);
	dir = made_dir(f, ROOT, "d");
	sub = made_dir(f, dir, "s");
	ino = made(f, sub, "a", "x");
	assert_int_equal(f_remove(f, sub, "a"), 0);
	ino = made(f, dir, "b", "y");
	round_begin(f, &r, "MKDIR MKDIR CREATE REMOVE CREATE STORE ");
	answer_object(&r, 0, KML_MERGED, THEIRS, KML_DIR, 0);
	made(f, dir, "late", NULL);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "d"), dir);
	assert_int_equal(f->op.attr.mode, 0604);
	assert_int_equal(found(f, dir, "b"), ino);
	assert_int_equal(found(f, dir, "s"), sub);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE oid_origin = 0 AND oid_number = 77 AND is_stale"),
			 1);
	assert_conflicts(f, 0, NULL);
	f_reopen(f);
	/* Made before the answer it names the directory by our oid, and after it by theirs. */
	made(f, dir, "later", NULL);
	round_begin(f, &r, "CREATE CREATE ");
	assert_int_equal(record(&r, 0)->body.kml_body_u.make.parent.origin, cml_client_id(f->cache));
	assert_true(kml_oid_equal(record(&r, 1)->body.kml_body_u.make.parent, THEIRS));
	round_end(f, &r);
	assert_no_marks(f);
	while (apply_next_stale(f->cache, &asked_ino, &asked, &is_dir)) {
		if (asked_ino == dir)
			break;
	}
	assert_int_equal(asked_ino, dir);
	assert_true(is_dir);
}

/* Theirs is known here, at another place. */
static void merged_into_one_that_is_here(void **state)
{
	struct fixture *f = *state;
	uint64_t theirs = made_dir(f, ROOT, "x"), kept = made(f, theirs, "kept", "k"), same = made(f, theirs, "same", "s"),
		 dir, sub, ino, ours;
	struct kml_oid oid;
	struct round r;

	round_begin(f, &r, "MKDIR CREATE STORE CREATE STORE ");
	oid = record(&r, 0)->body.kml_body_u.make.oid;
	round_end(f, &r);
	f_keep_records(f);
	dir = made_dir(f, ROOT, "d");
	sub = made_dir(f, dir, "s");
	ino = made(f, dir, "a", "x");
	ours = made(f, dir, "same", "o");
	assert_int_equal(f_remove(f, dir, "a"), 0);
	ino = made(f, sub, "b", "y");
	round_begin(f, &r, "MKDIR MKDIR CREATE CREATE STORE REMOVE CREATE STORE ");
	assert_int_equal(f_chmod(f, dir, 0700), 0);
	answer_object(&r, 0, KML_MERGED, oid, KML_DIR, 0);
	answer_renamed(&r, 3, "same.conflict-9");
	round_end(f, &r);
	assert_int_equal(f_getattr(f, dir), -ESTALE);
	assert_int_equal(found(f, ROOT, "d"), theirs);
	assert_int_equal(f->op.attr.mode, 0700);
	assert_int_equal(found(f, ROOT, "x"), 0);
	assert_int_equal(found(f, theirs, "kept"), kept);
	assert_int_equal(found(f, theirs, "same"), same);
	assert_int_equal(found(f, theirs, "s"), sub);
	assert_int_equal(found(f, sub, "b"), ino);
	assert_content(f, ours, "o");
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE CAST(name AS TEXT) LIKE 'same.conflict-%'"), 1);
	assert_int_equal(found(f, theirs, "a"), 0);
	f_reopen(f);
	round_begin(f, &r, "SETATTR ");
	assert_int_equal(r.batch->items[0].ino, theirs);
	round_end(f, &r);
	assert_no_marks(f);
}

/* Removed here before the answer comes. */
static void merged_and_removed(void **state)
{
	struct fixture *f = *state;
	struct round r;

	made_dir(f, ROOT, "d");
	round_begin(f, &r, "MKDIR ");
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	answer_object(&r, 0, KML_MERGED, THEIRS, KML_DIR, 0);
	round_end(f, &r);
	round_begin(f, &r, "RMDIR ");
	answer_object(&r, 0, KML_CONFLICT, THEIRS, KML_DIR, 0);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "d"), 0);
	assert_true(is_stale(f, ROOT));
	assert_no_marks(f);
}

/* A change of its attributes was on its way when it was removed here: whatever they did to it, that needs no attention. */
static void attributes_of_what_was_removed(void **state)
{
	const enum kml_status statuses[] = { KML_CONFLICT, KML_REFUSED, KML_GONE };
	struct fixture *f = *state;
	struct round r;

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		uint64_t ino = known_file(f, "a", "content");

		assert_int_equal(f_chmod(f, ino, 0600), 0);
		round_begin(f, &r, "SETATTR ");
		assert_int_equal(f_remove(f, ROOT, "a"), 0);
		if (statuses[i] == KML_REFUSED)
			answer_refused(&r, 0, EPERM);
		else
			answer(&r, 0, statuses[i]);
		round_end(f, &r);
		all_done(f, "REMOVE ");
		assert_conflicts(f, 0, NULL);
	}
	assert_no_marks(f);
}

/* Changed by one of its names, which is taken away then; where the other is, is not known yet. */
static void attributes_of_what_has_another_name(void **state)
{
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .nlink = 3 }, .data_version = 1, .attr_version = 1 };
	struct kml_object file = { .oid = { 7, 7 }, .attr = { .type = KML_REG, .mode = 0644, .nlink = 2 }, .data_version = 1, .attr_version = 1 };
	struct kml_listed listed[3] = { { .object = root }, { .parent = KML_ROOT, .object = file }, { .parent = KML_ROOT, .object = file } };
	struct fixture *f = *state;
	struct apply_listing *listing;
	struct round r;

	listed[1].name = (kml_name){ 1, (char *)"a" };
	listed[2].name = (kml_name){ 1, (char *)"b" };
	assert_int_equal(apply_upstream(f->cache, "an upstream", 0, &root), 0);
	assert_int_equal(apply_listing_begin(f->cache, ROOT, ++version, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, listed, 2), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	assert_int_equal(f_chmod(f, found(f, ROOT, "a"), 0600), 0);
	round_begin(f, &r, "SETATTR ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	answer_object(&r, 0, KML_CONFLICT, file.oid, KML_REG, 9);
	round_end(f, &r);
	assert_conflicts(f, 1, "(a file that has no name here)");
	all_done(f, "REMOVE ");
	listed[2].object.attr.nlink = 1;
	assert_int_equal(apply_listing_begin(f->cache, ROOT, ++version, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, listed, 1), 0);
	assert_int_equal(apply_listing_add(listing, listed + 2, 1), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	assert_conflicts(f, 1, "/b");
	assert_sane(f);
}

/* ---- the rest ---- */

static void renamed_here_removed_there(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known_file(f, "a", "content"), link, dir;
	struct kml_oid oid;
	struct round r;

	assert_int_equal(f_symlink(f, ROOT, "l", "target"), 0);
	link = f->op.ino;
	dir = made_dir(f, ROOT, "d");
	all_done(f, "SYMLINK MKDIR ");
	assert_int_equal(f_rename(f, ROOT, "a", dir, "b"), 0);
	assert_int_equal(f_rename(f, ROOT, "l", ROOT, "m"), 0);
	round_begin(f, &r, "RENAME RENAME ");
	oid = record(&r, 0)->body.kml_body_u.rename.oid;
	answer(&r, 0, KML_GONE);
	answer(&r, 1, KML_GONE);
	/* Once more before the answer is here. */
	assert_int_equal(f_rename(f, dir, "b", ROOT, "c"), 0);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "c"), ino);
	assert_int_equal(found(f, ROOT, "m"), link);
	assert_content(f, ino, "content");
	round_begin(f, &r, "RENAME CREATE STORE SYMLINK ");
	assert_true(kml_oid_equal(record(&r, 0)->body.kml_body_u.rename.oid, oid));
	assert_false(kml_oid_equal(record(&r, 1)->body.kml_body_u.make.oid, oid));
	assert_memory_equal(record(&r, 1)->body.kml_body_u.make.name.kml_name_val, "c", 1);
	assert_memory_equal(record(&r, 3)->body.kml_body_u.symlink.target.kml_target_val, "target", 6);
	assert_int_equal(r.batch->items[2].bytes, 7);
	answer(&r, 0, KML_GONE);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "c"), ino);
	assert_no_marks(f);
	assert_int_equal(query(f, "SELECT count(*) FROM conflict"), 2);
}

/* Rows: what was done, and what of it is asked for again. */
static const struct dropped_case {
	enum kml_op op;
	enum kml_status status;
	int error;
	bool object_stale, dir_stale, is_noted;
} dropped_cases[] = {
	{ KML_SETATTR, KML_CONFLICT, 0, true, false, true },
	{ KML_SETATTR, KML_GONE, 0, true, false, false },
	{ KML_SETATTR, KML_REFUSED, EPERM, true, false, true },
	{ KML_SETATTR, KML_ALREADY, 0, true, false, false },
	{ KML_RENAME, KML_CONFLICT, 0, true, true, true },
	{ KML_RENAME, KML_REFUSED, EINVAL, true, true, true },
	{ KML_RENAME, KML_ALREADY, 0, false, true, false },
	{ KML_LINK, KML_REFUSED, EPERM, true, true, true },
	{ KML_REMOVE, KML_CONFLICT, 0, false, true, true },
	{ KML_REMOVE, KML_REFUSED, EPERM, false, true, true },
	{ KML_REMOVE, KML_REFUSED, ESTALE, false, true, false },
	{ KML_REMOVE, KML_ALREADY, 0, false, true, false },
};

static void dropped(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(dropped_cases); i++) {
		const struct dropped_case *c = &dropped_cases[i];
		struct round r;
		char want[20];
		uint64_t ino;

		ino = known_file(f, "a", "x");
		switch (c->op) {
		case KML_SETATTR:
			assert_int_equal(f_chmod(f, ino, 0600), 0);
			break;
		case KML_RENAME:
			assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
			break;
		case KML_LINK:
			assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
			break;
		default:
			assert_int_equal(f_remove(f, ROOT, "a"), 0);
		}
		snprintf(want, sizeof(want), "%s ", kml_op_name(c->op));
		round_begin(f, &r, want);
		if (c->status == KML_CONFLICT)
			answer_object(&r, 0, KML_CONFLICT, THEIRS, KML_REG, 1);
		else
			answer(&r, 0, c->status);
		r.answers[0].error = c->error;
		round_end(f, &r);
		if (query(f, "SELECT count(*) FROM conflict") != c->is_noted ||
		    is_stale(f, ROOT) != c->dir_stale ||
		    (c->op != KML_REMOVE && is_stale(f, ino) != c->object_stale))
			fail_msg("row %zu", i);
		assert_no_marks(f);
		f_close(f);
		f_remove_dir(f);
		f_init(f);
		f_open(f);
	}
}

static void directory_renamed_here_removed_there(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d");
	struct round r;

	all_done(f, "MKDIR ");
	assert_int_equal(f_rename(f, ROOT, "d", ROOT, "e"), 0);
	round_begin(f, &r, "RENAME ");
	answer(&r, 0, KML_GONE);
	round_end(f, &r);
	/* Nothing was in it: what upstream says about it is asked for. */
	assert_true(is_stale(f, dir) && is_stale(f, ROOT));
	assert_conflicts(f, 1, "/e");
	assert_no_marks(f);
}

/* Each name that we gave it stays, of one new object; the one that they removed goes. */
static void linked_here_removed_there(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known_file(f, "a", "content");
	struct kml_oid oid;
	struct round r;

	assert_int_equal(f_link(f, ino, ROOT, "z"), 0);
	round_begin(f, &r, "LINK ");
	oid = record(&r, 0)->body.kml_body_u.link.oid;
	answer(&r, 0, KML_GONE);
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "z"), ino);
	assert_int_equal(found(f, ROOT, "b"), ino);
	assert_int_equal(found(f, ROOT, "a"), 0);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.nlink, 2);
	assert_content(f, ino, "content");
	round_begin(f, &r, "LINK CREATE STORE LINK ");
	assert_true(kml_oid_equal(record(&r, 0)->body.kml_body_u.link.oid, oid));
	assert_false(kml_oid_equal(record(&r, 1)->body.kml_body_u.make.oid, oid));
	assert_memory_equal(record(&r, 1)->body.kml_body_u.make.name.kml_name_val, "z", 1);
	assert_memory_equal(record(&r, 3)->body.kml_body_u.link.name.kml_name_val, "b", 1);
	answer(&r, 0, KML_GONE);
	round_end(f, &r);
	assert_int_equal(found(f, ROOT, "b"), ino);
	assert_no_marks(f);
	assert_int_equal(query(f, "SELECT count(*) FROM conflict"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		cmocka_unit_test(names),
		TEST(both_changed),
		TEST(changed_here_removed_there),
		TEST(records_behind_a_conflict),
		TEST(removed_in_the_same_batch),
		TEST(removed_here_too),
		TEST(renamed_aside_and_removed),
		TEST(replaced_aside),
		TEST(parts_that_are_not_here),
		TEST(refused_content),
		TEST(refused_object),
		TEST(name_was_taken),
		TEST(merged),
		TEST(merged_into_one_that_is_here),
		TEST(merged_and_removed),
		TEST(attributes_of_what_was_removed),
		TEST(attributes_of_what_has_another_name),
		TEST(renamed_here_removed_there),
		TEST(linked_here_removed_there),
		TEST(dropped),
		TEST(directory_renamed_here_removed_there),
	};

	log_set_level(LOG_LEVEL_ERROR);
	/* Read at the point's first hit, which is in both_changed(). */
	setenv("IZO_FAULT", "conflict.split:1:ENOMEM", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
