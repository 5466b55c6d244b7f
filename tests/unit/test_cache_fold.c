/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the log shrinks (cache/fold.h): each rule, and where it must not be applied.  More of them in test_cache_fold_again.c; at random:
 * test_cache_fold_random.c.
 */
#include "tests/unit/fold_fixture.h"

#include "base/log.h"

/* ---- identity ---- */

static void made_and_removed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct cml_totals totals;
	uint64_t dir = made_dir(f, ROOT, "d"), ino = made(f, dir, "a", "content");

	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_rename(f, dir, "a", dir, "c"), 0);
	assert_int_equal(f_symlink(f, dir, "s", "text"), 0);
	assert_int_equal(f_remove(f, dir, "c"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_int_equal(f_getattr(f, ino), -ESTALE);
	assert_int_equal(f_remove(f, dir, "s"), 0);
	assert_log(f, "MKDIR ");
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_log(f, "");
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.records, 0);
	assert_int_equal(totals.bytes, 0);
	assert_int_equal(query(f, "SELECT count(*) FROM name"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 1);
	sent(t);
	assert_int_equal(t->up->n_objects, 1);
}

/* What may have been sent has to be taken back. */
static void not_what_was_taken(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	made(f, ROOT, "a", "content");
	frozen(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "CREATE STORE REMOVE ");
	sent(t);
}

/* A directory whose names the log speaks of must go on being made. */
static void directory_with_records(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir, known;

	made(f, ROOT, "known", "k");
	sent(t);
	dir = made_dir(f, ROOT, "d");
	assert_int_equal(f_rename(f, ROOT, "known", dir, "x"), 0);
	frozen(t);
	made_dir(f, ROOT, "e");
	assert_int_equal(f_rename(f, dir, "x", found(f, ROOT, "e"), "y"), 0);
	assert_int_equal(f_rename(f, found(f, ROOT, "e"), "y", ROOT, "z"), 0);
	assert_log(f, "MKDIR RENAME MKDIR RENAME ");
	/* The chain of renames is one, which does not speak of e any more. */
	assert_int_equal(f_rmdir(f, ROOT, "e"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_log(f, "MKDIR RENAME RENAME RMDIR ");
	sent(t);
	known = found(f, ROOT, "z");
	dir = made_dir(f, ROOT, "d");
	assert_int_equal(f_rename(f, ROOT, "z", dir, "x"), 0);
	assert_int_equal(f_link(f, known, ROOT, "y"), 0);
	assert_int_equal(f_remove(f, dir, "x"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_log(f, "MKDIR RENAME LINK REMOVE RMDIR ");
	sent(t);
}

/* The name goes back to being the one whose removal waits: until that is answered nothing from upstream may come in there. */
static void mark_before_comes_back(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t first;

	made(f, ROOT, "a", "old");
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	first = query(f, "SELECT seq FROM cml");
	assert_int_equal(f_symlink(f, ROOT, "a", "new"), 0);
	assert_log(f, "REMOVE SYMLINK ");
	assert_true(query(f, "SELECT seq FROM name") > (int64_t)first);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "REMOVE ");
	assert_int_equal(query(f, "SELECT seq FROM name WHERE ino = 0"), first);
	sent(t);
	/* And where that was answered meanwhile, no mark is left. */
	made(f, ROOT, "a", "old");
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(f_symlink(f, ROOT, "a", "new"), 0);
	{
		struct cml_batch *batch = take(f, 1, UINT64_MAX);
		struct kml_answer answer = up_send(t->up, f->cache, &batch->items[0]);

		assert_int_equal(cml_retire(f->cache, batch, &answer, 1), 0);
	}
	assert_log(f, "SYMLINK ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM name"), 0);
	sent(t);
}

/*
 * Another object had the name in between, and its records are still there: those of the first cannot be taken out of the
 * middle of the name's chain.
 */
static void name_used_in_between(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", "1");

	/* With two names it is not made anew when it is renamed. */
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "c"), 0);
	assert_int_equal(f_symlink(f, ROOT, "a", "2"), 0);
	assert_log(f, "CREATE STORE LINK RENAME SYMLINK ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "c"), 0);
	assert_log(f, "CREATE LINK RENAME SYMLINK REMOVE REMOVE ");
	sent(t);
}

/* An open file that is removed goes on for the program, and for nobody else. */
static void removed_while_open(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", "content");

	assert_int_equal(f_rename(f, ROOT, "a", ROOT, LOCAL), 0);
	assert_log(f, "");
	assert_int_equal(f_write(f, ino, 0, "C"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_log(f, "");
	assert_content(f, ino, "Content");
	/* It comes back: as a new one. */
	assert_int_equal(f_rename(f, ROOT, LOCAL, ROOT, "b"), 0);
	assert_log(f, "CREATE STORE ");
	sent(t);
	assert_up(t->up, "b", "Content");
}

/* ---- links ---- */

static void link_and_unlink(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", "content");

	sent(t);
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_log(f, "LINK ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "");
	assert_int_equal(query(f, "SELECT links_up FROM inode WHERE ino > 2"), 1);
	sent(t);
	/* A rename in the old way: without the link the file would be gone. */
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "LINK REMOVE LINK REMOVE ");
	sent(t);
	assert_up(t->up, "c", "content");
}

/* As git makes its objects: under another name, a link, and that name goes. */
static void made_linked_unlinked(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir = made_dir(f, ROOT, "d"), ino = made(f, dir, "temp", "object");

	assert_int_equal(f_chmod(f, ino, 0444), 0);
	assert_int_equal(f_link(f, ino, ROOT, "a"), 0);
	assert_log(f, "MKDIR CREATE STORE LINK ");
	assert_int_equal(f_remove(f, dir, "temp"), 0);
	assert_log(f, "MKDIR CREATE STORE ");
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_log(f, "CREATE STORE ");
	sent(t);
	assert_up(t->up, "a", "object");
	assert_int_equal(up_at(t->up, "a")->mode, 0444);
}

/* ---- renames ---- */

static void new_one_renamed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "temp", "content"), dir;

	assert_int_equal(f_utimes(f, ino, 1000), 0);
	/* Where it goes is made after it. */
	dir = made_dir(f, ROOT, "d");
	assert_int_equal(f_rename(f, ROOT, "temp", dir, "a"), 0);
	assert_log(f, "MKDIR CREATE STORE ");
	assert_int_equal(f_rename(f, dir, "a", dir, "b"), 0);
	assert_int_equal(f_rename(f, dir, "b", dir, "c"), 0);
	assert_log(f, "MKDIR CREATE STORE ");
	sent(t);
	assert_up(t->up, "d/c", "content");
	assert_int_equal(up_at(t->up, "d/c")->mtime.sec, 1000);
	/* Never under its first name. */
	assert_int_equal(t->up->n_objects, 3);
	assert_int_equal(f_symlink(f, dir, "s", "text"), 0);
	assert_int_equal(f_rename(f, dir, "s", ROOT, "s"), 0);
	assert_log(f, "SYMLINK ");
	made_dir(f, ROOT, "e");
	assert_int_equal(f_rename(f, ROOT, "e", dir, "e"), 0);
	assert_log(f, "SYMLINK MKDIR ");
	/* With something in it, it must be there before that: where it was made already. */
	made(f, found(f, dir, "e"), "x", NULL);
	assert_int_equal(f_rename(f, dir, "e", made_dir(f, ROOT, "later"), "e"), 0);
	assert_log(f, "SYMLINK MKDIR CREATE MKDIR RENAME ");
	sent(t);
}

static void chain(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir = made_dir(f, ROOT, "d"), ino = made(f, ROOT, "a", "content");

	made(f, ROOT, "other", "o");
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "a", dir, "b"), 0);
	assert_int_equal(f_rename(f, dir, "b", ROOT, "c"), 0);
	assert_int_equal(f_rename(f, ROOT, "c", dir, "d"), 0);
	assert_log(f, "RENAME ");
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE ino = 0"), 1);
	sent(t);
	assert_up(t->up, "d/d", "content");
	/* Back where it was: nothing has happened. */
	assert_int_equal(f_rename(f, dir, "d", ROOT, "a"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", dir, "d"), 0);
	assert_log(f, "");
	sent(t);
	/* Onto another one: that is in the one record, too. */
	assert_int_equal(f_rename(f, dir, "d", ROOT, "a"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "other"), 0);
	assert_log(f, "RENAME ");
	sent(t);
	assert_up(t->up, "other", "content");
	assert_int_equal(found(f, ROOT, "other"), ino);
	/* Its old place is another's by now. */
	assert_int_equal(f_rename(f, ROOT, "other", ROOT, "a"), 0);
	made(f, ROOT, "other", "new");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_log(f, "RENAME CREATE STORE RENAME ");
	sent(t);
	/* Its old directory is gone. */
	assert_int_equal(f_rename(f, ROOT, "b", dir, "b"), 0);
	sent(t);
	assert_int_equal(f_rename(f, dir, "b", ROOT, "b"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_int_equal(f_rename(f, ROOT, "b", ROOT, "a"), 0);
	assert_log(f, "RENAME RMDIR RENAME ");
	sent(t);
}

/* x moves out of its parent, which moves into x: from its first place x would move into itself. */
static void chain_of_directories(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t x = made_dir(f, made_dir(f, ROOT, "p"), "x");

	sent(t);
	assert_int_equal(f_rename(f, found(f, ROOT, "p"), "x", ROOT, "x"), 0);
	assert_int_equal(f_rename(f, ROOT, "x", ROOT, "y"), 0);
	assert_log(f, "RENAME ");
	assert_int_equal(f_rename(f, ROOT, "p", x, "p"), 0);
	assert_int_equal(f_rename(f, ROOT, "y", ROOT, "z"), 0);
	assert_log(f, "RENAME RENAME RENAME ");
	sent(t);
}

/* ---- replacement ---- */

static void saved_again_and_again(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	const struct kml_store *store;
	struct cml_batch *batch;
	struct kml_oid oid;
	uint64_t version, ino = 0;

	assert_int_equal(f_chmod(f, made(f, ROOT, "a", "the first one, longer than what follows"), 0644), 0);
	sent(t);
	oid = oid_of(t, "a");
	version = up_at(t->up, "a")->data_version;
	for (int i = 0; i < 100; i++) {
		char content[24];

		snprintf(content, sizeof(content), "version %d", i);
		ino = saved(t, "a", content);
	}
	assert_log(f, "STORE ");
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 2);
	assert_int_equal(f_content_files(f, false), 1);
	batch = take(f, ALL);
	store = &batch->items[0].record.body.kml_body_u.store;
	assert_true(kml_oid_equal(store->oid, oid));
	assert_int_equal(store->data_base, version);
	assert_int_equal(store->keep_size, 0);
	cml_give_back(f->cache, batch);
	sent(t);
	assert_up(t->up, "a", "version 99");
	assert_true(kml_oid_equal(oid_of(t, "a"), oid));
	assert_int_equal(found(f, ROOT, "a"), ino);
	assert_int_equal(up_at(t->up, "a")->mode, 0644);
	/* What was taken stands, and is built upon. */
	saved(t, "a", "once more");
	frozen(t);
	saved(t, "a", "and once more");
	assert_log(f, "STORE SETATTR CREATE STORE RENAME ");
	saved(t, "a", "the last");
	sent(t);
	assert_up(t->up, "a", "the last");
}

/* What is not content goes along. */
static void saved_with_attributes(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct attr_change times = { .set = SET_ATIME | SET_MTIME, .atime = { 500, 0 }, .mtime = { 600, 0 } };
	uint64_t ino;

	ino = made(f, ROOT, "a", "old");
	sent(t);
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	ino = made(f, ROOT, "temp", "new");
	assert_int_equal(f_chmod(f, ino, 0755), 0);
	assert_int_equal(f_setattr(f, ino, &times), 0);
	assert_int_equal(f_rename(f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(f, "SETATTR STORE ");
	sent(t);
	assert_up(t->up, "a", "new");
	assert_int_equal(up_at(t->up, "a")->mode, 0755);
	assert_int_equal(up_at(t->up, "a")->mtime.sec, 600);
	assert_int_equal(up_at(t->up, "a")->atime.sec, 500);
	/* An empty one takes the content away. */
	saved(t, "a", NULL);
	assert_log(f, "SETATTR STORE ");
	sent(t);
	assert_up(t->up, "a", "");
}

/* One that waits to be made itself. */
static void new_one_replaced(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	made(f, ROOT, "a", "old");
	saved(t, "a", "new");
	assert_log(f, "CREATE STORE ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "");
	made(f, ROOT, "a", "old");
	saved(t, "a", "newer");
	sent(t);
	assert_up(t->up, "a", "newer");
	assert_int_equal(t->up->n_objects, 2);
}

/* With another name of the old one, or of the new one, both objects stay what they are. */
static void replaced_with_links(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", "old");

	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	sent(t);
	saved(t, "a", "new");
	assert_log(f, "CREATE STORE RENAME ");
	sent(t);
	assert_up(t->up, "a", "new");
	assert_up(t->up, "b", "old");
	ino = made(f, ROOT, "temp", "two names");
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	assert_int_equal(f_rename(f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(f, "CREATE STORE LINK RENAME ");
	sent(t);
	assert_up(t->up, "a", "two names");
	assert_up(t->up, "c", "two names");
}

/* The old one is on its way: what comes of that is not known yet. */
static void replaced_while_taken(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct kml_answer answer;
	struct cml_batch *batch;
	uint64_t ino = made(f, ROOT, "a", "old");

	sent(t);
	assert_int_equal(f_write(f, ino, 0, "o"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "STORE ");
	saved(t, "a", "new");
	assert_log(f, "STORE CREATE STORE RENAME ");
	answer = up_send(t->up, f->cache, &batch->items[0]);
	assert_int_equal(cml_retire(f->cache, batch, &answer, 1), 0);
	sent(t);
	assert_up(t->up, "a", "new");
}

/* What was not committed is not synced for it: it goes the long way. */
static void replaced_by_uncommitted(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", "old");

	sent(t);
	assert_int_equal(f_create(f, ROOT, "temp", 0644), 0);
	ino = f->op.ino;
	assert_int_equal(f_write(f, ino, 0, "new"), 0);
	assert_int_equal(f_rename(f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(f, "CREATE RENAME ");
	assert_int_equal(f_commit(f, ino), 0);
	sent(t);
	assert_up(t->up, "a", "new");
}

/* The upstream would not have the old one: it can have the new one. */
static void refused_one_replaced(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct kml_answer answers[2];
	struct cml_batch *batch;

	made(f, ROOT, "a", "old");
	batch = take(f, ALL);
	assert_int_equal(batch->n, 2);
	for (size_t i = 0; i < batch->n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .status = KML_REFUSED, .error = EACCES };
	assert_int_equal(cml_retire(f->cache, batch, answers, 2), 0);
	saved(t, "a", "new");
	assert_log(f, "CREATE STORE RENAME ");
}

/* What is not known yet of the old one is asked of the new one. */
static void stale_one_replaced(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", "old");
	char sql[80];

	sent(t);
	f_close(f);
	exec_sql(f, "UPDATE inode SET is_stale = 1 WHERE ino > 2");
	f_open(f);
	ino = saved(t, "a", "new");
	assert_log(f, "STORE ");
	snprintf(sql, sizeof(sql), "SELECT is_stale FROM inode WHERE ino = %llu", (unsigned long long)ino);
	assert_int_equal(query(f, sql), 1);
}

/* A file that was removed while it was open is another object when it comes back; what waits about the first stays. */
static void revived_and_removed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	made(f, ROOT, "a", "content");
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, LOCAL), 0);
	assert_int_equal(f_rename(f, ROOT, LOCAL, ROOT, "b"), 0);
	assert_log(f, "REMOVE CREATE STORE ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "REMOVE ");
	sent(t);
	assert_null(up_at(t->up, "a"));
}

/* ---- times of directories ---- */

static void directory_times_go_on(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir = made_dir(f, ROOT, "d"), version;
	struct cml_batch *batch;
	struct timespec mtime;

	sent(t);
	version = up_at(t->up, "d")->attr_version;
	made(f, dir, "a", "content");
	assert_int_equal(f_remove(f, dir, "a"), 0);
	assert_int_equal(f_getattr(f, dir), 0);
	mtime = f->op.attr.mtime;
	assert_log(f, "");
	f_reopen(f);
	/* When there is nothing else any more. */
	made(f, ROOT, "b", NULL);
	batch = take(f, 1, UINT64_MAX);
	assert_string_equal(ops(batch), "CREATE ");
	cml_give_back(f->cache, batch);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "CREATE SETATTR ");
	assert_int_equal(batch->items[1].record.body.kml_body_u.setattr.set, KML_SET_FORWARD);
	cml_give_back(f->cache, batch);
	sent(t);
	assert_int_equal(up_at(t->up, "d")->mtime.sec, mtime.tv_sec);
	assert_int_equal(up_at(t->up, "d")->mtime.nsec, mtime.tv_nsec);
	assert_int_equal(up_at(t->up, "d")->attr_version, version);
	assert_int_equal(query(f, "SELECT attr_version FROM inode WHERE type = 2 AND ino > 2"), version);
	/* It is nobody's any more. */
	made(f, dir, "a", "content");
	assert_int_equal(f_remove(f, dir, "a"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	assert_log(f, "RMDIR ");
	sent(t);
	assert_int_equal(query(f, "SELECT count(*) FROM forward"), 0);
}

/* ---- over a restart ---- */

static void folds_after_restart(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	made(f, ROOT, "taken", "1");
	frozen(t);
	made(f, ROOT, "a", "2");
	f_reopen(f);
	assert_int_equal(f_remove(f, ROOT, "taken"), 0);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "CREATE STORE REMOVE ");
	sent(t);
}

/* Of a cache that did not note what was taken, all may have been. */
static void an_older_cache(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	made(f, ROOT, "a", "content");
	f_close(f);
	exec_sql(f, "DROP TABLE detach; DROP TABLE digest; DROP TABLE base; DROP TABLE merge; ALTER TABLE cml DROP COLUMN gone; ALTER TABLE cml DROP COLUMN gone_names; ALTER TABLE cml DROP COLUMN gone_at;"
		    "DROP TABLE hoard; DROP TABLE conflict_side; DROP TABLE forward; DROP INDEX cml_rename;"
		    "ALTER TABLE cml DROP COLUMN was; ALTER TABLE cml DROP COLUMN was_to;"
		    "DELETE FROM meta WHERE key = 'frozen'; PRAGMA user_version = 5");
	f_open(f);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "CREATE STORE REMOVE ");
	made(f, ROOT, "b", "content");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "CREATE STORE REMOVE ");
	sent(t);
}

/* ---- attributes ---- */

static void attributes_of_new_ones(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = made(f, ROOT, "a", NULL), dir = made_dir(f, ROOT, "d");

	assert_int_equal(f_chmod(f, ino, 0640), 0);
	assert_int_equal(f_utimes(f, ino, 77), 0);
	assert_int_equal(f_chmod(f, dir, 0700), 0);
	assert_log(f, "CREATE MKDIR ");
	/* Of a directory with something in it they come behind that. */
	made(f, dir, "x", NULL);
	assert_int_equal(f_chmod(f, dir, 0500), 0);
	assert_int_equal(f_utimes(f, dir, 78), 0);
	assert_log(f, "CREATE MKDIR CREATE SETATTR ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->mode, 0640);
	assert_int_equal(up_at(t->up, "a")->mtime.sec, 77);
	assert_int_equal(up_at(t->up, "d")->mode, 0500);
	assert_int_equal(up_at(t->up, "d")->mtime.sec, 78);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, t_setup, t_teardown)
		TEST(made_and_removed),
		TEST(not_what_was_taken),
		TEST(directory_with_records),
		TEST(mark_before_comes_back),
		TEST(name_used_in_between),
		TEST(removed_while_open),
		TEST(link_and_unlink),
		TEST(made_linked_unlinked),
		TEST(new_one_renamed),
		TEST(chain),
		TEST(chain_of_directories),
		TEST(saved_again_and_again),
		TEST(saved_with_attributes),
		TEST(new_one_replaced),
		TEST(replaced_with_links),
		TEST(replaced_while_taken),
		TEST(replaced_by_uncommitted),
		TEST(refused_one_replaced),
		TEST(stale_one_replaced),
		TEST(revived_and_removed),
		TEST(directory_times_go_on),
		TEST(folds_after_restart),
		TEST(an_older_cache),
		TEST(attributes_of_new_ones),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
