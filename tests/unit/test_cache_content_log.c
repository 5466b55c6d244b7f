/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of small contents: what it takes, and that after an unclean end its rows make the content files what they were,
 * also where the disk has nothing of them.
 */
#include "tests/unit/cache_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cache/content_log.h"
#include "cache/inode.h"
#include "cache/internal.h"

#define LARGE (CONTENT_LOG_WRITE_MAX + 1)

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f_init(f);
	f->config.no_sync = false;
	*state = f;
	return 0;
}

static int64_t rows(struct fixture *f)
{
	return query(f, "SELECT count(*) FROM content_log");
}

/* A process of its own does it, and is killed.  What it asserts makes it end otherwise. */
static void do_and_be_killed(struct fixture *f, void (*fn)(struct fixture *f))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		f_open(f);
		fn(f);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What a power cut does to what was not synced: none of the content files is there. */
static unsigned lose_content_files(struct fixture *f)
{
	return f_content_files(f, true);
}

static void write_at(struct fixture *f, uint64_t ino, uint64_t offset, const char *content)
{
	assert_int_equal(f_write_as(f, ino, offset, content, strlen(content), UNSTABLE), 0);
}

static void write_large(struct fixture *f, uint64_t ino, char byte)
{
	static char content[LARGE];

	memset(content, byte, sizeof(content));
	assert_int_equal(f_write_as(f, ino, 0, content, sizeof(content), UNSTABLE), 0);
	assert_int_equal(f_commit(f, ino), 0);
}

/* ---- a power cut ---- */

static void small_ones(struct fixture *f)
{
	uint64_t a = made(f, ROOT, "a", NULL), b = made(f, ROOT, "b", NULL);

	write_at(f, a, 0, "first of all");
	assert_int_equal(f_commit(f, a), 0);
	write_at(f, a, 0, "FIRST");
	write_at(f, a, 12, ", more");
	assert_int_equal(f_commit(f, a), 0);
	assert_int_equal(f_write_as(f, b, 0, "stable", 6, FILE_SYNC), 0);
	assert_int_equal(rows(f), 3);
	/* Nothing is left to be made durable. */
	assert_int_equal(f_commit(f, b), 0);
	assert_int_equal(rows(f), 3);
}

static void after_a_power_cut(void **state)
{
	struct fixture *f = *state;

	do_and_be_killed(f, small_ones);
	assert_int_equal(lose_content_files(f), 2);
	f_open(f);
	assert_content(f, found(f, ROOT, "a"), "FIRST of all, more");
	assert_content(f, found(f, ROOT, "b"), "stable");
	assert_int_equal(rows(f), 0);
}

