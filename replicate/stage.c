/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/compress.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "replicate/batch.h"
#include "replicate/staged.h"

#define SNAPSHOT_TRIES 5
#define COPY_STEP (64u << 20)
#define STALL_BYTES_PER_S (20u << 20)
#define TICK_US (50 * US_PER_MS)	/* ctime's grain, with room */
#define COARSE_TICK_US (2 * US_PER_S)	/* where it counts whole seconds */
#define LOSSES_MAX 5			/* of differences of one record, before it is sent whole */
#define ASKED_MAX 3			/* "how much is there?" in one round */

static const struct kml_store *store_of(const struct stage *stage)
{
	return &stage->item->record.body.kml_body_u.store;
}

/* How much of it goes with one PUT: on a slow link no more than what others may have to wait for. */
static uint64_t portion_of(const struct stage *stage)
{
	return stage->portion && *stage->portion < STAGE_ALL ? *stage->portion : UINT64_MAX;
}

static int source(const struct stage *stage)
{
	return stage->snapshot >= 0 ? stage->snapshot : stage->item->fd;
}

static void let_go(struct stage *stage)
{
	stage->is_streaming = false;
	if (stage->snapshot >= 0)
		(void)close(stage->snapshot);
	stage->snapshot = -1;
	for (size_t i = 0; i < ARRAY_SIZE(stage->pieces); i++)
		buf_release(&stage->pieces[i].body);
	free(stage->plain);
	stage->plain = NULL;
	http_request_release(&stage->request);
}

static void end(struct stage *stage, int err)
{
	let_go(stage);
	stage->done(stage, err);
}

static void local_trouble(struct stage *stage, int err)
{
	stage->is_local = true;
	end(stage, err);
}

/* Run on the worker, then go on with 'then', unless it was cancelled meanwhile. */
static void hand_over(struct stage *stage, void (*run)(struct work *), void (*then)(struct work *))
{
	stage->is_working = true;
	worker_post(stage->worker, &stage->work, run, then);
}

/* Back from the worker; false: there is nothing left to do. */
static bool is_back(struct stage *stage)
{
	stage->is_working = false;
	if (!atomic_load(&stage->is_cancelled))
		return true;
	end(stage, -ECANCELED);
	return false;
}

/* ---- which bytes are sent: 'total' of them, from any offset ---- */

static int read_source(const struct stage *stage, uint64_t offset, void *to, size_t len)
{
	int err = FAULT("stage.read");

	return err ? err : batch_read_ranges(stage->item, source(stage), offset, to, len);
}

#define SAMPLES 4u
#define SAMPLE (16u << 10)

/* Looks at some of it, all over: the start of a file is often not like the rest. */
static int does_pay(struct stage *stage, bool *ret_pays)
{
	AUTO_FREE unsigned char *samples = malloc(SAMPLES * SAMPLE);
	int err = samples ? 0 : -ENOMEM;

	for (unsigned i = 0; i < SAMPLES && !err; i++)
		err = read_source(stage, (stage->total - SAMPLE) / (SAMPLES - 1) * i, samples + i * SAMPLE, SAMPLE);
	if (!err)
		*ret_pays = compress_pays(samples, SAMPLES * SAMPLE);
	return err;
}

/* ---- a round: one state of the file ---- */

/* Is its ctime so old that one more write would give it another? */
static bool is_settled(const struct stat *st)
{
	uint64_t tick_us = st->st_ctim.tv_nsec ? TICK_US : COARSE_TICK_US;
	struct timespec now;
	int64_t age_us;

	clock_gettime(CLOCK_REALTIME, &now);
	age_us = (now.tv_sec - st->st_ctim.tv_sec) * (int64_t)US_PER_S +
		 (now.tv_nsec - st->st_ctim.tv_nsec) / 1000;
	return age_us > (int64_t)tick_us;
}

static int make_key(struct stage *stage)
{
	const struct kml_store *store = store_of(stage);
	uint64_t mark[5], hash;
	struct stat st;

	if (fstat(stage->item->fd, &st) < 0)
		return -errno;
	if (!is_settled(&st)) {
		/* Most likely it was written for the last time before it came here. */
		(void)usleep(TICK_US);
		if (fstat(stage->item->fd, &st) < 0)
			return -errno;
	}
	mark[0] = (uint64_t)st.st_ino;
	mark[1] = (uint64_t)st.st_ctim.tv_sec;
	mark[2] = (uint64_t)st.st_ctim.tv_nsec;
	mark[3] = store->size;
	mark[4] = store->keep_size;
	hash = hash_bytes(mark, sizeof(mark), stage->client);
	hash = hash_bytes(store->ranges.ranges_val,
			  store->ranges.ranges_len * sizeof(struct kml_range), hash);

	stage->is_resumable = is_settled(&st);
	if (!stage->is_resumable && getrandom(&hash, sizeof(hash), 0) != sizeof(hash))
		return -EIO;
	snprintf(stage->key, sizeof(stage->key), "%c%" PRIu64 "-%016" PRIx64,
		 stage->is_resumable ? 's' : 'r', staged_number(stage->item), hash);
	return 0;
}

