/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of the cache's content, and what is told when nothing is left that could go. */
#include "tests/unit/evict_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "cache/hoard.h"
#include "cache/space.h"

static struct space_status space_of(struct test *t)
{
	struct space_status space;

	space_get_status(t->f.cache, &space);
	return space;
}

static void wait_below(struct test *t, uint64_t bytes)
{
	UNTIL(20, space_of(t).used_bytes <= bytes);
}

static void wait_gone(struct test *t, uint64_t ino)
{
	UNTIL(20, !is_here(t, ino));
}

/* They are counted when a round of them is over, which is after the last of them has gone. */
static void wait_evicted(struct test *t, uint64_t more_than)
{
	UNTIL(20, space_of(t).evicted_files > more_than);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(limit_is_kept),
		T(count_is_right),
		T(full_of_dirty),
		T(full_of_hoarded),
		T(floor_is_kept),
		T(reads_are_noted),
	};

	main_pid = getpid();
	gather_us = 5 * US_PER_MS;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
