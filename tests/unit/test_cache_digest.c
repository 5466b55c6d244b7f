/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests: made of what is at rest, gone with what changes, and what --check finds by them. */
#include "tests/unit/digest_fixture.h"

#include "base/log.h"

#define LARGE (8 * MIB)

static bool has_row(struct test *t, uint64_t ino)
{
	char where[80];

	snprintf(where, sizeof(where), "digest WHERE ino = %llu", (unsigned long long)ino);
	return count(t, where) == 1;
}

/* As time would do it: after a restart, which ends what was written. */
static void rest(struct test *t)
{
	t_reopen(t);
	clock_advance(2 * DIGEST_REST_US);
	digester_wait(t->f.cache);
}

static uint64_t fetched(struct test *t, const char *name, uint64_t size, uint64_t end)
{
	uint64_t ino = file(t, name, size);

	assert_read(t, ino, t->m->position, 0, (uint32_t)end);
	return ino;
}

/* ---- what is altered ---- */

static const struct altered_case {
	const char *name;
	uint64_t size, present;		/* as fetched */
	bool is_dirty;			/* and then written to here */
	uint64_t at;			/* the byte that is altered */
	const char *say;		/* NULL: nothing */
	bool is_mended;
} altered_cases[] = {
	{ "clean", 10000, 10000, false, 5000, "/f: its content has been altered on the disk; it is fetched again", true },
	{ "the last byte", 10000, 10000, false, 9999, "/f: its content has been altered on the disk; it is fetched again", true },
	{ "the first byte", 10000, 10000, false, 0, "/f: its content has been altered on the disk; it is fetched again", true },
	{ "with changes", 10000, 10000, true, 9000, "it holds changes that have not been sent: it is left as it is", false },
	{ "in the changes", 10000, 10000, true, 110, "it holds changes that have not been sent: it is left as it is", false },
	{ "partly here", 64 * MIB, 100000, false, 50000, "/f: its content has been altered on the disk; it is fetched again", true },
	{ "where it is not here", 64 * MIB, 100000, false, 60 * MIB, NULL, false },
	{ "in the middle of a large one", LARGE, LARGE, false, 5 * MIB + 77, "/f: its content has been altered on the disk; it is fetched again", true },
};

static void flip(struct fixture *f, uint64_t ino, uint64_t at)
{
	struct timespec times[2];
	char path[160], byte;
	struct stat st;
	int fd;

	object_path(f, ino, path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	if ((uint64_t)st.st_size <= at) {
		assert_int_equal(ftruncate(fd, (off_t)at + 1), 0);
		byte = 0;
	} else {
		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	}
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(futimens(fd, times), 0);	/* a disk leaves no trace */
	close(fd);
}

static void find_altered(struct test *t, const struct altered_case *c, uint64_t ino)
{
	struct check_result result;
	struct told told;

	result = checked(&t->f, false, &told);
	if (result.damage != (c->say ? 1 : 0) || (c->say && !strstr(told.text, c->say)))
		fail_msg("found %llu, and said:\n%s", (unsigned long long)result.damage, told.text);
	result = checked(&t->f, true, &told);
	if (result.mended != (c->is_mended ? 1 : 0) || result.kept != (c->is_mended ? 1 : 0) || result.damage != (c->say && !c->is_mended ? 1 : 0))
		fail_msg("mended %llu kept %llu left %llu, and said:\n%s", (unsigned long long)result.mended, (unsigned long long)result.kept,
			 (unsigned long long)result.damage, told.text);
	assert_sound(&t->f);
	assert_true(inode_column(&t->f, ino, "present IS NOT NULL") == (c->is_mended ? 0 : 1));
}

static void altered(void **state)
{
	const struct altered_case *c = *state;
	struct test t = { 0 };
	uint64_t ino, version;

	f_init(&t.f);
	t_open(&t);
	t_contact(&t);
	ino = fetched(&t, "f", c->size, c->present);
	version = t.m->position;
	if (c->is_dirty)
		write_ours(&t, ino, 100, 50, true);
	rest(&t);
	assert_true(has_row(&t, ino));
	f_close(&t.f);
	assert_sound(&t.f);
	flip(&t.f, ino, c->at);
	find_altered(&t, c, ino);
	t_open(&t);
	if (c->is_mended)
		assert_read(&t, ino, version, 0, (uint32_t)c->present);
	f_close(&t.f);
	m_free(t.m);
	f_remove_dir(&t.f);
}

/* ---- what is not ---- */

/* A backup that is put back without times, holes or inode numbers. */
static void copied(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000), sparse = file(t, "s", 0);
	char path[160], command[1000];

	assert_int_equal(f_truncate(&t->f, sparse, 4 * MIB), 0);
	write_ours(t, sparse, 2 * MIB, 100, true);
	rest(t);
	assert_true(has_row(t, ino) && has_row(t, sparse));
	f_close(&t->f);
	for (int i = 0; i < 2; i++) {
		object_path(&t->f, i ? sparse : ino, path);
		snprintf(command, sizeof(command), "cp --sparse=never '%s' '%s.new' && mv '%s.new' '%s'", path, path, path, path);
		assert_int_equal(system(command), 0);
	}
	assert_sound(&t->f);
	flip(&t->f, sparse, 3 * MIB);
	assert_int_equal(checked(&t->f, false, &(struct told){ 0 }).damage, 1);
	t_open(t);
}

