/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the log shrinks where files are replaced with a backup: by a name, or by a link. */
#include "tests/unit/fold_again.h"

/* ---- backups ---- */

/* As vim does it, but for the removal of the backup. */
static uint64_t saved_beside(struct test *t, const char *name, const char *backup, const char *content)
{
	assert_int_equal(f_rename(t->f, ROOT, name, ROOT, backup), 0);
	return made_as(t, name, 0644, 0, content);
}

static void saved_with_a_backup(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t version, ino = 0;
	struct kml_oid oid;

	known(t, "a", "the first one, longer than what follows");
	oid = oid_of(t, "a");
	version = up_at(t->up, "a")->data_version;
	for (int i = 0; i < 100; i++) {
		char content[24];

		snprintf(content, sizeof(content), "version %d", i);
		ino = saved_beside(t, "a", "a~", content);
		if (!i)
			assert_log(f, "RENAME CREATE STORE ");
		assert_int_equal(f_remove(f, ROOT, "a~"), 0);
		assert_log(f, "STORE ");
	}
	assert_int_equal(found(f, ROOT, "a"), ino);
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 2);
	assert_int_equal(query(f, "SELECT count(*) FROM name"), 1);
	assert_int_equal(f_content_files(f, false), 1);
	assert_store_of(t, oid, version);
	sent(t);
	assert_up(t->up, "a", "version 99");
	assert_true(kml_oid_equal(oid_of(t, "a"), oid));
	/* In another directory, and another mode. */
	assert_int_equal(f_rename(f, ROOT, "a", made_dir(f, ROOT, "d"), "a"), 0);
	made_as(t, "a", 0600, 0, "the last");
	assert_int_equal(f_remove(f, found(f, ROOT, "d"), "a"), 0);
	assert_log(f, "MKDIR SETATTR STORE ");
	assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
	sent(t);
	assert_up(t->up, "a", "the last");
	assert_int_equal(up_at(t->up, "a")->mode, 0600);
}

/* Where the new one cannot be a store of the old one, that is removed under its old name. */
static void not_saved_with_a_backup(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino;

	/* Its content is not committed. */
	known(t, "a", "old");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "a~"), 0);
	assert_int_equal(f_create(f, ROOT, "a", 0644), 0);
	ino = f->op.ino;
	assert_int_equal(f_write(f, ino, 0, "new"), 0);
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "REMOVE CREATE ");
	assert_int_equal(f_commit(f, ino), 0);
	sent(t);
	assert_up(t->up, "a", "new");
	/* It has another name. */
	ino = saved_beside(t, "a", "a~", "newer");
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "REMOVE CREATE STORE LINK ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	sent(t);
	/* It may have been sent. */
	saved_beside(t, "a", "a~", "new");
	frozen(t);
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "RENAME CREATE STORE REMOVE ");
	sent(t);
	/* The rename has, but for that nothing. */
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "a~"), 0);
	frozen(t);
	made_as(t, "a", 0644, 0, "newer");
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "RENAME CREATE STORE REMOVE ");
	sent(t);
	/* The backup's name was another's. */
	known(t, "a~", "an older backup");
	saved_beside(t, "a", "a~", "new");
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "RENAME CREATE STORE REMOVE ");
	sent(t);
	/* What is there now was there before. */
	known(t, "b", "another");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "a~"), 0);
	assert_int_equal(f_rename(f, ROOT, "b", ROOT, "a"), 0);
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "REMOVE RENAME ");
	sent(t);
	assert_up(t->up, "a", "another");
	/* Another has been there in between. */
	ino = known(t, "c", "in between");
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "a~"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "a"), 0);
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, "e"), 0);
	made_as(t, "a", 0644, 0, "after that");
	assert_log(f, "RENAME LINK RENAME CREATE STORE ");
	assert_int_equal(f_remove(f, ROOT, "a~"), 0);
	assert_log(f, "REMOVE LINK RENAME CREATE STORE ");
	sent(t);
	assert_up(t->up, "a", "after that");
}

/* As dpkg does it. */
static void upgrade(struct test *t, const char *content)
{
	made_as(t, "a.dpkg-new", 0644, 0, content);
	assert_int_equal(f_link(t->f, found(t->f, ROOT, "a"), ROOT, "a.dpkg-tmp"), 0);
	assert_int_equal(f_rename(t->f, ROOT, "a.dpkg-new", ROOT, "a"), 0);
}

