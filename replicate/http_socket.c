/* SPDX-License-Identifier: GPL-2.0-or-later */
/* curl's sockets and its timer in our loop. */
#include "replicate/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/mem.h"
#include "replicate/http_internal.h"

#define USER_TIMEOUT_MS 20000	/* sent and not acknowledged for so long: the path is dead */
#define UNSENT_MAX (128u << 10)

/*
 * A socket of curl's in our loop.
 *
 * What the loop has is a descriptor of our own for it.  libcurl closes a socket that is still connecting before it has it
 * taken out of the loop; then its number may be another's, and as long as a child that is just being made has it too
 * its events would go on coming, to memory that is free.
 */
struct http_socket {
	struct loop_fd lfd;		/* fd: ours */
	struct http *http;
	curl_socket_t fd;		/* curl's */
	ino_t ino;			/* tells a new one from an old one of that number */
};

static void socket_ready(struct loop_fd *lfd, uint32_t events)
{
	struct http_socket *socket = container_of(lfd, struct http_socket, lfd);
	struct http *http = socket->http;
	int what = 0, running;

	if (events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	/* What can go wrong here concerns single requests, and comes with their end. */
	(void)curl_multi_socket_action(http->multi, socket->fd, what, &running);
	http_look_for_ended(http);
}

static int socket_enter(struct http_socket *socket, curl_socket_t fd, uint32_t events)
{
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	socket->lfd.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (socket->lfd.fd < 0)
		return -errno;
	err = loop_add(socket->http->loop, &socket->lfd, events);
	if (err) {
		mem_close_fd(&socket->lfd.fd);
		socket->lfd.fd = -1;
		return err;
	}
	socket->fd = fd;
	socket->ino = st.st_ino;
	return 0;
}

static void socket_leave(struct http_socket *socket)
{
	if (socket->lfd.fd < 0)
		return;
	loop_del(socket->http->loop, &socket->lfd);
	mem_close_fd(&socket->lfd.fd);
	socket->lfd.fd = -1;
}

static bool is_same_socket(const struct http_socket *socket, curl_socket_t fd)
{
	struct stat st;

	return socket->lfd.fd >= 0 && !fstat(fd, &st) && st.st_ino == socket->ino;
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *at)
{
	struct http_socket *socket = at;
	struct http *http = arg;
	uint32_t events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (socket) {
			socket_leave(socket);
			curl_multi_assign(http->multi, fd, NULL);
			free(socket);
		}
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	if (socket && is_same_socket(socket, fd))
		return loop_mod(http->loop, &socket->lfd, events) ? -1 : 0;
	if (socket) {
		socket_leave(socket);
		return socket_enter(socket, fd, events) ? -1 : 0;
	}
	socket = calloc(1, sizeof(*socket));
	if (!socket)
		return -1;
	socket->http = http;
	socket->lfd = (struct loop_fd){ .fd = -1, .ready = socket_ready };
	if (socket_enter(socket, fd, events)) {
		free(socket);
		return -1;
	}
	curl_multi_assign(http->multi, fd, socket);
	return 0;
}

static void timer_fired(struct loop_timer *timer)
{
	struct http *http = container_of(timer, struct http, timer);
	int running;

	(void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	http_look_for_ended(http);
}

/* curl must not be called from here: even "now" goes through the loop. */
static int set_timer(CURLM *multi, long ms, void *arg)
{
	struct http *http = arg;

	(void)multi;
	if (ms < 0)
		loop_timer_cancel(http->loop, &http->timer);
	else
		loop_timer_set(http->loop, &http->timer, clock_us() + (uint64_t)ms * US_PER_MS);
	return 0;
}

/* ---- for http.c ---- */

int http_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = USER_TIMEOUT_MS, unsent = UNSENT_MAX;

	(void)arg;
	(void)purpose;
	/* Without it a dead path is noticed later, not never. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	/* Without it minutes of a slow link may lie in the kernel, where nobody can hold them back for a reader (flow.h). */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	return CURL_SOCKOPT_OK;
}

void http_socket_setup(struct http *http)
{
	http->timer.fire = timer_fired;
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
}