/* What waits about it may yet need it: it goes when that has been sent. */
static void attributes_wait(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000);
	struct check_result result;
	struct told told;

	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	rest(t);
	f_close(&t->f);
	flip(&t->f, ino, 10);
	result = checked(&t->f, true, &told);
	assert_int_equal(result.damage, 1);
	assert_int_equal(result.mended, 0);
	assert_non_null(strstr(told.text, "once what waits about it has been sent"));
	exec_sql(&t->f, "DELETE FROM cml; UPDATE inode SET attr_seq = 0");
	assert_int_equal(checked(&t->f, true, &told).mended, 1);
	assert_sound(&t->f);
	t_open(t);
}

/* After a crash the file may lack what is still in the log of contents: the next start writes it. */
static void yet_to_be_written(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000);
	struct told told;

	rest(t);
	f_close(&t->f);
	flip(&t->f, ino, 10);
	assert_int_equal(checked(&t->f, false, &told).damage, 1);
	exec_sql(&t->f, "INSERT INTO content_log SELECT ino, 1, gen, 0, zeroblob(20) FROM inode WHERE type = 1; DELETE FROM meta WHERE key = 'closed'");
	assert_sound(&t->f);
	t_open(t);
}

/* A file that was missing and is mended comes back as the same generation, of another version. */
static void missing(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000);
	struct told told;
	char path[160];

	rest(t);
	f_close(&t->f);
	object_path(&t->f, ino, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(checked(&t->f, false, &told).damage, 1);
	assert_non_null(strstr(told.text, "is missing"));
	assert_int_equal(checked(&t->f, true, &told).mended, 1);
	assert_false(has_row(t, ino));
	t_open(t);
}

/* ---- when it is made ---- */

static void not_before_its_time(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000), until_us = clock_us() + 20 * US_PER_S;

	while (inode_column(&t->f, ino, "present IS NOT NULL") != 1) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
	clock_advance(DIGEST_REST_US / 2);
	digester_wait(t->f.cache);
	assert_false(has_row(t, ino));
	clock_advance(DIGEST_REST_US);
	digester_wait(t->f.cache);
	assert_true(has_row(t, ino));
	/* More of what is partly here. */
	ino = fetched(t, "p", 64 * MIB, 64 * KIB);
	rest(t);
	assert_int_equal(count(t, "digest WHERE length(ranges) = 16"), 2);
	assert_read(t, ino, t->m->position, 40 * MIB, 64 * KIB);
	rest(t);
	assert_int_equal(count(t, "digest WHERE length(ranges) = 32"), 1);
}

