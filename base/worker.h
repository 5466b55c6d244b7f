/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker: threads that do what blocks on the disk, in the place of an event loop, and tell one.
 *
 * Pieces of work are begun in the order in which they were posted; with one thread, each after the one before it has ended.
 *
 * Threads: work may be posted from any.
 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include "base/loop.h"

struct worker;

/* Lives in the caller's struct; not to be posted again before done() is called, or run() when there is none. */
struct work {
	/* all of it the worker's */
	void (*run)(struct work *work);
	void (*done)(struct work *work);
	struct loop_job job;
	struct work *next;
};

/* loop: for done(); NULL: no work has one.  0 or -errno. */
int worker_start(struct loop *loop, const char *name, unsigned n_threads, struct worker **ret_worker);
/* run: on one of the worker's threads; done: then on the loop's; NULL: nothing, and run may free the work. */
void worker_post(struct worker *worker, struct work *work, void (*run)(struct work *work), void (*done)(struct work *work));
/*
 * Runs what was posted, then ends; done() of that is posted to the loop before this returns.
 * NULL is fine.
 */
void worker_stop(struct worker *worker);

#endif
