/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same directory made on both sides. */
#include "tests/unit/conflict_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(merged),
		TEST(merged_into_one_that_is_here),
		TEST(merged_and_removed),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
