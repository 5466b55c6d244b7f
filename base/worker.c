/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/worker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/thread.h"

struct worker {
	struct loop *loop;
	unsigned n_threads;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct work *first, **end;
	bool is_stopping;
	pthread_t threads[];
};

static void tell(struct loop_job *job)
{
	struct work *work = container_of(job, struct work, job);

	work->done(work);
}

static void work_run(struct worker *worker, struct work *work)
{
	bool has_done = work->done;

	work->run(work);
	if (!has_done)
		return;		/* it may be freed */
	work->job.run = tell;
	loop_post(worker->loop, &work->job);
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
		work_run(worker, work);
		pthread_mutex_lock(&worker->lock);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

int worker_start(struct loop *loop, const char *name, unsigned n_threads, struct worker **ret_worker)
{
	struct worker *worker = calloc(1, sizeof(*worker) + n_threads * sizeof(worker->threads[0]));

	if (!worker)
		return -ENOMEM;
	worker->loop = loop;
	worker->end = &worker->first;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wake, NULL);
	for (unsigned i = 0; i < n_threads; i++) {
		int err = thread_start(&worker->threads[i], name, worker_run, worker);

		if (err) {
			worker_stop(worker);
			return err;
		}
		worker->n_threads++;
	}
	*ret_worker = worker;
	return 0;
}

void worker_post(struct worker *worker, struct work *work, void (*run)(struct work *work), void (*done)(struct work *work))
{
	work->run = run;
	work->done = done;
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
	pthread_cond_broadcast(&worker->wake);
	pthread_mutex_unlock(&worker->lock);
	for (unsigned i = 0; i < worker->n_threads; i++)
		pthread_join(worker->threads[i], NULL);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}
