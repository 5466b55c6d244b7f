/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/page_pipe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/mem.h"

#define OPEN_MAX 64
#define PAGE 4096u	/* or a multiple of it: then some pages are asked about twice */

void page_pipe_pool_init(struct page_pipe_pool *pool)
{
	list_init(&pool->free);
	pool->n_open = 0;
}

static void close_both(struct page_pipe *pipe)
{
	mem_close_fd(&pipe->fd[0]);
	mem_close_fd(&pipe->fd[1]);
	pipe->fd[0] = pipe->fd[1] = -1;
	pipe->len = 0;
}

static void pipe_free(struct page_pipe *pipe)
{
	close_both(pipe);
	pipe->pool->n_open--;
	free(pipe);
}

void page_pipe_pool_release(struct page_pipe_pool *pool)
{
	struct page_pipe *pipe;

	while ((pipe = list_first(&pool->free, struct page_pipe, node)) != NULL) {
		list_del(&pipe->node);
		pipe_free(pipe);
	}
}

/* One slot of a pipe is a page, however little of it: with offsets within pages the last one of 1 MiB does not fit. */
static bool open_both(struct page_pipe *pipe)
{
	if (pipe->fd[0] >= 0)
		return true;
	if (pipe2(pipe->fd, O_CLOEXEC | O_NONBLOCK) < 0) {
		pipe->fd[0] = pipe->fd[1] = -1;
		return false;
	}
	if (fcntl(pipe->fd[1], F_SETPIPE_SZ, PAGE_PIPE_MAX) >= (int)PAGE_PIPE_MAX)
		return true;
	close_both(pipe);
	return false;
}

struct page_pipe *page_pipe_get(struct page_pipe_pool *pool)
{
	struct page_pipe *pipe = list_first(&pool->free, struct page_pipe, node);

	if (pipe) {
		list_del(&pipe->node);
		return pipe;
	}
	if (pool->n_open == OPEN_MAX)
		return NULL;
	pipe = calloc(1, sizeof(*pipe));
	if (!pipe)
		return NULL;
	pipe->pool = pool;
	pipe->fd[0] = pipe->fd[1] = -1;
	pool->n_open++;
	return pipe;
}

void page_pipe_put(struct page_pipe *pipe)
{
	if (!pipe)
		return;
	if (pipe->len)
		pipe_free(pipe);
	else
		list_prepend(&pipe->pool->free, &pipe->node);
}

void page_pipe_empty(struct page_pipe *pipe)
{
	if (pipe->len)
		close_both(pipe);
}

/*
 * Whether splice() finds all of these bytes in memory.  mincore() knows which pages are there and have been read; a mapping
 * that nobody may use brings none in, though the daemon's memory is locked.
 */
static bool is_resident(int fd, size_t len, uint64_t offset)
{
	unsigned char vec[PAGE_PIPE_MAX / PAGE + 1];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start = offset - offset % page;
	size_t room = (size_t)(offset + len - start), n = (room + page - 1) / page;
	void *map;
	bool is = true;

	assert(n <= sizeof(vec));
	map = mmap(NULL, room, PROT_NONE, MAP_SHARED, fd, (off_t)start);
	if (map == MAP_FAILED)
		return false;
	if (mincore(map, room, vec) < 0)
		is = false;
	for (size_t i = 0; i < n && is; i++)
		is = vec[i] & 1;
	(void)munmap(map, room);	/* it was just made */
	return is;
}

int page_pipe_fill(struct page_pipe *pipe, int fd, size_t len, uint64_t offset)
{
	loff_t at = (loff_t)offset;

	assert(!pipe->len);
	if (len < PAGE_PIPE_WORTH || len > PAGE_PIPE_MAX || !is_resident(fd, len, offset) || !open_both(pipe))
		return -EAGAIN;
	while (pipe->len < len) {
		ssize_t n = splice(fd, &at, pipe->fd[1], NULL, len - pipe->len, SPLICE_F_NONBLOCK);

		if (n <= 0)
			break;
		pipe->len += (size_t)n;
	}
	if (pipe->len == len && !FAULT("page_pipe.fill"))
		return 0;
	page_pipe_empty(pipe);
	return -EAGAIN;
}

ssize_t page_pipe_send(struct page_pipe *pipe, int fd, bool has_more)
{
	unsigned flags = SPLICE_F_NONBLOCK | (has_more ? SPLICE_F_MORE : 0);
	ssize_t n = splice(pipe->fd[0], NULL, fd, NULL, pipe->len, flags);

	if (n < 0)
		return -errno;
	pipe->len -= (size_t)n;
	return n;
}
