/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "replicate/http_internal.h"

#define ANSWER_LIMIT (64u << 10)
#define ERROR_TEXT 200			/* so much of an error's body is read */
/* Older connections are not used again: servers close them after a minute, and what a source gave cannot be sent once more. */
#define IDLE_MAX_S 50L
#define URL_MAX_LEN 700

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
	uint64_t work_ms;
	char line[100];

	if (len > 5 && !strncasecmp(data, "HTTP/", 5)) {
		/* A 100 may have come before, with headers that mean nothing. */
		request->has_position = request->has_etag = request->has_range = request->has_work = request->is_izo = false;
		return len;
	}
	if (len >= sizeof(line))
		return len;
	memcpy(line, data, len);
	line[len] = '\0';
	if (!strncasecmp(line, "Izo-Protocol:", strlen("Izo-Protocol:")))
		request->is_izo = true;
	else if (header_number(line, "Izo-Position:", "\r\n ", &request->position))
		request->has_position = true;
	else if (header_number(line, "ETag:", "\"", &request->etag))
		request->has_etag = true;
	else if (header_number(line, "Content-Range: bytes", "-", &request->range_from))
		request->has_range = true;
	else if (header_number(line, "Server-Timing: izo;dur=", "\r\n ", &work_ms)) {
		request->has_work = true;
		request->work_us = work_ms * US_PER_MS;
	}
	return len;
}

/* The answer's head is complete; true when its body is wanted. */
static bool see_head(struct http_request *request)
{
	if (!request->is_head_seen) {
		request->is_head_seen = true;
		(void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &request->status);
		if (!http_status_errno(request->status) && request->head)
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
	if (!http_body_may_come(request, len))
		return CURL_WRITEFUNC_PAUSE;
	if (http_status_errno(request->status)) {
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

/* ---- the end ---- */

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

/*
 * What is said about an object (that it is gone, that it is another version) counts if an izo-httpd says it.  A proxy whose
 * server is away, or whoever else answers on this network, says 404 as well.  An older izo-httpd does not say that it is one, and is believed.
 */
static bool is_somebody_elses(const struct http_request *request, int err)
{
	return request->http->says_protocol && !request->is_izo && (err == -ENOENT || err == -EIDRM || err == -ESTALE || err == -EBADE);
}

static void detach(struct http_request *request)
{
	http_flow_end(request);
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
	if (!request->sink_err && is_somebody_elses(request, err))
		err = -EPROTO;
	explain(request, code, err);
	if (!err)
		http_measure(request);
	log_debug(LOG_HTTP, "http: %s %s: status=%ld err=%d %s", request->method, request->path,
		  request->status, err, request->trouble);
	detach(request);
	if (http->ended)
		http->ended(http, err < 0);
	request->done(request, err);
	if (!err && http->measured)
		http->measured(http);
}

void http_look_for_ended(struct http *http)
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
	http_socket_setup(http);
	http_flow_setup(http);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 32L);
	return 0;
}

void http_release(struct http *http)
{
	if (http->multi)
		curl_multi_cleanup(http->multi);
	if (http->loop) {
		loop_timer_cancel(http->loop, &http->timer);
		loop_timer_cancel(http->loop, &http->flow_timer);
	}
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
	if (!err && request->encoding) {
		snprintf(line, sizeof(line), "Content-Encoding: %s", request->encoding);
		err = add_header(request, line);
	}
	if (!err && (request->body || request->source)) {
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
	/* What has come is taken in whatever the limit is: so no more at once than an eighth of a second of it. */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)MAX(flow_piece(&http->flow, FLOW_DOWN, 256u << 10), (size_t)1024));
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)HTTP_CONNECT_S);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
			 (long)(request->stall_s ? request->stall_s : HTTP_STALL_S));
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_MAX_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, http_socket_made);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_came);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_came);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	if (request->range[0])
		curl_easy_setopt(easy, CURLOPT_RANGE, request->range);
	if (request->source) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
				 request->source_len == HTTP_LEN_UNKNOWN ? (curl_off_t)-1 : (curl_off_t)request->source_len);
	} else if (request->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
	}
	if (request->source || request->body) {
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, http_body_goes);
		curl_easy_setopt(easy, CURLOPT_READDATA, request);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, http_body_seek);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, request);
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
	request->is_head_seen = request->has_begun = request->was_paused = request->has_work = false;
	request->sink_err = 0;
	request->is_source_waiting = false;
	request->body_at = 0;
	request->paused = 0;
	request->waits_since_us = 0;
	memset(request->first_us, 0, sizeof(request->first_us));
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
		if (http_flow_start(request))
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
