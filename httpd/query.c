/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/query.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "httpd/journal.h"
#include "httpd/json.h"
#include "httpd/stream.h"
#include "httpd/turn.h"

#define WAIT_MAX_S 300
#define POLLS_MAX 300			/* connections that wait at a time; the rest are for work */
#define LOOK_US (2 * US_PER_S)		/* between two looks whether the peer is still there */
#define CHUNK 64			/* entries read at a time */

static int snapshot_position(struct sql *sql, uint64_t *ret_position)
{
	int64_t position;
	int err = sql_int(sql, "SELECT max(position) FROM journal", &position);

	if (!err)
		*ret_position = (uint64_t)position;
	return err;
}

/* ---- hello ---- */

/* What only one tree at one time says. */
struct hello {
	uint64_t client, known;		/* asked for; 0: not */
	uint64_t position, seq;
	struct kml_mark known_mark, mark;
};

static int hello_read(struct sql *sql, struct hello *hello)
{
	int err = snapshot_position(sql, &hello->position);

	if (!err && hello->client)
		err = turn_last_seq(sql, hello->client, &hello->seq);
	if (!err)
		err = MIN(journal_mark(sql, hello->position, &hello->mark), 0);
	if (!err && hello->known)
		err = MIN(journal_mark(sql, hello->known, &hello->known_mark), 0);
	return err;
}

static int add_mark(json_t *json, const char *key, const struct kml_mark *mark)
{
	char text[20];

	if (!mark->position)
		return 0;
	(void)snprintf(text, sizeof(text), "%016" PRIx64, mark->value);
	return json_object_set_new(json, key, json_string(text));
}

/* NULL: no memory. */
static json_t *hello_json(const struct tree *tree, const struct hello *hello, uint64_t oldest)
{
	json_t *json = json_pack("{s:i, s:s, s:I, s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "izo", 1, "id", tree->id, "position",
				 (json_int_t)hello->position, "oldest", (json_int_t)oldest, "host",
				 tree->host, "acls", (int)tree->has_acls, "deltas", 1, "behind", 1, "zstd", 1, "detach", 1);
	int err = 0;

	if (json && hello->client)
		err = json_object_set_new(json, "last_seq", json_integer((json_int_t)hello->seq));
	if (json && !err)
		err = add_mark(json, "mark", &hello->mark);
	if (json && !err)
		err = add_mark(json, "known_mark", &hello->known_mark);
	if (err) {
		json_decref(json);
		json = NULL;
	}
	return json;
}

int query_hello(struct request *request)
{
	const char *text = request_param(request, "client");
	struct hello hello = { 0 };
	struct sql *sql;
	struct buf buf;
	int err;

	if (text && request_parse_client(text, &hello.client))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "client is not 16 lower-case hex digits (and not 0)");
	err = request_number(request, "known", INT64_MAX, &hello.known);
	if (err)
		return err;
	err = tree_reader_get(request->tree, &sql);
	if (err)
		return err;
	err = hello_read(sql, &hello);
	tree_reader_put(request->tree, sql);
	if (err)
		return err;
	buf_init(&buf, 0);
	err = json_write(&buf, hello_json(request->tree, &hello, tree_oldest(request->tree)));
	if (!err)
		err = buf_append(&buf, "\n", 1);
	if (!err)
		err = request_answer_buf(request, MHD_HTTP_OK, QUERY_JSON, &buf);
	buf_release(&buf);
	return err;
}

/* ---- journal ---- */

/*
 * Until there is something above from.  The connection's thread waits here: a poll costs a thread that sleeps.
 * A peer that went away is noticed soon, for a client with a bad link leaves many behind.
 */
static int wait_above(struct request *request, uint64_t from, uint64_t wait_s)
{
	uint64_t deadline_us = clock_us() + wait_s * US_PER_S, now = clock_us();

	if (!wait_s || tree_wait(request->tree, from, 0) > from)
		return 0;
	if (!request_enter(request->shared, &request->shared->polls, POLLS_MAX)) {
		request->retry_after_s = 10;
		return request_refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE,
				      "too many wait already; try again later");
	}
	while (now < deadline_us && !tree_is_stopping(request->tree) && !request_is_left(request)) {
		if (tree_wait(request->tree, from, MIN(deadline_us, now + LOOK_US)) > from)
			break;
		now = clock_us();
	}
	request_leave(request->shared, &request->shared->polls);
	return 0;
}

/* The entries (at, last], in pieces.  Entries never change, so no snapshot is held meanwhile. */
struct entries {
	struct stream stream;
	uint64_t at, last;
	bool is_json, is_first;
};

/* As journal_read(), but -ESTALE when what follows from is forgotten. */
static int read_entries(struct tree *tree, uint64_t from, uint64_t max, struct buf *buf,
			uint64_t *ret_last)
{
	struct sql *sql;
	int64_t oldest;
	int err;

	err = tree_reader_get(tree, &sql);
	if (err)
		return err;
	/* Looked up in the snapshot that is read: what is asked for may be forgotten at any time. */
	err = sql_int(sql, "SELECT min(position) FROM journal", &oldest);
	if (!err && from + 1 < (uint64_t)oldest)
		err = -ESTALE;
	if (!err)
		err = journal_read(sql, from, (unsigned)max, buf, ret_last);
	tree_reader_put(tree, sql);
	return err;
}

