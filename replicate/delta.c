/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/delta.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "replicate/batch.h"
#include "replicate/staged.h"

#define CONTENT_MAX (1ull << 37)	/* its signature is some 15 MB */
#define SIGNATURE_MAX (16u << 20)
#define SLICE (4u << 20)		/* of the content, in one piece of work: at worst a tenth of a second */
#define OUT (256u << 10)
#define CHUNK (8u << 20)		/* of the delta, in one request */
#define RESUME_MIN (1u << 20)		/* a smaller delta is sent again sooner than asked for */
#define ASKED_MAX 3
/*
 * Of a content that is another altogether nothing is found, and looking for it takes longer (some 40 MB/s) than finding
 * (400): when most of the first part had to be put into the delta, the rest is not looked at.
 */
#define HOPE (32u << 20)		/* but so much is */
#define HOPE_PART 8
#define WAITS_MAX 10			/* for an upstream that has too much to do; then it is sent whole */
#define WAIT_US (2 * US_PER_S)
#define STALL_S 120			/* the upstream puts the content together before it answers */
#define STALL_BYTES_PER_S (20u << 20)

/* Whose content it is compared with, or {0,0}.  A temporary file that is renamed then had nothing, or a part, before. */
static struct kml_oid base_of(const struct cml_item *item)
{
	const struct kml_store *store = &item->record.body.kml_body_u.store;

	if (!kml_oid_is_none(item->replaces))
		return item->replaces;
	return store->data_base ? store->oid : (struct kml_oid){ 0 };
}

bool delta_is_worth(const struct cml_item *item)
{
	const struct kml_store *store = &item->record.body.kml_body_u.store;

	if (item->record.body.op != KML_STORE || item->is_packed)
		return false;
	/* Where a program has said what it changed, by writing just that, there is little left to find. */
	return !kml_oid_is_none(base_of(item)) && item->bytes > BATCH_INLINE && item->bytes <= CONTENT_MAX &&
	       item->bytes >= store->size / 2;
}

/* ---- ends ---- */

static void drop(struct delta *delta)
{
	rdiff_free(delta->job);
	delta->job = NULL;
	if (delta->file >= 0)
		(void)close(delta->file);	/* nobody will read it */
	delta->file = -1;
	free(delta->chunk);
	delta->chunk = NULL;
	http_request_release(&delta->request);
}

static void end(struct delta *delta, int result)
{
	drop(delta);
	delta->done(delta, result);
}

static void local_trouble(struct delta *delta, int err)
{
	delta->is_local = true;
	end(delta, err);
}

static void hand_over(struct delta *delta, void (*run)(struct work *), void (*then)(struct work *))
{
	delta->is_working = true;
	worker_post(delta->worker, &delta->work, run, then);
}

/* Back from the worker; false: there is nothing left to do. */
static bool is_back(struct delta *delta)
{
	delta->is_working = false;
	if (!atomic_load(&delta->is_cancelled))
		return true;
	end(delta, -ECANCELED);
	return false;
}

static void start(struct delta *delta, const char *method, void (*done)(struct http_request *, int))
{
	int err;

	delta->request.method = method;
	delta->request.done = done;
	err = http_start(delta->http, &delta->request);
	if (err)
		local_trouble(delta, err);
}

static void set_stage_path(struct delta *delta, const char *query)
{
	struct http_request *request = &delta->request;

	staged_path(request, delta->client, delta->delta_key, query);
	request->if_match[0] = '\0';
	request->body = NULL;
	request->body_len = 0;
	request->stall_s = 4 * HTTP_STALL_S;
}

static void deleted(struct http_request *request, int err)
{
	(void)err;	/* what is left there expires by itself */
	end(container_of(request, struct delta, request), DELTA_WHOLE);
}

static void whole(struct delta *delta, const char *why)
{
	log_debug(LOG_REPLAY, "replay: sending it whole: seq=%" PRIu64 " %s", delta->item->record.seq, why);
	if (delta->delta_key[0]) {
		set_stage_path(delta, "");
		start(delta, "DELETE", deleted);
	} else {
		end(delta, DELTA_WHOLE);
	}
}

