/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/replay_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/worker.h"
#include "replicate/batch.h"
#include "replicate/hello.h"
#include "replicate/replay_copy.h"
#include "replicate/stage.h"

#define KEY_OF_DONE "done"	/* stands for content that the upstream has; nothing is ever staged under it */
#define REPROBES_MAX 3		/* the client itself is at work */
#define BYTES_MAX (8u << 20)	/* of content in one batch; but for the last */
#define RANGES_MAX (1u << 18)	/* of all records in memory; but for the last */
#define SHRINK 8		/* a refused batch is tried again in parts of it */

/* A record's place in the file, beside its cml_item. */
struct entry {
	struct kml_saved saved;		/* owned; its record is the item's, too */
	uint64_t at;			/* of its content */
};

struct run {
	const struct replay_file_config *config;
	const struct kml_file_head *head;
	struct loop *loop;
	struct worker *worker;
	struct http http;
	struct probe probe;
	unsigned reprobes;
	uint64_t last_seq;		/* the upstream's, of this client */

	/* taken from the file */
	struct cml_batch *taken;
	struct entry *entries;
	size_t settled;			/* of them, from the first on */
	size_t limit;			/* records in a batch */

	/* under way */
	struct cml_batch view;		/* a part of taken, or the copy's records */
	struct batch *batch;
	size_t at;			/* of the batch: being staged */
	struct stage stage;
	struct http_request request;
	struct work work;
	int work_err;
	uint64_t client;		/* whose records they are */
	/* Which is the first of taken whose answer is kept?  None before lo, all from hi on; picked is being asked for. */
	bool is_searching;
	size_t lo, hi, picked;
	struct kml_answers answers;
	size_t answer_at;		/* of answers: is being dealt with */
	struct replay_copies copies;
	bool is_copy;

	struct replay_file_result result;
	uint64_t bytes;
	int err;
	char *why;
};

static void __attribute__((format(printf, 3, 4))) end(struct run *run, int err, const char *format, ...)
{
	va_list args;

	run->err = err;
	va_start(args, format);
	if (err && vasprintf(&run->why, format, args) < 0)
		run->why = NULL;	/* no memory for a sentence: the error says enough */
	va_end(args);
	loop_stop(run->loop);
}

static void send_next(struct run *run);

/* ---- records of the file ---- */

static void drop_taken(struct run *run)
{
	for (size_t i = 0; run->taken && i < run->taken->n; i++)
		kml_saved_release(&run->entries[i].saved);
	if (run->taken)
		free(run->taken->items);
	free(run->taken);
	free(run->entries);
	run->taken = NULL;
	run->entries = NULL;
	run->settled = 0;
}

static int make_room(struct run *run)
{
	run->taken = calloc(1, sizeof(*run->taken));
	if (!run->taken)
		return -ENOMEM;
	run->taken->items = calloc(BATCH_RECORDS, sizeof(*run->taken->items));
	run->entries = calloc(BATCH_RECORDS, sizeof(*run->entries));
	return run->taken->items && run->entries ? 0 : -ENOMEM;
}

/* Is the last of so many a DETACH?  It goes with what it is for. */
static bool ends_in_detach(const struct run *run, size_t n)
{
	return n && run->taken->items[n - 1].record.body.op == KML_DETACH;
}

/* As many as go into a batch.  None: the file is over. */
static int take(struct run *run)
{
	uint64_t bytes = 0, ranges = 0;
	int err, got = 1;

	drop_taken(run);
	err = make_room(run);
	if (err)
		return err;
	while ((run->taken->n < BATCH_RECORDS - 1 && bytes <= BYTES_MAX && ranges <= RANGES_MAX) || ends_in_detach(run, run->taken->n)) {
		struct cml_item *item = &run->taken->items[run->taken->n];
		struct entry *entry = &run->entries[run->taken->n];

		got = kml_file_next(run->config->file, &entry->saved, &entry->at);
		if (got <= 0)
			break;
		if (entry->saved.record.body.op == KML_DETACH && !run->probe.hello.has_detach) {
			kml_saved_release(&entry->saved);
			run->result.records++;
			continue;
		}
		*item = (struct cml_item){
			.record = entry->saved.record,
			.fd = run->config->fd,
			.bytes = kml_saved_bytes(&entry->saved),
			.is_packed = true,
			.packed_at = entry->at,
		};
		if (item->record.body.op == KML_STORE)
			ranges += item->record.body.kml_body_u.store.ranges.ranges_len + entry->saved.rest.rest_len;
		bytes += item->bytes;
		run->taken->n++;
	}
	return MIN(got, 0);
}

