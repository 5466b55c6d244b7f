/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands: how they end, how they are ended, and what they have. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/run.h"

static char output[200];

/* As who runs the test, ten seconds, no directory. */
static struct run run_of(const char *command)
{
	static char *const env[] = { (char *)"PATH=/usr/bin:/bin", (char *)"A=a b", NULL };

	return (struct run){ .command = command, .env = env, .dirfd = -1, .uid = getuid(), .gid = getgid(), .limit_s = 10, .stop_fd = -1,
			     .output = output, .output_room = sizeof(output) };
}

static void assert_run(struct run *run, int want, const char *want_output)
{
	int status = -1;

	assert_int_equal(run_command(run, &status), 0);
	assert_int_equal(status, want);
	assert_string_equal(output, want_output);
}

static void assert_says(const char *command, int want, const char *want_output)
{
	struct run run = run_of(command);

	assert_run(&run, want, want_output);
}

static void ends(void **state)
{
	(void)state;
	assert_says("true", 0, "");
	assert_says("exit 7", 7, "");
	assert_says("kill -KILL $$", 128 + SIGKILL, "");
	assert_says("echo out; echo err >&2", 0, "out\nerr\n");
	assert_says("nothing-of-that-name 2> /dev/null", 127, "");
}

static void says_too_much(void **state)
{
	struct run run = run_of("printf 1234567890; head -c 1000000 /dev/zero");

	(void)state;
	run.output_room = 6;
	assert_run(&run, 0, "12345");
}

static void has_nothing_but_its_own(void **state)
{
	int fd = open("/dev/null", O_RDONLY), dirfd = open("/proc/self", O_RDONLY | O_DIRECTORY);
	struct run run = run_of("test -e /proc/self/fd/9/status && ls /proc/self/fd | tr '\\n' ' '");

	(void)state;
	assert_true(fd >= 0 && dirfd >= 0);
	assert_int_equal(dup2(fd, 9), 9);	/* in the way */
	assert_int_equal(dup2(fd, 10), 10);
	assert_says("env | grep -v -e ^PWD= -e ^_= -e ^OLDPWD= -e ^SHLVL= | sort | tr '\\n' ' '", 0, "A=a b PATH=/usr/bin:/bin ");
	/* The last is of ls itself. */
	assert_says("ls /proc/self/fd | tr '\\n' ' '", 0, "0 1 2 3 ");
	assert_says("cat; pwd; umask", 0, "/\n0077\n");
	/* 32 and 33 are the C library's, which lets nobody change them: they are as this test was given them. */
	assert_says("for s in Blk Ign; do echo $((0x$(sed -n \"s/^Sig$s:.//p\" /proc/self/status) & ~0x180000000)); done", 0, "0\n0\n");
	assert_says("cat /proc/self/oom_score_adj", 0, "0\n");
	run.dirfd = dirfd;
	assert_run(&run, 0, "0 1 2 3 9 ");
	close(9);
	close(10);
	close(dirfd);
	close(fd);
}

static void as_another(void **state)
{
	struct run run = run_of("id -u; id -g; id -G");

	(void)state;
	if (geteuid())
		skip();
	run.uid = 65534;
	run.gid = 65533;
	assert_run(&run, 0, "65534\n65533\n65533\n");
}

/* $s in it: a sleep that no other run of this test has. */
static struct run run_of_sleep(const char *command)
{
	static char text[100];

	snprintf(text, sizeof(text), "s='sleep 4712.%d'; %s", (int)getpid(), command);
	return run_of(text);
}

static void assert_ended(struct run *run, int want)
{
	uint64_t began_us = clock_us();
	char look[150];
	int status;

	/* What was killed beside the command itself may take a moment to be gone. */
	snprintf(look, sizeof(look), "for i in $(seq 300); do ps -eo args= | grep -qx 'sleep 4712[.]%d' || exit 0; sleep 0.1; done; exit 1",
		 (int)getpid());
	assert_int_equal(run_command(run, &status), want);
	assert_true(clock_us() - began_us < 60 * US_PER_S);
	assert_int_equal(system(look), 0);
}

/* With all that it has started. */
static void takes_too_long(void **state)
{
	struct run run = run_of_sleep("$s & $s");

	(void)state;
	run.limit_s = 1;
	assert_ended(&run, -ETIMEDOUT);
	run = run_of_sleep("trap '' TERM INT HUP; $s");
	run.limit_s = 1;
	assert_ended(&run, -ETIMEDOUT);
	/* One that only keeps the pipe is waited for no longer than what was asked for. */
	run = run_of_sleep("$s &");
	assert_ended(&run, 0);
}

static void told_to_end(void **state)
{
	struct run run = run_of("sleep 4712");
	uint64_t one = 1;

	(void)state;
	run.stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(write(run.stop_fd, &one, sizeof(one)), sizeof(one));
	run.limit_s = 100;
	assert_ended(&run, -ECANCELED);
	close(run.stop_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends), cmocka_unit_test(says_too_much), cmocka_unit_test(has_nothing_but_its_own), cmocka_unit_test(as_another),
		cmocka_unit_test(takes_too_long), cmocka_unit_test(told_to_end),
	};

	/* As the daemon has it. */
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
