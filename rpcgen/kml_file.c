/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rpcgen/kml_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>
#include "base/fs.h"

#define MAGIC "izo-log\n"
#define MAGIC_LEN 8
#define HEAD_LEN (MAGIC_LEN + 4)		/* and the version */
#define TAIL_LEN (4 + 8 + 8 + sizeof(XXH128_canonical_t))	/* an empty frame, the totals, the checksum */
#define WINDOW (256u << 10)			/* is written, read, hashed at a time */

static uint64_t sum_of(const struct kml_range *ranges, u_int n)
{
	uint64_t sum = 0;

	for (u_int i = 0; i < n; i++)
		sum += ranges[i].length;
	return sum;
}

uint64_t kml_saved_bytes(const struct kml_saved *saved)
{
	const struct kml_store *store = &saved->record.body.kml_body_u.store;

	return saved->record.body.op == KML_STORE ? sum_of(store->ranges.ranges_val, store->ranges.ranges_len) : 0;
}

uint64_t kml_saved_rest_bytes(const struct kml_saved *saved)
{
	return sum_of(saved->rest.rest_val, saved->rest.rest_len);
}

static void put_u64(unsigned char *to, uint64_t value)
{
	for (int i = 7; i >= 0; i--, value >>= 8)
		to[i] = (unsigned char)value;
}

static uint64_t get_u64(const unsigned char *from)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | from[i];
	return value;
}

static uint32_t get_u32(const unsigned char *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* ---- writing ---- */

/* How far it has come; what was written behind it is written over. */
struct point {
	uint64_t offset;
	XXH3_state_t *hash;		/* of all before offset */
	struct kml_file_totals totals;
	uint64_t last_seq;
};

struct kml_file_writer {
	int fd;
	struct buf buf;			/* not written yet: from now.offset on */
	struct point now, before;	/* before: the last kml_file_put() */
	uint64_t owed;			/* bytes of content that are to come */
};

static int flush(struct kml_file_writer *writer)
{
	int err = buf_error(&writer->buf);

	if (!err)
		err = fs_pwrite_all(writer->fd, writer->buf.data, writer->buf.len, writer->now.offset);
	if (err)
		return err;
	(void)XXH3_128bits_update(writer->now.hash, writer->buf.data, writer->buf.len);	/* cannot fail with a state */
	writer->now.offset += writer->buf.len;
	buf_reset(&writer->buf);
	return 0;
}

static int flush_if_full(struct kml_file_writer *writer)
{
	return writer->buf.len >= WINDOW || buf_error(&writer->buf) ? flush(writer) : 0;
}

static void point_copy(struct point *to, const struct point *from)
{
	XXH3_state_t *hash = to->hash;

	*to = *from;
	to->hash = hash;
	XXH3_copyState(hash, from->hash);
}

int kml_file_writer_new(int fd, const struct kml_file_head *head, struct kml_file_writer **ret_writer)
{
	struct kml_file_writer *writer = calloc(1, sizeof(*writer));
	size_t mark;
	int err = -ENOMEM;

	if (!writer)
		return -ENOMEM;
	writer->fd = fd;
	buf_init(&writer->buf, 0);
	writer->now.hash = XXH3_createState();
	writer->before.hash = XXH3_createState();
	if (!writer->now.hash || !writer->before.hash)
		goto fail;
	(void)XXH3_128bits_reset(writer->now.hash);	/* as above */
	(void)buf_append(&writer->buf, MAGIC, MAGIC_LEN);	/* errors stick */
	(void)buf_u32be(&writer->buf, KML_FILE_VERSION);
	mark = kml_frame_begin(&writer->buf);
	err = kml_file_head_encode(&writer->buf, head);
	if (err)
		goto fail;
	kml_frame_end(&writer->buf, mark);
	err = flush(writer);
	if (err)
		goto fail;
	*ret_writer = writer;
	return 0;
fail:
	kml_file_writer_free(writer);
	return err;
}

int kml_file_put(struct kml_file_writer *writer, const struct kml_saved *saved)
{
	bool is_store = saved->record.body.op == KML_STORE;
	size_t mark;
	int err;

	if (writer->owed || saved->record.seq <= writer->now.last_seq)
		return -EINVAL;
	/* Only a store is ever taken back; a thousand others are one write. */
	err = is_store ? flush(writer) : flush_if_full(writer);
	if (err)
		return err;
	if (is_store)
		point_copy(&writer->before, &writer->now);
	mark = kml_frame_begin(&writer->buf);
	err = kml_saved_encode(&writer->buf, saved);
	if (err)
		return err;
	kml_frame_end(&writer->buf, mark);
	writer->owed = kml_saved_bytes(saved) + kml_saved_rest_bytes(saved);
	writer->now.totals.records++;
	writer->now.totals.bytes += kml_saved_bytes(saved);
	writer->now.last_seq = saved->record.seq;
	return flush_if_full(writer);
}

int kml_file_write(struct kml_file_writer *writer, const void *data, size_t len)
{
	if (len > writer->owed)
		return -EINVAL;
	writer->owed -= len;
	(void)buf_append(&writer->buf, data, len);	/* flush() tells */
	return flush_if_full(writer);
}

int kml_file_take_back(struct kml_file_writer *writer)
{
	buf_reset(&writer->buf);
	point_copy(&writer->now, &writer->before);
	writer->owed = 0;
	return 0;
}

int kml_file_finish(struct kml_file_writer *writer, struct kml_file_totals *ret_totals)
{
	unsigned char totals[16];
	XXH128_canonical_t sum;
	int err;

	if (writer->owed)
		return -EINVAL;
	put_u64(totals, writer->now.totals.records);
	put_u64(totals + 8, writer->now.totals.bytes);
	(void)buf_u32be(&writer->buf, 0);	/* errors stick */
	(void)buf_append(&writer->buf, totals, sizeof(totals));
	err = flush(writer);
	if (err)
		return err;
	XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(writer->now.hash));
	err = fs_pwrite_all(writer->fd, &sum, sizeof(sum), writer->now.offset);
	/* What was taken back may have been longer. */
	if (!err && ftruncate(writer->fd, (off_t)(writer->now.offset + sizeof(sum))) < 0)
		err = -errno;
	if (!err)
		*ret_totals = writer->now.totals;
	return err;
}