/* ---- sending a batch ---- */

static void answered(struct http_request *request, int err);

static void post(struct run *run)
{
	int err;

	batch_request(run->batch, 0, &run->request);
	run->request.done = answered;
	err = http_start(&run->http, &run->request);
	if (err)
		end(run, err, "%s", strerror(-err));
}

static void read_batch(struct work *work)
{
	struct run *run = container_of(work, struct run, work);

	run->work_err = batch_read_small(run->batch, NULL);
	if (!run->work_err)
		run->work_err = batch_encode(run->batch, run->client, run->head->host,
					     run->is_copy ? 0 : run->head->acked);
	if (!run->work_err && run->probe.hello.has_zstd)
		batch_pack(run->batch);
}

static void batch_was_read(struct work *work)
{
	struct run *run = container_of(work, struct run, work);

	if (run->work_err)
		end(run, run->work_err, "the file cannot be read: %s", strerror(-run->work_err));
	else
		post(run);
}

static void stage_next(struct run *run, size_t from);

static void staged(struct stage *stage, int err)
{
	struct run *run = container_of(stage, struct run, stage);
	struct batch_item *item = &run->batch->items[run->at];

	if (err && stage->is_local) {
		end(run, err, "the file cannot be read: %s", strerror(-err));
	} else if (err) {
		end(run, err, "%s: %s", run->http.base, stage->request.trouble[0] ? stage->request.trouble : strerror(-err));
	} else {
		item->is_staged = true;
		memcpy(item->key, stage->key, sizeof(item->key));
		if (!run->is_copy)
			run->config->moved(run->config->arg, run->result.records, run->bytes + stage->total);
		stage_next(run, run->at + 1);
	}
}

static void stage_next(struct run *run, size_t from)
{
	struct stage *stage = &run->stage;

	run->at = batch_next_large(run->batch, from);
	while (run->at < run->batch->n && run->batch->items[run->at].is_staged)
		run->at = batch_next_large(run->batch, run->at + 1);
	if (run->at == run->batch->n) {
		worker_post(run->worker, &run->work, read_batch, batch_was_read);
		return;
	}
	stage->http = &run->http;
	stage->worker = run->worker;
	stage->client = run->client;
	stage->may_pack = run->probe.hello.has_zstd;
	stage->item = &run->view.items[run->at];
	stage->done = staged;
	stage_start(stage);
}

/* without_content: the upstream has done them, and only their answers are wanted. */
static void send_view(struct run *run, bool without_content)
{
	int err;

	batch_free(run->batch);
	run->batch = NULL;
	err = batch_new(&run->view, &run->batch);
	if (err) {
		end(run, err, "%s", strerror(-err));
		return;
	}
	for (size_t i = 0; without_content && i < run->batch->n; i++) {
		if (run->view.items[i].record.body.op != KML_STORE)
			continue;
		run->batch->items[i].is_staged = true;
		(void)strcpy(run->batch->items[i].key, KEY_OF_DONE);
	}
	stage_next(run, 0);
}

static void send_part(struct run *run, size_t first, size_t n, bool without_content)
{
	run->client = run->head->client;
	run->is_copy = false;
	run->view = (struct cml_batch){ .n = n, .items = run->taken->items + first };
	send_view(run, without_content);
}

static bool was_done(const struct run *run, size_t i)
{
	if (ends_in_detach(run, i + 1) && i + 1 < run->taken->n)
		i++;
	return run->taken->items[i].record.seq <= run->last_seq;
}

/* Those that the upstream has done, or those that it has not: never both in one batch. */
static void send_next(struct run *run)
{
	size_t first = run->settled, n = 1;
	int err;

	if (run->taken && first == run->taken->n) {
		drop_taken(run);
		first = 0;
	}
	err = run->taken ? 0 : take(run);
	if (err || !run->taken->n) {
		end(run, err, "the file cannot be read: %s", strerror(-err));
		return;
	}
	while ((n < run->limit || ends_in_detach(run, first + n)) && first + n < run->taken->n &&
	       was_done(run, first + n) == was_done(run, first))
		n++;
	send_part(run, first, n, was_done(run, first));
}

/* ---- answers ---- */

static void settle(struct run *run, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		run->result.before += was_done(run, run->settled + i);
		run->bytes += run->taken->items[run->settled + i].bytes;
	}
	run->settled += n;
	run->result.records += n;
	run->config->moved(run->config->arg, run->result.records, run->bytes);
}

