/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/content.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "httpd/query.h"
#include "httpd/reconcile.h"

#define PIECE (128u << 10)
#define TRIES 5
#define MISSING_WAIT_US (300 * US_PER_MS)	/* each try: the watch finds where a file went */
#define RACY_US 25000				/* a file older than that is not "racy" any more */

struct sending {
	struct content_version version;
	uint64_t start;
};

/* ---- is the file what its row says? ---- */

static bool is_same(const struct file_stat *a, const struct file_stat *b)
{
	return file_id_equal(a->id, b->id) && a->attr.size == b->attr.size &&
	       a->ctime == b->ctime && !file_time_cmp(a->attr.mtime, b->attr.mtime);
}

static bool is_as_row(const struct object *object, const struct file_stat *st)
{
	return st->attr.type == KML_REG && file_id_equal(object->file, st->id) &&
	       object->attr.size == st->attr.size &&
	       !file_time_cmp(object->attr.mtime, st->attr.mtime) && object->ctime == st->ctime &&
	       !object->is_racy;
}

static int open_file(struct tree *tree, struct sql *sql, const struct name_row *row)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	AUTO_CLOSE int dirfd = tree_open_dir(tree, sql, row->dir);
	int fd;

	if (dirfd < 0)
		return dirfd;
	fd = openat(dirfd, row->name.text, flags | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(dirfd, row->name.text, flags);
	return fd < 0 ? -errno : fd;
}

/*
 * Open the object's file by one of its names.  0: it is as *ret_object says, and open; -EAGAIN: it is not, its
 * name is in *ret_item and *ret_is_there says whether there is a file; or as query_find().
 */
static int try_open(struct request *request, struct content_version *version,
		    struct reconcile_item *ret_item, bool *ret_is_there)
{
	struct name_row row;
	struct sql *sql;
	int err, fd = -1;

	err = tree_reader_get(request->tree, &sql);
	if (err)
		return err;
	err = query_find(request, sql, &version->object);
	if (!err && version->object.attr.type != KML_REG)
		err = request_refuse(request, MHD_HTTP_BAD_REQUEST, "it is not a regular file");
	if (!err) {
		err = name_of(sql, version->object.id, &row);
		err = err > 0 ? 0 : err ? err : -EUCLEAN;
	}
	if (!err)
		fd = open_file(request->tree, sql, &row);
	tree_reader_put(request->tree, sql);
	if (err)
		return err;
	*ret_item = (struct reconcile_item){ row.dir, row.name };
	*ret_is_there = fd >= 0;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -EIO || fd == -EACCES)
		return fd;
	if (fd < 0)
		return -EAGAIN;
	err = file_stat(fd, "", &version->was);
	if (!err && !is_as_row(&version->object, &version->was))
		err = -EAGAIN;
	if (err)
		(void)close(fd);	/* nothing was written */
	else
		version->fd = fd;
	return err;
}

/* Until a write to the file gives it another time than it has. */
static void wait_racy(const struct file_stat *st)
{
	int64_t age_ns = file_ns(file_now()) - file_ns(st->attr.mtime);

	if (age_ns >= 0 && age_ns < RACY_US * 1000ll)
		(void)poll(NULL, 0, RACY_US / 1000 + 1 - (int)(age_ns / 1000000));	/* woken early: one more look */
}

/* (1) */
int content_open(struct request *request, struct content_version *version)
{
	struct reconcile_item item;
	uint64_t changes, position;
	bool is_there = false;
	int err = -EAGAIN;

	*version = (struct content_version){ .tree = request->tree, .fd = -1 };
	for (int i = 0; i < TRIES && err == -EAGAIN && !tree_is_stopping(request->tree); i++) {
		position = tree_wait(request->tree, UINT64_MAX, 0);
		err = try_open(request, version, &item, &is_there);
		if (err != -EAGAIN)
			break;
		/*
		 * A name that holds nothing may be half of a rename, and looking at it alone would make a removal of it:
		 * that is for the watch, which sees both halves.
		 */
		if (!is_there) {
			(void)tree_wait(request->tree, position, clock_us() + MISSING_WAIT_US);
			continue;
		}
		wait_racy(&version->was);
		err = reconcile_names(request->tree, &item, 1, NULL, &changes);
		if (!err)
			err = -EAGAIN;
	}
	if (err == -EAGAIN)
		request->retry_after_s = 1;
	return err;
}

void content_close(struct content_version *version)
{
	mem_close_fd(&version->fd);
	version->fd = -1;
}

/* ---- sending ---- */

/* (2).  0: what was read is of the version; else it is not, or nobody can say. */
int content_still_same(struct content_version *version)
{
	struct object object;
	struct file_stat st;
	struct sql *sql;
	int got;

	got = file_stat(version->fd, "", &st);
	if (got)
		return got;
	if (is_same(&st, &version->was))
		return 0;
	got = tree_reader_get(version->tree, &sql);
	if (got)
		return got;
	got = object_by_id(sql, version->object.id, &object);
	tree_reader_put(version->tree, sql);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	if (object.gone || object.data_version != version->object.data_version ||
	    !is_as_row(&object, &st))
		return -EAGAIN;
	version->was = st;
	return 0;
}

