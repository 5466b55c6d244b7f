/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replicate_upstream: a small upstream in this process that misbehaves when told to.
 *
 * It keeps what was replayed (exactly once by seq), staged contents, and a journal of empty
 * changes.
 */
#ifndef TESTS_REPLICATE_UPSTREAM_H
#define TESTS_REPLICATE_UPSTREAM_H

#include <arpa/inet.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/compress.h"
#include "rpcgen/kml_codec.h"

enum misdeed {
	GOOD,
	STATUS,	  /* answer with that status */
	SOMEBODY, /* so does somebody else, before it gets here */
	LATE,	  /* likewise, after 300 ms */
	GARBAGE,  /* 200 and nonsense */
	CUT,	  /* do it, and close the connection instead of answering */
	CUT_BODY, /* take half of the request's body, or send half of the answer's, then close */
	HANG	  /* do not answer before upstream_stop() or the misdeed is taken back */
};

struct upstream {
	struct MHD_Daemon *daemon;
	uint16_t port;
	char url[64];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_stopping;

	char id[40];
	uint64_t position, oldest, extra_last_seq;
	uint64_t known_mark;		/* 0: it says nothing of marks */
	uint64_t last_seq;
	struct {
		uint64_t seq;
		enum kml_op op;
		unsigned char *data;
		uint64_t len;
	} done[64];
	size_t n_done;
	unsigned done_twice;		/* has to stay 0 */
	struct {
		char key[KML_KEY_MAX + 1];
		struct buf data;
	} staged[16];
	size_t n_staged;
	uint64_t staged_bytes;		/* that came, all requests */
	uint64_t content_version, content_len;	/* of every file; its bytes: content_at() */
	uint64_t small_len;		/* of every file in an answer with many: small_at() */
	uint64_t left_out;		/* the number of one that is not in it */
	unsigned contents, most_wishes;	/* such requests; and wishes in one */
	char paths[64][64];		/* of the first requests */
	unsigned retry_error;		/* answer RETRY with it */
	uint64_t retry_from;		/* from that seq on */
	bool cannot_wait;		/* it is of before batches could be sent behind others */
	bool cannot_unpack;		/* it is of before bodies could be packed */
	uint64_t body_bytes;		/* of bodies, as they came */
	unsigned packed;		/* bodies that were */
	unsigned replaying, most_replaying;	/* requests at once */
	unsigned company;		/* one that is not sent behind others waits until there are so many */

	/* requests that begin with that path go wrong, so many times (-1: always) */
	struct {
		char prefix[64], method[8];
		enum misdeed misdeed;
		int times, status;
	} wrong;
	unsigned let_pass;	/* so many of those that hang are answered all the same */
	unsigned requests, replays, journals, gone_wrong;
};

static UNUSED unsigned char content_at(uint64_t offset)
{
	return (unsigned char)(offset * 13 + (offset >> 10));
}

/* ---- answers ---- */

struct call {
	struct buf body;		/* unpacked */
	struct unpack *unpack;
	bool is_cut;
};

/* Its answers do not say whose they are. */
static atomic_bool is_older;

static enum MHD_Result answer_bytes(struct MHD_Connection *c, int status, const void *data,
				    size_t len, const char *header, const char *value)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, (void *)data, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result got;

	if (!is_older)
		MHD_add_response_header(response, "Izo-Protocol", "v1");
	if (header)
		MHD_add_response_header(response, header, value);
	got = MHD_queue_response(c, (unsigned)status, response);
	MHD_destroy_response(response);
	return got;
}

static enum MHD_Result answer_as_somebody(struct MHD_Connection *c, int status)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(9, (void *)"not found", MHD_RESPMEM_PERSISTENT);
	enum MHD_Result got = MHD_queue_response(c, (unsigned)status, response);

	MHD_destroy_response(response);
	return got;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, int status, const char *text)
{
	return answer_bytes(c, status, text, strlen(text), NULL, NULL);
}

static void cut(struct MHD_Connection *c)
{
	int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

	(void)shutdown(fd, SHUT_RDWR);
}

static struct kml_object object_make(struct kml_oid oid, enum kml_type type)
{
	return (struct kml_object){
		.oid = oid,
		.attr = { .type = type, .mode = type == KML_DIR ? 0755 : 0644, .nlink = 1 },
		.data_version = 1, .attr_version = 1,
	};
}

