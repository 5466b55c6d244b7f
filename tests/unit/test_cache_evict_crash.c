/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Evictions between everything else, by chance; and with the program killed at each of their steps. */
#include "tests/unit/evict_fixture.h"

#include <signal.h>
#include <sys/wait.h>

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
		T(by_chance),
	};

	main_pid = getpid();
	gather_us = 5 * US_PER_MS;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
