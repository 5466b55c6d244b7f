/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a STORE, or of what was to be made, that the upstream would not apply as it stood, answer by answer. */
#include "tests/unit/conflict_fixture.h"

#include "cache/inode.h"
#include "cache/object.h"
#include "cache/settle.h"

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
	root_is_listed(f, version, listed, 3);
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
	root_is_listed(f, version, listed, ARRAY_SIZE(listed));
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
	char got[16], copy[256];
	struct round r;
	uint64_t ino;

	assert_int_equal(apply_upstream(f->cache, "an upstream", 4, &listed[0].object), 0);
	root_is_listed(f, 4, listed, 2);
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
	};

	log_set_level(LOG_LEVEL_ERROR);
	/* Read at the point's first hit, which is in both_changed(). */
	setenv("IZO_FAULT", "conflict.split:1:ENOMEM", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
