/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes from upstream, around what is ours: entries that our own records made, and what waits in the log. */
#include "tests/unit/apply_fixture.h"

/* ---- what our own records made ---- */

static void own_entries_skipped(void **state)
{
	struct test *t = *state;
	uint64_t client = cml_client_id(t->f.cache), ino = made(&t->f, ROOT, "mine", NULL), dir;
	struct kml_oid oid = { inode_column(&t->f, ino, "oid_origin"), inode_column(&t->f, ino, "oid_number") };

	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	m_make(t->m, client, KML_REG, KML_ROOT, "mine", oid);
	m_pull(t->m, &t->f);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.mode, 0600);
	no_stale(t);
	/* Nor does one come back that has been removed here since. */
	dir = made_dir(&t->f, ROOT, "d");
	oid = (struct kml_oid){ inode_column(&t->f, dir, "oid_origin"), inode_column(&t->f, dir, "oid_number") };
	assert_int_equal(f_rmdir(&t->f, ROOT, "d"), 0);
	m_make(t->m, client, KML_DIR, KML_ROOT, "d", oid);
	m_pull(t->m, &t->f);
	assert_int_equal(f_lookup(&t->f, ROOT, "d"), -ENOENT);
	no_stale(t);
}

/* Others gave it a name before we took one away, but we learn of that after. */
static void own_entry_tells_nlink(void **state)
{
	struct test *t = *state;
	uint64_t client = cml_client_id(t->f.cache);
	struct kml_oid oid;

	filled(t, KML_ROOT, "f", "x");
	oid = m_oid(t->m, KML_ROOT, "f");
	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	assert_int_equal(f_remove(&t->f, ROOT, "f"), 0);
	t->m->now += 3600 * 1000000000ll;
	m_remove(t->m, client, KML_ROOT, "f");
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, ROOT), 0);
	assert_int_equal(t->f.op.attr.mtime.tv_sec, t->m->objects[0].attr.mtime.sec);
	no_stale(t);
}

/* The records are taken, carried out there, and answered: each has the next of these entries. */
static void retire_each(struct test *t, size_t n, uint64_t first)
{
	struct kml_answer answers[8] = { 0 };
	struct cml_batch *batch;

	assert_true(n <= ARRAY_SIZE(answers));
	assert_int_equal(cml_take(t->f.cache, n, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, n);
	for (size_t i = 0; i < n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .made_version = first + i };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, n), 0);
}

/* A file of upstream's with one name, and two more that we gave it; *ret_first: the entry of the first of these. */
static uint64_t linked(struct test *t, uint64_t *ret_first)
{
	uint64_t ino = filled(t, KML_ROOT, "f", "x"), client = cml_client_id(t->f.cache);
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_link(&t->f, ino, ROOT, "g"), 0);
	assert_int_equal(f_link(&t->f, ino, ROOT, "h"), 0);
	*ret_first = t->m->position + 1;
	m_link(t->m, client, oid, KML_ROOT, "g");
	m_link(t->m, client, oid, KML_ROOT, "h");
	retire_each(t, 2, *ret_first);
	return ino;
}

/* Both records are answered, and the state of after the first one comes. */
static void nlink_of_between_our_records(void **state)
{
	struct test *t = *state;
	uint64_t first, ino = linked(t, &first);

	m_pull_to(t->m, &t->f, first);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	no_stale(t);
	m_link(t->m, OTHERS, m_oid(t->m, KML_ROOT, "f"), KML_ROOT, "i");
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 4);
	no_stale(t);
}

/* The same over a restart, which forgets about what they were. */
static void nlink_of_between_and_a_restart(void **state)
{
	struct test *t = *state;
	uint64_t first, ino = linked(t, &first);

	reopen(t);
	m_pull_to(t->m, &t->f, first);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	assert_false(m_answer(t->m, &t->f));
	m_pull(t->m, &t->f);
	assert_true(m_answer(t->m, &t->f));
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	no_stale(t);
}

