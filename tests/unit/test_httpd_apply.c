/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Batches against a real directory: every operation, and each of them once.  send_batch() sees each time
 * that a batch sent again is answered and not done again (invariant 2), and that tables, journal
 * and disk say the same.
 */
#include "tests/unit/httpd_batch.h"

#include <sys/sysmacros.h>
#include "httpd/upload.h"

/* ---- what is applied ---- */

static void makes(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_make *make;
	char target[100] = "";
	struct stat st;

	f_age(f);
	make = add_create(b, KML_ROOT, "file", oid(1));
	make->mode = 04751;
	if (!geteuid()) {
		make->uid = 1234;
		make->gid = 5678;
	}
	make->mtime = (struct kml_time){ 1111111111, 987654321 };
	make->atime = (struct kml_time){ 1222222222, 1 };
	add_mkdir(b, KML_ROOT, "dir", oid(2))->mode = 01770;
	add_symlink(b, oid(2), "link", oid(3), "../file");
	add_mknod(b, oid(2), "fifo", oid(4), KML_FIFO);
	expect(b, "OK OK OK OK");

	st = stat_of(f, "file");
	assert_int_equal(st.st_mode, S_IFREG | 04751);
	if (!geteuid()) {
		assert_int_equal(st.st_uid, 1234);
		assert_int_equal(st.st_gid, 5678);
	}
	check_time(f, "file", (struct kml_time){ 1111111111, 987654321 });
	assert_int_equal(st.st_atim.tv_sec, 1222222222);
	assert_int_equal(st.st_atim.tv_nsec, 1);
	assert_int_equal(stat_of(f, "dir").st_mode, S_IFDIR | 01770);
	assert_true(readlinkat(f->fd, "dir/link", target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "../file");
	assert_true(S_ISFIFO(stat_of(f, "dir/fifo").st_mode));
	/* The root's time is that of its last change, the directory's that of its own. */
	check_time(f, "", time_of(2));
	check_time(f, "dir", time_of(4));
	/* f_age() is what a local program does. */
	assert_string_equal(ops_after(f, 0), "SETATTR CREATE MKDIR SYMLINK MKNOD");
	assert_true(kml_oid_equal(oid_of(f, "dir/fifo"), oid(4)));
}

static void device_nodes(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_mknod *node;

	if (geteuid())
		skip();
	node = add_mknod(b, KML_ROOT, "null", oid(1), KML_CHR);
	node->major = 1;
	node->minor = 3;
	expect(b, "OK");
	assert_true(S_ISCHR(stat_of(f, "null").st_mode));
	assert_int_equal(stat_of(f, "null").st_rdev, makedev(1, 3));
}

static void create_and_store(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);

	add_create(b, KML_ROOT, "a", oid(1))->mode = 0400;
	add_store(b, oid(1), 0, "hello");
	add_create(b, KML_ROOT, "b", oid(2));
	add_setattr(b, oid(2), KML_SET_MODE, 0)->mode = 0600;
	add_store(b, oid(2), 0, "first");
	add_store(b, oid(2), 0, "second");
	expect(b, "OK OK OK OK OK OK");
	check_content(f, "a", "hello");
	check_content(f, "b", "second");
	assert_int_equal(stat_of(f, "a").st_mode & 07777, 0400);
	assert_int_equal(stat_of(f, "b").st_mode & 07777, 0600);
	check_time(f, "a", time_of(2));
	check_time(f, "b", time_of(6));
	assert_string_equal(ops_after(f, 0), "CREATE STORE CREATE SETATTR STORE STORE");

	/*
	 * In later batches, without knowing the version that the last one made; inode and identity
	 * change and stay.
	 */
	b = batch_new(f, CLIENT);
	add_store(b, oid(1), 0, "hello again");
	expect(b, "OK");
	check_content(f, "a", "hello again");
	assert_int_equal(stat_of(f, "a").st_mode & 07777, 0400);
	assert_true(kml_oid_equal(oid_of(f, "a"), oid(1)));
	b = batch_new(f, CLIENT);
	add_store(b, oid(1), 0, "");
	add_store(b, oid(1), 0, "");
	expect(b, "OK OK");
	check_content(f, "a", "");
}

