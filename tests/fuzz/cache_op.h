/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_op: operations on a cache, one at a time, each until it is done: wait_for(cache_getattr(cache, begin(), ino)). */
#ifndef TESTS_FUZZ_CACHE_OP_H
#define TESTS_FUZZ_CACHE_OP_H

#include "base/clock.h"
#include "base/loop.h"
#include "cache/cache.h"
#include "tests/fuzz/fuzz.h"

static struct loop *loop;	/* the target's, to be made by it */
static bool is_done;
static struct cache_op op;

static void op_done(struct cache_op *done)
{
	(void)done;
	is_done = true;
	loop_stop(loop);
}

static struct cache_op *begin(void)
{
	op = (struct cache_op){ .done = op_done, .loop = loop, .deadline_us = clock_us() + US_PER_S };
	is_done = false;
	return &op;
}

static int wait_for(int got)
{
	if (got != CACHE_WAITS)
		return got;
	while (!is_done)
		MUST(!loop_run(loop));
	return op.err;
}

#endif
