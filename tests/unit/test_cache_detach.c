/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes before the records of a file that took another's place (cache/detach.h): for each rule of folding that makes such records, and
 * for nothing else.
 */
#include "tests/unit/fold_fixture.h"

#include "base/log.h"
#include "cache/cml_export.h"
#include "tests/unit/where.h"

static uint64_t known(struct test *t, uint64_t dir, const char *name, const char *content)
{
	uint64_t ino = made(t->f, dir, name, content);

	assert_int_equal(f_chmod(t->f, ino, 0644), 0);
	sent(t);
	return ino;
}

/* As for an upstream that knows it. */
static struct cml_batch *take_all(struct fixture *f, size_t max_records)
{
	struct cml_wants wants = { .max_records = max_records, .max_bytes = UINT64_MAX, .large = UINT64_MAX, .has_detach = true };
	struct cml_taken taken;

	assert_int_equal(cml_take_wanted(f->cache, &wants, &taken), 0);
	return taken.batch;
}

static bool is_forward(const struct kml_record *record)
{
	return record->body.op == KML_SETATTR && record->body.kml_body_u.setattr.set == KML_SET_FORWARD;
}

/* What would be sent, but for directories' times.  It is frozen then. */
static void assert_taken(struct test *t, const char *want)
{
	struct cml_batch *batch = take_all(t->f, 100);

	while (batch && batch->n && is_forward(&batch->items[batch->n - 1].record))
		kml_record_release(&batch->items[--batch->n].record);
	assert_string_equal(ops(batch), want);
	for (size_t i = 1; batch && i < batch->n; i++)
		assert_true(batch->items[i - 1].record.seq < batch->items[i].record.seq);
	if (batch)
		cml_give_back(t->f->cache, batch);
}

/* The first record: what is to part, under which name. */
static void assert_detach(struct test *t, struct kml_oid oid, struct kml_oid parent, const char *name)
{
	struct cml_batch *batch = take_all(t->f, 100);
	const struct kml_detach *detach = &batch->items[0].record.body.kml_body_u.detach;

	assert_int_equal(batch->items[0].record.body.op, KML_DETACH);
	assert_true(kml_oid_equal(detach->oid, oid));
	assert_true(kml_oid_equal(detach->parent, parent));
	assert_int_equal(detach->name.kml_name_len, strlen(name));
	assert_memory_equal(detach->name.kml_name_val, name, strlen(name));
	assert_int_equal(detach->data_base, up_at(t->up, name)->data_version);
	cml_give_back(t->f->cache, batch);
}

/* All that waits is answered; STORE so. */
static void answered(struct test *t, enum kml_status status)
{
	struct cml_batch *batch = take_all(t->f, 100);
	struct kml_answer answers[20] = { 0 };
	size_t n = batch->n;

	for (size_t i = 0; i < n; i++) {
		answers[i].seq = batch->items[i].record.seq;
		answers[i].made_version = 1000 + i;
		if (batch->items[i].record.body.op == KML_STORE && status != KML_OK)
			answers[i] = (struct kml_answer){ .seq = answers[i].seq, .status = status, .error = EDQUOT };
	}
	assert_int_equal(cml_retire(t->f->cache, batch, answers, n), 0);
}

static int64_t noted(struct test *t)
{
	return query(t->f, "SELECT count(*) FROM detach");
}

/* ---- the rules ---- */