/* Old bytes up to keep_size, zeros up to size, ranges on top. */
static void ranges(void **state)
{
	static const struct {
		const char *name;
		uint64_t keep, size;
		struct kml_range range[2];
		const char *bytes;
		const char *want;	/* '0' for a zero byte */
	} cases[] = {
		{ "nothing but cut", 4, 4, { { 0, 0 } }, "", "abcd" },
		{ "cut and extended", 4, 7, { { 0, 0 } }, "", "abcd000" },
		{ "in the middle", 10, 10, { { 3, 2 } }, "XY", "abcXYfghij" },
		{ "two ranges", 10, 10, { { 0, 1 }, { 9, 1 } }, "XY", "XbcdefghiY" },
		{ "behind the end", 10, 14, { { 12, 2 } }, "XY", "abcdefghij00XY" },
		{ "over the kept part's end", 4, 8, { { 3, 3 } }, "XYZ", "abcXYZ00" },
		{ "keep more than there is", 100, 12, { { 11, 1 } }, "X", "abcdefghij0X" },
		{ "nothing kept", 0, 6, { { 1, 2 }, { 4, 1 } }, "XYZ", "0XY0Z0" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct batch *b = batch_new(f, CLIENT);
		const char *name = cases[i].name;
		struct kml_store *s;
		char got[64];
		ssize_t n;
		int fd;

		add_create(b, KML_ROOT, name, oid(i + 1));
		add_store(b, oid(i + 1), 0, "abcdefghij");
		expect(b, "OK OK");
		b = batch_new(f, CLIENT);
		s = add_store(b, oid(i + 1), version_of(f, name), "");
		s->keep_size = cases[i].keep;
		s->size = cases[i].size;
		for (size_t j = 0; j < 2; j++)
			if (cases[i].range[j].length)
				add_range(b, s, cases[i].range[j].offset, cases[i].range[j].length);
		s->content.where = s->ranges.ranges_len ? KML_INLINE : KML_NOWHERE;
		s->content.kml_content_u.bytes.bytes_val = (char *)cases[i].bytes;
		s->content.kml_content_u.bytes.bytes_len = (u_int)strlen(cases[i].bytes);
		expect(b, "OK");
		fd = openat(f->fd, name, O_RDONLY);
		n = read(fd, got, sizeof(got) - 1);
		(void)close(fd);
		assert_int_equal(n, strlen(cases[i].want));
		for (ssize_t j = 0; j < n; j++)
			got[j] = got[j] ? got[j] : '0';
		got[n] = '\0';
		if (strcmp(got, cases[i].want))
			fail_msg("%s: got %s, not %s", name, got, cases[i].want);
	}
}

static void sparse_stays_sparse(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_store *s;

	add_create(b, KML_ROOT, "big", oid(1));
	s = add_store(b, oid(1), 0, "x");
	s->size = 1ull << 30;
	s->ranges.ranges_val->offset = 1 << 20;
	expect(b, "OK OK");
	assert_int_equal(stat_of(f, "big").st_size, 1 << 30);
	assert_in_range(stat_of(f, "big").st_blocks, 0, 1000);

	b = batch_new(f, CLIENT);
	s = add_store(b, oid(1), 0, "y");
	s->size = s->keep_size = 1ull << 30;
	s->ranges.ranges_val->offset = 500 << 20;
	expect(b, "OK");
	assert_int_equal(stat_of(f, "big").st_size, 1 << 30);
	assert_in_range(stat_of(f, "big").st_blocks, 0, 1000);
	assert_int_equal(content_of(f, "big")[0], 0);
}

static void names(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_rename *r;

	f_age(f);
	add_mkdir(b, KML_ROOT, "d", oid(1));
	add_mkdir(b, KML_ROOT, "e", oid(2));
	add_create(b, oid(1), "a", oid(3));
	add_store(b, oid(3), 0, "a's");
	add_link(b, oid(3), oid(2), "a2");
	add_rename(b, oid(3), oid(1), "a", oid(2), "b");
	expect(b, "OK OK OK OK OK OK");
	check_content(f, "e/b", "a's");
	check_content(f, "e/a2", "a's");
	assert_false(is_there(f, "d/a"));
	check_time(f, "d", time_of(6));
	check_time(f, "e", time_of(6));
	assert_int_equal(stat_of(f, "e/b").st_ino, stat_of(f, "e/a2").st_ino);

	/* New content is under both names. */
	b = batch_new(f, CLIENT);
	add_store(b, oid(3), 0, "new");
	expect(b, "OK");
	check_content(f, "e/b", "new");
	check_content(f, "e/a2", "new");
	assert_int_equal(stat_of(f, "e/b").st_ino, stat_of(f, "e/a2").st_ino);
	/* and that is no change of a directory */
	check_time(f, "e", time_of(6));

	/* Over a file, over an empty directory, with all that is in it. */
	b = batch_new(f, CLIENT);
	add_create(b, oid(1), "c", oid(4));
	r = add_rename(b, oid(3), oid(2), "b", oid(1), "c");
	r->replaced = oid(4);
	add_mkdir(b, KML_ROOT, "empty", oid(5));
	r = add_rename(b, oid(1), KML_ROOT, "d", KML_ROOT, "empty");
	r->replaced = oid(5);
	expect(b, "OK OK OK OK");
	check_content(f, "empty/c", "new");
	assert_false(is_there(f, "d"));
	assert_int_equal(row_of(f, "empty").id, row_of(f, "empty").id);
	assert_true(kml_oid_equal(oid_of(f, "empty"), oid(1)));

	b = batch_new(f, CLIENT);
	add_unlink(b, KML_REMOVE, oid(1), "c", oid(3), 0);
	add_unlink(b, KML_REMOVE, oid(2), "a2", oid(3), 0);
	add_unlink(b, KML_RMDIR, KML_ROOT, "empty", oid(1), 0);
	add_unlink(b, KML_RMDIR, KML_ROOT, "e", oid(2), 0);
	expect(b, "OK OK OK OK");
	assert_false(is_there(f, "empty"));
	assert_false(is_there(f, "e"));
}

/* A directory in which names came and went that were never sent. */
static void time_goes_forward(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_setattr *s;
	uint64_t version, position;

	add_mkdir(b, KML_ROOT, "d", oid(1));
	expect(b, "OK");
	version = row_of(f, "d").attr_version;
	position = journal_next(f->tree);
	b = batch_new(f, CLIENT);
	s = add_setattr(b, oid(1), KML_SET_FORWARD, 0);
	s->mtime = (struct kml_time){ 2000000000, 7 };
	expect(b, "OK");
	check_time(f, "d", (struct kml_time){ 2000000000, 7 });
	assert_int_equal(row_of(f, "d").attr_version, version);
	assert_int_equal(journal_next(f->tree), position + 1);
	b = batch_new(f, CLIENT);
	s = add_setattr(b, oid(1), KML_SET_FORWARD, 0);
	s->mtime = (struct kml_time){ 1000000000, 7 };
	expect(b, "OK");
	check_time(f, "d", (struct kml_time){ 2000000000, 7 });
	assert_int_equal(journal_next(f->tree), position + 1);
}

static void attributes(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_setattr *s;
	struct stat st;

	add_create(b, KML_ROOT, "a", oid(1));
	add_mkdir(b, KML_ROOT, "d", oid(2));
	add_symlink(b, KML_ROOT, "l", oid(3), "nowhere");
	s = add_setattr(b, oid(1), KML_SET_MODE | KML_SET_MTIME | KML_SET_ATIME, 0);
	s->mode = 02711;
	s->mtime = (struct kml_time){ 42, 43 };
	s->atime = (struct kml_time){ 44, 45 };
	s = add_setattr(b, oid(2), KML_SET_MODE | KML_SET_MTIME, 0);
	s->mode = 0500;
	s->mtime = (struct kml_time){ 2000000000, 7 };
	s = add_setattr(b, oid(3), KML_SET_MTIME, 0);
	s->mtime = (struct kml_time){ 46, 47 };
	s = add_setattr(b, KML_ROOT, KML_SET_MODE, row_of(f, "").attr_version);
	s->mode = 0751;
	expect(b, "OK OK OK OK OK OK OK");
	st = stat_of(f, "a");
	assert_int_equal(st.st_mode & 07777, 02711);
	check_time(f, "a", (struct kml_time){ 42, 43 });
	assert_int_equal(st.st_atim.tv_nsec, 45);
	check_time(f, "d", (struct kml_time){ 2000000000, 7 });
	check_time(f, "l", (struct kml_time){ 46, 47 });
	assert_int_equal(stat_of(f, "").st_mode & 07777, 0751);
	/* A later name in it does not set its time back. */
	b = batch_new(f, CLIENT);
	add_create(b, oid(2), "x", oid(4));
	expect(b, "OK");
	check_time(f, "d", (struct kml_time){ 2000000000, 7 });

	if (geteuid())
		return;
	b = batch_new(f, CLIENT);
	s = add_setattr(b, oid(1), KML_SET_UID | KML_SET_GID, 0);
	s->uid = 77;
	s->gid = 78;
	s = add_setattr(b, oid(3), KML_SET_UID, 0);
	s->uid = 79;
	expect(b, "OK OK");
	st = stat_of(f, "a");
	assert_int_equal(st.st_uid, 77);
	assert_int_equal(st.st_gid, 78);
	assert_int_equal(st.st_mode & 07777, 02711);
	assert_int_equal(stat_of(f, "l").st_uid, 79);
}

/* ---- content that is sent ahead ---- */

static void staged(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_store *s;
	uint64_t size;

	/* Into a new file; in place of an old one; parts of it. */
	send_ahead(f, "k1", "0123456789");
	add_create(b, KML_ROOT, "a", oid(1));
	s = add_staged(b, oid(1), 10, "k1");
	add_range(b, s, 0, 10);
	expect(b, "OK OK");
	check_content(f, "a", "0123456789");
	assert_int_equal(upload_size(f->tree, CLIENT, "k1", &size), -ENOENT);

	send_ahead(f, "k2", "9876543210");
	b = batch_new(f, CLIENT);
	add_range(b, add_staged(b, oid(1), 10, "k2"), 0, 10);
	expect(b, "OK");
	check_content(f, "a", "9876543210");
	assert_int_equal(stat_of(f, "a").st_mode & 07777, 0644);
	assert_int_equal(upload_size(f->tree, CLIENT, "k2", &size), -ENOENT);

	send_ahead(f, "k3", "xyz");
	b = batch_new(f, CLIENT);
	s = add_staged(b, oid(1), 10, "k3");
	s->keep_size = 10;
	add_range(b, s, 1, 1);
	add_range(b, s, 5, 2);
	expect(b, "OK");
	check_content(f, "a", "9x765yz210");
	assert_int_equal(upload_size(f->tree, CLIENT, "k3", &size), -ENOENT);
}

static void staged_missing(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	struct batch *b = batch_new(f, CLIENT);
	uint64_t size, seq;

	add_create(b, KML_ROOT, "a", oid(1));
	add_create(b, KML_ROOT, "b", oid(2));
	add_range(b, add_staged(b, oid(2), 3, "k"), 0, 3);
	add_create(b, KML_ROOT, "c", oid(3));
	seq = b->v[0].seq;
	answers = send_batch(b);
	/* What needs it and all behind it is to be sent again. */
	assert_int_equal(answers.answers.answers_val[0].status, KML_OK);
	for (u_int i = 1; i < 4; i++) {
		assert_int_equal(answers.answers.answers_val[i].status, KML_RETRY);
		assert_int_equal(answers.answers.answers_val[i].error, ENOENT);
	}
	kml_answers_release(&answers);
	assert_true(is_there(f, "a"));
	assert_false(is_there(f, "b"));

	/* Only a part of it is here. */
	send_ahead(f, "k", "yz");
	f->seq = seq;
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "b", oid(2));
	add_range(b, add_staged(b, oid(2), 3, "k"), 0, 3);
	expect(b, "RETRY:2 RETRY:2");
	send_ahead(f, "k", "xyz");
	f->seq = seq;
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "b", oid(2));
	add_range(b, add_staged(b, oid(2), 3, "k"), 0, 3);
	add_create(b, KML_ROOT, "c", oid(3));
	expect(b, "OK OK OK");
	check_content(f, "b", "xyz");

	/* A store that is not applied takes its staged file with it, too. */
	put_file(f, "b", "local");
	send_ahead(f, "k", "four");
	b = batch_new(f, CLIENT);
	add_range(b, add_staged(b, oid(2), 4, "k"), 0, 4);
	expect(b, "CONFLICT");
	check_content(f, "b", "local");
	assert_int_equal(upload_size(f->tree, CLIENT, "k", &size), -ENOENT);
}