void kml_file_writer_free(struct kml_file_writer *writer)
{
	if (!writer)
		return;
	buf_release(&writer->buf);
	(void)XXH3_freeState(writer->now.hash);
	(void)XXH3_freeState(writer->before.hash);
	free(writer);
}

/* ---- reading ---- */

struct kml_file {
	int fd;
	uint64_t size;
	uint64_t first, next;		/* where records begin; where the next one is */
	uint64_t last_seq;
	struct kml_file_head head;
	struct kml_file_totals totals;
	unsigned char *window;		/* owned */
	uint64_t window_at;
	size_t window_len, window_cap;
};

/* len bytes at that offset, in the window; the next ones most likely with them. */
static int look_at(struct kml_file *file, uint64_t offset, size_t len, const unsigned char **ret_data)
{
	size_t want = MAX(len, (size_t)WINDOW);
	ssize_t got;

	if (offset > file->size || len > file->size - offset)
		return -EBADMSG;
	if (offset < file->window_at || offset + len > file->window_at + file->window_len) {
		if (want > file->window_cap) {
			unsigned char *more = realloc(file->window, want);

			if (!more)
				return -ENOMEM;
			file->window = more;
			file->window_cap = want;
		}
		file->window_len = 0;
		got = fs_pread_full(file->fd, file->window, want, offset);
		if (got < 0)
			return (int)got;
		if ((size_t)got < len)
			return -EBADMSG;	/* it has become shorter */
		file->window_at = offset;
		file->window_len = (size_t)got;
	}
	*ret_data = file->window + (offset - file->window_at);
	return 0;
}

/* A frame's body, and where it ends.  *ret_len 0: the last one. */
static int look_at_frame(struct kml_file *file, uint64_t offset, const unsigned char **ret_body, size_t *ret_len)
{
	const unsigned char *data;
	int err = look_at(file, offset, 4, &data);

	if (err)
		return err;
	*ret_len = get_u32(data);
	if (*ret_len > FRAME_MAX)
		return -EBADMSG;
	return look_at(file, offset + 4, *ret_len, ret_body);
}

static int check_sum(struct kml_file *file)
{
	uint64_t end = file->size - sizeof(XXH128_canonical_t);
	XXH3_state_t *hash = XXH3_createState();
	XXH128_canonical_t sum;
	const unsigned char *data;
	int err = hash ? 0 : -ENOMEM;

	if (!err)
		(void)XXH3_128bits_reset(hash);	/* cannot fail with a state */
	for (uint64_t at = 0; !err && at < end; at += WINDOW) {
		size_t len = (size_t)MIN((uint64_t)WINDOW, end - at);

		err = look_at(file, at, len, &data);
		if (!err)
			(void)XXH3_128bits_update(hash, data, len);	/* as above */
	}
	if (!err)
		err = look_at(file, end, sizeof(sum), &data);
	if (!err) {
		XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(hash));
		err = memcmp(&sum, data, sizeof(sum)) ? -EBADMSG : 0;
	}
	(void)XXH3_freeState(hash);
	return err;
}

