/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream: an answer that is made in pieces as the peer takes them, so that its size costs no memory.
 *
 * Embedded in what makes it (listing, journal); its maker sets produce and free.  All of it happens in the
 * connection's thread.
 */
#ifndef HTTPD_STREAM_H
#define HTTPD_STREAM_H

#include "httpd/request.h"

struct stream {
	struct tree *tree;
	struct buf buf;		/* made, not sent yet */
	size_t taken;		/* bytes of buf that are sent */
	bool is_over;		/* nothing more comes; set by produce */
	uint64_t until_us;	/* a peer that takes longer is cut off; CLOCK_NEVER */
	/* Append something to buf, or set is_over.  -errno breaks the answer off. */
	int (*produce)(struct stream *stream);
	/* Frees what embeds it, but for buf. */
	void (*free)(struct stream *stream);
};

/* Answer 200 with it; takes it over, also when that fails. */
int stream_answer(struct request *request, struct stream *stream, const char *type);
/* What has not been handed to stream_answer(). */
void stream_free(struct stream *stream);

#endif
