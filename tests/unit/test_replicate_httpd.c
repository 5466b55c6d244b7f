/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A real cache, replicate/, and the built izo-httpd: changes on both sides, the upstream killed
 * in the middle.
 */
#include <assert.h>
#include "base/fs.h"
#include "base/log.h"
#include "cache/apply.h"
#include "tests/unit/upstream_process.h"

struct world {
	struct fixture f;
	struct upstream up;
	struct replicate *replicate;
};

static void link_start(struct world *w)
{
	w->replicate = link_new(&w->up, &w->f, "testhost");
}

static void link_stop(struct world *w)
{
	replicate_stop(w->replicate);
	w->replicate = NULL;
}

static bool is_connected(struct world *w)
{
	return link_is_connected(w->replicate);
}

static bool is_drained(struct world *w)
{
	return log_is_drained(&w->f);
}

static void drain(struct world *w, int seconds)
{
	assert_int_equal(replicate_sync(w->replicate), 0);
	UNTIL(seconds, is_drained(w));
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	f_init(&w->f);
	w->f.config.starts_empty = false;
	w->f.wait_us = 10 * US_PER_S;
	*state = w;
	if (!upstream_init(&w->up, w->f.dir))
		return 0;
	f_open(&w->f);
	upstream_start(&w->up);
	link_start(w);
	UNTIL(10, is_connected(w));
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->replicate)
		link_stop(w);
	if (w->f.cache)
		f_close(&w->f);
	upstream_kill(&w->up, SIGKILL);
	f_remove_dir(&w->f);
	free(w);
	return 0;
}

/* ---- the two trees ---- */

static const char *there(struct world *w, const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", w->up.export, name);
	return path;
}

static bool there_is(struct world *w, const char *name, const char *want)
{
	char got[4096];
	int fd = open(there(w, name), O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = fs_pread_full(fd, got, sizeof(got), 0);
	close(fd);
	return n == (ssize_t)strlen(want) && !memcmp(got, want, strlen(want));
}

static void write_there(struct world *w, const char *name, const char *content)
{
	int fd = open(there(w, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fs_write_all(fd, content, strlen(content)), 0);
	close(fd);
}

static bool here_is(struct world *w, uint64_t dir, const char *name, const char *want)
{
	uint64_t ino = found(&w->f, dir, name);
	char got[4096];

	if (!ino || f_read(&w->f, ino, 0, got, sizeof(got)))
		return false;
	return w->f.op.count == strlen(want) && !memcmp(got, want, strlen(want));
}

static int count_there(struct world *w, const char *pattern)
{
	char command[300], line[32] = "";
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "find '%s' -name .intermezzo -prune -o -name '%s' -print | wc -l", w->up.export,
		 pattern);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(line, sizeof(line), pipe));
	pclose(pipe);
	return atoi(line);
}

/* ---- tests ---- */

