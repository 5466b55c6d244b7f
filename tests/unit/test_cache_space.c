/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of the cache's content: what is evicted, in which order, what never; and what is told when nothing is left.
 *
 * What must not depend on a thread calls evict() itself.
 */
#include "tests/unit/fetch_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/page_pipe.h"
#include "cache/evict.h"
#include "cache/hoard.h"
#include "cache/object.h"
#include "cache/space.h"

#define ALL UINT64_MAX

static const bool not_stopping;

/* As the thread would, but now and by this one. */
static struct evict evict_now(struct test *t, uint64_t need, uint32_t priority)
{
	struct evict evict_args = { .cache = t->f.cache, .need = need, .priority = priority, .is_stopping = &not_stopping };
	char path[128];

	snprintf(path, sizeof(path), "%s/cache.db", t->f.dir);
	assert_int_equal(db_open(path, DB_READER, false, &evict_args.db), 0);
	assert_int_equal(evict(&evict_args), 0);
	db_close(evict_args.db);
	return evict_args;
}

static bool is_noted(struct test *t, uint64_t ino)
{
	struct inode *inode;
	bool is;
	int err;

	pthread_mutex_lock(&t->f.cache->lock);
	inode = inode_get(t->f.cache, ino, &err);
	assert_non_null(inode);
	is = !inode->work->has_fetched && !inode->work->has_uncommitted;
	inode_put(t->f.cache, inode);
	pthread_mutex_unlock(&t->f.cache->lock);
	return is;
}

/* What was fetched is noted on the disk a moment later. */
static void wait_noted(struct test *t, uint64_t ino)
{
	uint64_t until_us = clock_us() + 20 * US_PER_S;

	while (!is_noted(t, ino)) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
}

static uint64_t fetched(struct test *t, const char *name, uint64_t size)
{
	uint64_t ino = file(t, name, size), version = t->m->position;

	assert_read(t, ino, version, 0, size);
	return ino;
}

/* A file of upstream's that is here as a whole, and clean. */
static uint64_t here(struct test *t, const char *name, uint64_t size)
{
	uint64_t ino = fetched(t, name, size);

	wait_noted(t, ino);
	return ino;
}

static bool is_here(struct test *t, uint64_t ino)
{
	struct inode *inode;
	struct extent gap;
	bool is;
	int err;

	pthread_mutex_lock(&t->f.cache->lock);
	inode = inode_get(t->f.cache, ino, &err);
	assert_non_null(inode);
	is = !extent_first_gap(&inode->present, 0, 100, &gap);
	inode_put(t->f.cache, inode);
	pthread_mutex_unlock(&t->f.cache->lock);
	return is;
}

/* It is, and these bytes are of that version. */
static void assert_here(struct test *t, uint64_t ino, uint64_t version, uint32_t len)
{
	t->has_link = false;
	assert_int_equal(read_begin(t, ino, 0, len), 0);
	assert_bytes(got, version, 0, len);
	t->has_link = true;
}

/* The upstream takes all that waits (status KML_OK), or says that. */
static void replay(struct test *t, enum kml_status status)
{
	struct cml_batch *batch;

	for (;;) {
		struct kml_answer answers[64] = { 0 };

		assert_int_equal(cml_take(t->f.cache, 64, UINT64_MAX, &batch), 0);
		if (!batch)
			return;
		for (size_t i = 0; i < batch->n; i++)
			answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .status = status,
							  .made_version = status == KML_OK ? OURS : 0, .error = EPERM };
		assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
	}
}

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

/* ---- limits ---- */

static void open_with(struct test *t, uint64_t limit)
{
	struct space_status space;
	uint64_t until_us = clock_us() + 20 * US_PER_S;

	f_close(&t->f);
	t->f.config.content_limit = limit;
	t_open(t);
	do {
		assert_true(clock_us() < until_us);
		usleep(1000);
		space_get_status(t->f.cache, &space);
	} while (!space.is_counted);
}

static struct space_status space_of(struct test *t)
{
	struct space_status space;

	space_get_status(t->f.cache, &space);
	return space;
}

static void wait_below(struct test *t, uint64_t bytes)
{
	uint64_t until_us = clock_us() + 20 * US_PER_S;

	while (space_of(t).used_bytes > bytes) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
}

static void wait_gone(struct test *t, uint64_t ino)
{
	uint64_t until_us = clock_us() + 20 * US_PER_S;

	while (is_here(t, ino)) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
}

