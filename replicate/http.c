/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/http.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define ANSWER_LIMIT (64u << 10)
#define ERROR_TEXT 200			/* so much of an error's body is read */
#define URL_MAX_LEN 700
#define USER_TIMEOUT_MS 20000	/* sent and not acknowledged for so long: the path is dead */

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

/* ---- what an end means ---- */

static int status_errno(long status)
{
	if (status >= 200 && status < 300)
		return 0;
	switch (status) {
	case 400:
		return -EINVAL;
	case 401:
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
		return -EBADE;
	case 410:
		return -EIDRM;
	case 412:
		return -ESTALE;
	case 413:
		return -EMSGSIZE;
	case 416:
		return -ERANGE;
	case 408:
	case 429:
	case 502:
	case 503:
	case 504:
		return -EAGAIN;
	case 507:
		return -ENOSPC;
	}
	return status >= 500 && status < 600 ? -EREMOTEIO : -EPROTO;
}

int http_errno(CURLcode code, long status)
{
	switch (code) {
	case CURLE_OK:
		return status_errno(status);
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_FAIL_REWIND:
		return -ECONNRESET;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CLIENTCERT:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
	case CURLE_SSL_ENGINE_INITFAILED:
		return -EKEYREJECTED;
	case CURLE_WRITE_ERROR:
	case CURLE_READ_ERROR:
	case CURLE_ABORTED_BY_CALLBACK:
		return -ECANCELED;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return -EINVAL;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_HTTP3:
	case CURLE_TOO_MANY_REDIRECTS:
	case CURLE_CHUNK_FAILED:
		return -EPROTO;
	default:
		return -EIO;
	}
}

bool http_is_lost(int err)
{
	switch (err) {
	case -EHOSTUNREACH:
	case -ECONNREFUSED:
	case -ETIMEDOUT:
	case -ECONNRESET:
	case -EKEYREJECTED:
	case -EPROTO:
	case -EAGAIN:
	case -EIO:
		return true;
	}
	return false;
}

/* ---- curl's callbacks ---- */

/* The number behind the prefix of a header line, ending in 'end'. */
static bool header_number(const char *line, const char *prefix, const char *end,
			  uint64_t *ret_number)
{
	size_t len = strlen(prefix);
	uint64_t number;
	char *stop;

	if (strncasecmp(line, prefix, len))
		return false;
	line += len;
	while (*line == ' ')
		line++;
	if (*end == '"' && *line++ != '"')
		return false;
	if (*line < '0' || *line > '9')
		return false;
	errno = 0;
	number = strtoull(line, &stop, 10);
	if (errno || !*stop || !strchr(end, *stop))
		return false;
	*ret_number = number;
	return true;
}

static size_t header_came(char *data, size_t size, size_t n, void *arg)
{
	struct http_request *request = arg;
	size_t len = size * n;
	char line[100];

	if (len > 5 && !strncasecmp(data, "HTTP/", 5)) {
		/* A 100 may have come before, with headers that mean nothing. */
		request->has_position = request->has_etag = request->has_range = false;
		return len;
	}
	if (len >= sizeof(line))
		return len;
	memcpy(line, data, len);
	line[len] = '\0';
	if (header_number(line, "Izo-Position:", "\r\n ", &request->position))
		request->has_position = true;
	else if (header_number(line, "ETag:", "\"", &request->etag))
		request->has_etag = true;
	else if (header_number(line, "Content-Range: bytes", "-", &request->range_from))
		request->has_range = true;
	return len;
}

/* The answer's head is complete; true when its body is wanted. */
static bool see_head(struct http_request *request)
{
	if (!request->is_head_seen) {
		request->is_head_seen = true;
		(void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &request->status);
		if (!status_errno(request->status) && request->head)
			request->sink_err = request->head(request);
	}
	return !request->sink_err;
}

static size_t body_came(char *data, size_t size, size_t n, void *arg)
{
	struct http_request *request = arg;
	size_t len = size * n;

	if (!see_head(request))
		return CURL_WRITEFUNC_ERROR;
	if (status_errno(request->status)) {
		if (request->answer.len < ERROR_TEXT)
			(void)buf_append(&request->answer,
					 data, /* without it the text is shorter */
					 MIN(len, ERROR_TEXT - request->answer.len));
		return len;
	}
	if (request->sink)
		request->sink_err = request->sink(request, data, len);
	else
		request->sink_err = buf_append(&request->answer, data, len);
	return request->sink_err ? CURL_WRITEFUNC_ERROR : len;
}

static int socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = USER_TIMEOUT_MS;

	(void)arg;
	(void)purpose;
	/* Without it a dead path is noticed later, not never. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	return CURL_SOCKOPT_OK;
}

/* ---- curl on the loop ---- */

/* The first line of an error's text. */
static void first_line(const struct buf *buf, char *ret, size_t size)
{
	size_t n = 0;

	while (n < buf->len && n + 1 < size && buf->data[n] >= ' ')
		n++;
	memcpy(ret, buf->data ? (const char *)buf->data : "", n);
	ret[n] = '\0';
}

static void explain(struct http_request *request, CURLcode code, int err)
{
	char line[100];

	request->trouble[0] = '\0';
	if (err >= 0)
		return;
	if (request->sink_err) {
		snprintf(request->trouble, sizeof(request->trouble), "%s", strerror(-err));
	} else if (code != CURLE_OK) {
		snprintf(request->trouble, sizeof(request->trouble), "%.150s",
			 request->error[0] ? request->error : curl_easy_strerror(code));
	} else {
		first_line(&request->answer, line, sizeof(line));
		snprintf(request->trouble, sizeof(request->trouble), "HTTP status %ld%s%s",
			 request->status, line[0] ? ": " : "", line);
	}
}