/* ---- exactly once ---- */

static void numbers(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct kml_answers answers;
	struct buf buf;

	buf_init(&buf, 0);
	add_create(b, KML_ROOT, "a", oid(1));
	add_create(b, KML_ROOT, "b", oid(2));
	assert_int_equal(send_raw(b, 0, &buf), 0);

	/* What is applied has its old answer, what is new is done. */
	add_create(b, KML_ROOT, "c", oid(3));
	buf_reset(&buf);
	assert_int_equal(send_raw(b, 0, &buf), 0);
	assert_true(is_there(f, "c"));
	assert_string_equal(ops_after(f, 0), "CREATE CREATE CREATE");

	/* Once the client has an answer it need not be kept; then it is ALREADY. */
	buf_reset(&buf);
	assert_int_equal(send_raw(b, 2, &buf), 0);
	b->v[3] = b->v[2];
	b->v[3].seq = 4;
	b->v[3].body.kml_body_u.make.name = name_of_text("d");
	b->v[3].body.kml_body_u.make.oid = oid(4);
	b->n = 4;
	buf_reset(&buf);
	assert_int_equal(send_raw(b, 2, &buf), 0);
	b->n = 3;
	buf_reset(&buf);
	assert_int_equal(send_raw(b, 2, &buf), 0);
	assert_int_equal(kml_answers_decode(buf.data, buf.len, &answers), 0);
	assert_int_equal(answers.answers.answers_val[0].status, KML_ALREADY);
	assert_int_equal(answers.answers.answers_val[1].status, KML_ALREADY);
	assert_int_equal(answers.answers.answers_val[2].status, KML_OK);
	kml_answers_release(&answers);
	/* A client that has forgotten that it had them. */
	buf_reset(&buf);
	assert_int_equal(send_raw(b, 0, &buf), -ESTALE);
	assert_int_equal(buf.len, 0);

	/* No batches: numbers that go back, no client. */
	b->v[0].seq = b->v[1].seq = 9;
	assert_int_equal(send_raw(b, 0, &buf), -EINVAL);
	b->n = 1;
	b->v[0].seq = 0;
	assert_int_equal(send_raw(b, 0, &buf), -EINVAL);
	b->v[0].seq = 10;
	b->client = 0;
	assert_int_equal(send_raw(b, 0, &buf), -EINVAL);
	check_all(f);
	buf_release(&buf);
	free(b);
}