/* They are counted when a round of them is over, which is after the last of them has gone. */
static void wait_evicted(struct test *t, uint64_t more_than)
{
	uint64_t until_us = clock_us() + 20 * US_PER_S;

	while (space_of(t).evicted_files <= more_than) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
}

/* A tree of four times the limit is read, and read again. */
static void limit_is_kept(void **state)
{
	struct test *t = *state;
	uint64_t inos[40], versions[40];
	char name[20];

	open_with(t, 1 * MIB);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "f%u", i);
			if (!round) {
				inos[i] = file(t, name, 100 * KIB);
				versions[i] = t->m->position;
			}
			assert_read(t, inos[i], versions[i], 0, 100 * KIB);
		}
		wait_below(t, 1 * MIB);
	}
	wait_evicted(t, 40);
	assert_string_equal(space_of(t).full, "");
}

/* The count is what the files have, whatever was done to them. */
static void count_is_right(void **state)
{
	struct test *t = *state;
	uint64_t ino, used = 0;
	char command[200], text[40];
	FILE *du;

	open_with(t, 64 * MIB);
	ino = here(t, "f", 300 * KIB);
	assert_int_equal(f_create(&t->f, ROOT, "g", 0644), 0);
	write_ours(t, t->f.op.ino, 0, 200 * KIB, true);
	write_ours(t, found(&t->f, ROOT, "g"), 400 * KIB, 100 * KIB, true);
	assert_int_equal(f_create(&t->f, ROOT, "gone", 0644), 0);
	write_ours(t, t->f.op.ino, 0, 200 * KIB, true);
	assert_int_equal(f_remove(&t->f, ROOT, "gone"), 0);
	assert_int_equal(f_truncate(&t->f, found(&t->f, ROOT, "g"), 100 * KIB), 0);
	store(t, "f", 50 * KIB);
	m_pull(t->m, &t->f);
	assert_read(t, ino, t->m->position, 0, 50 * KIB);
	snprintf(command, sizeof(command), "find '%s/objects' -type f -printf '%%b\\n' | awk '{ n += $1 * 512 } END { print n }'", t->f.dir);
	du = popen(command, "r");
	assert_non_null(du);
	assert_non_null(fgets(text, sizeof(text), du));
	pclose(du);
	used = strtoull(text, NULL, 10);
	assert_true(used >= 150 * KIB);
	assert_int_equal(space_of(t).used_bytes, used);
}

static unsigned fill_up_dirty(struct test *t, unsigned from)
{
	char name[20];
	unsigned i = from;
	int err = 0;

	for (; !err; i++) {
		assert_true(i < from + 100);
		snprintf(name, sizeof(name), "d%u", i);
		err = f_create(&t->f, ROOT, name, 0644);
		if (!err) {
			static unsigned char data[64 * KIB];

			fill(data, OURS, 0, sizeof(data));
			err = f_write_as(&t->f, t->f.op.ino, 0, data, sizeof(data), UNSTABLE);
		}
		if (!err)
			err = f_commit(&t->f, found(&t->f, ROOT, name));
	}
	assert_int_equal(err, -ENOSPC);
	return i;
}

