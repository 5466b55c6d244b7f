/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kml_codec: kml records to and from bytes, with limits; and what one does with them in memory.
 *
 * The types are rpcgen's (kml.x); XDR is libtirpc's.  Decoding checks everything that comes from
 * outside: lengths, enum values, format numbers, ranges ascending and below size, nsec below 10^9, no
 * NUL and no '/' in names, not "." or "..", not empty, access control lists as kml.x wants them.  Unknown arms are refused.
 *
 * Errors: -EBADMSG malformed, -EPROTONOSUPPORT another format number or an unknown operation,
 * -ENOMEM, -EMSGSIZE the buffer's limit.
 * Ownership: what a decode gives is freed with the matching kml_*_release(), which zeroes it.
 */
#ifndef RPCGEN_KML_CODEC_H
#define RPCGEN_KML_CODEC_H

#include <rpc/rpc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/mem.h"
#include "rpcgen/kml.h"

#define KML_ROOT ((struct kml_oid){ 0, 1 })
#define KML_NO_OID ((struct kml_oid){ 0, 0 })

static inline bool kml_oid_equal(struct kml_oid a, struct kml_oid b)
{
	return a.origin == b.origin && a.number == b.number;
}

static inline bool kml_oid_is_none(struct kml_oid a)
{
	return !a.origin && !a.number;
}

/*
 * Two journals that have an entry of the same position have the same one there if their marks are the same: else one of them was put
 * back to an older state and gone on with.  position 0: no mark.
 */
struct kml_mark {
	uint64_t position;
	uint64_t value;			/* kml_entry_mark() */
};

/* Of an entry as kml_entry_encode() gives it: XXH3, 64 bits. */
uint64_t kml_entry_mark(struct slice entry);

/* "ORIGIN-NUMBER", both 16 lower-case hexadecimal digits. */
#define KML_OID_TEXT 34
void kml_oid_print(struct kml_oid oid, char ret_text[KML_OID_TEXT]);
int kml_oid_parse(const char *text, struct kml_oid *ret_oid);	/* -EINVAL */

/* Append the XDR of one value to buf. */
int kml_record_encode(struct buf *buf, const struct kml_record *record);
int kml_entry_encode(struct buf *buf, const struct kml_entry *entry);
int kml_listed_encode(struct buf *buf, const struct kml_listed *listed);
int kml_object_encode(struct buf *buf, const struct kml_object *object);
int kml_acls_encode(struct buf *buf, const struct kml_acls *acls);
int kml_batch_encode(struct buf *buf, const struct kml_batch *batch);
int kml_answers_encode(struct buf *buf, const struct kml_answers *answers);
int kml_wishes_encode(struct buf *buf, const struct kml_wishes *wishes);
int kml_given_encode(struct buf *buf, const struct kml_given *given);
int kml_file_head_encode(struct buf *buf, const struct kml_file_head *head);
int kml_saved_encode(struct buf *buf, const struct kml_saved *saved);

/* Decode one value that fills data exactly (more bytes: -EBADMSG).  data need not be aligned. */
int kml_record_decode(const void *data, size_t len, struct kml_record *ret_record);
int kml_entry_decode(const void *data, size_t len, struct kml_entry *ret_entry);
int kml_listed_decode(const void *data, size_t len, struct kml_listed *ret_listed);
int kml_object_decode(const void *data, size_t len, struct kml_object *ret_object);
int kml_acls_decode(const void *data, size_t len, struct kml_acls *ret_acls);
int kml_batch_decode(const void *data, size_t len, struct kml_batch *ret_batch);
int kml_answers_decode(const void *data, size_t len, struct kml_answers *ret_answers);
int kml_wishes_decode(const void *data, size_t len, struct kml_wishes *ret_wishes);
int kml_given_decode(const void *data, size_t len, struct kml_given *ret_given);
int kml_file_head_decode(const void *data, size_t len, struct kml_file_head *ret_head);
int kml_saved_decode(const void *data, size_t len, struct kml_saved *ret_saved);

void kml_record_release(struct kml_record *record);
void kml_entry_release(struct kml_entry *entry);
void kml_listed_release(struct kml_listed *listed);
void kml_object_release(struct kml_object *object);
void kml_acls_release(struct kml_acls *acls);
void kml_batch_release(struct kml_batch *batch);
void kml_answers_release(struct kml_answers *answers);
void kml_wishes_release(struct kml_wishes *wishes);
void kml_given_release(struct kml_given *given);
void kml_file_head_release(struct kml_file_head *head);
void kml_saved_release(struct kml_saved *saved);

/* A deep copy; content too.  -ENOMEM. */
int kml_record_copy(const struct kml_record *from, struct kml_record *ret_record);

/* Set a name, target or bytes to a copy of data (the old value is not freed).  -ENOMEM. */
int kml_name_set(kml_name *name, struct slice value);
int kml_target_set(kml_target *target, struct slice value);
int kml_extra_set(kml_extra *extra, struct slice value);

static inline struct slice kml_name_get(const kml_name *name)
{
	return (struct slice){ name->kml_name_val, name->kml_name_len };
}

static inline struct slice kml_extra_get(const kml_extra *extra)
{
	return (struct slice){ extra->kml_extra_val, extra->kml_extra_len };
}

static inline struct slice kml_target_get(const kml_target *target)
{
	return (struct slice){ target->kml_target_val, target->kml_target_len };
}

/* "CREATE", ... ; "op 77" is never needed: unknown ones are not decoded. */
const char *kml_op_name(enum kml_op op);
const char *kml_status_name(enum kml_status status);
/* One line of text for people; names with odd bytes escaped as \xNN. */
int kml_record_print(struct buf *buf, const struct kml_record *record);

/*
 * Frames (docs/PROTOCOL.md 2): four bytes of length, big-endian, then so many bytes of XDR.
 * kml_frame_begin() gives the mark to pass to kml_frame_end(), which fills in the length.
 */
size_t kml_frame_begin(struct buf *buf);
void kml_frame_end(struct buf *buf, size_t mark);
/*
 * The first frame in data: 1 and the frame's body in *ret_body, the bytes it takes in *ret_used;
 * 0: not complete yet; -EBADMSG: longer than limit.
 */
int kml_frame_next(const void *data, size_t len, size_t limit, struct slice *ret_body, size_t *ret_used);

#define FRAME_MAX (16u << 20)	/* of a body, in what comes from elsewhere */

/* A body of frames, taken apart as it comes (kml_frames.c). */
struct frames {
	struct buf rest;	/* the start of a frame that is not complete */
	bool is_ended;		/* the empty frame has come */
};

void frames_init(struct frames *frames);
void frames_release(struct frames *frames);

/*
 * More bytes: frame() is called for each that is complete.  0, what frame() gave when that is not
 * 0, -EBADMSG for anything that is not frames (too long, or bytes behind the end), -ENOMEM.
 */
int frames_feed(struct frames *frames, const void *data, size_t len,
		int (*frame)(void *arg, struct slice body), void *arg);

#endif
