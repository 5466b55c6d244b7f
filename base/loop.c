/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/awake.h"
#include "base/clock.h"
#include "base/mem.h"

#define EVENTS 64

struct loop {
	int epoll_fd;
	struct list timers;		/* soonest first; there are few */
	void (*idle)(void *arg);
	void *idle_arg;
	struct loop_job *deferred, **deferred_end;
	struct loop_fd wake;		/* eventfd: jobs wait, or stop */
	bool stays_awake;
	struct awake awake;

	/* the events being dealt with, so that loop_del() can take one out of them */
	struct epoll_event events[EVENTS];
	int n_events;

	pthread_mutex_t lock;
	/* under lock */
	struct loop_job *jobs, **jobs_end;
	bool is_stopped;
};

static __thread const struct loop *here;	/* the loop that this thread runs */

static void wake_ready(struct loop_fd *lfd, uint32_t events)
{
	uint64_t count;

	(void)events;
	(void)!read(lfd->fd, &count, sizeof(count));	/* empty already: fine */
}

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	list_init(&loop->timers);
	loop->jobs_end = &loop->jobs;
	loop->deferred_end = &loop->deferred;
	pthread_mutex_init(&loop->lock, NULL);
	loop->wake.ready = wake_ready;
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->wake.fd < 0 || loop->epoll_fd < 0) {
		err = -errno;
		loop_free(loop);
		return err;
	}
	err = loop_add(loop, &loop->wake, EPOLLIN);
	if (err) {
		loop_free(loop);
		return err;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->wake.fd >= 0)
		(void)close(loop->wake.fd);
	if (loop->epoll_fd >= 0)
		(void)close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static int control(struct loop *loop, int what, struct loop_fd *lfd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = lfd };

	return epoll_ctl(loop->epoll_fd, what, lfd->fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, lfd, events);
}

int loop_mod(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, lfd, events);
}

void loop_del(struct loop *loop, struct loop_fd *lfd)
{
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, lfd->fd, NULL);	/* was not added: fine */
	for (int i = 0; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == lfd)
			loop->events[i].data.ptr = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_us)
{
	struct list *where;

	list_del(&timer->node);
	timer->at_us = at_us;
	/* From the end: most timers are set for later than those that wait. */
	for (where = loop->timers.prev; where != &loop->timers; where = where->prev)
		if (list_entry(where, struct loop_timer, node)->at_us <= at_us)
			break;
	list_insert_before(where->next, &timer->node);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	(void)loop;
	list_del(&timer->node);
}

static void wake(struct loop *loop)
{
	uint64_t one = 1;

	(void)!write(loop->wake.fd, &one, sizeof(one));	/* full: it will wake all the same */
}

bool loop_is_here(const struct loop *loop)
{
	return here == loop;
}

void loop_defer(struct loop *loop, struct loop_job *job)
{
	job->next = NULL;
	*loop->deferred_end = job;
	loop->deferred_end = &job->next;
}

void loop_post(struct loop *loop, struct loop_job *job)
{
	bool was_empty;

	job->next = NULL;
	pthread_mutex_lock(&loop->lock);
	was_empty = !loop->jobs;
	*loop->jobs_end = job;
	loop->jobs_end = &job->next;
	if (was_empty && !loop_is_here(loop))
		wake(loop);	/* under the lock: whoever stops the loop after us may free it at once */
	pthread_mutex_unlock(&loop->lock);
}

void loop_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->is_stopped = true;
	wake(loop);
	pthread_mutex_unlock(&loop->lock);
}

void loop_set_idle(struct loop *loop, void (*idle)(void *arg), void *arg)
{
	loop->idle = idle;
	loop->idle_arg = arg;
}