/* An answer that was on its way for longer than what it says was so. */
static void nlink_of_before(void **state)
{
	struct test *t = *state;
	struct kml_object before;
	struct kml_oid oid;
	uint64_t ino, was;

	ino = filled(t, KML_ROOT, "f", "x");
	oid = m_oid(t->m, KML_ROOT, "f");
	before = *m_object_of(t->m, oid);
	was = t->m->position;
	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_int_equal(apply_object(t->f.cache, &oid, &before, was), 0);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 2);
	/* It is asked for again, for it may be that the entry did not say it. */
	assert_true(m_answer(t->m, &t->f));
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 2);
	no_stale(t);
}

/* A RENAME of ours takes a name from it, which is not a record about it. */
static void nlink_of_before_a_name_was_replaced(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "x"), at;
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	filled(t, KML_ROOT, "new", "y");
	assert_int_equal(f_rename(&t->f, ROOT, "new", ROOT, "g"), 0);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	m_chmod(t->m, OTHERS, oid, 0600);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	at = t->m->position;
	m_chmod(t->m, OTHERS, oid, 0640);
	m_rename(t->m, cml_client_id(t->f.cache), KML_ROOT, "new", KML_ROOT, "g");
	retire_each(t, 1, t->m->position);
	m_pull_to(t->m, &t->f, at + 1);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	m_pull(t->m, &t->f);
	while (m_answer(t->m, &t->f))
		;
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	no_stale(t);
	assert_int_equal(count(&t->f, "inode WHERE attr_seq <> 0"), 0);
}

/* A name that only the kernel's client knows counts too. */
static void local_names_count(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "x");
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_int_equal(f_rename(&t->f, ROOT, "f", ROOT, ".nfs0123456789abcdef01234567"), 0);
	m_remove(t->m, cml_client_id(t->f.cache), KML_ROOT, "f");
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 2);
	m_link(t->m, OTHERS, oid, KML_ROOT, "h");
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	assert_int_equal(inode_column(&t->f, ino, "links_up"), 2);
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	m_remove(t->m, OTHERS, KML_ROOT, "h");
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	assert_int_equal(inode_column(&t->f, ino, "links_up"), 0);
	assert_content(&t->f, ino, "x");
	no_stale(t);
}

/* ---- what waits in the log ---- */

static void pending_names(void **state)
{
	struct test *t = *state;
	uint64_t ours, theirs, away;
	int64_t mtime;

	filled(t, KML_ROOT, "removed", "x");
	theirs = filled(t, KML_ROOT, "renamed", "x");
	away = filled(t, KML_ROOT, "both", "x");
	ours = made(&t->f, ROOT, "new", "mine");
	assert_int_equal(f_remove(&t->f, ROOT, "removed"), 0);
	assert_int_equal(f_rename(&t->f, ROOT, "renamed", ROOT, "ours"), 0);
	assert_int_equal(f_remove(&t->f, ROOT, "both"), 0);
	m_file(t->m, KML_ROOT, "new");
	m_remove(t->m, OTHERS, KML_ROOT, "removed");
	m_file(t->m, KML_ROOT, "removed");
	m_rename(t->m, OTHERS, KML_ROOT, "renamed", KML_ROOT, "theirs");
	m_remove(t->m, OTHERS, KML_ROOT, "both");
	mtime = mtime_of(t, ROOT);
	m_pull(t->m, &t->f);
	/* Ours came later, and upstream will say so too. */
	assert_int_equal(mtime_of(t, ROOT), mtime);
	assert_int_equal(found(&t->f, ROOT, "new"), ours);
	assert_content(&t->f, ours, "mine");
	assert_int_equal(found(&t->f, ROOT, "removed"), 0);
	assert_int_equal(found(&t->f, ROOT, "both"), 0);
	assert_int_equal(f_getattr(&t->f, away), -ESTALE);
	assert_int_equal(found(&t->f, ROOT, "ours"), theirs);
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	/* Not while it is so. */
	assert_false(m_answer(t->m, &t->f));
	reopen(t);
	assert_false(m_answer(t->m, &t->f));
	assert_int_equal(count(&t->f, "cml"), 5);
	retire(t, 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	while (m_answer(t->m, &t->f))
		;
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	no_stale(t);
}

static void pending_object(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_write(&t->f, ino, 0, "J"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	m_store(t->m, OTHERS, oid, 3);
	m_chmod(t->m, OTHERS, oid, 0600);
	m_rename(t->m, OTHERS, KML_ROOT, "f", KML_ROOT, "g");
	m_pull(t->m, &t->f);
	/* Content is ours; attributes and name are nobody's here. */
	assert_content(&t->f, ino, "Jello");
	assert_int_equal(found(&t->f, ROOT, "g"), ino);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.mode, 0600);
	assert_int_equal(inode_column(&t->f, ino, "is_stale"), 1);
	assert_false(m_answer(t->m, &t->f));
	/* So is a change of attributes that waits. */
	assert_int_equal(f_chmod(&t->f, ino, 0644), 0);
	m_chmod(t->m, OTHERS, oid, 0640);
	m_pull(t->m, &t->f);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.mode, 0644);
	assert_false(m_answer(t->m, &t->f));
	assert_int_equal(count(&t->f, "cml"), 2);
}