static enum MHD_Result answer_hello(struct upstream *u, struct MHD_Connection *c)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"izo\":1,\"id\":\"%s\",\"position\":%" PRIu64 ",\"oldest\":%" PRIu64
		 ",\"last_seq\":%" PRIu64 ",\"host\":\"h\"%s}",
		 u->id, u->position, u->oldest, MAX(u->last_seq, u->extra_last_seq), u->cannot_wait ? "" : ",\"behind\":true");
	if (!u->cannot_unpack)
		snprintf(text + strlen(text) - 1, sizeof(text) - strlen(text), ",\"zstd\":true}");
	if (u->known_mark) {
		const char *known = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "known");

		assert_non_null(known);
		if (strcmp(known, "0"))
			snprintf(text + strlen(text) - 1, sizeof(text) - strlen(text), ",\"known_mark\":\"%016" PRIx64 "\"}", u->known_mark);
	}
	return answer_text(c, 200, text);
}

static enum MHD_Result answer_object(struct MHD_Connection *c, const char *oid_text)
{
	struct kml_object object;
	struct kml_oid oid;
	struct buf buf;
	enum MHD_Result got;

	if (kml_oid_parse(oid_text, &oid))
		return answer_text(c, 400, "not an oid");
	if (oid.number == 404)
		return answer_text(c, 404, "no such object");
	object = object_make(oid, kml_oid_equal(oid, KML_ROOT) ? KML_DIR : KML_REG);
	buf_init(&buf, 0);
	assert_int_equal(kml_object_encode(&buf, &object), 0);
	got = answer_bytes(c, 200, buf.data, buf.len, NULL, NULL);
	buf_release(&buf);
	return got;
}

/* The object itself and 1000 names. */
static enum MHD_Result answer_list(struct upstream *u, struct MHD_Connection *c, bool is_half)
{
	char position[24];
	enum MHD_Result got;
	struct buf buf;
	size_t mark;

	buf_init(&buf, 0);
	for (uint64_t i = 0; i <= 1000; i++) {
		struct kml_listed listed = { .object = object_make(KML_ROOT, KML_DIR) };
		char name[16];

		if (i) {
			snprintf(name, sizeof(name), "f%" PRIu64, i);
			listed.parent = KML_ROOT;
			listed.name = (kml_name){ (u_int)strlen(name), name };
			listed.object = object_make((struct kml_oid){ 0, i + 1 }, KML_REG);
		}
		mark = kml_frame_begin(&buf);
		assert_int_equal(kml_listed_encode(&buf, &listed), 0);
		kml_frame_end(&buf, mark);
	}
	kml_frame_end(&buf, kml_frame_begin(&buf));
	snprintf(position, sizeof(position), "%" PRIu64, u->position);
	got = answer_bytes(c, 200, buf.data, is_half ? buf.len / 2 : buf.len, "Izo-Position",
			   position);
	buf_release(&buf);
	return got;
}

static void put_entry(struct buf *buf, uint64_t position)
{
	struct kml_entry entry = { .position = position };
	struct kml_setattr *set = &entry.record.body.kml_body_u.setattr;
	size_t mark = kml_frame_begin(buf);

	entry.record.format = KML_VERSION;
	entry.record.body.op = KML_SETATTR;
	set->oid = KML_ROOT;
	assert_int_equal(kml_entry_encode(buf, &entry), 0);
	kml_frame_end(buf, mark);
}

/* Under the lock. */
static enum MHD_Result answer_journal(struct upstream *u, struct MHD_Connection *c, bool is_half)
{
	const char *from_text = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "from");
	const char *wait_text = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "wait");
	uint64_t from = strtoull(from_text, NULL, 10), to;
	char position[24];
	struct timespec end;
	enum MHD_Result got;
	struct buf buf;

	u->journals++;
	if (from > u->position)
		return answer_text(c, 409, "not the tree you knew");
	if (from + 1 < u->oldest && from < u->position)
		return answer_text(c, 410, "gone");
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += atoi(wait_text);
	while (u->position == from && !u->is_stopping)
		if (pthread_cond_timedwait(&u->changed, &u->lock, &end))
			break;
	to = u->position;
	buf_init(&buf, 0);
	for (uint64_t i = from + 1; i <= (is_half ? (from + to) / 2 : to); i++)
		put_entry(&buf, i);
	if (!is_half)
		kml_frame_end(&buf, kml_frame_begin(&buf));
	snprintf(position, sizeof(position), "%" PRIu64, to);
	got = answer_bytes(c, 200, buf.data, buf.len, "Izo-Position", position);
	buf_release(&buf);
	return got;
}

