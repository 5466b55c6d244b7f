/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/staged.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

uint64_t staged_number(const struct cml_item *item)
{
	/* In a file a record has its place, and nothing of the cache that it came from. */
	return item->is_packed ? item->record.seq : item->ino;
}

void staged_path(struct http_request *request, uint64_t client, const char *key, const char *query)
{
	snprintf(request->path, sizeof(request->path), "/izo/v1/stage/%016" PRIx64 "/%s%s", client, key, query);
}

int staged_size(const struct buf *answer, uint64_t *ret_size)
{
	json_error_t error;
	json_t *json = json_loadb(answer->data ? (const char *)answer->data : "", answer->len, 0,
				  &error);
	const json_t *size = json_object_get(json, "size");
	int err = -EBADMSG;

	if (json_is_integer(size) && json_integer_value(size) >= 0) {
		*ret_size = (uint64_t)json_integer_value(size);
		err = 0;
	}
	json_decref(json);
	return err;
}
