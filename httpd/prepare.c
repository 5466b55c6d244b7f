/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which records need something in stage/, in which order it is made, and where the segment has to end for it. */
#include "httpd/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "httpd/detach.h"
#include "httpd/upload.h"

#define FSYNC_MAX 8	/* files that are synced one by one; more: the whole file system at once */

bool prepare_is_transient(int err)
{
	return err == -ENOSPC || err == -EIO || err == -ENOMEM ||
	       err == -EMFILE || err == -ENFILE;
}

void prepare_undo(struct segment *segment, uint32_t i)
{
	const struct kml_record *record = &segment->records[i];
	struct plan *plan = &segment->plan[i];
	int dirfd = segment->tree->stage_fd;
	char name[64], upload[KML_KEY_MAX + 32];

	if (!plan->is_staged)
		return;
	segment_stage_name(segment->client, record->seq, name);
	if (plan->is_upload) {
		upload_seal(segment->tree, segment->client,
			    record->body.kml_body_u.store.content.kml_content_u.key, upload);
		(void)renameat(dirfd, name, dirfd, upload);	/* the client then sends it again */
	} else {
		(void)file_delete(dirfd, name);			/* at the next start then */
	}
	plan->is_staged = plan->is_upload = false;
}

/* ---- what is made by the segment itself ---- */

struct made {
	struct hash_node node;
	struct kml_oid oid;
	uint32_t record;	/* a CREATE, or a STORE of something that was there */
	bool is_store;
	bool has_content;	/* a CREATE with the content of a later STORE */
};

static uint64_t hash_oid(struct kml_oid oid)
{
	return hash_u64(oid.origin ^ hash_u64(oid.number));
}

static struct made *find_made(const struct hash_table *table, struct kml_oid oid)
{
	for (struct hash_node *n = hash_first(table, hash_oid(oid)); n; n = hash_next(n)) {
		struct made *made = container_of(n, struct made, node);

		if (kml_oid_equal(made->oid, oid))
			return made;
	}
	return NULL;
}

static int note_made(struct hash_table *table, struct kml_oid oid, uint32_t record, bool is_store)
{
	struct made *made;

	if (find_made(table, oid))
		return 0;
	made = malloc(sizeof(*made));
	if (!made)
		return -ENOMEM;
	*made = (struct made){ .oid = oid, .record = record, .is_store = is_store };
	hash_insert(table, &made->node, hash_oid(oid));
	return 0;
}

static void free_made(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct made, node));
}

/* ---- all of it ---- */

#define CUT_HERE 1	/* the segment ends before this record */

/* What the store makes of the object as it is. */
static int stage_content(struct segment *segment, uint32_t i, const struct object *object, const struct kml_store *store,
			 struct hash_table *table)
{
	struct plan *plan = &segment->plan[i];
	char name[64];
	int err;

	if (plan->is_staged && plan->base == object->data_version)
		return note_made(table, store->oid, i, true);
	prepare_undo(segment, i);
	segment_stage_name(segment->client, segment->records[i].seq, name);
	err = prepare_content(segment, i, object, store, name);
	if (err) {
		prepare_undo(segment, i);
		return err == -EAGAIN ? CUT_HERE : err;
	}
	plan->base = object->data_version;
	return note_made(table, store->oid, i, true);
}

static int stage_store(struct segment *segment, uint32_t i, struct hash_table *table)
{
	const struct kml_store *store = &segment->records[i].body.kml_body_u.store;
	struct made *made = find_made(table, store->oid);
	struct object object;
	int got;

	if (segment->plan[i].is_into)
		return 0;	/* it came with its CREATE */
	if (made && (made->is_store || made->has_content))
		return CUT_HERE;	/* it needs the version that the earlier one makes */
	if (made) {
		made->has_content = true;
		return segment->plan[made->record].is_staged
			       ? prepare_fill_created(segment, i, made->record)
			       : 0;
	}
	got = object_by_oid(segment->tree->sql, store->oid, &object);
	if (got <= 0 || object.gone || object.attr.type != KML_REG)
		return got < 0 ? got : 0;	/* certify() has the answer */
	if (object.data_version != store->data_base && object.data_by != segment->client) {
		prepare_undo(segment, i);
		return 0;
	}
	return stage_content(segment, i, &object, store, table);
}