static void both_ways(void **state)
{
	struct world *w = *state;
	struct stat st;
	uint64_t dir, ino;

	NEEDS_HTTPD(&w->up);
	dir = made_dir(&w->f, ROOT, "work");
	made(&w->f, dir, "a", "hello");
	made(&w->f, dir, "empty", NULL);
	made(&w->f, dir, "goes", "soon");
	ino = made(&w->f, dir, "b", "linked");
	assert_int_equal(f_link(&w->f, ino, ROOT, "b2"), 0);
	assert_int_equal(f_symlink(&w->f, dir, "s", "a"), 0);
	assert_int_equal(f_rename(&w->f, dir, "a", ROOT, "moved"), 0);
	assert_int_equal(f_chmod(&w->f, ino, 0640), 0);
	drain(w, 10);
	assert_true(there_is(w, "moved", "hello"));
	assert_true(there_is(w, "b2", "linked"));
	assert_true(there_is(w, "work/empty", ""));
	assert_int_equal(stat(there(w, "work/b"), &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(lstat(there(w, "work/s"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));

	/* what local programs do there */
	write_there(w, "new", "from there");
	write_there(w, "moved", "changed there");
	assert_int_equal(unlink(there(w, "work/goes")), 0);
	UNTIL(10, here_is(w, ROOT, "new", "from there"));
	UNTIL(10, here_is(w, ROOT, "moved", "changed there"));
	UNTIL(10, !found(&w->f, dir, "goes"));
	/* and goes on from there */
	ino = found(&w->f, ROOT, "moved");
	assert_int_equal(f_write(&w->f, ino, 0, "CHANGED"), 0);
	assert_int_equal(f_commit(&w->f, ino), 0);
	drain(w, 10);
	assert_true(there_is(w, "moved", "CHANGED there"));
	assert_int_equal(count_there(w, "*.conflict-*"), 0);
}

static unsigned char byte_at(uint64_t offset)
{
	return (unsigned char)(offset * 7 + (offset >> 13));
}

static void write_big(struct world *w, uint64_t ino, uint64_t offset, uint64_t len)
{
	unsigned char data[64 << 10];

	for (uint64_t end = offset + len; offset < end; offset += sizeof(data)) {
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = byte_at(offset + i);
		assert_int_equal(f_write_as(&w->f, ino, offset, data, sizeof(data), UNSTABLE), 0);
	}
}

static void assert_big(struct world *w, const char *name, uint64_t offset, uint64_t len)
{
	int fd = open(there(w, name), O_RDONLY | O_CLOEXEC);
	unsigned char data[64 << 10];

	assert_true(fd >= 0);
	for (uint64_t end = offset + len; offset < end; offset += sizeof(data)) {
		assert_int_equal(fs_pread_full(fd, data, sizeof(data), offset), sizeof(data));
		for (size_t i = 0; i < sizeof(data); i++)
			if (data[i] != byte_at(offset + i))
				fail_msg("%s differs at %llu", name,
					 (unsigned long long)(offset + i));
	}
	close(fd);
}

/* Over 4 GiB, nearly all of it holes; then a piece in its middle. */
static void large_and_sparse(void **state)
{
	const uint64_t far = (5ull << 30) - (64 << 10);
	struct world *w = *state;
	struct stat st;
	uint64_t ino;

	NEEDS_HTTPD(&w->up);
	ino = made(&w->f, ROOT, "big", NULL);
	write_big(w, ino, 1 << 20, 20 << 20);
	write_big(w, ino, far, 64 << 10);
	assert_int_equal(f_commit(&w->f, ino), 0);
	drain(w, 60);
	assert_int_equal(stat(there(w, "big"), &st), 0);
	assert_int_equal(st.st_size, 5ull << 30);
	assert_true((uint64_t)st.st_blocks * 512 < 64u << 20);
	assert_big(w, "big", 1 << 20, 20 << 20);
	assert_big(w, "big", far, 64 << 10);
	write_big(w, ino, 3ull << 30, 64 << 10);
	assert_int_equal(f_commit(&w->f, ino), 0);
	drain(w, 60);
	assert_big(w, "big", 3ull << 30, 64 << 10);
	assert_big(w, "big", 1 << 20, 20 << 20);
	assert_int_equal(count_there(w, "*.conflict-*"), 0);
}

/*
 * Names and attributes of the whole tree are here without having been asked for; contents are
 * not.
 */
static void offline(void **state)
{
	struct world *w = *state;
	char data[16];
	uint64_t ino;

	NEEDS_HTTPD(&w->up);
	link_stop(w);
	f_close(&w->f);
	assert_int_equal(mkdir(there(w, "deep"), 0755), 0);
	assert_int_equal(mkdir(there(w, "deep/deeper"), 0755), 0);
	write_there(w, "deep/deeper/file", "content");
	f_open(&w->f);
	link_start(w);
	UNTIL(10, is_connected(w));
	UNTIL(10, found(&w->f, ROOT, "deep"));
	/*
	 * The tree's listing is in when the directory below, which nobody looked into, needs no
	 * link.
	 */
	for (uint64_t end = clock_us() + 10 * US_PER_S;;) {
		assert_int_equal(replicate_set_offline(w->replicate, true), 0);
		UNTIL(5, !is_connected(w));
		ino = found(&w->f, ROOT, "deep");
		ino = ino ? found(&w->f, ino, "deeper") : 0;
		ino = ino ? found(&w->f, ino, "file") : 0;
		if (ino)
			break;
		assert_true(clock_us() < end);
		assert_int_equal(replicate_set_offline(w->replicate, false), 0);
		UNTIL(5, is_connected(w));
		usleep(100000);
	}
	assert_int_equal(f_getattr(&w->f, ino), 0);
	assert_int_equal(w->f.op.attr.size, 7);
	assert_int_equal(f_read(&w->f, ino, 0, data, sizeof(data)), -EIO);
	made(&w->f, ROOT, "while-away", "ours");
	assert_false(there_is(w, "while-away", "ours"));
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	drain(w, 10);
	assert_true(there_is(w, "while-away", "ours"));
	assert_int_equal(f_read(&w->f, ino, 0, data, sizeof(data)), 0);
	assert_memory_equal(data, "content", 7);
}

static void make_many(struct world *w, int round)
{
	char name[32], content[64];
	uint64_t dir, ino;

	snprintf(name, sizeof(name), "round%d", round);
	dir = made_dir(&w->f, ROOT, name);
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		snprintf(content, sizeof(content), "round %d file %d", round, i);
		made(&w->f, dir, name, content);
		if (i % 3 == 1) {
			char to[32];

			snprintf(to, sizeof(to), "r%d", i);
			assert_int_equal(f_rename(&w->f, dir, name, dir, to), 0);
		} else if (i % 3 == 2) {
			assert_int_equal(f_remove(&w->f, dir, name), 0);
		}
	}
	ino = made(&w->f, dir, "large", NULL);
	write_big(w, ino, 0, 12 << 20);
	assert_int_equal(f_commit(&w->f, ino), 0);
}

static void assert_many(struct world *w, int round)
{
	char name[64], content[64];

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "round%d/%s%d", round, i % 3 == 1 ? "r" : "f", i);
		snprintf(content, sizeof(content), "round %d file %d", round, i);
		if (i % 3 == 2)
			assert_int_equal(access(there(w, name), F_OK), -1);
		else if (!there_is(w, name, content))
			fail_msg("%s", name);
	}
	snprintf(name, sizeof(name), "round%d/large", round);
	assert_big(w, name, 0, 12 << 20);
}

