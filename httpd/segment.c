/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/fault.h"

void segment_stage_name(uint64_t client, uint64_t seq, char ret_name[64])
{
	snprintf(ret_name, 64, "new-%016llx-%llu", (unsigned long long)client,
		 (unsigned long long)seq);
}

void segment_trash_name(uint64_t client, uint64_t seq, char ret_name[64])
{
	snprintf(ret_name, 64, "%016llx-%llu", (unsigned long long)client, (unsigned long long)seq);
}

void segment_delete_trash(const struct segment *segment, uint64_t seq)
{
	char name[64];

	segment_trash_name(segment->client, seq, name);
	(void)unlinkat(segment->tree->trash_fd, name, 0);
}

static struct touched *find_touched(const struct segment *segment, int64_t id)
{
	struct hash_node *node = hash_first(&segment->touched, hash_u64((uint64_t)id));

	while (node && container_of(node, struct touched, node)->id != id)
		node = hash_next(node);
	return node ? container_of(node, struct touched, node) : NULL;
}

int segment_touch(struct segment *segment, int64_t id, bool is_dir_time, bool is_file)
{
	struct touched *touched = find_touched(segment, id);

	if (!touched) {
		touched = calloc(1, sizeof(*touched));
		if (!touched)
			return -ENOMEM;
		touched->id = id;
		hash_insert(&segment->touched, &touched->node, hash_u64((uint64_t)id));
	}
	touched->is_dir_time |= is_dir_time;
	touched->is_file |= is_file;
	return 0;
}

bool segment_is_touched(const struct segment *segment, int64_t id)
{
	const struct touched *touched = find_touched(segment, id);

	return touched && touched->is_file;
}

int segment_look(struct segment *segment, int64_t dir, struct slice name)
{
	struct reconcile_item *more;

	if (segment->look.n == segment->look.cap) {
		more = realloc(segment->look.v,
			       (segment->look.cap ? 2 * segment->look.cap : 16) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		segment->look.cap = segment->look.cap ? 2 * segment->look.cap : 16;
		segment->look.v = more;
	}
	segment->look.v[segment->look.n].dir = dir;
	name_set(&segment->look.v[segment->look.n++].name, name);
	return 0;
}

int segment_look_object(struct segment *segment, int64_t id)
{
	AUTO_FREE struct name_row *rows = NULL;
	size_t n;
	int err;

	if (id == ROOT_ID)
		return segment_look(segment, ROOT_ID, (struct slice){ ".", 1 });
	err = names_of(segment->tree->sql, id, &rows, &n);
	for (size_t i = 0; !err && i < n; i++)
		err = segment_look(segment, rows[i].dir, name_slice(&rows[i].name));
	return err;
}

static void free_touched(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct touched, node));
}

int segment_init(struct segment *segment, struct tree *tree, uint64_t client, const char *host)
{
	memset(segment, 0, sizeof(*segment));
	segment->tree = tree;
	segment->client = client;
	segment->host = host;
	return hash_init(&segment->touched);
}

void segment_release(struct segment *segment)
{
	hash_drain(&segment->touched, free_touched, NULL);
	hash_release(&segment->touched);
	free(segment->look.v);
}

const struct kml_make *segment_make_of(const struct kml_body *body)
{
	switch (body->op) {
	case KML_CREATE:
	case KML_MKDIR:
		return &body->kml_body_u.make;
	case KML_SYMLINK:
		return &body->kml_body_u.symlink.make;
	case KML_MKNOD:
		return &body->kml_body_u.mknod.make;
	default:
		return NULL;
	}
}

/* ---- progress ---- */

static void progress_name(const struct segment *segment, uint32_t done, char name[64])
{
	snprintf(name, 64, "done-%016llx-%u", (unsigned long long)segment->mark, done);
}

