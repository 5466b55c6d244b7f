/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <zstd.h>
#include <cmocka.h>
#include "base/compress.h"

#define SIZE 300000u

/* Text-like, or (is_random) nothing that could be packed. */
static unsigned char *bytes(size_t len, bool is_random)
{
	unsigned char *data = malloc(len + 1);
	uint64_t x = 88172645463325252ull;

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = is_random ? (unsigned char)(x >> 32) : (unsigned char)"the log goes on "[(i + (x >> 63)) % 16];
	}
	return data;
}

static int keep(void *arg, const void *data, size_t len)
{
	return buf_append(arg, data, len);
}

/* In pieces of that size, and to its end. */
static int unpack_all(const struct buf *packed, size_t piece, struct buf *to)
{
	struct unpack *unpack;
	int err = unpack_new(&unpack);

	assert_int_equal(err, 0);
	for (size_t at = 0; at < packed->len && !err; at += piece)
		err = unpack_feed(unpack, packed->data + at, MIN(piece, packed->len - at), keep, to);
	if (!err)
		err = unpack_end(unpack);
	unpack_free(unpack);
	return err;
}

static void there_and_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, SIZE, 3u << 20 }, pieces[] = { 1, 7, 4096, SIZE_MAX / 2 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *data = bytes(sizes[i], i % 2);
		struct buf packed, plain;

		buf_init(&packed, 0);
		/* two frames, one behind the other */
		assert_int_equal(compress_append(&packed, data, sizes[i] / 2), 0);
		assert_int_equal(compress_append(&packed, data + sizes[i] / 2, sizes[i] - sizes[i] / 2), 0);
		for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
			buf_init(&plain, 0);
			assert_int_equal(unpack_all(&packed, pieces[k], &plain), 0);
			assert_int_equal(plain.len, sizes[i]);
			assert_true(!sizes[i] || !memcmp(plain.data, data, sizes[i]));
			buf_release(&plain);
		}
		buf_release(&packed);
		free(data);
	}
}

static void what_pays(void **state)
{
	unsigned char *text = bytes(SIZE, false), *random = bytes(SIZE, true);

	(void)state;
	assert_true(compress_pays(text, SIZE));
	assert_false(compress_pays(random, SIZE));
	assert_false(compress_pays(text, 100));
	/* the start of a file is not always like the rest */
	memcpy(random + SIZE / 4, text, SIZE - SIZE / 4);
	assert_true(compress_pays(random, SIZE));
	free(text);
	free(random);
}

static void cut_and_damaged(void **state)
{
	unsigned char *data = bytes(SIZE, false);
	struct buf packed, plain;

	(void)state;
	buf_init(&packed, 0);
	buf_init(&plain, 0);
	assert_int_equal(compress_append(&packed, data, SIZE), 0);
	packed.len--;
	assert_int_equal(unpack_all(&packed, SIZE, &plain), -EBADMSG);
	packed.len = 3;
	assert_int_equal(unpack_all(&packed, SIZE, &plain), -EBADMSG);
	packed.data[0] ^= 1;
	packed.len = 20;
	assert_int_equal(unpack_all(&packed, SIZE, &plain), -EBADMSG);
	buf_release(&packed);
	buf_release(&plain);
	free(data);
}

/* 64 MiB of zeros come in 6 KiB: the sink says when it is enough, and no more is made of it. */
static void bomb(void **state)
{
	size_t len = 64u << 20;
	unsigned char *zeros = calloc(1, len);
	struct buf packed, plain;

	(void)state;
	assert_non_null(zeros);
	buf_init(&packed, 0);
	buf_init(&plain, 1u << 20);
	assert_int_equal(compress_append(&packed, zeros, len), 0);
	assert_true(packed.len < 10000);
	assert_int_equal(unpack_all(&packed, SIZE, &plain), -EMSGSIZE);
	assert_true(plain.len <= 1u << 20);
	buf_release(&packed);
	buf_release(&plain);
	free(zeros);
}

/* Who asks for a window of 128 MiB would have us take that much memory. */
static void large_window(void **state)
{
	size_t len = 8u << 20, bound = ZSTD_compressBound(len);
	unsigned char *data = bytes(len, true);
	struct buf packed, plain;
	ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t n;

	(void)state;
	buf_init(&packed, 0);
	buf_init(&plain, 0);
	ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
	n = ZSTD_compress2(context, buf_extend(&packed, bound), bound, data, len);
	assert_false(ZSTD_isError(n));
	packed.len = n;
	assert_int_equal(unpack_all(&packed, SIZE, &plain), -EBADMSG);
	assert_int_equal(plain.len, 0);
	ZSTD_freeCCtx(context);
	buf_release(&packed);
	buf_release(&plain);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(what_pays),
		cmocka_unit_test(cut_and_damaged),
		cmocka_unit_test(bomb),
		cmocka_unit_test(large_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
