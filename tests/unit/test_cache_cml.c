/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The modification log: append and fold, take, give back, retire, restart; against an upstream in memory. */
#include "tests/unit/cml_random.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include "base/log.h"
#include "cache/inode.h"
#include "tests/unit/often.h"

#define ALL 100, UINT64_MAX

/* ---- helpers ---- */

static const struct kml_store *store_of(const struct cml_batch *batch, size_t i)
{
	assert_int_equal(batch->items[i].record.body.op, KML_STORE);
	return &batch->items[i].record.body.kml_body_u.store;
}

static void assert_range(const struct kml_store *store, unsigned i, uint64_t offset, uint64_t length)
{
	assert_true(i < store->ranges.ranges_len);
	assert_int_equal(store->ranges.ranges_val[i].offset, offset);
	assert_int_equal(store->ranges.ranges_val[i].length, length);
}

static struct kml_answer ok(const struct cml_item *item, uint64_t version)
{
	return (struct kml_answer){ .seq = item->record.seq, .made_version = version };
}

/* ---- taking ---- */

static void order_and_marks(void **state)
{
	struct fixture *f = *state;
	struct kml_answer answers[7];
	struct cml_batch *batch;
	uint64_t last = 0, dir, ino;

	f_keep_records(f);
	dir = made_dir(f, ROOT, "d");
	ino = made(f, dir, "a", "hello");
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_rename(f, dir, "a", dir, "c"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "MKDIR CREATE STORE SETATTR LINK RENAME REMOVE ");
	for (size_t i = 0; i < batch->n; i++) {
		const struct kml_record *record = &batch->items[i].record;

		assert_true(record->seq > last);
		assert_int_equal(record->format, KML_VERSION);
		assert_true(record->time.sec > 1000000000);
		last = record->seq;
		answers[i] = ok(&batch->items[i], 11 + i);
	}
	assert_int_equal(batch->items[2].bytes, 5);
	assert_null(take(f, ALL));	/* all of it is out */
	cml_give_back(f->cache, batch);
	assert_int_equal(cml_acked(f->cache), 0);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "MKDIR CREATE STORE SETATTR LINK RENAME REMOVE ");
	assert_int_equal(cml_retire(f->cache, batch, answers, batch->n), 0);
	assert_int_equal(cml_acked(f->cache), last);
	assert_null(take(f, ALL));
	assert_int_equal(query(f, "SELECT count(*) FROM cml"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE seq OR NOT ino"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE data_seq OR attr_seq OR is_stale"
				  " OR length(dirty) OR length(dirty_next)"), 0);
	assert_int_equal(query(f, "SELECT data_version FROM inode WHERE type = 1"), 13);
	assert_int_equal(query(f, "SELECT attr_version FROM inode WHERE type = 1"), 14);
	assert_int_equal(query(f, "SELECT data_version FROM inode WHERE type = 2 AND ino > 2"), 11);
	f_reopen(f);
	assert_int_equal(cml_acked(f->cache), last);
	assert_content(f, ino, "hello");
	made(f, dir, "new", NULL);
	batch = take(f, ALL);
	assert_true(batch->items[0].record.seq > last);
	cml_give_back(f->cache, batch);
}

static void limits(void **state)
{
	struct fixture *f = *state;
	struct cml_batch *batch;

	made(f, ROOT, "a", "0123456789");
	made(f, ROOT, "b", "0123456789");
	made(f, ROOT, "c", NULL);
	batch = take(f, 1, 0);
	assert_string_equal(ops(batch), "CREATE ");
	cml_give_back(f->cache, batch);
	batch = take(f, 100, 0);
	assert_string_equal(ops(batch), "CREATE STORE ");
	cml_give_back(f->cache, batch);
	batch = take(f, 100, 10);
	assert_string_equal(ops(batch), "CREATE STORE CREATE STORE ");
	cml_give_back(f->cache, batch);
	batch = take(f, 3, 1000);
	assert_string_equal(ops(batch), "CREATE STORE CREATE ");
	cml_give_back(f->cache, batch);
}

