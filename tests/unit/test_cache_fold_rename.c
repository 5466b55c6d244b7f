/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the log shrinks where things are renamed and then removed, and where directories are filled under one name and get another; and
 * that directories' times are told of, whatever rule was it.
 */
#include "tests/unit/fold_again.h"

/* ---- renamed, and removed ---- */

static void renamed_and_removed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct cml_batch *batch;
	const struct kml_unlink *gone;
	uint64_t dir = made_dir(f, ROOT, "trash"), ino = known(t, "a", "old");

	assert_int_equal(f_write(f, ino, 0, "O"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_int_equal(f_rename(f, ROOT, "a", dir, "x"), 0);
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	assert_int_equal(f_remove(f, dir, "x"), 0);
	assert_log(f, "REMOVE ");
	batch = take(f, 1, UINT64_MAX);
	gone = &batch->items[0].record.body.kml_body_u.unlink;
	assert_int_equal(gone->name.kml_name_len, 1);
	assert_memory_equal(gone->name.kml_name_val, "a", 1);
	assert_int_equal(gone->data_base, up_at(t->up, "a")->data_version);
	cml_give_back(f->cache, batch);
	sent(t);
	/* Its old name is another's by now. */
	known(t, "a", "old");
	assert_int_equal(f_rename(f, ROOT, "a", dir, "x"), 0);
	assert_int_equal(f_symlink(f, ROOT, "a", "text"), 0);
	assert_int_equal(f_remove(f, dir, "x"), 0);
	assert_log(f, "REMOVE SYMLINK ");
	/* The directory that it went through leaves nothing. */
	assert_int_equal(f_rmdir(f, ROOT, "trash"), 0);
	assert_log(f, "REMOVE SYMLINK RMDIR ");
	sent(t);
	/* Open still: it goes for the upstream. */
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	ino = known(t, "a", "old");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_int_equal(f_rename(f, ROOT, "b", ROOT, LOCAL), 0);
	assert_log(f, "REMOVE ");
	assert_content(f, ino, "old");
	assert_int_equal(f_remove(f, ROOT, LOCAL), 0);
	sent(t);
	assert_null(up_at(t->up, "a"));
	/* It is made anew under the name that it was removed from. */
	known(t, "a", "old");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	made_as(t, "a", 0644, 0, "new");
	assert_log(f, "STORE ");
	sent(t);
}

static void not_renamed_and_removed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = known(t, "a", "old"), dir;

	/* Records behind the rename speak of it. */
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	assert_int_equal(f_rename(f, ROOT, "c", ROOT, "d"), 0);
	assert_int_equal(f_remove(f, ROOT, "d"), 0);
	assert_log(f, "RENAME LINK RENAME REMOVE ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "RENAME LINK RENAME REMOVE REMOVE ");
	sent(t);
	/* It may have been sent. */
	known(t, "a", "old");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	frozen(t);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "RENAME REMOVE ");
	sent(t);
	/* It took another's place. */
	known(t, "a", "old");
	known(t, "b", "other");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "RENAME REMOVE ");
	sent(t);
	/* It has another name. */
	ino = known(t, "a", "old");
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "RENAME REMOVE ");
	sent(t);
	assert_up(t->up, "c", "old");
	/* A directory is empty only now. */
	dir = made_dir(f, ROOT, "d");
	made(f, dir, "x", "content");
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "d", ROOT, "e"), 0);
	assert_int_equal(f_remove(f, dir, "x"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "e"), 0);
	assert_log(f, "RENAME REMOVE RMDIR ");
	sent(t);
}

/* ---- directories that are filled, and renamed ---- */

