/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/contents.h"

#include <errno.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "httpd/intake.h"
#include "httpd/opened.h"
#include "httpd/query.h"
#include "httpd/stream.h"

struct contents {
	struct stream stream;
	struct tree *tree;
	struct kml_wishes wishes;
	u_int next;		/* of them */
	u_int given;
};

/* Ends the search for one that is left out. */
#define LEFT_OUT (-ENOENT)

static int find_wished(void *arg, struct sql *sql, struct object *ret_object)
{
	const struct kml_wish *wish = arg;
	int got = object_by_oid(sql, wish->oid, ret_object);

	if (got < 0)
		return got;
	if (!got || ret_object->gone || ret_object->attr.type != KML_REG ||
	    ret_object->data_version != wish->data_version || ret_object->attr.size > KML_SMALL_MAX)
		return LEFT_OUT;
	return 0;
}

/* All of it, from one version; -errno: it cannot be had now. */
static int read_whole(struct opened *opened, void *data, size_t len)
{
	ssize_t n;
	int err = FAULT("contents.read");

	n = err ? err : fs_pread_full(opened->fd, data, len, 0);
	if (n < 0)
		return (int)n;
	err = opened_still_same(opened);
	return err ? err : (size_t)n == len ? 0 : -EAGAIN;
}

static int put_content(struct contents *contents, const struct kml_wish *wish, struct opened *opened)
{
	struct kml_given given = { .oid = wish->oid, .data_version = wish->data_version };
	size_t mark, len = opened->was.attr.size;
	AUTO_FREE void *data = malloc(len + 1);
	int err;

	if (!data)
		return -ENOMEM;
	err = read_whole(opened, data, len);
	if (err)
		return err;
	given.bytes.bytes_val = data;
	given.bytes.bytes_len = (u_int)len;
	mark = kml_frame_begin(&contents->stream.buf);
	err = kml_given_encode(&contents->stream.buf, &given);
	kml_frame_end(&contents->stream.buf, mark);
	contents->given++;
	return err;
}

/* The next one, if it can be had. */
static int produce(struct stream *stream)
{
	struct contents *contents = container_of(stream, struct contents, stream);
	struct opened opened = { .tree = contents->tree, .fd = -1 };
	struct kml_wish *wish;
	int err;

	if (contents->next == contents->wishes.wishes.wishes_len) {
		stream->is_over = true;
		log_debug(LOG_HTTP, "contents: wished=%u given=%u", contents->next, contents->given);
		return buf_u32be(&stream->buf, 0);
	}
	wish = &contents->wishes.wishes.wishes_val[contents->next++];
	err = opened_once(&opened, find_wished, wish);
	if (!err)
		err = put_content(contents, wish, &opened);
	opened_close(&opened);
	/* What is wrong with one file is told to who asks for it alone. */
	if (err && err != -ENOMEM)
		log_debug(LOG_HTTP, "contents: one left out: err=%d", err);
	return err == -ENOMEM ? err : buf_error(&stream->buf);
}

static void contents_free(struct stream *stream)
{
	struct contents *contents = container_of(stream, struct contents, stream);

	kml_wishes_release(&contents->wishes);
	free(contents);
}

int contents_begin(struct request *request)
{
	return intake_begin(request, CONTENTS_MAX);
}

int contents_answer(struct request *request)
{
	struct contents *contents = calloc(1, sizeof(*contents));
	int err;

	if (!contents)
		return -ENOMEM;
	contents->stream = (struct stream){ .tree = request->tree, .produce = produce, .free = contents_free,
					    .until_us = CLOCK_NEVER };
	buf_init(&contents->stream.buf, 0);
	contents->tree = request->tree;
	err = kml_wishes_decode(request->body.data, request->body.len, &contents->wishes);
	buf_release(&request->body);
	if (err) {
		stream_free(&contents->stream);
		return err;
	}
	return stream_answer(request, &contents->stream, QUERY_XDR);
}
