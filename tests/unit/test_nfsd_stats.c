/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is counted of calls, where their time went, and the lines about slow ones. */
#include "tests/unit/fixed.h"
#include "tests/unit/nfsd_fixture.h"
#include <fcntl.h>
#include "base/log.h"
#include "nfsd/nfs3.h"

#define LONG_US (7 * US_PER_S)

static const struct kind_case {
	const char *name;
	int err;
	enum nfsd_error want;
} kind_cases[] = {
	{ "ENOENT", -ENOENT, NFSD_ERROR_MISSING },
	{ "ESTALE", -ESTALE, NFSD_ERROR_MISSING },
	{ "a bad handle", -NFSD_EBADHANDLE, NFSD_ERROR_MISSING },
	{ "EACCES", -EACCES, NFSD_ERROR_DENIED },
	{ "EPERM", -EPERM, NFSD_ERROR_DENIED },
	{ "EROFS", -EROFS, NFSD_ERROR_DENIED },
	{ "EEXIST", -EEXIST, NFSD_ERROR_REFUSED },
	{ "ENOTEMPTY", -ENOTEMPTY, NFSD_ERROR_REFUSED },
	{ "the guard of a SETATTR", -ECANCELED, NFSD_ERROR_REFUSED },
	{ "no room for one entry", -NFSD_ETOOSMALL, NFSD_ERROR_REFUSED },
	{ "ENOSPC", -ENOSPC, NFSD_ERROR_SPACE },
	{ "EDQUOT", -EDQUOT, NFSD_ERROR_SPACE },
	{ "EFBIG", -EFBIG, NFSD_ERROR_SPACE },
	{ "EIO", -EIO, NFSD_ERROR_IO },
	{ "ETIMEDOUT", -ETIMEDOUT, NFSD_ERROR_IO },
	{ "ENOMEM", -ENOMEM, NFSD_ERROR_IO },
	{ "one that has no name in NFS", -EL2HLT, NFSD_ERROR_IO },
};

static void kind(void **state)
{
	const struct kind_case *c = *state;

	assert_int_equal(stats_error_kind(c->err), c->want);
}

static void every_row_has_a_name(void **state)
{
	struct nfsd_stats stats = n_stats(*state);

	for (size_t i = 0; i < NFSD_PROCS; i++) {
		assert_non_null(stats.proc[i].name);
		assert_string_equal(stats.proc[i].program, i < NFSD_STATS_MOUNT ? "NFS" :
				    i < NFSD_STATS_ACL ? "MOUNT" : "NFSACL");
	}
	assert_string_equal(stats.proc[NFSPROC3_COMMIT].name, "COMMIT");
	assert_string_equal(stats.proc[NFSD_STATS_MOUNT + 1].name, "MNT");
}

static size_t send_lookup(int fd, uint32_t xid, const uint8_t *dir, const char *name)
{
	struct call_buf c = nfs_call(xid, NFSPROC3_LOOKUP);
	size_t len;

	xdr_out_opaque(&c.out, dir, FH_LEN);
	xdr_out_opaque(&c.out, name, strlen(name));
	len = call_seal(&c);
	call_send(fd, &c);
	return len;
}

static struct call_buf create_call(uint32_t xid, const uint8_t *dir, const char *name)
{
	struct call_buf c = nfs_call(xid, NFSPROC3_CREATE);

	xdr_out_opaque(&c.out, dir, FH_LEN);
	xdr_out_opaque(&c.out, name, strlen(name));
	xdr_out_u32(&c.out, UNCHECKED);
	for (int i = 0; i < 6; i++)
		xdr_out_u32(&c.out, 0);
	return c;
}

static void create(struct nfsd_fixture *n, int fd, uint32_t xid, const char *name)
{
	struct call_buf c = create_call(xid, n->root, name);
	struct reply r;

	call_send(fd, &c);
	r = n_success(fd, xid);
	assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
	reply_free(&r);
}

static uint64_t sum(const uint64_t *figures, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += figures[i];
	return total;
}

