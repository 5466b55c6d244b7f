/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/request.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RESERVED_MAX (512ull << 20)	/* of all requests together */

struct request *request_new(struct request_shared *shared, struct MHD_Connection *connection)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->shared = shared;
	request->tree = shared->tree;
	request->connection = connection;
	pthread_mutex_lock(&shared->lock);
	shared->active++;
	pthread_mutex_unlock(&shared->lock);
	return request;
}

void request_free(struct request *request)
{
	if (!request)
		return;
	(void)request_reserve(request, 0);	/* giving back cannot fail */
	upload_close(request->upload);
	unpack_free(request->unpack);
	buf_release(&request->body);
	if (request->response)
		MHD_destroy_response(request->response);
	pthread_mutex_lock(&request->shared->lock);
	if (!--request->shared->active)
		pthread_cond_broadcast(&request->shared->idle);
	pthread_mutex_unlock(&request->shared->lock);
	free(request);
}

/* ---- what it asks ---- */

const char *request_param(struct request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *request_header(struct request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

int request_number(struct request *request, const char *name, uint64_t max, uint64_t *io_value)
{
	const char *text = request_param(request, name);
	unsigned long long value;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > max)
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "a number in the query is not one, or is out of range");
	*io_value = value;
	return 0;
}

int request_parse_client(const char *text, uint64_t *ret_client)
{
	uint64_t client;

	if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
		return -EINVAL;
	client = strtoull(text, NULL, 16);
	if (!client)
		return -EINVAL;
	*ret_client = client;
	return 0;
}

bool request_wants_json(struct request *request)
{
	const char *accept = request_header(request, MHD_HTTP_HEADER_ACCEPT);

	return accept && strcasestr(accept, "application/json");
}

bool request_is_left(struct request *request)
{
	const union MHD_ConnectionInfo *info;
	struct pollfd poller = { .events = POLLRDHUP };

	info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (!info)
		return false;
	poller.fd = info->connect_fd;
	return poll(&poller, 1, 0) > 0;
}

int request_reserve(struct request *request, uint64_t bytes)
{
	struct request_shared *shared = request->shared;
	bool is_full;

	if (bytes == request->reserved)
		return 0;
	pthread_mutex_lock(&shared->lock);
	is_full = bytes > request->reserved &&
		  shared->reserved - request->reserved + bytes > RESERVED_MAX;
	if (!is_full) {
		shared->reserved += bytes - request->reserved;
		request->reserved = bytes;
	}
	pthread_mutex_unlock(&shared->lock);
	if (!is_full)
		return 0;
	request->retry_after_s = 1;
	return request_refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE,
			      "too much at once; try again in a moment");
}

bool request_enter(struct request_shared *shared, unsigned *counter, unsigned most)
{
	bool may;

	pthread_mutex_lock(&shared->lock);
	may = *counter < most;
	*counter += may;
	pthread_mutex_unlock(&shared->lock);
	return may;
}

void request_leave(struct request_shared *shared, unsigned *counter)
{
	pthread_mutex_lock(&shared->lock);
	--*counter;
	pthread_mutex_unlock(&shared->lock);
}

int request_begin_body(struct request *request)
{
	const char *encoding = request_header(request, MHD_HTTP_HEADER_CONTENT_ENCODING);

	if (!encoding || !strcasecmp(encoding, "identity"))
		return 0;
	if (!strcasecmp(encoding, "zstd"))
		return unpack_new(&request->unpack);
	return request_refuse(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "the Content-Encoding must be zstd, or none");
}

int request_take_body(struct request *request, const void *data, size_t len,
		      int (*sink)(void *request, const void *data, size_t len))
{
	return request->unpack ? unpack_feed(request->unpack, data, len, sink, request) : sink(request, data, len);
}

int request_end_body(const struct request *request)
{
	return request->unpack ? unpack_end(request->unpack) : 0;
}

/* ---- what it gets ---- */

int request_refuse(struct request *request, unsigned status, const char *why)
{
	request->why = why;
	return (int)status;
}

/* The response is kept until request_free(): MHD counts. */
static int answer(struct request *request, unsigned status, const char *type,
		  struct MHD_Response *response)
{
	int err;

	if (!response)
		return -ENOMEM;
	request->response = response;
	request->status = status;
	/* A refusal counts only if it is ours: whatever is in between may say 404, too. */
	err = request_add_header(request, "Izo-Protocol", "v1");
	return !err && type ? request_add_header(request, MHD_HTTP_HEADER_CONTENT_TYPE, "%s", type) : err;
}

int request_answer_empty(struct request *request, unsigned status)
{
	return answer(request, status, NULL,
		      MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

int request_answer_text(struct request *request, unsigned status, const char *text)
{
	AUTO_FREE char *line = NULL;
	int n = asprintf(&line, "%s\n", text);

	if (n < 0) {
		line = NULL;
		return -ENOMEM;
	}
	return answer(request, status, "text/plain; charset=utf-8",
		      MHD_create_response_from_buffer((size_t)n, line, MHD_RESPMEM_MUST_COPY));
}

int request_answer_buf(struct request *request, unsigned status, const char *type, struct buf *buf)
{
	struct MHD_Response *response;

	if (!buf->data)
		response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	else
		response = MHD_create_response_from_buffer(buf->len, buf->data,
							   MHD_RESPMEM_MUST_FREE);
	if (!response)
		return -ENOMEM;
	buf_init(buf, 0);	/* MHD has its memory now */
	return answer(request, status, type, response);
}

int request_answer_stream(struct request *request, unsigned status, const char *type, uint64_t size,
			  size_t block, MHD_ContentReaderCallback read, void *arg,
			  void (*free_arg)(void *arg))
{
	struct MHD_Response *response = MHD_create_response_from_callback(size, block, read, arg,
									  free_arg);

	if (!response)
		free_arg(arg);
	return answer(request, status, type, response);
}

int request_add_header(struct request *request, const char *name, const char *format, ...)
{
	char value[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(value, sizeof(value), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(value))
		return -EMSGSIZE;
	return MHD_add_response_header(request->response, name, value) == MHD_YES ? 0 : -ENOMEM;
}
