/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invariant 4: no call waits for the network without a bound.
 *
 * Each operation of the cache is tried where what it needs is not here: with no link it ends at once; with an upstream
 * that says nothing it ends at its deadline, or when the link is lost; never later, and never with a
 * change half made.  It tells the attributes that are known all the same.
 */
#include "tests/unit/cache_fixture.h"

#include <pthread.h>
#include "cache/apply.h"
#include "tests/unit/until.h"

#define NAME "name"
#define DEADLINE_US (30 * US_PER_MS)
#define MUCH_LATER_US (patient_s(20) * US_PER_S)	/* machines are slow, not that slow */

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	bool has_link;
	unsigned n_asked;
	uint64_t file, dir;		/* known, and nothing of what is in them */
	uint64_t here;			/* a file of ours */
};

static bool t_has_link(void *arg)
{
	return ((struct test *)arg)->has_link;
}

static void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)ino;
	(void)dir;
	((struct test *)arg)->n_asked++;
}

static void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	(void)ino;
	(void)oid;
	(void)version;
	(void)offset;
	(void)len;
	((struct test *)arg)->n_asked++;
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data };

static void add(struct kml_listed *line, enum kml_type type, const char *name, uint64_t number)
{
	*line = (struct kml_listed){
		.parent = KML_ROOT,
		.object = { .oid = { 0, number }, .data_version = 3, .attr_version = 3 },
	};
	line->object.attr.type = type;
	line->object.attr.mode = 0755;
	line->object.attr.nlink = 1 + (type == KML_DIR);
	line->object.attr.size = type == KML_REG ? 6 << 20 : 0;
	assert_int_equal(kml_name_set(&line->name, text(name)), 0);
}

static int setup(void **state)
{
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .nlink = 3 } };
	struct test *t = calloc(1, sizeof(*t));
	struct apply_listing *listing;
	struct kml_listed lines[3] = { { .object = root } };

	assert_non_null(t);
	f_init(&t->f);
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
	assert_int_equal(apply_upstream(t->f.cache, "upstream", 3, &root), 0);
	add(&lines[1], KML_REG, "file", 2);
	add(&lines[2], KML_DIR, "dir", 3);
	assert_int_equal(apply_listing_begin(t->f.cache, ROOT, 3, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, lines, 3), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	for (int i = 1; i < 3; i++)
		kml_listed_release(&lines[i]);
	t->file = found(&t->f, ROOT, "file");
	t->dir = found(&t->f, ROOT, "dir");
	t->here = made(&t->f, ROOT, "here", "here");
	*state = t;
	return 0;
}

/* ---- every operation that may have to ask ---- */

static int do_read(struct test *t)
{
	static char data[4096];

	return cache_read(t->f.cache, f_begin(&t->f), t->file, 1 << 20, data, sizeof(data));
}

static int do_lookup(struct test *t)
{
	return cache_lookup(t->f.cache, f_begin(&t->f), t->dir, text(NAME));
}

static int do_create(struct test *t)
{
	return cache_create(t->f.cache, f_begin(&t->f), t->dir, text(NAME), CREATE_UNCHECKED, NULL, NULL);
}

static int do_exclusive(struct test *t)
{
	static const uint8_t verifier[8] = { 1 };

	return cache_create(t->f.cache, f_begin(&t->f), t->dir, text(NAME), CREATE_EXCLUSIVE, NULL, verifier);
}

static int do_mkdir(struct test *t)
{
	return cache_mkdir(t->f.cache, f_begin(&t->f), t->dir, text(NAME), NULL);
}

static int do_symlink(struct test *t)
{
	return cache_symlink(t->f.cache, f_begin(&t->f), t->dir, text(NAME), text("target"), NULL);
}

static int do_mknod(struct test *t)
{
	return cache_mknod(t->f.cache, f_begin(&t->f), t->dir, text(NAME), TYPE_FIFO, 0, 0, NULL);
}

static int do_remove(struct test *t)
{
	return cache_remove(t->f.cache, f_begin(&t->f), t->dir, text(NAME));
}

static int do_rmdir(struct test *t)
{
	return cache_rmdir(t->f.cache, f_begin(&t->f), t->dir, text(NAME));
}

static int do_rmdir_itself(struct test *t)
{
	return cache_rmdir(t->f.cache, f_begin(&t->f), ROOT, text("dir"));
}

static int do_rename_from(struct test *t)
{
	return cache_rename(t->f.cache, f_begin(&t->f), t->dir, text(NAME), ROOT, text(NAME));
}

static int do_rename_to(struct test *t)
{
	return cache_rename(t->f.cache, f_begin(&t->f), ROOT, text("here"), t->dir, text(NAME));
}

static int do_link(struct test *t)
{
	return cache_link(t->f.cache, f_begin(&t->f), t->here, t->dir, text(NAME));
}

static bool no_entry(void *arg, const struct cache_dirent *entry)
{
	(void)arg;
	(void)entry;
	return true;
}

static int do_readdir(struct test *t)
{
	return cache_readdir(t->f.cache, f_begin(&t->f), t->dir, 0, true, no_entry, NULL);
}

/* Whose attributes it tells though it fails: the object's in attr, in wcc[0], in wcc[1]. */
enum told { OBJECT = 1, FIRST = 2, SECOND = 4 };

