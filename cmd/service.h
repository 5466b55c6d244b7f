/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * service: what makes a program a service: the background, telling that it is ready, the pid file, signals.
 *
 * Where a service manager waits (NOTIFY_SOCKET) or with is_foreground set the program stays as it is.  Else
 * service_begin() forks: the parent waits, and exits with 0 when the child says service_ready(), or with the
 * child's own status when that ends first.  Until then the child's messages go to the terminal, from then on to syslog.
 *
 *	struct service service = { .name = "izo-httpd", ... };
 *
 *	err = service_begin(&service);		before any thread is made and any lock is taken
 *	...					open everything; on failure: say why, service_end(), exit 1
 *	service_ready(&service, "serving /exports/server");
 *	...					until service_signal_fd() says so
 *	service_end(&service);
 *
 * Threads: the main thread's, but for service_status().  Errors are logged here.
 */
#ifndef CMD_SERVICE_H
#define CMD_SERVICE_H

#include <stdbool.h>

struct service {
	/* set by the caller; the strings are borrowed */
	const char *name;
	bool is_foreground;
	const char *pid_file;		/* NULL: none */
	/* service.c's */
	int ready_fd;			/* to the waiting parent, or -1 */
	int pid_fd;			/* locked while we live, or -1 */
	int signal_fd;
	char *pid_path;			/* absolute; owned */
};

/*
 * Goes into the background if it is to; takes the pid file (a running holder is refused: -EBUSY); blocks SIGTERM,
 * SIGINT and SIGHUP, which from then on make service_signal_fd() readable; ignores SIGPIPE.
 * 0 or -errno, logged.
 */
int service_begin(struct service *service);

/* Everything works: writes the pid file, tells the service manager or the parent.  status: one line for people. */
void service_ready(struct service *service, const char *status);
/* Tells the service manager how things are (nothing where there is none).  Any thread. */
void service_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* It takes longer to start (or to stop) than the manager may think: give it so much more from now on.  Any thread. */
void service_extend(unsigned seconds);
/* Tells that it stops (early in stopping, so that nobody waits for more of it). */
void service_stopping(void);
/* Removes the pid file. */
void service_end(struct service *service);

static inline int service_signal_fd(const struct service *service)
{
	return service->signal_fd;
}

/* The signal that is waiting on service_signal_fd(), or 0. */
int service_signal(struct service *service);

#endif
