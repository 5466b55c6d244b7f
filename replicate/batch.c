/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/compress.h"
#include "base/fault.h"
#include "base/fs.h"

#define READ_MAX (BATCH_BODY_MAX / 2)
#define STALL_S 120			/* the upstream applies a batch before it answers */
#define STALL_BYTES_PER_S (20u << 20)	/* and copies what is large */
#define READ_TRIES 8	/* for a small file that is written while it is read */

int batch_new(struct cml_batch *taken, struct batch **ret_batch)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return -ENOMEM;
	batch->items = calloc(taken->n, sizeof(*batch->items));
	if (!batch->items) {
		free(batch);
		return -ENOMEM;
	}
	batch->taken = taken;
	batch->n_taken = taken->n;
	batch->n = MIN(taken->n, (size_t)BATCH_RECORDS);
	buf_init(&batch->body, BATCH_BODY_MAX);
	*ret_batch = batch;
	return 0;
}

static void drop_contents(struct batch *batch)
{
	for (size_t i = 0; i < batch->n_taken; i++) {
		free(batch->items[i].content);
		batch->items[i].content = NULL;
	}
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	drop_contents(batch);
	free(batch->items);
	buf_release(&batch->body);
	free(batch);
}

static bool is_store(const struct cml_item *item)
{
	return item->record.body.op == KML_STORE;
}

bool batch_is_large(const struct cml_item *item)
{
	return is_store(item) && item->bytes > BATCH_INLINE;
}

size_t batch_next_large(const struct batch *batch, size_t from)
{
	for (size_t i = from; i < batch->n; i++)
		if (batch_is_large(&batch->taken->items[i]))
			return i;
	return batch->n;
}

bool batch_refresh(struct cache *cache, struct cml_item *item)
{
	return !item->is_packed && cml_refresh(cache, item);
}

/* What comes from a file has been found to be all there: less of it by now is an error. */
static int read_packed(const struct cml_item *item, int fd, uint64_t offset, void *data, size_t len)
{
	ssize_t got = fs_pread_full(fd, data, len, item->packed_at + offset);

	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : -EIO;
}

int batch_read_ranges(const struct cml_item *item, int fd, uint64_t offset, void *data, size_t len)
{
	const struct kml_store *store = &item->record.body.kml_body_u.store;
	unsigned char *to = data;
	uint64_t before = 0;

	if (item->is_packed)
		return read_packed(item, fd, offset, data, len);

	for (u_int i = 0; i < store->ranges.ranges_len && len; i++) {
		const struct kml_range *range = &store->ranges.ranges_val[i];
		uint64_t skip;
		ssize_t got;
		size_t n;

		if (offset >= before + range->length) {
			before += range->length;
			continue;
		}
		skip = offset - before;
		n = MIN(len, range->length - skip);
		got = fs_pread_full(fd, to, n, range->offset + skip);
		if (got < 0)
			return (int)got;
		/*
		 * The object need not be as long as the file: what is not written at its end is
		 * zeros.
		 */
		memset(to + got, 0, n - (size_t)got);
		to += n;
		len -= n;
		offset += n;
		before += range->length;
	}
	return len ? -EINVAL : 0;
}

/* 0; -EBUSY: it does not keep still, or got too large for here. */
static int read_still(struct cache *cache, struct cml_item *item, struct batch_item *to)
{
	for (int i = 0; i < READ_TRIES; i++) {
		unsigned char *data;
		int err;

		if (item->bytes > BATCH_INLINE)
			return -EBUSY;
		data = malloc(item->bytes ? item->bytes : 1);
		if (!data)
			return -ENOMEM;
		free(to->content);
		to->content = data;
		to->len = item->bytes;
		err = FAULT("batch.read");
		if (!err)
			err = batch_read_ranges(item, item->fd, 0, data, to->len);
		if (err)
			return err;
		if (!batch_refresh(cache, item))
			return 0;
	}
	return -EBUSY;
}