static void detach(struct http_request *request)
{
	curl_multi_remove_handle(request->http->multi, request->easy);
	curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->headers);
	request->easy = NULL;
	request->headers = NULL;
	list_del(&request->node);
}

static void finish(struct http_request *request, CURLcode code)
{
	struct http *http = request->http;
	int err;

	if (code == CURLE_OK)
		(void)see_head(request);	/* of an answer without body */
	err = request->sink_err ? request->sink_err : http_errno(code, request->status);
	explain(request, code, err);
	log_debug(LOG_HTTP, "http: %s %s: status=%ld err=%d %s", request->method, request->path,
		  request->status, err, request->trouble);
	detach(request);
	if (http->ended)
		http->ended(http, err < 0);
	request->done(request, err);
}

static void look_for_ended(struct http *http)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(http->multi, &left))) {
		struct http_request *request;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&request);
		finish(request, code);
	}
}

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
	look_for_ended(http);
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
	look_for_ended(http);
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

/* ---- start and end ---- */

static int check_url(const char *url, bool *ret_is_loopback)
{
	char *scheme = NULL, *host = NULL, *query = NULL;
	CURLU *u = curl_url();
	int err = -EINVAL;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, url, 0) ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0))
		goto out;
	if (strcmp(scheme, "http") && strcmp(scheme, "https"))
		goto out;
	if (!curl_url_get(u, CURLUPART_QUERY, &query, 0) || strchr(url, '#'))
		goto out;
	*ret_is_loopback = !strcmp(host, "localhost") || !strncmp(host, "127.", 4) ||
			   !strcmp(host, "[::1]");
	err = 0;
out:
	curl_free(scheme);
	curl_free(host);
	curl_free(query);
	curl_url_cleanup(u);
	return err;
}

int http_init(struct http *http, struct loop *loop, const char *url)
{
	size_t len = strlen(url);
	bool is_loopback;
	int err;

	memset(http, 0, sizeof(*http));
	http->loop = loop;
	http->timer.fire = timer_fired;
	list_init(&http->requests);
	if (len > URL_MAX_LEN)
		return -EINVAL;
	err = check_url(url, &is_loopback);
	if (err)
		return err;
	http->is_loopback = is_loopback;
	http->base = strdup(url);
	http->multi = curl_multi_init();
	if (!http->base || !http->multi) {
		http_release(http);
		return -ENOMEM;
	}
	while (len && http->base[len - 1] == '/')
		http->base[--len] = '\0';
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 32L);
	return 0;
}

void http_release(struct http *http)
{
	if (http->multi)
		curl_multi_cleanup(http->multi);
	if (http->loop)
		loop_timer_cancel(http->loop, &http->timer);
	free(http->base);
	http->multi = NULL;
	http->base = NULL;
}

static int add_header(struct http_request *request, const char *line)
{
	struct curl_slist *more = curl_slist_append(request->headers, line);

	if (!more)
		return -ENOMEM;
	request->headers = more;
	return 0;
}

static int make_headers(struct http_request *request)
{
	char line[100];
	int err;

	/* curl would wait a second for the 100 that some servers never send. */
	err = add_header(request, "Expect:");
	if (!err && request->if_match[0]) {
		snprintf(line, sizeof(line), "If-Match: \"%s\"", request->if_match);
		err = add_header(request, line);
	}
	if (!err && request->body) {
		snprintf(line, sizeof(line), "Content-Type: %s",
			 request->content_type ? request->content_type
					       : "application/octet-stream");
		err = add_header(request, line);
	}
	return err;
}

static void set_options(struct http *http, struct http_request *request)
{
	CURL *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A resolver that hangs must not hold up the end of a request. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (http->is_loopback)
		curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* a proxy's localhost is another one */
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "izo-nfsd/" IZO_VERSION);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)HTTP_CONNECT_S);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
			 (long)(request->stall_s ? request->stall_s : HTTP_STALL_S));
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, socket_made);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_came);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	if (request->range[0])
		curl_easy_setopt(easy, CURLOPT_RANGE, request->range);
	if (request->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
	}
}

int http_start(struct http *http, struct http_request *request)
{
	char url[URL_MAX_LEN + sizeof(request->path)];
	int n, err;

	http_request_release(request);
	request->http = http;
	request->status = 0;
	request->has_position = request->has_etag = request->has_range = false;
	request->is_head_seen = false;
	request->sink_err = 0;
	request->error[0] = request->trouble[0] = '\0';
	buf_init(&request->answer, request->answer_limit ? request->answer_limit : ANSWER_LIMIT);

	n = snprintf(url, sizeof(url), "%s%s", http->base, request->path);
	if (n < 0 || (size_t)n >= sizeof(url))
		return -EINVAL;
	request->easy = curl_easy_init();
	if (!request->easy)
		return -ENOMEM;
	err = make_headers(request);
	if (!err && curl_easy_setopt(request->easy, CURLOPT_URL, url))
		err = -ENOMEM;
	if (!err) {
		set_options(http, request);
		if (curl_multi_add_handle(http->multi, request->easy))
			err = -ENOMEM;
	}
	if (err) {
		curl_easy_cleanup(request->easy);
		curl_slist_free_all(request->headers);
		request->easy = NULL;
		request->headers = NULL;
		return err;
	}
	list_append(&http->requests, &request->node);
	return 0;
}

void http_cancel(struct http_request *request)
{
	if (request->easy)
		detach(request);
}

bool http_is_active(const struct http_request *request)
{
	return request->easy != NULL;
}

void http_request_release(struct http_request *request)
{
	buf_release(&request->answer);
}