static void answers_for_some(void **state)
{
	struct fixture *f = *state;
	struct kml_answer answers[3];
	struct cml_batch *batch;

	made(f, ROOT, "a", "x");
	made(f, ROOT, "b", "y");
	batch = take(f, ALL);
	answers[0] = ok(&batch->items[0], 5);
	answers[1] = ok(&batch->items[1], 6);
	answers[2] = ok(&batch->items[2], 7);
	answers[2].status = KML_RETRY;
	assert_int_equal(cml_retire(f->cache, batch, answers, 3), 0);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "CREATE STORE ");
	assert_int_equal(cml_retire(f->cache, batch, answers, 0), 0);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "CREATE STORE ");
	/* Answers to something else. */
	answers[0].seq = 12345;
	assert_int_equal(cml_retire(f->cache, batch, answers, 1), -EBADMSG);
	assert_log(f, "CREATE STORE ");
}

/* ---- for people ---- */

struct listed {
	char text[2000];
	unsigned n;
	uint64_t last;
};

static void list_one(void *arg, const struct cml_entry *entry)
{
	static const char *const stages[] = { [CML_WAITS] = "", [CML_IS_FIXED] = "!", [CML_IS_OUT] = ">" };
	struct listed *listed = arg;
	size_t len = strlen(listed->text);

	assert_true(entry->seq > listed->last);
	listed->last = entry->seq;
	listed->n++;
	snprintf(listed->text + len, sizeof(listed->text) - len, "%s%s %s%s%s %llu %x\n", stages[entry->stage], kml_op_name(entry->op),
		 entry->path, *entry->to ? " -> " : "", entry->to, (unsigned long long)entry->bytes, entry->set);
}

static void assert_listed(struct fixture *f, const char *want)
{
	struct listed listed = { .text = "" };

	assert_int_equal(cml_list(f->cache, 0, 1000, list_one, &listed), 0);
	assert_string_equal(listed.text, want);
}

static void shown_to_people(void **state)
{
	struct fixture *f = *state;
	struct listed listed = { .text = "" };
	struct cml_batch *batch;
	uint64_t dir, gone, a;

	f_keep_records(f);
	assert_listed(f, "");
	dir = made_dir(f, ROOT, "d");
	gone = made_dir(f, ROOT, "gone");
	a = made(f, dir, "a", "0123456789");
	assert_int_equal(f_chmod(f, a, 0600), 0);
	assert_int_equal(f_rename(f, ROOT, "d", ROOT, "e"), 0);
	(void)made(f, gone, "b", NULL);
	assert_int_equal(f_remove(f, gone, "b"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "gone"), 0);
	/* Where things are now; of what is gone, its name. */
	assert_listed(f, "MKDIR /d 0 0\nMKDIR /gone 0 0\nCREATE /e/a 0 0\nSTORE /e/a 10 0\nSETATTR /e/a 0 1\n"
			 "RENAME /d -> /e 0 0\nCREATE ?/b 0 0\nREMOVE ?/b 0 0\nRMDIR /gone 0 0\n");
	batch = take(f, 2, 0);
	cml_give_back(f->cache, batch);
	batch = take(f, 1, 0);
	/* A piece of it. */
	assert_int_equal(cml_list(f->cache, 0, 3, list_one, &listed), 0);
	assert_string_equal(listed.text, ">MKDIR /d 0 0\n!MKDIR /gone 0 0\nCREATE /e/a 0 0\n");
	listed.text[0] = '\0';
	assert_int_equal(cml_list(f->cache, listed.last, 1000, list_one, &listed), 0);
	assert_int_equal(listed.n, 9);
	cml_give_back(f->cache, batch);
}

/* ---- folding ---- */