/* Bytes that no record speaks of yet count as well. */
static void unsynced_object(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_write(&t->f, ino, 0, "J"), 0);
	m_store(t->m, OTHERS, oid, 3);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_content(&t->f, ino, "Jello");
	assert_int_equal(found(&t->f, ROOT, "f"), ino);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_int_equal(count(&t->f, "cml"), 1);
}

/* The record that waits is of content that was made on that version, and it is what is read here. */
static void assert_made_on(struct test *t, uint64_t ino, const char *want, uint64_t version)
{
	struct cml_batch *batch;
	const struct kml_record *record;

	assert_content(&t->f, ino, want);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	record = &batch->items[batch->n - 1].record;
	assert_int_equal(record->body.op, KML_STORE);
	assert_int_equal(record->body.kml_body_u.store.data_base, version);
	cml_give_back(t->f.cache, batch);
}

/*
 * A program has cut the file, and is about to write to it: what comes between the two it has not seen, and must not be what its
 * content is said to be made on.  An empty file is cut by what is no record of its content; of one that was not empty the record
 * may be done by then.
 */
static void stored_between_cut_and_write(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");
	uint64_t ino, was = t->m->position;

	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, oid);
	assert_int_equal(f_truncate(&t->f, ino, 0), 0);
	m_store(t->m, OTHERS, oid, 300);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "is_stale"), 1);
	assert_int_equal(f_write(&t->f, ino, 0, "ours"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_made_on(t, ino, "ours", was);
}

static void stored_between_done_cut_and_write(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello"), was;
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_truncate(&t->f, ino, 0), 0);
	m_store(t->m, cml_client_id(t->f.cache), oid, 0);
	was = t->m->position;
	retire(t, was);
	m_store(t->m, OTHERS, oid, 300);
	m_pull(t->m, &t->f);
	assert_int_equal(f_write(&t->f, ino, 0, "ours"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_made_on(t, ino, "ours", was);
}

/* It never wrote: then what came is taken, and nothing is sent. */
static void stored_after_cut(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");
	uint64_t ino;

	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, oid);
	assert_int_equal(f_truncate(&t->f, ino, 0), 0);
	m_chmod(t->m, cml_client_id(t->f.cache), oid, 0644);
	retire(t, t->m->position);
	m_store(t->m, OTHERS, oid, 3);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "size"), 0);
	/* As a quiet while does. */
	reopen(t);
	assert_int_equal(count(&t->f, "inode WHERE is_dirty"), 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	while (m_answer(t->m, &t->f))
		;
	give(t, ino, t->m->position, "new");
	assert_content(&t->f, ino, "new");
}

/*
 * Done under another name, and the answer was lost: a listing has that name before the answer comes. Then the file has the one name
 * that it has upstream, and counts one; with one too many what others remove later would go with what was written to it.
 */