static void replaced(void **state)
{
	struct test *t = *state;

	known(t, ROOT, "a", "old");
	saved(t, "a", "new");
	assert_log(t->f, "STORE ");
	assert_taken(t, "DETACH STORE ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
	/* Once more, while nothing was sent: still one. */
	f_reopen(t->f);
	assert_taken(t, "DETACH STORE ");
	sent(t);
	assert_int_equal(noted(t), 0);
}

static void saved_again(void **state)
{
	struct test *t = *state;

	known(t, ROOT, "a", "old");
	for (int i = 0; i < 5; i++)
		saved(t, "a", "new");
	assert_log(t->f, "STORE ");
	assert_int_equal(noted(t), 1);
	assert_taken(t, "DETACH STORE ");
}

static void made_anew(void **state)
{
	struct test *t = *state;

	known(t, ROOT, "a", "old");
	assert_int_equal(f_remove(t->f, ROOT, "a"), 0);
	made(t->f, ROOT, "a", "new");
	assert_log(t->f, "STORE ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
}

static void renamed_to_a_removed_one(void **state)
{
	struct test *t = *state;

	known(t, ROOT, "a", "old");
	made(t->f, ROOT, "temp", "new");
	assert_int_equal(f_remove(t->f, ROOT, "a"), 0);
	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(t->f, "STORE ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
}

static void with_a_backup(void **state)
{
	struct test *t = *state;

	known(t, ROOT, "a", "old");
	assert_int_equal(f_rename(t->f, ROOT, "a", ROOT, "b"), 0);
	made(t->f, ROOT, "a", "new");
	assert_int_equal(f_remove(t->f, ROOT, "b"), 0);
	assert_log(t->f, "STORE ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
}

static void with_a_backup_link(void **state)
{
	struct test *t = *state;
	uint64_t ino = known(t, ROOT, "a", "old");

	made(t->f, ROOT, "temp", "new");
	assert_int_equal(f_link(t->f, ino, ROOT, "b"), 0);
	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, "a"), 0);
	assert_taken(t, "RENAME CREATE STORE ");
	sent(t);
	assert_int_equal(f_remove(t->f, ROOT, "b"), 0);
	sent(t);
	ino = found(t->f, ROOT, "a");
	made(t->f, ROOT, "temp", "newer");
	assert_int_equal(f_link(t->f, ino, ROOT, "b"), 0);
	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, "a"), 0);
	assert_int_equal(f_remove(t->f, ROOT, "b"), 0);
	assert_log(t->f, "STORE ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
}

static void in_a_directory_made_anew(void **state)
{
	struct test *t = *state;
	uint64_t d = made_dir(t->f, ROOT, "d");

	known(t, d, "a", "old");
	assert_int_equal(f_remove(t->f, d, "a"), 0);
	assert_int_equal(f_rmdir(t->f, ROOT, "d"), 0);
	made(t->f, made_dir(t->f, ROOT, "d"), "a", "new");
	assert_log(t->f, "STORE ");
	{
		struct cml_batch *batch = take_all(t->f, 1);
		const struct kml_detach *detach = &batch->items[0].record.body.kml_body_u.detach;

		assert_string_equal(ops(batch), "DETACH STORE ");
		assert_true(kml_oid_equal(detach->parent, oid_of(t, "d")));
		cml_give_back(t->f->cache, batch);
	}
}

/* Before the attributes, too: they are the new file's. */
static void attributes_come_after_it(void **state)
{
	struct test *t = *state;
	uint64_t ino;

	known(t, ROOT, "a", "old");
	ino = made(t->f, ROOT, "temp", "new");
	assert_int_equal(f_chmod(t->f, ino, 0600), 0);
	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(t->f, "SETATTR STORE ");
	assert_taken(t, "DETACH SETATTR DETACH STORE ");
}

/* ---- and for nothing else ---- */

static void written_in_place(void **state)
{
	struct test *t = *state;
	uint64_t ino = known(t, ROOT, "a", "old");

	assert_int_equal(f_write(t->f, ino, 0, "new"), 0);
	assert_int_equal(f_commit(t->f, ino), 0);
	assert_int_equal(f_chmod(t->f, ino, 0600), 0);
	made(t->f, ROOT, "b", "another");
	assert_taken(t, "STORE SETATTR CREATE STORE ");
	sent(t);
	/* Of one that the upstream has never met, too. */
	made(t->f, ROOT, "c", "new");
	saved(t, "c", "newer");
	assert_int_equal(noted(t), 0);
	assert_taken(t, "CREATE STORE ");
}

/* What comes after its store is as any other. */
static void until_it_is_done(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino;

	known(t, ROOT, "a", "old");
	ino = saved(t, "a", "new");
	assert_taken(t, "DETACH STORE ");
	assert_int_equal(f_write(f, ino, 0, "NEW"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_log(f, "STORE SETATTR STORE ");
	/* The second waits for the first, which is sent as it was. */
	assert_taken(t, "DETACH STORE ");
	answered(t, KML_OK);
	assert_int_equal(noted(t), 0);
	assert_taken(t, "STORE ");
}

static void refused(void **state)
{
	struct test *t = *state;
	uint64_t ino;

	known(t, ROOT, "a", "old");
	ino = saved(t, "a", "new");
	answered(t, KML_REFUSED);
	assert_log(t->f, "");
	assert_int_equal(noted(t), 1);
	f_reopen(t->f);
	assert_int_equal(f_write(t->f, ino, 0, "NEW"), 0);
	assert_int_equal(f_commit(t->f, ino), 0);
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
	answered(t, KML_OK);
	assert_int_equal(noted(t), 0);
}

static void in_conflict(void **state)
{
	struct test *t = *state;
	struct cml_batch *batch;

	known(t, ROOT, "a", "old");
	saved(t, "a", "new");
	answered(t, KML_GONE);
	batch = take_all(t->f, 100);
	assert_string_equal(ops(batch), "CREATE STORE ");
	cml_give_back(t->f->cache, batch);
	assert_int_equal(noted(t), 0);
}

/* ---- how it goes along ---- */

static void unknown_upstream(void **state)
{
	struct test *t = *state;
	struct cml_batch *batch;

	known(t, ROOT, "a", "old");
	saved(t, "a", "new");
	batch = take(t->f, 1, UINT64_MAX);
	assert_string_equal(ops(batch), "STORE ");
	cml_give_back(t->f->cache, batch);
}

/* It says the name that the file has when its records are done. */
static void renamed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	known(t, ROOT, "a", "old");
	/* After them. */
	saved(t, "a", "new");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_log(f, "STORE RENAME ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "b", ROOT, "a"), 0);
	sent(t);
	/* Before them; and then that folds away. */
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	saved(t, "b", "newer");
	assert_log(f, "RENAME STORE ");
	assert_int_equal(f_rename(f, ROOT, "b", ROOT, "c"), 0);
	assert_log(f, "STORE RENAME ");
	assert_detach(t, oid_of(t, "a"), KML_ROOT, "a");
	sent(t);
	assert_up(t->up, "c", "newer");
}

/* Never without what it is for: that has not come, so it is sent again, too. */
static void with_what_it_is_for(void **state)
{
	struct test *t = *state;
	struct cml_batch *batch;
	struct kml_answer answers[2] = { 0 };
	uint64_t seq;

	known(t, ROOT, "a", "old");
	saved(t, "a", "new");
	batch = take_all(t->f, 1);
	assert_string_equal(ops(batch), "DETACH STORE ");
	seq = batch->items[0].record.seq;
	answers[0].seq = seq;
	answers[1] = (struct kml_answer){ .seq = seq + 1, .status = KML_RETRY };
	assert_int_equal(cml_retire(t->f->cache, batch, answers, 2), 0);
	batch = take_all(t->f, 1);
	assert_string_equal(ops(batch), "DETACH STORE ");
	assert_int_equal(batch->items[0].record.seq, seq);
	cml_give_back(t->f->cache, batch);
	f_reopen(t->f);
	assert_taken(t, "DETACH STORE ");
	sent(t);
	assert_up(t->up, "a", "new");
}

/* In a file it stands as it would be sent, from the daemon and from the directory. */
static void exported(void **state)
{
	struct cml_exported v[10], one;
	struct test *t = *state;
	struct fixture *f = t->f;
	struct cml_export_head head;
	struct cml_dead *dead;
	uint64_t after = 0, seq = 0;
	bool has_skipped;
	char *why;
	size_t n;

	known(t, ROOT, "a", "old");
	saved(t, "a", "new");
	assert_int_equal(cml_export_begin(f->cache, &head), 0);
	/* Piece by piece. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cml_export_next(f->cache, after, head.last_seq, 1, v, &n, &after, &has_skipped), 0);
		assert_int_equal(n, 1);
		assert_int_equal(v[0].saved.record.body.op, i ? KML_STORE : KML_DETACH);
		seq = v[0].saved.record.seq;
		cml_exported_release(&v[0]);
	}
	cml_export_head_release(&head);
	f_close(f);
	assert_int_equal(cml_dead_open(f->dir, &dead, &why), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cml_dead_next(dead, &one), 1);
		assert_int_equal(one.saved.record.body.op, i ? KML_STORE : KML_DETACH);
		assert_int_equal(one.saved.record.seq, seq - !i);
		cml_exported_release(&one);
	}
	cml_dead_close(dead);
	f_open(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, t_setup, t_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(replaced),
		TEST(saved_again),
		TEST(made_anew),
		TEST(renamed_to_a_removed_one),
		TEST(with_a_backup),
		TEST(with_a_backup_link),
		TEST(in_a_directory_made_anew),
		TEST(attributes_come_after_it),
		TEST(written_in_place),
		TEST(until_it_is_done),
		TEST(refused),
		TEST(in_conflict),
		TEST(unknown_upstream),
		TEST(renamed),
		TEST(with_what_it_is_for),
		TEST(exported),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