static void filled_and_renamed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t to = made_dir(f, ROOT, "to"), dir;

	known(t, "k", "known");
	known(t, "l", "another");
	dir = made_dir(f, ROOT, "build");
	made(f, dir, "a", "content");
	made(f, made_dir(f, dir, "sub"), "b", "below");
	assert_int_equal(f_rename(f, ROOT, "k", dir, "k"), 0);
	assert_int_equal(f_chmod(f, dir, 0700), 0);
	assert_log(f, "MKDIR CREATE STORE MKDIR CREATE STORE RENAME SETATTR ");
	assert_int_equal(f_rename(f, ROOT, "build", ROOT, "build.old"), 0);
	assert_log(f, "MKDIR CREATE STORE MKDIR CREATE STORE RENAME SETATTR ");
	/* Other names do not stand in the way; nor do renames of files. */
	assert_int_equal(f_rename(f, ROOT, "l", ROOT, "m"), 0);
	assert_int_equal(f_rename(f, ROOT, "build.old", to, "build"), 0);
	assert_int_equal(f_rename(f, to, "build", to, "b"), 0);
	assert_log(f, "MKDIR CREATE STORE MKDIR CREATE STORE RENAME SETATTR RENAME ");
	/* A directory below it likewise. */
	assert_int_equal(f_rename(f, dir, "sub", dir, "sub2"), 0);
	assert_log(f, "MKDIR CREATE STORE MKDIR CREATE STORE RENAME SETATTR RENAME ");
	made_dir(f, ROOT, "build");
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE NOT ino"), 2);	/* of k and l */
	sent(t);
	assert_up(t->up, "to/b/a", "content");
	assert_up(t->up, "to/b/sub2/b", "below");
	assert_up(t->up, "to/b/k", "known");
	assert_int_equal(up_at(t->up, "to/b")->mode, 0700);
	/* Back and forth. */
	dir = made_dir(f, ROOT, "x");
	made(f, dir, "a", NULL);
	assert_int_equal(f_rename(f, ROOT, "x", to, "x"), 0);
	assert_int_equal(f_rename(f, to, "x", ROOT, "x"), 0);
	assert_log(f, "MKDIR CREATE ");
	assert_int_equal(f_remove(f, dir, "a"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "x"), 0);
	assert_log(f, "");
	sent(t);
}

/* The mark that the name had before comes back, and the new name's is known. */
static void filled_and_renamed_to_a_removed_one(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir;

	known(t, "a", "1");
	known(t, "b", "2");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	dir = made_dir(f, ROOT, "a");
	made(f, dir, "x", NULL);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_log(f, "REMOVE REMOVE MKDIR CREATE ");
	assert_int_equal(query(f, "SELECT seq FROM name WHERE name = x'61'"), query(f, "SELECT min(seq) FROM cml"));
	assert_int_equal(f_rename(f, ROOT, "b", ROOT, "c"), 0);
	assert_log(f, "REMOVE REMOVE MKDIR CREATE ");
	assert_int_equal(query(f, "SELECT seq FROM name WHERE name = x'62'"), query(f, "SELECT min(seq) + 1 FROM cml"));
	sent(t);
}