/* The content as it is, once more; where the object has other names to part from. */
static int stage_detach(struct segment *segment, uint32_t i, struct hash_table *table)
{
	const struct kml_detach *detach = &segment->records[i].body.kml_body_u.detach;
	struct kml_store same = { .oid = detach->oid };
	struct detach_names names;
	struct object object;
	int got;

	got = object_by_oid(segment->tree->sql, detach->oid, &object);
	if (got <= 0 || object.gone || object.attr.type != KML_REG ||
	    (object.data_version != detach->data_base && object.data_by != segment->client))
		return got < 0 ? got : 0;	/* certify() has the answer */
	got = detach_names_get(segment->tree->sql, &object, segment->client, detach, &names);
	detach_names_release(&names);
	if (got || names.n == names.n_kept)
		return got;
	if (find_made(table, detach->oid))
		return CUT_HERE;	/* as for a store */
	same.size = same.keep_size = object.attr.size;
	same.mtime = object.attr.mtime;
	return stage_content(segment, i, &object, &same, table);
}

static int stage_one(struct segment *segment, uint32_t i, struct hash_table *table)
{
	const struct kml_body *body = &segment->records[i].body;
	const struct kml_make *make = segment_make_of(body);
	bool has_content = false;
	int err;

	if (segment->plan[i].refused)
		return 0;
	if (body->op == KML_STORE)
		return stage_store(segment, i, table);
	if (body->op == KML_DETACH)
		return stage_detach(segment, i, table);
	if (!make || (segment->plan[i].is_staged && body->op != KML_CREATE))
		return 0;
	if (body->op != KML_CREATE)
		return prepare_node(segment, i);
	err = segment->plan[i].is_staged ? 0 : prepare_file(segment, i, &has_content);
	if (!err)
		err = note_made(table, make->oid, i, false);
	if (!err && has_content)
		find_made(table, make->oid)->has_content = true;
	return err;
}

/*
 * End the segment before record i.  A store that was to fill a file made by an earlier record may
 * have left a part of it there: then the segment ends before that one already, and the file is made
 * anew.
 */
static void cut(struct segment *segment, uint32_t i, int error, const struct hash_table *table)
{
	const struct kml_body *body = &segment->records[i].body;
	struct made *made =
		body->op == KML_STORE ? find_made(table, body->kml_body_u.store.oid) : NULL;

	if (made && !made->is_store && error) {
		prepare_undo(segment, made->record);
		i = made->record;
	}
	segment->n = i;
}

static int sync_staged(struct segment *segment)
{
	uint32_t staged = 0;
	char name[64];

	for (uint32_t i = 0; i < segment->n; i++)
		staged += segment->plan[i].is_staged;
	if (!staged)
		return 0;
	if (FAULT("prepare.sync"))
		return -EIO;
	if (staged > FSYNC_MAX)
		return syncfs(segment->tree->stage_fd) < 0 ? -errno : 0;
	for (uint32_t i = 0; i < segment->n; i++) {
		AUTO_CLOSE int fd = -1;
		enum kml_op op = segment->records[i].body.op;

		if (!segment->plan[i].is_staged ||
		    (op != KML_CREATE && op != KML_MKDIR && op != KML_STORE && op != KML_DETACH))
			continue;
		segment_stage_name(segment->client, segment->records[i].seq, name);
		fd = openat(segment->tree->stage_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 ? fsync(fd) < 0 : errno != EACCES)
			return -errno;
		if (fd < 0)	/* its mode is not for us: we are not root */
			return syncfs(segment->tree->stage_fd) < 0 ? -errno : 0;
	}
	return fsync(segment->tree->stage_fd) < 0 ? -errno : 0;
}

static int stage_all(struct segment *segment, struct hash_table *table)
{
	int err = tree_read_begin(segment->tree);

	if (err)
		return err;
	for (uint32_t i = 0; i < segment->n; i++) {
		err = stage_one(segment, i, table);
		if (!err)
			continue;
		if (err == -EBADMSG || (err < 0 && !prepare_is_transient(err) && err != -ENOENT)) {
			segment->plan[i].refused = -err;
			continue;
		}
		/* -ENOENT: what was sent ahead is not here (any more); it has to be sent again. */
		if (err < 0)
			segment->cut_error = -err;
		cut(segment, i, segment->cut_error, table);
		break;
	}
	tree_read_end(segment->tree);
	return 0;
}

int prepare_stage(struct segment *segment)
{
	struct hash_table table;
	int err;

	err = hash_init(&table);
	if (!err)
		err = stage_all(segment, &table);
	hash_drain(&table, free_made, NULL);
	hash_release(&table);
	if (err)
		return err;
	return segment->n ? sync_staged(segment) : 0;
}
