/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is hoarded: which objects that is, that it is fetched unasked and stays, and what is said of it.
 *
 * The upstream's answers come from the test's thread, the wishes from the hoard's.
 */
#include "tests/unit/fetch_fixture.h"

#include "cache/hoard.h"
#include "cache/hoard_table.h"
#include "cache/space.h"

#define UNTIL_US (20 * US_PER_S)

/* ---- which paths ---- */

static void paths(void **state)
{
	static const struct {
		const char *path;
		uint32_t priority;
		int want;
	} cases[] = {
		{ "/", 1, 0 }, { "/a", 1, 0 }, { "/a/b c", 1000, 0 }, { "/...", 1, 0 }, { "/.a", 1, 0 },
		{ "", 1, -EINVAL }, { "a", 1, -EINVAL }, { "/a/", 1, -EINVAL }, { "//a", 1, -EINVAL }, { "//", 1, -EINVAL },
		{ "/a//b", 1, -EINVAL }, { "/.", 1, -EINVAL }, { "/a/..", 1, -EINVAL }, { "/a/./b", 1, -EINVAL },
		{ "/a", 0, -EINVAL }, { "/a", 1001, -EINVAL },
	};
	struct test *t = *state;
	char longest[300];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (hoard_add(t->f.cache, cases[i].path, 1, cases[i].priority) != cases[i].want)
			fail_msg("\"%s\" %u", cases[i].path, cases[i].priority);
	memset(longest, 'n', sizeof(longest));
	longest[0] = '/';
	longest[257] = '\0';
	assert_int_equal(hoard_add(t->f.cache, longest, 1, 1), -ENAMETOOLONG);
	longest[256] = '\0';
	assert_int_equal(hoard_add(t->f.cache, longest, 1, 1), 0);
}

static int64_t priority_of(struct test *t, uint64_t ino)
{
	int64_t priority;

	pthread_mutex_lock(&t->f.cache->lock);
	priority = hoard_priority(t->f.cache, t->f.cache->read_db, ino);
	pthread_mutex_unlock(&t->f.cache->lock);
	return priority;
}

