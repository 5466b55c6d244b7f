/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listings from upstream: whole, in pieces, malformed, broken off, too old, large; and who waits for them. */
#include "tests/unit/listing_fixture.h"

/* ---- whole ones ---- */

static void one_directory(void **state)
{
	struct test *t = *state;
	struct fixture *f = &t->f;
	struct model *m = t->m;
	uint64_t a;

	grow_tree(m);
	m_chmod(m, 0, KML_ROOT, 0711);
	assert_int_equal(f_lookup(f, ROOT, "a"), -EIO);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	/* The root's own line counts. */
	assert_int_equal(f_getattr(f, ROOT), 0);
	assert_int_equal(f->op.attr.mode, 0711);
	assert_int_equal(f->op.attr.uid, 5);
	assert_int_equal(f->op.attr.nlink, m->objects[0].attr.nlink);
	assert_int_equal(f->op.attr.mtime.tv_nsec, m->objects[0].attr.mtime.nsec);
	a = found(f, ROOT, "a");
	assert_int_equal(a, ino_of(f, m_oid(m, KML_ROOT, "a")));
	assert_int_equal(f_lookup(f, ROOT, "nothing"), -ENOENT);
	assert_int_equal(f_lookup(f, a, "file"), -EIO);
	assert_false(apply_tree_is_listed(f->cache));
	/* What is known says where it is from. */
	lose_entries(t);
	m_file(m, m_oid(m, KML_ROOT, "a"), "unseen");
	m_pull(m, f);
	assert_int_equal(f_lookup(f, a, "unseen"), -EIO);
	assert_int_equal(shallow(t, m_oid(m, KML_ROOT, "a")), 0);
	assert_int_not_equal(found(f, a, "unseen"), 0);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
	assert_int_equal(count(t, "cml"), 0);
}

static void whole_tree(void **state)
{
	struct model *m;
	size_t n;

	(void)state;
	/* Cut at every line. */
	n = 1;
	do {
		struct test *t = NULL;
		struct m_listing l;
		uint64_t file;

		assert_int_equal(setup((void **)&t), 0);
		m = t->m;
		grow_tree(m);
		deep_snapshot(m, KML_ROOT, &l);
		n = n < l.n ? n + 1 : 0;
		assert_int_equal(deliver(t, ROOT, &l, true, n ? n - 1 : 1000), 0);
		assert_true(apply_tree_is_listed(t->f.cache));
		lose_entries(t);
		m_compare(m, &t->f, KML_ROOT, ROOT);
		file = ino_of(&t->f, m_oid(m, m_oid(m, KML_ROOT, "a"), "file"));
		assert_int_equal(inode_column(&t->f, file, "links_up"), 3);
		assert_int_equal(inode_column(&t->f, file, "nlink"), 3);
		/* The same once more changes nothing. */
		assert_int_equal(deep(t, 3), 0);
		t_reopen(t);
		m_compare(m, &t->f, KML_ROOT, ROOT);
		assert_int_equal(count(t, "inode"), 12);
		assert_int_equal(count(t, "inode WHERE is_stale"), 0);
		assert_int_equal(teardown((void **)&t), 0);
	} while (n);
}

static void nothing_in_it(void **state)
{
	struct test *t = *state;

	assert_int_equal(deep(t, 1), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "nothing"), -ENOENT);
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	lose_entries(t);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "f"), -ENOENT);
	assert_int_equal(count(t, "inode"), 1);
}

/* Names of any bytes, of any length; those of the kernel's client are none of upstream's business. */
static void any_bytes(void **state)
{
	struct test *t = *state;
	struct m_listing l = { .position = t->m->position };
	struct kml_object object = { .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 1, .attr_version = 1 };
	char longest[255];
	size_t n = 0;

	m_listing_add(&l, KML_NO_OID, "", &t->m->objects[0]);
	memset(longest, 0xff, sizeof(longest));
	for (int pass = 0; pass < 2; pass++) {
		for (int c = 1; c < 256; c++) {
			char name[255];
			struct slice s = { name, 1 };

			if (c == '/' || c == '.')
				continue;
			memset(name, c, sizeof(name));
			s.len = pass ? sizeof(name) : 1;
			object.oid = (struct kml_oid){ 0, 100 + l.n };
			m_listing_add(&l, KML_ROOT, "x", &object);
			free(l.v[l.n - 1].name.kml_name_val);
			l.v[l.n - 1].name = (kml_name){ 0 };
			assert_int_equal(kml_name_set(&l.v[l.n - 1].name, s), 0);
			n++;
		}
	}
	object.oid = (struct kml_oid){ 0, 99 };
	m_listing_add(&l, KML_ROOT, ".nfs0123456789abcdef01234567", &object);
	assert_int_equal(deliver(t, ROOT, &l, false, 50), 0);
	assert_int_equal(count(t, "name"), n);
	assert_int_equal(count(t, "inode"), n + 1);
	assert_int_equal(f_wait(&t->f, cache_lookup(t->f.cache, f_begin(&t->f), ROOT,
						    (struct slice){ longest, sizeof(longest) })), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "\n"), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "\xfe"), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, ".nfs0123456789abcdef01234567"), -ENOENT);
}

