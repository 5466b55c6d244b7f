/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes on with an inode: work of its own and none, and content while it is written. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "cache/inode.h"
#include "cache/internal.h"

/* Everybody's who is at rest.  Const, so that who forgot inode_wake() is caught by the processor, in any build. */
static const struct inode_work at_rest;

bool inode_is_awake(const struct inode *inode)
{
	return inode->work != &at_rest;
}

void inode_work_init(struct inode *inode)
{
	inode->work = (struct inode_work *)&at_rest;	/* only read */
}

bool inode_is_durable(const struct inode *inode)
{
	return MAX(inode->work->synced_gen, inode->work->logged_gen) == inode->work->write_gen;
}

int inode_wake(struct cache *cache, struct inode *inode)
{
	struct inode_work *work;

	if (inode_is_awake(inode))
		return 0;
	work = calloc(1, sizeof(*work));
	if (!work)
		return -ENOMEM;
	work->inode = inode;
	work->write_gen = work->logged_gen = ++cache->last_write_gen;
	list_init(&work->held);
	inode->work = work;
	return 0;
}

void inode_work_free(struct inode *inode)
{
	struct inode_work *work = inode->work;

	if (!inode_is_awake(inode))
		return;
	list_del(&work->quiet);
	extent_release(&work->dirty);
	extent_release(&work->dirty_next);
	free(work);
	inode_work_init(inode);
}

bool inode_is_idle(const struct inode *inode)
{
	const struct inode_work *work = inode->work;

	return !inode->refs && !inode->pins && !work->n_writing && !work->is_held && !work->has_uncommitted &&
	       !work->has_fetched && !list_is_linked(&work->quiet);
}

void inode_rest(struct cache *cache, struct inode *inode)
{
	const struct inode_work *work = inode->work;

	if (!inode_is_awake(inode) || !inode_is_idle(inode))
		return;
	/* What the row has, and would wake it again; and what is cheap to keep while it is there. */
	if (work->dirty.n || work->dirty_next.n || work->taken_seq || work->has_verifier || work->object)
		return;
	/* There are bytes to be synced yet. */
	if (!inode_is_durable(inode) && !cache->no_sync)
		return;
	inode_work_free(inode);
}

/* ---- content, while it is written ---- */

bool inode_write_begin(struct inode *inode)
{
	if (inode->work->is_held)
		return false;
	inode->work->n_writing++;
	return true;
}

void inode_write_end(struct cache *cache, struct inode *inode, bool has_changed)
{
	struct inode_work *work = inode->work;

	assert(work->n_writing > 0);
	work->n_writing--;
	if (has_changed)
		inode_content_changed(cache, inode);
	if (!work->n_writing && work->is_held)
		pthread_cond_broadcast(&cache->content_idle);
}

void inode_content_changed(struct cache *cache, struct inode *inode)
{
	inode->work->write_gen = ++cache->last_write_gen;
}

void inode_hold(struct cache *cache, struct inode *inode)
{
	struct inode_work *work = inode->work;

	while (work->is_held)
		pthread_cond_wait(&cache->content_idle, &cache->lock);
	work->is_held = true;
	while (work->n_writing)
		pthread_cond_wait(&cache->content_idle, &cache->lock);
}

void inode_hold_end(struct cache *cache, struct inode *inode)
{
	struct cache_op *op, *next;

	inode->work->is_held = false;
	pthread_cond_broadcast(&cache->content_idle);
	list_each_safe(op, next, &inode->work->held, priv.node) {
		list_del(&op->priv.node);
		cache_op_again(op);
	}
}