struct sender {
	uint64_t from, len, cut_at;
};

static ssize_t send_content(void *arg, uint64_t pos, char *to, size_t max)
{
	struct sender *sender = arg;
	size_t n = MIN(max, sender->len - pos);

	if (pos >= sender->cut_at)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = MIN(n, sender->cut_at - pos);
	for (size_t i = 0; i < n; i++)
		to[i] = (char)content_at(sender->from + pos + i);
	return (ssize_t)n;
}

static enum MHD_Result answer_content(struct upstream *u, struct MHD_Connection *c, bool is_half)
{
	const char *range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
	const char *match = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-Match");
	unsigned long long a = 0, b = u->content_len - 1;
	struct MHD_Response *response;
	struct sender *sender;
	char etag[32], content_range[100];
	enum MHD_Result got;

	snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", u->content_version);
	if (match && strcmp(match, etag))
		return answer_text(c, 412, "another version");
	if (range && sscanf(range, "bytes=%llu-%llu", &a, &b) != 2)
		return answer_text(c, 400, "range");
	b = MIN(b, u->content_len - 1);
	sender = calloc(1, sizeof(*sender));
	*sender = (struct sender){ .from = a, .len = b + 1 - a, .cut_at = UINT64_MAX };
	if (is_half)
		sender->cut_at = sender->len / 2;
	response = MHD_create_response_from_callback(sender->len, 4096, send_content, sender, free);
	MHD_add_response_header(response, "ETag", etag);
	snprintf(content_range, sizeof(content_range), "bytes %llu-%llu/%" PRIu64, a, b,
		 u->content_len);
	if (range)
		MHD_add_response_header(response, "Content-Range", content_range);
	got = MHD_queue_response(c, range ? 206 : 200, response);
	MHD_destroy_response(response);
	return got;
}

/* Many small files.  A half of it ends in the middle of one. */
static enum MHD_Result answer_contents(struct upstream *u, struct MHD_Connection *c, struct call *call, bool is_half)
{
	struct kml_wishes wishes;
	enum MHD_Result got;
	struct buf buf;

	if (kml_wishes_decode(call->body.data, call->body.len, &wishes))
		return answer_text(c, 400, "malformed");
	u->contents++;
	u->most_wishes = MAX(u->most_wishes, wishes.wishes.wishes_len);
	buf_init(&buf, 0);
	for (u_int i = 0; i < wishes.wishes.wishes_len; i++) {
		struct kml_wish wish = wishes.wishes.wishes_val[i];
		char *bytes = malloc(u->small_len + 1);
		struct kml_given given = { wish.oid, wish.data_version, { (u_int)u->small_len, bytes } };
		size_t mark;

		for (uint64_t k = 0; k < u->small_len; k++)
			bytes[k] = (char)small_at(wish.oid.number, k);
		if (wish.oid.number != u->left_out && wish.data_version == u->content_version) {
			mark = kml_frame_begin(&buf);
			assert_int_equal(kml_given_encode(&buf, &given), 0);
			kml_frame_end(&buf, mark);
		}
		free(bytes);
	}
	kml_frame_end(&buf, kml_frame_begin(&buf));
	kml_wishes_release(&wishes);
	got = answer_bytes(c, 200, buf.data, is_half ? buf.len / 2 : buf.len, NULL, NULL);
	buf_release(&buf);
	return got;
}

/* ---- staging and replay ---- */

