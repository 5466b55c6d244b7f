/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A log in a file: what was written is read, and nothing of a file that is not as it was written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include <xxhash.h>
#include "base/fs.h"
#include "rpcgen/kml_file.h"

static const struct kml_file_head head = {
	.client = 77, .host = (char *)"host", .upstream = (char *)"id", .tree = (char *)"tree", .position = 5, .acked = 3,
};

static void make_mkdir(struct kml_saved *saved, uint64_t seq)
{
	struct kml_make *make = &saved->record.body.kml_body_u.make;

	memset(saved, 0, sizeof(*saved));
	saved->record.format = KML_VERSION;
	saved->record.seq = seq;
	saved->record.body.op = KML_MKDIR;
	make->parent = KML_ROOT;
	make->oid = (struct kml_oid){ 77, seq };
	saved->path = strdup("/dir");
	assert_int_equal(kml_name_set(&make->name, (struct slice){ "dir", 3 }), 0);
}

/* A range of len bytes from 10 on, and so many at the start that were there. */
static void make_store(struct kml_saved *saved, uint64_t seq, uint64_t len, uint64_t rest)
{
	struct kml_store *store = &saved->record.body.kml_body_u.store;

	memset(saved, 0, sizeof(*saved));
	saved->record.format = KML_VERSION;
	saved->record.seq = seq;
	saved->record.body.op = KML_STORE;
	saved->path = strdup("/file");
	store->oid = (struct kml_oid){ 77, 1 };
	store->size = len + 10;
	store->ranges.ranges_len = 1;
	store->ranges.ranges_val = calloc(1, sizeof(struct kml_range));
	store->ranges.ranges_val[0] = (struct kml_range){ 10, len };
	saved->rest.rest_len = rest > 0;
	saved->rest.rest_val = calloc(1, sizeof(struct kml_range));
	saved->rest.rest_val[0] = (struct kml_range){ 0, rest };
}

static struct kml_file_writer *begin(int *ret_fd)
{
	struct kml_file_writer *writer;

	*ret_fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(*ret_fd >= 0);
	assert_int_equal(kml_file_writer_new(*ret_fd, &head, &writer), 0);
	return writer;
}

static void put(struct kml_file_writer *writer, struct kml_saved *saved, const char *content)
{
	assert_int_equal(kml_file_put(writer, saved), 0);
	assert_int_equal(kml_file_write(writer, content, strlen(content)), 0);
	kml_saved_release(saved);
}

static void finish(struct kml_file_writer *writer, uint64_t records, uint64_t bytes)
{
	struct kml_file_totals totals;

	assert_int_equal(kml_file_finish(writer, &totals), 0);
	assert_int_equal(totals.records, records);
	assert_int_equal(totals.bytes, bytes);
	kml_file_writer_free(writer);
}

/* MKDIR 4, STORE 6 of "0123456789" and "abc", MKDIR 9. */
static int example(void)
{
	struct kml_saved saved;
	int fd;
	struct kml_file_writer *writer = begin(&fd);

	make_mkdir(&saved, 4);
	put(writer, &saved, "");
	make_store(&saved, 6, 10, 3);
	put(writer, &saved, "0123456789abc");
	make_mkdir(&saved, 9);
	put(writer, &saved, "");
	finish(writer, 3, 10);
	return fd;
}

static struct kml_file *opened(int fd)
{
	struct kml_file *file;
	const char *why;

	assert_int_equal(kml_file_open(fd, &file, &why), 0);
	return file;
}

