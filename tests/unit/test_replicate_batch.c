/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A batch's body: inline and staged contents, files that change while they are read.  The log is
 * a double.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "base/fs.h"
#include "replicate/batch.h"

static int changes;		/* so often cml_refresh() finds that the file has changed */
static uint64_t change_seq;	/* of the record */

bool cml_refresh(struct cache *cache, struct cml_item *item)
{
	struct kml_store *store = &item->record.body.kml_body_u.store;

	(void)cache;
	if (item->record.seq != change_seq || !changes)
		return false;
	changes--;
	/* one byte more, and all of them others */
	store->size++;
	store->ranges.ranges_val[0].length++;
	item->bytes++;
	for (uint64_t i = 0; i < store->size; i++)
		assert_int_equal(
			fs_pwrite_all(item->fd, &(char){ (char)('a' + changes % 20) }, 1, i), 0);
	return true;
}

static void set_mkdir(struct cml_item *item, uint64_t seq)
{
	struct kml_make *make = &item->record.body.kml_body_u.make;

	*item = (struct cml_item){ .fd = -1 };
	item->record.format = KML_VERSION;
	item->record.seq = seq;
	item->record.body.op = KML_MKDIR;
	make->parent = KML_ROOT;
	make->oid = (struct kml_oid){ 7, seq };
	assert_int_equal(kml_name_set(&make->name, (struct slice){ "dir", 3 }), 0);
}

/* Ranges: up to two, {offset, length}. */
static void set_store(struct cml_item *item, uint64_t seq, const char *data, uint64_t size,
		      const struct kml_range ranges[2])
{
	struct kml_store *store = &item->record.body.kml_body_u.store;
	u_int n = !ranges[0].length ? 0 : !ranges[1].length ? 1 : 2;

	*item = (struct cml_item){ .fd = memfd_create("content", MFD_CLOEXEC) };
	assert_true(item->fd >= 0);
	assert_int_equal(fs_pwrite_all(item->fd, data, strlen(data), 0), 0);
	item->record.format = KML_VERSION;
	item->record.seq = seq;
	item->record.body.op = KML_STORE;
	store->oid = (struct kml_oid){ 7, seq };
	store->size = size;
	store->ranges.ranges_val = calloc(n + 1, sizeof(struct kml_range));
	store->ranges.ranges_len = n;
	for (u_int i = 0; i < n; i++) {
		store->ranges.ranges_val[i] = ranges[i];
		item->bytes += ranges[i].length;
	}
}

static void release(struct cml_batch *taken)
{
	for (size_t i = 0; i < taken->n; i++) {
		kml_record_release(&taken->items[i].record);
		if (taken->items[i].fd >= 0)
			close(taken->items[i].fd);
	}
}

static void decode(const struct batch *batch, struct kml_batch *ret)
{
	assert_int_equal(kml_batch_decode(batch->body.data, batch->body.len, ret), 0);
}

static void assert_bytes(const struct kml_record *record, const char *want, size_t len)
{
	const struct kml_content *content = &record->body.kml_body_u.store.content;

	assert_int_equal(content->where, KML_INLINE);
	assert_int_equal(content->kml_content_u.bytes.bytes_len, len);
	assert_memory_equal(content->kml_content_u.bytes.bytes_val, want, len);
}

static void all_kinds(void **state)
{
	struct cml_item items[4];
	struct cml_batch taken = { .n = 4, .items = items };
	struct kml_batch got;
	struct batch *batch;

	(void)state;
	set_mkdir(&items[0], 3);
	set_store(&items[1], 4, "0123456789", 20, (struct kml_range[2]){ { 1, 2 }, { 8, 4 } });
	set_store(&items[2], 9, "", 0, (struct kml_range[2]){ { 0 } });
	set_store(&items[3], 12, "large", 5ull << 30,
		  (struct kml_range[2]){ { 1ull << 30, 1ull << 31 } });
	assert_int_equal(batch_new(&taken, &batch), 0);
	assert_int_equal(batch_next_large(batch, 0), 3);
	assert_int_equal(batch_next_large(batch, 4), 4);
	batch->items[3].is_staged = true;
	strcpy(batch->items[3].key, "key-12");
	assert_int_equal(batch_read_small(batch, NULL), 0);
	assert_int_equal(batch->n, 4);
	assert_int_equal(batch_encode(batch, 0xaa, "laptop", 2), 0);

	decode(batch, &got);
	assert_int_equal(got.client, 0xaa);
	assert_string_equal(got.host, "laptop");
	assert_int_equal(got.acked, 2);
	assert_int_equal(got.records.records_len, 4);
	assert_int_equal(got.records.records_val[0].seq, 3);
	assert_int_equal(got.records.records_val[0].body.op, KML_MKDIR);
	/* what the object file does not have is zeros */
	assert_bytes(&got.records.records_val[1], "12" "89\0\0", 6);
	assert_bytes(&got.records.records_val[2], "", 0);
	assert_int_equal(got.records.records_val[3].body.kml_body_u.store.content.where,
			 KML_STAGED);
	assert_string_equal(
		got.records.records_val[3].body.kml_body_u.store.content.kml_content_u.key,
		"key-12");
	kml_batch_release(&got);
	batch_free(batch);
	release(&taken);
}

