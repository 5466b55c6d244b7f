/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * frames: a body of frames (docs/PROTOCOL.md 2), taken apart as it comes.
 */
#ifndef REPLICATE_FRAMES_H
#define REPLICATE_FRAMES_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/mem.h"

#define FRAME_MAX (16u << 20)

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
