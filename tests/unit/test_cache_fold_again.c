/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the log shrinks (cache/fold.h) where programs do things over again: files that are removed and made anew, or replaced with a backup,
 * and directories that are filled under one name and get another.
 */
#include "tests/unit/fold_fixture.h"

#include "base/log.h"
#include "cache/apply.h"

/* One that the upstream has. */
static uint64_t known(struct test *t, const char *name, const char *content)
{
	uint64_t ino = made(t->f, ROOT, name, content);

	assert_int_equal(f_chmod(t->f, ino, 0644), 0);
	sent(t);
	return ino;
}

/* With that mode, and that owner. */
static uint64_t made_as(struct test *t, const char *name, unsigned mode, uint32_t uid, const char *content)
{
	uint64_t ino;

	t->f->cred.uid = uid;
	assert_int_equal(f_create(t->f, ROOT, name, mode), 0);
	ino = t->f->op.ino;
	t->f->cred.uid = 0;
	assert_int_equal(f_write(t->f, ino, 0, content), 0);
	assert_int_equal(f_commit(t->f, ino), 0);
	return ino;
}

static uint64_t made_anew(struct test *t, const char *name, const char *content)
{
	assert_int_equal(f_remove(t->f, ROOT, name), 0);
	return made_as(t, name, 0644, 0, content);
}

/* The first record is a store of all of that object, done on that version. */
static void assert_store_of(struct test *t, struct kml_oid oid, uint64_t version)
{
	struct cml_batch *batch = take(t->f, 1, UINT64_MAX);
	const struct kml_store *store;

	assert_string_equal(ops(batch), "STORE ");
	store = &batch->items[0].record.body.kml_body_u.store;
	assert_true(kml_oid_equal(store->oid, oid));
	assert_int_equal(store->data_base, version);
	assert_int_equal(store->keep_size, 0);
	cml_give_back(t->f->cache, batch);
}

static int64_t of_inode(struct test *t, uint64_t ino, const char *column)
{
	char sql[100];

	snprintf(sql, sizeof(sql), "SELECT %s FROM inode WHERE ino = %llu", column, (unsigned long long)ino);
	return query(t->f, sql);
}

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
		TEST(saved_with_a_backup),
		TEST(not_saved_with_a_backup),
		TEST(upgraded_with_a_link),
		TEST(not_upgraded_with_a_link),
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