static struct buf *staged_find(struct upstream *u, const char *key, bool make)
{
	for (size_t i = 0; i < u->n_staged; i++)
		if (!strcmp(u->staged[i].key, key))
			return &u->staged[i].data;
	if (!make)
		return NULL;
	assert_true(u->n_staged < 16);
	snprintf(u->staged[u->n_staged].key, sizeof(u->staged[0].key), "%s", key);
	buf_init(&u->staged[u->n_staged].data, 0);
	return &u->staged[u->n_staged++].data;
}

static void staged_drop(struct upstream *u, const char *key)
{
	for (size_t i = 0; i < u->n_staged; i++)
		if (!strcmp(u->staged[i].key, key)) {
			buf_release(&u->staged[i].data);
			u->staged[i] = u->staged[--u->n_staged];
			return;
		}
}

static enum MHD_Result answer_stage(struct upstream *u, struct MHD_Connection *c,
				    const char *method, const char *key, struct call *call)
{
	const char *offset = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "offset");
	struct buf *data = staged_find(u, key, !strcmp(method, "PUT"));
	char text[40];

	if (!strcmp(method, "DELETE")) {
		staged_drop(u, key);
		return answer_bytes(c, 204, "", 0, NULL, NULL);
	}
	if (!strcmp(method, "GET")) {
		if (!data)
			return answer_text(c, 404, "none");
		snprintf(text, sizeof(text), "{\"size\":%zu}", data->len);
		return answer_text(c, 200, text);
	}
	if (strtoull(offset, NULL, 10) > data->len)
		return answer_text(c, 409, "offset");
	data->len = strtoull(offset, NULL, 10);
	buf_append(data, call->body.data, call->body.len);
	u->staged_bytes += call->body.len;
	return answer_bytes(c, 204, "", 0, NULL, NULL);
}

static void do_record(struct upstream *u, const struct kml_record *record)
{
	const struct kml_content *content = &record->body.kml_body_u.store.content;
	struct buf *staged;
	size_t i = u->n_done;

	for (size_t k = 0; k < u->n_done; k++)
		u->done_twice += u->done[k].seq == record->seq;
	assert_true(i < 64);
	u->done[i].seq = record->seq;
	u->done[i].op = record->body.op;
	if (record->body.op == KML_STORE && content->where == KML_INLINE) {
		u->done[i].len = content->kml_content_u.bytes.bytes_len;
		u->done[i].data = malloc(u->done[i].len + 1);
		if (u->done[i].len)
			memcpy(u->done[i].data, content->kml_content_u.bytes.bytes_val,
			       u->done[i].len);
	} else if (record->body.op == KML_STORE) {
		assert_int_equal(content->where, KML_STAGED);
		staged = staged_find(u, content->kml_content_u.key, false);
		assert_non_null(staged);
		u->done[i].len = staged->len;
		u->done[i].data = malloc(staged->len + 1);
		memcpy(u->done[i].data, staged->data, staged->len);
		staged_drop(u, content->kml_content_u.key);
	}
	u->last_seq = record->seq;
	u->n_done++;
	pthread_cond_broadcast(&u->changed);
}

/* Until what was sent before has been applied.  False: it does not come to that. */
static bool wait_turn(struct upstream *u, uint64_t after)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	while (u->last_seq < after && !u->is_stopping)
		if (pthread_cond_timedwait(&u->changed, &u->lock, &end))
			break;
	return u->last_seq >= after;
}

static void wait_company(struct upstream *u, unsigned company)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	while (u->most_replaying < company && !u->is_stopping)
		if (pthread_cond_timedwait(&u->changed, &u->lock, &end))
			break;
}

/* company: wait until there are so many of them. */
static enum MHD_Result answer_replay(struct upstream *u, struct MHD_Connection *c,
				     struct call *call, unsigned company)
{
	struct kml_answer list[KML_BATCH_MAX];
	struct kml_answers answers = { .answers = { .answers_val = list } };
	struct kml_batch batch;
	enum MHD_Result got;
	struct buf buf;

