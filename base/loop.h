/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop: one thread's event loop: descriptors (epoll), timers, and jobs posted by other threads.
 *
 * Everything registered with a loop is touched by that loop's thread only; loop_post() and
 * loop_stop() are the two calls that other threads may make.  Callbacks must not block.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include "base/list.h"

struct loop;

/* A descriptor in a loop; lives in the caller's struct. */
struct loop_fd {
	int fd;
	void (*ready)(struct loop_fd *lfd, uint32_t events);	/* EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR */
};

/* A timer; zeroed means not set. */
struct loop_timer {
	void (*fire)(struct loop_timer *timer);
	uint64_t at_us;		/* clock_us() */
	struct list node;	/* the loop's */
};

/* Work posted from another thread; run once, in the order posted. */
struct loop_job {
	void (*run)(struct loop_job *job);
	struct loop_job *next;	/* the loop's */
};

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);

/* Level-triggered.  loop_del() may be called from any callback, its own too: after it no event of that fd comes. */
int loop_add(struct loop *loop, struct loop_fd *lfd, uint32_t events);
int loop_mod(struct loop *loop, struct loop_fd *lfd, uint32_t events);
void loop_del(struct loop *loop, struct loop_fd *lfd);

/* (Re)set to fire once at that time; cancelling one that is not set is fine. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_us);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* Is this the thread that runs the loop? */
bool loop_is_here(const struct loop *loop);
/*
 * On the loop's thread: run once, when this round's events, jobs and timers are done and before the loop sleeps.  May
 * post jobs.
 */
void loop_defer(struct loop *loop, struct loop_job *job);

/* Any thread. */
void loop_post(struct loop *loop, struct loop_job *job);
void loop_stop(struct loop *loop);

/* Runs until loop_stop(); jobs posted before that are still run.  0 or -errno. */
int loop_run(struct loop *loop);

/*
 * Before it runs: it is to look for the next event for a moment before it sleeps, while events come soon after each other
 * (base/awake.h).  Does nothing where this thread has one processor.
 */
void loop_stay_awake(struct loop *loop);

/* After each round of events: called once before the loop sleeps again (batched flushing). */
void loop_set_idle(struct loop *loop, void (*idle)(void *arg), void *arg);

#endif