void loop_stay_awake(struct loop *loop)
{
	cpu_set_t cpus;

	/* With one processor it would only keep from running what it waits for. */
	loop->stays_awake = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

static void run_list(struct loop_job *job)
{
	struct loop_job *next;

	for (; job; job = next) {
		next = job->next;	/* run() may free it or post it again */
		job->run(job);
	}
}

static void run_jobs(struct loop *loop)
{
	struct loop_job *job;

	pthread_mutex_lock(&loop->lock);
	job = loop->jobs;
	loop->jobs = NULL;
	loop->jobs_end = &loop->jobs;
	pthread_mutex_unlock(&loop->lock);
	run_list(job);
}

static void run_deferred(struct loop *loop)
{
	struct loop_job *job = loop->deferred;

	loop->deferred = NULL;
	loop->deferred_end = &loop->deferred;
	run_list(job);
}

/* Of this thread's own, which do not wake the loop; or of others, which will. */
static bool has_jobs(struct loop *loop)
{
	bool has;

	pthread_mutex_lock(&loop->lock);
	has = loop->jobs;
	pthread_mutex_unlock(&loop->lock);
	return has || loop->deferred;
}

static void run_timers(struct loop *loop)
{
	uint64_t now = clock_us();
	struct loop_timer *timer;

	while ((timer = list_first(&loop->timers, struct loop_timer, node)) && timer->at_us <= now) {
		list_del(&timer->node);
		timer->fire(timer);
	}
}

/* Milliseconds to sleep, rounded up: waking early would only mean to sleep again. */
static int timeout_ms(struct loop *loop)
{
	struct loop_timer *timer = list_first(&loop->timers, struct loop_timer, node);
	uint64_t now, ms;

	if (!timer)
		return -1;
	now = clock_us();
	if (timer->at_us <= now)
		return 0;
	ms = (timer->at_us - now + US_PER_MS - 1) / US_PER_MS;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

static bool has_to_stop(struct loop *loop)
{
	bool stop;

	pthread_mutex_lock(&loop->lock);
	stop = loop->is_stopped && !loop->jobs && !loop->deferred;
	if (stop)
		loop->is_stopped = false;	/* it may be run again */
	pthread_mutex_unlock(&loop->lock);
	return stop;
}

/* As epoll_wait(): for 'timeout' ms at most, -1: for ever.  Looks for a while before it sleeps, where that pays. */
static int wait_awake(struct loop *loop, int timeout)
{
	uint64_t start = clock_us(), end = start + awake_us(&loop->awake);
	bool has_slept;
	int n = 0;

	while (timeout && clock_us() < end && n == 0) {
		n = epoll_wait(loop->epoll_fd, loop->events, EVENTS, 0);
		if (n == 0)
			(void)sched_yield();	/* who is waited for may need this processor */
	}
	has_slept = n == 0;
	if (has_slept)
		n = epoll_wait(loop->epoll_fd, loop->events, EVENTS, timeout);
	if (n != 0 || timeout != 0)	/* it has waited for something */
		awake_came(&loop->awake, clock_us() - start, has_slept);
	return n;
}

static int next_events(struct loop *loop)
{
	int timeout = has_jobs(loop) ? 0 : timeout_ms(loop);

	return loop->stays_awake ? wait_awake(loop, timeout) : epoll_wait(loop->epoll_fd, loop->events, EVENTS, timeout);
}

static int run_rounds(struct loop *loop)
{
	for (;;) {
		int n;

		run_jobs(loop);
		run_timers(loop);
		run_deferred(loop);
		run_jobs(loop);		/* what those have ended, so that idle() sees it */
		if (loop->idle)
			loop->idle(loop->idle_arg);
		if (has_to_stop(loop))
			return 0;
		n = next_events(loop);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		loop->n_events = n;
		for (int i = 0; i < n; i++) {
			struct loop_fd *lfd = loop->events[i].data.ptr;

			if (lfd)
				lfd->ready(lfd, loop->events[i].events);
		}
		loop->n_events = 0;
	}
}

int loop_run(struct loop *loop)
{
	const struct loop *outer = here;
	int err;

	here = loop;
	err = run_rounds(loop);
	here = outer;
	return err;
}