int segment_progress_begin(struct segment *segment)
{
	char name[64];
	int fd;

	segment->progress = 0;
	progress_name(segment, 0, name);
	fd = openat(segment->tree->stage_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	(void)close(fd);	/* only its name says something */
	return 0;
}

/* Nothing is done on disk for it: its content came with the file that the record before it has made. */
static bool is_done_with_create(const struct segment *segment, uint32_t i)
{
	const struct plan *plan = &segment->plan[i];

	return plan->is_into && plan->into + 1 == i;
}

int segment_progress(struct segment *segment, uint32_t i)
{
	char from[64], to[64];
	int dirfd = segment->tree->stage_fd;

	if (i < segment->progress || is_done_with_create(segment, i))
		return 0;
	progress_name(segment, segment->progress, from);
	progress_name(segment, i + 1, to);
	if (renameat(dirfd, from, dirfd, to) < 0)
		return -errno;
	segment->progress = i + 1;
	return 0;
}

void segment_progress_end(const struct segment *segment)
{
	char name[64];

	progress_name(segment, segment->progress, name);
	(void)unlinkat(segment->tree->stage_fd, name, 0);	/* its mark is never used again */
}

struct progress_search {
	const struct segment *segment;
	uint32_t done;
};

static int progress_find(void *arg, const char *name)
{
	struct progress_search *search = arg;
	unsigned long long mark;
	unsigned done;

	if (sscanf(name, "done-%16llx-%u", &mark, &done) == 2 && mark == search->segment->mark)
		search->done = MAX(search->done, done);
	return 0;
}

int segment_progress_find(struct segment *segment)
{
	struct progress_search search = { .segment = segment };
	int err = file_each(segment->tree->stage_fd, progress_find, &search);

	if (err)
		return err;
	segment->done = segment->progress = search.done;
	while (segment->done && segment->done < segment->n && is_done_with_create(segment, segment->done))
		segment->done++;
	/* A file system that orders nothing may have lost the file itself. */
	return search.done ? 0 : segment_progress_begin(segment);
}

void segment_forget_touched(struct segment *segment)
{
	hash_drain(&segment->touched, free_touched, NULL);
}

/* ---- the intent ---- */

struct plan_head {
	uint64_t mark;
	uint64_t size_of_plan;
};

int segment_write_intent(struct segment *segment)
{
	struct kml_batch batch = { .format = KML_VERSION,
				   .client = segment->client,
				   .host = (char *)segment->host,
				   .acked = segment->acked };
	struct plan_head head = { segment->mark, sizeof(struct plan) };
	struct kml_record *records;
	struct buf text, plan;
	int err;

	records = calloc(segment->n, sizeof(*records));
	if (!records)
		return -ENOMEM;
	for (uint32_t i = 0; i < segment->n; i++) {
		records[i] = segment->records[i];
		/* The bytes are in stage/ by now; the name of what was sent ahead is for who puts it back. */
		if (records[i].body.op == KML_STORE && records[i].body.kml_body_u.store.content.where == KML_INLINE)
			memset(&records[i].body.kml_body_u.store.content, 0,
			       sizeof(struct kml_content));
	}
	batch.records.records_val = records;
	batch.records.records_len = segment->n;
	buf_init(&text, 0);
	buf_init(&plan, 0);
	buf_append(&plan, &head, sizeof(head));
	buf_append(&plan, segment->plan, segment->n * sizeof(*segment->plan));
	err = kml_batch_encode(&text, &batch);
	if (!err)
		err = buf_error(&plan);
	if (!err)
		err = FAULT("apply.intent");
	if (!err)
		err = tree_begin(segment->tree);
	if (!err) {
		err = sql_run(segment->tree->sql,
			      "INSERT INTO intent (one, batch, plan) VALUES (1, ?1, ?2)", "bb",
			      (struct slice){ text.data, text.len },
			      (struct slice){ plan.data, plan.len });
		if (err)
			tree_rollback(segment->tree);
		else
			err = tree_commit(segment->tree);
	}
	buf_release(&plan);
	buf_release(&text);
	free(records);
	return err;
}

/* 1: there is one, to be released with kml_batch_release() and free(); 0: none; or -errno. */
int segment_read_intent(struct tree *tree, struct kml_batch *ret_batch, struct plan **ret_plan,
			uint64_t *ret_mark)
{
	struct kml_batch batch;
	struct plan_head head;
	struct plan *copy;
	sqlite3_stmt *stmt;
	struct slice text, plan;
	int got;

	got = sql_query(tree->sql, &stmt, "SELECT batch, plan FROM intent", "");
	if (got <= 0)
		return got;
	text = sql_column(stmt, 0);
	plan = sql_column(stmt, 1);
	got = kml_batch_decode(text.data, text.len, &batch);
	if (!got && (plan.len < sizeof(head) ||
		     plan.len != sizeof(head) + batch.records.records_len * sizeof(*copy))) {
		kml_batch_release(&batch);
		got = -EUCLEAN;
	}
	if (got) {
		sql_done(stmt);
		return -EUCLEAN;
	}
	memcpy(&head, plan.data, sizeof(head));
	copy = malloc(plan.len);
	if (copy)
		memcpy(copy, (const char *)plan.data + sizeof(head), plan.len - sizeof(head));
	sql_done(stmt);
	if (!copy || head.size_of_plan != sizeof(*copy)) {
		free(copy);
		kml_batch_release(&batch);
		return copy ? -EUCLEAN : -ENOMEM;
	}
	*ret_batch = batch;
	*ret_plan = copy;
	*ret_mark = head.mark;
	return 1;
}
