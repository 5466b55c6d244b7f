/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Batches against a real directory: names that are taken, what is not applied, directories that come back.  As test_httpd_apply.c. */
#include "tests/unit/httpd_batch.h"

/* ---- names that are taken ---- */

static void theirs_has_come(struct fixture *f, const char *name)
{
	put_file(f, name, "theirs");
	assert_int_equal(look(f), 1);
	settle();
	(void)look(f);
}

static void renamed(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	struct batch *b;

	theirs_has_come(f, "a");
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "a", oid(1));
	add_store(b, oid(1), 0, "ours");
	answers = send_for(b, "RENAMED OK");
	assert_int_equal(answers.answers.answers_val[0].name.kml_name_len,
			 strlen("a.conflict-laptop-20100101-000001"));
	kml_answers_release(&answers);
	check_content(f, "a", "theirs");
	check_content(f, "a.conflict-laptop-20100101-000001", "ours");

	/* The client goes on with the name it thinks its file has. */
	b = batch_new(f, CLIENT);
	add_link(b, oid(1), KML_ROOT, "second");
	add_rename(b, oid(1), KML_ROOT, "a", KML_ROOT, "b");
	expect(b, "OK OK");
	check_content(f, "b", "ours");
	assert_false(is_there(f, "a.conflict-laptop-20100101-000001"));
	b = batch_new(f, CLIENT);
	add_symlink(b, KML_ROOT, "a", oid(2), "x");
	add_mknod(b, KML_ROOT, "a", oid(3), KML_FIFO);
	add_mkdir(b, KML_ROOT, "a", oid(4));
	add_link(b, oid(1), KML_ROOT, "a");
	b->v[1].time = b->v[0].time;	/* the same name, then */
	expect(b, "RENAMED RENAMED RENAMED RENAMED");
	assert_true(is_there(f, "a.conflict-laptop-20100101-000005"));
	assert_true(is_there(f, "a.conflict-laptop-20100101-000005-2"));
	assert_true(S_ISDIR(stat_of(f, "a.conflict-laptop-20100101-000007").st_mode));
	b = batch_new(f, CLIENT);
	add_create(b, oid(4), "in it", oid(5));
	add_unlink(b, KML_REMOVE, KML_ROOT, "a", oid(3), 0);
	add_unlink(b, KML_REMOVE, oid(4), "in it", oid(5), 0);
	add_unlink(b, KML_RMDIR, KML_ROOT, "a", oid(4), 0);
	expect(b, "OK OK OK OK");
	assert_false(is_there(f, "a.conflict-laptop-20100101-000005-2"));
	assert_false(is_there(f, "a.conflict-laptop-20100101-000007"));
	check_content(f, "a", "theirs");

	/* A rename to a name that is taken, one that the client did not know of. */
	b = batch_new(f, CLIENT);
	add_rename(b, oid(1), KML_ROOT, "b", KML_ROOT, "a");
	expect(b, "RENAMED");
	check_content(f, "a", "theirs");
	assert_false(is_there(f, "b"));
}

/* The client saves over what got another name than it thinks: one file is left of the two, not an old one besides. */
static void replaced_beside(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	struct batch *b;

	theirs_has_come(f, "a");
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "a", oid(1));
	add_store(b, oid(1), 0, "first");
	add_create(b, KML_ROOT, "new", oid(2));
	add_store(b, oid(2), 0, "second");
	add_rename(b, oid(2), KML_ROOT, "new", KML_ROOT, "a")->replaced = oid(1);
	answers = send_for(b, "RENAMED OK OK OK RENAMED");
	assert_int_equal(answers.answers.answers_val[4].name.kml_name_len, strlen("a.conflict-laptop-20100101-000001"));
	kml_answers_release(&answers);
	check_content(f, "a", "theirs");
	check_content(f, "a.conflict-laptop-20100101-000001", "second");
	assert_false(is_there(f, "new"));
	assert_false(is_there(f, "a.conflict-laptop-20100101-000005"));

	/* It goes on having the name that the client thinks. */
	b = batch_new(f, CLIENT);
	add_rename(b, oid(2), KML_ROOT, "a", KML_ROOT, "b");
	expect(b, "OK");
	check_content(f, "b", "second");

	/* Where others have written to it, it stays, beside ours. */
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "a", oid(3));
	expect(b, "RENAMED");
	b = batch_new(f, OTHER);
	add_store(b, oid(3), f->tree->position, "another's");
	expect(b, "OK");
	b = batch_new(f, CLIENT);
	add_rename(b, oid(2), KML_ROOT, "b", KML_ROOT, "a")->replaced = oid(3);
	expect(b, "RENAMED");
	check_content(f, "a.conflict-laptop-20100101-000007", "another's");
	check_content(f, "a.conflict-laptop-20100101-000009", "second");
}