/*
 * A request failed.  true: it is over.  false: it has to be asked again, after a while.  Where the upstream is not
 * lost, nor full, the content itself may go where its difference does not.
 */
static bool failed(struct delta *delta, int err)
{
	if (err == -EAGAIN && delta->waits++ < WAITS_MAX) {
		log_debug(LOG_REPLAY, "replay: the upstream is busy, a difference waits: seq=%" PRIu64,
			  delta->item->record.seq);
		return false;
	}
	if ((http_is_lost(err) && err != -EAGAIN) || err == -ENOSPC || err == -EACCES)
		end(delta, err);
	else
		whole(delta, delta->request.trouble);
	return true;
}

static void wait(struct delta *delta, void (*then)(struct loop_timer *))
{
	delta->timer.fire = then;
	loop_timer_set(delta->http->loop, &delta->timer, clock_us() + WAIT_US);
}

/* ---- the delta: sent, and put together ---- */

static void hash_text(const unsigned char hash[DELTA_HASH], char text[2 * DELTA_HASH + 1])
{
	for (size_t i = 0; i < DELTA_HASH; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

static void patch(struct delta *delta);

static void patch_again(struct loop_timer *timer)
{
	patch(container_of(timer, struct delta, timer));
}

static void patched(struct http_request *request, int err)
{
	struct delta *delta = container_of(request, struct delta, request);

	if (err) {
		if (!failed(delta, err))
			wait(delta, patch_again);
		return;
	}
	log_info("replay: a large file was sent as a difference: seq=%" PRIu64 " bytes=%" PRIu64 " of=%" PRIu64,
		 delta->item->record.seq, delta->size, delta->item->bytes);
	end(delta, DELTA_SENT);
}

static void patch(struct delta *delta)
{
	struct http_request *request = &delta->request;
	char oid[KML_OID_TEXT], hash[2 * DELTA_HASH + 1];

	kml_oid_print(base_of(delta->item), oid);
	hash_text(delta->hash, hash);
	snprintf(request->path, sizeof(request->path),
		 "/izo/v1/patch/%s?client=%016" PRIx64 "&delta=%s&content=%s&size=%" PRIu64 "&blake2b=%s", oid, delta->client,
		 delta->delta_key, delta->key, delta->item->bytes, hash);
	snprintf(request->if_match, sizeof(request->if_match), "%" PRIu64, delta->base);
	request->body = "";
	request->body_len = 0;
	request->stall_s = STALL_S + (unsigned)MIN(delta->item->bytes / STALL_BYTES_PER_S, (uint64_t)86400);
	start(delta, "POST", patched);
}

/* Nobody is told to wait here because of what there is to compare. */
static void stage_failed(struct delta *delta, int err)
{
	if (err == -EAGAIN)
		end(delta, err);
	else
		(void)failed(delta, err);	/* true: what it could be asked again for is dealt with */
}

static void send_piece(struct delta *delta);
static void ask_size(struct delta *delta);

static void piece_sent(struct http_request *request, int err)
{
	struct delta *delta = container_of(request, struct delta, request);

	if (err == -EBADE) {
		ask_size(delta);	/* it has less than we thought */
		return;
	}
	if (err) {
		stage_failed(delta, err);
		return;
	}
	delta->sent += delta->chunk_len;
	send_piece(delta);
}

static void read_piece(struct work *work)
{
	struct delta *delta = container_of(work, struct delta, work);
	ssize_t got = fs_pread_full(delta->file, delta->chunk, delta->chunk_len, delta->sent);

	delta->result = got < 0 ? (int)got : (size_t)got < delta->chunk_len ? -EIO : 0;
}

static void piece_read(struct work *work)
{
	struct delta *delta = container_of(work, struct delta, work);
	char query[40];

	if (!is_back(delta))
		return;
	if (delta->result) {
		local_trouble(delta, delta->result);
		return;
	}
	snprintf(query, sizeof(query), "?offset=%" PRIu64, delta->sent);
	set_stage_path(delta, query);
	delta->request.body = delta->chunk;
	delta->request.body_len = delta->chunk_len;
	start(delta, "PUT", piece_sent);
}

static void send_piece(struct delta *delta)
{
	if (delta->sent == delta->size) {
		patch(delta);
		return;
	}
	delta->chunk_len = MIN(delta->piece ? MIN(*delta->piece, (uint64_t)CHUNK) : CHUNK, delta->size - delta->sent);
	if (!delta->chunk)
		delta->chunk = malloc(CHUNK);	/* pieces grow with what the link is found to carry */
	if (!delta->chunk)
		local_trouble(delta, -ENOMEM);
	else
		hand_over(delta, read_piece, piece_read);
}

static void size_came(struct http_request *request, int err)
{
	struct delta *delta = container_of(request, struct delta, request);

	if (err && err != -ENOENT) {
		stage_failed(delta, err);
		return;
	}
	if (err || staged_size(&request->answer, &delta->sent) || delta->sent > delta->size)
		delta->sent = 0;
	if (delta->sent)
		log_info("replay: sending a difference goes on: seq=%" PRIu64 " from=%" PRIu64 " of=%" PRIu64,
			 delta->item->record.seq, delta->sent, delta->size);
	send_piece(delta);
}

static void ask_size(struct delta *delta)
{
	if (delta->asked++ == ASKED_MAX) {
		whole(delta, "the upstream keeps losing the delta");
		return;
	}
	set_stage_path(delta, "");
	start(delta, "GET", size_came);
}

/* ---- the delta: made ---- */

/* As rdiff_input.  Its end is that of the content; a slice ends in between. */
static ssize_t read_content(void *arg, void *data, size_t len)
{
	struct delta *delta = arg;
	uint64_t left = delta->item->bytes - delta->read;
	int err;

	if (left && delta->read >= delta->slice_end)
		return -EAGAIN;
	len = MIN(left, (uint64_t)len);
	err = FAULT("delta.read");
	if (!err)
		err = batch_read_ranges(delta->item, delta->source, delta->read, data, len);
	if (!err && blake2b_update(&delta->state, data, len))
		err = -EIO;
	if (err)
		return err == -EAGAIN ? -EIO : err;
	delta->read += len;
	return (ssize_t)len;
}

static bool is_hopeless(const struct delta *delta)
{
	return delta->size > delta->limit ||
	       (delta->read >= MAX((uint64_t)HOPE, delta->item->bytes / HOPE_PART) &&
		delta->size > delta->read - delta->read / 4);
}

/* No room for it is no trouble: the content is sent whole. */
static int write_delta(struct delta *delta, const unsigned char *data, size_t len)
{
	int err = FAULT("delta.write");

	if (!err)
		err = fs_pwrite_all(delta->file, data, len, delta->size);
	delta->size += len;
	return err || is_hopeless(delta) ? DELTA_WHOLE : 0;
}

static void make_key(struct delta *delta)
{
	const uint64_t mark[] = { delta->base, delta->size, delta->block };
	uint64_t hash = hash_bytes(delta->hash, sizeof(delta->hash), hash_bytes(mark, sizeof(mark), delta->client));

	snprintf(delta->delta_key, sizeof(delta->delta_key), "d%" PRIu64 "-%016" PRIx64, staged_number(delta->item), hash);
}

/* All of it was read; was it one state of the file?  A copy of it cannot have changed. */
static int finish(struct delta *delta)
{
	if (blake2b_final(&delta->state, delta->hash, DELTA_HASH))
		return -EIO;
	if (delta->source == delta->item->fd && batch_refresh(delta->cache, delta->item))
		return DELTA_CHANGED;
	make_key(delta);
	return DELTA_SENT;
}

/* The next slice: -EAGAIN: there are more; or as delta->done has it. */
static int make_slice(struct delta *delta, unsigned char *out)
{
	size_t n;
	int got, err;

	delta->slice_end = delta->read + SLICE;
	do {
		got = rdiff_pull(delta->job, out, OUT, &n);
		err = n ? write_delta(delta, out, n) : 0;
	} while (!got && !err);
	if (err)
		return err;
	/* The signature was not what it seemed to be. */
	if (got == -EBADMSG)
		return DELTA_WHOLE;
	return got < 0 ? got : finish(delta);
}

static void make_some(struct work *work)
{
	struct delta *delta = container_of(work, struct delta, work);
	AUTO_FREE unsigned char *out = malloc(OUT);

	delta->result = out ? make_slice(delta, out) : -ENOMEM;
}

static void made_some(struct work *work)
{
	struct delta *delta = container_of(work, struct delta, work);

	if (!is_back(delta))
		return;
	if (delta->result == -EAGAIN) {
		hand_over(delta, make_some, made_some);
	} else if (delta->result < 0) {
		local_trouble(delta, delta->result);
	} else if (delta->result == DELTA_WHOLE) {
		whole(delta, "its difference is large, or there is no room for it here");
	} else if (delta->result == DELTA_CHANGED) {
		end(delta, DELTA_CHANGED);
	} else {
		rdiff_free(delta->job);	/* and the memory it takes */
		delta->job = NULL;
		if (delta->size > RESUME_MIN)
			ask_size(delta);
		else
			send_piece(delta);
	}
}

/* Half of the content, and a quarter of what is free beside the object. */
static int open_file(struct delta *delta)
{
	struct statvfs fs;

	delta->file = fs_open_beside(delta->item->fd);
	if (delta->file < 0)
		return delta->file;
	if (fstatvfs(delta->file, &fs) < 0)
		return -errno;
	delta->limit = MIN(delta->item->bytes / 2, (uint64_t)fs.f_bavail * fs.f_frsize / 4);
	return 0;
}

static void begin(struct work *work)
{
	struct delta *delta = container_of(work, struct delta, work);
	struct buf *signature = &delta->request.answer;
	int err = FAULT("delta.begin");

	if (!err)
		err = open_file(delta);
	if (!err)
		err = rdiff_delta(signature->data, signature->len, delta->block, read_content, delta, &delta->job);
	buf_release(signature);
	delta->read = delta->size = 0;
	if (blake2b_init(&delta->state, DELTA_HASH))
		err = -EIO;
	delta->result = err ? DELTA_WHOLE : -EAGAIN;
}

/* ---- the signature ---- */

static void ask_signature(struct delta *delta);

static void ask_again(struct loop_timer *timer)
{
	ask_signature(container_of(timer, struct delta, timer));
}

static void signature_came(struct http_request *request, int err)
{
	struct delta *delta = container_of(request, struct delta, request);

	if (err && !failed(delta, err)) {
		wait(delta, ask_again);
	} else if (!err && !request->has_etag) {
		whole(delta, "the signature has no version");
	} else if (!err) {
		delta->base = request->etag;
		log_debug(LOG_REPLAY, "replay: comparing: seq=%" PRIu64 " version=%" PRIu64 " block=%u signature=%zu",
			  delta->item->record.seq, delta->base, delta->block, request->answer.len);
		hand_over(delta, begin, made_some);
	}
}

static void ask_signature(struct delta *delta)
{
	struct http_request *request = &delta->request;
	char oid[KML_OID_TEXT];

	delta->block = rdiff_block(delta->item->bytes);
	kml_oid_print(base_of(delta->item), oid);
	snprintf(request->path, sizeof(request->path), "/izo/v1/signature/%s?block=%u", oid, delta->block);
	request->if_match[0] = '\0';
	request->body = NULL;
	request->body_len = 0;
	request->answer_limit = SIGNATURE_MAX;
	request->stall_s = 4 * HTTP_STALL_S;	/* it reads the file for it, from a slow disk perhaps */
	start(delta, "GET", signature_came);
}

/* ---- start and stop ---- */

void delta_init(struct delta *delta)
{
	memset(delta, 0, sizeof(*delta));
	delta->file = -1;
	delta->request.class = FLOW_AHEAD;
}

void delta_start(struct delta *delta)
{
	atomic_store(&delta->is_cancelled, false);
	delta->is_local = false;
	delta->waits = delta->asked = 0;
	delta->sent = 0;
	delta->delta_key[0] = '\0';
	ask_signature(delta);
}

bool delta_cancel(struct delta *delta)
{
	atomic_store(&delta->is_cancelled, true);
	if (delta->is_working)
		return false;
	http_cancel(&delta->request);
	loop_timer_cancel(delta->http->loop, &delta->timer);
	drop(delta);
	return true;
}