/* Another server start between the two does not change that. */
static void across_restart(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct buf first, second;
	uint64_t n_racy;

	buf_init(&first, 0);
	buf_init(&second, 0);
	put_file(f, "a", "theirs");
	add_create(b, KML_ROOT, "a", oid(1));
	add_store(b, oid(1), 0, "x");
	assert_int_equal(send_raw(b, 0, &first), 0);
	f_close(f);
	f_open(f);
	assert_int_equal(send_raw(b, 0, &second), 0);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
	n_racy = racy(f);
	assert_int_equal(look(f), n_racy);
	check_all(f);
	buf_release(&first);
	buf_release(&second);
	free(b);
}

/*
 * Names that exist on disk and not in the tables; also in a directory that is known to be the
 * client's only while the batch is applied, so that nobody has looked at what is in it.
 */
static void local_names_in_the_way(void **state)
{
	struct fixture *f = *state;
	struct batch *b;

	put_file(f, "taken", "local");
	assert_int_equal(mkdirat(f->fd, "dir", 0755), 0);
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "taken", oid(1));
	add_mkdir(b, KML_ROOT, "dir", oid(2));
	/* In a directory that is not known to be the client's: nobody has looked at its names. */
	put_file(f, "dir/x", "local");
	add_create(b, oid(2), "x", oid(3));
	expect(b, "RENAMED MERGED RENAMED");
	check_content(f, "taken", "local");
	check_content(f, "dir/x", "local");
}

