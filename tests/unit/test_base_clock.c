/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clock_us() counts the time that the machine sleeps, and clock_advance() moves both clocks. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"

#define SLEPT_S 100000

/* A child's exit status. */
enum { COUNTED, NOT_COUNTED, NO_NAMESPACE };

static uint64_t system_us(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

/* In a time namespace of its own the machine has slept, so far as programs can tell: a child of this one is in it. */
static int in_namespace(void)
{
	static const char slept[] = "boottime 100000 0\n";
	int fd, status;
	pid_t pid;

	if (unshare(CLONE_NEWTIME) < 0)
		return NO_NAMESPACE;
	fd = open("/proc/self/timens_offsets", O_WRONLY);
	if (fd < 0 || write(fd, slept, sizeof(slept) - 1) < 0)
		return NO_NAMESPACE;
	pid = fork();
	if (!pid)
		_exit(clock_us() > system_us(CLOCK_MONOTONIC) + (SLEPT_S - 1) * US_PER_S ? COUNTED : NOT_COUNTED);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : NO_NAMESPACE;
}

static void sleep_counts(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (!pid)
		_exit(in_namespace());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_NAMESPACE) {
		print_message("no time namespace can be had here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), COUNTED);
}

static void advanced(void **state)
{
	uint64_t us = clock_us();
	int64_t wall_ns = clock_ns(clock_wall());

	(void)state;
	clock_advance(5 * US_PER_S + 999999);
	assert_true(clock_us() >= us + 5 * US_PER_S + 999999);
	assert_true(clock_us() < us + 3600 * US_PER_S);
	assert_true(clock_ns(clock_wall()) >= wall_ns + 5999999000);
	assert_in_range(clock_wall().tv_nsec, 0, 999999999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sleep_counts),
		cmocka_unit_test(advanced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
