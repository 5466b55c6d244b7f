/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "base/log.h"

#define FIRST_FD 3		/* sd_listen_fds(3) */
#define BACKLOG 128

static socklen_t make_address(const struct config *config, struct sockaddr_storage *addr)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)addr;
	struct sockaddr_in *four = (struct sockaddr_in *)addr;

	memset(addr, 0, sizeof(*addr));
	if (inet_pton(AF_INET6, config->listen_addr, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(config->port);
		return sizeof(*six);
	}
	(void)inet_pton(AF_INET, config->listen_addr, &four->sin_addr);	/* config checked it */
	four->sin_family = AF_INET;
	four->sin_port = htons(config->port);
	return sizeof(*four);
}

static bool is_same(const struct sockaddr_storage *one, const struct sockaddr_storage *two)
{
	if (one->ss_family != two->ss_family)
		return false;
	if (one->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const void *)one, *b = (const void *)two;

		return a->sin6_port == b->sin6_port &&
		       !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr));
	}
	const struct sockaddr_in *a = (const void *)one, *b = (const void *)two;

	return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

/* Does the descriptor listen at the address? */
static bool listens_at(int fd, const struct sockaddr_storage *wanted)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr), int_len = sizeof(int);
	int is_listening = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &int_len) == 0 &&
	       is_listening && getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
	       is_same(&addr, wanted);
}

/* The first one that fits of those the manager passed to this process; others are closed. */
static int find_passed(const struct sockaddr_storage *wanted)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int n = pid && fds && strtol(pid, NULL, 10) == getpid() ? atoi(fds) : 0, found = -1;

	for (int fd = FIRST_FD; fd < FIRST_FD + n; fd++) {
		if (found < 0 && listens_at(fd, wanted)) {
			found = fd;
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);	/* nothing is executed from here */
			continue;
		}
		log_info(
			"listen: a socket of the service manager's is not used, it is for another address: fd=%d",
			fd);
		(void)close(fd);	/* not ours */
	}
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	return found;
}

#ifdef HAVE_SYSTEMD
/* What cannot be made here is left to the server, which says why. */
static int make_kept(const struct sockaddr_storage *addr, socklen_t len)
{
	int fd, on = 1;

	if (!getenv("NOTIFY_SOCKET"))
		return -1;
	fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)addr, len) < 0 || listen(fd, BACKLOG) < 0) {
		(void)close(fd);	/* was never used */
		return -1;
	}
	/* What it kept before is for another address by now. */
	(void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=nfs");
	(void)sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=nfs", &fd, 1);	/* not kept: it works all the same */
	return fd;
}
#endif

int listener_take(const struct config *config)
{
	struct sockaddr_storage wanted;
	socklen_t len = make_address(config, &wanted);
	int fd = find_passed(&wanted);

#ifdef HAVE_SYSTEMD
	if (fd < 0)
		fd = make_kept(&wanted, len);
#else
	(void)len;
#endif
	return fd;
}