static void prepare(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);

	stage->total = stage->item->bytes;
	stage->is_packed = false;
	stage->work_err = make_key(stage);
	if (!stage->work_err && stage->may_pack && stage->total > BATCH_INLINE)
		stage->work_err = does_pay(stage, &stage->is_packed);
}

static void ask_size(struct stage *stage);
static void stream(struct stage *stage, uint64_t from);
static void send_difference(struct stage *stage);
static void begin_round(struct stage *stage);

static void prepared(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);

	if (!is_back(stage))
		return;
	if (stage->work_err) {
		local_trouble(stage, stage->work_err);
		return;
	}
	if (stage->total <= BATCH_INLINE) {
		stage->key[0] = '\0';	/* it was cut meanwhile */
		end(stage, 0);
		return;
	}
	if (stage->is_ahead && !stage->is_resumable) {
		local_trouble(stage, -EBUSY);
		return;
	}
	stage->asked = 0;
	stage->tried_delta = false;
	/* What is not so large, or goes in one portion, is sent again sooner than asked for. */
	if (stage->is_resumable && (stage->was_sent || stage->total > MIN(portion_of(stage), (uint64_t)STAGE_ALL)))
		ask_size(stage);
	else
		send_difference(stage);
}

static void begin_round(struct stage *stage)
{
	stage->rounds++;
	hand_over(stage, prepare, prepared);
}

/* ---- how much is there ---- */

static void size_came(struct http_request *request, int err)
{
	struct stage *stage = container_of(request, struct stage, request);
	uint64_t size = 0;

	if (!err)
		err = staged_size(&request->answer, &size);
	else if (err == -ENOENT)
		err = 0;
	if (err) {
		end(stage, err);
		return;
	}
	if (size > stage->total)
		size = 0;
	if (size)
		log_info("replay: sending a large file goes on: seq=%" PRIu64 " from=%" PRIu64
			 " of=%" PRIu64, stage->item->record.seq, size, stage->total);
	/* Of what was begun whole the rest goes so, too. */
	if (size)
		stream(stage, size);
	else
		send_difference(stage);
}

static void start_request(struct stage *stage, const char *method, const char *query,
			  void (*done)(struct http_request *, int))
{
	struct http_request *request = &stage->request;
	int err;

	request->method = method;
	request->done = done;
	/* At its end the upstream makes it durable; its disk may be slow. */
	request->stall_s = 4 * HTTP_STALL_S + (unsigned)MIN(stage->total / STALL_BYTES_PER_S, (uint64_t)86400);
	staged_path(request, stage->client, stage->key, query);
	err = http_start(stage->http, request);
	if (err)
		local_trouble(stage, err);
}

static void ask_size(struct stage *stage)
{
	stage->request.source = NULL;
	stage->request.encoding = NULL;
	if (stage->asked++ == ASKED_MAX) {
		end(stage, -EBADE);
		return;
	}
	start_request(stage, "GET", "", size_came);
}

/* ---- the stream ---- */

static struct stage_piece *piece_at(struct stage *stage, unsigned i)
{
	return &stage->pieces[(stage->first + i) % ARRAY_SIZE(stage->pieces)];
}

static size_t next_len(const struct stage *stage)
{
	return MIN((uint64_t)STAGE_PIECE, stage->portion_to - stage->read_to);
}

static int fill_packed(struct stage *stage, struct buf *body, size_t len)
{
	int err;

	if (!stage->plain)
		stage->plain = malloc(STAGE_PIECE);
	if (!stage->plain)
		return -ENOMEM;
	err = read_source(stage, stage->read_to, stage->plain, len);
	return err ? err : compress_append(body, stage->plain, len);
}

static void read_piece(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);
	struct stage_piece *piece = stage->filling;
	size_t len = next_len(stage);
	void *room;

	piece->taken = 0;
	buf_reset(&piece->body);
	if (stage->is_packed) {
		stage->work_err = fill_packed(stage, &piece->body, len);
		return;
	}
	room = buf_extend(&piece->body, len);
	stage->work_err = room ? read_source(stage, stage->read_to, room, len) : -ENOMEM;
}

