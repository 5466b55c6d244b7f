/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/reader.h"

#include <errno.h>
#include "base/thread.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/op.h"

#define THREADS 4	/* a disk does better with several reads at once */

struct job {
	struct list node;
	struct cache_op *op;
	struct inode *inode;
	struct object *object;
	uint64_t cut_gen;
};

struct reader {
	struct cache *cache;
	pthread_t threads[THREADS];
	unsigned n_threads;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct list queue;
	unsigned n_under_way;		/* those in the queue too */
	bool is_stopping;
};

bool reader_is_busy(struct cache *cache)
{
	struct reader *reader = cache->reader;
	bool is_busy;

	pthread_mutex_lock(&reader->lock);
	is_busy = reader->n_under_way;
	pthread_mutex_unlock(&reader->lock);
	return is_busy;
}

int reader_read(struct cache *cache, struct cache_op *op, struct inode *inode, struct object *object)
{
	struct reader *reader = cache->reader;
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = (struct job){ .op = op, .inode = inode, .object = object, .cut_gen = inode->work->cut_gen };
	op_waits(op, &op->waited.commit_us);	/* which is the time for the disk */
	pthread_mutex_lock(&reader->lock);
	list_append(&reader->queue, &job->node);
	reader->n_under_way++;
	pthread_cond_signal(&reader->wake);
	pthread_mutex_unlock(&reader->lock);
	return CACHE_WAITS;
}

static void job_run(struct cache *cache, struct job *job)
{
	struct cache_op *op = job->op;
	int err = object_read(job->object, op->priv.extra, op->count, op->priv.num[2]);
	bool was_cut;

	pthread_mutex_lock(&cache->lock);
	was_cut = job->inode->work->cut_gen != job->cut_gen;
	object_put(cache, job->object);
	inode_put(cache, job->inode);
	pthread_mutex_unlock(&cache->lock);
	if (was_cut)
		cache_op_again(op);
	else
		cache_op_finish(op, err ? -EIO : 0);
}

static void *reader_run(void *arg)
{
	struct reader *reader = arg;
	struct job *job;

	pthread_mutex_lock(&reader->lock);
	for (;;) {
		job = list_first(&reader->queue, struct job, node);
		if (job) {
			list_del(&job->node);
			pthread_mutex_unlock(&reader->lock);
			job_run(reader->cache, job);
			free(job);
			pthread_mutex_lock(&reader->lock);
			reader->n_under_way--;
			continue;
		}
		if (reader->is_stopping)
			break;
		pthread_cond_wait(&reader->wake, &reader->lock);
	}
	pthread_mutex_unlock(&reader->lock);
	return NULL;
}

int reader_start(struct cache *cache)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	int err;

	if (!reader)
		return -ENOMEM;
	reader->cache = cache;
	list_init(&reader->queue);
	(void)pthread_mutex_init(&reader->lock, NULL);	/* neither can fail with default attributes */
	(void)pthread_cond_init(&reader->wake, NULL);
	cache->reader = reader;
	for (unsigned i = 0; i < THREADS; i++) {
		err = thread_start(&reader->threads[i], "izo-read", reader_run, reader);
		if (err) {
			reader_stop(cache);
			return err;
		}
		reader->n_threads++;
	}
	return 0;
}

void reader_stop(struct cache *cache)
{
	struct reader *reader = cache->reader;

	if (!reader)
		return;
	pthread_mutex_lock(&reader->lock);
	reader->is_stopping = true;
	pthread_cond_broadcast(&reader->wake);
	pthread_mutex_unlock(&reader->lock);
	for (unsigned i = 0; i < reader->n_threads; i++)
		pthread_join(reader->threads[i], NULL);
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->wake);
	free(reader);
	cache->reader = NULL;
}
