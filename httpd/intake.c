/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/intake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "httpd/apply.h"
#include "httpd/query.h"
#include "httpd/turn.h"

/*
 * How long it took here, apart from the way (W3C "Server Timing"; docs/PROTOCOL.md 7): a client that measures its link must
 * not take a slow disk for it.
 */
static int add_work(struct request *request, uint64_t began_us)
{
	return request_add_header(request, "Server-Timing", "izo;dur=%llu",
				  (unsigned long long)((clock_us() - began_us) / US_PER_MS));
}

/* ---- replay ---- */

/* Decoding copies the contents once more. */
#define HELD(len) (2 * (((uint64_t)(len) + (1u << 20)) & ~(uint64_t)((1u << 20) - 1)))

int intake_begin(struct request *request, size_t max)
{
	const char *type = request_header(request, MHD_HTTP_HEADER_CONTENT_TYPE);

	/*
	 * Without this check a page in somebody's browser could post to a server on the loopback address:
	 * browsers send this type to other sites only after asking, and they are told no.
	 */
	if (!type || strncasecmp(type, QUERY_XDR, strlen(QUERY_XDR)) ||
	    !strchr("; \t", type[strlen(QUERY_XDR)]))
		return request_refuse(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE,
				      "the Content-Type must be " QUERY_XDR);
	buf_init(&request->body, max);
	return request_begin_body(request);
}

/* However small it came: what is counted, and limited, is what it is in memory. */
static int replay_keep(void *arg, const void *data, size_t len)
{
	struct request *request = arg;
	int err = request_reserve(request, HELD(request->body.len + len));

	return err ? err : buf_append(&request->body, data, len);
}

int replay_begin(struct request *request)
{
	return intake_begin(request, REPLAY_MAX);
}

int replay_take(struct request *request, const void *data, size_t len)
{
	return request_take_body(request, data, len, replay_keep);
}

/* The seq in the path, behind which it comes; without one: 0. */
static int parse_after(struct request *request, uint64_t *ret_after)
{
	const char *text = request->arg[0];
	size_t len = strlen(text);

	if (len > 18 || strspn(text, "0123456789") != len)
		return request_refuse(request, MHD_HTTP_BAD_REQUEST, "the seq in the path is not a number, or is out of range");
	*ret_after = len ? strtoull(text, NULL, 10) : 0;
	return 0;
}

static int apply_in_turn(struct request *request, const struct kml_batch *batch, struct buf *answers)
{
	uint64_t after = 0;
	int err = parse_after(request, &after);

	if (!err && after)
		err = turn_wait(request, batch->client, after);
	return err ? err : apply_batch(request->tree, batch, answers);
}

int replay_answer(struct request *request)
{
	uint64_t began_us = clock_us();
	struct kml_batch batch;
	struct buf answers;
	int err;

	err = request_end_body(request);
	if (err)
		return err;
	err = kml_batch_decode(request->body.data, request->body.len, &batch);
	buf_release(&request->body);
	if (err)
		return err;
	buf_init(&answers, 0);
	err = apply_in_turn(request, &batch, &answers);
	log_debug(LOG_HTTP, "replay: client=%016llx records=%u err=%d",
		  (unsigned long long)batch.client, batch.records.records_len, err);
	kml_batch_release(&batch);
	if (err == -ESTALE)
		err = request_refuse(request, MHD_HTTP_CONFLICT,
				     "it repeats records whose answers are not kept any more");
	else if (err == -EINVAL)
		err = request_refuse(request, MHD_HTTP_BAD_REQUEST,
				     "not a batch: no client, or its seqs do not ascend");
	if (!err)
		err = request_answer_buf(request, MHD_HTTP_OK, QUERY_XDR, &answers);
	if (!err)
		err = add_work(request, began_us);
	buf_release(&answers);
	return err;
}

/* ---- stage ---- */

static int stage_args(struct request *request, uint64_t *ret_client)
{
	if (request_parse_client(request->arg[0], ret_client))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "client is not 16 lower-case hex digits (and not 0)");
	if (!upload_key_is_good(request->arg[1]))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "the key is not 1 to 64 of A-Z a-z 0-9 _ -");
	return 0;
}

int stage_begin(struct request *request)
{
	const char *length = request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
	uint64_t client, offset = 0;
	int err;

	err = stage_args(request, &client);
	if (!err)
		err = request_number(request, "offset", INT64_MAX, &offset);
	/* A PUT that cannot end well need not begin: it would cut off what is there. */
	if (!err)
		err = tree_has_room_to_stage(request->tree, length ? strtoull(length, NULL, 10) : 0);
	if (!err)
		err = request_begin_body(request);
	return err ? err :
		     upload_open(request->tree, client, request->arg[1], offset, &request->upload);
}

static int stage_keep(void *arg, const void *data, size_t len)
{
	const struct request *request = arg;
	/* How long it gets is not said of a packed one, and others come meanwhile. */
	int err = tree_has_room_to_stage(request->tree, len);

	return err ? err : upload_write(request->upload, data, len);
}

int stage_take(struct request *request, const void *data, size_t len)
{
	return request_take_body(request, data, len, stage_keep);
}

int stage_put(struct request *request)
{
	uint64_t began_us = clock_us();
	int err = request_end_body(request);

	if (!err)
		err = upload_sync(request->upload);
	upload_close(request->upload);
	request->upload = NULL;
	if (!err)
		err = request_answer_empty(request, MHD_HTTP_NO_CONTENT);
	return err ? err : add_work(request, began_us);
}

int stage_get(struct request *request)
{
	uint64_t client, size;
	struct buf buf;
	int err;

	err = stage_args(request, &client);
	if (!err)
		err = upload_size(request->tree, client, request->arg[1], &size);
	if (err)
		return err;
	buf_init(&buf, 0);
	err = buf_printf(&buf, "{\"size\":%llu}\n", (unsigned long long)size);
	if (!err)
		err = request_answer_buf(request, MHD_HTTP_OK, QUERY_JSON, &buf);
	buf_release(&buf);
	return err;
}

int stage_delete(struct request *request)
{
	uint64_t client;
	int err;

	err = stage_args(request, &client);
	if (!err)
		err = upload_delete(request->tree, client, request->arg[1]);
	if (!err && fsync(request->tree->stage_fd) < 0)
		err = -errno;
	return err ? err : request_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