static void check_still(struct stage *stage);
static void read_ahead(struct stage *stage);

/* Both the request and the worker have ended. */
static void stream_ended(struct stage *stage)
{
	if (stage->work_err)
		local_trouble(stage, stage->work_err);
	else if (stage->stream_err == -EBADE)
		ask_size(stage); /* it has less than we thought: it was put back, or cleaned up */
	else if (stage->stream_err)
		end(stage, stage->stream_err);
	else
		stream(stage, stage->portion_to);
}

static void piece_read(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);

	if (!is_back(stage))
		return;
	if (!stage->is_streaming) {
		stream_ended(stage);
		return;
	}
	if (!stage->work_err) {
		stage->read_to += next_len(stage);
		stage->n_full++;
		read_ahead(stage);
	}
	http_more(&stage->request);	/* also to hear of the error */
}

static void read_ahead(struct stage *stage)
{
	if (stage->is_working || stage->n_full == ARRAY_SIZE(stage->pieces) || stage->read_to == stage->portion_to)
		return;
	stage->filling = piece_at(stage, stage->n_full);
	hand_over(stage, read_piece, piece_read);
}

static ssize_t give(struct http_request *request, void *to, size_t max)
{
	struct stage *stage = container_of(request, struct stage, request);
	struct stage_piece *piece = piece_at(stage, 0);
	size_t n;

	if (!stage->is_working && stage->work_err)
		return stage->work_err;
	if (!stage->n_full)
		return stage->read_to < stage->portion_to ? HTTP_WAIT : 0;
	n = MIN(max, piece->body.len - piece->taken);
	memcpy(to, piece->body.data + piece->taken, n);
	piece->taken += n;
	if (piece->taken == piece->body.len) {
		stage->first = (stage->first + 1) % ARRAY_SIZE(stage->pieces);
		stage->n_full--;
		read_ahead(stage);
	}
	return (ssize_t)n;
}

static void streamed(struct http_request *request, int err)
{
	struct stage *stage = container_of(request, struct stage, request);

	stage->is_streaming = false;
	stage->stream_err = err;
	if (!stage->is_working)
		stream_ended(stage);
}

static void stream(struct stage *stage, uint64_t from)
{
	char query[40];

	stage->read_to = from;
	if (from == stage->total) {
		check_still(stage);
		return;
	}
	stage->first = stage->n_full = 0;
	stage->work_err = 0;
	stage->request.source = give;
	stage->portion_to = from + MIN(portion_of(stage), stage->total - from);
	stage->request.source_len = stage->is_packed ? HTTP_LEN_UNKNOWN : stage->portion_to - from;
	stage->request.encoding = stage->is_packed ? "zstd" : NULL;
	snprintf(query, sizeof(query), "?offset=%" PRIu64, from);
	stage->is_streaming = true;
	start_request(stage, "PUT", query, streamed);
	if (stage->is_streaming)
		read_ahead(stage);
}

/* ---- did it keep still? ---- */

static int copy_ranges(struct stage *stage, int to)
{
	const struct kml_store *store = store_of(stage);

	if (ioctl(to, FICLONE, stage->item->fd) == 0)
		return 0;
	for (u_int i = 0; i < store->ranges.ranges_len; i++) {
		struct kml_range range = store->ranges.ranges_val[i];

		while (range.length) {
			uint64_t n = MIN(range.length, (uint64_t)COPY_STEP);
			int err = fs_copy_range(stage->item->fd, to, range.offset, n);

			if (err)
				return err;
			if (atomic_load(&stage->is_cancelled))
				return -ECANCELED;
			range.offset += n;
			range.length -= n;
		}
	}
	return 0;
}

static int take_snapshot(struct stage *stage)
{
	int fd, err;

	/* item->record is of the present state: cml_refresh() has just said so. */
	for (int i = 0; i < SNAPSHOT_TRIES; i++) {
		fd = fs_open_beside(stage->item->fd);
		if (fd < 0)
			return fd;
		err = FAULT("stage.snapshot");
		if (!err)
			err = copy_ranges(stage, fd);
		if (!err && !cml_refresh(stage->cache, stage->item)) {
			stage->snapshot = fd;
			return 0;
		}
		(void)close(fd);	/* nobody will read it */
		if (err)
			return err;
	}
	return -EBUSY;
}

/* It was written meanwhile, and the item has been refreshed. */
static void settle(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);

	stage->work_err = 0;
	stage->has_changed = true;
	if (stage->rounds >= STAGE_LIVE && stage->is_ahead) {
		stage->work_err = -EBUSY;
	} else if (stage->rounds >= STAGE_LIVE) {
		log_debug(LOG_REPLAY, "replay: seq=%" PRIu64 " is written all the time, copying it",
			  stage->item->record.seq);
		stage->work_err = take_snapshot(stage);
	}
}

