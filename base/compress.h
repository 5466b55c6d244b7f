/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compress: bodies of requests by zstd (RFC 8878), and back again as they come, with little memory.
 *
 * A body is one frame or several, one after the other.  Its window is at most COMPRESS_WINDOW, so that
 * who unpacks it need not have more memory than that for what a stranger sends; how much comes out of it is for the sink to limit.
 *
 * Threads: none of its own; an unpack is used by one at a time.
 */
#ifndef BASE_COMPRESS_H
#define BASE_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

#define COMPRESS_WINDOW (2u << 20)

/* Would it become smaller by so much that it is worth it?  Looks at samples of it. */
bool compress_pays(const void *data, size_t len);
/* Append it as one frame.  -ENOMEM, -EMSGSIZE (the buf's limit). */
int compress_append(struct buf *to, const void *data, size_t len);

struct unpack;

/* -ENOMEM. */
int unpack_new(struct unpack **ret_unpack);
/* NULL is fine. */
void unpack_free(struct unpack *unpack);
/*
 * The next bytes of a body; what comes out of them goes to sink, in pieces, before this returns.  -EBADMSG: that is no such body;
 * -ENOMEM; what sink gave, if not 0.
 */
int unpack_feed(struct unpack *unpack, const void *data, size_t len,
		int (*sink)(void *arg, const void *data, size_t len), void *arg);
/* The body ends here.  -EBADMSG: in the middle of a frame. */
int unpack_end(const struct unpack *unpack);

#endif