/* ---- what is not what it should be ---- */

static const struct bad_case {
	const char *name;
	int lines[4];		/* 0: end; 1: the root's; 2: "f" in it; 3: of another directory; 4: "g" in that */
} bad_cases[] = {
	{ "nothing at all",		{ 0 } },
	{ "no line of its own",		{ 2 } },
	{ "of another directory",	{ 3, 4 } },
	{ "entries of no directory",	{ 1, 4 } },
	{ "its own line twice",		{ 1, 2, 1 } },
};

static void malformed(void **state)
{
	struct test *t = *state;
	struct kml_oid other = m_dir(t->m, KML_ROOT, "other");
	struct kml_object *f = m_object_of(t->m, m_file(t->m, KML_ROOT, "f"));

	for (size_t c = 0; c < ARRAY_SIZE(bad_cases) * 2; c++) {
		const struct bad_case *bad = &bad_cases[c / 2];
		struct m_listing l = { .position = t->m->position };

		for (int i = 0; i < 4 && bad->lines[i]; i++) {
			bool is_own = bad->lines[i] % 2;
			struct kml_oid dir = bad->lines[i] > 2 ? other : KML_ROOT;

			m_listing_add(&l, is_own ? KML_NO_OID : dir, is_own ? "" : "f",
				      is_own ? m_object_of(t->m, dir) : f);
		}
		lookup_waits(t, ROOT, "f");
		if (deliver(t, ROOT, &l, false, c % 2 ? 1 : 100) != -EBADMSG)
			fail_msg("%s", bad->name);
		assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
		assert_int_equal(inode_column(&t->f, ROOT, "is_listed"), 0);
	}
	assert_int_equal(shallow(t, KML_ROOT), 0);
	lose_entries(t);
	assert_int_equal(count(t, "name"), 2);
	assert_int_equal(count(t, "inode"), 3);
}

/* ---- who waits ---- */

struct waiter {
	struct cache_op op;
	unsigned *n_done;
};

static void waiter_done(struct cache_op *op)
{
	struct waiter *waiter = container_of(op, struct waiter, op);

	assert_int_equal(op->err, 0);
	++*waiter->n_done;
}

static void asked_once_for_many(void **state)
{
	struct test *t = *state;
	struct waiter waiters[20] = { 0 };
	struct apply_listing *listing;
	struct kml_object *f;
	struct m_listing l;
	unsigned n_done = 0;

	f = m_object_of(t->m, m_file(t->m, KML_ROOT, "f"));
	m_dir(t->m, KML_ROOT, "d");
	t->has_link = true;
	for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
		waiters[i] = (struct waiter){ *f_begin(&t->f), &n_done };
		waiters[i].op.done = waiter_done;
		assert_int_equal(cache_lookup(t->f.cache, &waiters[i].op, ROOT, text("f")), CACHE_WAITS);
	}
	assert_int_equal(t->n_lists, 1);
	/* The directory is there before the rest of the tree is. */
	deep_snapshot(t->m, KML_ROOT, &l);
	m_listing_add(&l, m_oid(t->m, KML_ROOT, "d"), "in d", f);
	listing = begin(t, ROOT, &l, true);
	assert_int_equal(apply_listing_add(listing, l.v, 3), 0);
	run_posted(t);
	assert_int_equal(n_done, 0);
	assert_int_equal(apply_listing_add(listing, l.v + 3, 1), 0);
	run_posted(t);
	assert_int_equal(n_done, ARRAY_SIZE(waiters));
	/* And when the rest breaks off it stays. */
	assert_int_equal(apply_listing_end(listing, -EIO), -EIO);
	assert_int_equal(list_names(t, ROOT), 4);
	t->has_link = false;
	assert_int_equal(list_names(t, found(&t->f, ROOT, "d")), -EIO);
	/* The wish is answered after all. */
	apply_listing_failed(t->f.cache, ROOT, -EIO);
	assert_int_equal(t->n_lists, 1);
	lines_free(&l);
}