static void calls_errors_and_bytes(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);
	struct nfsd_proc_stats proc;
	uint64_t in = 0, out = 0;

	for (uint32_t xid = 1; xid <= 5; xid++) {
		struct reply r;

		in += send_lookup(fd, xid, n->root, xid < 4 ? "." : "missing");
		r = n_success(fd, xid);
		out += r.len + 4;
		assert_int_equal(xdr_in_u32(&r.in), xid < 4 ? NFS3_OK : NFS3ERR_NOENT);
		reply_free(&r);
	}
	n_assert_stat(n, proc[NFSPROC3_LOOKUP].calls, 5);
	proc = n_stats(n).proc[NFSPROC3_LOOKUP];
	assert_int_equal(proc.errors, 2);
	assert_int_equal(proc.error[NFSD_ERROR_MISSING], 2);
	assert_int_equal(sum(proc.error, NFSD_ERRORS), 2);
	assert_int_equal(proc.bytes_in, in);
	assert_int_equal(proc.bytes_out, out);
	assert_int_equal(sum(proc.latency, HISTOGRAM_BUCKETS), 5);
	assert_true(proc.max_us <= proc.total_us);
	assert_int_equal(sum(proc.where_us, NFSD_WHERES) - proc.where_us[NFSD_RECEIVE] - proc.where_us[NFSD_SEND],
			 proc.total_us);
	close(fd);
}

/* The second the calls were in must be over: time is turned on. */
static void recent_calls(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);

	for (uint32_t xid = 0; xid < 30; xid++) {
		send_null(fd, xid);
		expect_null(fd, xid);
	}
	n_assert_stat(n, proc[NFSPROC3_NULL].calls, 30);
	clock_advance(2 * US_PER_S);
	assert_int_equal(n_stats(n).recent, 30);
	/* Now it is the turn of the place again that those were counted in. */
	clock_advance((STATS_SECONDS - 2) * US_PER_S);
	assert_int_equal(n_stats(n).recent, 0);
	send_null(fd, 7);
	expect_null(fd, 7);
	clock_advance(2 * US_PER_S);
	assert_int_equal(n_stats(n).recent, 1);
	close(fd);
}

/* Half a record, and the rest much later: the peer's time, not ours. */
static void receiving_is_told_apart(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);
	struct call_buf c = nfs_call(1, NFSPROC3_NULL);
	size_t len = call_seal(&c);
	struct nfsd_proc_stats proc;

	n_send(fd, c.record, 10);
	n_assert_stat(n, bytes_in, 10);
	clock_advance(LONG_US);
	n_send(fd, c.record + 10, len - 10);
	expect_null(fd, 1);
	n_assert_stat(n, proc[NFSPROC3_NULL].calls, 1);
	proc = n_stats(n).proc[NFSPROC3_NULL];
	assert_true(proc.where_us[NFSD_RECEIVE] >= LONG_US);
	assert_true(proc.total_us < LONG_US);
	/* The next one of this connection has nothing to do with it. */
	assert_served(fd);
	assert_int_equal(n_stats(n).proc[NFSPROC3_NULL].where_us[NFSD_RECEIVE], proc.where_us[NFSD_RECEIVE]);
	close(fd);
	free(c.record);
}

static void waiting_for_the_commit_is_told_apart(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);
	struct nfsd_proc_stats proc;

	create(n, fd, 1, "file");
	n_assert_stat(n, proc[NFSPROC3_CREATE].calls, 1);
	proc = n_stats(n).proc[NFSPROC3_CREATE];
	assert_true(proc.where_us[NFSD_COMMIT] > 0);
	assert_int_equal(proc.where_us[NFSD_FETCH], 0);
	assert_true(proc.where_us[NFSD_COMMIT] <= proc.total_us);
	assert_served(fd);
	assert_int_equal(n_stats(n).proc[NFSPROC3_NULL].where_us[NFSD_COMMIT], 0);
	close(fd);
}

static void pauses(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd;
	struct call_buf c;

	n->config.max_calls = 1;
	n_start(n);
	fd = n_connect(n);
	assert_int_equal(n_stats(n).pauses, 0);
	c = create_call(1, n->root, "file");
	/* In one piece, so that the second call is there while the first one waits. */
	struct call_buf second = nfs_call(2, NFSPROC3_NULL);
	size_t len = call_seal(&c), second_len = call_seal(&second);

	memcpy(c.record + len, second.record, second_len);
	n_send(fd, c.record, len + second_len);
	struct reply r = n_success(fd, 1);

	reply_free(&r);
	expect_null(fd, 2);
	assert_int_equal(n_stats(n).pauses, 1);
	free(c.record);
	free(second.record);
	close(fd);
}

/* ---- slow calls ---- */

struct captured {
	int saved, fd;
	char path[64];
};

static struct captured capture(void)
{
	struct captured c;