int batch_read_small(struct batch *batch, struct cache *cache)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < batch->n; i++) {
		struct cml_item *item = &batch->taken->items[i];
		int err;

		if (!is_store(item) || batch->items[i].is_staged)
			continue;
		/*
		 * Files that have grown since they were taken must not add up to more than a body
		 * can hold.
		 */
		if (sum > READ_MAX) {
			batch->n = i;
			return 0;
		}
		err = read_still(cache, item, &batch->items[i]);
		if (err == -EBUSY) {
			batch->n = i;
			return 0;
		}
		if (err)
			return err;
		sum += batch->items[i].len;
	}
	return 0;
}

int batch_encode(struct batch *batch, uint64_t client, const char *host, uint64_t acked)
{
	AUTO_FREE struct kml_record *records = calloc(batch->n ? batch->n : 1, sizeof(*records));
	struct kml_batch body = {
		.format = KML_VERSION, .client = client, .host = (char *)host, .acked = acked,
		.records = { .records_len = (u_int)batch->n, .records_val = records },
	};
	int err;

	if (!records)
		return -ENOMEM;
	for (size_t i = 0; i < batch->n; i++) {
		struct batch_item *item = &batch->items[i];
		struct kml_content *content;

		/* A copy of the struct only: what it points to stays the taken record's. */
		records[i] = batch->taken->items[i].record;
		if (!is_store(&batch->taken->items[i]))
			continue;
		content = &records[i].body.kml_body_u.store.content;
		memset(content, 0, sizeof(*content));
		if (item->is_staged) {
			content->where = KML_STAGED;
			content->kml_content_u.key = item->key;
		} else {
			content->where = KML_INLINE;
			content->kml_content_u.bytes.bytes_len = (u_int)item->len;
			content->kml_content_u.bytes.bytes_val = (char *)item->content;
		}
	}
	for (;;) {
		buf_reset(&batch->body);
		err = kml_batch_encode(&batch->body, &body);
		if (err != -EMSGSIZE || batch->n <= 1)
			break;
		batch->n /= 2;	/* stores of very many ranges */
		body.records.records_len = (u_int)batch->n;
	}
	drop_contents(batch);	/* the body has them */
	return err;
}

void batch_pack(struct batch *batch)
{
	struct buf packed;

	if (!compress_pays(batch->body.data, batch->body.len))
		return;
	buf_init(&packed, 0);
	/* Without memory for it, it goes as it is. */
	if (compress_append(&packed, batch->body.data, batch->body.len) || packed.len >= batch->body.len) {
		buf_release(&packed);
		return;
	}
	buf_release(&batch->body);
	batch->body = packed;
	batch->is_packed = true;
}

void batch_request(const struct batch *batch, uint64_t after, struct http_request *request)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < batch->n; i++)
		if (is_store(&batch->taken->items[i]))
			bytes += batch->taken->items[i].record.body.kml_body_u.store.size;
	request->method = "POST";
	request->content_type = "application/x-izo-kml";
	request->encoding = batch->is_packed ? "zstd" : NULL;
	request->body = batch->body.data;
	request->body_len = batch->body.len;
	request->answer_limit = BATCH_BODY_MAX;
	request->stall_s = STALL_S + (unsigned)MIN(bytes / STALL_BYTES_PER_S, (uint64_t)86400);
	if (after)
		snprintf(request->path, sizeof(request->path), "/izo/v1/replay/%" PRIu64, after);
	else
		(void)strcpy(request->path, "/izo/v1/replay");
}

int batch_decode_answers(const struct batch *batch, const struct http_request *request, struct kml_answers *ret_answers)
{
	struct kml_answers answers;
	int err = kml_answers_decode(request->answer.data, request->answer.len, &answers);

	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	if (answers.answers.answers_len != batch->n)
		err = -EBADMSG;
	for (size_t i = 0; !err && i < batch->n; i++)
		if (answers.answers.answers_val[i].seq != batch->taken->items[i].record.seq)
			err = -EBADMSG;
	if (err)
		kml_answers_release(&answers);
	else
		*ret_answers = answers;
	return err;
}