static void setattrs_fold(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL);
	const struct kml_setattr *s;
	struct cml_batch *batch = take(f, ALL);

	cml_give_back(f->cache, batch);
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_utimes(f, ino, 77), 0);
	assert_int_equal(f_chmod(f, ino, 0640), 0);
	assert_log(f, "CREATE SETATTR ");
	batch = take(f, ALL);
	s = &batch->items[1].record.body.kml_body_u.setattr;
	assert_int_equal(s->set, KML_SET_MODE | KML_SET_MTIME);
	assert_int_equal(s->mode, 0640);
	assert_int_equal(s->mtime.sec, 77);
	/* Not into one that was taken, whatever becomes of it. */
	assert_int_equal(f_chmod(f, ino, 0644), 0);
	cml_give_back(f->cache, batch);
	assert_int_equal(f_chmod(f, ino, 0666), 0);
	assert_log(f, "CREATE SETATTR SETATTR ");
	f_reopen(f);
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_log(f, "CREATE SETATTR SETATTR ");
}

static void stores_and_times(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "one");
	struct timespec mtime;

	up_drain(up, f->cache);
	assert_int_equal(f_write(f, ino, 3, " two"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_log(f, "STORE ");
	assert_int_equal(f_utimes(f, ino, 1000), 0);
	assert_log(f, "STORE SETATTR ");
	/* The time that writing sets comes after the one that was set by hand. */
	assert_int_equal(f_write(f, ino, 7, " three"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_log(f, "SETATTR STORE ");
	assert_int_equal(f_getattr(f, ino), 0);
	mtime = f->op.attr.mtime;
	/* And is not set back by what is done later. */
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_log(f, "STORE SETATTR ");
	up_drain(up, f->cache);
	assert_up(up, "a", "one two three");
	assert_int_equal(up_at(up, "a")->mtime.sec, mtime.tv_sec);
	assert_int_equal(up_at(up, "a")->mtime.nsec, mtime.tv_nsec);
	assert_int_equal(up_at(up, "a")->mode, 0600);
	up_compare(up, f);
	free(up);
}

static void removal_drops_content(void **state)
{
	struct fixture *f = *state;
	struct cml_totals totals;
	struct cml_batch *batch;
	uint64_t ino;

	f_keep_records(f);
	ino = made(f, ROOT, "a", "content");
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "CREATE STORE SETATTR LINK REMOVE ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "CREATE LINK REMOVE REMOVE ");
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.records, 4);
	assert_int_equal(totals.bytes, 0);
	/* What was taken stays; and goes when there is nothing to be sent any more. */
	ino = made(f, ROOT, "c", "content");
	batch = take(f, ALL);
	assert_int_equal(f_remove(f, ROOT, "c"), 0);
	assert_log(f, "CREATE LINK REMOVE REMOVE CREATE STORE REMOVE ");
	assert_false(cml_refresh(f->cache, &batch->items[5]));
	cml_give_back(f->cache, batch);
	assert_int_equal(f_getattr(f, ino), -ESTALE);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "CREATE LINK REMOVE REMOVE CREATE REMOVE ");
	cml_give_back(f->cache, batch);
}

/* ---- content ---- */

static void partial_content(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "0123456789");
	struct cml_batch *batch;

	up_drain(up, f->cache);
	assert_int_equal(f_write(f, ino, 2, "XX"), 0);
	assert_int_equal(f_write(f, ino, 7, "Y"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	batch = take(f, ALL);
	assert_int_equal(store_of(batch, 0)->ranges.ranges_len, 2);
	assert_range(store_of(batch, 0), 0, 2, 2);
	assert_range(store_of(batch, 0), 1, 7, 1);
	assert_int_equal(store_of(batch, 0)->size, 10);
	assert_int_equal(store_of(batch, 0)->keep_size, 10);
	assert_int_equal(store_of(batch, 0)->data_base, up_at(up, "a")->data_version);
	assert_int_equal(batch->items[0].bytes, 3);
	cml_give_back(f->cache, batch);
	up_drain(up, f->cache);
	assert_up(up, "a", "01XX456Y89");
	up_compare(up, f);
	free(up);
}

/* keep_size: what was cut off does not come back when the file grows again. */
static void truncations(void **state)
{
	static const struct { uint64_t sizes[3]; const char *write; uint64_t at; } cases[] = {
		{ { 3 }, NULL, 0 },
		{ { 3, 8 }, NULL, 0 },
		{ { 3, 20, 12 }, "zz", 10 },
		{ { 20, 5, 9 }, "q", 7 },
		{ { 0 }, NULL, 0 },
		{ { 0, 4 }, "abc", 1 },
	};
	struct fixture *f = *state;
	struct upstream *up = up_new();
	char name[8];

	for (size_t c = 0; c < 2 * ARRAY_SIZE(cases); c++) {
		size_t i = c / 2;
		struct cml_batch *batch;
		uint64_t ino;

		snprintf(name, sizeof(name), "n%zu", c);
		ino = made(f, ROOT, name, "0123456789");
		up_drain(up, f->cache);
		if (c % 2) {
			/* Another store is on its way, is applied, and its answer is lost. */
			assert_int_equal(f_write(f, ino, 1, "ONE"), 0);
			assert_int_equal(f_commit(f, ino), 0);
			batch = take(f, ALL);
			(void)up_send(up, f->cache, &batch->items[0]);
			cml_give_back(f->cache, batch);
		}
		for (size_t n = 0; n < 3 && (!n || cases[i].sizes[n]); n++)
			assert_int_equal(f_truncate(f, ino, cases[i].sizes[n]), 0);
		if (cases[i].write) {
			assert_int_equal(f_write(f, ino, cases[i].at, cases[i].write), 0);
			assert_int_equal(f_commit(f, ino), 0);
		}
		if (c % 4 == 3)
			f_reopen(f);
		up_drain(up, f->cache);
		up_compare(up, f);
	}
	free(up);
}

static void written_while_taken(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "0123456789");
	struct kml_answer answers[2];
	struct cml_batch *batch;
	char *bytes;

	batch = take(f, ALL);
	assert_false(cml_refresh(f->cache, &batch->items[1]));
	/* A write that is not committed is sent too. */
	assert_int_equal(f_write(f, ino, 12, "AB"), 0);
	assert_true(cml_refresh(f->cache, &batch->items[1]));
	assert_int_equal(store_of(batch, 1)->size, 14);
	assert_int_equal(batch->items[1].bytes, 12);
	assert_range(store_of(batch, 1), 1, 12, 2);
	bytes = up_read(&batch->items[1]);
	assert_memory_equal(bytes, "0123456789AB", 12);
	assert_false(cml_refresh(f->cache, &batch->items[1]));
	answers[0] = up_apply(up, &batch->items[0].record, NULL);
	answers[1] = up_apply(up, &batch->items[1].record, bytes);
	free(bytes);
	/* Sealed.  What is written now comes with another STORE. */
	assert_int_equal(f_write(f, ino, 0, "X"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_log(f, "CREATE STORE STORE ");
	assert_int_equal(f_truncate(f, ino, 13), 0);
	assert_log(f, "CREATE STORE STORE ");
	assert_int_equal(cml_retire(f->cache, batch, answers, 2), 0);
	assert_true(query(f, "SELECT data_seq = (SELECT max(seq) FROM cml) FROM inode WHERE ino > 2"));
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "STORE ");
	assert_int_equal(store_of(batch, 0)->size, 13);
	assert_int_equal(store_of(batch, 0)->keep_size, 10);	/* as it was when the first was taken */
	assert_range(store_of(batch, 0), 0, 0, 1);
	assert_range(store_of(batch, 0), 1, 12, 1);
	cml_give_back(f->cache, batch);
	up_drain(up, f->cache);
	up_compare(up, f);
	free(up);
}

/* A truncation is seen by who reads for sending, too. */
static void cut_while_taken(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "0123456789");
	struct cml_batch *batch = take(f, ALL);
	struct kml_answer answers[2];

	assert_int_equal(f_truncate(f, ino, 4), 0);
	assert_true(cml_refresh(f->cache, &batch->items[1]));
	assert_int_equal(store_of(batch, 1)->size, 4);
	assert_range(store_of(batch, 1), 0, 0, 4);
	assert_int_equal(batch->items[1].bytes, 4);
	for (size_t i = 0; i < 2; i++)
		answers[i] = up_send(up, f->cache, &batch->items[i]);
	assert_int_equal(cml_retire(f->cache, batch, answers, 2), 0);
	assert_up(up, "a", "0123");
	up_drain(up, f->cache);
	up_compare(up, f);
	free(up);
}

/* The answer is lost, more is written, and it is sent again: the upstream takes it for done. */
static void lost_answer(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "0123456789");

	for (int round = 0; round < 4; round++) {
		struct cml_batch *batch;

		assert_int_equal(f_write(f, ino, 2 * round, "##"), 0);
		assert_int_equal(f_commit(f, ino), 0);
		batch = take(f, ALL);
		for (size_t i = 0; i < batch->n; i++)
			(void)up_send(up, f->cache, &batch->items[i]);
		cml_give_back(f->cache, batch);
		assert_int_equal(f_write(f, ino, 2 * round, "=="), 0);
		assert_int_equal(f_commit(f, ino), 0);
		if (round % 2)
			f_reopen(f);
		/* Sent again, with what was written since, which the upstream does not look at. */
		batch = take(f, ALL);
		for (size_t i = 0; i < batch->n; i++)
			(void)up_send(up, f->cache, &batch->items[i]);
		cml_give_back(f->cache, batch);
		assert_int_equal(f_write(f, ino, 2 * round, "+"), 0);
		assert_int_equal(f_commit(f, ino), 0);
		if (round == 2)
			f_reopen(f);
		if (round != 1)
			up_drain(up, f->cache);
	}
	up_drain(up, f->cache);
	assert_up(up, "a", "+=+=+=+=89");
	up_compare(up, f);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE length(dirty) OR length(dirty_next)"), 0);
	free(up);
}