static void note(struct run *run, size_t i, const struct kml_answer *answer, bool is_kept, const char *name)
{
	const struct kml_record *record = &run->taken->items[i].record;
	const struct replay_file_note text = {
		.seq = record->seq,
		.op = record->body.op,
		.path = run->entries[i].saved.path,
		.status = answer->status,
		.error = (int)answer->error,
		.is_kept = is_kept,
		.name = name,
	};

	run->result.notes++;
	run->result.lost += record->body.op == KML_STORE && !is_kept;
	run->config->note(run->config->arg, &text);
}

/* The answer whose turn it is. */
static const struct kml_answer *this_answer(const struct run *run)
{
	return &run->answers.answers.answers_val[run->answer_at];
}

/* Ours of a file that was changed or removed there.  False: not to be had; else it is on its way. */
static bool send_copy(struct run *run, size_t i)
{
	int err = replay_copy_make(&run->copies, &run->taken->items[i], &run->entries[i].saved);

	if (err == -ENOENT)
		return false;	/* no name of it was known any more when the file was written */
	if (err) {
		end(run, err, "%s", strerror(-err));
		return true;
	}
	run->client = run->copies.client;
	run->is_copy = true;
	run->view = run->copies.batch;
	send_view(run, false);
	return true;
}

/* Told, if there is something to tell.  False: it has to wait for a copy. */
static bool deal_with(struct run *run, size_t i, const struct kml_answer *answer)
{
	bool is_store = run->taken->items[i].record.body.op == KML_STORE;
	char name[KML_NAME_MAX + 1];

	if (answer->status == KML_OK || answer->status == KML_ALREADY || answer->status == KML_MERGED)
		return true;
	if (is_store && (answer->status == KML_CONFLICT || answer->status == KML_GONE) && send_copy(run, i))
		return false;
	(void)snprintf(name, sizeof(name), "%.*s", (int)answer->name.kml_name_len,
		       answer->name.kml_name_len ? answer->name.kml_name_val : "");
	note(run, i, answer, false, name);
	return true;
}

static void deal_with_answers(struct run *run)
{
	uint32_t n = run->answers.answers.answers_len;
	int error = 0;

	for (; run->answer_at < n && this_answer(run)->status != KML_RETRY; run->answer_at++)
		if (!deal_with(run, run->settled + run->answer_at, this_answer(run)))
			return;
	settle(run, run->answer_at);
	if (run->answer_at < n)
		error = this_answer(run)->error ? (int)this_answer(run)->error : EAGAIN;
	kml_answers_release(&run->answers);
	if (error) {
		end(run, -EAGAIN, "the upstream cannot take changes now: %s", strerror(error));
		return;
	}
	run->limit = MIN(run->limit * SHRINK, (size_t)BATCH_RECORDS);
	send_next(run);
}

static void copy_answered(struct run *run, const struct kml_answers *answers)
{
	char name[KML_NAME_MAX + 1];
	int error;

	if (replay_copy_retry(answers, &error)) {
		end(run, -EAGAIN, "the upstream cannot take changes now: %s", strerror(error));
		return;
	}
	note(run, run->settled + run->answer_at, this_answer(run), replay_copy_is_kept(answers), replay_copy_name(&run->copies, answers, name));
	run->answer_at++;
	deal_with_answers(run);
}

/* ---- answers that are not kept ---- */

/*
 * The client has taken in the answer of the first one, and perhaps of more: those are the first ones, and where they end
 * is looked for, at their end at first, for most likely it is all of them.
 */
static void search(struct run *run, size_t pick)
{
	if (run->lo == run->hi) {
		run->is_searching = false;
		settle(run, run->lo - run->settled);
		send_next(run);
		return;
	}
	run->is_searching = true;
	run->picked = pick;
	send_part(run, pick, 1, true);
}

static void searched(struct run *run, bool is_kept)
{
	if (is_kept)
		run->hi = run->picked;
	else
		run->lo = run->picked + 1;
	search(run, run->lo + (run->hi - run->lo) / 2);
}

static void not_kept(struct run *run)
{
	if (!was_done(run, run->settled)) {
		/* It sends them itself, just now. */
		if (run->reprobes++ < REPROBES_MAX)
			probe_start(&run->probe);
		else
			end(run, -EBADE, "the upstream has done these records, and no longer knows with what result");
		return;
	}
	run->lo = run->settled + 1;
	run->hi = run->settled + run->view.n;
	search(run, run->hi - 1);
}