static void which_objects(void **state)
{
	struct test *t = *state;
	uint64_t a = made_dir(&t->f, ROOT, "a"), b = made_dir(&t->f, a, "b"), c = made_dir(&t->f, b, "c");
	uint64_t in_a = made(&t->f, a, "f", ""), in_b = made(&t->f, b, "f", ""), in_c = made(&t->f, c, "f", "");
	uint64_t top = made(&t->f, ROOT, "ab", "");
	const struct {
		const char *path;
		uint32_t depth;
		int64_t top, in_a, in_b, in_c;
	} cases[] = {
		{ "/", 0, 0, 0, 0, 0 }, { "/", 1, 5, 0, 0, 0 }, { "/", 2, 5, 5, 0, 0 }, { "/", HOARD_ALL, 5, 5, 5, 5 },
		{ "/a", 0, 0, 0, 0, 0 }, { "/a", 1, 0, 5, 0, 0 }, { "/a", 2, 0, 5, 5, 0 }, { "/a", HOARD_ALL, 0, 5, 5, 5 },
		{ "/a/b/f", 0, 0, 0, 5, 0 }, { "/a/b", 1, 0, 0, 5, 0 }, { "/f", HOARD_ALL, 0, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(hoard_add(t->f.cache, cases[i].path, cases[i].depth, 5), 0);
		if (priority_of(t, top) != cases[i].top || priority_of(t, in_a) != cases[i].in_a ||
		    priority_of(t, in_b) != cases[i].in_b || priority_of(t, in_c) != cases[i].in_c)
			fail_msg("%s %u: %d %d %d %d", cases[i].path, cases[i].depth, (int)priority_of(t, top),
				 (int)priority_of(t, in_a), (int)priority_of(t, in_b), (int)priority_of(t, in_c));
		assert_int_equal(hoard_remove(t->f.cache, cases[i].path), 0);
	}
	/* By any of its names, the highest. */
	assert_int_equal(f_link(&t->f, in_c, ROOT, "link"), 0);
	assert_int_equal(hoard_add(t->f.cache, "/a", HOARD_ALL, 3), 0);
	assert_int_equal(hoard_add(t->f.cache, "/", 1, 2), 0);
	assert_int_equal(priority_of(t, in_c), 3);
	assert_int_equal(hoard_add(t->f.cache, "/", 1, 4), 0);
	assert_int_equal(priority_of(t, in_c), 4);
	assert_int_equal(f_remove(&t->f, ROOT, "link"), 0);
	assert_int_equal(priority_of(t, in_c), 3);
	/* What takes the place of a hoarded file is hoarded, what has left it is not. */
	assert_int_equal(f_rename(&t->f, a, "b", ROOT, "b"), 0);
	assert_int_equal(priority_of(t, in_c), 0);
	assert_int_equal(f_rename(&t->f, ROOT, "b", a, "x"), 0);
	assert_int_equal(priority_of(t, in_c), 3);
}

/* ---- entries ---- */

struct seen {
	struct hoard_entry v[20];
	unsigned n;
};

static void see(void *arg, const struct hoard_entry *entry)
{
	struct seen *seen = arg;

	assert_true(seen->n < 20);
	seen->v[seen->n++] = *entry;
}

static const struct hoard_entry *entry_at(struct test *t, unsigned i, unsigned n)
{
	static struct seen seen;

	seen.n = 0;
	assert_int_equal(hoard_list(t->f.cache, see, &seen), 0);
	assert_int_equal(seen.n, n);
	return &seen.v[i];
}

static void entries_last(void **state)
{
	struct test *t = *state;
	struct hoard_entry configured[] = {
		{ .path = "/c1", .depth = 1, .priority = 10 }, { .path = "/both", .depth = HOARD_ALL, .priority = 7 },
	};

	assert_int_equal(hoard_add(t->f.cache, "/low", 3, 1), 0);
	assert_int_equal(hoard_add(t->f.cache, "/both", 0, 9), 0);
	assert_int_equal(hoard_configure(t->f.cache, configured, 2), 0);
	t_reopen(t);
	assert_string_equal(entry_at(t, 0, 4)->path, "/c1");
	assert_true(entry_at(t, 0, 4)->is_configured);
	assert_string_equal(entry_at(t, 1, 4)->path, "/both");
	assert_int_equal(entry_at(t, 1, 4)->depth, 0);
	assert_int_equal(entry_at(t, 2, 4)->depth, HOARD_ALL);
	assert_int_equal(entry_at(t, 3, 4)->depth, 3);
	assert_false(entry_at(t, 3, 4)->is_there);
	/* Given again, it is changed. */
	assert_int_equal(hoard_add(t->f.cache, "/low", 2, 1000), 0);
	assert_string_equal(entry_at(t, 0, 4)->path, "/low");
	assert_int_equal(entry_at(t, 0, 4)->depth, 2);
	assert_int_equal(hoard_remove(t->f.cache, "/low"), 0);
	assert_int_equal(hoard_remove(t->f.cache, "/low"), -ENOENT);
	assert_int_equal(hoard_remove(t->f.cache, "/c1"), -EPERM);
	assert_int_equal(hoard_remove(t->f.cache, "/both"), 0);
	assert_int_equal(hoard_remove(t->f.cache, "/both"), -EPERM);
	assert_int_equal(hoard_configure(t->f.cache, NULL, 0), 0);
	t_reopen(t);
	entry_at(t, 0, 0);
}

/* ---- fetching ---- */

static struct hoard_status status_of(struct test *t)
{
	struct hoard_status status;

	hoard_get_status(t->f.cache, &status);
	return status;
}

/* The upstream answers until all that is hoarded is here, and that is known. */
static void serve_until_complete(struct test *t)
{
	uint64_t until_us = clock_us() + UNTIL_US;

	for (;;) {
		struct hoard_status status = status_of(t);

		if (status.is_known && !status.is_walking && !status.missing_files)
			return;
		assert_true(clock_us() < until_us);
		serve_all(t);
		usleep(1000);
	}
}

static uint64_t store_in(struct test *t, struct kml_oid dir, const char *name, uint64_t size)
{
	struct kml_oid oid = m_oid(t->m, dir, name);

	if (kml_oid_is_none(oid))
		oid = m_file(t->m, dir, name);
	m_store(t->m, OTHERS, oid, size);
	m_pull(t->m, &t->f);
	return t->m->position;
}

/* With no link. */
static void assert_readable(struct test *t, uint64_t ino, uint64_t version, uint64_t size)
{
	t->has_link = false;
	for (uint64_t at = 0; at < size; at += MIB) {
		uint32_t len = (uint32_t)MIN(MIB, size - at);

		assert_int_equal(read_begin(t, ino, at, len), 0);
		assert_int_equal(t->f.op.count, len);
		assert_bytes(got, version, at, len);
	}
	t->has_link = true;
}

static void is_fetched_unasked(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), sub = m_dir(t->m, dir, "sub");
	uint64_t one = store_in(t, dir, "one", 10000), large = store_in(t, sub, "large", 9 * MIB + 77);
	uint64_t other = store_in(t, KML_ROOT, "other", 5000), dir_ino = ino_of(&t->f, dir), sub_ino = ino_of(&t->f, sub), two;
	uint64_t until_us = clock_us() + UNTIL_US;

	assert_int_equal(hoard_add(t->f.cache, "/dir", HOARD_ALL, 5), 0);
	assert_int_equal(entry_at(t, 0, 1)->files, 2);
	serve_until_complete(t);
	assert_readable(t, found(&t->f, dir_ino, "one"), one, 10000);
	assert_readable(t, found(&t->f, sub_ino, "large"), large, 9 * MIB + 77);
	assert_int_equal(status_of(t).files, 2);
	assert_int_equal(status_of(t).bytes, 10000 + 9 * MIB + 77);
	/* What is new there, what has changed there. */
	two = store_in(t, sub, "two", 3000);
	one = store_in(t, dir, "one", 20000);
	assert_int_equal(entry_at(t, 0, 1)->missing_files, 2);
	assert_int_equal(entry_at(t, 0, 1)->missing_bytes, 23000);
	while (entry_at(t, 0, 1)->missing_files) {
		assert_true(clock_us() < until_us);
		serve_all(t);
		usleep(1000);
	}
	assert_readable(t, found(&t->f, dir_ino, "one"), one, 20000);
	assert_readable(t, found(&t->f, sub_ino, "two"), two, 3000);
	/* And nothing else. */
	t->has_link = false;
	assert_int_equal(read_begin(t, found(&t->f, ROOT, "other"), 0, 10), -EIO);
	t->has_link = true;
	assert_read(t, found(&t->f, ROOT, "other"), other, 0, 5000);
	/* All of it is so after a restart; what the status says is of the last walk. */
	serve_until_complete(t);
	assert_int_equal(status_of(t).missing_bytes, 0);
	t_reopen(t);
	assert_int_equal(entry_at(t, 0, 1)->missing_files, 0);
	assert_int_equal(entry_at(t, 0, 1)->files, 3);
}