/*
 * The upstream is killed in the middle of replay and staging, several times; then ours is
 * restarted.
 */
static void killed_in_the_middle(void **state)
{
	enum { ROUNDS = 6 };
	struct world *w = *state;
	struct cml_totals totals;
	uint64_t records;

	NEEDS_HTTPD(&w->up);
	for (int round = 0; round < ROUNDS; round++) {
		make_many(w, round);
		cml_totals(w->f.cache, &totals);
		records = totals.records;
		/* some of it has gone, or a while has passed in which one large file goes */
		for (int i = 0; i < 20 * (round + 1) && records == totals.records; i++) {
			usleep(2000);
			cml_totals(w->f.cache, &totals);
		}
		upstream_kill(&w->up, SIGKILL);
		if (round % 2) {
			link_stop(w);
			f_reopen(&w->f);
			link_start(w);
		}
		upstream_start(&w->up);
		assert_int_equal(replicate_sync(w->replicate), 0);
		UNTIL(20, is_connected(w));
	}
	drain(w, 60);
	for (int round = 0; round < ROUNDS; round++)
		assert_many(w, round);
	/* nothing twice, nothing beside it */
	assert_int_equal(count_there(w, "*.conflict-*"), 0);
	assert_int_equal(count_there(w, "round*"), ROUNDS);
	assert_int_equal(count_there(w, "[fr][0-9]*"), ROUNDS * 40);
	assert_int_equal(count_there(w, "large"), ROUNDS);
}

/* A file that is written on and on, while it goes. */
static void written_while_sent(void **state)
{
	struct world *w = *state;
	uint64_t ino, at = 0;

	NEEDS_HTTPD(&w->up);
	ino = made(&w->f, ROOT, "on", NULL);
	for (int i = 0; i < 100; i++) {
		write_big(w, ino, at, 256 << 10);
		at += 256 << 10;
		if (i % 10 == 0)
			assert_int_equal(f_commit(&w->f, ino), 0);
		usleep(5000);
	}
	assert_int_equal(f_commit(&w->f, ino), 0);
	drain(w, 60);
	assert_big(w, "on", 0, at);
	assert_int_equal(count_there(w, "*.conflict-*"), 0);
}

/* Changed on both sides: both are there, on both sides. */
static void conflict(void **state)
{
	struct world *w = *state;
	uint64_t ino;

	NEEDS_HTTPD(&w->up);
	ino = made(&w->f, ROOT, "both", "first");
	drain(w, 10);
	assert_int_equal(replicate_set_offline(w->replicate, true), 0);
	UNTIL(5, !is_connected(w));
	assert_int_equal(f_write(&w->f, ino, 0, "ours!"), 0);
	assert_int_equal(f_commit(&w->f, ino), 0);
	write_there(w, "both", "theirs");
	assert_int_equal(replicate_set_offline(w->replicate, false), 0);
	UNTIL(10, is_connected(w));
	drain(w, 20);
	assert_true(there_is(w, "both", "theirs"));
	UNTIL(10, count_there(w, "both.conflict-testhost-*") == 1);
	UNTIL(10, here_is(w, ROOT, "both", "theirs"));
}

/* The URL leads to another export: it gets nothing of ours. */
static void another_upstream(void **state)
{
	struct world *w = *state;
	struct replicate_status status;
	char command[300];

	NEEDS_HTTPD(&w->up);
	made(&w->f, ROOT, "first", "for them");
	drain(w, 10);
	link_stop(w);
	upstream_kill(&w->up, SIGKILL);
	snprintf(command, sizeof(command), "rm -rf '%s'/.intermezzo", w->up.export);
	assert_int_equal(system(command), 0);
	upstream_start(&w->up);
	made(&w->f, ROOT, "ours", "not for them");
	link_start(w);
	for (uint64_t end = clock_us() + 10 * US_PER_S; clock_us() < end; usleep(2000)) {
		replicate_get_status(w->replicate, &status);
		if (status.held[0])
			break;
	}
	assert_int_equal(status.state, LINK_DISCONNECTED);
	assert_non_null(strstr(status.reason, "another upstream"));
	assert_int_equal(access(there(w, "ours"), F_OK), -1);
	assert_false(is_drained(w));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_ways),
		TEST(large_and_sparse),
		TEST(offline),
		TEST(killed_in_the_middle),
		TEST(written_while_sent),
		TEST(conflict),
		TEST(another_upstream),
	};

	if (getenv("IZO_TRACE"))
		assert(!log_trace(getenv("IZO_TRACE")));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
