/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include "nfsd/block.h"

/* A small reply or read; one that fits a common READ of 32 KiB; of 128 KiB; of 1 MiB. */
static const struct block_class {
	uint32_t cap;
	unsigned keep;		/* most blocks kept for reuse */
} classes[BLOCK_CLASSES] = {
	{ 8 * 1024, 256 },
	{ 64 * 1024, 128 },
	{ 136 * 1024, 64 },
	{ BLOCK_MAX, 32 },
};

void block_pool_init(struct block_pool *pool)
{
	for (unsigned i = 0; i < BLOCK_CLASSES; i++) {
		list_init(&pool->free[i]);
		pool->n_free[i] = 0;
	}
}

void block_pool_release(struct block_pool *pool)
{
	for (unsigned i = 0; i < BLOCK_CLASSES; i++) {
		struct block *block;

		while ((block = list_first(&pool->free[i], struct block, node)) != NULL) {
			list_del(&block->node);
			free(block);
		}
		pool->n_free[i] = 0;
	}
}

struct block *block_new(struct block_pool *pool, size_t need)
{
	struct block *block;
	unsigned class = 0;

	while (class < BLOCK_CLASSES && classes[class].cap < need)
		class++;
	if (class == BLOCK_CLASSES)
		return NULL;
	block = list_first(&pool->free[class], struct block, node);
	if (block) {
		list_del(&block->node);
		pool->n_free[class]--;
	} else {
		block = malloc(sizeof(*block) + classes[class].cap);
		if (!block)
			return NULL;
		block->node = (struct list){ NULL, NULL };
		block->pool = pool;
		block->class = class;
		block->cap = classes[class].cap;
	}
	block->charged[0] = block->charged[1] = NULL;
	block->refs = 1;
	block->start = block->end = 0;
	block->pages = NULL;
	return block;
}

void block_charge(struct block *block, size_t *counter, size_t *other)
{
	assert(!block->charged[0]);
	block->charged[0] = counter;
	block->charged[1] = other;
	*counter += block->cap;
	*other += block->cap;
}

void block_put(struct block *block)
{
	struct block_pool *pool;

	if (!block)
		return;
	assert(block->refs > 0);
	if (--block->refs)
		return;
	page_pipe_put(block->pages);
	for (int i = 0; i < 2; i++)
		if (block->charged[i])
			*block->charged[i] -= block->cap;
	pool = block->pool;
	if (pool->n_free[block->class] >= classes[block->class].keep) {
		free(block);
		return;
	}
	list_prepend(&pool->free[block->class], &block->node);
	pool->n_free[block->class]++;
}