/* No more than so many at once, one while somebody waits himself. */
static void behind_others(void **state)
{
	struct test *t = *state;
	uint64_t reader = file(t, "reader", 5000), version = t->m->position, until_us = clock_us() + UNTIL_US;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	char name[20];

	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		store_in(t, dir, name, 300 * KIB);
	}
	assert_int_equal(read_begin(t, reader, 0, 5000), CACHE_WAITS);
	assert_int_equal(wishes(t), 1);
	assert_int_equal(hoard_add(t->f.cache, "/dir", 1, 5), 0);
	/* The one that goes every other second. */
	while (wishes(t) < 2) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
	usleep(100000);		/* others would come at once */
	assert_int_equal(wishes(t), 2);
	/* The reader's first. */
	while (!t->f.is_done) {
		struct wish wish = take_wish(t);

		end(t, &wish, give_part(t, &wish, wish.offset, wish.len));
		run_posted(t);
	}
	assert_int_equal(t->f.op.err, 0);
	assert_bytes(got, version, 0, 5000);
	while (wishes(t) < HOARD_AT_ONCE) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
	usleep(100000);
	assert_true(wishes(t) <= HOARD_AT_ONCE);
	serve_until_complete(t);
}

/* Small ones are asked for together, and behind all others. */
static void small_ones_together(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	uint64_t until_us = clock_us() + UNTIL_US;
	char name[20];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		store_in(t, dir, name, 1000);
	}
	assert_int_equal(hoard_add(t->f.cache, "/dir", 1, 5), 0);
	while (wishes(t) < 40) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(t->wishes[i].class, FETCH_HOARD);
	serve_until_complete(t);
}

