/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/reader.h"

#include <errno.h>
#include "base/worker.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/op.h"

#define THREADS 4	/* a disk does better with several reads at once */

struct job {
	struct work work;
	struct cache_op *op;
	struct inode *inode;
	struct object *object;
	uint64_t cut_gen;
};

static void job_run(struct work *work)
{
	struct job *job = container_of(work, struct job, work);
	struct cache_op *op = job->op;
	struct cache *cache = op->priv.cache;
	int err = object_read(job->object, op->priv.extra, op->count, op->priv.num[2]);
	bool was_cut;

	pthread_mutex_lock(&cache->lock);
	was_cut = job->inode->work->cut_gen != job->cut_gen;
	object_put(cache, job->object);
	inode_put(cache, job->inode);
	pthread_mutex_unlock(&cache->lock);
	free(job);
	if (was_cut)
		cache_op_again(op);
	else
		cache_op_finish(op, err ? -EIO : 0);
	__atomic_fetch_sub(&cache->n_reading, 1, __ATOMIC_RELEASE);
}

int reader_read(struct cache *cache, struct cache_op *op, struct inode *inode, struct object *object)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = (struct job){
		.op = op, .inode = inode, .object = object, .cut_gen = inode->work->cut_gen,
	};
	op_waits(op, &op->waited.commit_us);	/* which is the time for the disk */
	__atomic_fetch_add(&cache->n_reading, 1, __ATOMIC_RELAXED);
	worker_post(cache->reader, &job->work, job_run, NULL);
	return CACHE_WAITS;
}

bool reader_is_busy(struct cache *cache)
{
	return __atomic_load_n(&cache->n_reading, __ATOMIC_ACQUIRE);
}

int reader_start(struct cache *cache)
{
	return worker_start(NULL, "izo-read", THREADS, &cache->reader);
}

void reader_stop(struct cache *cache)
{
	worker_stop(cache->reader);
	cache->reader = NULL;
}
