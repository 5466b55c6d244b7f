/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block: counted pieces of memory of a few sizes, kept for reuse.
 *
 * Everything that arrives is received into blocks, and every reply leaves from one.  Freed blocks are
 * kept up to a limit, the last one freed is given out first, so that a server under load neither
 * allocates nor touches memory that is not in the processor's cache already.
 *
 * Threads: the loop's.
 */
#ifndef NFSD_BLOCK_H
#define NFSD_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "base/page_pipe.h"

#define BLOCK_CLASSES 4

struct block_pool {
	struct list free[BLOCK_CLASSES];
	unsigned n_free[BLOCK_CLASSES];
};

struct block {
	struct list node;		/* in the pool, or in a send queue */
	struct block_pool *pool;
	size_t *charged[2];		/* reduced by cap when the block is freed, or NULL */
	unsigned refs;
	unsigned class;
	uint32_t cap;
	uint32_t start, end;		/* in a send queue: the bytes still to be sent */
	struct page_pipe *pages;	/* and these after them; or NULL */
	unsigned char data[];
};

/* The most that block_new() gives: a 1 MiB transfer and what stands around it. */
#define BLOCK_MAX (1024u * 1024 + 12 * 1024)

void block_pool_init(struct block_pool *pool);
void block_pool_release(struct block_pool *pool);

/* A block of at least need bytes, counted once, start and end 0; NULL: no memory, or need > BLOCK_MAX. */
struct block *block_new(struct block_pool *pool, size_t need);
/* Let both counters hold the size of this block until it is freed. */
void block_charge(struct block *block, size_t *counter, size_t *other);

static inline struct block *block_get(struct block *block)
{
	block->refs++;
	return block;
}

void block_put(struct block *block);	/* NULL is fine */

/* In a send queue: what is still to be sent. */
static inline size_t block_unsent(const struct block *block)
{
	return block->end - block->start + (block->pages ? block->pages->len : 0);
}

#endif
