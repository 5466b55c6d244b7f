/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/hex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

char *hex_encode(const struct buf *bytes)
{
	char *text = malloc(2 * bytes->len + 1);

	for (size_t i = 0; text && i < bytes->len; i++) {
		text[2 * i] = digits[bytes->data[i] >> 4];
		text[2 * i + 1] = digits[bytes->data[i] & 15];
	}
	if (text)
		text[2 * bytes->len] = '\0';
	return text;
}

int hex_decode(const char *text, struct buf *ret_bytes)
{
	size_t len = strlen(text);
	unsigned char *to;

	buf_init(ret_bytes, 0);
	if (len % 2)
		return -EPROTO;
	to = buf_extend(ret_bytes, len / 2);
	if (!to)
		return buf_error(ret_bytes) ? buf_error(ret_bytes) : 0;
	for (size_t i = 0; i < len; i++) {
		const char *digit = strchr(digits, text[i]);

		if (!digit)
			return -EPROTO;
		to[i / 2] = (unsigned char)(i % 2 ? to[i / 2] | (digit - digits) : (digit - digits) << 4);
	}
	return 0;
}
