/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf: growable bytes with a limit.
 *
 * Errors stick: after a failed append every later one fails too, and buf_error() tells which came
 * first (-ENOMEM, or -EMSGSIZE at the limit).  So a chain of appends needs one check at its end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	unsigned char *data;	/* owned */
	size_t len, cap;
	size_t limit;		/* bytes; 0: none */
	int error;		/* 0 or -errno */
};

void buf_init(struct buf *buf, size_t limit);
void buf_release(struct buf *buf);

void buf_reset(struct buf *buf);	/* empty, no error; keeps its memory */
int buf_reserve(struct buf *buf, size_t more);
int buf_append(struct buf *buf, const void *data, size_t len);
int buf_u32be(struct buf *buf, uint32_t value);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for len bytes to be filled in by the caller, already counted in buf->len; NULL on failure. */
void *buf_extend(struct buf *buf, size_t len);
/* Drop len bytes at the front; len <= buf->len. */
void buf_consume(struct buf *buf, size_t len);

static inline int buf_error(const struct buf *buf)
{
	return buf->error;
}

#endif
