/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "httpd/json.h"
#include "httpd/query.h"
#include "httpd/stream.h"

#define ROWS 64			/* names read at a time */
#define IDS  4096 /* waiting directories at each end of the queue that are in memory */
/*
 * A snapshot keeps the database's log from being cut: a peer that reads that slowly is
 * cut off instead.
 */
#define LISTING_MAX_S 3600

/*
 * Directories to be read, first in, first out: [head][file][tail].  While the file has nothing waiting, what is taken
 * comes from tail.
 */
struct dir_queue {
	int64_t head[IDS], tail[IDS];
	size_t head_at, head_n, tail_n;
	int fd;			/* -1: none yet */
	uint64_t read_at, write_at;	/* bytes of the file */
};

struct listing {
	struct stream stream;
	struct tree *tree;
	struct sql *sql;
	bool is_json, is_deep, is_first;
	uint64_t max, sent;	/* entries; max 0: no limit */
	struct dir_queue queue;
	/* the directory that is being read; id 0: none */
	struct object dir;
	struct name after;
};

/* ---- the queue ---- */

static int queue_push(struct dir_queue *queue, struct tree *tree, int64_t id)
{
	int err;

	if (queue->tail_n == IDS) {
		if (queue->fd < 0)
			queue->fd = openat(tree->stage_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC,
					   0600);
		if (queue->fd < 0)
			return -errno;
		err = fs_pwrite_all(queue->fd, queue->tail, sizeof(queue->tail), queue->write_at);
		if (err)
			return err;
		queue->write_at += sizeof(queue->tail);
		queue->tail_n = 0;
	}
	queue->tail[queue->tail_n++] = id;
	return 0;
}

/* 1 and *ret_id, 0: it is empty, or -errno. */
static int queue_take(struct dir_queue *queue, int64_t *ret_id)
{
	ssize_t n;

	if (queue->head_at == queue->head_n) {
		queue->head_at = queue->head_n = 0;
		if (queue->read_at < queue->write_at) {
			n = fs_pread_full(queue->fd, queue->head, sizeof(queue->head),
					  queue->read_at);
			if (n != (ssize_t)sizeof(queue->head))
				return n < 0 ? (int)n : -EIO;
			queue->read_at += sizeof(queue->head);
			queue->head_n = IDS;
		} else {
			memcpy(queue->head, queue->tail, queue->tail_n * sizeof(queue->tail[0]));
			queue->head_n = queue->tail_n;
			queue->tail_n = 0;
		}
	}
	if (!queue->head_n)
		return 0;
	*ret_id = queue->head[queue->head_at++];
	return 1;
}

/* ---- lines ---- */

static int put_line(struct listing *listing, struct kml_oid parent, const struct name *name,
		    const struct object *object)
{
	struct kml_listed listed = { .parent = parent };
	size_t mark;
	int err;

	err = object_to_kml(listing->sql, object, &listed.object);
	if (err)
		return err;
	listed.name.kml_name_val = (char *)name->text;	/* only read */
	listed.name.kml_name_len = (u_int)name->len;
	if (listing->is_json) {
		buf_append(&listing->stream.buf, listing->is_first ? "[\n" : ",\n", 2);
		err = json_write(&listing->stream.buf, json_of_listed(&listed));
	} else {
		mark = kml_frame_begin(&listing->stream.buf);
		err = kml_listed_encode(&listing->stream.buf, &listed);
		kml_frame_end(&listing->stream.buf, mark);
	}
	listing->is_first = false;
	kml_object_release(&listed.object);
	return err ? err : buf_error(&listing->stream.buf);
}

static int put_end(struct listing *listing)
{
	listing->stream.is_over = true;
	if (listing->is_json)
		return buf_append(&listing->stream.buf, "\n]\n", 3);
	return buf_u32be(&listing->stream.buf, 0);
}

/* May all of this directory still be sent?  1, 0, or -errno. */
static int fits(struct listing *listing, int64_t dir)
{
	sqlite3_stmt *stmt;
	uint64_t n;
	int got;

	if (!listing->max || !listing->is_deep)
		return 1;
	got = sql_query(listing->sql, &stmt, "SELECT count(*) FROM name WHERE dir = ?1", "i", dir);
	if (got <= 0)
		return got;
	n = (uint64_t)sqlite3_column_int64(stmt, 0);
	sql_done(stmt);
	return listing->sent + n <= listing->max;
}