static void broken_off(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;

	m_file(t->m, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "b");
	m_file(t->m, KML_ROOT, "c");
	m_snapshot(t->m, KML_ROOT, &l);
	for (size_t n = 0; n <= l.n; n++) {
		lookup_waits(t, ROOT, "nothing");
		listing = begin(t, ROOT, &l, false);
		if (n)
			assert_int_equal(apply_listing_add(listing, l.v, n), 0);
		run_posted(t);
		assert_false(t->f.is_done);
		assert_int_equal(apply_listing_end(listing, -ECONNRESET), -ECONNRESET);
		assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
		/* Nobody sees half of it, nor is told that something is not there. */
		assert_int_equal(f_lookup(&t->f, ROOT, "nothing"), -EIO);
		assert_int_equal(list_names(t, ROOT), -EIO);
		if (n == 2)
			t_reopen(t);
	}
	lines_free(&l);
	assert_int_equal(t->n_lists, 5);
	/* One that never began. */
	lookup_waits(t, ROOT, "nothing");
	apply_listing_failed(t->f.cache, ROOT, -ETIMEDOUT);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	/* What came then and is not there any more goes. */
	m_remove(t->m, OTHERS, KML_ROOT, "b");
	lose_entries(t);
	lookup_waits(t, ROOT, "nothing");
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -ENOENT);
	assert_int_equal(list_names(t, ROOT), 4);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(t, "inode"), 3);
}

