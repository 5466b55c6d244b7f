/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * No false alarm: with digests made of everything at once, all the time, while it is written, cut, fetched, evicted, pulled and removed,
 * in daemons that end properly or are killed, nothing is ever found to be altered; and what is altered then, is found.
 */
#include "tests/unit/digest_fixture.h"

#include "base/log.h"

#define FILES 8
#define SIZE_MAX_OF (300 * KIB)
#define STEPS 40

static uint64_t below(unsigned *seed, uint64_t n)
{
	return (uint64_t)rand_r(seed) % n;
}

static void change_one(struct test *t, unsigned *seed)
{
	char name[8];
	uint64_t ino, at = below(seed, SIZE_MAX_OF);

	snprintf(name, sizeof(name), "f%u", (unsigned)below(seed, FILES));
	ino = found(&t->f, ROOT, name);
	switch (below(seed, 9)) {
	case 0:
	case 1:
		if (ino)
			write_ours(t, ino, at, 1 + (uint32_t)below(seed, 5000), below(seed, 2));
		break;
	case 2:
		if (ino)
			assert_int_equal(f_truncate(&t->f, ino, at), 0);
		break;
	case 3:
	case 4:
	case 5:
		if (ino)
			(void)read_served(t, ino, at, 40000);	/* a version may be gone */
		break;
	case 6:
		evict_all(t);
		break;
	case 7:
		m_pull(t->m, &t->f);	/* what others have stored since the daemon's start */
		break;
	case 8:
		if (ino && !below(seed, 4))
			assert_int_equal(f_remove(&t->f, ROOT, name), 0);
		else if (!ino)
			made(&t->f, ROOT, name, "anew");
		break;
	}
}

/* One daemon's life. */
static void live(struct test *t, unsigned seed, bool is_killed)
{
	t_open(t);
	for (unsigned i = 0; i < STEPS; i++) {
		change_one(t, &seed);
		if (!below(&seed, 5))
			digester_wait(t->f.cache);
		else if (!below(&seed, 5))
			usleep(2000);
	}
	if (below(&seed, 4)) {
		usleep(1100000);	/* what was fetched has been noted */
		digester_wait(t->f.cache);
	}
	if (is_killed)
		_exit(0);	/* as kill -9 would end it */
	f_close(&t->f);
	_exit(0);
}

static void flip_all(struct fixture *f)
{
	char command[300];

	/* One bit of the first byte of each range that there is a digest of: where that is not 0, where it is read. */
	snprintf(command, sizeof(command), "for f in '%s'/objects/*/*; do [ -s \"$f\" ] && printf '\\377\\376\\375' | dd of=\"$f\" conv=notrunc 2> /dev/null; done;"
		 " true", f->dir);
	assert_int_equal(system(command), 0);
}

static void no_false_alarm(void **state)
{
	unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : (unsigned)getpid() * 2654435761u, lives = getenv("IZO_LONG") ? 200 : 12;
	unsigned n_altered = 0;
	int64_t n_rows = 0;

	(void)state;
	print_message("SEED=%u\n", seed);
	for (unsigned round = 0; round < lives / 4; round++) {
		struct test t = { 0 };
		struct told told;

		f_init(&t.f);
		t.f.config.durability = round % 2 ? DURABILITY_ASYNC : DURABILITY_SYNC;
		t_open(&t);
		t_contact(&t);
		for (unsigned i = 0; i < FILES; i++) {
			char name[8];

			snprintf(name, sizeof(name), "f%u", i);
			file(&t, name, 1 + below(&seed, SIZE_MAX_OF));
		}
		f_close(&t.f);
		for (unsigned i = 0; i < 4; i++) {
			pid_t child;
			int status;

			for (unsigned n = 0; n < FILES / 2; n++) {
				char name[8];

				snprintf(name, sizeof(name), "f%u", (unsigned)below(&seed, FILES));
				(void)store(&t, name, 1 + below(&seed, SIZE_MAX_OF));
			}
			child = fork();
			assert_true(child >= 0);
			if (!child)
				live(&t, seed + i, i % 2);
			assert_int_equal(waitpid(child, &status, 0), child);
			assert_int_equal(status, 0);
			assert_sound(&t.f);
			assert_int_equal(checked(&t.f, i % 4 == 3, &told).damage, 0);
			n_rows += count(&t, "digest");
		}
		seed += 4;
		flip_all(&t.f);
		n_altered += told.n[CHECK_DAMAGE];
		n_altered += (unsigned)checked(&t.f, false, &told).damage;
		m_free(t.m);
		f_remove_dir(&t.f);
	}
	print_message("rows: %lld, altered: %u\n", (long long)n_rows, n_altered);
	assert_true(n_rows > lives && n_altered > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_false_alarm) };

	/* Digests are made at once. */
	assert_int_equal(setenv("IZO_FAULT", "digest.rest:0", 1), 0);
	main_pid = getpid();
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