static void not_filled_and_renamed(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir, x;

	known(t, "first", "1");
	/* It may have been sent. */
	dir = made_dir(f, ROOT, "a");
	made(f, dir, "x", NULL);
	frozen(t);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_log(f, "MKDIR CREATE RENAME ");
	sent(t);
	/* The name was another's after it had been made. */
	dir = made_dir(f, ROOT, "a");
	made(f, dir, "x", NULL);
	assert_int_equal(f_remove(f, ROOT, "first"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "first"), 0);
	assert_log(f, "MKDIR CREATE REMOVE RENAME ");
	sent(t);
	/* Where it goes was made after it. */
	dir = made_dir(f, ROOT, "c");
	made(f, dir, "x", NULL);
	x = made_dir(f, ROOT, "later");
	assert_int_equal(f_rename(f, ROOT, "c", x, "c"), 0);
	assert_log(f, "MKDIR CREATE MKDIR RENAME ");
	/* A chain, then. */
	assert_int_equal(f_rename(f, x, "c", x, "d"), 0);
	assert_log(f, "MKDIR CREATE MKDIR RENAME ");
	sent(t);
	/* It was renamed when it could not be made there; what that says stays. */
	known(t, "used", "1");
	dir = made_dir(f, ROOT, "f");
	made(f, dir, "x", NULL);
	assert_int_equal(f_remove(f, ROOT, "used"), 0);
	assert_int_equal(f_rename(f, ROOT, "f", ROOT, "used"), 0);
	assert_int_equal(f_rename(f, ROOT, "used", ROOT, "g"), 0);
	assert_log(f, "MKDIR CREATE REMOVE RENAME ");
	sent(t);
	/* It takes the place of another. */
	made_dir(f, ROOT, "empty");
	sent(t);
	dir = made_dir(f, ROOT, "e");
	made(f, dir, "x", NULL);
	assert_int_equal(f_rename(f, ROOT, "e", ROOT, "empty"), 0);
	assert_log(f, "MKDIR CREATE RENAME ");
	sent(t);
	/* Where it goes was in it meanwhile. */
	x = made_dir(f, ROOT, "x");
	sent(t);
	dir = made_dir(f, ROOT, "y");
	assert_int_equal(f_rename(f, ROOT, "x", dir, "x"), 0);
	assert_int_equal(f_rename(f, dir, "x", ROOT, "z"), 0);
	assert_log(f, "MKDIR RENAME ");
	made(f, dir, "n", NULL);
	assert_int_equal(f_rename(f, ROOT, "y", x, "y"), 0);
	assert_log(f, "MKDIR RENAME CREATE RENAME ");
	sent(t);
}

/* A directory that was renamed and is gone: of what it was the log does not know any more. */
static void renamed_after_one_that_is_gone(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t dir;

	made_dir(f, ROOT, "d");
	sent(t);
	dir = made_dir(f, ROOT, "a");
	made(f, dir, "x", NULL);
	assert_int_equal(f_rename(f, ROOT, "d", dir, "d"), 0);
	assert_int_equal(f_rmdir(f, dir, "d"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "b"), 0);
	assert_log(f, "MKDIR CREATE RENAME RMDIR RENAME ");
	sent(t);
}

/* Names that came and went are told of by their directories' times (sent() compares those of all but the root). */
static void directory_times(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t d = made_dir(f, ROOT, "d"), e = made_dir(f, ROOT, "e"), dir;

	made(f, d, "a", "content");
	sent(t);
	assert_int_equal(f_remove(f, d, "a"), 0);
	made(f, d, "a", "new");
	assert_log(f, "STORE ");
	sent(t);
	assert_int_equal(f_rename(f, d, "a", e, "b"), 0);
	made(f, d, "a", "newer");
	assert_int_equal(f_remove(f, e, "b"), 0);
	assert_log(f, "STORE ");
	sent(t);
	assert_int_equal(f_link(f, found(f, d, "a"), e, "b"), 0);
	made(f, d, "temp", "newest");
	assert_int_equal(f_rename(f, d, "temp", d, "a"), 0);
	assert_log(f, "RENAME CREATE STORE ");
	sent(t);
	assert_int_equal(f_rename(f, e, "b", d, "c"), 0);
	assert_int_equal(f_remove(f, d, "c"), 0);
	assert_log(f, "REMOVE ");
	sent(t);
	dir = made_dir(f, d, "x");
	made(f, dir, "a", NULL);
	assert_int_equal(f_rename(f, d, "x", e, "x"), 0);
	assert_log(f, "MKDIR CREATE ");
	sent(t);
	made_dir(f, e, "y");
	sent(t);
	assert_int_equal(f_rmdir(f, e, "y"), 0);
	made_dir(f, e, "y");
	assert_log(f, "");
	sent(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, t_setup, t_teardown)
		TEST(renamed_and_removed),
		TEST(not_renamed_and_removed),
		TEST(filled_and_renamed),
		TEST(filled_and_renamed_to_a_removed_one),
		TEST(not_filled_and_renamed),
		TEST(renamed_after_one_that_is_gone),
		TEST(directory_times),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
