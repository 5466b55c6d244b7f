/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the log shrinks (cache/fold.h) where programs do things over again: files and directories that are removed and made anew. */
#include "tests/unit/fold_again.h"

#include "cache/apply.h"

/* ---- removed, and made anew ---- */

static void removed_and_made_anew(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t first = known(t, "a", "the first one, longer than what follows"), ino = 0;
	uint64_t version = up_at(t->up, "a")->data_version;
	struct kml_oid oid = oid_of(t, "a");

	for (int i = 0; i < 100; i++) {
		char content[24];

		snprintf(content, sizeof(content), "version %d", i);
		ino = made_anew(t, "a", content);
		assert_log(f, "STORE ");
	}
	/* For programs it is another file, which stays that. */
	assert_true(ino != first);
	assert_int_equal(f_getattr(f, first), -ESTALE);
	assert_int_equal(f_write(f, ino, 8, "A"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_log(f, "STORE ");
	assert_int_equal(query(f, "SELECT count(*) FROM inode"), 2);
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE seq OR NOT ino"), 0);
	assert_store_of(t, oid, version);
	f_reopen(f);
	assert_content(f, ino, "version A9");
	sent(t);
	assert_up(t->up, "a", "version A9");
	assert_true(kml_oid_equal(oid_of(t, "a"), oid));
	assert_int_equal(up_at(t->up, "a")->mode, 0644);
	assert_int_equal(t->up->n_objects, 2);
	/* And when it goes for good. */
	made_anew(t, "a", "once more");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "REMOVE ");
	sent(t);
	assert_null(up_at(t->up, "a"));
}

/* An empty one takes the content away, at once: nothing will be written to it. */
static void made_anew_empty(void **state)
{
	struct attr_change change = { .set = SET_MODE | SET_SIZE, .mode = 0644, .size = 3 };
	struct test *t = *state;

	known(t, "a", "content");
	assert_int_equal(f_remove(t->f, ROOT, "a"), 0);
	assert_int_equal(f_create(t->f, ROOT, "a", 0644), 0);
	assert_log(t->f, "STORE ");
	sent(t);
	assert_up(t->up, "a", "");
	/* And of a size at once. */
	assert_int_equal(f_remove(t->f, ROOT, "a"), 0);
	assert_int_equal(f_wait(t->f, cache_create(t->f->cache, f_begin(t->f), ROOT, text("a"), CREATE_UNCHECKED, &change, NULL)), 0);
	assert_log(t->f, "STORE ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->size, 3);
}

static void renamed_to_a_removed_one(void **state)
{
	struct test *t = *state;
	struct kml_oid oid;
	uint64_t version, ino;

	known(t, "a", "old");
	oid = oid_of(t, "a");
	version = up_at(t->up, "a")->data_version;
	ino = made_as(t, "temp", 0644, 0, "new");
	assert_int_equal(f_remove(t->f, ROOT, "a"), 0);
	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, "a"), 0);
	assert_int_equal(found(t->f, ROOT, "a"), ino);
	assert_store_of(t, oid, version);
	sent(t);
	assert_up(t->up, "a", "new");
	/* What was not committed is not synced for it. */
	assert_int_equal(f_remove(t->f, ROOT, "a"), 0);
	assert_int_equal(f_create(t->f, ROOT, "temp", 0644), 0);
	ino = t->f->op.ino;
	assert_int_equal(f_write(t->f, ino, 0, "newer"), 0);
	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, "a"), 0);
	assert_log(t->f, "REMOVE CREATE ");
	assert_int_equal(f_commit(t->f, ino), 0);
	sent(t);
	assert_up(t->up, "a", "newer");
}

