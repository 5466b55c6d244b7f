/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Putting content together: as many bytes as were said and never more, their hash, holes for zeros, and an end when
 * nobody wants it any more.  tests/http/test_protocol has the requests.
 */
#include <blake2.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fs.h"
#include "base/mem.h"
#include "httpd/patch.h"

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fs_pwrite_all(fd, data, len, 0), 0);
	return fd;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

/* true at the call after so many. */
static bool after(void *arg)
{
	return !(*(int *)arg)--;
}

#define HEAD "rs\x02\x36"
#define OLD "0123456789"

/* COPY with one byte each of position and length; literals of up to 64 bytes have their length as command. */
static const struct patch_case {
	const char *name;
	const char *delta;
	size_t delta_len;
	const char *want;
	uint64_t size;
	int err;
} cases[] = {
	{ "copies and literals", HEAD "\x45\2\3" "\4abcd" "\x45\0\1\0", 16, "234abcd0", 8, 0 },
	{ "nothing", HEAD "\0", 5, "", 0, 0 },
	{ "more than was said", HEAD "\x45\0\12\0", 8, NULL, 9, -EBADMSG },
	{ "less than was said", HEAD "\x45\0\12\0", 8, NULL, 11, -EBADMSG },
	{ "no end", HEAD "\x45\0\12", 7, NULL, 10, -EBADMSG },
	{ "behind the end of the old file", HEAD "\x45\10\3\0", 8, NULL, 3, -EBADMSG },
	{ "far behind it", HEAD "\x54\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\1\0", 22, NULL, 1, -EBADMSG },
	{ "without end", HEAD "\x54\0\0\0\0\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\0", 22, NULL, 10, -EBADMSG },
	{ "no delta", "hello, world", 12, NULL, 12, -EBADMSG },
	{ "empty", "", 0, NULL, 0, -EBADMSG },
};

static void put_together(void **state)
{
	const struct patch_case *c = *state;
	int old = file_of(OLD, strlen(OLD)), delta = file_of(c->delta, c->delta_len), to = file_of("", 0), never = -1;
	unsigned char hash[PATCH_HASH], want[PATCH_HASH];
	char got[64];

	assert_int_equal(patch_file(old, delta, to, c->size, after, &never, hash), c->err);
	assert_true(size_of(to) <= c->size);
	if (!c->err) {
		assert_int_equal(fs_pread_full(to, got, sizeof(got), 0), c->size);
		assert_memory_equal(got, c->want, c->size);
		assert_int_equal(blake2b(want, c->want, NULL, sizeof(want), c->size, 0), 0);
		assert_memory_equal(hash, want, sizeof(want));
	}
	close(old);
	close(delta);
	close(to);
}

/* 64 MiB of zeros, and one byte at their end. */
static void holes(void **state)
{
	const uint64_t size = 64 << 20;
	const char delta[] = HEAD "\x53\0\0\0\0\0\0\0\0\3\xff\xff\xff" "\1x\0";
	int old = file_of("", 0), from = file_of(delta, sizeof(delta) - 1), to = file_of("", 0), never = -1;
	unsigned char hash[PATCH_HASH];
	struct stat st;
	char last;

	(void)state;
	assert_int_equal(ftruncate(old, (off_t)size), 0);
	assert_int_equal(patch_file(old, from, to, size, after, &never, hash), 0);
	assert_int_equal(size_of(to), size);
	assert_int_equal(fs_pread_full(to, &last, 1, size - 1), 1);
	assert_int_equal(last, 'x');
	assert_int_equal(fstat(to, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 <= 256 << 10);
	close(old);
	close(from);
	close(to);
}

/* It is asked for now and then: of a gigabyte of zeros not much is made. */
static void unwanted(void **state)
{
	const char delta[] = HEAD "\x53\0\0\0\0\0\0\0\0\x40\0\0\0\0";
	int old = file_of("", 0), from = file_of(delta, sizeof(delta) - 1), to = file_of("", 0), looks = 2;
	unsigned char hash[PATCH_HASH];

	(void)state;
	assert_int_equal(ftruncate(old, 1 << 30), 0);
	assert_int_equal(patch_file(old, from, to, 1 << 30, after, &looks, hash), -ECANCELED);
	assert_int_equal(looks, -1);
	close(old);
	close(from);
	close(to);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(cases) + 2] = {
		cmocka_unit_test(holes),
		cmocka_unit_test(unwanted),
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		tests[2 + i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = put_together,
						    .initial_state = (void *)(uintptr_t)&cases[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
