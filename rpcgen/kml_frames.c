/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rpcgen/kml_codec.h"

#include <errno.h>

void frames_init(struct frames *frames)
{
	buf_init(&frames->rest, 0);
	frames->is_ended = false;
}

void frames_release(struct frames *frames)
{
	buf_release(&frames->rest);
	frames->is_ended = false;
}

/* Takes apart what is complete; *ret_used: bytes dealt with. */
static int take_apart(struct frames *frames, const unsigned char *data, size_t len,
		      int (*frame)(void *arg, struct slice body), void *arg, size_t *ret_used)
{
	size_t at = 0;

	while (at < len) {
		struct slice body;
		size_t used;
		int err;

		if (frames->is_ended)
			return -EBADMSG;
		err = kml_frame_next(data + at, len - at, FRAME_MAX, &body, &used);
		if (err < 0)
			return err;
		if (!err)
			break;
		at += used;
		if (!body.len) {
			frames->is_ended = true;
			continue;
		}
		err = frame(arg, body);
		if (err)
			return err;
	}
	*ret_used = at;
	return 0;
}

int frames_feed(struct frames *frames, const void *data, size_t len,
		int (*frame)(void *arg, struct slice body), void *arg)
{
	size_t used = 0;
	int err;

	if (!frames->rest.len) {
		/* The usual case: nothing is left over, so nothing is copied but the last piece. */
		err = take_apart(frames, data, len, frame, arg, &used);
		if (err)
			return err;
		return buf_append(&frames->rest, (const char *)data + used, len - used);
	}
	err = buf_append(&frames->rest, data, len);
	if (err)
		return err;
	err = take_apart(frames, frames->rest.data, frames->rest.len, frame, arg, &used);
	if (err)
		return err;
	buf_consume(&frames->rest, used);
	return 0;
}