static void changes_while_read(void **state)
{
	struct cml_item items[2];
	struct cml_batch taken = { .n = 2, .items = items };
	struct kml_batch got;
	struct batch *batch;

	(void)state;
	set_mkdir(&items[0], 1);
	set_store(&items[1], 2, "abc", 3, (struct kml_range[2]){ { 0, 3 } });
	changes = 3;
	change_seq = 2;
	assert_int_equal(batch_new(&taken, &batch), 0);
	assert_int_equal(batch_read_small(batch, NULL), 0);
	assert_int_equal(batch->n, 2);
	assert_int_equal(batch_encode(batch, 1, "h", 0), 0);
	decode(batch, &got);
	assert_bytes(&got.records.records_val[1], "aaaaaa", 6);
	assert_int_equal(got.records.records_val[1].body.kml_body_u.store.size, 6);
	kml_batch_release(&got);
	batch_free(batch);
	release(&taken);
}

/* A file that does not keep still ends the batch before it. */
static void never_still(void **state)
{
	struct cml_item items[3];
	struct cml_batch taken = { .n = 3, .items = items };
	struct batch *batch;

	(void)state;
	set_mkdir(&items[0], 1);
	set_store(&items[1], 2, "abc", 3, (struct kml_range[2]){ { 0, 3 } });
	set_mkdir(&items[2], 3);
	changes = 1000;
	change_seq = 2;
	assert_int_equal(batch_new(&taken, &batch), 0);
	assert_int_equal(batch_read_small(batch, NULL), 0);
	assert_int_equal(batch->n, 1);
	batch_free(batch);
	release(&taken);
}

/* One that was small when taken and is not any more is not read here either. */
static void grown(void **state)
{
	struct cml_item items[1];
	struct cml_batch taken = { .n = 1, .items = items };
	struct batch *batch;

	(void)state;
	changes = 0;
	set_store(&items[0], 2, "abc", BATCH_INLINE + 1,
		  (struct kml_range[2]){ { 0, BATCH_INLINE + 1 } });
	assert_int_equal(batch_new(&taken, &batch), 0);
	assert_int_equal(batch_read_small(batch, NULL), 0);
	assert_int_equal(batch->n, 0);
	batch_free(batch);
	release(&taken);
}

static void ranges_in_pieces(void **state)
{
	struct cml_item item;
	struct cml_batch taken = { .n = 1, .items = &item };
	const char want[] = "234567890ab";	/* of the two ranges, one after the other */

	(void)state;
	set_store(&item, 1, "xx23456xxxx7890abxx", 30,
		  (struct kml_range[2]){ { 2, 5 }, { 11, 6 } });
	for (size_t at = 0; at < 11; at++) {
		for (size_t len = 0; len <= 11 - at; len++) {
			char got[12];

			memset(got, '?', sizeof(got));
			assert_int_equal(batch_read_ranges(&item, item.fd, at, got, len), 0);
			assert_memory_equal(got, want + at, len);
			assert_int_equal(got[len], '?');
		}
	}
	assert_int_equal(batch_read_ranges(&item, item.fd, 10, (char[2]){ 0 }, 2), -EINVAL);
	release(&taken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_kinds),
		cmocka_unit_test(changes_while_read),
		cmocka_unit_test(never_still),
		cmocka_unit_test(grown),
		cmocka_unit_test(ranges_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
