/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker: a thread that does what blocks on the disk, one piece after the other, and tells a loop.
 *
 * Replay needs it: taking and retiring records waits for a transaction with its fsync, and
 * contents are read from disk; meanwhile the replicate thread goes on fetching and pulling.
 *
 * Threads: all calls come from the loop's.
 */
#ifndef REPLICATE_WORKER_H
#define REPLICATE_WORKER_H

#include "base/loop.h"

struct worker;

/* Lives in the caller's struct; not to be posted again before done() is called. */
struct work {
	void (*run)(struct work *work);		/* on the worker's thread */
	void (*done)(struct work *work);	/* then on the loop's */
	struct loop_job job;			/* the worker's */
	struct work *next;			/* the worker's */
};

/* 0 or -errno. */
int worker_start(struct loop *loop, const char *name, struct worker **ret_worker);
void worker_post(struct worker *worker, struct work *work);
/*
 * Runs what was posted, then ends; done() of that is posted to the loop before this returns.
 * NULL is fine.
 */
void worker_stop(struct worker *worker);

#endif
