/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What local programs do while it is being looked at: an event may tell of it, and a rename is a rename whichever of its
 * ends is seen first.
 *
 * The events are this test's own: told() gives them.
 */
#include "tests/unit/httpd_batch.h"

/* What happens in the middle of a look, and what is told of it. */
struct meanwhile {
	struct fixture *f;
	struct reconcile_hooks hooks;
	uint64_t from;			/* the journal's position before */
	/* when a directory is about to be read; NULL: nothing */
	void (*happens)(struct meanwhile *m, int64_t dir, int fd);
	int64_t first;			/* the directory that was entered before */
	struct reconcile_item told;
	unsigned n_told;		/* 1: that; 0: nothing */
	unsigned asked;			/* what was told */
	int error;			/* of telling */
	uint64_t missed_us;		/* names were missing by then */
};

static void enter(void *arg, int64_t dir, int fd)
{
	struct meanwhile *m = arg;

	if (m->happens)
		m->happens(m, dir, fd);
}

static int tell(void *arg, struct reconcile_item **ret_items, size_t *ret_n)
{
	struct meanwhile *m = arg;

	m->asked++;
	assert_true(clock_us() >= m->missed_us + RECONCILE_EVENTS_US || !m->missed_us);
	if (m->error)
		return m->error;
	*ret_items = malloc(sizeof(m->told));
	**ret_items = m->told;
	*ret_n = m->n_told;
	return 0;
}

static struct reconcile_item item(int64_t dir, const char *name)
{
	struct reconcile_item item = { .dir = dir };

	name_set(&item.name, (struct slice){ name, strlen(name) });
	return item;
}

static void make_dir(struct fixture *f, const char *name)
{
	assert_int_equal(mkdirat(f->fd, name, 0755), 0);
}

static void move(struct fixture *f, const char *from, const char *to)
{
	assert_int_equal(renameat(f->fd, from, f->fd, to), 0);
}

/* Directories a and b, with a file f each, and a directory a/e. */
static struct fixture *make_base(struct meanwhile *m, void **state)
{
	struct fixture *f = *state;

	*m = (struct meanwhile){ .f = f, .hooks = { .enter = enter, .told = tell, .arg = m } };
	make_dir(f, "a");
	make_dir(f, "b");
	make_dir(f, "a/e");
	put_file(f, "a/f", "of a");
	put_file(f, "b/f", "of b");
	settle();
	(void)look(f);
	assert_int_equal(look(f), 0);
	m->from = f->tree->position;
	return f;
}

/* Everything is looked at, and that happens meanwhile. */
static void look_while(struct meanwhile *m, void (*happens)(struct meanwhile *m, int64_t dir, int fd))
{
	m->happens = happens;
	assert_int_equal(reconcile_all(m->f->tree, &m->hooks, NULL), 0);
}

/* What the name is found to hold, as the watch looks at it: so many changes. */
static void look_at(struct meanwhile *m, const struct reconcile_item *name, uint64_t want)
{
	uint64_t changes;

	assert_int_equal(reconcile_names(m->f->tree, name, 1, &m->hooks, &changes), 0);
	assert_int_equal(changes, want);
}

static void tells(struct meanwhile *m, int64_t dir, const char *name)
{
	m->told = item(dir, name);
	m->n_told = 1;
}

/* Of a and b, the one that is read later gives its file to the other, in which nobody looks any more. */
static void to_where_was_looked(struct meanwhile *m, int64_t dir, int fd)
{
	int64_t a = row_of(m->f, "a").id, b = row_of(m->f, "b").id;

	(void)fd;
	if (dir != a && dir != b)
		return;
	if (m->first && m->first != dir) {
		move(m->f, dir == a ? "a/f" : "b/f", dir == a ? "b/g" : "a/g");
		tells(m, m->first, "g");
		m->missed_us = clock_us();
	}
	m->first = dir;
}

static void moved_to_where_was_looked(void **state)
{
	struct meanwhile m;
	struct fixture *f = make_base(&m, state);

	look_while(&m, to_where_was_looked);
	assert_int_equal(m.n_told, 1);
	assert_int_equal(m.asked, 1);
	assert_string_equal(ops_after(f, m.from), "RENAME");
	check_all(f);
	assert_int_equal(look(f), 0);
}

/* Of a and b, the one that is to be read later becomes c, of which the name's directory was looked at already. */
static void to_be_read(struct meanwhile *m, int64_t dir, int fd)
{
	int64_t a, b;

	(void)fd;
	if (m->first)
		return;
	a = row_of(m->f, "a").id;
	b = row_of(m->f, "b").id;
	if (dir != a && dir != b)
		return;
	m->first = dir;
	put_file(m->f, dir == a ? "b/new" : "a/new", "x");
	move(m->f, dir == a ? "b" : "a", "c");
	tells(m, ROOT_ID, "c");
}