static void look(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);

	(void)FAULT("stage.look");
	stage->work_err = 0;
	stage->has_changed = batch_refresh(stage->cache, stage->item);
	if (stage->has_changed)
		settle(work);
}

static void old_deleted(struct http_request *request, int err)
{
	struct stage *stage = container_of(request, struct stage, request);

	(void)err;	/* what is left there expires by itself */
	if (stage->work_err)
		local_trouble(stage, stage->work_err);
	else
		begin_round(stage);
}

static void looked(struct work *work)
{
	struct stage *stage = container_of(work, struct stage, work);

	if (!is_back(stage))
		return;
	stage->request.source = NULL;
	stage->request.encoding = NULL;
	if (stage->has_changed)
		start_request(stage, "DELETE", "", old_deleted);
	else
		end(stage, 0);
}

/* All has been sent.  A snapshot cannot have changed. */
static void check_still(struct stage *stage)
{
	if (stage->snapshot >= 0)
		end(stage, 0);
	else
		hand_over(stage, look, looked);
}

/* ---- a difference in place of it ---- */

static struct stage_loss *losses_of(const struct stage *stage)
{
	uint64_t seq = stage->item->record.seq;

	for (size_t i = 0; i < ARRAY_SIZE(stage->losses->v); i++)
		if (stage->losses->v[i].seq == seq)
			return &stage->losses->v[i];
	return NULL;
}

static void note_loss(struct stage *stage)
{
	struct stage_losses *losses = stage->losses;
	struct stage_loss *loss = losses_of(stage);

	if (!loss) {
		loss = &losses->v[losses->next];
		losses->next = (losses->next + 1) % ARRAY_SIZE(losses->v);
		*loss = (struct stage_loss){ .seq = stage->item->record.seq };
	} else if (stage->delta.sent > loss->sent) {
		loss->n = 0;
	}
	loss->sent = stage->delta.sent;
	loss->n++;
}

static bool is_often_lost(const struct stage *stage)
{
	const struct stage_loss *loss = losses_of(stage);

	return loss && loss->n >= LOSSES_MAX;
}

static void delta_done(struct delta *delta, int result)
{
	struct stage *stage = container_of(delta, struct stage, delta);

	stage->is_in_delta = false;
	memcpy(stage->request.trouble, delta->request.trouble, sizeof(stage->request.trouble));
	if (result == DELTA_WHOLE) {
		/* Or is it there already, and only the answer was lost? */
		ask_size(stage);
	} else if (result == DELTA_CHANGED) {
		hand_over(stage, settle, looked);
	} else {
		stage->is_local = delta->is_local;
		if (result && http_is_lost(result))
			note_loss(stage);
		end(stage, result);
	}
}

static void send_difference(struct stage *stage)
{
	struct delta *delta = &stage->delta;

	if (!stage->may_delta || stage->tried_delta || is_often_lost(stage) || !delta_is_worth(stage->item)) {
		stream(stage, 0);
		return;
	}
	stage->tried_delta = true;
	delta->cache = stage->cache;
	delta->http = stage->http;
	delta->worker = stage->worker;
	delta->client = stage->client;
	delta->item = stage->item;
	delta->source = source(stage);
	delta->key = stage->key;
	delta->piece = stage->portion;
	delta->done = delta_done;
	stage->is_in_delta = true;
	delta_start(delta);
}

/* ---- start and stop ---- */

void stage_init(struct stage *stage)
{
	memset(stage, 0, sizeof(*stage));
	delta_init(&stage->delta);
	stage->snapshot = -1;
	for (size_t i = 0; i < ARRAY_SIZE(stage->pieces); i++)
		buf_init(&stage->pieces[i].body, 0);
	stage->request.class = FLOW_AHEAD;
}

void stage_release(struct stage *stage)
{
	http_request_release(&stage->request);
}

void stage_start(struct stage *stage)
{
	atomic_store(&stage->is_cancelled, false);
	stage->rounds = 0;
	stage->is_local = false;
	begin_round(stage);
}

bool stage_cancel(struct stage *stage)
{
	atomic_store(&stage->is_cancelled, true);
	if (stage->is_in_delta && !delta_cancel(&stage->delta))
		return false;
	stage->is_in_delta = false;
	http_cancel(&stage->request);
	if (stage->is_working)
		return false;
	let_go(stage);
	return true;
}