static void refused(struct run *run, int err)
{
	const struct kml_answer answer = { .status = KML_REFUSED, .error = EBADMSG };
	const char *trouble = run->request.trouble;

	if ((err != -EINVAL && err != -EMSGSIZE) || run->is_copy) {
		end(run, err, "%s: %s", run->http.base, trouble[0] ? trouble : strerror(-err));
		return;
	}
	if (run->view.n > 1 && run->limit > 1) {
		/* In parts, so that only what is really refused is not done. */
		run->limit = MAX(run->view.n / SHRINK, (size_t)1);
	} else {
		/* One, and the DETACH before it perhaps. */
		note(run, run->settled + run->view.n - 1, &answer, false, "");
		settle(run, run->view.n);
	}
	run->is_searching = false;
	send_next(run);
}

static void answered(struct http_request *request, int err)
{
	struct run *run = container_of(request, struct run, request);
	struct kml_answers answers = { 0 };

	if (!err)
		err = batch_decode_answers(run->batch, request, &answers);
	log_debug(LOG_REPLAY, "replay: a batch from a file: records=%zu from=%llu err=%d", run->view.n,
		  (unsigned long long)run->view.items[0].record.seq, err);
	if (run->is_searching && (!err || err == -EBADE)) {
		kml_answers_release(&answers);
		searched(run, !err);
	} else if (err == -EBADE && !run->is_copy) {
		not_kept(run);
	} else if (err) {
		refused(run, err);
	} else if (run->is_copy) {
		copy_answered(run, &answers);
		kml_answers_release(&answers);
	} else {
		run->answers = answers;
		run->answer_at = 0;
		deal_with_answers(run);
	}
}

/* ---- who is there ---- */

/* Is it the one that the log is for, with all that its client knew of it? */
static int check_in(struct run *run)
{
	const struct hello *hello = &run->probe.hello;
	const struct kml_file_head *head = run->head;

	if (head->upstream[0] && strcmp(hello->id, head->upstream)) {
		end(run, -EXDEV, "%s: is another upstream than the one that this log is for (its id is %s, wanted is %s); give the URL of that one",
		    run->http.base, hello->id, head->upstream);
		return -EXDEV;
	}
	if (hello->position < head->position || hello->last_seq < head->acked) {
		end(run, -ESTALE, "%s: was put back to an older state than the log's client had seen; nothing is sent to it",
		    run->http.base);
		return -ESTALE;
	}
	return 0;
}

static void probe_done(struct probe *probe, int err)
{
	struct run *run = container_of(probe, struct run, probe);

	if (err) {
		end(run, err, "%s: %s", run->http.base, probe->trouble[0] ? probe->trouble : strerror(-err));
		return;
	}
	if (check_in(run))
		return;
	run->last_seq = probe->hello.last_seq;
	send_next(run);
}

/* ---- start and stop ---- */

static int start(struct run *run, const struct replay_file_config *config)
{
	int err = loop_new(&run->loop);

	if (!err)
		err = http_init(&run->http, run->loop, config->url);
	if (err == -EINVAL)
		end(run, err, "'%s' is not the URL of an upstream: it should look like http://HOST:PORT/", config->url);
	if (!err)
		err = worker_start(run->loop, "izo-replay", 1, &run->worker);
	if (err)
		return err;
	run->probe.http = &run->http;
	run->probe.client = run->head->client;
	run->probe.done = probe_done;
	probe_start(&run->probe);
	return 0;
}

static void release(struct run *run)
{
	worker_stop(run->worker);
	batch_free(run->batch);
	drop_taken(run);
	kml_answers_release(&run->answers);
	replay_copies_release(&run->copies);
	probe_release(&run->probe);
	http_cancel(&run->request);
	http_request_release(&run->request);
	stage_release(&run->stage);
	http_release(&run->http);
	loop_free(run->loop);
	free(run->why);
	free(run);
}

int replay_file_run(const struct replay_file_config *config, struct replay_file_result *ret_result, char **ret_why)
{
	struct run *run = calloc(1, sizeof(*run));
	int err;

	*ret_why = NULL;
	*ret_result = (struct replay_file_result){ 0 };
	if (!run)
		return -ENOMEM;
	run->config = config;
	run->head = kml_file_get_head(config->file);
	run->limit = BATCH_RECORDS;
	replay_copies_init(&run->copies, run->head->client, config->fd);
	stage_init(&run->stage);
	err = start(run, config);
	if (!err)
		err = loop_run(run->loop);
	if (!err)
		err = run->err;
	*ret_result = run->result;
	*ret_why = run->why;
	run->why = NULL;
	release(run);
	return err;
}
