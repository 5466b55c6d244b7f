/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "httpd/route.h"

#define CONNECTIONS_MAX 400
#define HEAD_MAX (64u << 10)	/* bytes of a connection; about half is for a request's head */
#define IDLE_S 60		/* without a byte, in whatever direction */
#define STACK (1u << 20)
#define BACKLOG 128
#define LINGER_S 5		/* for answers under way, when the server stops */
/* So much of a body that nobody wants is read, so that the peer sees the answer; then the connection goes. */
#define DRAIN_MAX (1u << 20)
#define DROP_MAX (64u << 20)	/* when it was refused in its middle */

struct server {
	struct MHD_Daemon *daemon;
	struct request_shared shared;
	char url[INET6_ADDRSTRLEN + 32];
};

/* ---- answers ---- */

static enum MHD_Result send_answer(struct request *request)
{
	return MHD_queue_response(request->connection, request->status, request->response);
}

static void log_failure(const struct request *request, unsigned status, int err)
{
	static struct log_gate gate;
	unsigned held;

	if (status < 500 || err == -EAGAIN) {
		log_debug(LOG_HTTP, "http: refused: status=%u %s", status, request->why);
	} else if (log_gate_open(&gate, 10, &held)) {
		log_warn("http: %s answered with %u (%s), the client will try again: %s; held back: %u",
			 request->route ? request->route->pattern : "a request", status,
			 err < 0 ? strerror(-err) : "busy", request->why, held);
	}
}

static enum MHD_Result answer_error(struct request *request, int err)
{
	const struct http_status *known;
	unsigned status = (unsigned)err;

	if (err < 0) {
		known = http_status(err);
		status = known->status;
		request->why = known->why;
		if (status == MHD_HTTP_SERVICE_UNAVAILABLE && !request->retry_after_s)
			request->retry_after_s = 1;
	}
	log_failure(request, status, err);
	if (request->response)
		MHD_destroy_response(request->response); /* an answer that could not be finished */
	request->response = NULL;
	err = request_answer_text(request, status, request->why);
	if (!err && request->allow[0])
		err = request_add_header(request, MHD_HTTP_HEADER_ALLOW, "%s", request->allow);
	if (!err && request->retry_after_s)
		err = request_add_header(request, MHD_HTTP_HEADER_RETRY_AFTER, "%u",
					 request->retry_after_s);
	return err ? MHD_NO : send_answer(request);
}

/* ---- one request, as MHD hands it out ---- */

/* Our own work is not the peer's idleness; setting the timeout again starts its time anew. */
static void count_idle(struct request *request, bool is_counted)
{
	/* Cannot fail for a connection that is there. */
	(void)MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT,
					is_counted ? (unsigned)IDLE_S : 0u);
}

/* The length that the head says; UINT64_MAX: it does not; 0: no body. */
static uint64_t body_length(struct request *request)
{
	const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

	if (length)
		return strtoull(length, NULL, 10);	/* MHD has refused what is not a number */
	return request_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING) ? UINT64_MAX : 0;
}

static enum MHD_Result begin(struct request *request, const char *method, const char *path)
{
	uint64_t length = body_length(request);

	log_debug(LOG_HTTP, "http: %s %s", method, path);
	request->error = route_find(request, method, path);
	if (!request->error && request->route->take && length != UINT64_MAX &&
	    length > request->route->body_max)
		request->error = -EMSGSIZE;
	if (!request->error && request->route->begin)
		request->error = request->route->begin(request);
	/* What is short is read to its end first; a peer that still sends may not see an answer before that. */
	if (request->error && length > DRAIN_MAX)
		return answer_error(request, request->error);
	return MHD_YES;
}

static enum MHD_Result take(struct request *request, const void *data, size_t len)
{
	if (!request->error && request->route->take) {
		request->error = request->route->take(request, data, len);
		return MHD_YES;
	}
	request->dropped += len;
	return request->dropped > (request->error ? DROP_MAX : DRAIN_MAX) ? MHD_NO : MHD_YES;
}

static enum MHD_Result finish(struct request *request)
{
	int err = request->error;

	if (!err)
		err = request->route->answer(request);
	if (!err && tree_is_stopping(request->tree))
		err = request_add_header(request, MHD_HTTP_HEADER_CONNECTION, "close");
	return err ? answer_error(request, err) : send_answer(request);
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *io_len, void **io_request)
{
	struct server *server = cls;
	struct request *request = *io_request;
	enum MHD_Result result;

	(void)version;
	if (request && *io_len) {
		result = take(request, data, *io_len);
		*io_len = 0;
		return result;
	}
	if (request) {
		count_idle(request, false);
		result = finish(request);
		count_idle(request, true);
		return result;
	}
	request = request_new(&server->shared, connection);
	if (!request)
		return MHD_NO;
	*io_request = request;
	count_idle(request, false);
	result = begin(request, method, url);
	count_idle(request, true);
	return result;
}