	wait_company(u, company);
	u->replays++;
	if (kml_batch_decode(call->body.data, call->body.len, &batch))
		return answer_text(c, 400, "malformed");
	assert_string_equal(batch.host, "testhost");
	memset(list, 0, sizeof(list));
	for (u_int i = 0; i < batch.records.records_len; i++) {
		list[i].seq = batch.records.records_val[i].seq;
		if (u->retry_error && list[i].seq >= u->retry_from) {
			list[i].status = KML_RETRY;
			list[i].error = u->retry_error;
			continue;
		}
		if (list[i].seq > u->last_seq)
			do_record(u, &batch.records.records_val[i]);
	}
	answers.position = u->position;
	answers.answers.answers_len = batch.records.records_len;
	kml_batch_release(&batch);
	buf_init(&buf, 0);
	assert_int_equal(kml_answers_encode(&buf, &answers), 0);
	got = answer_bytes(c, 200, buf.data, buf.len, NULL, NULL);
	buf_release(&buf);
	return got;
}

/* ---- the server ---- */

static enum misdeed pick_misdeed(struct upstream *u, const char *path, const char *method)
{
	if (!u->wrong.times || strncmp(path, u->wrong.prefix, strlen(u->wrong.prefix)))
		return GOOD;
	if (u->wrong.method[0] && strcmp(u->wrong.method, method))
		return GOOD;
	if (u->wrong.times > 0)
		u->wrong.times--;
	u->gone_wrong++;
	pthread_cond_broadcast(&u->changed);
	return u->wrong.misdeed;
}

static void wait_late(struct upstream *u)
{
	pthread_mutex_unlock(&u->lock);
	usleep(300000);
	pthread_mutex_lock(&u->lock);
}

static enum MHD_Result answer(struct upstream *u, struct MHD_Connection *c, const char *path,
			      const char *method, struct call *call)
{
	enum misdeed misdeed = pick_misdeed(u, path, method);
	enum MHD_Result got;
	const char *key;

	if (u->requests < ARRAY_SIZE(u->paths))
		snprintf(u->paths[u->requests], sizeof(u->paths[0]), "%s %s", method, path + 8);
	u->requests++;
	if (!strncmp(path, "/izo/v1/replay", 14) && ++u->replaying > u->most_replaying)
		u->most_replaying = u->replaying;
	pthread_cond_broadcast(&u->changed);
	while (misdeed == HANG && !u->is_stopping && u->wrong.times && !u->let_pass)
		pthread_cond_wait(&u->changed, &u->lock);
	if (misdeed == HANG && u->let_pass)
		u->let_pass--;
	if (misdeed == HANG && u->is_stopping)
		return MHD_NO;
	if (misdeed == LATE)
		wait_late(u);
	if (misdeed == SOMEBODY)
		return answer_as_somebody(c, u->wrong.status);
	if (misdeed == STATUS || misdeed == LATE)
		return answer_text(c, u->wrong.status, "as told\nand more");
	if (misdeed == GARBAGE)
		return answer_text(c, 200, "<html>nonsense</html>");
	if (!strncmp(path, "/izo/v1/hello", 13))
		got = answer_hello(u, c);
	else if (!strncmp(path, "/izo/v1/object/", 15))
		got = answer_object(c, path + 15);
	else if (!strncmp(path, "/izo/v1/list/", 13))
		got = answer_list(u, c, misdeed == CUT_BODY);
	else if (!strncmp(path, "/izo/v1/journal", 15))
		got = answer_journal(u, c, misdeed == CUT_BODY);
	else if (!strncmp(path, "/izo/v1/content/", 16))
		got = answer_content(u, c, misdeed == CUT_BODY);
	else if (!strcmp(path, "/izo/v1/contents") && u->small_len)
		got = answer_contents(u, c, call, misdeed == CUT_BODY);
	else if (!strcmp(path, "/izo/v1/replay"))
		got = answer_replay(u, c, call, u->company);
	else if (!strncmp(path, "/izo/v1/replay/", 15) && !u->cannot_wait)
		got = wait_turn(u, strtoull(path + 15, NULL, 10)) ? answer_replay(u, c, call, 0) : answer_text(c, 412, "not applied");
	else if (!strncmp(path, "/izo/v1/stage/", 14) && (key = strchr(path + 14, '/')))
		got = answer_stage(u, c, method, key + 1, call);
	else
		return answer_text(c, 404, "no such path");
	if (misdeed == CUT)
		cut(c);
	return got;
}

static int keep(void *arg, const void *data, size_t len)
{
	return buf_append(arg, data, len);
}