/* Mode and owner go along where they differ from what the upstream has; which need not be what was here last. */
static void made_anew_with_attributes(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	known(t, "a", "old");
	assert_int_equal(f_chmod(f, ROOT, 0777), 0);
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	made_as(t, "a", 0755, 0, "new");
	assert_log(f, "SETATTR STORE ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->mode, 0755);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	made_as(t, "a", 0755, 1000, "another's");
	assert_log(f, "SETATTR STORE ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->uid, 1000);
	/* A chmod that waits goes with the file that it was for. */
	assert_int_equal(f_chmod(f, found(f, ROOT, "a"), 0600), 0);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "REMOVE ");
	made_as(t, "a", 0600, 1000, "the same again");
	assert_log(f, "SETATTR STORE ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->mode, 0600);
	assert_int_equal(up_at(t->up, "a")->uid, 1000);
}

static void not_made_anew_if_taken(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct kml_answer answer;
	struct cml_batch *batch;
	uint64_t ino = known(t, "a", "old");

	/* Its removal. */
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	frozen(t);
	made_as(t, "a", 0644, 0, "new");
	assert_log(f, "REMOVE CREATE STORE ");
	sent(t);
	/* A store that was on its way when it was removed, and is answered since. */
	ino = found(f, ROOT, "a");
	assert_int_equal(f_write(f, ino, 0, "N"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	batch = take(f, ALL);
	assert_string_equal(ops(batch), "STORE ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	answer = up_send(t->up, f->cache, &batch->items[0]);
	assert_int_equal(cml_retire(f->cache, batch, &answer, 1), 0);
	made_as(t, "a", 0644, 0, "newer");
	assert_log(f, "REMOVE CREATE STORE ");
	sent(t);
	assert_up(t->up, "a", "newer");
	/* A rename that is on its way by now. */
	assert_int_equal(f_link(f, found(f, ROOT, "a"), ROOT, "l"), 0);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_log(f, "LINK REMOVE ");
	assert_int_equal(f_remove(f, ROOT, "l"), 0);
	assert_log(f, "LINK REMOVE REMOVE ");
	batch = take(f, 1, UINT64_MAX);
	made_as(t, "l", 0644, 0, "newest");
	assert_log(f, "LINK REMOVE REMOVE CREATE STORE ");
	cml_give_back(f->cache, batch);
	sent(t);
	assert_up(t->up, "l", "newest");
}

/* Both must be files, and the old one no longer there under any name. */
static void not_made_anew_if_another(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t ino = known(t, "a", "old");

	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(f_symlink(f, ROOT, "a", "text"), 0);
	assert_log(f, "REMOVE SYMLINK ");
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	made_dir(f, ROOT, "a");
	assert_log(f, "REMOVE MKDIR ");
	assert_int_equal(f_rmdir(f, ROOT, "a"), 0);
	/* What came in between leaves nothing. */
	made_as(t, "a", 0644, 0, "new");
	assert_log(f, "STORE ");
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(f_symlink(f, ROOT, "a", "text"), 0);
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	made_as(t, "a", 0644, 0, "after a symlink");
	assert_log(f, "REMOVE CREATE STORE ");
	sent(t);
	/* Another name. */
	ino = found(f, ROOT, "a");
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	sent(t);
	made_anew(t, "a", "new");
	assert_log(f, "REMOVE CREATE STORE ");
	sent(t);
	assert_up(t->up, "b", "after a symlink");
	/* Open still. */
	assert_int_equal(f_rename(f, ROOT, "a", ROOT, LOCAL), 0);
	made_as(t, "a", 0644, 0, "while it is open");
	assert_log(f, "REMOVE CREATE STORE ");
	assert_int_equal(f_remove(f, ROOT, LOCAL), 0);
	sent(t);
}

/* As setfacl does it, with a right of user 5's. */
static void set_acl(struct test *t, uint64_t ino, bool is_default)
{
	struct acl_entry entries[] = { { ACL_USER_OBJ, 6, 0 }, { ACL_USER, 6, 5 }, { ACL_GROUP_OBJ, 4, 0 }, { ACL_MASK, 6, 0 }, { ACL_OTHER, 4, 0 } };
	struct acl acl = { .n = 5, .v = entries };
	struct acls acls = { .access = acl, .def = acl };

	assert_int_equal(apply_has_acls(t->f->cache, true), 0);
	assert_int_equal(f_wait(t->f, cache_setacl(t->f->cache, f_begin(t->f), ino, is_default ? ACL_SET_DEFAULT : ACL_SET_ACCESS, &acls)), 0);
}

/* One that has access control lists would keep them; one that inherits some gets them. */
static void made_anew_with_acls(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	set_acl(t, known(t, "a", "old"), false);
	sent(t);
	assert_int_equal(up_at(t->up, "a")->n_access, 5);
	made_anew(t, "a", "new");
	assert_log(f, "REMOVE CREATE STORE ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->n_access, 0);
	set_acl(t, ROOT, true);
	sent(t);
	made_anew(t, "a", "newer");
	assert_log(f, "SETACL STORE ");
	sent(t);
	assert_int_equal(up_at(t->up, "a")->n_access, 5);
}

/* What the upstream told meanwhile has found nobody here: it is asked. */
static void made_anew_after_news(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;

	known(t, "a", "old");
	assert_int_equal(of_inode(t, made_anew(t, "a", "new"), "is_stale"), 0);
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	f_close(f);
	exec_sql(f, "UPDATE meta SET value = value + 5 WHERE key = 'position'; "
		    "INSERT OR IGNORE INTO meta (key, value) VALUES ('position', 5)");
	f_open(f);
	assert_int_equal(of_inode(t, made_as(t, "a", 0644, 0, "newer"), "is_stale"), 1);
	assert_log(f, "STORE ");
}

/* Somebody else has changed it: found out as it would have been by the REMOVE. */
static void made_anew_in_conflict(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct cml_batch *batch;
	struct kml_answer answer;

	known(t, "a", "old");
	made_anew(t, "a", "ours");
	up_at(t->up, "a")->is_theirs = true;
	up_at(t->up, "a")->data_version += 1000;
	memcpy(up_at(t->up, "a")->data, "THE", 3);
	batch = take(f, ALL);
	answer = up_send(t->up, f->cache, &batch->items[0]);
	assert_int_equal(answer.status, KML_CONFLICT);
	assert_up(t->up, "a", "THE");
	cml_give_back(f->cache, batch);
}

/* ---- directories that are removed, and made anew ---- */

/* out/a, out/sub/b */
static void built_in(struct test *t, uint64_t out, const char *content)
{
	made(t->f, out, "a", content);
	made(t->f, made_dir(t->f, out, "sub"), "b", content);
}

static void built(struct test *t, const char *content)
{
	built_in(t, made_dir(t->f, ROOT, "out"), content);
}

static void cleaned(struct test *t)
{
	uint64_t out = found(t->f, ROOT, "out"), sub = found(t->f, out, "sub");

	assert_int_equal(f_remove(t->f, sub, "b"), 0);
	assert_int_equal(f_rmdir(t->f, out, "sub"), 0);
	assert_int_equal(f_remove(t->f, out, "a"), 0);
	assert_int_equal(f_rmdir(t->f, ROOT, "out"), 0);
}

static void cleaned_and_built(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct kml_oid oids[4];
	uint64_t first;

	built(t, "the first");
	made(f, found(f, ROOT, "out"), "not made again", "x");
	sent(t);
	first = found(f, ROOT, "out");
	for (int i = 0; i < 4; i++)
		oids[i] = oid_of(t, ((const char *const[]){ "out", "out/sub", "out/a", "out/sub/b" })[i]);
	assert_int_equal(f_remove(f, first, "not made again"), 0);
	for (int i = 0; i < 10; i++) {
		cleaned(t);
		assert_log(f, "REMOVE REMOVE RMDIR REMOVE RMDIR ");
		built(t, "again");
		assert_log(f, "REMOVE STORE STORE ");
	}
	assert_int_equal(f_getattr(f, first), -ESTALE);
	assert_true(found(f, ROOT, "out") != first);
	/* The upstream still has it: its name must not come back by what is told of it. */
	assert_int_equal(query(f, "SELECT count(*) FROM name WHERE NOT ino AND seq = (SELECT min(seq) FROM cml)"), 1);
	f_reopen(f);
	sent(t);
	for (int i = 0; i < 4; i++)
		assert_true(kml_oid_equal(oids[i], oid_of(t, ((const char *const[]){ "out", "out/sub", "out/a", "out/sub/b" })[i])));
	assert_up(t->up, "out/sub/b", "again");
	assert_null(up_at(t->up, "out/not made again"));
	/* It was renamed before that: what waits about it is the new one's. */
	assert_int_equal(f_rename(f, ROOT, "out", ROOT, "o"), 0);
	assert_int_equal(f_remove(f, found(f, ROOT, "o"), "a"), 0);
	assert_int_equal(f_remove(f, found(f, found(f, ROOT, "o"), "sub"), "b"), 0);
	assert_int_equal(f_rmdir(f, found(f, ROOT, "o"), "sub"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "o"), 0);
	assert_log(f, "RENAME REMOVE REMOVE RMDIR RMDIR ");
	made_dir(f, ROOT, "o");
	assert_log(f, "RENAME REMOVE REMOVE RMDIR ");
	assert_int_equal(f_rename(f, ROOT, "o", ROOT, "out"), 0);
	assert_log(f, "REMOVE REMOVE RMDIR ");
	built_in(t, found(f, ROOT, "out"), "again");
	sent(t);
	/* Other attributes; and gone for good. */
	cleaned(t);
	assert_int_equal(f_mkdir(f, ROOT, "out", 0700), 0);
	assert_log(f, "REMOVE RMDIR REMOVE SETATTR ");
	sent(t);
	assert_int_equal(up_at(t->up, "out")->mode, 0700);
	assert_int_equal(f_rmdir(f, ROOT, "out"), 0);
	made_dir(f, ROOT, "out");
	assert_int_equal(f_rmdir(f, ROOT, "out"), 0);
	assert_log(f, "SETATTR RMDIR ");
	sent(t);
}

static void not_cleaned_and_built(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	struct kml_answer answer;
	struct cml_batch *batch;

	/* A removal in it, or its own, may have been sent. */
	built(t, "first");
	sent(t);
	assert_int_equal(f_remove(f, found(f, ROOT, "out"), "a"), 0);
	frozen(t);
	assert_int_equal(f_remove(f, found(f, found(f, ROOT, "out"), "sub"), "b"), 0);
	assert_int_equal(f_rmdir(f, found(f, ROOT, "out"), "sub"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "out"), 0);
	built(t, "second");
	assert_log(f, "REMOVE REMOVE RMDIR RMDIR MKDIR CREATE STORE MKDIR CREATE STORE ");
	sent(t);
	cleaned(t);
	cml_give_back(f->cache, take(f, 1, UINT64_MAX));
	built(t, "third");
	assert_log(f, "REMOVE RMDIR STORE MKDIR CREATE STORE ");
	sent(t);
	/* Nor what was removed in a directory that is another now. */
	cleaned(t);
	assert_int_equal(f_symlink(f, ROOT, "out", "text"), 0);
	sent(t);
	assert_int_equal(f_remove(f, ROOT, "out"), 0);
	built(t, "fourth");
	assert_log(f, "REMOVE MKDIR CREATE STORE MKDIR CREATE STORE ");
	sent(t);
	/* It is a file now. */
	made_dir(f, ROOT, "e");
	sent(t);
	assert_int_equal(f_rmdir(f, ROOT, "e"), 0);
	made(f, ROOT, "e", NULL);
	assert_log(f, "RMDIR CREATE ");
	sent(t);
	/* A rename of it was on its way when it was removed. */
	made_dir(f, ROOT, "g");
	sent(t);
	assert_int_equal(f_rename(f, ROOT, "g", ROOT, "h"), 0);
	batch = take(f, 1, UINT64_MAX);
	assert_string_equal(ops(batch), "RENAME ");
	assert_int_equal(f_rmdir(f, ROOT, "h"), 0);
	answer = up_send(t->up, f->cache, &batch->items[0]);
	assert_int_equal(cml_retire(f->cache, batch, &answer, 1), 0);
	made_dir(f, ROOT, "h");
	assert_log(f, "RMDIR MKDIR ");
	sent(t);
	/* A change of its attributes waits. */
	assert_int_equal(f_chmod(f, found(f, ROOT, "out"), 0700), 0);
	cleaned(t);
	made_dir(f, ROOT, "out");
	assert_log(f, "SETATTR REMOVE RMDIR REMOVE RMDIR MKDIR ");
	sent(t);
	/* Something was told meanwhile: it may have been about names in it. */
	assert_int_equal(f_rmdir(f, ROOT, "out"), 0);
	f_close(f);
	exec_sql(f, "UPDATE meta SET value = value + 5 WHERE key = 'position'; "
		    "INSERT OR IGNORE INTO meta (key, value) VALUES ('position', 5)");
	f_open(f);
	made_dir(f, ROOT, "out");
	assert_log(f, "RMDIR MKDIR ");
	sent(t);
}

/* What came to be in it, and went while it was gone, has taken the marks with it that it had there. */
static void marks_are_gone_meanwhile(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t out, ino;

	built(t, "first");
	sent(t);
	out = found(f, ROOT, "out");
	assert_int_equal(f_remove(f, found(f, out, "sub"), "b"), 0);
	assert_int_equal(f_rmdir(f, out, "sub"), 0);
	assert_int_equal(f_remove(f, out, "a"), 0);
	assert_int_equal(f_symlink(f, out, "a", "between"), 0);
	ino = f->op.ino;
	assert_int_equal(f_link(f, ino, ROOT, "l"), 0);
	assert_int_equal(f_rename(f, out, "a", ROOT, "m"), 0);
	assert_int_equal(f_rmdir(f, ROOT, "out"), 0);
	assert_log(f, "REMOVE RMDIR REMOVE SYMLINK LINK RENAME RMDIR ");
	assert_int_equal(f_remove(f, ROOT, "l"), 0);
	assert_int_equal(f_remove(f, ROOT, "m"), 0);
	made_dir(f, ROOT, "out");
	sent(t);
}

/* Of a directory with too many names nothing is noted. */
static void too_much_is_cleaned(void **state)
{
	struct test *t = *state;
	struct fixture *f = t->f;
	uint64_t out = made_dir(f, ROOT, "out");
	char name[270];

	memset(name, 'n', sizeof(name));
	for (int i = 0; i < 135; i++) {
		snprintf(name + 250, sizeof(name) - 250, "%d", i);
		made(f, out, name, NULL);
	}
	sent(t);
	for (int i = 0; i < 135; i++) {
		snprintf(name + 250, sizeof(name) - 250, "%d", i);
		assert_int_equal(f_remove(f, out, name), 0);
	}
	assert_int_equal(f_rmdir(f, ROOT, "out"), 0);
	made_dir(f, ROOT, "out");
	assert_int_equal(query(f, "SELECT count(*) FROM cml"), 135 + 2);
	sent(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, t_setup, t_teardown)
		TEST(removed_and_made_anew),
		TEST(made_anew_empty),
		TEST(renamed_to_a_removed_one),
		TEST(made_anew_with_attributes),
		TEST(not_made_anew_if_taken),
		TEST(not_made_anew_if_another),
		TEST(made_anew_with_acls),
		TEST(made_anew_after_news),
		TEST(made_anew_in_conflict),
		TEST(cleaned_and_built),
		TEST(not_cleaned_and_built),
		TEST(marks_are_gone_meanwhile),
		TEST(too_much_is_cleaned),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
