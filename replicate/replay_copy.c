/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/replay_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "rpcgen/kml_file.h"

#define SEQS_EACH 4	/* of a copy; one is spare */

struct replay_copied {
	struct replay_copied *next;
	struct kml_oid of, is;		/* the file that it was, the copy */
};

void replay_copies_init(struct replay_copies *copies, uint64_t client, int fd)
{
	static const char salt[] = "conflict copies";

	*copies = (struct replay_copies){ .fd = fd };
	copies->client = hash_bytes(salt, sizeof(salt), client);
	if (!copies->client || copies->client == client)
		copies->client = ~client;	/* never happens */
	copies->batch.items = copies->items;
}

static void clear(struct replay_copies *copies)
{
	for (size_t i = 0; i < copies->batch.n; i++)
		kml_record_release(&copies->items[i].record);
	copies->batch.n = 0;
}

void replay_copies_release(struct replay_copies *copies)
{
	struct replay_copied *copied;

	clear(copies);
	while ((copied = copies->list)) {
		copies->list = copied->next;
		free(copied);
	}
}

static const struct replay_copied *find(const struct replay_copies *copies, struct kml_oid of)
{
	const struct replay_copied *copied = copies->list;

	while (copied && !kml_oid_equal(copied->of, of))
		copied = copied->next;
	return copied;
}

static int remember(struct replay_copies *copies, struct kml_oid of, struct kml_oid is)
{
	struct replay_copied *copied = calloc(1, sizeof(*copied));

	if (!copied)
		return -ENOMEM;
	copied->of = of;
	copied->is = is;
	copied->next = copies->list;
	copies->list = copied;
	return 0;
}

/* The next record of the batch: as the store, but for its body. */
static struct cml_item *add(struct replay_copies *copies, const struct cml_item *store, unsigned number, enum kml_op op)
{
	struct cml_item *item = &copies->items[copies->batch.n++];

	*item = (struct cml_item){ .fd = copies->fd, .is_packed = true };
	item->record.format = KML_VERSION;
	item->record.seq = store->record.seq * SEQS_EACH + number;
	item->record.time = store->record.time;
	item->record.uid = store->record.uid;
	item->record.body.op = op;
	return item;
}

static int add_create(struct replay_copies *copies, const struct cml_item *store, const struct kml_listed *about, struct kml_oid oid)
{
	struct kml_make *make = &add(copies, store, 0, KML_CREATE)->record.body.kml_body_u.make;

	make->parent = about->parent;
	make->oid = oid;
	make->mode = about->object.attr.mode;
	make->uid = about->object.attr.uid;
	make->gid = about->object.attr.gid;
	make->atime = about->object.attr.atime;
	make->mtime = about->object.attr.mtime;
	return kml_name_set(&make->name, kml_name_get(&about->name));
}

static int add_store(struct replay_copies *copies, const struct cml_item *store, unsigned number, struct kml_oid oid,
		     uint64_t keep_size, const struct kml_range *ranges, u_int n, uint64_t at)
{
	const struct kml_store *from = &store->record.body.kml_body_u.store;
	struct cml_item *item = add(copies, store, number, KML_STORE);
	struct kml_store *to = &item->record.body.kml_body_u.store;

	to->oid = oid;
	to->size = from->size;
	to->keep_size = keep_size;
	to->mtime = from->mtime;
	to->ranges.ranges_val = calloc(n + 1, sizeof(*ranges));
	if (!to->ranges.ranges_val)
		return -ENOMEM;
	to->ranges.ranges_len = n;
	for (u_int i = 0; i < n; i++) {
		to->ranges.ranges_val[i] = ranges[i];
		item->bytes += ranges[i].length;
	}
	item->packed_at = at;
	return 0;
}

/* What it wrote, on what the copy has: cut to where the client cut it. */
static int add_written(struct replay_copies *copies, const struct cml_item *store, struct kml_oid oid, uint64_t keep_size)
{
	const struct kml_store *from = &store->record.body.kml_body_u.store;

	return add_store(copies, store, 2, oid, keep_size, from->ranges.ranges_val, from->ranges.ranges_len, store->packed_at);
}

int replay_copy_make(struct replay_copies *copies, const struct cml_item *store, const struct kml_saved *saved)
{
	const struct kml_store *from = &store->record.body.kml_body_u.store;
	struct kml_oid oid = { copies->client, store->record.seq };
	const struct replay_copied *copied = find(copies, from->oid);
	int err;

	clear(copies);
	if (copied)
		return add_written(copies, store, copied->is, from->keep_size);
	if (!saved->about)
		return -ENOENT;
	err = add_create(copies, store, saved->about, oid);
	/* Also where there is none: another log may have more of the rest, and is answered as this one is. */
	if (!err)
		err = add_store(copies, store, 1, oid, 0, saved->rest.rest_val, saved->rest.rest_len,
				store->packed_at + store->bytes);
	if (!err)
		err = add_written(copies, store, oid, from->size);
	return err ? err : remember(copies, from->oid, oid);
}

bool replay_copy_retry(const struct kml_answers *answers, int *ret_error)
{
	for (u_int i = 0; i < answers->answers.answers_len; i++) {
		const struct kml_answer *answer = &answers->answers.answers_val[i];

		if (answer->status != KML_RETRY)
			continue;
		*ret_error = answer->error ? (int)answer->error : EAGAIN;
		return true;
	}
	return false;
}

bool replay_copy_is_kept(const struct kml_answers *answers)
{
	bool is_kept = answers->answers.answers_len > 0;

	for (u_int i = 0; i < answers->answers.answers_len; i++) {
		enum kml_status status = answers->answers.answers_val[i].status;

		is_kept &= status == KML_OK || status == KML_ALREADY || status == KML_RENAMED;
	}
	return is_kept;
}

const char *replay_copy_name(const struct replay_copies *copies, const struct kml_answers *answers, char name[KML_NAME_MAX + 1])
{
	const struct cml_item *first = &copies->items[0];
	const struct kml_answer *answer = answers->answers.answers_val;
	struct slice text = { "", 0 };

	if (answers->answers.answers_len && answer->status == KML_RENAMED)
		text = kml_name_get(&answer->name);
	else if (copies->batch.n && first->record.body.op == KML_CREATE)
		text = kml_name_get(&first->record.body.kml_body_u.make.name);
	memcpy(name, text.data, text.len);
	name[text.len] = '\0';
	return name;
}
