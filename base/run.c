/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define FIRST_FREE 20		/* descriptors from here on are not those that the command gets */
#define ERROR_FD 10
#define FILES_MAX 1024		/* as programs expect it */
#define KILLED_WITHIN_MS 5000

struct child {
	const struct run *run;
	int null_fd, output_fd, error_fd;	/* from FIRST_FREE on */
	int dir_fd;
};

/* ---- in the child: other threads may hold any lock, so only system calls ---- */

static void reset_signals(void)
{
	const struct sigaction normal = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &normal, NULL);	/* but for those that cannot be changed */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What is ours for the mount's sake.  Where it cannot be given up, it was not ours, or does no harm. */
static void give_up_grants(const struct run *run)
{
	const struct rlimit cpu = { run->limit_s + 1, run->limit_s + 1 }, files = { FILES_MAX, FILES_MAX }, core = { 0, 0 };
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!write(fd, "0", 1);
		(void)close(fd);
	}
	(void)prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
	(void)setrlimit(RLIMIT_CPU, &cpu);	/* should nobody be there to end it */
	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)setrlimit(RLIMIT_CORE, &core);
}

static int set_descriptors(const struct child *child)
{
	if (dup2(child->null_fd, 0) < 0 || dup2(child->output_fd, 1) < 0 || dup2(child->output_fd, 2) < 0 ||
	    dup3(child->error_fd, ERROR_FD, O_CLOEXEC) < 0)
		return -errno;
	if (child->dir_fd >= 0 && dup2(child->dir_fd, RUN_DIR_FD) < 0)
		return -errno;
	if (syscall(SYS_close_range, 3, child->dir_fd >= 0 ? RUN_DIR_FD - 1 : RUN_DIR_FD, 0) < 0 ||
	    syscall(SYS_close_range, ERROR_FD + 1, ~0u, 0) < 0)
		return -errno;
	return 0;
}

/* The system calls themselves: libc's would ask all threads, which a child does not have. */
static int become(const struct run *run)
{
	if (geteuid())
		return 0;
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, run->gid, run->gid, run->gid) < 0 ||
	    syscall(SYS_setresuid, run->uid, run->uid, run->uid) < 0)
		return -errno;
	return 0;
}

static void __attribute__((noreturn)) child_run(const struct child *child)
{
	char *const argv[] = { (char *)"sh", (char *)"-c", (char *)child->run->command, NULL };
	int error_fd = child->error_fd, err;

	(void)setsid();		/* a new process leads no group */
	reset_signals();
	give_up_grants(child->run);
	err = set_descriptors(child);
	if (!err) {
		error_fd = ERROR_FD;
		err = become(child->run);
	}
	if (!err) {
		(void)umask(077);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);		/* after that, which takes it away */
		if (chdir("/") == 0)
			(void)execve("/bin/sh", argv, child->run->env);
		err = -errno;
	}
	(void)!write(error_fd, &err, sizeof(err));
	_exit(127);
}

/* ---- in the parent ---- */

/* One that is not among those which the command gets. */
static int high(int fd)
{
	int got = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);

	return got < 0 ? -errno : got;
}

struct talk {
	int output_fd, pid_fd;
	size_t len;
};

/* What it says, as far as there is room; the rest is let go.  Gives what read() does. */
static ssize_t take_output(struct run *run, struct talk *talk)
{
	char rest[4096];
	size_t room = run->output_room - 1 - talk->len;
	ssize_t got = read(talk->output_fd, room ? run->output + talk->len : rest, room ? room : sizeof(rest));

	if (got > 0 && room)
		talk->len += (size_t)got;
	return got;
}

/* Until it has ended: 0; or is to. */
static int attend(struct run *run, struct talk *talk)
{
	uint64_t until_us = clock_us() + run->limit_s * US_PER_S, now_us;
	struct pollfd fds[] = {
		{ .fd = talk->pid_fd, .events = POLLIN }, { .fd = run->stop_fd, .events = POLLIN }, { .fd = talk->output_fd, .events = POLLIN },
	};

	while ((now_us = clock_us()) < until_us) {
		int got = poll(fds, ARRAY_SIZE(fds), (int)((until_us - now_us) / US_PER_MS) + 1);

		if (got < 0 && errno != EINTR)
			return -errno;
		if (got <= 0)
			continue;
		if (fds[1].revents)
			return -ECANCELED;
		if (fds[2].revents && !take_output(run, talk))
			fds[2].fd = -1;		/* its end; any error is asked about again */
		if (fds[0].revents)
			return 0;
	}
	return -ETIMEDOUT;
}

static int reap(pid_t pid, int *ret_status)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
}

/* All of it ends.  Its number is its own until it is reaped. */
static int end(struct talk *talk, pid_t pid, int *ret_status)
{
	struct pollfd gone = { .fd = talk->pid_fd, .events = POLLIN };

	(void)kill(-pid, SIGKILL);	/* none is left, perhaps */
	/* One that may not be killed is left alone: there is no waiting for it. */
	if (poll(&gone, 1, KILLED_WITHIN_MS) <= 0)
		return -EPERM;
	return reap(pid, ret_status);
}

/* Why it could not be begun; 0: it was. */
static int begin_error(int error_fd)
{
	int err = 0;
	ssize_t got;

	while ((got = read(error_fd, &err, sizeof(err))) < 0 && errno == EINTR)
		;
	return got == sizeof(err) ? err : 0;
}

static int run_child(struct run *run, struct child *child, int output_fd, int error_fd, int *ret_status)
{
	struct talk talk = { .output_fd = output_fd, .pid_fd = -1 };
	int err, ended;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		child_run(child);
	mem_close_fd(&child->output_fd);
	mem_close_fd(&child->error_fd);
	child->output_fd = child->error_fd = -1;
	talk.pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (talk.pid_fd < 0) {
		err = -errno;
		(void)kill(-pid, SIGKILL);
		(void)kill(pid, SIGKILL);	/* it leads no group yet, perhaps */
		(void)reap(pid, ret_status);
		return err;
	}
	err = begin_error(error_fd);
	if (!err)
		err = attend(run, &talk);
	ended = end(&talk, pid, ret_status);
	while (!ended && take_output(run, &talk) > 0)
		;
	run->output[talk.len] = '\0';
	mem_close_fd(&talk.pid_fd);
	return err ? err : ended;
}

int run_command(struct run *run, int *ret_status)
{
	int output[2] = { -1, -1 }, error[2] = { -1, -1 };
	struct child child = { .run = run, .null_fd = -1, .output_fd = -1, .error_fd = -1, .dir_fd = -1 };
	AUTO_CLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int err = 0;

	run->output[0] = '\0';
	if (null_fd < 0 || pipe2(output, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0 || fcntl(output[0], F_SETFL, O_NONBLOCK) < 0)
		err = -errno;
	if (!err && ((child.null_fd = high(null_fd)) < 0 || (child.output_fd = high(output[1])) < 0 || (child.error_fd = high(error[1])) < 0))
		err = -EMFILE;
	if (!err && run->dirfd >= 0 && (child.dir_fd = high(run->dirfd)) < 0)
		err = -EMFILE;
	mem_close_fd(&output[1]);
	mem_close_fd(&error[1]);
	if (!err)
		err = run_child(run, &child, output[0], error[0], ret_status);
	mem_close_fd(&output[0]);
	mem_close_fd(&error[0]);
	mem_close_fd(&child.null_fd);
	mem_close_fd(&child.output_fd);
	mem_close_fd(&child.error_fd);
	mem_close_fd(&child.dir_fd);
	return err;
}