static ssize_t sending_read(void *arg, uint64_t pos, char *to, size_t max)
{
	struct sending *sending = arg;
	ssize_t n;
	int err = FAULT("content.read");

	n = err ? err : fs_pread_full(sending->version.fd, to, max, sending->start + pos);
	if (n >= 0)
		err = content_still_same(&sending->version);
	else
		err = (int)n;
	if (!err && n > 0)
		return n;
	if (err && err != -EAGAIN)
		log_warn("content broken off: object=%lld offset=%llu: %s",
			 (long long)sending->version.object.id, (unsigned long long)(sending->start + pos),
			 strerror(-err));
	else
		log_debug(LOG_HTTP, "content broken off, the file changed: object=%lld",
			  (long long)sending->version.object.id);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static void sending_free(void *arg)
{
	struct sending *sending = arg;

	content_close(&sending->version);
	free(sending);
}

/* ---- what is asked for ---- */

static bool parse_u64(const char **text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (**text < '0' || **text > '9')
		return false;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		unsigned digit = (unsigned)(**text - '0');

		value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
	}
	*ret_value = value;
	return true;
}

int content_range(const char *text, uint64_t size, uint64_t *ret_start, uint64_t *ret_len)
{
	uint64_t first, last;

	if (!text || strncasecmp(text, "bytes=", 6))
		return 0;
	text += 6;
	while (*text == ' ')
		text++;
	if (*text == '-') {
		text++;
		if (!parse_u64(&text, &last) || *text)
			return 0;
		if (!last || !size)
			return -ERANGE;
		*ret_start = last < size ? size - last : 0;
		*ret_len = size - *ret_start;
		return 1;
	}
	if (!parse_u64(&text, &first) || *text++ != '-')
		return 0;
	last = UINT64_MAX;
	if (*text && (!parse_u64(&text, &last) || *text))
		return 0;
	if (last < first)
		return 0;
	if (first >= size)
		return -ERANGE;
	*ret_start = first;
	*ret_len = MIN(last, size - 1) - first + 1;
	return 1;
}

bool content_has_tag(const char *list, uint64_t version)
{
	char tag[24];
	size_t len = (size_t)snprintf(tag, sizeof(tag), "\"%llu\"", (unsigned long long)version);

	while (*list) {
		list += strspn(list, " \t,");
		if (*list == '*')
			return true;
		if (!strncmp(list, tag, len) && strchr(" \t,", list[len]))
			return true;
		/* To the end of this tag; commas may stand in it. */
		if (!strncmp(list, "W/", 2))
			list += 2;
		if (*list == '"') {
			list = strchr(list + 1, '"');
			if (!list)
				return false;
			list++;
		} else {
			list += strcspn(list, ",");
		}
	}
	return false;
}

static int add_headers(struct request *request, uint64_t version)
{
	int err = request_add_header(request, MHD_HTTP_HEADER_ETAG, "\"%llu\"",
				     (unsigned long long)version);

	return err ? err : request_add_header(request, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
}

/* What needs no byte of the file: 1 when that was answered; 0: go on; or as handlers. */
static int answer_conditions(struct request *request, uint64_t version)
{
	const char *match = request_header(request, MHD_HTTP_HEADER_IF_MATCH);
	const char *none_match = request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH);
	int err;

	if (match && !content_has_tag(match, version))
		return request_refuse(request, MHD_HTTP_PRECONDITION_FAILED,
				      "it has another version by now");
	if (!none_match || !content_has_tag(none_match, version))
		return 0;
	err = request_answer_empty(request, MHD_HTTP_NOT_MODIFIED);
	if (!err)
		err = add_headers(request, version);
	return err ? err : 1;
}

static int answer_range_error(struct request *request, uint64_t size)
{
	int err = request_answer_text(request, MHD_HTTP_RANGE_NOT_SATISFIABLE,
				      "the range begins behind the end");

	if (err)
		return err;
	return request_add_header(request, MHD_HTTP_HEADER_CONTENT_RANGE, "bytes */%llu",
				  (unsigned long long)size);
}

/* Takes over sending. */
static int answer_bytes(struct request *request, struct sending *sending)
{
	const char *if_range = request_header(request, MHD_HTTP_HEADER_IF_RANGE);
	uint64_t size = sending->version.was.attr.size, version = sending->version.object.data_version;
	const char *text = request_header(request, MHD_HTTP_HEADER_RANGE);
	uint64_t start = 0, len = size;
	int got, err;

	if (if_range && !content_has_tag(if_range, version))
		text = NULL;
	got = content_range(text, size, &start, &len);
	if (got < 0) {
		sending_free(sending);
		return answer_range_error(request, size);
	}
	sending->start = start;
	err = request_answer_stream(request, got ? MHD_HTTP_PARTIAL_CONTENT : MHD_HTTP_OK,
				    "application/octet-stream", len, PIECE, sending_read, sending,
				    sending_free);
	if (!err)
		err = add_headers(request, version);
	if (!err && got)
		err = request_add_header(request, MHD_HTTP_HEADER_CONTENT_RANGE,
					 "bytes %llu-%llu/%llu", (unsigned long long)start,
					 (unsigned long long)(start + len - 1),
					 (unsigned long long)size);
	return err;
}

int content_answer(struct request *request)
{
	struct sending *sending = calloc(1, sizeof(*sending));
	int got;

	if (!sending)
		return -ENOMEM;
	got = content_open(request, &sending->version);
	if (!got)
		got = answer_conditions(request, sending->version.object.data_version);
	if (!got)
		return answer_bytes(request, sending);
	sending_free(sending);
	return got == 1 ? 0 : got;
}