static void conflict_names(void **state)
{
	static const struct {
		const char *name, *host;
		unsigned n;
		const char *want;
	} cases[] = {
		{ "a", "h", 0, "a.conflict-h-20100101-000000" },
		{ "a", "h", 3, "a.conflict-h-20100101-000000-3" },
		{ "a", "", 0, "a.conflict-unknown-20100101-000000" },
		{ "a", "../x\n", 0, "a.conflict-.._x_-20100101-000000" },
	};
	char longest[KML_NAME_MAX + 1];
	struct name name;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		apply_conflict_name((struct slice){ cases[i].name, strlen(cases[i].name) },
				    cases[i].host, time_of(0), cases[i].n, &name);
		assert_string_equal(name.text, cases[i].want);
	}
	/*
	 * All of it fits, and no character is cut in two: these are two bytes each, at odd offsets.
	 */
	longest[0] = 'x';
	for (size_t i = 1; i < KML_NAME_MAX; i += 2)
		memcpy(longest + i, "\xc3\xa4", 2);
	apply_conflict_name((struct slice){ longest, KML_NAME_MAX }, "host", time_of(0), 2, &name);
	assert_in_range(name.len, KML_NAME_MAX - 1, KML_NAME_MAX);
	assert_int_equal(name.len, strlen(name.text));
	assert_memory_equal(name.text + name.len - strlen(".conflict-host-20100101-000000-2"),
			    ".conflict-host-20100101-000000-2",
			    strlen(".conflict-host-20100101-000000-2"));
	assert_int_equal(
		(unsigned char)name.text[name.len - strlen(".conflict-host-20100101-000000-2") - 1],
		0xa4);
}

static void merged(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	struct batch *b;

	assert_int_equal(mkdirat(f->fd, "d", 0700), 0);
	put_file(f, "d/theirs", "x");
	b = batch_new(f, CLIENT);
	add_mkdir(b, KML_ROOT, "d", oid(1));
	add_create(b, oid(1), "ours", oid(2));
	add_store(b, oid(2), 0, "y");
	add_mkdir(b, oid(1), "sub", oid(3));
	answers = send_for(b, "MERGED OK OK OK");
	assert_non_null(answers.answers.answers_val[0].object);
	assert_true(kml_oid_equal(answers.answers.answers_val[0].object->oid, oid_of(f, "d")));
	kml_answers_release(&answers);
	check_content(f, "d/ours", "y");
	check_content(f, "d/theirs", "x");
	assert_int_equal(stat_of(f, "d").st_mode & 07777, 0700);
	/* The client's word for it goes on to be good, in all places. */
	b = batch_new(f, CLIENT);
	add_setattr(b, oid(1), KML_SET_MODE, row_of(f, "d").attr_version)->mode = 0711;
	add_rename(b, oid(1), KML_ROOT, "d", KML_ROOT, "e");
	add_rename(b, oid(2), oid(1), "ours", oid(3), "ours");
	expect(b, "OK OK OK");
	check_content(f, "e/sub/ours", "y");
	assert_int_equal(stat_of(f, "e").st_mode & 07777, 0711);
}