/*
 * A server that is not root's: files that it may not write to are made all the same; others' owners
 * are refused.
 */
static void as_a_user(void **state)
{
	struct fixture *f = *state;
	struct kml_answers answers;
	const struct kml_object *as_it_is;
	struct batch *b;

	create_and_store(state);
	b = batch_new(f, CLIENT);
	add_create(b, KML_ROOT, "theirs", oid(10))->uid = geteuid() + 1;
	add_create(b, KML_ROOT, "ours", oid(11));
	add_setattr(b, oid(11), KML_SET_UID, 0)->uid = geteuid() + 1;
	add_create(b, KML_ROOT, "more", oid(12));
	answers = send_for(b, "REFUSED:1 OK REFUSED:1 OK");
	/* Whose attributes were refused is told what they are. */
	as_it_is = answers.answers.answers_val[2].object;
	assert_non_null(as_it_is);
	assert_int_equal(as_it_is->attr.uid, row_of(f, "ours").attr.uid);
	assert_int_equal(as_it_is->attr_version, row_of(f, "ours").attr_version);
	assert_null(answers.answers.answers_val[0].object);
	kml_answers_release(&answers);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(makes),
		TEST(device_nodes),
		TEST(create_and_store),
		TEST(ranges),
		TEST(sparse_stays_sparse),
		TEST(names),
		TEST(time_goes_forward),
		TEST(attributes),
		TEST(staged),
		TEST(staged_missing),
		TEST(numbers),
		TEST(across_restart),
		TEST(local_names_in_the_way),
		cmocka_unit_test_setup_teardown(as_a_user, setup_user, teardown_user),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
