/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that took another's place parts from names of the other that its client knew nothing of: DETACH (httpd/detach.h,
 * docs/PROTOCOL.md 7).
 */
#include "tests/unit/httpd_batch.h"

/* A DETACH that was done is done again with the store behind it, which needs what it made: then nothing is left to do. */

/* A file of the client's, "base", and other names of it, by a local program. */
static uint64_t linked(struct fixture *f, const char *const *others)
{
	struct batch *b = batch_new(f, CLIENT);

	assert_int_equal(mkdirat(f->fd, "snap", 0755), 0);
	settle();
	(void)look(f);
	add_create(b, KML_ROOT, "f", oid(1))->mode = 0640;
	add_store(b, oid(1), 0, "base");
	expect(b, "OK OK");
	for (; *others; others++)
		assert_int_equal(linkat(f->fd, "f", f->fd, *others, 0), 0);
	(void)look(f);
	return f->tree->position;
}

#define linked(f, ...) linked(f, (const char *const[]){ __VA_ARGS__, NULL })

static void assert_is(struct fixture *f, const char *name, const char *content)
{
	const char *got = content_of(f, name);

	assert_non_null(got);
	assert_string_equal(got, content);
}

static struct batch *saved(struct fixture *f, const char *content)
{
	struct batch *b = batch_new(f, CLIENT);

	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_store(b, oid(1), 0, content);
	return b;
}

/* The others keep the file, with all that it is; the one that is meant keeps the object. */
static void others_keep_the_file(void **state)
{
	struct fixture *f = *state;
	uint64_t before = linked(f, "l", "snap/f");
	struct stat was = stat_of(f, "l"), is, snap = stat_of(f, "snap");
	struct batch *b = batch_new(f, CLIENT);

	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_setattr(b, oid(1), KML_SET_MODE, 0)->mode = 0600;
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_store(b, oid(1), 0, "saved");
	expect(b, "OK OK ALREADY OK");
	assert_string_equal(ops_after(f, before), "REMOVE CREATE REMOVE LINK SETATTR STORE");
	assert_is(f, "f", "saved");
	assert_is(f, "l", "base");
	assert_is(f, "snap/f", "base");
	is = stat_of(f, "l");
	assert_int_equal(is.st_ino, was.st_ino);
	assert_int_equal(is.st_nlink, 2);
	assert_int_equal(is.st_mode & 07777, 0640);
	assert_int_equal(is.st_mtim.tv_sec, was.st_mtim.tv_sec);
	assert_int_equal(stat_of(f, "f").st_mode & 07777, 0600);
	assert_int_equal(stat_of(f, "snap").st_mtim.tv_sec, snap.st_mtim.tv_sec);
	assert_true(kml_oid_equal(oid_of(f, "f"), oid(1)));
	assert_true(kml_oid_equal(oid_of(f, "l"), oid_of(f, "snap/f")));
	assert_int_equal(oid_of(f, "l").origin, 0);
	/* And it goes on as if nothing had been: the records behind it say the same oid. */
	b = batch_new(f, CLIENT);
	add_rename(b, oid(1), KML_ROOT, "f", KML_ROOT, "g");
	add_store(b, oid(1), 0, "again");
	add_unlink(b, KML_REMOVE, KML_ROOT, "l", oid(1), 0);
	expect(b, "OK OK ALREADY");
	assert_is(f, "g", "again");
	assert_is(f, "l", "base");
}

/* What the same batch has set of it before goes with the object; whichever of the names is the first in the tables. */
static void after_a_time_was_set(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);

	linked(f, "a", "z");
	add_setattr(b, oid(1), KML_SET_MTIME, 0)->mtime = (struct kml_time){ 1111111111, 5 };
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_setattr(b, oid(1), KML_SET_MODE, 0)->mode = 0600;
	expect(b, "OK OK OK");
	assert_int_equal(stat_of(f, "f").st_mtim.tv_sec, 1111111111);
	assert_int_equal(stat_of(f, "f").st_nlink, 1);
	assert_int_equal(stat_of(f, "a").st_nlink, 2);
	assert_true(kml_oid_equal(oid_of(f, "f"), oid(1)));
	expect(saved(f, "saved"), "ALREADY OK");
	assert_is(f, "z", "base");
}

/* The journal says it as local changes, so that the client whose record it was hears of it. */
static void told_to_all(void **state)
{
	struct fixture *f = *state;
	uint64_t before = linked(f, "l");
	struct history history;

	expect(saved(f, "saved"), "ALREADY OK");
	history = history_after(f, before);
	assert_int_equal(history.n, 3);
	assert_int_equal(history.v[0].client, 0);
	assert_int_equal(history.v[0].record.body.op, KML_REMOVE);
	assert_int_equal(history.v[0].after.after_val[0].attr.nlink, 1);
	assert_int_equal(history.v[1].client, 0);
	assert_int_equal(history.v[1].record.body.op, KML_CREATE);
	assert_int_equal(history.v[1].after.after_val[0].attr.size, 4);
	assert_int_equal(history.v[2].client, CLIENT);
	history_release(&history);
}

