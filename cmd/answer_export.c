/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/answer_export.h"

#include <errno.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/cml_export.h"
#include "cmd/daemon.h"
#include "cmd/hex.h"

#define PIECE 200		/* records in one answer */

/* Absolute, for the working directory is the daemon's. */
static char *objects_path(const struct daemon_tree *tree)
{
	AUTO_FREE char *path = NULL;

	if (asprintf(&path, "%s/objects", tree->config->cache) < 0) {
		path = NULL;
		return NULL;
	}
	return realpath(path, NULL);
}

json_t *answer_export_begin(const struct daemon_tree *tree, int *ret_err)
{
	AUTO_FREE char *objects = objects_path(tree), *text = NULL;
	struct cml_export_head head;
	struct buf bytes;

	*ret_err = objects ? cml_export_begin(tree->cache, &head) : -errno;
	if (*ret_err)
		return NULL;
	buf_init(&bytes, 0);
	*ret_err = kml_file_head_encode(&bytes, &head.head);
	if (!*ret_err)
		text = hex_encode(&bytes);
	buf_release(&bytes);
	cml_export_head_release(&head);
	if (*ret_err)
		return NULL;
	return json_pack("{s:b, s:s, s:I, s:I, s:I, s:s}", "ok", 1, "head", text, "last_seq", (json_int_t)head.last_seq,
			 "records", (json_int_t)head.records, "bytes", (json_int_t)head.bytes, "objects", objects);
}

static int add_record(json_t *array, const struct cml_exported *exported)
{
	AUTO_FREE char *text = NULL;
	struct buf bytes;
	int err;

	buf_init(&bytes, 0);
	err = kml_saved_encode(&bytes, &exported->saved);
	if (!err)
		text = hex_encode(&bytes);
	buf_release(&bytes);
	if (err)
		return err;
	return json_array_append_new(array, json_pack("{s:s, s:I, s:I, s:I}", "saved", text, "ino", (json_int_t)exported->ino,
						      "gen", (json_int_t)exported->gen, "write_gen",
						      (json_int_t)exported->write_gen)) < 0 ? -ENOMEM : 0;
}

json_t *answer_export_records(const struct daemon_tree *tree, uint64_t after, uint64_t last_seq, uint64_t most, int *ret_err)
{
	AUTO_FREE struct cml_exported *v = calloc(PIECE, sizeof(*v));
	json_t *array = json_array();
	bool has_skipped = false;
	size_t n = 0;
	int err = v && array ? 0 : -ENOMEM;

	if (!err)
		err = cml_export_next(tree->cache, after, last_seq, most ? MIN(most, (uint64_t)PIECE) : PIECE, v, &n, &after, &has_skipped);
	for (size_t i = 0; i < n; i++) {
		if (!err)
			err = add_record(array, &v[i]);
		cml_exported_release(&v[i]);
	}
	*ret_err = err;
	if (err) {
		json_decref(array);
		return NULL;
	}
	return json_pack("{s:b, s:o, s:I, s:b, s:I}", "ok", 1, "records", array, "after", (json_int_t)after, "has_skipped",
			 has_skipped, "newest_seq", (json_int_t)cml_export_last(tree->cache));
}

json_t *answer_export_look(const struct daemon_tree *tree, uint64_t ino, uint64_t write_gen)
{
	return json_pack("{s:b, s:b}", "ok", 1, "has_changed", cml_export_look(tree->cache, ino, write_gen));
}