/* Every record can be read, and they are as many as it says. */
static int check_records(struct kml_file *file)
{
	struct kml_file_totals found = { 0 };
	const unsigned char *tail;
	struct kml_saved saved;
	uint64_t at;
	int got;

	while ((got = kml_file_next(file, &saved, &at)) > 0) {
		found.records++;
		found.bytes += kml_saved_bytes(&saved);
		kml_saved_release(&saved);
	}
	if (!got && file->next != file->size - TAIL_LEN)
		got = -EBADMSG;
	if (!got)
		got = look_at(file, file->next + 4, 16, &tail);
	if (got)
		return got;
	file->totals = (struct kml_file_totals){ get_u64(tail), get_u64(tail + 8) };
	if (file->totals.records != found.records || file->totals.bytes != found.bytes)
		return -EBADMSG;
	file->next = file->first;
	file->last_seq = 0;
	return 0;
}

static int check_all(struct kml_file *file, const char **ret_why)
{
	const unsigned char *data;
	size_t len = 0;
	int err;

	*ret_why = "it is not a log that izo-nfsd --export-log has written";
	if (file->size < HEAD_LEN)
		return -EBADMSG;
	err = look_at(file, 0, HEAD_LEN, &data);
	if (err || memcmp(data, MAGIC, MAGIC_LEN))
		return err ? err : -EBADMSG;
	*ret_why = "it was written by a newer izo-nfsd: use that one";
	if (get_u32(data + MAGIC_LEN) < 1 || get_u32(data + MAGIC_LEN) > KML_FILE_VERSION)
		return -EPROTONOSUPPORT;
	*ret_why = "it is cut off or altered, its checksum is not right: nothing of it is used; copy it anew from where it was written";
	if (file->size < HEAD_LEN + TAIL_LEN)
		return -EBADMSG;
	err = check_sum(file);
	if (err)
		return err;
	*ret_why = "its records are malformed, though its checksum is right: nothing of it is used";
	err = look_at_frame(file, HEAD_LEN, &data, &len);
	if (!err)
		err = kml_file_head_decode(data, len, &file->head);
	if (err)
		return err;
	file->first = file->next = HEAD_LEN + 4 + len;
	err = check_records(file);
	if (err == -EPROTONOSUPPORT)
		*ret_why = "it has records of a kind that this izo-nfsd does not know: use the one that has written it";
	return err;
}

int kml_file_open(int fd, struct kml_file **ret_file, const char **ret_why)
{
	struct kml_file *file = calloc(1, sizeof(*file));
	struct stat st;
	int err;

	*ret_why = NULL;
	if (!file)
		return -ENOMEM;
	file->fd = fd;
	err = fstat(fd, &st) < 0 ? -errno : 0;
	if (!err) {
		file->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
		err = check_all(file, ret_why);
	}
	if (err) {
		if (err != -EBADMSG && err != -EPROTONOSUPPORT)
			*ret_why = NULL;	/* it could not be read */
		kml_file_free(file);
		return err;
	}
	*ret_file = file;
	return 0;
}

const struct kml_file_head *kml_file_get_head(const struct kml_file *file)
{
	return &file->head;
}

struct kml_file_totals kml_file_get_totals(const struct kml_file *file)
{
	return file->totals;
}

int kml_file_next(struct kml_file *file, struct kml_saved *ret_saved, uint64_t *ret_at)
{
	const unsigned char *body;
	struct kml_saved saved;
	uint64_t at, rest, left;
	size_t len = 0;
	int err = look_at_frame(file, file->next, &body, &len);

	if (err || !len)
		return err;
	err = kml_saved_decode(body, len, &saved);
	if (err)
		return err;
	at = file->next + 4 + len;
	rest = kml_saved_rest_bytes(&saved);
	left = file->size - at;
	if (saved.record.seq <= file->last_seq || kml_saved_bytes(&saved) > left || rest > left - kml_saved_bytes(&saved)) {
		kml_saved_release(&saved);
		return -EBADMSG;
	}
	file->last_seq = saved.record.seq;
	file->next = at + kml_saved_bytes(&saved) + rest;
	*ret_saved = saved;
	*ret_at = at;
	return 1;
}

void kml_file_free(struct kml_file *file)
{
	if (!file)
		return;
	kml_file_head_release(&file->head);
	free(file->window);
	free(file);
}
