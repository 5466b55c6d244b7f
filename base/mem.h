/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mem: scope cleanup for one descriptor or allocation, and a few helpers no C file should spell again. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>
#include <sys/param.h>	/* MIN, MAX */
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

static inline void mem_close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);	/* nothing was written through it, or it was synced before */
}

static inline void mem_free_ptr(void *p)
{
	free(*(void **)p);
}

#define AUTO_CLOSE __attribute__((cleanup(mem_close_fd)))
#define AUTO_FREE  __attribute__((cleanup(mem_free_ptr)))

/* Bytes that somebody else owns. */
struct slice {
	const void *data;
	size_t len;
};

#endif
