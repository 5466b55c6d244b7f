/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *buf, size_t limit)
{
	memset(buf, 0, sizeof(*buf));
	buf->limit = limit;
}

void buf_release(struct buf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->error = 0;
}

int buf_reserve(struct buf *buf, size_t more)
{
	size_t need, cap;
	void *data;

	if (buf->error)
		return buf->error;
	if (more > SIZE_MAX / 2 - buf->len || (buf->limit && more > buf->limit - buf->len))
		return buf->error = -EMSGSIZE;
	need = buf->len + more;
	if (need <= buf->cap)
		return 0;
	cap = buf->cap ? buf->cap : 256;
	while (cap < need)
		cap *= 2;
	data = realloc(buf->data, cap);
	if (!data)
		return buf->error = -ENOMEM;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

void *buf_extend(struct buf *buf, size_t len)
{
	void *at;

	/* Even an empty extension gives a pointer: NULL means failure. */
	if (buf_reserve(buf, len ? len : 1))
		return NULL;
	at = buf->data + buf->len;
	buf->len += len;
	return at;
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
	if (!len)
		return buf->error;
	if (buf_reserve(buf, len))
		return buf->error;
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

int buf_u32be(struct buf *buf, uint32_t value)
{
	unsigned char bytes[4] = { (unsigned char)(value >> 24), (unsigned char)(value >> 16),
				   (unsigned char)(value >> 8), (unsigned char)value };

	return buf_append(buf, bytes, sizeof(bytes));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args, again;
	int n;

	if (buf->error)
		return buf->error;
	va_start(args, format);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	/* vsnprintf() ends with a NUL, which is not counted but needs its room. */
	if (n < 0)
		buf->error = -EINVAL;
	else if (!buf_reserve(buf, (size_t)n + 1)) {
		vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, format, again);
		buf->len += (size_t)n;
	}
	va_end(again);
	return buf->error;
}

void buf_consume(struct buf *buf, size_t len)
{
	if (len >= buf->len) {
		buf->len = 0;
		return;
	}
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
}