static void comes_back(void **state)
{
	int fd = example();
	struct kml_file *file = opened(fd);
	static const uint64_t seqs[] = { 4, 6, 9 };
	struct kml_saved saved;
	char content[14] = "";
	uint64_t at;

	(void)state;
	assert_int_equal(kml_file_get_head(file)->client, 77);
	assert_string_equal(kml_file_get_head(file)->host, "host");
	assert_string_equal(kml_file_get_head(file)->upstream, "id");
	assert_string_equal(kml_file_get_head(file)->tree, "tree");
	assert_int_equal(kml_file_get_head(file)->position, 5);
	assert_int_equal(kml_file_get_head(file)->acked, 3);
	assert_int_equal(kml_file_get_totals(file).records, 3);
	assert_int_equal(kml_file_get_totals(file).bytes, 10);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(kml_file_next(file, &saved, &at), 1);
		assert_int_equal(saved.record.seq, seqs[i]);
		assert_string_equal(saved.path, i == 1 ? "/file" : "/dir");
		if (i == 1)
			assert_int_equal(fs_pread_full(fd, content, 13, at), 13);
		kml_saved_release(&saved);
	}
	assert_string_equal(content, "0123456789abc");
	assert_int_equal(kml_file_next(file, &saved, &at), 0);
	assert_int_equal(kml_file_next(file, &saved, &at), 0);
	kml_file_free(file);
	close(fd);
}

/* A store that did not keep still is read again, longer and shorter, and the file is as if it had been read once. */
static void taken_back(void **state)
{
	struct kml_saved saved;
	int want = example(), fd;
	struct kml_file_writer *writer = begin(&fd);
	char a[1024], b[1024];
	ssize_t len;

	(void)state;
	make_mkdir(&saved, 4);
	put(writer, &saved, "");
	/* Some of it in memory only, some in the file already. */
	for (uint64_t n = 1; n <= 600001; n += 600000) {
		make_store(&saved, 6, n, 0);
		assert_int_equal(kml_file_put(writer, &saved), 0);
		for (uint64_t i = 0; i < n; i++)
			assert_int_equal(kml_file_write(writer, "?", 1), 0);
		kml_saved_release(&saved);
		assert_int_equal(kml_file_take_back(writer), 0);
	}
	make_store(&saved, 6, 10, 3);
	put(writer, &saved, "0123456789abc");
	make_mkdir(&saved, 9);
	put(writer, &saved, "");
	finish(writer, 3, 10);
	len = fs_pread_full(want, a, sizeof(a), 0);
	assert_true(len > 0 && len < (ssize_t)sizeof(a));
	assert_int_equal(fs_pread_full(fd, b, sizeof(b), 0), len);
	assert_memory_equal(a, b, len);
	close(want);
	close(fd);
}

static void not_whole(void **state)
{
	struct kml_file_totals totals;
	struct kml_saved saved;
	int fd;
	struct kml_file_writer *writer = begin(&fd);

	(void)state;
	make_store(&saved, 6, 10, 3);
	assert_int_equal(kml_file_put(writer, &saved), 0);
	assert_int_equal(kml_file_write(writer, "0123456789ab", 12), 0);
	assert_int_equal(kml_file_finish(writer, &totals), -EINVAL);
	assert_int_equal(kml_file_put(writer, &saved), -EINVAL);
	assert_int_equal(kml_file_write(writer, "cd", 2), -EINVAL);
	assert_int_equal(kml_file_write(writer, "c", 1), 0);
	assert_int_equal(kml_file_put(writer, &saved), -EINVAL);	/* its seq is no higher */
	kml_saved_release(&saved);
	finish(writer, 1, 10);
	close(fd);
}

static void refused(int fd, int want_err)
{
	const char *why = NULL;
	struct kml_file *file;

	assert_int_equal(kml_file_open(fd, &file, &why), want_err);
	assert_non_null(why);
}

static void cut_off(void **state)
{
	int fd = example();
	off_t size = lseek(fd, 0, SEEK_END);

	(void)state;
	while (size--) {
		assert_int_equal(ftruncate(fd, size), 0);
		refused(fd, -EBADMSG);
	}
	close(fd);
}

