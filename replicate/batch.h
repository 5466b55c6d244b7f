/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * batch: the records taken from the log, on their way into one replay request (docs/PROTOCOL.md 7).
 *
 * Small contents go inline, large ones are sent ahead (stage.h) and named by their key.  What
 * stands for a store is always one state of its file: it is read, and read again while
 * cml_refresh() says that it changed.
 *
 * Threads: one at a time; batch_read_small() and batch_encode() on the worker's, for they read
 * from disk.
 */
#ifndef REPLICATE_BATCH_H
#define REPLICATE_BATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "cache/cml.h"
#include "replicate/http.h"

#define BATCH_RECORDS KML_BATCH_MAX
#define BATCH_INLINE (1u << 20)		/* a content up to this goes inline */
#define BATCH_BODY_MAX (64u << 20)

struct batch_item {
	unsigned char *content;		/* owned; inline */
	size_t len;
	bool is_staged;
	char key[KML_KEY_MAX + 1];
};

struct batch {
	struct cml_batch *taken;
	struct batch_item *items;
	size_t n_taken;
	size_t n;			/* of them so many are sent */
	struct buf body;
	bool is_packed;			/* the body is, by zstd */
};

/* taken stays the caller's to retire or give back.  -ENOMEM. */
int batch_new(struct cml_batch *taken, struct batch **ret_batch);
/* taken may be gone by then. */
void batch_free(struct batch *batch);

/* A store whose content does not go inline. */
bool batch_is_large(const struct cml_item *item);
/* The next item, from 'from' on, that must be staged: its index, or batch->n. */
size_t batch_next_large(const struct batch *batch, size_t from);
/*
 * Read the contents that go inline.  A file that does not keep still ends the batch before it:
 * batch->n gets less, 0 when it is the first.  One that has grown too large meanwhile does so too
 * (it is staged next time).  -ENOMEM, -EIO.
 */
int batch_read_small(struct batch *batch, struct cache *cache);
/*
 * Make the body of the first batch->n records; of fewer (batch->n gets less) when they do not
 * fit.
 */
int batch_encode(struct batch *batch, uint64_t client, const char *host, uint64_t acked);

/* Pack the body for an upstream that takes it so, if that pays. */
void batch_pack(struct batch *batch);

/* The request that sends it, but for done().  after: the seq behind which it is to be applied; 0: it is the only one on its way. */
void batch_request(const struct batch *batch, uint64_t after, struct http_request *request);
/* What came is an answer to it: one for each of its records, in order.  -EBADMSG, -ENOMEM. */
int batch_decode_answers(const struct batch *batch, const struct http_request *request, struct kml_answers *ret_answers);

/*
 * Read len bytes at offset of a store's content: its ranges, one after the other.  fd: the item's, or a copy of what it
 * holds.  What the file does not have is zeros.  0 or -errno.
 */
int batch_read_ranges(const struct cml_item *item, int fd, uint64_t offset, void *data, size_t len);
/* Has the content changed while it was read?  As cml_refresh(). */
bool batch_refresh(struct cache *cache, struct cml_item *item);

#endif
