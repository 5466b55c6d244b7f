/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/op.h"

#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "cache/internal.h"
#include "cache/park.h"

void op_begin(struct cache *cache, struct cache_op *op, int (*again)(struct cache_op *op))
{
	op->err = 0;
	op->ino = 0;
	op->has_attr = false;
	memset(op->wcc, 0, sizeof(op->wcc));
	op->count = 0;
	op->is_eof = false;
	op->access = 0;
	op->committed = UNSTABLE;
	memset(&op->priv, 0, sizeof(op->priv));
	op->priv.cache = cache;
	op->priv.again = again;
}

void op_waits(struct cache_op *op, uint64_t *for_what)
{
	op->priv.waits = for_what;
	op->priv.since_us = clock_us();
}

/* What it waited for is there; it still has to wait for its loop. */
static void wait_over(struct cache_op *op)
{
	uint64_t now_us;

	if (!op->priv.waits)
		return;
	now_us = clock_us();
	*op->priv.waits += now_us - op->priv.since_us;
	op->priv.since_us = now_us;
}

static void on_loop(struct cache_op *op)
{
	if (!op->priv.waits)
		return;
	op->priv.waits = NULL;
	op->waited.loop_us += clock_us() - op->priv.since_us;
}

static void finish_job(struct loop_job *job)
{
	struct cache_op *op = container_of(job, struct cache_op, priv.job);

	on_loop(op);
	op->done(op);
}

void cache_op_finish(struct cache_op *op, int err)
{
	wait_over(op);
	op->err = err;
	op->priv.job.run = finish_job;
	loop_post(op->loop, &op->priv.job);
}

static void again_job(struct loop_job *job)
{
	struct cache_op *op = container_of(job, struct cache_op, priv.job);
	int got;

	on_loop(op);
	got = op->priv.again(op);
	if (got == CACHE_WAITS)
		return;
	op->err = got;
	op->done(op);
}

void cache_op_again(struct cache_op *op)
{
	wait_over(op);
	op->priv.job.run = again_job;
	loop_post(op->loop, &op->priv.job);
}

static void pre_from(struct pre_attr *pre, const struct attr *attr)
{
	*pre = (struct pre_attr){ true, attr->size, attr->mtime, attr->ctime };
}

void op_wcc_before(struct cache_op *op, int i, const struct inode_edit *edit)
{
	struct attr attr;

	inode_edit_attr(edit, &attr);
	pre_from(&op->wcc[i].before, &attr);
}

void op_wcc_after(struct cache_op *op, int i, const struct inode_edit *edit)
{
	inode_edit_attr(edit, &op->wcc[i].after);
	op->wcc[i].has_after = true;
}

void op_result(struct cache_op *op, const struct inode_edit *edit)
{
	op->ino = edit->inode->ino;
	inode_edit_attr(edit, &op->attr);
	op->has_attr = true;
}

void op_wcc_now(struct cache_op *op, int i, const struct inode *inode, bool with_before)
{
	inode_attr(inode, &op->wcc[i].after);
	op->wcc[i].has_after = true;
	if (with_before)
		pre_from(&op->wcc[i].before, &op->wcc[i].after);
}

void op_result_now(struct cache_op *op, const struct inode *inode)
{
	op->ino = inode->ino;
	inode_attr(inode, &op->attr);
	op->has_attr = true;
}

/* wcc as things stand; before: nothing has changed since. */
static void fill_wcc(struct cache_op *op, bool with_before)
{
	struct cache *cache = op->priv.cache;

	for (int i = 0; i < 2; i++) {
		struct inode *inode;
		int err;

		op->wcc[i] = (struct wcc){ 0 };
		if (!op->priv.num[i])
			continue;
		pthread_mutex_lock(&cache->lock);
		inode = inode_get(cache, op->priv.num[i], &err);
		if (inode)
			op_wcc_now(op, i, inode, with_before);
		inode_put(cache, inode);
		pthread_mutex_unlock(&cache->lock);
	}
}

/* What is told of an object besides, when there is one: as it is now. */
static void fill_object(struct cache_op *op, uint64_t ino)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode;
	int err;

	if (!ino)
		return;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &err);
	if (inode)
		op_result_now(op, inode);
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
}

int op_refuse(struct cache_op *op, int err)
{
	fill_wcc(op, true);
	fill_object(op, op->priv.object);
	return err;
}

int cache_refuse(struct cache *cache, struct cache_op *op, int err, uint64_t object, uint64_t first, uint64_t second)
{
	op_begin(cache, op, NULL);
	op->priv.object = object;
	op->priv.num[0] = first;
	op->priv.num[1] = second;
	return op_refuse(op, err);
}

/* The call was carried out before: its result, with attributes as they are now. */
static void fill_result(struct cache_op *op)
{
	fill_wcc(op, false);
	fill_object(op, op->ino);
}

static void submit_done(struct change *change, int err)
{
	struct cache_op *op = change->op;
	bool was_done_before = change->was_done_before;

	free(change);
	if (!was_done_before && op->priv.refusal)
		err = op->priv.refusal;
	if (err == -ERESTART) {
		cache_op_again(op);
		return;
	}
	if (err)
		(void)op_refuse(op, err);
	else if (was_done_before)
		fill_result(op);
	cache_op_finish(op, err);
}

int op_submit(struct cache_op *op, int (*run)(struct change *change))
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change)
		return op_refuse(op, -ENOMEM);
	change->run = run;
	change->done = submit_done;
	change->op = op;
	change->loop = op->loop;
	op_waits(op, &op->waited.commit_us);
	writer_submit(op->priv.cache, change);
	return CACHE_WAITS;
}

int op_check_name(struct slice name)
{
	const char *text = name.data;

	if (!name.len || memchr(text, '/', name.len) || memchr(text, '\0', name.len))
		return -EACCES;		/* RFC 1813 3.2, general comments on filenames */
	if (name.len > CACHE_NAME_MAX)
		return -ENAMETOOLONG;
	if (text[0] == '.' && (name.len == 1 || (name.len == 2 && text[1] == '.')))
		return -EEXIST;
	return 0;
}

static int refuse_run(struct change *change)
{
	return change->op->priv.refusal;
}

int op_refuse_new(struct cache_op *op, int err)
{
	if (!op->has_token)
		return op_refuse(op, err);
	/* Only the writer knows; looking needs no room, and what has changed no row is not waited for. */
	op->priv.refusal = err;
	return op_submit(op, refuse_run);
}

static void give_up_job(struct loop_job *job)
{
	struct cache_op *op = container_of(job, struct cache_op, priv.job);
	int got;

	on_loop(op);
	got = op_refuse_new(op, op->err);
	if (got == CACHE_WAITS)
		return;		/* and may be over already */
	op->err = got;
	op->done(op);
}

void cache_op_give_up(struct cache_op *op, int err)
{
	wait_over(op);
	op->err = err;
	op->priv.job.run = give_up_job;
	loop_post(op->loop, &op->priv.job);
}

struct inode *op_get_dir(struct cache_op *op, uint64_t dir, int *ret)
{
	struct cache *cache = op->priv.cache;
	struct inode *inode = inode_get(cache, dir, ret);

	if (!inode)
		return NULL;
	if (inode->v.type != TYPE_DIR)
		*ret = -ENOTDIR;
	else if (!inode->v.is_listed)
		*ret = park_listing(cache, op, inode);
	else if (!inode->has_names)
		*ret = park_commit(cache, op, inode);
	else
		return inode;
	inode_put(cache, inode);
	return NULL;
}
