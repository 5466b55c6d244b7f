/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * upstream_process: the built izo-httpd as a process, and a link of a cache to it.
 *
 * It is looked for where this program's build directory has it; without it the tests that need it are skipped.
 */
#ifndef TESTS_UPSTREAM_PROCESS_H
#define TESTS_UPSTREAM_PROCESS_H

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "replicate/replicate.h"
#include "tests/unit/cache_fixture.h"
#include "tests/unit/until.h"

struct upstream {
	char program[PATH_MAX], export[80], address[32], url[40];
	unsigned port;
	pid_t pid;
};

#define NEEDS_HTTPD(up) do { \
		if (access((up)->program, X_OK)) { \
			print_message("skipped: %s is not built\n", (up)->program); \
			skip(); \
		} \
	} while (0)

static bool upstream_answers(const struct upstream *up)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)up->port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool it_does = !connect(fd, (struct sockaddr *)&addr, sizeof(addr));

	close(fd);
	return it_does;
}

static UNUSED void upstream_start(struct upstream *up)
{
	int null;

	up->pid = fork();
	assert_true(up->pid >= 0);
	if (!up->pid) {
		null = open("/dev/null", O_WRONLY);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
		execl(up->program, up->program, "--foreground", "--listen", up->address, up->export, (char *)NULL);
		_exit(127);
	}
	UNTIL(20, upstream_answers(up));
}

static UNUSED void upstream_kill(struct upstream *up, int signal)
{
	if (up->pid <= 0)
		return;
	assert_int_equal(kill(up->pid, signal), 0);
	assert_int_equal(waitpid(up->pid, NULL, 0), up->pid);
	up->pid = 0;
}

/* A port that was free a moment ago. */
static unsigned free_port(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

/* Its export, a new directory in 'dir'; it is not started.  1, or 0: it is not built. */
static UNUSED bool upstream_init(struct upstream *up, const char *dir)
{
	char *slash;
	ssize_t n;

	*up = (struct upstream){ .port = free_port() };
	n = readlink("/proc/self/exe", up->program, sizeof(up->program) - 20);
	assert_true(n > 0);
	for (int i = 0; i < 2 && (slash = strrchr(up->program, '/')); i++)
		*slash = '\0';
	strcat(up->program, "/izo-httpd");
	snprintf(up->export, sizeof(up->export), "%s/export", dir);
	assert_int_equal(mkdir(up->export, 0755), 0);
	snprintf(up->address, sizeof(up->address), "127.0.0.1:%u", up->port);
	snprintf(up->url, sizeof(up->url), "http://%s/", up->address);
	return !access(up->program, X_OK);
}

static UNUSED struct replicate *link_new(const struct upstream *up, struct fixture *f, const char *host)
{
	struct replicate_config config = { .cache = f->cache, .url = up->url, .host = host };
	struct replicate *link = NULL;
	char *why = NULL;

	assert_int_equal(replicate_start(&config, &link, &why), 0);
	return link;
}

static UNUSED bool link_is_connected(struct replicate *link)
{
	struct replicate_status status;

	replicate_get_status(link, &status);
	return status.state == LINK_CONNECTED;
}

/* Nothing of the cache's log waits. */
static UNUSED bool log_is_drained(struct fixture *f)
{
	struct cml_totals totals;

	cml_totals(f->cache, &totals);
	return !totals.records;
}

#endif