/* A store knows in whose place its file is put by the last rename behind it. */
static void what_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	struct cml_batch *batch;
	struct kml_oid old;

	made(f, ROOT, "old", "old content");
	made(f, ROOT, "tmp", NULL);
	made(f, ROOT, "alone", NULL);
	up_drain(up, f->cache);
	old = up_at(up, "old")->oid;
	assert_int_equal(f_write(f, found(f, ROOT, "tmp"), 0, "new content"), 0);
	assert_int_equal(f_commit(f, found(f, ROOT, "tmp")), 0);
	assert_int_equal(f_write(f, found(f, ROOT, "alone"), 0, "new content"), 0);
	assert_int_equal(f_commit(f, found(f, ROOT, "alone")), 0);
	assert_int_equal(f_rename(f, ROOT, "alone", ROOT, "beside"), 0);
	batch = take(f, 1, UINT64_MAX);
	assert_true(kml_oid_is_none(batch->items[0].replaces));
	cml_give_back(f->cache, batch);
	assert_int_equal(f_rename(f, ROOT, "tmp", ROOT, "old"), 0);
	batch = take(f, ALL);
	assert_int_equal(batch->items[0].record.body.op, KML_STORE);
	assert_true(kml_oid_equal(batch->items[0].replaces, old));
	assert_int_equal(batch->items[1].record.body.op, KML_STORE);
	assert_true(kml_oid_is_none(batch->items[1].replaces));
	cml_give_back(f->cache, batch);
	up_drain(up, f->cache);
	assert_up(up, "old", "new content");
	free(up);
}