static void altered(void **state)
{
	int fd = example();
	off_t size = lseek(fd, 0, SEEK_END);

	(void)state;
	for (off_t at = 0; at < size; at++) {
		unsigned char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		refused(fd, at >= 8 && at < 12 ? -EPROTONOSUPPORT : -EBADMSG);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	kml_file_free(opened(fd));
	assert_int_equal(ftruncate(fd, size + 1), 0);
	refused(fd, -EBADMSG);
	close(fd);
}

static void seal(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END) - (off_t)sizeof(XXH128_canonical_t);
	XXH128_canonical_t sum;
	char all[1024];

	assert_true(size <= (off_t)sizeof(all));
	assert_int_equal(fs_pread_full(fd, all, size, 0), size);
	XXH128_canonicalFromHash(&sum, XXH3_128bits(all, size));
	assert_int_equal(pwrite(fd, &sum, sizeof(sum), size), sizeof(sum));
}

/* Of a later version, or made to harm: whatever stands in it, it is refused or read, and never past its end. */
static void malformed(void **state)
{
	int fd = example();
	off_t size = lseek(fd, 0, SEEK_END) - (off_t)sizeof(XXH128_canonical_t);
	unsigned refusals = 0, unknown = 0;

	(void)state;
	for (off_t at = 12; at < size; at++) {
		static const unsigned char to[] = { 0, 1, 12, 0x7f, 0xff };
		unsigned char was;

		assert_int_equal(pread(fd, &was, 1, at), 1);
		for (size_t i = 0; i < sizeof(to); i++) {
			struct kml_file *file;
			const char *why;
			int err;

			assert_int_equal(pwrite(fd, &to[i], 1, at), 1);
			seal(fd);
			err = kml_file_open(fd, &file, &why);
			assert_true(!err || err == -EBADMSG || err == -EPROTONOSUPPORT);
			refusals += err == -EBADMSG;
			unknown += err == -EPROTONOSUPPORT;
			if (!err)
				kml_file_free(file);
			else
				assert_non_null(why);
		}
		assert_int_equal(pwrite(fd, &was, 1, at), 1);
	}
	assert_true(refusals > 100);
	assert_true(unknown >= 3);	/* the operation of each record */
	seal(fd);
	kml_file_free(opened(fd));
	close(fd);
}

/* More than any window, and more of it than is in memory at once. */
static void long_one(void **state)
{
	enum { N = 20000, PIECE = 1000 };
	static char content[PIECE];
	struct kml_saved saved;
	int fd;
	struct kml_file_writer *writer = begin(&fd);
	struct kml_file *file;
	uint64_t at;

	(void)state;
	for (uint64_t seq = 1; seq <= N; seq++) {
		if (seq % 100) {
			make_mkdir(&saved, seq);
			put(writer, &saved, "");
			continue;
		}
		make_store(&saved, seq, PIECE * 400, 0);
		assert_int_equal(kml_file_put(writer, &saved), 0);
		kml_saved_release(&saved);
		memset(content, (int)(seq / 100), PIECE);
		for (int i = 0; i < 400; i++)
			assert_int_equal(kml_file_write(writer, content, PIECE), 0);
	}
	finish(writer, N, N / 100 * PIECE * 400);
	file = opened(fd);
	for (uint64_t seq = 1; seq <= N; seq++) {
		assert_int_equal(kml_file_next(file, &saved, &at), 1);
		assert_int_equal(saved.record.seq, seq);
		if (seq % 100 == 0) {
			assert_int_equal(fs_pread_full(fd, content, 1, at + PIECE * 400 - 1), 1);
			assert_int_equal((unsigned char)content[0], (unsigned char)(seq / 100));
		}
		kml_saved_release(&saved);
	}
	assert_int_equal(kml_file_next(file, &saved, &at), 0);
	kml_file_free(file);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(taken_back),
		cmocka_unit_test(not_whole),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(altered),
		cmocka_unit_test(malformed),
		cmocka_unit_test(long_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
