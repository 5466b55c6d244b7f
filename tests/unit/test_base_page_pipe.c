/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/page_pipe.h"
#include "tests/unit/where.h"

#define SIZE (2 * PAGE_PIPE_MAX)
#define TAIL 1001	/* the file's last page is not a whole one */

struct fixture {
	struct page_pipe_pool pool;
	struct page_pipe *pipe;
	int fd;
	int sockets[2];		/* of which the first does not block */
};

static unsigned char byte_at(size_t offset)
{
	return (unsigned char)(offset * 7 + offset / 4096);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned char *data = malloc(SIZE + TAIL);
	char path[] = "izo-pipe-XXXXXX";

	assert_non_null(f);
	assert_non_null(data);
	assert_int_equal(chdir(test_disk_dir()), 0);
	f->fd = mkstemp(path);
	assert_true(f->fd >= 0);
	assert_int_equal(unlink(path), 0);
	for (size_t i = 0; i < SIZE + TAIL; i++)
		data[i] = byte_at(i);
	assert_int_equal(write(f->fd, data, SIZE + TAIL), SIZE + TAIL);
	free(data);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f->sockets), 0);
	assert_int_equal(fcntl(f->sockets[0], F_SETFL, O_NONBLOCK), 0);
	page_pipe_pool_init(&f->pool);
	f->pipe = page_pipe_get(&f->pool);
	assert_non_null(f->pipe);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	page_pipe_put(f->pipe);
	page_pipe_pool_release(&f->pool);
	assert_int_equal(f->pool.n_open, 0);
	close(f->fd);
	close(f->sockets[0]);
	close(f->sockets[1]);
	free(f);
	return 0;
}

/* All that is in the pipe goes through a socket that does not take it at once. */
static void assert_sent(struct fixture *f, size_t len, size_t offset)
{
	size_t at = 0;

	assert_int_equal(f->pipe->len, len);
	while (at < len) {
		unsigned char got[4096];
		ssize_t n = 0;

		while (f->pipe->len && n >= 0) {
			n = page_pipe_send(f->pipe, f->sockets[0], false);
			assert_true(n > 0 || n == -EAGAIN);
		}
		n = read(f->sockets[1], got, sizeof(got));
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++)
			assert_int_equal(got[i], byte_at(offset + at));
	}
	assert_int_equal(at, len);
	assert_int_equal(f->pipe->len, 0);
}

static void sends_what_the_file_has(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_MAX, 0), 0);
	assert_sent(f, PAGE_PIPE_MAX, 0);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 12345), 0);
	assert_sent(f, PAGE_PIPE_WORTH, 12345);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH + TAIL, SIZE - PAGE_PIPE_WORTH), 0);
	assert_sent(f, PAGE_PIPE_WORTH + TAIL, SIZE - PAGE_PIPE_WORTH);
}

static void refuses_what_is_not_for_it(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH - 1, 0), -EAGAIN);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_MAX + 1, 0), -EAGAIN);
	/* Beyond the end, by a byte and by pages. */
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH + TAIL + 1, SIZE - PAGE_PIPE_WORTH), -EAGAIN);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH + 3 * 4096, SIZE - PAGE_PIPE_WORTH), -EAGAIN);
	/* A megabyte that begins in the midst of a page touches one page more than a pipe has room for. */
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_MAX, 1), -EAGAIN);
	assert_int_equal(f->pipe->len, 0);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 0), 0);
	assert_sent(f, PAGE_PIPE_WORTH, 0);
}

/* What has been put out of memory would have to be read: that is for somebody who may wait. */
static void refuses_what_is_not_in_memory(void **state)
{
	struct fixture *f = *state;
	unsigned char vec[SIZE / 4096], one;
	void *map;

	assert_int_equal(fsync(f->fd), 0);
	assert_int_equal(posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	map = mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, f->fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map, SIZE, vec), 0);
	munmap(map, SIZE);
	if (vec[0] & 1)
		skip();		/* a file system in memory */
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 0), -EAGAIN);
	/* It did not bring them in either. */
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 0), -EAGAIN);
	for (size_t at = 0; at < SIZE; at += 4096)
		assert_int_equal(pread(f->fd, &one, 1, (off_t)at), 1);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 0), 0);
	assert_sent(f, PAGE_PIPE_WORTH, 0);
}

/* The daemon's memory is locked: a mapping must not bring the file's pages in. */
static void locked_memory_makes_no_difference(void **state)
{
	if (mlockall(MCL_FUTURE) < 0)
		skip();
	refuses_what_is_not_in_memory(state);
	assert_int_equal(munlockall(), 0);
}

/* What is in it is not changed by what becomes of the file. */
static void outlives_the_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_MAX, 0), 0);
	assert_int_equal(ftruncate(f->fd, 0), 0);
	assert_sent(f, PAGE_PIPE_MAX, 0);
}

/* A pipe with something in it is not given to the next. */
static void given_back_full(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 0), 0);
	page_pipe_put(f->pipe);
	f->pipe = page_pipe_get(&f->pool);
	assert_non_null(f->pipe);
	assert_int_equal(f->pool.n_open, 1);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 4096), 0);
	assert_sent(f, PAGE_PIPE_WORTH, 4096);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 0), 0);
	page_pipe_empty(f->pipe);
	assert_int_equal(f->pipe->len, 0);
	assert_int_equal(page_pipe_fill(f->pipe, f->fd, PAGE_PIPE_WORTH, 8192), 0);
	assert_sent(f, PAGE_PIPE_WORTH, 8192);
}

static void not_without_end(void **state)
{
	struct fixture *f = *state;
	struct page_pipe *more[1000];
	unsigned n = 0;

	while (n < 1000 && (more[n] = page_pipe_get(&f->pool)))
		n++;
	assert_in_range(n, 1, 100);
	while (n)
		page_pipe_put(more[--n]);
	more[0] = page_pipe_get(&f->pool);
	assert_non_null(more[0]);
	page_pipe_put(more[0]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(sends_what_the_file_has), T(refuses_what_is_not_for_it), T(refuses_what_is_not_in_memory),
		T(locked_memory_makes_no_difference), T(outlives_the_file), T(given_back_full), T(not_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
