/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --export-log with the daemon: it is asked for the records, piece by piece, and for whether contents kept still. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "cmd/export.h"
#include "cmd/hex.h"
#include "cmd/report.h"
#include "rpcgen/kml_file.h"

#define FURTHER_MAX 8		/* times that the end moves on, to what removed a file meanwhile */

struct live {
	struct export_source source;
	struct ctl *ctl;
	const char *tree;
	char *objects;			/* directory of the content files */
	uint64_t after, last_seq;
	unsigned further;
	json_t *records;		/* the piece that is being gone through */
	size_t at;
	int fd;				/* of fd_ino, fd_gen; -1 */
	uint64_t fd_ino;
	uint32_t fd_gen;
};

static struct live *live_of(struct export_source *source)
{
	return container_of(source, struct live, source);
}

static int ask(struct live *live, json_t *request, json_t **ret_answer, char **ret_why)
{
	free(*ret_why);
	return ctl_ask(live->ctl, request, COMMAND_WAIT_S, ret_answer, ret_why);
}

static int begin(struct export_source *source, struct cml_export_head *ret_head, char **ret_why)
{
	struct live *live = live_of(source);
	struct cml_export_head head = { 0 };
	json_t *answer;
	struct buf bytes;
	int err = ask(live, command_request("export", live->tree), &answer, ret_why);

	if (err)
		return err;
	err = hex_decode(report_text(answer, "head"), &bytes);
	if (!err)
		err = kml_file_head_decode(bytes.data, bytes.len, &head.head);
	buf_release(&bytes);
	head.last_seq = live->last_seq = report_number(answer, "last_seq");
	head.records = report_number(answer, "records");
	head.bytes = report_number(answer, "bytes");
	live->objects = strdup(report_text(answer, "objects"));
	json_decref(answer);
	if (!err && !live->objects)
		err = -ENOMEM;
	if (err)
		cml_export_head_release(&head);
	else
		*ret_head = head;
	return err;
}

/* The records after that seq, n at most. */
static int ask_records(struct live *live, uint64_t after, uint64_t last_seq, unsigned n, json_t **ret_answer, char **ret_why)
{
	return ask(live, json_pack("{s:s, s:s, s:I, s:I, s:I}", "command", "export-records", "tree", live->tree,
				   "after", (json_int_t)after, "last_seq", (json_int_t)last_seq, "most", (json_int_t)n), ret_answer, ret_why);
}

static int parse_record(const json_t *json, struct cml_exported *ret_exported)
{
	struct cml_exported exported = {
		.ino = report_number(json, "ino"),
		.gen = (uint32_t)report_number(json, "gen"),
		.write_gen = report_number(json, "write_gen"),
	};
	struct buf bytes;
	int err = hex_decode(report_text(json, "saved"), &bytes);

	if (!err)
		err = kml_saved_decode(bytes.data, bytes.len, &exported.saved);
	buf_release(&bytes);
	/* What the daemon of this version gives can be read: -EBADMSG would be taken for one damaged record. */
	if (!err)
		*ret_exported = exported;
	return err == -EBADMSG ? -EPROTO : err;
}

static int next_piece(struct live *live, char **ret_why)
{
	json_t *answer;
	int err;

	json_decref(live->records);
	live->records = NULL;
	live->at = 0;
	err = ask_records(live, live->after, live->last_seq, 0, &answer, ret_why);
	if (err)
		return err;
	live->records = json_incref(json_object_get(answer, "records"));
	live->after = report_number(answer, "after");
	/* A store was left out, for its file is gone: the record that says so belongs to what is exported. */
	if (json_is_true(json_object_get(answer, "has_skipped")) && live->further < FURTHER_MAX) {
		live->further++;
		live->last_seq = report_number(answer, "newest_seq");
	}
	json_decref(answer);
	return 0;
}

