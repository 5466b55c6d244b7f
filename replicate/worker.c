/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/worker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/thread.h"

struct worker {
	struct loop *loop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct work *first, **end;
	bool is_stopping;
};

static void tell(struct loop_job *job)
{
	struct work *work = container_of(job, struct work, job);

	work->done(work);
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;

	pthread_mutex_lock(&worker->lock);
	for (;;) {
		struct work *work = worker->first;

		if (!work) {
			if (worker->is_stopping)
				break;
			pthread_cond_wait(&worker->wake, &worker->lock);
			continue;
		}
		worker->first = work->next;
		if (!worker->first)
			worker->end = &worker->first;
		pthread_mutex_unlock(&worker->lock);
		work->run(work);
		work->job.run = tell;
		loop_post(worker->loop, &work->job);
		pthread_mutex_lock(&worker->lock);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

int worker_start(struct loop *loop, const char *name, struct worker **ret_worker)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int err;

	if (!worker)
		return -ENOMEM;
	worker->loop = loop;
	worker->end = &worker->first;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wake, NULL);
	err = thread_start(&worker->thread, name, worker_run, worker);
	if (err) {
		pthread_cond_destroy(&worker->wake);
		pthread_mutex_destroy(&worker->lock);
		free(worker);
		return err;
	}
	*ret_worker = worker;
	return 0;
}

void worker_post(struct worker *worker, struct work *work)
{
	work->next = NULL;
	pthread_mutex_lock(&worker->lock);
	*worker->end = work;
	worker->end = &work->next;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
}

void worker_stop(struct worker *worker)
{
	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->is_stopping = true;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}