static void full_of_dirty(void **state)
{
	struct test *t = *state;
	unsigned char data[100] = { 0 };
	uint64_t clean, version, ino;
	struct cache_fsstat stat;
	unsigned n;

	open_with(t, 1 * MIB);
	clean = here(t, "clean", 300 * KIB);
	version = t->m->position;
	n = fill_up_dirty(t, 0);
	/* Not before all had gone that could, and not a byte beyond. */
	assert_true(n > 14);
	assert_false(is_here(t, clean));
	assert_true(space_of(t).used_bytes <= 1 * MIB);
	assert_string_not_equal(space_of(t).full, "");
	assert_int_equal(cache_fsstat(t->f.cache, &stat), 0);
	assert_int_equal(stat.avail_bytes, 0);
	assert_int_equal(stat.total_bytes, 1 * MIB);
	/* Nothing was done of what is refused. */
	assert_int_equal(f_write_as(&t->f, found(&t->f, ROOT, "d0"), 10, data, 100, UNSTABLE), -ENOSPC);
	assert_int_equal(f_create(&t->f, ROOT, "new", 0644), -ENOSPC);
	assert_int_equal(found(&t->f, ROOT, "new"), 0);
	assert_int_equal(read_begin(t, found(&t->f, ROOT, "d0"), 0, 64 * KIB), 0);
	assert_bytes(got, OURS, 0, 64 * KIB);
	/* What is not here is answered all the same, again and again. */
	for (unsigned i = 0; i < 5; i++)
		assert_read(t, clean, version, 0, 300 * KIB);
	/* What makes room goes on, and makes room. */
	assert_int_equal(f_rename(&t->f, ROOT, "d1", ROOT, "e1"), 0);
	assert_int_equal(f_truncate(&t->f, found(&t->f, ROOT, "e1"), 0), 0);
	for (unsigned i = 2; i < 8; i++) {
		char name[20];

		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(f_remove(&t->f, ROOT, name), 0);
	}
	wait_below(t, 900 * KIB);
	assert_int_equal(f_create(&t->f, ROOT, "new", 0644), 0);
	ino = t->f.op.ino;
	write_ours(t, ino, 0, 1000, true);
	assert_string_equal(space_of(t).full, "");
	/* Replayed, all of it can go. */
	fill_up_dirty(t, 1000);
	replay(t, KML_OK);
	for (unsigned i = 0; i < 20; i++) {
		char name[20];

		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(f_create(&t->f, ROOT, name, 0644), 0);
		write_ours(t, t->f.op.ino, 0, 64 * KIB, true);
		replay(t, KML_OK);
	}
	assert_read(t, ino, OURS, 0, 1000);
}

/* Hoarded content is not taken for writes, and that is said. */
static void full_of_hoarded(void **state)
{
	struct test *t = *state;
	uint64_t kept;

	open_with(t, 1 * MIB);
	assert_int_equal(hoard_add(t->f.cache, "/kept", 0, 1), 0);
	kept = here(t, "kept", 600 * KIB);
	fill_up_dirty(t, 0);
	assert_true(is_here(t, kept));
	assert_true(space_of(t).hoarded_bytes >= 600 * KIB);
	assert_int_equal(hoard_remove(t->f.cache, "/kept"), 0);
	assert_int_equal(f_create(&t->f, ROOT, "new", 0644), 0);	/* or it would be refused as the rest */
	write_ours(t, t->f.op.ino, 0, 64 * KIB, true);
	assert_false(is_here(t, kept));
}

/* A floor that this disk is below: the same, by what is free on it. */
static void floor_is_kept(void **state)
{
	struct test *t = *state;
	struct cache_fsstat stat;
	uint64_t ino;

	ino = here(t, "f", 100 * KIB);
	assert_int_equal(f_create(&t->f, ROOT, "g", 0644), 0);
	f_close(&t->f);
	t->f.config.floor_bytes = 1ull << 60;
	t_open(t);
	wait_gone(t, ino);
	assert_int_equal(f_write(&t->f, found(&t->f, ROOT, "g"), 0, "text"), -ENOSPC);
	assert_int_equal(f_create(&t->f, ROOT, "new", 0644), -ENOSPC);
	assert_int_equal(cache_fsstat(t->f.cache, &stat), 0);
	assert_int_equal(stat.avail_bytes, 0);
	assert_string_not_equal(space_of(t).full, "");
	assert_int_equal(f_remove(&t->f, ROOT, "g"), 0);
	assert_read(t, ino, 3, 0, 100 * KIB);
	/* Of both the smaller one counts. */
	f_close(&t->f);
	t->f.config.floor_percent = 50;
	t->f.config.floor_bytes = 4096;
	t_open(t);
	assert_int_equal(space_of(t).floor_bytes, 4096);
}

/* What was read is known: in memory at once, after a restart to the hour. */
static void reads_are_noted(void **state)
{
	struct test *t = *state;
	uint64_t ino = here(t, "f", 100), at_s, read_s;
	/* To come, and later than it was changed: else the kernel may note the READ itself. */
	const struct timespec times[2] = { { .tv_sec = clock_wall().tv_sec + 10000 }, { .tv_nsec = UTIME_OMIT } };
	struct inode *inode;
	char path[160];
	struct stat st;
	int err;

	open_with(t, 64 * MIB);
	snprintf(path, sizeof(path), "%s/objects/%02x/%llu.1", t->f.dir, (unsigned)(ino % 256), (unsigned long long)ino);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	at_s = (uint64_t)clock_wall().tv_sec;
	assert_int_equal(read_begin(t, ino, 0, 100), 0);
	pthread_mutex_lock(&t->f.cache->lock);
	inode = inode_get(t->f.cache, ino, &err);
	assert_non_null(inode);
	read_s = inode->read_s;
	inode_put(t->f.cache, inode);
	pthread_mutex_unlock(&t->f.cache->lock);
	assert_in_range(read_s, at_s, at_s + 100);
	f_close(&t->f);
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_atime, at_s, at_s + 100);
	t_open(t);
}

