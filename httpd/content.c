/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/content.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "httpd/opened.h"
#include "httpd/query.h"

#define PIECE (128u << 10)

struct sending {
	struct opened opened;
	uint64_t start;
};

/* ---- sending ---- */

static ssize_t sending_read(void *arg, uint64_t pos, char *to, size_t max)
{
	struct sending *sending = arg;
	ssize_t n;
	int err = FAULT("content.read");

	n = err ? err : fs_pread_full(sending->opened.fd, to, max, sending->start + pos);
	if (n >= 0)
		err = opened_still_same(&sending->opened);
	else
		err = (int)n;
	if (!err && n > 0)
		return n;
	if (err && err != -EAGAIN)
		log_warn("content broken off: object=%lld offset=%llu: %s",
			 (long long)sending->opened.object.id, (unsigned long long)(sending->start + pos),
			 strerror(-err));
	else
		log_debug(LOG_HTTP, "content broken off, the file changed: object=%lld",
			  (long long)sending->opened.object.id);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static void sending_free(void *arg)
{
	struct sending *sending = arg;

	opened_close(&sending->opened);
	free(sending);
}

/* ---- what is asked for ---- */

static bool parse_u64(const char **text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (**text < '0' || **text > '9')
		return false;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		unsigned digit = (unsigned)(**text - '0');

		value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
	}
	*ret_value = value;
	return true;
}

int content_range(const char *text, uint64_t size, uint64_t *ret_start, uint64_t *ret_len)
{
	uint64_t first, last;

	if (!text || strncasecmp(text, "bytes=", 6))
		return 0;
	text += 6;
	while (*text == ' ')
		text++;
	if (*text == '-') {
		text++;
		if (!parse_u64(&text, &last) || *text)
			return 0;
		if (!last || !size)
			return -ERANGE;
		*ret_start = last < size ? size - last : 0;
		*ret_len = size - *ret_start;
		return 1;
	}
	if (!parse_u64(&text, &first) || *text++ != '-')
		return 0;
	last = UINT64_MAX;
	if (*text && (!parse_u64(&text, &last) || *text))
		return 0;
	if (last < first)
		return 0;
	if (first >= size)
		return -ERANGE;
	*ret_start = first;
	*ret_len = MIN(last, size - 1) - first + 1;
	return 1;
}

bool content_has_tag(const char *list, uint64_t version)
{
	char tag[24];
	size_t len = (size_t)snprintf(tag, sizeof(tag), "\"%llu\"", (unsigned long long)version);

	while (*list) {
		list += strspn(list, " \t,");
		if (*list == '*')
			return true;
		if (!strncmp(list, tag, len) && strchr(" \t,", list[len]))
			return true;
		/* To the end of this tag; commas may stand in it. */
		if (!strncmp(list, "W/", 2))
			list += 2;
		if (*list == '"') {
			list = strchr(list + 1, '"');
			if (!list)
				return false;
			list++;
		} else {
			list += strcspn(list, ",");
		}
	}
	return false;
}

static int add_headers(struct request *request, uint64_t version)
{
	int err = request_add_header(request, MHD_HTTP_HEADER_ETAG, "\"%llu\"",
				     (unsigned long long)version);

	return err ? err : request_add_header(request, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
}

/* What needs no byte of the file: 1 when that was answered; 0: go on; or as handlers. */
static int answer_conditions(struct request *request, uint64_t version)
{
	const char *match = request_header(request, MHD_HTTP_HEADER_IF_MATCH);
	const char *none_match = request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH);
	int err;

	if (match && !content_has_tag(match, version))
		return request_refuse(request, MHD_HTTP_PRECONDITION_FAILED,
				      "it has another version by now");
	if (!none_match || !content_has_tag(none_match, version))
		return 0;
	err = request_answer_empty(request, MHD_HTTP_NOT_MODIFIED);
	if (!err)
		err = add_headers(request, version);
	return err ? err : 1;
}

static int answer_range_error(struct request *request, uint64_t size)
{
	int err = request_answer_text(request, MHD_HTTP_RANGE_NOT_SATISFIABLE,
				      "the range begins behind the end");

	if (err)
		return err;
	return request_add_header(request, MHD_HTTP_HEADER_CONTENT_RANGE, "bytes */%llu",
				  (unsigned long long)size);
}

/* Takes over sending. */
static int answer_bytes(struct request *request, struct sending *sending)
{
	const char *if_range = request_header(request, MHD_HTTP_HEADER_IF_RANGE);
	uint64_t size = sending->opened.was.attr.size, version = sending->opened.object.data_version;
	const char *text = request_header(request, MHD_HTTP_HEADER_RANGE);
	uint64_t start = 0, len = size;
	int got, err;

	if (if_range && !content_has_tag(if_range, version))
		text = NULL;
	got = content_range(text, size, &start, &len);
	if (got < 0) {
		sending_free(sending);
		return answer_range_error(request, size);
	}
	sending->start = start;
	err = request_answer_stream(request, got ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK,
				    "application/octet-stream", len, PIECE, sending_read, sending,
				    sending_free);
	if (!err)
		err = add_headers(request, version);
	if (!err && got)
		err = request_add_header(request, MHD_HTTP_HEADER_CONTENT_RANGE,
					 "bytes %llu-%llu/%llu", (unsigned long long)start,
					 (unsigned long long)(start + len - 1),
					 (unsigned long long)size);
	return err;
}

static int find_file(void *arg, struct sql *sql, struct object *ret_object)
{
	struct request *request = arg;
	int err = query_find(request, sql, ret_object);

	if (!err && ret_object->attr.type != KML_REG)
		err = request_refuse(request, MHD_HTTP_BAD_REQUEST, "it is not a regular file");
	return err;
}

int content_open(struct request *request, struct opened *opened)
{
	int err;

	*opened = (struct opened){ .tree = request->tree, .fd = -1 };
	err = opened_open(opened, find_file, request);
	if (err == -EAGAIN)
		request->retry_after_s = 1;
	return err;
}

int content_answer(struct request *request)
{
	struct sending *sending = calloc(1, sizeof(*sending));
	int got;

	if (!sending)
		return -ENOMEM;
	got = content_open(request, &sending->opened);
	if (!got)
		got = answer_conditions(request, sending->opened.object.data_version);
	if (!got)
		return answer_bytes(request, sending);
	sending_free(sending);
	return got == 1 ? 0 : got;
}