/* What waited when it was stopped, and what an older version has left. */
static void found_again(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000);

	rest(t);
	f_close(&t->f);
	exec_sql(&t->f, "DELETE FROM digest");
	t_open(t);
	clock_advance(2 * DIGEST_REST_US);
	digester_wait(t->f.cache);
	assert_false(has_row(t, ino));	/* nothing says that it has none: no start looks through all */
	f_close(&t->f);
	exec_sql(&t->f, "DROP TABLE digest; DROP TABLE detach; PRAGMA user_version = 9");
	t_open(t);
	clock_advance(2 * DIGEST_REST_US);
	digester_wait(t->f.cache);
	assert_true(has_row(t, ino));
	f_close(&t->f);
	exec_sql(&t->f, "DELETE FROM digest; DELETE FROM meta WHERE key = 'closed'");
	t_open(t);
	clock_advance(2 * DIGEST_REST_US);
	digester_wait(t->f.cache);
	assert_true(has_row(t, ino));
}

/* ---- when it goes ---- */

static void change_write(struct test *t, uint64_t ino)
{
	write_ours(t, ino, 100, 50, false);
}

static void change_cut(struct test *t, uint64_t ino)
{
	assert_int_equal(f_truncate(&t->f, ino, 5000), 0);
	assert_int_equal(f_truncate(&t->f, ino, 10000), 0);
}

static void change_remove(struct test *t, uint64_t ino)
{
	(void)ino;
	assert_int_equal(f_remove(&t->f, ROOT, "f"), 0);
}

static void change_evict(struct test *t, uint64_t ino)
{
	evict_all(t);
	assert_false(has_row(t, ino));
	assert_read(t, ino, t->m->position, 0, 10000);
}

static void change_pull(struct test *t, uint64_t ino)
{
	uint64_t version = store(t, "f", 10000);

	m_pull(t->m, &t->f);
	assert_false(has_row(t, ino));
	assert_read(t, ino, version, 0, 10000);
}

static const struct change_case {
	const char *name;
	void (*change)(struct test *t, uint64_t ino);
} change_cases[] = {
	{ "by a WRITE", change_write }, { "by being cut", change_cut }, { "by being removed", change_remove },
	{ "by being evicted", change_evict }, { "by another version", change_pull },
};

