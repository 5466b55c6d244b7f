/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers are given once, over any end: one cache lives many lives, each in a process of its own that takes numbers
 * until it is killed before, at or behind a commit, finds the disk full, or just ends without closing the cache.  Every
 * transaction writes down the last numbers it took; what a life takes must be beyond what was written down before it.
 */
#include "tests/unit/cache_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include "base/log.h"
#include "cache/counter.h"
#include "cache/internal.h"
#include "cache/writer.h"

#define AHEAD 4096	/* as counter.c has it */
#define ROUNDS 40

/* In docs/DISK-FORMAT.md, table meta. */
static const char *const keys[COUNTERS] = { "next_ino", "next_oid", "next_cookie", "next_seq" };
static const char *const last_keys[COUNTERS] = { "test_ino", "test_oid", "test_cookie", "test_seq" };

/* A child's exit status: what was wrong. */
enum { FINE, GIVEN_TWICE = 10, NO_BOUND, FAILED };

/* ---- one life ---- */

struct life {
	uint64_t last[COUNTERS];	/* taken by it; at first what is written down */
	uint64_t committed[COUNTERS];	/* of these */
	unsigned n[COUNTERS];		/* to take in the next transaction */
	int wrong;
};

static int take_run(struct change *change)
{
	struct life *life = change->arg;
	int err = 0;

	for (unsigned i = 0; i < COUNTERS && !err; i++) {
		int64_t bound = 0;

		/* Were it killed here, the next life would begin there. */
		if (meta_get_int(writer_db(change->cache), keys[i], &bound) < 0 || (uint64_t)bound <= life->committed[i])
			life->wrong = NO_BOUND;
		for (unsigned k = 0; k < life->n[i]; k++) {
			uint64_t number = counter_take(change->cache, i);

			if (number <= life->last[i])
				life->wrong = GIVEN_TWICE;
			life->last[i] = number;
		}
		err = meta_set_int(change, last_keys[i], (int64_t)life->last[i]);
	}
	return err;
}

static int begin_run(struct change *change)
{
	struct life *life = change->arg;

	for (unsigned i = 0; i < COUNTERS; i++) {
		int64_t last = 0;

		if (meta_get_int(writer_db(change->cache), last_keys[i], &last) < 0)
			return -EIO;
		life->last[i] = life->committed[i] = (uint64_t)last;
	}
	return 0;
}

/* "child" DIR SEED */
static int child_main(char **argv)
{
	struct fixture f = { .wait_us = US_PER_S };
	struct life life = { .wrong = FINE };

	(void)alarm(60);
	srand((unsigned)atoi(argv[2]));
	snprintf(f.dir, sizeof(f.dir), "%s", argv[1]);
	f.config = (struct cache_config){ .dir = f.dir, .no_sync = true, .starts_empty = true };
	f_open(&f);
	if (writer_call(f.cache, begin_run, &life))
		return FAILED;
	for (unsigned round = 0; round < ROUNDS && !life.wrong; round++) {
		int err;

		/* Mostly some, now and then beyond any bound, or just to it. */
		for (unsigned i = 0; i < COUNTERS; i++)
			life.n[i] = rand() % 8 ? rand() % 3 : rand() % 2 ? AHEAD + rand() % 3 - 1 : rand() % 9000;
		err = writer_call(f.cache, take_run, &life);
		if (err && err != -ENOSPC)
			return FAILED;
		if (!err)
			memcpy(life.committed, life.last, sizeof(life.committed));
	}
	/* And no cache_close(): nothing may depend on it. */
	return life.wrong;
}

/* ---- many of them ---- */

static void live(const char *dir, const char *fault, unsigned seed, bool ends_killed)
{
	char text_of[16];
	int status;
	pid_t pid;

	fflush(NULL);
	snprintf(text_of, sizeof(text_of), "%u", seed);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (fault)
			setenv("IZO_FAULT", fault, 1);
		if (!freopen("/dev/null", "w", stderr))	/* that the disk is full is logged */
			_exit(FAILED);
		execl("/proc/self/exe", "child", dir, text_of, NULL);
		_exit(FAILED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (ends_killed) {
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail_msg("%s, seed %u: not killed, status %#x", fault, seed, status);
	} else if (!WIFEXITED(status) || WEXITSTATUS(status) != FINE) {
		fail_msg("%s, seed %u: status %#x", fault ? fault : "no fault", seed, status);
	}
}

static int64_t value(struct fixture *f, const char *key)
{
	char sql[96];

	snprintf(sql, sizeof(sql), "SELECT ifnull(max(value), 0) FROM meta WHERE key = '%s'", key);
	return query(f, sql);
}

/* What is committed: bounds beyond all that was taken, and not further than they have to be. */
static void bounds_hold(struct fixture *f, const char *fault)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		int64_t bound = value(f, keys[i]), last = value(f, last_keys[i]);

		if (bound <= last || bound > last + AHEAD + 1)
			fail_msg("%s: %s is %lld, %lld was taken", fault ? fault : "no fault", keys[i],
				 (long long)bound, (long long)last);
	}
}

static void lives(void **state)
{
	static const char *const points[] = { "writer.change", "writer.commit", "writer.committed" };
	const char *given = getenv("IZO_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : (unsigned)getpid();
	struct fixture f;
	char fault[96];

	(void)state;
	print_message("seed %u\n", seed);
	f_init(&f);
	f_open(&f);
	f_close(&f);
	for (unsigned nth = 2; nth < 9; nth++) {
		for (size_t p = 0; p < ARRAY_SIZE(points); p++) {
			snprintf(fault, sizeof(fault), "%s:%u:kill", points[p], nth);
			live(f.dir, fault, seed++, true);
			bounds_hold(&f, fault);
		}
		/* Twice: after the first time the reserve is given up, and it is tried again. */
		snprintf(fault, sizeof(fault), "writer.commit:%u:ENOSPC,writer.commit:%u:ENOSPC", nth, nth + 1);
		live(f.dir, fault, seed++, false);
		bounds_hold(&f, fault);
		live(f.dir, NULL, seed++, false);
		bounds_hold(&f, NULL);
	}
	f_remove_dir(&f);
}

/* That is what they are for: a transaction does not write the counters. */
static void bounds_move_rarely(void **state)
{
	struct fixture *f = *state;
	struct life life = { .wrong = FINE };
	int64_t bound[COUNTERS];
	unsigned moved = 0;

	for (unsigned i = 0; i < COUNTERS; i++) {
		life.n[i] = 1;
		bound[i] = value(f, keys[i]);
	}
	for (unsigned round = 0; round < 200; round++) {
		assert_int_equal(writer_call(f->cache, take_run, &life), 0);
		for (unsigned i = 0; i < COUNTERS; i++) {
			moved += value(f, keys[i]) != bound[i];
			bound[i] = value(f, keys[i]);
		}
	}
	assert_int_equal(life.wrong, FINE);
	assert_in_range(moved, 1, COUNTERS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives),
		cmocka_unit_test_setup_teardown(bounds_move_rarely, f_setup, f_teardown),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (argc == 3 && !strcmp(argv[0], "child"))
		_exit(child_main(argv));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