static void completed(void *cls, struct MHD_Connection *connection, void **io_request,
		      enum MHD_RequestTerminationCode code)
{
	(void)cls;
	(void)connection;
	if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
		log_debug(LOG_HTTP, "http: a request broke off: code=%d", (int)code);
	request_free(*io_request);
	*io_request = NULL;
}

/* In place.  No part of a path or query has a NUL: what does becomes something that nothing matches. */
static size_t unescape(void *cls, struct MHD_Connection *connection, char *text)
{
	size_t len = MHD_http_unescape(text);

	(void)cls;
	(void)connection;
	if (strlen(text) == len)
		return len;
	memcpy(text, "?", 2);	/* there is room: it was longer before */
	return 1;
}

static __attribute__((format(printf, 2, 0))) void log_mhd(void *cls, const char *format,
							  va_list args)
{
	char line[512];

	(void)cls;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug(LOG_HTTP, "http: %s", line);
}

/* ---- starting and stopping ---- */

static void say(char **ret_why, const char *url, const char *what)
{
	if (asprintf(ret_why, "%s: %s", url, what) < 0)
		*ret_why = NULL;	/* no memory for a sentence: the error says enough */
}

static void print_url(const struct sockaddr_storage *addr, char *url, size_t size)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	char host[INET6_ADDRSTRLEN] = "?";

	if (addr->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(url, size, "http://[%s]:%u/", host, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(url, size, "http://%s:%u/", host, ntohs(in->sin_port));
	}
}

/* A listening socket or -errno; sets the url, also when it fails. */
static int listen_on(struct server *server, const struct sockaddr *addr, socklen_t len)
{
	AUTO_CLOSE int fd = -1;
	struct sockaddr_storage bound = { 0 };
	socklen_t bound_len = sizeof(bound);
	int one = 1, listening;

	memcpy(&bound, addr, len);
	print_url(&bound, server->url, sizeof(server->url));
	fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, addr, len) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&bound, &bound_len) < 0)
		return -errno;
	print_url(&bound, server->url, sizeof(server->url));
	listening = fd;
	fd = -1;
	return listening;
}

static int start_daemon(struct server *server, int fd)
{
	/* The logger first: it is used for what is wrong with the others. */
	struct MHD_OptionItem with[] = {
		{ MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)log_mhd, NULL },
		{ MHD_OPTION_LISTEN_SOCKET, fd, NULL },
		{ MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)completed, NULL },
		{ MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)unescape, NULL },
		{ MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEAD_MAX, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL },
		{ MHD_OPTION_THREAD_STACK_SIZE, STACK, NULL },
		{ MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, NULL },
		{ MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
			 MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG;

	server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, server, MHD_OPTION_ARRAY,
					  with, MHD_OPTION_END);
	return server->daemon ? 0 : -EIO;
}

static void server_free(struct server *server)
{
	pthread_cond_destroy(&server->shared.idle);
	pthread_mutex_destroy(&server->shared.lock);
	free(server);
}

int server_start(struct tree *tree, const struct sockaddr *addr, socklen_t len,
		 struct server **ret_server, char **ret_why)
{
	struct server *server = calloc(1, sizeof(*server));
	int fd, err;

	*ret_why = NULL;
	if (!server)
		return -ENOMEM;
	server->shared.tree = tree;
	pthread_mutex_init(&server->shared.lock, NULL);
	pthread_cond_init(&server->shared.idle, NULL);
	fd = listen_on(server, addr, len);
	if (fd < 0) {
		say(ret_why, server->url,
		    fd == -EADDRINUSE ? "another program listens there; stop it, or choose "
					"another address or port with --listen" :
					strerror(-fd));
		err = fd;
	} else {
		err = start_daemon(server, fd);
		if (err) {
			say(ret_why, server->url,
			    "libmicrohttpd does not start; --trace http says why");
			(void)close(fd);	/* it was not taken over */
		}
	}
	if (err) {
		server_free(server);
		return err;
	}
	*ret_server = server;
	return 0;
}

const char *server_url(const struct server *server)
{
	return server->url;
}

/* MHD_stop_daemon() cuts off what is being sent; a peer whose batch was applied should hear of it. */
static void linger(struct request_shared *shared)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);	/* if that is set meanwhile, a peer asks again */
	until.tv_sec += LINGER_S;
	pthread_mutex_lock(&shared->lock);
	while (shared->active && pthread_cond_timedwait(&shared->idle, &shared->lock, &until) == 0)
		;
	pthread_mutex_unlock(&shared->lock);
}

void server_stop(struct server *server)
{
	MHD_socket fd;

	if (!server)
		return;
	fd = MHD_quiesce_daemon(server->daemon);
	tree_stop_waiting(server->shared.tree);
	linger(&server->shared);
	MHD_stop_daemon(server->daemon);
	if (fd != MHD_INVALID_SOCKET)
		(void)close(fd);	/* nothing was written through it */
	server_free(server);
}