/* Two of a file are never in one batch. */
static void second_store_waits(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "one");
	struct cml_batch *batch = take(f, ALL);

	assert_int_equal(f_write(f, ino, 0, "two"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	made(f, ROOT, "b", NULL);
	cml_give_back(f->cache, batch);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "CREATE STORE ");
	assert_null(take(f, ALL));
	cml_give_back(f->cache, batch);
	assert_log(f, "CREATE STORE STORE CREATE ");
}

/* ".nfs" files: what is written after the removal stays here; a name again makes a new object. */
static void revived_while_taken(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "content");
	struct kml_answer answers[2];
	struct cml_batch *batch = take(f, ALL);

	assert_int_equal(f_rename(f, ROOT, "a", ROOT, ".nfs0123456789abcdef01234567"), 0);
	assert_int_equal(f_write(f, ino, 0, "CON"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	for (size_t i = 0; i < 2; i++)
		answers[i] = up_send(up, f->cache, &batch->items[i]);
	assert_int_equal(f_rename(f, ROOT, ".nfs0123456789abcdef01234567", ROOT, "b"), 0);
	assert_log(f, "CREATE STORE REMOVE CREATE STORE ");
	assert_int_equal(cml_retire(f->cache, batch, answers, 2), 0);
	up_drain(up, f->cache);
	assert_up(up, "b", "CONtent");
	up_compare(up, f);
	free(up);
}

/* ---- figures ---- */

static unsigned woken;

static void wake(void *arg)
{
	assert_ptr_equal(arg, &woken);
	woken++;
}

static void figures(void **state)
{
	struct fixture *f = *state;
	struct cache_status status;
	struct cml_totals totals;
	struct upstream *up = up_new();
	uint64_t ino;

	cml_totals(f->cache, &totals);
	assert_int_equal(totals.records, 0);
	assert_int_equal(totals.last_seq, 0);
	assert_int_equal(totals.oldest_s, 0);
	cml_set_wakeup(f->cache, wake, &woken);
	woken = 0;
	ino = made(f, ROOT, "a", "0123456789");
	assert_true(woken >= 2);
	assert_int_equal(f_write(f, ino, 20, "x"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	clock_advance(100 * US_PER_S);
	for (int i = 0; i < 2; i++) {
		cml_totals(f->cache, &totals);
		assert_int_equal(totals.records, 2);
		assert_int_equal(totals.bytes, 11);
		assert_int_equal(totals.last_seq, 3);	/* a STORE has two numbers */
		assert_true(totals.oldest_s >= 100 && totals.oldest_s < 200);
		f_reopen(f);
	}
	cache_status(f->cache, &status);
	assert_int_equal(status.cml.records, 2);
	assert_int_equal(status.inodes, 2);
	up_drain(up, f->cache);
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.records, 0);
	assert_int_equal(totals.bytes, 0);
	assert_int_equal(totals.last_seq, 3);
	free(up);
}

/* ---- at random ---- */

static void random_replays(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();

	seed_init();
	for (unsigned round = 0; round < often(60); round++) {
		large_from = rnd(3) ? rnd(300) : UINT64_MAX;
		for (unsigned i = 0; i < 40; i++) {
			random_operation(f);
			if (!rnd(10))
				random_replay(up, f);
		}
		if (!rnd(8))
			f_reopen(f);
		if (rnd(3))
			continue;
		assert_int_equal(cml_flush(f->cache), 0);
		up_drain(up, f->cache);
		up_compare(up, f);
		assert_int_equal(query(f, "SELECT count(*) FROM name WHERE seq OR NOT ino"), 0);
		assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE data_seq OR attr_seq OR length(dirty)"
					  " OR length(dirty_next)"), 0);
	}
	free(up);
}