static void nothing_to_part_from(void **state)
{
	struct fixture *f = *state;
	uint64_t before = linked(f, "l");
	struct batch *b;

	assert_int_equal(unlinkat(f->fd, "l", 0), 0);
	(void)look(f);
	before = f->tree->position;
	expect(saved(f, "saved"), "ALREADY OK");
	assert_string_equal(ops_after(f, before), "STORE");
	/* Of what is gone, and of what was never there. */
	b = batch_new(f, CLIENT);
	add_unlink(b, KML_REMOVE, KML_ROOT, "f", oid(1), 0);
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_detach(b, oid(77), oid(78), "f", 0);
	expect(b, "OK ALREADY ALREADY");
}

/* Links outside of the export, and those that nobody has seen yet, keep the file anyway. */
static void links_that_are_not_known(void **state)
{
	struct fixture *f = *state;
	char outside[200];

	linked(f, "l");
	assert_int_equal(unlinkat(f->fd, "l", 0), 0);
	(void)look(f);
	snprintf(outside, sizeof(outside), "%s/outside", f->top);
	assert_int_equal(linkat(f->fd, "f", AT_FDCWD, outside, 0), 0);
	(void)look(f);
	/* check_all() counts links: it has to go before that. */
	{
		struct batch *b = saved(f, "saved");
		struct buf answers;

		buf_init(&answers, 0);
		assert_int_equal(send_raw(b, 0, &answers), 0);
		buf_release(&answers);
		free(b);
	}
	assert_is(f, "f", "saved");
	assert_is(f, "../outside", "base");
	assert_int_equal(unlink(outside), 0);
	check_all(f);
}

/* What the client has linked itself is of the new file. */
static void own_links_stay(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	linked(f, "snap/f");
	b = batch_new(f, CLIENT);
	add_link(b, oid(1), KML_ROOT, "own");
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_store(b, oid(1), 0, "saved");
	expect(b, "OK ALREADY OK");
	assert_is(f, "f", "saved");
	assert_is(f, "own", "saved");
	assert_is(f, "snap/f", "base");
	assert_int_equal(stat_of(f, "own").st_ino, stat_of(f, "f").st_ino);
	/* Another client's is not. */
	b = batch_new(f, OTHER);
	add_link(b, oid(1), KML_ROOT, "other's");
	expect(b, "OK");
	expect(saved(f, "saved again"), "ALREADY OK");
	assert_is(f, "f", "saved again");
	assert_is(f, "own", "saved again");
	assert_is(f, "other's", "saved");
}

/* A program that writes in place does so, under all names. */
static void plain_store_in_place(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	linked(f, "l", "snap/f");
	b = batch_new(f, CLIENT);
	add_store(b, oid(1), 0, "written");
	expect(b, "OK");
	assert_is(f, "l", "written");
	assert_is(f, "snap/f", "written");
	assert_int_equal(stat_of(f, "f").st_nlink, 3);
}

/* Its name has been changed: the one beside that is meant. */
static void name_is_another_by_now(void **state)
{
	struct fixture *f = *state;

	linked(f, "snap/f", "snap/e");
	assert_int_equal(renameat(f->fd, "f", f->fd, "g"), 0);
	(void)look(f);
	expect(saved(f, "saved"), "ALREADY OK");
	assert_is(f, "g", "saved");
	assert_is(f, "snap/f", "base");
	assert_is(f, "snap/e", "base");
	/* In no directory that is known: any one. */
	assert_int_equal(linkat(f->fd, "g", f->fd, "snap/h", 0), 0);
	assert_int_equal(unlinkat(f->fd, "g", 0), 0);
	assert_int_equal(linkat(f->fd, "snap/h", f->fd, "snap/i", 0), 0);
	(void)look(f);
	expect(saved(f, "once more"), "ALREADY OK");
	assert_true(!strcmp(content_of(f, "snap/h"), "once more") != !strcmp(content_of(f, "snap/i"), "once more"));
	assert_true(!strcmp(content_of(f, "snap/h"), "saved") != !strcmp(content_of(f, "snap/i"), "saved"));
}

/* Where the store will be in conflict, the names stay together. */
static void not_in_conflict(void **state)
{
	struct fixture *f = *state;
	struct batch *b;
	uint64_t before;

	linked(f, "l");
	settle();
	put_file(f, "f", "theirs");
	settle();
	(void)look(f);
	before = f->tree->position;
	expect(saved(f, "saved"), "ALREADY CONFLICT");
	assert_is(f, "f", "theirs");
	assert_is(f, "l", "theirs");
	assert_string_equal(ops_after(f, before), "");
	/* Done on that version it is none. */
	b = batch_new(f, CLIENT);
	add_detach(b, oid(1), KML_ROOT, "f", version_of(f, "f"));
	add_store(b, oid(1), version_of(f, "f"), "saved");
	expect(b, "ALREADY OK");
	assert_is(f, "l", "theirs");
}