	strcpy(c.path, "/tmp/izo-test_nfsd_stats-XXXXXX");
	c.fd = mkstemp(c.path);
	assert_true(c.fd >= 0);
	c.saved = dup(STDERR_FILENO);
	assert_true(dup2(c.fd, STDERR_FILENO) >= 0);
	return c;
}

/* How many lines have this in them. */
static unsigned captured_lines(const struct captured *c, const char *what)
{
	static char text[65536];
	ssize_t len = pread(c->fd, text, sizeof(text) - 1, 0);
	unsigned n = 0;

	assert_true(len >= 0);
	text[len] = '\0';
	for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
		n++;
	return n;
}

static void capture_end(struct captured *c)
{
	dup2(c->saved, STDERR_FILENO);
	close(c->saved);
	close(c->fd);
	unlink(c->path);
}

/* Every call that waits for a transaction takes more than 1 us. */
static void slow_calls_have_lines_but_not_too_many(void **state)
{
	struct nfsd_fixture *n = *state;
	struct captured err;
	char name[16];
	int fd;

	n->config.slow_call_us = 1;
	log_set_level(LOG_LEVEL_WARN);
	n_start(n);
	fd = n_connect(n);
	err = capture();
	for (uint32_t xid = 1; xid <= 15; xid++) {
		snprintf(name, sizeof(name), "file%u", xid);
		create(n, fd, xid, name);
	}
	n_assert_stat(n, slow, 15);
	assert_int_equal(captured_lines(&err, "slow call: NFS CREATE took "), 10);
	assert_int_equal(captured_lines(&err, "held_back=0"), 10);
	assert_int_equal(captured_lines(&err, " ino=2 "), 10);
	clock_advance(60 * US_PER_S);
	create(n, fd, 16, "last");
	n_assert_stat(n, slow, 16);
	assert_int_equal(captured_lines(&err, "slow call: NFS CREATE took "), 11);
	assert_int_equal(captured_lines(&err, "held_back=5"), 1);
	close(fd);
	n_stop(n);
	capture_end(&err);
	log_set_level(LOG_LEVEL_ERROR);
}

static void the_slow_line_says_where_the_time_went(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf c = nfs_call(0xabcd, NFSPROC3_NULL);
	size_t len = call_seal(&c);
	struct captured err;
	int fd;

	n->config.slow_call_us = LONG_US;
	log_set_level(LOG_LEVEL_WARN);
	n_start(n);
	fd = n_connect(n);
	err = capture();
	assert_served(fd);
	n_send(fd, c.record, 10);
	n_assert_stat(n, bytes_in, 10 + len);
	clock_advance(LONG_US);
	n_send(fd, c.record + 10, len - 10);
	expect_null(fd, 0xabcd);
	n_assert_stat(n, slow, 1);
	assert_int_equal(captured_lines(&err, "slow call"), 1);
	assert_int_equal(captured_lines(&err, "slow call: NFS NULL took 7"), 1);
	assert_int_equal(captured_lines(&err, ": receive=7"), 1);
	assert_int_equal(captured_lines(&err, "xid=0000abcd"), 1);
	close(fd);
	n_stop(n);
	capture_end(&err);
	log_set_level(LOG_LEVEL_ERROR);
	free(c.record);
}

static void none_is_slow_when_told(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);		/* slow_call_us is 0 */

	create(n, fd, 1, "file");
	n_assert_stat(n, proc[NFSPROC3_CREATE].calls, 1);
	assert_int_equal(n_stats(n).slow, 0);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, n_setup, n_teardown)
#define TEST_STOPPED(f) cmocka_unit_test_setup_teardown(f, n_setup_stopped, n_teardown)

int main(void)
{
	struct CMUnitTest tests[40] = {
		TEST(every_row_has_a_name),
		TEST(calls_errors_and_bytes),
		TEST(recent_calls),
		TEST(receiving_is_told_apart),
		TEST(waiting_for_the_commit_is_told_apart),
		TEST_STOPPED(pauses),
		TEST_STOPPED(slow_calls_have_lines_but_not_too_many),
		TEST_STOPPED(the_slow_line_says_where_the_time_went),
		TEST(none_is_slow_when_told),
	};
	size_t n = fixed_tests(tests);

	log_set_level(LOG_LEVEL_ERROR);
	for (size_t i = 0; i < ARRAY_SIZE(kind_cases); i++)
		tests[n++] = (struct CMUnitTest){ kind_cases[i].name, kind, NULL, NULL, (void *)&kind_cases[i] };
	return _cmocka_run_group_tests("stats", tests, n, NULL, NULL);
}