static void upgraded_with_a_link(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct kml_oid oid;
	uint64_t version;

	known(t, "a", "the first one, longer than what follows");
	oid = oid_of(t, "a");
	version = up_at(t->up, "a")->data_version;
	for (int i = 0; i < 100; i++) {
		char content[24];

		snprintf(content, sizeof(content), "version %d", i);
		upgrade(t, content);
		assert_log(f, i ? "STORE RENAME CREATE STORE " : "RENAME CREATE STORE ");
		assert_int_equal(f_remove(f, ROOT, "a.dpkg-tmp"), 0);
		assert_log(f, "STORE ");
	}
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 2);
	assert_int_equal(query(f, "SELECT count(*) FROM name"), 1);
	assert_store_of(t, oid, version);
	sent(t);
	assert_up(t->up, "a", "version 99");
	assert_true(kml_oid_equal(oid_of(t, "a"), oid));
	/* The upgrade fails: the backup goes back. */
	upgrade(t, "broken");
	assert_int_equal(f_rename(f, ROOT, "a.dpkg-tmp", ROOT, "a"), 0);
	sent(t);
	assert_up(t->up, "a", "version 99");
	/* The backup stays. */
	upgrade(t, "new");
	assert_log(f, "RENAME CREATE STORE ");
	sent(t);
	assert_up(t->up, "a", "new");
	assert_up(t->up, "a.dpkg-tmp", "version 99");
	assert_int_equal(f_remove(f, ROOT, "a.dpkg-tmp"), 0);
	sent(t);
	/* One that is new itself. */
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	sent(t);
	made_as(t, "a", 0644, 0, "one");
	upgrade(t, "two");
	assert_log(f, "CREATE STORE CREATE STORE ");
	assert_int_equal(f_remove(f, ROOT, "a.dpkg-tmp"), 0);
	assert_log(f, "CREATE STORE ");
	sent(t);
	assert_up(t->up, "a", "two");
}

static void not_upgraded_with_a_link(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = known(t, "a", "old");

	/* The link may have been sent. */
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	frozen(t);
	saved(t, "a", "new");
	assert_log(f, "LINK CREATE STORE RENAME ");
	assert_int_equal(f_remove(f, ROOT, "b"), 0);
	assert_log(f, "LINK CREATE STORE RENAME REMOVE ");
	sent(t);
	/* It has a third name. */
	ino = found(f, ROOT, "a");
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "c"), 0);
	saved(t, "a", "newer");
	assert_log(f, "LINK LINK CREATE STORE RENAME ");
	sent(t);
	assert_up(t->up, "b", "new");
	assert_up(t->up, "c", "new");
	/* The link is older: its name is not one of the log's. */
	saved(t, "b", "newest");
	assert_log(f, "CREATE STORE RENAME ");
	sent(t);
	assert_up(t->up, "c", "new");
	/* The other name is not a link of the log's, but was renamed in it. */
	ino = found(f, ROOT, "b");
	assert_int_equal(f_link(f, ino, ROOT, "m"), 0);
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "m", ROOT, "n"), 0);
	saved(t, "b", "new again");
	assert_log(f, "RENAME CREATE STORE RENAME ");
	sent(t);
	assert_up(t->up, "n", "newest");
	/* It had but the link for a while: without that, what was removed then would have been its last name. */
	ino = known(t, "p", "kept");
	assert_int_equal(f_link(f, ino, ROOT, "q"), 0);
	assert_int_equal(f_remove(f, ROOT, "p"), 0);
	assert_int_equal(f_link(f, ino, ROOT, "r"), 0);
	saved(t, "r", "in its place");
	assert_log(f, "LINK REMOVE LINK CREATE STORE RENAME ");
	sent(t);
	assert_up(t->up, "q", "kept");
	assert_up(t->up, "r", "in its place");
	/* The new one has another name, too. */
	ino = found(f, ROOT, "a");
	assert_int_equal(f_link(f, ino, ROOT, "d"), 0);
	ino = made(f, ROOT, "temp", "two names");
	assert_int_equal(f_link(f, ino, ROOT, "e"), 0);
	assert_int_equal(f_rename(f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(f, "LINK CREATE STORE LINK RENAME ");
	sent(t);
	assert_up(t->up, "d", "newer");
	assert_up(t->up, "a", "two names");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, t_setup, t_teardown)
		TEST(saved_with_a_backup),
		TEST(not_saved_with_a_backup),
		TEST(upgraded_with_a_link),
		TEST(not_upgraded_with_a_link),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
