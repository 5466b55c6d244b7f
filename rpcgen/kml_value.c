/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Of kml_codec.h: what one does with decoded values in memory, and frames. */
#include "rpcgen/kml_codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

int kml_record_copy(const struct kml_record *from, struct kml_record *ret_record)
{
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = kml_record_encode(&buf, from);
	if (!err)
		err = kml_record_decode(buf.data, buf.len, ret_record);
	buf_release(&buf);
	return err;
}

static int bytes_set(char **val, u_int *len, u_int max, struct slice value)
{
	char *copy;

	if (value.len > max)
		return -EMSGSIZE;
	copy = malloc(value.len + 1);
	if (!copy)
		return -ENOMEM;
	if (value.len)
		memcpy(copy, value.data, value.len);
	copy[value.len] = '\0';
	*val = copy;
	*len = (u_int)value.len;
	return 0;
}

int kml_name_set(kml_name *name, struct slice value)
{
	return bytes_set(&name->kml_name_val, &name->kml_name_len, KML_NAME_MAX, value);
}

int kml_extra_set(kml_extra *extra, struct slice value)
{
	return bytes_set(&extra->kml_extra_val, &extra->kml_extra_len, KML_EXTRA_MAX, value);
}

int kml_target_set(kml_target *target, struct slice value)
{
	return bytes_set(&target->kml_target_val, &target->kml_target_len, KML_TARGET_MAX, value);
}

/* ---- frames ---- */

size_t kml_frame_begin(struct buf *buf)
{
	size_t mark = buf->len;

	buf_u32be(buf, 0);
	return mark;
}

void kml_frame_end(struct buf *buf, size_t mark)
{
	uint32_t len;

	if (buf_error(buf))
		return;
	len = (uint32_t)(buf->len - mark - 4);
	buf->data[mark] = (unsigned char)(len >> 24);
	buf->data[mark + 1] = (unsigned char)(len >> 16);
	buf->data[mark + 2] = (unsigned char)(len >> 8);
	buf->data[mark + 3] = (unsigned char)len;
}

int kml_frame_next(const void *data, size_t len, size_t limit, struct slice *ret_body, size_t *ret_used)
{
	const unsigned char *head = data;
	uint32_t body;

	if (len < 4)
		return 0;
	body = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
	if (body > limit)
		return -EBADMSG;
	if (len - 4 < body)
		return 0;
	*ret_body = (struct slice){ (const char *)data + 4, body };
	*ret_used = 4 + (size_t)body;
	return 1;
}