static void renamed_and_listed_before_the_answer(void **state)
{
	struct test *t = *state;
	uint64_t ino = made(&t->f, ROOT, "f", "ours");
	struct kml_oid oid = { inode_column(&t->f, ino, "oid_origin"), inode_column(&t->f, ino, "oid_number") };
	struct kml_answer answers[2] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 2);
	(void)m_file(t->m, KML_ROOT, "f");
	m_make(t->m, cml_client_id(t->f.cache), KML_REG, KML_ROOT, "f.beside", oid);
	answers[0] = (struct kml_answer){ .status = KML_RENAMED, .made_version = t->m->position, .name = m_text("f.beside") };
	m_store(t->m, cml_client_id(t->f.cache), oid, 4);
	answers[1].made_version = t->m->position;
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_int_equal(found(&t->f, ROOT, "f.beside"), ino);
	for (size_t i = 0; i < 2; i++)
		answers[i].seq = batch->items[i].record.seq;
	assert_int_equal(cml_retire(t->f.cache, batch, answers, 2), 0);
	free(answers[0].name.kml_name_val);
	m_pull(t->m, &t->f);
	while (m_answer(t->m, &t->f))
		;
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino, "links_up"), 1);
	/* So what is written to it keeps its name here, and is kept beside it. */
	assert_int_equal(f_write(&t->f, ino, 0, "O"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "f.beside");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "f.beside"), ino);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	answers[0] = (struct kml_answer){ .seq = batch->items[0].record.seq, .status = KML_GONE };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, 1), 0);
	assert_int_equal(count(&t->f, "name WHERE ino > 0 AND CAST(name AS TEXT) LIKE 'f.beside.conflict-%'"), 1);
}

static void removed_while_dirty(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello"), copy;
	struct kml_answer answer = { .status = KML_GONE };
	struct cml_batch *batch;
	sqlite3_stmt *stmt;
	sqlite3 *db;
	char name[300];

	assert_int_equal(f_write(&t->f, ino, 0, "J"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	reopen(t);
	assert_int_equal(found(&t->f, ROOT, "f"), ino);
	assert_content(&t->f, ino, "Jello");
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 1);
	answer.seq = batch->items[0].record.seq;
	assert_int_equal(cml_retire(t->f.cache, batch, &answer, 1), 0);
	while (m_answer(t->m, &t->f))
		;
	/* Upstream's has the name, ours stands beside it. */
	assert_int_equal(found(&t->f, ROOT, "f"), ino_of(&t->f, m_oid(t->m, KML_ROOT, "f")));
	db = open_db(&t->f);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT name FROM name WHERE dir = 2 AND seq", -1, &stmt, NULL), 0);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	snprintf(name, sizeof(name), "%.*s", sqlite3_column_bytes(stmt, 0), (const char *)sqlite3_column_blob(stmt, 0));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	copy = found(&t->f, ROOT, name);
	assert_int_equal(copy, ino);
	assert_content(&t->f, copy, "Jello");
}

/* A directory is removed while something was made in it: what is ours stays, with the way to it. */
static void directory_removed_around_ours(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), sub = m_dir(t->m, dir, "sub");
	uint64_t dir_ino, sub_ino, mine;

	m_file(t->m, dir, "theirs");
	m_file(t->m, sub, "theirs");
	m_pull(t->m, &t->f);
	dir_ino = ino_of(&t->f, dir);
	sub_ino = ino_of(&t->f, sub);
	mine = made(&t->f, sub_ino, "mine", "bytes");
	m_remove(t->m, OTHERS, sub, "theirs");
	m_remove(t->m, OTHERS, dir, "sub");
	m_remove(t->m, OTHERS, dir, "theirs");
	m_remove(t->m, OTHERS, KML_ROOT, "dir");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "dir"), dir_ino);
	assert_int_equal(found(&t->f, dir_ino, "sub"), sub_ino);
	assert_int_equal(found(&t->f, sub_ino, "mine"), mine);
	assert_int_equal(found(&t->f, dir_ino, "theirs"), 0);
	assert_int_equal(found(&t->f, sub_ino, "theirs"), 0);
	assert_content(&t->f, mine, "bytes");
	assert_int_equal(count(&t->f, "inode"), 4);
	/* Removed here too: then nothing holds them. */
	assert_int_equal(f_remove(&t->f, sub_ino, "mine"), 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	clock_advance(6 * US_PER_S);
	while (m_answer(t->m, &t->f))
		;
	assert_int_equal(count(&t->f, "inode"), 1);
	assert_int_equal(count(&t->f, "name"), 0);
}

