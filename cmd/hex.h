/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hex: bytes in a line of JSON. */
#ifndef CMD_HEX_H
#define CMD_HEX_H

#include "base/buf.h"

/* NUL-terminated, to be freed; NULL: out of memory. */
char *hex_encode(const struct buf *bytes);
/* ret_bytes is to be released whatever this gives.  -EPROTO: it is not hexadecimal. */
int hex_decode(const char *text, struct buf *ret_bytes);

#endif