/* It cannot be done: then the store is not done either. */
static void refused(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	linked(f, "l");
	assert_int_equal(fchmodat(f->fd, "f", 0, 0), 0);
	(void)look(f);
	b = batch_new(f, CLIENT);
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_store(b, oid(1), 0, "saved");
	expect(b, "REFUSED:13 CONFLICT");
	assert_int_equal(fchmodat(f->fd, "f", 0600, 0), 0);
	(void)look(f);
	assert_is(f, "f", "base");
	assert_is(f, "l", "base");
}

/* Times that a record before it has set go along. */
static void with_times(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	linked(f, "l");
	b = batch_new(f, CLIENT);
	add_setattr(b, oid(1), KML_SET_MTIME, 0)->mtime = (struct kml_time){ 1234567890, 0 };
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	expect(b, "OK OK");
	assert_int_equal(stat_of(f, "f").st_mtim.tv_sec, 1234567890);
	assert_is(f, "f", "base");
	assert_true(stat_of(f, "f").st_ino != stat_of(f, "l").st_ino);
}

/* A store before it in the same batch is what both have until then. */
static void behind_a_store(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	linked(f, "l");
	b = batch_new(f, CLIENT);
	add_store(b, oid(1), 0, "written");
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_store(b, oid(1), 0, "saved");
	expect(b, "OK ALREADY OK");
	assert_is(f, "f", "saved");
	assert_is(f, "l", "written");
}

static void access_lists_go_along(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	if (!f->tree->has_acls)
		skip();
	linked(f, "l");
	b = batch_new(f, CLIENT);
	add_setacl(b, oid(1), 0660, 1001, 0);
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	add_store(b, oid(1), 0, "saved");
	expect(b, "OK ALREADY OK");	/* and check_acls() of both */
	assert_true(row_of(f, "f").has_acls);
	assert_true(row_of(f, "l").has_acls);
}

/* The batch was sent once without, to a server that did not know it, and the answer was lost. */
static void left_out_before(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	struct batch *b;
	struct buf buf;

	linked(f, "l");
	b = batch_new(f, CLIENT);
	f->seq++;
	add_store(b, oid(1), 0, "saved");
	expect(b, "OK");
	f->seq -= 2;
	b = saved(f, "saved");
	buf_init(&buf, 0);
	assert_int_equal(send_raw(b, 0, &buf), 0);
	assert_int_equal(kml_answers_decode(buf.data, buf.len, &answers), 0);
	assert_int_equal(answers.answers.answers_val[0].status, KML_ALREADY);
	assert_int_equal(answers.answers.answers_val[1].status, KML_OK);
	kml_answers_release(&answers);
	buf_release(&buf);
	free(b);
}

/* What it is for was put off, and a link came in between: it is done again, with that. */
static void done_again(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	struct batch *b;
	struct buf buf;

	linked(f, "l");
	assert_int_equal(unlinkat(f->fd, "l", 0), 0);
	(void)look(f);
	b = batch_new(f, CLIENT);
	add_detach(b, oid(1), KML_ROOT, "f", 0);
	expect(b, "ALREADY");
	assert_int_equal(linkat(f->fd, "f", f->fd, "l", 0), 0);
	(void)look(f);
	f->seq--;
	b = saved(f, "saved");
	add_setattr(b, oid(1), KML_SET_MODE, 0)->mode = 0600;
	buf_init(&buf, 0);
	assert_int_equal(send_raw(b, 0, &buf), 0);
	assert_int_equal(kml_answers_decode(buf.data, buf.len, &answers), 0);
	assert_int_equal(answers.answers.answers_len, 3);
	for (u_int i = 0; i < 3; i++)
		assert_int_equal(answers.answers.answers_val[i].seq, b->v[i].seq);
	assert_int_equal(answers.answers.answers_val[1].status, KML_OK);
	assert_int_equal(answers.answers.answers_val[2].status, KML_OK);
	kml_answers_release(&answers);
	buf_release(&buf);
	assert_is(f, "f", "saved");
	assert_is(f, "l", "base");
	/* And counted once: the number of the last is what it was. */
	b->n = 1;
	buf_init(&buf, 0);
	assert_int_equal(send_raw(b, 0, &buf), 0);
	buf_release(&buf);
	free(b);
	b = batch_new(f, CLIENT);
	add_store(b, oid(1), 0, "next");
	expect(b, "OK");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(others_keep_the_file),
		TEST(after_a_time_was_set),
		TEST(told_to_all),
		TEST(nothing_to_part_from),
		TEST(links_that_are_not_known),
		TEST(own_links_stay),
		TEST(plain_store_in_place),
		TEST(name_is_another_by_now),
		TEST(not_in_conflict),
		cmocka_unit_test_setup_teardown(refused, setup_user, teardown_user),
		TEST(with_times),
		TEST(behind_a_store),
		TEST(access_lists_go_along),
		TEST(left_out_before),
		TEST(done_again),
	};

	log_set_level(getenv("V") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