static const struct op_case {
	const char *name;
	int (*run)(struct test *t);
	unsigned told;		/* enum told */
} op_cases[] = {
	{ "read",		do_read, OBJECT },
	{ "lookup",		do_lookup, FIRST },
	{ "create",		do_create, FIRST },
	{ "create exclusive",	do_exclusive, FIRST },
	{ "mkdir",		do_mkdir, FIRST },
	{ "symlink",		do_symlink, FIRST },
	{ "mknod",		do_mknod, FIRST },
	{ "remove",		do_remove, FIRST },
	{ "rmdir",		do_rmdir, FIRST },
	{ "rmdir of itself",	do_rmdir_itself, FIRST },
	{ "rename from",	do_rename_from, FIRST | SECOND },
	{ "rename to",		do_rename_to, FIRST | SECOND },
	{ "link",		do_link, OBJECT | SECOND },
	{ "readdir",		do_readdir, OBJECT },
};

/* ---- how it ends ---- */

/* Ends the test's loop when an operation does not. */
struct guard {
	struct loop_timer timer;
	struct loop *loop;
	bool has_expired;
};

static void expired(struct loop_timer *timer)
{
	struct guard *guard = container_of(timer, struct guard, timer);

	guard->has_expired = true;
	loop_stop(guard->loop);
}

/* Until the operation has ended.  Gives its error; 1: it has not. */
static int wait_bounded(struct test *t, uint64_t at_us)
{
	struct guard guard = { { .fire = expired }, t->f.loop, false };

	loop_timer_set(t->f.loop, &guard.timer, at_us);
	while (!t->f.is_done && !guard.has_expired)
		assert_int_equal(loop_run(t->f.loop), 0);
	loop_timer_cancel(t->f.loop, &guard.timer);
	return t->f.is_done ? t->f.op.err : 1;
}

static void nothing_happened(struct test *t, const char *name)
{
	/* What was made at the start: CREATE and STORE. */
	if (query(&t->f, "SELECT count(*) FROM cml") != 2 || query(&t->f, "SELECT count(*) FROM name") != 3)
		fail_msg("%s: something of it was done", name);
}

static void attributes_are_told(const struct test *t, const struct op_case *c)
{
	const struct cache_op *op = &t->f.op;
	unsigned told = (op->has_attr ? OBJECT : 0) | (op->wcc[0].has_after ? FIRST : 0) |
			(op->wcc[1].has_after ? SECOND : 0);

	if ((told & c->told) != c->told)
		fail_msg("%s: told of %#x, not of %#x", c->name, told, c->told);
}

static void no_link(void **state)
{
	struct test *t = *state;

	for (size_t i = 0; i < ARRAY_SIZE(op_cases); i++) {
		int got = op_cases[i].run(t);

		if (got == CACHE_WAITS)
			got = wait_bounded(t, clock_us() + MUCH_LATER_US);
		if (got != -EIO)
			fail_msg("%s: %d", op_cases[i].name, got);
		attributes_are_told(t, &op_cases[i]);
		nothing_happened(t, op_cases[i].name);
	}
	assert_int_equal(t->n_asked, 0);
}

static void silent_upstream(void **state)
{
	struct test *t = *state;

	t->has_link = true;
	t->f.wait_us = DEADLINE_US;
	for (size_t i = 0; i < ARRAY_SIZE(op_cases); i++) {
		int got = op_cases[i].run(t);

		if (got != CACHE_WAITS)
			fail_msg("%s did not have to wait: %d", op_cases[i].name, got);
		got = wait_bounded(t, t->f.op.deadline_us + MUCH_LATER_US);
		if (got != -EIO)
			fail_msg("%s: %d", op_cases[i].name, got);
		if (clock_us() < t->f.op.deadline_us)
			fail_msg("%s ended before its time", op_cases[i].name);
		attributes_are_told(t, &op_cases[i]);
		nothing_happened(t, op_cases[i].name);
	}
}

/* Lost while it waits, by the replicator's thread. */
static void *lose_link(void *arg)
{
	struct test *t = arg;

	cache_link_lost(t->f.cache);
	return NULL;
}

static void link_lost(void **state)
{
	struct test *t = *state;

	t->f.wait_us = 10 * MUCH_LATER_US;
	for (size_t i = 0; i < ARRAY_SIZE(op_cases); i++) {
		pthread_t thread;
		int got;

		t->has_link = true;
		got = op_cases[i].run(t);
		if (got != CACHE_WAITS)
			fail_msg("%s did not have to wait: %d", op_cases[i].name, got);
		t->has_link = false;
		assert_int_equal(pthread_create(&thread, NULL, lose_link, t), 0);
		got = wait_bounded(t, clock_us() + MUCH_LATER_US);
		assert_int_equal(pthread_join(thread, NULL), 0);
		if (got != -EIO)
			fail_msg("%s: %d", op_cases[i].name, got);
		attributes_are_told(t, &op_cases[i]);
		nothing_happened(t, op_cases[i].name);
	}
}

/* An upstream that answers, but never with what is asked for: each answer leads to the next question. */
static void never_satisfied(void **state)
{
	struct test *t = *state;
	unsigned n = 0;

	t->has_link = true;
	t->f.wait_us = DEADLINE_US;
	assert_int_equal(do_read(t), CACHE_WAITS);
	while (!t->f.is_done) {
		struct guard guard = { { .fire = expired }, t->f.loop, false };

		apply_content_end(t->f.cache, t->file, 3, 1 << 20, 0);
		loop_timer_set(t->f.loop, &guard.timer, clock_us() + US_PER_MS);
		assert_int_equal(loop_run(t->f.loop), 0);
		loop_timer_cancel(t->f.loop, &guard.timer);
		if (n++ > 100 && clock_us() > t->f.op.deadline_us + MUCH_LATER_US)
			fail_msg("asked %u times", t->n_asked);
	}
	assert_int_equal(t->f.op.err, -EIO);
	assert_true(t->n_asked > 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, f_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(no_link),
		T(silent_upstream),
		T(link_lost),
		T(never_satisfied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