/* ---- while it goes on being written to ---- */

struct replayer {
	struct fixture *f;
	struct upstream *up;
	bool is_ending;
};

static void *replay_thread(void *arg)
{
	struct replayer *r = arg;
	struct kml_answer answers[20];
	struct cml_batch *batch;
	unsigned n = 0;

	while (!__atomic_load_n(&r->is_ending, __ATOMIC_ACQUIRE)) {
		if (cml_take(r->f->cache, 20, 10000, &batch) || !batch)
			continue;
		for (size_t i = 0; i < batch->n; i++)
			answers[i] = up_send(r->up, r->f->cache, &batch->items[i]);
		if (++n % 5)
			(void)cml_retire(r->f->cache, batch, answers, batch->n);
		else
			cml_give_back(r->f->cache, batch);
	}
	return NULL;
}

static void replayed_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	struct replayer r = { .f = f, .up = up };
	pthread_t thread;

	seed_init();
	assert_int_equal(pthread_create(&thread, NULL, replay_thread, &r), 0);
	for (unsigned i = 0; i < often(2000); i++)
		random_operation(f);
	__atomic_store_n(&r.is_ending, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_int_equal(cml_flush(f->cache), 0);
	up_drain(up, f->cache);
	up_compare(up, f);
	free(up);
}

