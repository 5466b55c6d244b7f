/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/stream.h"

#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"

#define PIECE (64u << 10)	/* bytes made ahead, about */

static int refill(struct stream *stream)
{
	int err = 0;

	buf_reset(&stream->buf);
	stream->taken = 0;
	while (!err && !stream->is_over && stream->buf.len < PIECE)
		err = stream->produce(stream);
	if (!err)
		err = buf_error(&stream->buf);
	if (!err && !stream->is_over && tree_is_stopping(stream->tree))
		err = -ESHUTDOWN;
	if (!err && clock_us() > stream->until_us)
		err = -ETIMEDOUT;
	return err;
}

static ssize_t stream_read(void *arg, uint64_t pos, char *to, size_t max)
{
	struct stream *stream = arg;
	size_t n;
	int err = 0;

	(void)pos;	/* bytes come in order */
	if (stream->taken == stream->buf.len)
		err = refill(stream);
	if (err) {
		if (err != -ESHUTDOWN)
			log_warn("http: an answer was broken off, the client will ask again: %s",
				 strerror(-err));
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	n = MIN(max, stream->buf.len - stream->taken);
	if (!n)
		return MHD_CONTENT_READER_END_OF_STREAM;
	memcpy(to, stream->buf.data + stream->taken, n);
	stream->taken += n;
	return (ssize_t)n;
}

void stream_free(struct stream *stream)
{
	buf_release(&stream->buf);
	stream->free(stream);
}

static void free_arg(void *arg)
{
	stream_free(arg);
}

int stream_answer(struct request *request, struct stream *stream, const char *type)
{
	return request_answer_stream(request, MHD_HTTP_OK, type, MHD_SIZE_UNKNOWN, PIECE,
				     stream_read, stream, free_arg);
}
