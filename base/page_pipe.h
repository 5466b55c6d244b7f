/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * page_pipe: a file's pages on their way to a socket, without a copy in user space.
 *
 * A pipe holds references to the pages themselves (splice(2)): what is in it can be sent whatever becomes of the file.  As in
 * the kernel's own NFS server, bytes that are written to these pages before the peer has taken them may be seen by him, and
 * zeros in place of what is cut off the file's last page.
 *
 * Threads: one pipe is one thread's at a time; the pool is one thread's.
 */
#ifndef BASE_PAGE_PIPE_H
#define BASE_PAGE_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/list.h"

#define PAGE_PIPE_MAX (1u << 20)	/* bytes in one */
/* Less than this is copied in the time that it takes to find out whether its pages are there, and to hold on to them. */
#define PAGE_PIPE_WORTH (256u * 1024)

struct page_pipe_pool {
	struct list free;
	unsigned n_open;
};

struct page_pipe {
	struct list node;
	struct page_pipe_pool *pool;
	int fd[2];
	size_t len;			/* bytes in it */
};

void page_pipe_pool_init(struct page_pipe_pool *pool);
void page_pipe_pool_release(struct page_pipe_pool *pool);

/* An empty one; NULL: there are too many, or no memory. */
struct page_pipe *page_pipe_get(struct page_pipe_pool *pool);
void page_pipe_put(struct page_pipe *pipe);	/* with what is in it; NULL is fine */

/*
 * Fill an empty one with len bytes of a file, if they can be had without waiting for the disk.  -EAGAIN, and it is empty:
 * they cannot, or not in this way (len is not worth it or too much; the file has holes there, or ends; the system gives no
 * pipe as large).
 */
int page_pipe_fill(struct page_pipe *pipe, int fd, size_t len, uint64_t offset);
/* Let go of what is in it. */
void page_pipe_empty(struct page_pipe *pipe);
/* Send what a socket takes that does not block.  Gives how much, or -errno.  has_more: something follows at once. */
ssize_t page_pipe_send(struct page_pipe *pipe, int fd, bool has_more);

#endif