/* It ends at a file's end, and does not bring back what was cut off. */
static void cut_and_grown(struct fixture *f)
{
	uint64_t a = made(f, ROOT, "a", NULL), b = made(f, ROOT, "b", NULL);

	write_at(f, a, 0, "abcdefgh");
	assert_int_equal(f_commit(f, a), 0);
	write_at(f, a, 8, "ijkl");
	assert_int_equal(f_commit(f, a), 0);
	assert_int_equal(f_truncate(f, a, 3), 0);
	assert_int_equal(f_truncate(f, a, 10), 0);
	write_at(f, b, 0, "gone");
	assert_int_equal(f_commit(f, b), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
}

static void cut_is_cut(void **state)
{
	struct fixture *f = *state;
	char content[11] = { 0 };
	uint64_t a;

	do_and_be_killed(f, cut_and_grown);
	f_open(f);
	a = found(f, ROOT, "a");
	assert_int_equal(f_read(f, a, 0, content, 10), 0);
	assert_int_equal(f->op.count, 10);
	assert_memory_equal(content, "abc\0\0\0\0\0\0\0", 10);
	assert_int_equal(f_lookup(f, ROOT, "b"), -ENOENT);
}

/* ---- what is newer stays ---- */

static void large_after_small(struct fixture *f)
{
	uint64_t a = made(f, ROOT, "a", NULL);

	write_at(f, a, 0, "small");
	assert_int_equal(f_commit(f, a), 0);
	assert_int_equal(rows(f), 1);
	write_large(f, a, 'l');
	assert_int_equal(rows(f), 0);
	write_at(f, a, 3, "S");
	assert_int_equal(f_commit(f, a), 0);
	assert_int_equal(rows(f), 1);
}

static void large_is_not_overwritten(void **state)
{
	struct fixture *f = *state;
	char content[8] = { 0 };

	do_and_be_killed(f, large_after_small);
	f_open(f);
	assert_int_equal(f_read(f, found(f, ROOT, "a"), 0, content, 7), 0);
	assert_string_equal(content, "lllSlll");
}

/* DURABILITY_ASYNC does not wait for the disk with FILE_SYNC, but what it has answered survives a kill. */
static void async_after_commit(struct fixture *f)
{
	uint64_t a = made(f, ROOT, "a", NULL), b = made(f, ROOT, "b", NULL);

	assert_int_equal(f_write_as(f, b, 0, "other", 5, FILE_SYNC), 0);
	assert_int_equal(rows(f), 1);
	write_at(f, a, 0, "older");
	assert_int_equal(f_commit(f, a), 0);
	assert_int_equal(f_write_as(f, a, 0, "newer", 5, FILE_SYNC), 0);
	assert_int_equal(rows(f), 3);
}

static void async_newest_stays(void **state)
{
	struct fixture *f = *state;

	f->config.durability = DURABILITY_ASYNC;
	do_and_be_killed(f, async_after_commit);
	f_open(f);
	assert_content(f, found(f, ROOT, "a"), "newer");
	assert_content(f, found(f, ROOT, "b"), "other");
}

/* ---- a transaction that is taken back ---- */

static void undone(void **state)
{
#ifndef IZO_FAULTS
	(void)state;
	skip();
#else
	struct fixture *f = *state;
	uint64_t a;

	f_open(f);
	a = made(f, ROOT, "a", NULL);
	write_at(f, a, 0, "text");
	assert_int_equal(f_commit(f, a), -ENOMEM);
	assert_int_equal(rows(f), 0);
	assert_int_equal(f_commit(f, a), 0);
	assert_int_equal(rows(f), 1);
	assert_content(f, a, "text");
#endif
}

/* ---- a start that cannot put them into the files ---- */

#ifdef IZO_FAULTS
static void does_not_start(struct fixture *f)
{
	struct cache *cache;
	char *why = NULL;

	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(cache_open(&f->config, &cache, &why), -EIO);
	assert_non_null(why);
	free(why);
	loop_free(f->loop);
	assert_int_equal(rows(f), 3);
}
#endif

static void start_fails(void **state)
{
#ifndef IZO_FAULTS
	(void)state;
	skip();
#else
	struct fixture *f = *state;

	do_and_be_killed(f, small_ones);
	assert_int_equal(lose_content_files(f), 2);
	does_not_start(f);	/* the second row */
	does_not_start(f);	/* the sync of them all */
	f_open(f);
	assert_content(f, found(f, ROOT, "a"), "FIRST of all, more");
	assert_content(f, found(f, ROOT, "b"), "stable");
	assert_int_equal(rows(f), 0);
#endif
}

/* ---- what it takes ---- */

static void takes_what_is_small_and_here(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;
	uint64_t a;
	int err;

	f_open(f);
	a = made(f, ROOT, "a", NULL);
	pthread_mutex_lock(&f->cache->lock);
	inode = inode_get(f->cache, a, &err);
	assert_int_equal(inode_wake(f->cache, inode), 0);
	assert_false(content_log_takes(f->cache, inode));	/* nothing */
	inode->v.size = 3 * LARGE;
	assert_int_equal(extent_add(&inode->present, 0, 100), 0);
	assert_int_equal(extent_add(&inode->present, 200, 300), 0);
	inode->work->unsynced = (struct extent){ 10, 100 };
	assert_true(content_log_takes(f->cache, inode));
	inode->work->unsynced.end = 250;			/* something between is absent */
	assert_false(content_log_takes(f->cache, inode));
	assert_int_equal(extent_add(&inode->present, 0, 2 * LARGE), 0);
	assert_true(content_log_takes(f->cache, inode));
	inode->work->unsynced.end = 10 + CONTENT_LOG_WRITE_MAX;
	assert_true(content_log_takes(f->cache, inode));
	inode->work->unsynced.end++;
	assert_false(content_log_takes(f->cache, inode));
	inode->work->unsynced.end = 100;
	inode->work->synced_gen = inode->work->logged_gen = 1;
	inode->work->fetched_gen = 2;				/* and its bytes are not on the disk */
	assert_false(content_log_takes(f->cache, inode));
	inode->work->synced_gen = 2;
	assert_true(content_log_takes(f->cache, inode));
	inode->v.size = 10;					/* it was cut since */
	assert_false(content_log_takes(f->cache, inode));
	/* Nobody has written to it. */
	inode->v.size = 0;
	extent_release(&inode->present);
	inode->work->unsynced = (struct extent){ 0 };
	inode->work->synced_gen = inode->work->write_gen;
	inode->work->fetched_gen = 0;
	inode_put(f->cache, inode);
	pthread_mutex_unlock(&f->cache->lock);
}

/* ---- it does not grow ---- */

static void drained(void **state)
{
	struct fixture *f = *state;
	char name[16], content[16];
	uint64_t ino = 0;

	f_open(f);
	for (unsigned i = 0; i < CONTENT_LOG_DRAIN_ROWS + 10; i++) {
		snprintf(name, sizeof(name), "f%u", i / 8);
		snprintf(content, sizeof(content), "content %u", i);
		if (i % 8 == 0)
			ino = made(f, ROOT, name, NULL);
		write_at(f, ino, 0, content);
		assert_int_equal(f_commit(f, ino), 0);
	}
	for (unsigned i = 0; i < 3000 && rows(f) > 100; i++)
		usleep(10000);
	assert_true(rows(f) <= 100);	/* those that came after it had begun */
	assert_content(f, ino, content);
	f_close(f);
	assert_int_equal(rows(f), 0);
	f_open(f);
	assert_content(f, ino, content);
	assert_content(f, found(f, ROOT, "f0"), "content 7");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, f_teardown)
	const struct CMUnitTest tests[] = {
		T(undone), T(start_fails),	/* first: their faults are hit once */
		T(after_a_power_cut), T(cut_is_cut), T(large_is_not_overwritten), T(async_newest_stays),
		T(takes_what_is_small_and_here), T(drained),
	};

	if (setenv("IZO_FAULT", "content_log.append:1:ENOMEM,content_log.redo:2:EIO,content_log.sync:1:EIO", 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