/* Twice the limit is read meanwhile. */
static void stays_under_pressure(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	uint64_t versions[10], dir_ino, until_us = clock_us() + UNTIL_US;
	struct space_status space;
	char name[20];

	open_with(t, 2 * MIB);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		versions[i] = store_in(t, dir, name, 100 * KIB);
	}
	dir_ino = ino_of(&t->f, dir);
	assert_int_equal(hoard_add(t->f.cache, "/dir", 1, 5), 0);
	serve_until_complete(t);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t ino;

		snprintf(name, sizeof(name), "g%u", i);
		ino = file(t, name, 100 * KIB);
		assert_read(t, ino, t->m->position, 0, 100 * KIB);
	}
	do {
		assert_true(clock_us() < until_us);
		usleep(1000);
		space_get_status(t->f.cache, &space);
	} while (space.used_bytes > 2 * MIB);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_readable(t, found(&t->f, dir_ino, name), versions[i], 100 * KIB);
	}
	/* Nor has any of it been away meanwhile. */
	assert_int_equal(t->n_asked, 10 + 40);
}

/* More than fits: what has the higher priority is here, what is missing is said. */
static void does_not_fit(void **state)
{
	struct test *t = *state;
	struct kml_oid low = m_dir(t->m, KML_ROOT, "low"), high = m_dir(t->m, KML_ROOT, "high");
	uint64_t versions[10], until_us = clock_us() + UNTIL_US;
	struct hoard_status status;
	char name[20];

	open_with(t, 2 * MIB);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		store_in(t, low, name, 150 * KIB);
		versions[i] = store_in(t, high, name, 150 * KIB);
	}
	assert_int_equal(hoard_add(t->f.cache, "/low", 1, 5), 0);
	serve_until_complete(t);
	assert_int_equal(hoard_add(t->f.cache, "/high", 1, 6), 0);
	do {
		assert_true(clock_us() < until_us);
		serve_all(t);
		usleep(1000);
		status = status_of(t);
	} while (!status.no_room_bytes || status.is_walking || entry_at(t, 0, 2)->missing_files);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_readable(t, found(&t->f, ino_of(&t->f, high), name), versions[i], 150 * KIB);
	}
	assert_string_equal(entry_at(t, 1, 2)->path, "/low");
	assert_true(entry_at(t, 1, 2)->missing_files >= 5);
	assert_int_equal(status.no_room_bytes, status.missing_bytes);
	assert_int_equal(status.missing_bytes, entry_at(t, 1, 2)->missing_bytes);
	/* With room it comes. */
	assert_int_equal(hoard_remove(t->f.cache, "/high"), 0);
	serve_until_complete(t);
	assert_int_equal(entry_at(t, 0, 1)->missing_files, 0);
}

/* Someone wants "/f"; a walk is over, and nothing could be asked. */
static void walk_in_vain(struct test *t)
{
	uint64_t until_us = clock_us() + UNTIL_US;

	assert_int_equal(hoard_add(t->f.cache, "/f", 0, 5), 0);
	while (!status_of(t).is_known || status_of(t).is_walking) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
	assert_int_equal(status_of(t).missing_files, 1);
	assert_int_equal(wishes(t), 0);
}

/* Without a link nothing is asked; with one again, it is. */
static void waits_for_the_link(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;

	t->has_link = false;
	walk_in_vain(t);
	__atomic_store_n(&t->has_link, true, __ATOMIC_RELAXED);
	serve_until_complete(t);
	assert_readable(t, ino, version, 1000);
}

/* Nor over one that costs: what a reader waits for comes all the same. */
static void waits_for_a_better_link(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;

	__atomic_store_n(&t->is_dear, true, __ATOMIC_RELAXED);
	walk_in_vain(t);
	__atomic_store_n(&t->is_dear, false, __ATOMIC_RELAXED);
	serve_until_complete(t);
	assert_readable(t, ino, version, 1000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(paths),
		T(which_objects),
		T(entries_last),
		T(is_fetched_unasked),
		T(behind_others),
		T(small_ones_together),
		T(stays_under_pressure),
		T(does_not_fit),
		T(waits_for_the_link),
		T(waits_for_a_better_link),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