/* ---- by chance ---- */

#define CHANCE_FILES 6
#define CHANCE_SIZE (300 * KIB)

static void by_chance(void **state)
{
	struct test *t = *state;
	const char *text = getenv("IZO_SEED");
	unsigned seed = text ? (unsigned)atoi(text) : (unsigned)clock_us();
	uint64_t inos[CHANCE_FILES], versions[CHANCE_FILES], freed = 0;
	char name[20];

	print_message("# seed %u\n", seed);
	for (unsigned i = 0; i < CHANCE_FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		inos[i] = file(t, name, CHANCE_SIZE);
		versions[i] = t->m->position;
	}
	srand(seed);
	for (unsigned step = 0; step < 600; step++) {
		unsigned i = (unsigned)rand() % CHANCE_FILES;
		uint64_t offset = (unsigned)rand() % CHANCE_SIZE, len = 1 + (unsigned)rand() % (CHANCE_SIZE - offset);

		switch (rand() % 8) {
		case 0:
			/* The first one replaces all of it: upstream's bytes are of one version, after a replay of ours too. */
			if (versions[i] == OURS)
				write_ours(t, inos[i], offset, (uint32_t)len, rand() % 2);
			else if (!(rand() % 4))
				write_ours(t, inos[i], 0, CHANCE_SIZE, true);
			else
				break;
			versions[i] = OURS;
			break;
		case 1:
		case 2:
		case 3:
			freed += evict_now(t, (unsigned)rand() % (4 * CHANCE_SIZE) + 1, 1).freed_files;
			break;
		case 4:
			if (!(rand() % 8))
				t_reopen(t);
			else if (!(rand() % 4))
				for (unsigned k = 0; k < CHANCE_FILES; k++)
					wait_noted(t, inos[k]);
			else
				replay(t, KML_OK);
			break;
		default:
			assert_int_equal(read_served(t, inos[i], offset, (uint32_t)len), 0);
			assert_bytes(got, versions[i], offset, len);
		}
		/* wait_noted() waits for writes too, which a commit ends. */
		assert_int_equal(f_commit(&t->f, inos[i]), 0);
	}
	print_message("# %llu times a file was evicted\n", (unsigned long long)freed);
	assert_true(freed > 20);
}

/* ---- crashes ---- */

#ifdef IZO_FAULTS
#define FILES 40
#define SIZE 5000

static char crash_dir[64];

static void open_crash_dir(struct test *t)
{
	snprintf(t->f.dir, sizeof(t->f.dir), "%s", crash_dir);
	t->f.config.dir = t->f.dir;
	t->f.config.gather_us = gather_us;
	t->f.config.no_sync = false;
	t_open(t);
}

/* The first half is clean, of the second each is ours in its own way. */
static void prepare(struct test *t)
{
	char name[20];

	for (unsigned i = 0; i < FILES; i++) {
		uint64_t ino;

		snprintf(name, sizeof(name), "f%u", i);
		ino = file(t, name, SIZE);
		assert_int_equal(read_served(t, ino, 0, SIZE), 0);
		if (i >= FILES / 2)
			write_ours(t, ino, 0, 100, true);
	}
	for (unsigned i = 0; i < FILES / 2; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		wait_noted(t, found(&t->f, ROOT, name));
	}
}

static int child(struct test *t, int (*fn)(struct test *t))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(fn(t));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int child_prepares(struct test *t)
{
	open_crash_dir(t);
	t_contact(t);
	prepare(t);
	f_close(&t->f);
	return 0;
}

static char crash_fault[64];

static int child_evicts(struct test *t)
{
	struct cml_batch *batch;

	setenv("IZO_FAULT", crash_fault, 1);
	open_crash_dir(t);
	/* With half of the records in the hands of the replay. */
	assert_int_equal(cml_take(t->f.cache, FILES / 4, UINT64_MAX, &batch), 0);
	(void)evict_now(t, ALL, 1);
	return 0;
}

