/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A change of attributes that comes to nothing: what upstream has is seen then, whatever version of it was known here. */
#include "tests/unit/conflict_fixture.h"

static void assert_mode(struct fixture *f, uint64_t ino, unsigned mode)
{
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.mode, mode);
}

/* Of the inode's row. */
static uint64_t value_of(struct fixture *f, uint64_t ino, const char *column)
{
	char sql[100];

	snprintf(sql, sizeof(sql), "SELECT %s FROM inode WHERE ino = %llu", column, (unsigned long long)ino);
	return (uint64_t)query(f, sql);
}

/* What upstream has of it, of the versions that are known here. */
static struct kml_object as_known(struct fixture *f, struct kml_oid oid, uint64_t ino, unsigned mode)
{
	return (struct kml_object){
		.oid = oid,
		.attr = { .type = KML_REG, .mode = mode, .uid = 3, .nlink = 1, .size = 1, .mtime = { 5000, 6 } },
		.attr_version = value_of(f, ino, "attr_version"),
		.data_version = value_of(f, ino, "data_version"),
	};
}

/* The mode of a file that is known becomes 0600, which goes to upstream: there it is 0644, of the versions that are known here. */
static uint64_t chmod_is_sent(struct fixture *f, struct round *r)
{
	uint64_t ino = known_file(f, "a", "x");

	assert_int_equal(f_chmod(f, ino, 0600), 0);
	round_begin(f, r, "SETATTR ");
	r->object = as_known(f, record(r, 0)->body.kml_body_u.setattr.oid, ino, 0644);
	return ino;
}

/* Refused, with the object as it is. */
static uint64_t chmod_is_refused(struct fixture *f, struct round *r)
{
	uint64_t ino = chmod_is_sent(f, r);

	answer_refused(r, 0, EPERM);
	r->answers[0].object = &r->object;
	return ino;
}

/* Its content was in conflict, so the name is of a new inode, which waits for our SETATTR; that is in conflict, too. */
static void behind_a_conflict(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = rewritten(f, "a"), theirs;
	struct round r;

	assert_int_equal(f_chmod(f, ino, 0640), 0);
	round_begin(f, &r, "STORE SETATTR ");
	answer_object(&r, 0, KML_CONFLICT, record(&r, 0)->body.kml_body_u.store.oid, KML_REG, 9);
	answer(&r, 1, KML_CONFLICT);
	r.answers[1].object = &r.object;
	round_end(f, &r);
	theirs = found(f, ROOT, "a");
	assert_true(theirs && theirs != ino);
	assert_mode(f, theirs, 0604);
	assert_int_equal(f->op.attr.uid, 3);
	assert_int_equal(f->op.attr.gid, 4);
	assert_int_equal(f->op.attr.mtime.tv_sec, 5000);
	assert_int_equal(value_of(f, theirs, "attr_version"), r.object.attr_version);
	assert_mode(f, ino, 0640);
	assert_true(is_stale(f, theirs));
	all_done(f, "CREATE STORE ");
	assert_no_marks(f);
}

/* Refused, with the object as it is: the version is the one that is known. */
static void refused(void **state)
{
	struct fixture *f = *state;
	struct round r;
	uint64_t ino = chmod_is_refused(f, &r), known = value_of(f, ino, "attr_version");

	round_end(f, &r);
	assert_mode(f, ino, 0644);
	assert_int_equal(f->op.attr.mtime.tv_sec, 5000);
	/* The next one is certified by that. */
	assert_int_equal(value_of(f, ino, "attr_version"), known);
	assert_conflicts(f, 1, "/a");
	assert_no_marks(f);
}

/* The answer does not say what there is: it is taken when it comes. */
static void refused_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct round r;
	uint64_t ino = chmod_is_sent(f, &r);

	answer_refused(&r, 0, EPERM);
	round_end(f, &r);
	assert_true(is_stale(f, ino));
	assert_int_equal(apply_object(f->cache, &r.object.oid, &r.object, 0), 0);
	assert_mode(f, ino, 0644);
	assert_int_equal(value_of(f, ino, "attr_version"), r.object.attr_version);
}

/* Another change of ours is on its way: what that says stays; what it does not say is taken once it is answered. */
static void with_a_later_one(void **state)
{
	struct fixture *f = *state;
	struct attr_change times = { .set = SET_MTIME, .mtime = { .tv_sec = 7000 } };
	struct kml_object object;
	struct round r, later;
	uint64_t ino = chmod_is_refused(f, &r);

	assert_int_equal(f_setattr(f, ino, &times), 0);
	round_end(f, &r);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.mtime.tv_sec, 7000);
	round_begin(f, &later, "SETATTR ");
	object = r.object;
	object.attr_version = later.answers[0].made_version;
	object.attr.mtime = (struct kml_time){ 7000, 0 };
	round_end(f, &later);
	assert_true(is_stale(f, ino));
	assert_int_equal(apply_object(f->cache, &object.oid, &object, 0), 0);
	assert_mode(f, ino, 0644);
	assert_int_equal(f->op.attr.mtime.tv_sec, 7000);
	assert_no_marks(f);
}

/* An answer from before what has come since. */
static void overtaken(void **state)
{
	struct fixture *f = *state;
	struct round r;
	uint64_t ino = chmod_is_refused(f, &r);
	struct kml_object now = r.object;

	now.attr_version += 100;
	now.attr.mode = 0444;
	r.object.attr_version--;
	round_end(f, &r);
	assert_mode(f, ino, 0600);
	assert_true(is_stale(f, ino));
	assert_int_equal(apply_object(f->cache, &now.oid, &now, 0), 0);
	assert_mode(f, ino, 0444);
	assert_int_equal(value_of(f, ino, "attr_version"), now.attr_version);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(behind_a_conflict),
		TEST(refused),
		TEST(refused_and_no_more),
		TEST(with_a_later_one),
		TEST(overtaken),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