static int next(struct export_source *source, struct cml_exported *ret_exported, char **ret_why)
{
	struct live *live = live_of(source);

	while (live->at == json_array_size(live->records)) {
		uint64_t was_last = live->last_seq;
		int err = next_piece(live, ret_why);

		if (err)
			return err;
		if (!json_array_size(live->records) && live->last_seq == was_last)
			return 0;
	}
	return parse_record(json_array_get(live->records, live->at++), ret_exported) ?: 1;
}

static int open_content(struct live *live, const struct cml_exported *exported)
{
	AUTO_FREE char *path = NULL;

	if (live->fd_ino == exported->ino && live->fd_gen == exported->gen)
		return 0;
	mem_close_fd(&live->fd);
	live->fd_ino = 0;
	if (asprintf(&path, "%s/%02x/%" PRIu64 ".%" PRIu32, live->objects, (unsigned)(exported->ino % 256), exported->ino,
		     exported->gen) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	live->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (live->fd < 0 && errno != ENOENT)
		return -errno;
	live->fd_ino = exported->ino;
	live->fd_gen = exported->gen;
	return 0;
}

static int read_content(struct export_source *source, const struct cml_exported *exported, void *data, size_t len, uint64_t offset)
{
	struct live *live = live_of(source);
	int err = open_content(live, exported);
	ssize_t got = 0;

	if (err)
		return err;
	/* Missing: made longer and never written, or removed since; look() will tell. */
	if (live->fd >= 0)
		got = fs_pread_full(live->fd, data, len, offset);
	if (got < 0)
		return (int)got;
	memset((char *)data + got, 0, len - (size_t)got);
	return 0;
}

/* The record as it is now.  -ESTALE: there is none any more. */
static int ask_again(struct live *live, struct cml_exported *io_exported, char **ret_why)
{
	uint64_t seq = io_exported->saved.record.seq;
	struct cml_exported exported;
	json_t *answer;
	int err = ask_records(live, seq - 1, seq, 1, &answer, ret_why);

	if (err)
		return err;
	err = json_array_size(json_object_get(answer, "records")) == 1 ?
		parse_record(json_array_get(json_object_get(answer, "records"), 0), &exported) : -ESTALE;
	if (err == -ESTALE && json_is_true(json_object_get(answer, "has_skipped")) && live->further < FURTHER_MAX) {
		live->further++;
		live->last_seq = report_number(answer, "newest_seq");
	}
	json_decref(answer);
	if (err)
		return err;
	cml_exported_release(io_exported);
	*io_exported = exported;
	return 1;
}

static int look(struct export_source *source, struct cml_exported *io_exported, char **ret_why)
{
	struct live *live = live_of(source);
	bool was_missing = live->fd < 0;
	bool has_changed;
	json_t *answer;
	int err;

	err = ask(live, json_pack("{s:s, s:s, s:I, s:I}", "command", "export-look", "tree", live->tree, "ino", (json_int_t)io_exported->ino,
				  "write_gen", (json_int_t)io_exported->write_gen), &answer, ret_why);
	if (err)
		return err;
	has_changed = json_is_true(json_object_get(answer, "has_changed"));
	json_decref(answer);
	/* One that was retired or removed meanwhile may have lost its file in between. */
	live->fd_ino = has_changed || was_missing ? 0 : live->fd_ino;
	if (has_changed)
		return ask_again(live, io_exported, ret_why);
	if (was_missing && kml_saved_bytes(&io_exported->saved)) {
		uint32_t gen = io_exported->gen;

		err = ask_again(live, io_exported, ret_why);
		return err == 1 && io_exported->gen == gen ? 0 : err;
	}
	return 0;
}

static void live_free(struct export_source *source)
{
	struct live *live = live_of(source);

	json_decref(live->records);
	mem_close_fd(&live->fd);
	free(live->objects);
	free(live);
}

struct export_source *export_live(struct ctl *ctl, const char *tree)
{
	struct live *live = calloc(1, sizeof(*live));

	if (!live)
		return NULL;
	live->source = (struct export_source){ begin, next, read_content, look, NULL, live_free };
	live->ctl = ctl;
	live->tree = tree;
	live->fd = -1;
	return &live->source;
}
