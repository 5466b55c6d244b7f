/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is evicted, in which order, and what never. */
#include "tests/unit/evict_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "cache/hoard.h"
#include "cache/object.h"

/* ---- what goes ---- */

static void clean_goes_and_comes_back(void **state)
{
	struct test *t = *state;
	uint64_t ino = here(t, "f", 10000), version = t->m->position, size = t->f.op.attr.size;
	struct evict done;

	assert_int_equal(f_getattr(&t->f, ino), 0);
	size = t->f.op.attr.size;
	done = evict_now(t, ALL, 1);
	assert_int_equal(done.freed_files, 1);
	assert_true(done.freed_bytes >= 10000);
	assert_false(is_here(t, ino));
	assert_int_equal(f_content_files(&t->f, false), 0);
	/* Nobody who looks at the attributes sees any of it. */
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.size, size);
	assert_read(t, ino, version, 0, 10000);
	wait_noted(t, ino);
	t_reopen(t);
	assert_here(t, ino, version, 10000);
}

/* Who has begun to read goes on with what he has; who begins then fetches. */
static void read_under_way(void **state)
{
	struct test *t = *state;
	uint64_t ino = here(t, "f", 10000), version = t->m->position;
	struct cache *cache = t->f.cache;
	struct object *object;
	struct inode *inode;
	int err;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &err);
	object = object_get(cache, inode, false, &err);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	assert_non_null(object);
	assert_int_equal(evict_now(t, ALL, 1).freed_files, 1);
	assert_int_equal(object_read(object, got, 10000, 0), 0);
	assert_bytes(got, version, 0, 10000);
	assert_read(t, ino, version, 5000, 5000);
	assert_int_equal(object_read(object, got, 10000, 0), 0);
	assert_bytes(got, version, 0, 10000);
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	pthread_mutex_unlock(&cache->lock);
}

/* The file says so; memory: that it was read now, or nothing. */
static void used_at(struct test *t, uint64_t ino, int64_t ago_s, bool is_read)
{
	const struct timespec at = { .tv_sec = clock_wall().tv_sec - ago_s }, times[2] = { at, at };
	struct inode *inode;
	char path[160];
	int err;

	pthread_mutex_lock(&t->f.cache->lock);
	inode = inode_get(t->f.cache, ino, &err);
	assert_non_null(inode);
	inode->read_s = is_read ? (uint32_t)clock_wall().tv_sec : 0;
	snprintf(path, sizeof(path), "%s/objects/%02x/%llu.%u", t->f.dir, (unsigned)(ino % 256), (unsigned long long)ino, inode->v.gen);
	inode_put(t->f.cache, inode);
	pthread_mutex_unlock(&t->f.cache->lock);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static const struct order_case {
	const char *name;
	struct {
		uint64_t size;
		int64_t ago_s;
		uint32_t priority;	/* hoarded with it */
		bool is_read;		/* since, and that is in memory only */
	} first, second;		/* to go */
} order_cases[] = {

	{ "the older of two", { 40960, 1000, 0, false }, { 40960, 900, 0, false } },
	{ "the larger of two as old", { 409600, 1000, 0, false }, { 4096, 1000, 0, false } },
	{ "a small one that is very old", { 4096, 100000, 0, false }, { 409600, 1000, 0, false } },
	{ "one that was not read since", { 40960, 1000, 0, false }, { 40960, 5000, 0, true } },
	{ "what is not hoarded", { 4096, 10, 0, false }, { 409600, 100000, 1, false } },
	{ "what is hoarded with less priority", { 4096, 10, 3, false }, { 409600, 100000, 4, false } },
};

static void order(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(order_cases); i++) {
		const struct order_case *c = &order_cases[i];
		struct test *t;
		uint64_t one, two;

		assert_int_equal(setup(state), 0);
		t = *state;
		two = fetched(t, "two", c->second.size);
		one = here(t, "one", c->first.size);
		used_at(t, one, c->first.ago_s, c->first.is_read);
		used_at(t, two, c->second.ago_s, c->second.is_read);
		if (c->first.priority)
			assert_int_equal(hoard_add(t->f.cache, "/one", 0, c->first.priority), 0);
		if (c->second.priority)
			assert_int_equal(hoard_add(t->f.cache, "/two", 0, c->second.priority), 0);
		assert_int_equal(evict_now(t, 1, HOARD_PRIORITY_MAX + 1).freed_files, 1);
		if (is_here(t, one) || !is_here(t, two))
			fail_msg("%s: goes first", c->name);
		assert_int_equal(teardown(state), 0);
	}
	assert_int_equal(setup(state), 0);	/* for the last teardown */
}

/* No more than is needed, and of many those that are worth most. */
static void as_many_as_needed(void **state)
{
	struct test *t = *state;
	uint64_t inos[40];
	char name[20];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		inos[i] = fetched(t, name, 8192);
	}
	for (unsigned i = 0; i < 40; i++) {
		wait_noted(t, inos[i]);
		used_at(t, inos[i], 1000 + 100 * (i * 7 % 40), false);
	}
	assert_int_equal(evict_now(t, 10 * 8192, 1).freed_files, 10);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(is_here(t, inos[i]), i * 7 % 40 < 30);
}

/* ---- what never goes ---- */

/* Each makes a file stay, in its own way; gives its number. */
static uint64_t stay_written(struct test *t)
{
	uint64_t ino = here(t, "f", 20000);

	write_ours(t, ino, 0, 100, false);
	return ino;
}