/* A name came and went here, which is said by a record of its own, later: upstream's time is the older one till then. */
static void time_of_names_that_are_gone(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	struct cml_batch *batch;
	struct timespec mtime;
	uint64_t ino;

	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, dir);
	assert_int_equal(m_list(t->m, &t->f, dir, ino), 0);
	(void)made(&t->f, ino, "temp", "bytes");
	assert_int_equal(f_remove(&t->f, ino, "temp"), 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	mtime = t->f.op.attr.mtime;
	assert_int_equal(m_list(t->m, &t->f, dir, ino), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(clock_cmp(t->f.op.attr.mtime, mtime), 0);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 1);
	assert_int_equal(m_list(t->m, &t->f, dir, ino), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(clock_cmp(t->f.op.attr.mtime, mtime), 0);
	cml_give_back(t->f.cache, batch);
}

static void local_names_stay(void **state)
{
	struct test *t = *state;
	const char *local = ".nfs0123456789abcdef01234567";
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");

	assert_int_equal(f_rename(&t->f, ROOT, "f", ROOT, local), 0);
	m_remove(t->m, cml_client_id(t->f.cache), KML_ROOT, "f");
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	m_file(t->m, KML_ROOT, local);
	m_pull(t->m, &t->f);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_int_equal(found(&t->f, ROOT, local), ino);
	assert_content(&t->f, ino, "hello");
	assert_int_equal(count(&t->f, "inode"), 2);
}

/* A record is retired, its names are clean, and then comes a listing that was made before. */
static void listing_from_before_ours(void **state)
{
	struct test *t = *state;
	uint64_t ino, gone = filled(t, KML_ROOT, "old", "x");
	struct m_listing l;
	struct kml_oid oid;

	ino = made(&t->f, ROOT, "new", NULL);
	assert_int_equal(f_remove(&t->f, ROOT, "old"), 0);
	m_snapshot(t->m, KML_ROOT, &l);
	oid = (struct kml_oid){ inode_column(&t->f, ino, "oid_origin"), inode_column(&t->f, ino, "oid_number") };
	m_make(t->m, cml_client_id(t->f.cache), KML_REG, KML_ROOT, "new", oid);
	m_remove(t->m, cml_client_id(t->f.cache), KML_ROOT, "old");
	retire(t, t->m->position);
	assert_int_equal(m_deliver(&t->f, ROOT, &l), -EAGAIN);
	assert_int_equal(found(&t->f, ROOT, "new"), ino);
	assert_int_equal(found(&t->f, ROOT, "old"), 0);
	assert_int_equal(f_getattr(&t->f, gone), -ESTALE);
	m_pull(t->m, &t->f);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_int_equal(found(&t->f, ROOT, "new"), ino);
}

/* Entries come between two pieces of one listing. */
static void listing_in_pieces(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;

	m_file(t->m, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "b");
	m_file(t->m, KML_ROOT, "c");
	m_pull(t->m, &t->f);
	m_snapshot(t->m, KML_ROOT, &l);
	assert_int_equal(apply_listing_begin(t->f.cache, ROOT, l.position, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, l.v, 2), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "c");
	m_remove(t->m, OTHERS, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "d");
	m_pull(t->m, &t->f);
	assert_int_equal(apply_listing_add(listing, l.v + 2, l.n - 2), 0);
	assert_int_equal(apply_listing_end(listing, 0), -EAGAIN);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	l.position = t->m->position;
	for (size_t i = 0; i < l.n; i++)
		kml_listed_release(&l.v[i]);
	free(l.v);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(own_entries_skipped),
		T(own_entry_tells_nlink),
		T(nlink_of_between_our_records),
		T(nlink_of_between_and_a_restart),
		T(nlink_of_before),
		T(nlink_of_before_a_name_was_replaced),
		T(local_names_count),
		T(pending_names),
		T(pending_object),
		T(unsynced_object),
		T(stored_between_cut_and_write),
		T(stored_between_done_cut_and_write),
		T(stored_after_cut),
		T(renamed_and_listed_before_the_answer),
		T(removed_while_dirty),
		T(directory_removed_around_ours),
		T(time_of_names_that_are_gone),
		T(local_names_stay),
		T(listing_from_before_ours),
		T(listing_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