/* ---- what is not applied ---- */

static void conflicts(void **state)
{
	struct fixture *f = *state;
	uint64_t version, attr_version;
	struct kml_answers answers;
	struct batch *b;

	put_file(f, "a", "base");
	put_file(f, "c", "base");
	assert_int_equal(mkdirat(f->fd, "d", 0755), 0);
	settle();
	(void)look(f);
	version = version_of(f, "a");
	attr_version = row_of(f, "a").attr_version;

	/* Another client was quicker. */
	b = batch_new(f, OTHER);
	add_store(b, oid_of(f, "a"), version, "other's");
	add_setattr(b, oid_of(f, "a"), KML_SET_MODE, attr_version)->mode = 0600;
	expect(b, "OK OK");
	b = batch_new(f, CLIENT);
	add_store(b, oid_of(f, "a"), version, "ours");
	add_setattr(b, oid_of(f, "a"), KML_SET_MODE, attr_version)->mode = 0666;
	add_unlink(b, KML_REMOVE, KML_ROOT, "a", oid_of(f, "a"), version);
	answers = send_for(b, "CONFLICT CONFLICT CONFLICT");
	for (u_int i = 0; i < 3; i++) {
		assert_non_null(answers.answers.answers_val[i].object);
		assert_int_equal(answers.answers.answers_val[i].object->data_version,
				 version_of(f, "a"));
		assert_int_equal(answers.answers.answers_val[i].object->attr.mode, 0600);
	}
	kml_answers_release(&answers);
	check_content(f, "a", "other's");

	/* A local program was, and nobody has looked yet. */
	put_file(f, "c", "local");
	put_file(f, "d/new", "local");
	b = batch_new(f, CLIENT);
	add_store(b, oid_of(f, "c"), version_of(f, "c"), "ours");
	add_unlink(b, KML_REMOVE, KML_ROOT, "c", oid_of(f, "c"), version_of(f, "c"));
	add_unlink(b, KML_RMDIR, KML_ROOT, "d", oid_of(f, "d"), 0);
	expect(b, "CONFLICT CONFLICT CONFLICT");
	check_content(f, "c", "local");
	check_content(f, "d/new", "local");

	/* Moved elsewhere meanwhile. */
	assert_int_equal(renameat(f->fd, "c", f->fd, "d/c"), 0);
	settle();
	(void)look(f);
	b = batch_new(f, CLIENT);
	add_rename(b, oid_of(f, "d/c"), KML_ROOT, "c", KML_ROOT, "mine");
	expect(b, "CONFLICT");
	check_content(f, "d/c", "local");

	/* Different groups: data here, attributes there. */
	b = batch_new(f, CLIENT);
	add_store(b, oid_of(f, "d/c"), version_of(f, "d/c"), "ours");
	version = row_of(f, "d/c").attr_version;
	expect(b, "OK");
	b = batch_new(f, OTHER);
	add_setattr(b, oid_of(f, "d/c"), KML_SET_MODE, version)->mode = 0640;
	expect(b, "OK");
	assert_int_equal(stat_of(f, "d/c").st_mode & 07777, 0640);
}

static void gone(void **state)
{
	struct fixture *f = *state;
	struct kml_oid a, b_oid;
	struct batch *b;

	put_file(f, "a", "base");
	put_file(f, "b", "base");
	settle();
	(void)look(f);
	a = oid_of(f, "a");
	b_oid = oid_of(f, "b");
	assert_int_equal(unlinkat(f->fd, "a", 0), 0);
	b = batch_new(f, CLIENT);
	add_store(b, a, version_of(f, "a"), "ours");
	add_setattr(b, a, KML_SET_MODE, 1)->mode = 0600;
	add_link(b, a, KML_ROOT, "c");
	add_rename(b, a, KML_ROOT, "a", KML_ROOT, "d");
	add_unlink(b, KML_REMOVE, KML_ROOT, "a", a, 1);
	expect(b, "GONE GONE GONE GONE ALREADY");
	/* Replaced by another's rename. */
	b = batch_new(f, OTHER);
	add_create(b, KML_ROOT, "new", (struct kml_oid){ OTHER, 1 });
	add_rename(b, (struct kml_oid){ OTHER, 1 }, KML_ROOT, "new", KML_ROOT, "b")->replaced =
		b_oid;
	b->v[1].body.kml_body_u.rename.replaced_base = version_of(f, "b");
	expect(b, "OK OK");
	b = batch_new(f, CLIENT);
	add_store(b, b_oid, 1, "ours");
	expect(b, "GONE");
}

