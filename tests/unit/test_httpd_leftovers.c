/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A batch that was carried out by half and is finished later, by a server that has not been started anew: what was made ready in stage/ for
 * records that are then not done, and what came out from under a name, is not left there.
 */
#include "tests/unit/httpd_batch.h"

#include "base/fault.h"

#ifndef IZO_FAULTS

#include "tests/unit/no_fault_points.h"

#else

/* a and b, as the client made and knows them. */
static void before(struct fixture *f)
{
	struct batch *b = batch_new(f, CLIENT);

	add_create(b, KML_ROOT, "a", oid(1));
	add_store(b, oid(1), 0, "a before");
	add_create(b, KML_ROOT, "b", oid(2));
	add_store(b, oid(2), 0, "b before");
	expect(b, "OK OK OK OK");
}

/* The batch stands still where the point is passed, and is left as it is. */
static void send_by_half(struct batch *b, const char *point)
{
	struct buf answers;

	fault_fail(point, 1, -EIO);
	buf_init(&answers, 0);
	assert_int_equal(send_raw(b, 0, &answers), 0);
	assert_true(b->f->tree->needs_redo);
	buf_release(&answers);
}

static void save_b(struct fixture *f)
{
	assert_int_equal(unlinkat(f->fd, "b", 0), 0);
	put_file(f, "b", "b of a local program");
	settle();
}

/* What anybody who wants to change something does first. */
static void finish(struct fixture *f)
{
	assert_int_equal(apply_lock(f->tree), 0);
	tree_unlock(f->tree);
}

static void rest_of_a_batch(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);

	before(f);
	add_store(b, oid(1), 0, "a of the client");
	add_store(b, oid(2), 0, "b of the client");
	send_by_half(b, "step.stored");
	save_b(f);
	expect(b, "OK CONFLICT");
	assert_string_equal(content_of(f, "a"), "a of the client");
	assert_string_equal(content_of(f, "b"), "b of a local program");
	check_all(f);
}

/* What was sent ahead is there for the next try. */
static void rest_that_was_sent_ahead(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	uint64_t size;

	before(f);
	send_ahead(f, "key", "b sent ahead");
	add_store(b, oid(1), 0, "a of the client");
	add_range(b, add_staged(b, oid(2), 12, "key"), 0, 12);
	send_by_half(b, "step.stored");
	assert_int_equal(upload_size(f->tree, CLIENT, "key", &size), -ENOENT);
	save_b(f);
	finish(f);
	assert_int_equal(upload_size(f->tree, CLIENT, "key", &size), 0);
	assert_int_equal(size, 12);
	expect(b, "OK CONFLICT");
	assert_string_equal(content_of(f, "b"), "b of a local program");
	check_all(f);
}

/* The file's old content has come to stage/ by then, and is not what was sent ahead. */
static void not_what_was_sent_ahead(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	uint64_t size;

	before(f);
	send_ahead(f, "key", "b ahead.");
	add_range(b, add_staged(b, oid(2), 8, "key"), 0, 8);
	send_by_half(b, "step.stored");
	save_b(f);
	finish(f);
	assert_int_equal(upload_size(f->tree, CLIENT, "key", &size), -ENOENT);
	assert_string_equal(content_of(f, "b"), "b of a local program");
	expect(b, "CONFLICT");
	check_all(f);
}

static void under_two_names(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);

	before(f);
	add_link(b, oid(1), KML_ROOT, "c");
	expect(b, "OK");
	b = batch_new(f, CLIENT);
	add_store(b, oid(1), 0, "under both");
	send_by_half(b, "step.stored");
	expect(b, "OK");
	assert_string_equal(content_of(f, "a"), "under both");
	assert_string_equal(content_of(f, "c"), "under both");
	check_all(f);
}

static void renamed_over(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);

	before(f);
	add_rename(b, oid(2), KML_ROOT, "b", KML_ROOT, "a")->replaced = oid(1);
	send_by_half(b, "step.removed");
	expect(b, "OK");
	assert_string_equal(content_of(f, "a"), "b before");
	assert_false(is_there(f, "b"));
	check_all(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rest_of_a_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(rest_that_was_sent_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(not_what_was_sent_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(under_two_names, setup, teardown),
		cmocka_unit_test_setup_teardown(renamed_over, setup, teardown),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