static void keep_body(struct call *call, const void *data, size_t len)
{
	if (call->unpack)
		assert_int_equal(unpack_feed(call->unpack, data, len, keep, &call->body), 0);
	else
		buf_append(&call->body, data, len);
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *path,
			      const char *method, const char *version, const char *data,
			      size_t *len, void **state)
{
	struct upstream *u = arg;
	struct call *call = *state;
	enum MHD_Result got;

	(void)version;
	if (!call) {
		call = *state = calloc(1, sizeof(*call));
		if (MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Encoding")) {
			assert_false(u->cannot_unpack);
			assert_int_equal(unpack_new(&call->unpack), 0);
		}
		return MHD_YES;
	}
	if (*len) {
		pthread_mutex_lock(&u->lock);
		u->body_bytes += *len;
		pthread_mutex_unlock(&u->lock);
		keep_body(call, data, *len);
		*len = 0;
		pthread_mutex_lock(&u->lock);
		/* Half of a staged piece: what has come is kept, as docs/PROTOCOL.md 8 says. */
		if (call->body.len > (1u << 20) && u->wrong.misdeed == CUT_BODY &&
		    pick_misdeed(u, path, method) == CUT_BODY) {
			answer_stage(u, c, method, strchr(path + 14, '/') + 1, call);
			cut(c);
			call->is_cut = true;
		}
		pthread_mutex_unlock(&u->lock);
		return call->is_cut ? MHD_NO : MHD_YES;
	}
	pthread_mutex_lock(&u->lock);
	if (call->unpack) {
		assert_int_equal(unpack_end(call->unpack), 0);
		u->packed++;
	}
	got = answer(u, c, path, method, call);
	u->replaying -= !strncmp(path, "/izo/v1/replay", 14);
	pthread_mutex_unlock(&u->lock);
	return got;
}

static void completed(void *arg, struct MHD_Connection *c, void **state,
		      enum MHD_RequestTerminationCode code)
{
	struct call *call = *state;

	(void)arg;
	(void)c;
	(void)code;
	if (!call)
		return;
	buf_release(&call->body);
	unpack_free(call->unpack);
	free(call);
	*state = NULL;
}

/* port 0: any.  The state in u stays from one start to the next. */
static void upstream_start(struct upstream *u)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(u->port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	u->is_stopping = false;
	u->daemon = MHD_start_daemon(
		MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
		handle, u, MHD_OPTION_SOCK_ADDR, &addr, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
		MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_END);
	assert_non_null(u->daemon);
	u->port = MHD_get_daemon_info(u->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
	snprintf(u->url, sizeof(u->url), "http://127.0.0.1:%u/", u->port);
}

static void upstream_stop(struct upstream *u)
{
	if (!u->daemon)
		return;
	pthread_mutex_lock(&u->lock);
	u->is_stopping = true;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
	MHD_stop_daemon(u->daemon);
	u->daemon = NULL;
}

static struct upstream *upstream_new(void)
{
	struct upstream *u = calloc(1, sizeof(*u));

	assert_non_null(u);
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->changed, NULL);
	snprintf(u->id, sizeof(u->id), "upstream-one");
	u->oldest = 1;
	u->content_version = 5;
	u->content_len = 3u << 20;
	return u;
}

static void upstream_free(struct upstream *u)
{
	upstream_stop(u);
	for (size_t i = 0; i < u->n_done; i++)
		free(u->done[i].data);
	while (u->n_staged)
		staged_drop(u, u->staged[0].key);
	free(u);
}

static UNUSED void misbehave(struct upstream *u, const char *method, const char *prefix,
		      enum misdeed misdeed, int status, int times)
{
	pthread_mutex_lock(&u->lock);
	snprintf(u->wrong.prefix, sizeof(u->wrong.prefix), "%s", prefix);
	snprintf(u->wrong.method, sizeof(u->wrong.method), "%s", method);
	u->wrong.misdeed = misdeed;
	u->wrong.status = status;
	u->wrong.times = times;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
}

static UNUSED void behave(struct upstream *u)
{
	misbehave(u, "", "", GOOD, 0, 0);
}

static UNUSED void upstream_change(struct upstream *u, uint64_t by)
{
	pthread_mutex_lock(&u->lock);
	u->position += by;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
}

#endif