/* A directory that had to be compared again still has to be after a listing that broke off, or when the daemon ended. */
static void broken_off_stays_stale(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;
	struct kml_oid d;

	d = m_dir(t->m, KML_ROOT, "d");
	m_file(t->m, d, "a");
	m_file(t->m, d, "b");
	assert_int_equal(deep(t, 100), 0);
	m_remove(t->m, OTHERS, d, "b");
	m_file(t->m, d, "c");
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	for (int is_deep = 0; is_deep < 2; is_deep++) {
		uint64_t ino = is_deep ? ROOT : ino_of(&t->f, d);

		deep_snapshot(t->m, is_deep ? KML_ROOT : d, &l);
		listing = begin(t, ino, &l, is_deep);
		for (size_t i = 0; i < l.n; i++)
			assert_int_equal(apply_listing_add(listing, &l.v[i], 1), 0);
		assert_int_equal(inode_column(&t->f, ino_of(&t->f, d), "is_stale"), 1);
		assert_int_equal(apply_listing_end(listing, -EIO), -EIO);
		assert_int_equal(inode_column(&t->f, ino_of(&t->f, d), "is_stale"), 1);
		assert_int_not_equal(found(&t->f, ino_of(&t->f, d), "b"), 0);
		lines_free(&l);
		t_reopen(t);
	}
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* Cut off where others' listings of the same directory are not. */
static void marked_on_the_way(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct kml_oid oid, given;
	struct m_listing l;
	uint64_t ino;
	bool is_dir;

	m_file(t->m, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "b");
	assert_int_equal(shallow(t, KML_ROOT), 0);
	lose_entries(t);
	/* A name of ours in its way, in the first piece; the mark outlives the last one. */
	assert_int_equal(f_remove(&t->f, ROOT, "a"), 0);
	m_snapshot(t->m, KML_ROOT, &l);
	listing = begin(t, ROOT, &l, false);
	assert_int_equal(apply_listing_add(listing, l.v, 2), 0);
	assert_int_equal(apply_listing_add(listing, l.v + 2, 1), 0);
	assert_false(apply_next_stale(t->f.cache, &ino, &given, &is_dir));
	assert_int_equal(apply_listing_end(listing, 0), 0);
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	lines_free(&l);
	oid = m_oid(t->m, KML_ROOT, "a");
	assert_true(!kml_oid_is_none(oid));
	assert_int_equal(f_lookup(&t->f, ROOT, "a"), -ENOENT);
	assert_int_equal(ino_of(&t->f, oid), 0);
}

/* ---- too old ---- */

static void too_old(void **state)
{
	struct test *t = *state;
	struct m_listing l;

	m_file(t->m, KML_ROOT, "a");
	lookup_waits(t, ROOT, "b");
	m_snapshot(t->m, KML_ROOT, &l);
	m_file(t->m, KML_ROOT, "b");
	m_pull(t->m, &t->f);
	/* Who waits goes on waiting, for the next one. */
	assert_int_equal(m_deliver(&t->f, ROOT, &l), -EAGAIN);
	run_posted(t);
	assert_false(t->f.is_done);
	assert_int_equal(t->n_lists, 1);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* Of a directory that was listed before: it is asked for again by itself. */
	m_snapshot(t->m, KML_ROOT, &l);
	m_remove(t->m, OTHERS, KML_ROOT, "a");
	m_pull(t->m, &t->f);
	assert_int_equal(m_deliver(&t->f, ROOT, &l), -EAGAIN);
	assert_int_equal(found(&t->f, ROOT, "a"), 0);
	apply_listing_failed(t->f.cache, ROOT, -EIO);
	answer_all(t);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
}

/* A tree of which one directory has changed since: all the others are taken in, below it too. */
static void partly_too_old(void **state)
{
	struct test *t = *state;
	struct kml_oid d, below;
	struct m_listing l;

	d = m_dir(t->m, KML_ROOT, "d");
	below = m_dir(t->m, d, "below");
	m_file(t->m, below, "f");
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(shallow(t, d), 0);
	lose_entries(t);
	m_file(t->m, below, "g");
	deep_snapshot(t->m, KML_ROOT, &l);
	m_file(t->m, d, "new");
	m_pull(t->m, &t->f);
	assert_int_equal(deliver(t, ROOT, &l, true, 2), -EAGAIN);
	assert_int_not_equal(found(&t->f, ino_of(&t->f, d), "new"), 0);
	assert_int_equal(inode_column(&t->f, ROOT, "is_listed"), 1);
	assert_int_not_equal(found(&t->f, ino_of(&t->f, below), "f"), 0);
	assert_int_equal(deep(t, 2), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	answer_all(t);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* ---- large ones ---- */

static int tick(void *arg)
{
	++*(uint64_t *)arg;
	return 0;
}

/* In thousands of instructions of SQLite's. */
static uint64_t large(unsigned n, bool is_again)
{
	struct test *t = NULL;
	struct m_listing l = { 0 };
	struct kml_object object = { .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 1, .attr_version = 1 };
	uint64_t ticks = 0;
	char name[20];

	assert_int_equal(setup((void **)&t), 0);
	for (int pass = 0; pass <= is_again; pass++) {
		l = (struct m_listing){ .position = t->m->position, .v = calloc(n + 1, sizeof(*l.v)), .n = n + 1 };
		assert_non_null(l.v);
		l.v[0] = (struct kml_listed){ .object = t->m->objects[0] };
		for (unsigned i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "file %u", i);
			object.oid = (struct kml_oid){ 0, 1000 + i };
			l.v[i + 1] = (struct kml_listed){ KML_ROOT, m_text(name), object };
		}
		ticks = 0;
		sqlite3_progress_handler(db_handle(t->f.cache->write_db), 1000, tick, &ticks);
		assert_int_equal(deliver(t, ROOT, &l, false, 512), 0);
		sqlite3_progress_handler(db_handle(t->f.cache->write_db), 0, NULL, NULL);
	}
	assert_int_equal(count(t, "name"), n);
	assert_int_equal(f_lookup(&t->f, ROOT, name), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "nothing"), -ENOENT);
	assert_int_equal(teardown((void **)&t), 0);
	return ticks;
}

static void large_is_linear(void **state)
{
	(void)state;
	for (int is_again = 0; is_again < 2; is_again++) {
		uint64_t small = large(2000, is_again), big = large(is_again ? 20000 : 50000, is_again);

		print_message("# %llu, %llu\n", (unsigned long long)small, (unsigned long long)big);
		assert_true(big < small * (is_again ? 12 : 30));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_directory),
		cmocka_unit_test(whole_tree),
		T(nothing_in_it),
		T(any_bytes),
		T(malformed),
		T(asked_once_for_many),
		T(broken_off),
		T(broken_off_stays_stale),
		T(marked_on_the_way),
		T(too_old),
		T(partly_too_old),
		cmocka_unit_test(large_is_linear),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
