/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a RENAME, LINK or change of attributes that the upstream would not apply as it stood, and of all that is dropped. */
#include "tests/unit/conflict_fixture.h"

/* ---- attributes ---- */

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
	struct round r;

	listed[1].name = (kml_name){ 1, (char *)"a" };
	listed[2].name = (kml_name){ 1, (char *)"b" };
	assert_int_equal(apply_upstream(f->cache, "an upstream", 0, &root), 0);
	root_is_listed(f, ++version, listed, 2);
	assert_int_equal(f_chmod(f, found(f, ROOT, "a"), 0600), 0);
	round_begin(f, &r, "SETATTR ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	answer_object(&r, 0, KML_CONFLICT, file.oid, KML_REG, 9);
	round_end(f, &r);
	assert_conflicts(f, 1, "(a file that has no name here)");
	all_done(f, "REMOVE ");
	listed[2].object.attr.nlink = 1;
	listed[1] = listed[2];
	root_is_listed(f, ++version, listed, 2);
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
		TEST(attributes_of_what_was_removed),
		TEST(attributes_of_what_has_another_name),
		TEST(renamed_here_removed_there),
		TEST(linked_here_removed_there),
		TEST(dropped),
		TEST(directory_renamed_here_removed_there),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
