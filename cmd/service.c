/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	(void)sd_notify(0, state);	/* a manager that does not listen finds out by itself */
#else
	(void)state;
#endif
}

/* ---- the background ---- */

/* The parent: as the child ends, or 0 when it is ready. */
static void wait_for_child(pid_t child, int fd)
{
	char byte;
	ssize_t n;
	int status;

	while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
		;
	if (n == 1)
		_exit(0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

static int go_background(struct service *service)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child) {
		(void)close(fds[1]);	/* the child's end: its closing is what is waited for */
		wait_for_child(child, fds[0]);
	}
	(void)close(fds[0]);	/* the parent's end */
	service->ready_fd = fds[1];
	if (setsid() < 0)
		return -errno;
	umask(022);
	return 0;
}

static int leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	for (int fd = 0; fd <= 2; fd++) {
		if (dup2(null, fd) < 0)
			return -errno;
	}
	(void)close(null);	/* its copies stay */
	return chdir("/") < 0 ? -errno : 0;
}

/* ---- the pid file ---- */

/* The name will be needed when the working directory is another one. */
static int absolute(const char *path, char **ret_path)
{
	AUTO_FREE char *cwd = NULL;

	if (*path == '/') {
		*ret_path = strdup(path);
		return *ret_path ? 0 : -ENOMEM;
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return -errno;
	return asprintf(ret_path, "%s/%s", cwd, path) < 0 ? -ENOMEM : 0;
}

static int take_pid_file(struct service *service)
{
	AUTO_CLOSE int fd = -1;
	char *path = NULL;
	int err;

	err = absolute(service->pid_file, &path);
	if (err)
		return err;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0) {
		err = -errno;
	} else if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	}
	if (err) {
		if (err == -EBUSY)
			log_error("%s: another %s holds it; stop that one first", path,
				  service->name);
		else
			log_error("%s: cannot make the pid file: %s", path, strerror(-err));
		free(path);
		return err;
	}
	service->pid_path = path;
	service->pid_fd = fd;
	fd = -1;
	return 0;
}

static void write_pid(struct service *service)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(service->pid_fd, 0) < 0 || fs_pwrite_all(service->pid_fd, text, (size_t)n, 0))
		log_warn("%s: cannot be written (%s); the init script will not find this process",
			 service->pid_path, strerror(errno));
}

/* ---- */

int service_begin(struct service *service)
{
	sigset_t set;
	int err;

	service->ready_fd = service->pid_fd = service->signal_fd = -1;
	service->pid_path = NULL;
	log_set_name(service->name);
	if (getenv("NOTIFY_SOCKET"))
		service->is_foreground = true;
	if (!service->is_foreground) {
		err = go_background(service);
		if (err) {
			log_error("cannot go into the background: %s", strerror(-err));
			return err;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	service->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (service->signal_fd < 0) {
		err = -errno;
		log_error("cannot wait for signals: %s", strerror(-err));
		return err;
	}
	return service->pid_file ? take_pid_file(service) : 0;
}

void service_ready(struct service *service, const char *status)
{
	AUTO_FREE char *state = NULL;
	int err;

	if (service->pid_fd >= 0)
		write_pid(service);
	if (asprintf(&state, "READY=1\nSTATUS=%s", status) >= 0)
		notify(state);
	else
		state = NULL;
	if (service->ready_fd < 0)
		return;
	log_to_syslog();
	err = leave_terminal();
	if (err)
		log_warn("cannot leave the terminal: %s", strerror(-err));
	(void)!write(service->ready_fd, "", 1);	/* a parent that was killed waits for nothing */
	(void)close(service->ready_fd);
	service->ready_fd = -1;
}

void service_status(const char *format, ...)
{
	char text[256], state[sizeof(text) + 8];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(state, sizeof(state), "STATUS=%s", text);
	notify(state);
}

void service_extend(unsigned seconds)
{
	char state[48];

	snprintf(state, sizeof(state), "EXTEND_TIMEOUT_USEC=%llu", seconds * 1000000ull);
	notify(state);
}

void service_stopping(void)
{
	notify("STOPPING=1");
}

void service_end(struct service *service)
{
	if (service->pid_fd >= 0) {
		(void)unlink(service->pid_path); /* while the lock is ours: no other's can be hit */
		(void)close(service->pid_fd);
	}
	if (service->signal_fd >= 0)
		(void)close(service->signal_fd);
	if (service->ready_fd >= 0)
		(void)close(service->ready_fd);	/* the parent then waits for our exit status */
	free(service->pid_path);
	service->pid_fd = service->signal_fd = service->ready_fd = -1;
	service->pid_path = NULL;
}

int service_signal(struct service *service)
{
	struct signalfd_siginfo info;

	if (read(service->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	return (int)info.ssi_signo;
}