static void refused(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_store *s;

	add_create(b, KML_ROOT, STATE_DIR, oid(1));
	add_create(b, oid(77), "x", oid(2));
	add_setattr(b, oid(78), KML_SET_MODE, 0);
	add_mkdir(b, KML_ROOT, "d", oid(3));
	add_mkdir(b, oid(3), "e", oid(4));
	add_rename(b, oid(3), KML_ROOT, "d", oid(4), "f");
	add_create(b, KML_ROOT, "a", oid(5));
	s = add_store(b, oid(5), 0, "x");
	s->size = s->keep_size = INT64_MAX - 1;
	add_create(b, KML_ROOT, "b", oid(5));
	add_store(b, oid(3), 0, "x");
	expect(b, "REFUSED:1 REFUSED:116 REFUSED:116 OK OK REFUSED:22 OK REFUSED:27 REFUSED:17 "
		  "REFUSED:22");
	check_content(f, "a", "");

	/* The same of a file that is there: it stays as it is. */
	b = batch_new(f, CLIENT);
	add_store(b, oid(5), 0, "content");
	expect(b, "OK");
	b = batch_new(f, CLIENT);
	s = add_store(b, oid(5), 0, "x");
	s->size = s->keep_size = INT64_MAX - 1;
	add_store(b, oid(5), 0, "next");
	expect(b, "REFUSED:27 OK");
	check_content(f, "a", "next");
}

/* ---- directories that come back ---- */

static void revived(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);

	f_age(f);
	add_mkdir(b, KML_ROOT, "d", oid(1))->mode = 0750;
	add_mkdir(b, oid(1), "e", oid(2))->mode = 0710;
	add_create(b, KML_ROOT, "file", oid(9));
	expect(b, "OK OK OK");
	assert_int_equal(unlinkat(f->fd, "d/e", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(f->fd, "d", AT_REMOVEDIR), 0);
	assert_true(look(f) > 0);

	/*
	 * With all that is above it; the entries are made as local ones, for the client has to hear
	 * of them, too.
	 */
	b = batch_new(f, CLIENT);
	add_create(b, oid(2), "a", oid(3));
	add_store(b, oid(3), 0, "a's");
	add_mkdir(b, oid(2), "sub", oid(4));
	add_rename(b, oid(9), KML_ROOT, "file", oid(1), "file");
	expect(b, "OK OK OK OK");
	check_content(f, "d/e/a", "a's");
	assert_true(is_there(f, "d/e/sub"));
	assert_true(is_there(f, "d/file"));
	assert_int_equal(stat_of(f, "d").st_mode & 07777, 0750);
	assert_int_equal(stat_of(f, "d/e").st_mode & 07777, 0710);
	assert_true(kml_oid_equal(oid_of(f, "d/e"), oid(2)));

	/* Its old name is taken by now. */
	assert_int_equal(file_delete(f->fd, "d"), 0);
	put_file(f, "d", "a file now");
	b = batch_new(f, CLIENT);
	add_create(b, oid(2), "again", oid(5));
	expect(b, "OK");
	check_content(f, "d", "a file now");
	assert_true(is_there(f, "d.conflict-laptop-20100101-000008/e/again"));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(renamed),
		TEST(replaced_beside),
		TEST(merged),
		TEST(conflicts),
		TEST(gone),
		TEST(refused),
		TEST(revived),
		cmocka_unit_test(conflict_names),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