static uint64_t stay_committed(struct test *t)
{
	uint64_t ino = here(t, "f", 20000);

	write_ours(t, ino, 0, 100, true);
	return ino;
}

static uint64_t stay_new(struct test *t)
{
	assert_int_equal(f_create(&t->f, ROOT, "f", 0644), 0);
	write_ours(t, t->f.op.ino, 0, 20000, true);
	return found(&t->f, ROOT, "f");
}

static struct cml_batch *taken;

static uint64_t stay_taken(struct test *t)
{
	uint64_t ino = stay_committed(t);

	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &taken), 0);
	assert_non_null(taken);
	return ino;
}

static uint64_t stay_given_back(struct test *t)
{
	uint64_t ino = stay_taken(t);

	cml_give_back(t->f.cache, taken);
	taken = NULL;
	t_reopen(t);
	return ino;
}

static uint64_t stay_refused(struct test *t)
{
	uint64_t ino = stay_new(t);

	replay(t, KML_REFUSED);
	return ino;
}

/* Clean content, and a record that is not about it: should it be answered GONE, the file is made anew from what is here. */
static uint64_t stay_renamed(struct test *t)
{
	uint64_t ino = here(t, "f", 20000);

	assert_int_equal(f_rename(&t->f, ROOT, "f", ROOT, "g"), 0);
	return ino;
}

static uint64_t stay_chmod(struct test *t)
{
	uint64_t ino = here(t, "f", 20000);

	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	return ino;
}

/* Upstream does not know it any more. */
static uint64_t stay_unlinked(struct test *t)
{
	uint64_t ino = here(t, "f", 20000);

	assert_int_equal(f_rename(&t->f, ROOT, "f", ROOT, ".nfs00112233445566778899aabb"), 0);
	replay(t, KML_OK);
	return ino;
}

static uint64_t stay_hoarded(struct test *t)
{
	uint64_t ino = here(t, "f", 20000);

	assert_int_equal(hoard_add(t->f.cache, "/", 1, 1), 0);
	return ino;
}

/* A piece of it is here, more is on its way, for somebody who waits. */
static uint64_t stay_fetched(struct test *t)
{
	uint64_t ino = here(t, "f", 5 * MIB);

	assert_int_equal(evict_now(t, ALL, 1).freed_files, 1);
	assert_read(t, ino, t->m->position, 0, 100);
	wait_noted(t, ino);
	assert_int_equal(read_begin(t, ino, 4 * MIB, 100), CACHE_WAITS);
	return ino;
}

static const struct stay_case {
	const char *name;
	uint64_t (*make)(struct test *t);
} stay_cases[] = {

	{ "written, not committed", stay_written },
	{ "a record waits", stay_committed },
	{ "new", stay_new },
	{ "being replayed", stay_taken },
	{ "sent, not answered, after a restart", stay_given_back },
	{ "refused upstream", stay_refused },
	{ "renamed", stay_renamed },
	{ "its mode changed", stay_chmod },
	{ "unlinked, and open", stay_unlinked },
	{ "hoarded", stay_hoarded },
	{ "being fetched", stay_fetched },
};

static void stays(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(stay_cases); i++) {
		const struct stay_case *c = &stay_cases[i];
		struct test *t;
		uint64_t ino;

		assert_int_equal(setup(state), 0);
		t = *state;
		ino = c->make(t);
		(void)evict_now(t, ALL, 1);
		if (!is_here(t, ino))
			fail_msg("%s: is evicted", c->name);
		if (c->make == stay_fetched) {
			serve_all(t);
			assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
		}
		if (taken)
			cml_give_back(t->f.cache, taken);
		taken = NULL;
		assert_int_equal(teardown(state), 0);
	}
	assert_int_equal(setup(state), 0);
}

/* The walk has found it clean; when its turn comes it is not.  By the writer's own judgement, which is the one that counts. */
static void changed_since_the_walk(void **state)
{
	struct test *t = *state;
	uint64_t ino = here(t, "f", 20000);
	struct evict done;

	/* The row says clean as long as nothing is committed: the note alone makes it stay. */
	write_ours(t, ino, 0, 100, false);
	query(&t->f, "UPDATE inode SET is_dirty = 0 WHERE type = 1 RETURNING 1");
	done = evict_now(t, ALL, 1);
	assert_int_equal(done.freed_files, 0);
	assert_here(t, ino, OURS, 100);
}

/* Once upstream has it, it may go, and comes back as it was replayed. */
static void replayed_goes(void **state)
{
	struct test *t = *state;
	uint64_t ino;

	assert_int_equal(f_create(&t->f, ROOT, "f", 0644), 0);
	ino = t->f.op.ino;
	write_ours(t, ino, 0, 20000, true);
	replay(t, KML_OK);
	wait_noted(t, ino);
	assert_int_equal(evict_now(t, ALL, 1).freed_files, 1);
	assert_false(is_here(t, ino));
	assert_read(t, ino, OURS, 0, 20000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(clean_goes_and_comes_back),
		T(read_under_way),
		cmocka_unit_test_teardown(order, teardown),
		T(as_many_as_needed),
		cmocka_unit_test_teardown(stays, teardown),
		T(changed_since_the_walk),
		T(replayed_goes),
	};

	main_pid = getpid();
	gather_us = 5 * US_PER_MS;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