static int child_checks(struct test *t)
{
	unsigned n = 0;
	char name[20];

	open_crash_dir(t);
	t->has_link = false;
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		if (read_begin(t, found(&t->f, ROOT, name), 0, SIZE)) {
			if (i >= FILES / 2)
				return 254;	/* what was not upstream's is gone */
			continue;
		}
		n++;
		if (i >= FILES / 2)
			assert_bytes(got, OURS, 0, 100);
		assert_bytes(got + (i >= FILES / 2 ? 100 : 0), 3 + 2 * i, i >= FILES / 2 ? 100 : 0, SIZE - (i >= FILES / 2 ? 100 : 0));
	}
	f_close(&t->f);
	/* Neither is there a file that nobody names. */
	return f_content_files(&t->f, false) == n ? (int)n : 253;
}

/*
 * ASYNC: a change is told before it is on the disk, and a power cut may take it back.  The sync that fails here stands for
 * that: the files are there then, for the rows that may come back.
 */
static int child_evicts_unsynced(struct test *t)
{
	struct evict evict_args = { .need = ALL, .priority = 1, .is_stopping = &not_stopping };
	char path[128];

	setenv("IZO_FAULT", "flusher.sync:1:EIO", 1);
	t->f.config.durability = DURABILITY_ASYNC;
	open_crash_dir(t);
	snprintf(path, sizeof(path), "%s/cache.db", t->f.dir);
	evict_args.cache = t->f.cache;
	assert_int_equal(db_open(path, DB_READER, false, &evict_args.db), 0);
	if (evict(&evict_args) != -EIO)
		return 1;
	return f_content_files(&t->f, false) == FILES ? 0 : 2;
}

static void async_waits_for_the_disk(void **state)
{
	struct test t = { 0 };

	(void)state;
	f_init(&t.f);
	snprintf(crash_dir, sizeof(crash_dir), "%s", t.f.dir);
	assert_int_equal(child(&t, child_prepares), 0);
	assert_int_equal(child(&t, child_evicts_unsynced), 0);
	f_remove_dir(&t.f);
}

static const char *const crash_points[] = { "evict.change", "evict.unlink", "writer.change", "writer.commit", "writer.committed",
					    "flusher.sync" };

static void killed_anywhere(void **state)
{
	unsigned n_crashes = 0, least = 255, most = 0;

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(crash_points); p++) {
		for (unsigned nth = 1; nth < 40; nth += 1 + nth / 2) {
			struct test t = { 0 };
			int status;

			f_init(&t.f);
			snprintf(crash_dir, sizeof(crash_dir), "%s", t.f.dir);
			assert_int_equal(child(&t, child_prepares), 0);
			snprintf(crash_fault, sizeof(crash_fault), "%s:%u:kill", crash_points[p], nth);
			status = child(&t, child_evicts);
			assert_true(WIFEXITED(status) ? !WEXITSTATUS(status) : WTERMSIG(status) == SIGKILL);
			if (WIFEXITED(status))
				nth = 40;	/* so often it is not passed */
			else
				n_crashes++;
			status = child(&t, child_checks);
			assert_true(WIFEXITED(status));
			if (WEXITSTATUS(status) > FILES)
				fail_msg("killed at %s: %d", crash_fault, WEXITSTATUS(status));
			least = MIN(least, (unsigned)WEXITSTATUS(status));
			most = MAX(most, (unsigned)WEXITSTATUS(status));
			f_remove_dir(&t.f);
		}
	}
	print_message("# %u crashes, between %u and %u files left\n", n_crashes, least, most);
	assert_true(n_crashes > 10);
	assert_int_equal(least, FILES / 2);
	assert_int_equal(most, FILES);
}
#endif

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef IZO_FAULTS
		cmocka_unit_test(killed_anywhere),
		cmocka_unit_test(async_waits_for_the_disk),
#endif
		T(clean_goes_and_comes_back),
		T(read_under_way),
		cmocka_unit_test_teardown(order, teardown),
		T(as_many_as_needed),
		cmocka_unit_test_teardown(stays, teardown),
		T(changed_since_the_walk),
		T(replayed_goes),
		T(limit_is_kept),
		T(count_is_right),
		T(full_of_dirty),
		T(full_of_hoarded),
		T(floor_is_kept),
		T(reads_are_noted),
		T(by_chance),
	};

	main_pid = getpid();
	gather_us = 5 * US_PER_MS;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