static int entries_to_json(struct entries *entries, const struct buf *frames)
{
	struct buf *buf = &entries->stream.buf;
	struct kml_entry entry;
	struct slice body;
	size_t at = 0, used;
	int err = 0;

	while (!err &&
	       kml_frame_next(frames->data + at, frames->len - at, SIZE_MAX, &body, &used) == 1) {
		if (kml_entry_decode(body.data, body.len, &entry))
			return -EUCLEAN;
		buf_append(buf, entries->is_first ? "\n" : ",\n", entries->is_first ? 1 : 2);
		err = json_write(buf, json_of_entry(&entry));
		kml_entry_release(&entry);
		entries->is_first = false;
		at += used;
	}
	return err;
}

static int produce(struct stream *stream)
{
	struct entries *entries = container_of(stream, struct entries, stream);
	uint64_t max = MIN(entries->last - entries->at, CHUNK);
	struct buf frames;
	int err;

	if (!max) {
		stream->is_over = true;
		return entries->is_json ? buf_append(&stream->buf, "\n]\n", 3) :
					  buf_u32be(&stream->buf, 0);
	}
	if (!entries->is_json)
		return read_entries(stream->tree, entries->at, max, &stream->buf, &entries->at);
	buf_init(&frames, 0);
	err = read_entries(stream->tree, entries->at, max, &frames, &entries->at);
	if (!err)
		err = entries_to_json(entries, &frames);
	buf_release(&frames);
	return err;
}

static void entries_free(struct stream *stream)
{
	free(container_of(stream, struct entries, stream));
}

static int send_entries(struct request *request, uint64_t from, uint64_t last)
{
	struct entries *entries = calloc(1, sizeof(*entries));
	bool is_json = request_wants_json(request);
	int err = 0;

	if (!entries)
		return -ENOMEM;
	entries->stream = (struct stream){ .tree = request->tree,
					   .produce = produce,
					   .free = entries_free,
					   .until_us = CLOCK_NEVER };
	buf_init(&entries->stream.buf, 0);
	entries->at = from;
	entries->last = last;
	entries->is_json = is_json;
	entries->is_first = true;
	if (is_json)
		err = buf_append(&entries->stream.buf, "[", 1);
	/* The first piece now, while there can still be an error instead. */
	if (!err && from < last)
		err = produce(&entries->stream);
	if (err) {
		stream_free(&entries->stream);
		if (err != -ESTALE)
			return err;
		return request_refuse(request, MHD_HTTP_GONE,
				      "the journal does not reach back that far; list again");
	}
	err = stream_answer(request, &entries->stream, is_json ? QUERY_JSON : QUERY_XDR);
	if (!err)
		err = request_add_header(request, "Izo-Position", "%llu", (unsigned long long)last);
	return err;
}

int query_journal(struct request *request)
{
	uint64_t from = 0, wait_s = 0, max = JOURNAL_MAX, position;
	int err;

	err = request_number(request, "from", INT64_MAX, &from);
	if (!err)
		err = request_number(request, "wait", UINT32_MAX, &wait_s);
	if (!err)
		err = request_number(request, "max", UINT32_MAX, &max);
	if (err)
		return err;
	if (!max || max > JOURNAL_MAX)
		max = JOURNAL_MAX;
	position = tree_wait(request->tree, from, 0);
	if (from > position)
		return request_refuse(request, MHD_HTTP_CONFLICT,
				      "this tree has not come that far: it is not the one you knew");
	err = wait_above(request, from, MIN(wait_s, WAIT_MAX_S));
	if (err)
		return err;
	position = tree_wait(request->tree, from, 0);
	return send_entries(request, from, MIN(position, from + max));
}

/* ---- object ---- */

int query_find(struct request *request, struct sql *sql, struct object *ret_object)
{
	struct kml_oid oid;
	int got;

	if (kml_oid_parse(request->arg[0], &oid))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "not an oid: two 16-digit lower-case hex numbers and a dash");
	got = object_by_oid(sql, oid, ret_object);
	if (got < 0)
		return got;
	if (!got)
		return request_refuse(request, MHD_HTTP_NOT_FOUND, "no such object");
	if (ret_object->gone)
		return request_refuse(request, MHD_HTTP_GONE, "it was removed");
	return 0;
}

int query_object(struct request *request)
{
	bool is_json = request_wants_json(request);
	struct kml_object kml;
	struct object object;
	uint64_t position = 0;
	struct sql *sql;
	struct buf buf;
	int err;

	err = tree_reader_get(request->tree, &sql);
	if (err)
		return err;
	err = query_find(request, sql, &object);
	if (!err)
		err = snapshot_position(sql, &position);
	if (!err)
		err = object_to_kml(sql, &object, &kml);
	tree_reader_put(request->tree, sql);
	if (err)
		return err;
	buf_init(&buf, 0);
	if (is_json) {
		err = json_write(&buf, json_of_object(&kml));
		buf_append(&buf, "\n", 1);
	} else {
		err = kml_object_encode(&buf, &kml);
	}
	kml_object_release(&kml);
	if (!err)
		err = buf_error(&buf);
	if (!err)
		err = request_answer_buf(request, MHD_HTTP_OK, is_json ? QUERY_JSON : QUERY_XDR,
					 &buf);
	if (!err)
		err = request_add_header(request, "Izo-Position", "%llu", (unsigned long long)position);
	buf_release(&buf);
	return err;
}
