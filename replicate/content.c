/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/content.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/apply.h"

#define ALL_CAME 1	/* ends a request of which only the start was wanted */

static int give(struct content *content)
{
	size_t len = content->chunk.len;
	int err;

	if (!len)
		return 0;
	err = FAULT("content.apply");
	if (!err)
		err = apply_content(content->cache, content->ino, content->version,
				    content->offset + content->given, content->chunk.data, len);
	buf_reset(&content->chunk);
	if (err)
		return err == -ESTALE || err == -ENOSPC ? err : -ECANCELED;
	content->given += len;
	return 0;
}

static int head_came(struct http_request *request)
{
	struct content *content = container_of(request, struct content, request);
	uint64_t from = content->offset + content->given;

	/*
	 * If-Match says the same; but bytes of another version are never to be mixed in, whoever
	 * sends them.
	 */
	if (!request->has_etag)
		return -EBADMSG;
	if (request->etag != content->version)
		return -ESTALE;
	if (request->status == 206)
		return request->has_range && request->range_from == from ? 0 : -EBADMSG;
	content->skip = from;
	return 0;
}

static int bytes_came(struct http_request *request, const void *data, size_t len)
{
	struct content *content = container_of(request, struct content, request);
	const char *from = data;
	size_t n;
	int err;

	n = MIN(content->skip, len);
	content->skip -= n;
	from += n;
	len -= n;
	while (len) {
		n = MIN(len, CONTENT_CHUNK - content->chunk.len);
		n = MIN(n, content->len - content->got);
		if (!n)
			return ALL_CAME;	/* the rest was not asked for */
		err = buf_append(&content->chunk, from, n);
		if (err)
			return err;
		content->got += n;
		from += n;
		len -= n;
		if (content->chunk.len == CONTENT_CHUNK) {
			err = give(content);
			if (err)
				return err;
		}
	}
	return 0;
}

static int for_cache(int err)
{
	switch (err) {
	case 0:
	case -ENOSPC:
	case -ESTALE:
		return err;
	case -ENOENT:
	case -EIDRM:
		return -ESTALE;
	}
	return -EIO;
}

static void answer(struct content *content, int err)
{
	buf_release(&content->chunk);
	if (!content->is_owed)
		return;
	content->is_owed = false;
	apply_content_end(content->cache, content->ino, content->version, content->offset,
			  for_cache(err));
}

static void send_request(struct content *content);

static void ended(struct http_request *request, int err)
{
	struct content *content = container_of(request, struct content, request);
	bool was_under_way = request->status >= 200 && request->status < 300;
	int give_err;

	if (err == ALL_CAME)
		err = 0;
	if (!err || err == -ECONNRESET || err == -ETIMEDOUT) {
		give_err = give(content);
		if (give_err)
			err = give_err;
	}
	if (content->given == content->len && (err == -ECONNRESET || err == -ETIMEDOUT))
		err = 0;
	if (!err && content->given < content->len)
		err = -ENODATA;
	/*
	 * The upstream breaks off when the file changes while it is sent.  Then the next try
	 * finds another version; if it was the line after all, the next try goes on from here.
	 */
	if ((err == -ECONNRESET || err == -ETIMEDOUT) && was_under_way &&
	    ++content->tries < CONTENT_TRIES) {
		content->got = content->given;
		send_request(content);
		return;
	}
	if (err == -ECONNRESET && was_under_way)
		err = -ENODATA;		/* there is somebody, so this is no loss of the link */
	answer(content, err);
	log_debug(LOG_FETCH, "fetch: content of ino=%" PRIu64 " version=%" PRIu64 " offset=%" PRIu64
		  " len=%" PRIu64 ": err=%d", content->ino, content->version, content->offset,
		  content->len, err);
	content->done(content, err);
}

static void send_request(struct content *content)
{
	struct http_request *request = &content->request;
	uint64_t from = content->offset + content->given;
	int err;

	snprintf(request->range, sizeof(request->range), "%" PRIu64 "-%" PRIu64, from,
		 content->offset + content->len - 1);
	err = http_start(content->http, request);
	if (err) {
		answer(content, err);
		content->done(content, err);
	}
}

void content_start(struct content *content)
{
	struct http_request *request = &content->request;
	char oid[KML_OID_TEXT];

	content->is_owed = true;
	content->got = content->given = content->skip = 0;
	content->tries = 0;
	buf_init(&content->chunk, 0);
	kml_oid_print(content->oid, oid);
	request->method = "GET";
	request->is_quick = true;
	request->head = head_came;
	request->sink = bytes_came;
	request->done = ended;
	snprintf(request->if_match, sizeof(request->if_match), "%" PRIu64, content->version);
	snprintf(request->path, sizeof(request->path), "/izo/v1/content/%s", oid);
	send_request(content);
}

void content_cancel(struct content *content, int err)
{
	http_cancel(&content->request);
	answer(content, err);
}

void content_release(struct content *content)
{
	buf_release(&content->chunk);
	http_request_release(&content->request);
}