static void directory_moved(void **state)
{
	struct meanwhile m;
	struct fixture *f = make_base(&m, state);
	struct object object;

	look_while(&m, to_be_read);
	assert_int_equal(m.n_told, 1);
	assert_string_equal(ops_after(f, m.from), "RENAME SETATTR CREATE");
	assert_true(find(f, "c/new", &object));
	check_all(f);
}

static void change_mode(struct meanwhile *m, int64_t dir, int fd)
{
	if (dir == row_of(m->f, "a/e").id)
		assert_int_equal(fchmod(fd, 0750), 0);
}

/* After a directory's name was looked at, and before there are events of it. */
static void mode_before_it_is_entered(void **state)
{
	struct meanwhile m;
	struct fixture *f = make_base(&m, state);

	look_while(&m, change_mode);
	assert_string_equal(ops_after(f, m.from), "SETATTR");
	assert_int_equal(row_of(f, "a/e").attr.mode, 0750);
	check_all(f);
}

/* What has been missing only just now may have come up where no event has told of yet. */
static void events_are_waited_for(void **state)
{
	struct meanwhile m;
	struct reconcile_item gone;
	struct fixture *f = make_base(&m, state);

	assert_int_equal(unlinkat(f->fd, "a/f", 0), 0);
	m.missed_us = clock_us();
	gone = item(row_of(f, "a").id, "f");
	gone.since_us = m.missed_us;
	look_at(&m, &gone, 1);
	assert_int_equal(m.asked, 1);
	assert_string_equal(ops_after(f, m.from), "REMOVE");
}

/* The directory of what was told of is missing, which nobody has told of yet. */
static void events_of_the_directory(void **state)
{
	struct meanwhile m;
	struct reconcile_item below;
	struct fixture *f = make_base(&m, state);

	below = item(row_of(f, "a").id, "f");
	move(f, "a", "c");
	m.missed_us = clock_us();
	tells(&m, ROOT_ID, "c");
	look_at(&m, &below, 1);
	assert_int_equal(m.asked, 1);
	assert_string_equal(ops_after(f, m.from), "RENAME");
}

/* That others were told of as missing says nothing of where they are: they have their own turn. */
static void others_are_left(void **state)
{
	struct meanwhile m;
	struct reconcile_item gone;
	struct fixture *f = make_base(&m, state);
	struct object object;

	assert_int_equal(unlinkat(f->fd, "a/f", 0), 0);
	assert_int_equal(unlinkat(f->fd, "b/f", 0), 0);
	gone = item(row_of(f, "a").id, "f");
	tells(&m, row_of(f, "b").id, "f");
	look_at(&m, &gone, 1);
	assert_false(find(f, "a/f", &object));
	assert_true(find(f, "b/f", &object));
	(void)look(f);
	assert_string_equal(ops_after(f, m.from), "REMOVE REMOVE");
	check_all(f);
}

/* Nothing is known of where they are, and everything is going to be looked at: nothing is taken as removed until then. */
static void events_were_lost(void **state)
{
	struct meanwhile m;
	struct fixture *f = make_base(&m, state);

	m.error = -EOVERFLOW;
	look_while(&m, to_where_was_looked);
	assert_int_equal(m.n_told, 1);
	assert_string_equal(ops_after(f, m.from), "");
	assert_int_equal(look(f), 1);
	assert_string_equal(ops_after(f, m.from), "RENAME");
	check_all(f);
}

/* A client's record is about a file that a local program has renamed, of which the watch knows and has not looked yet. */
static void renamed_before_a_batch(void **state)
{
	struct meanwhile m;
	struct fixture *f = make_base(&m, state);
	struct object object;
	struct batch *b;

	object = row_of(f, "a/f");
	move(f, "a/f", "b/g");
	tells(&m, row_of(f, "b").id, "g");
	tree_lock(f->tree);
	f->tree->watching = &m.hooks;
	tree_unlock(f->tree);
	b = batch_new(f, CLIENT);
	add_store(b, object.oid, object.data_version, "ours");
	expect(b, "OK");
	assert_string_equal(ops_after(f, m.from), "RENAME STORE");
	check_content(f, "b/g", "ours");
	check_all(f);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(moved_to_where_was_looked),
		TEST(directory_moved),
		TEST(mode_before_it_is_entered),
		TEST(events_are_waited_for),
		TEST(events_of_the_directory),
		TEST(others_are_left),
		TEST(events_were_lost),
		TEST(renamed_before_a_batch),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