/* In a daemon that is killed then: what the next one makes of it is not altered. */
static void changed(void **state)
{
	const struct change_case *c = *state;
	struct test t = { 0 };
	struct told told;
	uint64_t ino;
	pid_t child;
	int status;

	f_init(&t.f);
	t_open(&t);
	t_contact(&t);
	ino = fetched(&t, "f", 10000, 10000);
	rest(&t);
	assert_true(has_row(&t, ino));
	f_close(&t.f);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		t_open(&t);
		c->change(&t, ino);
		_exit(has_row(&t, ino) ? 9 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_sound(&t.f);
	assert_int_equal(checked(&t.f, true, &told).damage, 0);
	rest(&t);
	f_close(&t.f);
	assert_sound(&t.f);
	m_free(t.m);
	f_remove_dir(&t.f);
}

static void *wait_for_digests(void *arg)
{
	digester_wait(arg);
	return NULL;
}

/* While it is read for one. */
static void changed_meanwhile(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", LARGE, LARGE);

	rest(t);
	assert_true(has_row(t, ino));
	for (unsigned i = 0; i < 4; i++) {
		pthread_t thread;

		write_ours(t, ino, 100 + 50 * i, 50, true);
		t_reopen(t);
		clock_advance(2 * DIGEST_REST_US);
		assert_int_equal(pthread_create(&thread, NULL, wait_for_digests, t->f.cache), 0);
		/* Reading it takes half a second. */
		usleep(50000 * i);
		write_ours(t, ino, 7 * MIB + i, 50, false);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_false(has_row(t, ino));
	}
	f_close(&t->f);
	assert_sound(&t->f);
	t_open(t);
}

/* ---- the rows themselves ---- */

static void rows_of_nothing(void **state)
{
	struct test *t = *state;
	uint64_t ino = fetched(t, "f", 10000, 10000);
	struct check_result result;
	struct told told;

	rest(t);
	f_close(&t->f);
	exec_sql(&t->f, "UPDATE digest SET hash = zeroblob(16)");
	result = checked(&t->f, false, &told);
	assert_int_equal(result.damage, 1);
	assert_non_null(strstr(told.text, "/f: what its content was is not readable"));
	result = checked(&t->f, true, &told);
	assert_int_equal(result.mended, 1);
	assert_int_equal(result.kept, 0);
	assert_false(has_row(t, ino));
	assert_sound(&t->f);
	t_open(t);
	clock_advance(2 * DIGEST_REST_US);
	digester_wait(t->f.cache);
	assert_true(has_row(t, ino));
	f_close(&t->f);
	/* One of what is not here any more, of another generation, or of an inode that is gone, speaks of nothing. */
	flip(&t->f, ino, 10);
	assert_int_equal(checked(&t->f, false, &told).damage, 1);
	exec_sql(&t->f, "UPDATE inode SET present = NULL WHERE type = 1");
	assert_sound(&t->f);
	exec_sql(&t->f, "UPDATE inode SET gen = gen + 1 WHERE type = 1");
	result = checked(&t->f, false, &told);
	assert_null(strstr(told.text, "altered"));
	exec_sql(&t->f, "DELETE FROM name WHERE name = x'66'; DELETE FROM inode WHERE type = 1");
	result = checked(&t->f, true, &told);
	assert_null(strstr(told.text, "altered"));
	assert_int_equal(count(t, "digest"), 0);
	t_open(t);
}

/* Of ours, the end of which is lost, and zeros from now on: that is told once. */
static void cut_short(void **state)
{
	struct test *t = *state;
	uint64_t ino = made(&t->f, ROOT, "n", "new content");
	struct check_result result;
	struct told told;
	char path[160];

	rest(t);
	assert_true(has_row(t, ino));
	f_close(&t->f);
	object_path(&t->f, ino, path);
	assert_int_equal(truncate(path, 3), 0);
	result = checked(&t->f, false, &told);
	assert_int_equal(result.damage, 1);
	assert_null(strstr(told.text, "altered"));
	result = checked(&t->f, true, &told);
	assert_int_equal(result.mended, 1);
	assert_int_equal(result.damage, 0);
	assert_sound(&t->f);
	t_open(t);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(altered_cases) + ARRAY_SIZE(change_cases) + 9];
	size_t n = 0;

	main_pid = getpid();
	log_set_level(LOG_LEVEL_ERROR);
	tests[n++] = (struct CMUnitTest)T(copied);
	tests[n++] = (struct CMUnitTest)T(attributes_wait);
	tests[n++] = (struct CMUnitTest)T(yet_to_be_written);
	tests[n++] = (struct CMUnitTest)T(missing);
	tests[n++] = (struct CMUnitTest)T(cut_short);
	tests[n++] = (struct CMUnitTest)T(not_before_its_time);
	tests[n++] = (struct CMUnitTest)T(found_again);
	tests[n++] = (struct CMUnitTest)T(changed_meanwhile);
	tests[n++] = (struct CMUnitTest)T(rows_of_nothing);
	for (size_t i = 0; i < ARRAY_SIZE(altered_cases); i++)
		tests[n++] = (struct CMUnitTest){ altered_cases[i].name, altered, NULL, NULL, (void *)&altered_cases[i] };
	for (size_t i = 0; i < ARRAY_SIZE(change_cases); i++)
		tests[n++] = (struct CMUnitTest){ change_cases[i].name, changed, NULL, NULL, (void *)&change_cases[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