/* 1: listing->dir is the next to be read; 0: there is none; or -errno. */
static int next_dir(struct listing *listing)
{
	int64_t id = 0;
	int got;

	got = queue_take(&listing->queue, &id);
	if (got > 0)
		got = fits(listing, id);
	if (got <= 0)
		return got;
	listing->after.len = 0;
	got = object_by_id(listing->sql, id, &listing->dir);
	return got ? got : -EUCLEAN;
}

/* Some lines more. */
static int produce(struct stream *stream)
{
	struct listing *listing = container_of(stream, struct listing, stream);
	struct name_row rows[ROWS];
	struct object object;
	size_t n, want = ROWS;
	int got;

	if (!listing->dir.id) {
		got = next_dir(listing);
		if (got <= 0)
			return got ? got : put_end(listing);
	}
	if (listing->max && !listing->is_deep)
		want = MIN(want, listing->max - listing->sent);
	got = names_after(listing->sql, listing->dir.id, name_slice(&listing->after), rows, want,
			  &n);
	for (size_t i = 0; !got && i < n; i++) {
		got = object_by_id(listing->sql, rows[i].object, &object);
		if (got <= 0)
			return got ? got : -EUCLEAN;
		got = put_line(listing, listing->dir.oid, &rows[i].name, &object);
		if (!got && listing->is_deep && object.attr.type == KML_DIR)
			got = queue_push(&listing->queue, listing->tree, object.id);
		listing->sent++;
		listing->after = rows[i].name;
	}
	if (!got && n < ROWS)
		listing->dir.id = 0;
	return got;
}

/* ---- the answer ---- */

static void listing_free(struct stream *stream)
{
	struct listing *listing = container_of(stream, struct listing, stream);

	if (listing->sql)
		tree_reader_put(listing->tree, listing->sql);
	mem_close_fd(&listing->queue.fd);
	free(listing);
}

static int listing_begin(struct request *request, struct listing *listing, uint64_t *ret_position)
{
	static const struct name no_name = { 0, "" };
	const char *depth = request_param(request, "depth");
	struct object object;
	int64_t position;
	int err;

	if (depth && strcmp(depth, "1") && strcmp(depth, "all"))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST, "depth is 1 or all");
	listing->is_deep = depth && !strcmp(depth, "all");
	listing->is_json = request_wants_json(request);
	listing->is_first = true;
	err = request_number(request, "max", INT64_MAX, &listing->max);
	if (!err)
		err = tree_reader_get(listing->tree, &listing->sql);
	if (!err)
		err = query_find(request, listing->sql, &object);
	if (!err && object.attr.type != KML_DIR)
		err = request_refuse(request, MHD_HTTP_BAD_REQUEST, "it is not a directory");
	if (!err)
		err = sql_int(listing->sql, "SELECT max(position) FROM journal", &position);
	if (!err)
		err = put_line(listing, KML_NO_OID, &no_name, &object);
	if (!err)
		err = queue_push(&listing->queue, listing->tree, object.id);
	if (!err)
		*ret_position = (uint64_t)position;
	return err;
}

int listing_answer(struct request *request)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	uint64_t position = 0;
	bool is_json;
	int err;

	if (!listing)
		return -ENOMEM;
	listing->stream = (struct stream){ .tree = request->tree,
					   .produce = produce,
					   .free = listing_free,
					   .until_us = clock_us() + LISTING_MAX_S * US_PER_S };
	buf_init(&listing->stream.buf, 0);
	listing->tree = request->tree;
	listing->queue.fd = -1;
	err = listing_begin(request, listing, &position);
	if (err) {
		stream_free(&listing->stream);
		return err;
	}
	is_json = listing->is_json;
	err = stream_answer(request, &listing->stream, is_json ? QUERY_JSON : QUERY_XDR);
	if (!err)
		err = request_add_header(request, "Izo-Position", "%llu",
					 (unsigned long long)position);
	return err;
}