/* ---- killed ---- */

/*
 * The program itself, once more, for fault points read their rules once in a process: works and replays at
 * random until it is killed.  The upstream is in a file that both map.
 */
static struct upstream *up_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct upstream *up;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof(*up)), 0);
	up = mmap(NULL, sizeof(*up), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(up != MAP_FAILED);
	close(fd);
	return up;
}

/* "child" DIR UPSTREAM SEED */
static int child_main(char **argv)
{
	struct upstream *up = up_map(argv[2]);
	struct fixture f = { .wait_us = US_PER_S };

	(void)alarm(60);
	seed = strtoul(argv[3], NULL, 10);
	snprintf(f.dir, sizeof(f.dir), "%s", argv[1]);
	f.config = (struct cache_config){ .dir = f.dir, .no_sync = true, .starts_empty = true };
	f_open(&f);
	large_from = rnd(3) ? rnd(300) : UINT64_MAX;
	for (unsigned i = 0; i < 400; i++) {
		random_operation(&f);
		if (!rnd(6))
			random_replay(up, &f);
	}
	return 0;
}

/* 1: it was killed, 0: it came to its end. */
static bool killed_at(const char *point, unsigned nth, const char *dir, const char *path)
{
	char fault[64], number[24];
	int status;
	pid_t pid;

	snprintf(fault, sizeof(fault), "%s:%u:kill", point, nth);
	snprintf(number, sizeof(number), "%lu", seed + nth);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setenv("IZO_FAULT", fault, 1);
		execl("/proc/self/exe", "child", dir, path, number, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return false;
}

static void killed_anywhere(void **state)
{
	static const char *const points[] = {
		"cml.append", "cml.take", "cml.aside", "cml.retire", "writer.commit", "writer.committed", "data.pwrite",
	};
	unsigned n_killed = 0;

	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	seed_init();
	for (size_t p = 0; p < ARRAY_SIZE(points); p++) {
		struct upstream *up;
		struct fixture f;
		char path[100];

		f_init(&f);
		snprintf(path, sizeof(path), "%s/upstream", f.dir);
		up = up_map(path);
		up_init(up);
		/* Killed again and again, each time at another point of the same life. */
		for (unsigned nth = 3; nth < 400; nth += nth / 2) {
			n_killed += killed_at(points[p], nth, f.dir, path);
			f_open(&f);
			if (nth % 2) {
				assert_int_equal(cml_flush(f.cache), 0);
				up_drain(up, f.cache);
				up_compare(up, &f);
			}
			f_close(&f);
		}
		munmap(up, sizeof(*up));
		f_remove_dir(&f);
	}
	large_from = UINT64_MAX;
	assert_true(n_killed > 20);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
		TEST(order_and_marks),
		TEST(limits),
		TEST(shown_to_people),
		TEST(answers_for_some),
		TEST(setattrs_fold),
		TEST(stores_and_times),
		TEST(removal_drops_content),
		TEST(partial_content),
		TEST(truncations),
		TEST(written_while_taken),
		TEST(cut_while_taken),
		TEST(lost_answer),
		TEST(what_is_replaced),
		TEST(second_store_waits),
		TEST(revived_while_taken),
		TEST(figures),
		TEST(random_replays),
		TEST(replayed_meanwhile),
		cmocka_unit_test(killed_anywhere),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (argc == 4 && !strcmp(argv[0], "child"))
		_exit(child_main(argv));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
