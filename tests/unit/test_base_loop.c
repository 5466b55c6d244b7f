/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/thread.h"

static struct loop *loop;

static int setup(void **state)
{
	(void)state;
	return loop_new(&loop);
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

/* ---- jobs from other threads: all of them, in order ---- */

#define POSTERS 4
#define JOBS 2000

struct counted_job {
	struct loop_job job;
	unsigned poster, number;
};

static unsigned next_number[POSTERS], jobs_run;

static void count_job(struct loop_job *job)
{
	struct counted_job *counted = container_of(job, struct counted_job, job);

	assert_int_equal(counted->number, next_number[counted->poster]);
	next_number[counted->poster]++;
	free(counted);
	if (++jobs_run == POSTERS * JOBS)
		loop_stop(loop);
}

static void *poster(void *arg)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct counted_job *counted = calloc(1, sizeof(*counted));

		counted->job.run = count_job;
		counted->poster = (unsigned)(uintptr_t)arg;
		counted->number = i;
		loop_post(loop, &counted->job);
	}
	return NULL;
}

static void posts_in_order(void **state)
{
	pthread_t threads[POSTERS];

	(void)state;
	for (uintptr_t i = 0; i < POSTERS; i++)
		assert_int_equal(thread_start(&threads[i], "poster", poster, (void *)i), 0);
	assert_int_equal(loop_run(loop), 0);
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(jobs_run, POSTERS * JOBS);
}

/* ---- timers ---- */

static int fired[3], n_fired;

struct numbered_timer {
	struct loop_timer timer;
	int number;
};

static void note_timer(struct loop_timer *timer)
{
	fired[n_fired++] = container_of(timer, struct numbered_timer, timer)->number;
	if (n_fired == 2)
		loop_stop(loop);
}

static void timers_by_time(void **state)
{
	struct numbered_timer t[3] = {
		{ .timer.fire = note_timer, .number = 0 },
		{ .timer.fire = note_timer, .number = 1 },
		{ .timer.fire = note_timer, .number = 2 },
	};
	uint64_t now = clock_us();

	(void)state;
	loop_timer_set(loop, &t[0].timer, now + 20000);
	loop_timer_set(loop, &t[1].timer, now + 5000);
	loop_timer_set(loop, &t[2].timer, now + 10000);
	loop_timer_cancel(loop, &t[2].timer);
	loop_timer_cancel(loop, &t[2].timer);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(n_fired, 2);
	assert_int_equal(fired[0], 1);
	assert_int_equal(fired[1], 0);
	assert_true(clock_us() >= now + 20000);
}

/* ---- a descriptor taken out by another's callback gets no event of the same round ---- */

struct pipe_end {
	struct loop_fd lfd;
	struct pipe_end *other;
	int events;
};

static void take_other_out(struct loop_fd *lfd, uint32_t events)
{
	struct pipe_end *end = container_of(lfd, struct pipe_end, lfd);

	assert_true(events & EPOLLIN);
	end->events++;
	loop_del(loop, &end->other->lfd);
	loop_del(loop, &end->lfd);
	loop_stop(loop);
}

static void deleted_stays_silent(void **state)
{
	struct pipe_end a = { .lfd.ready = take_other_out }, b = { .lfd.ready = take_other_out };
	int pa[2], pb[2];

	(void)state;
	assert_int_equal(pipe(pa), 0);
	assert_int_equal(pipe(pb), 0);
	a.lfd.fd = pa[0];
	b.lfd.fd = pb[0];
	a.other = &b;
	b.other = &a;
	assert_int_equal(write(pa[1], "x", 1), 1);
	assert_int_equal(write(pb[1], "x", 1), 1);
	assert_int_equal(loop_add(loop, &a.lfd, EPOLLIN), 0);
	assert_int_equal(loop_add(loop, &b.lfd, EPOLLIN), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.events + b.events, 1);
	close(pa[0]);
	close(pa[1]);
	close(pb[0]);
	close(pb[1]);
}

/* ---- posted by the loop's own thread ---- */

static char order[16];

static void note_a(struct loop_job *job)
{
	(void)job;
	strcat(order, "a");
	loop_stop(loop);
}

static void note_b(struct loop_job *job)
{
	static struct loop_job a = { .run = note_a };

	(void)job;
	strcat(order, "b");
	loop_post(loop, &a);	/* nothing else wakes the loop */
}

static void note_c(struct loop_job *job)
{
	static struct loop_job b = { .run = note_b };

	(void)job;
	assert_true(loop_is_here(loop));
	loop_defer(loop, &b);
	strcat(order, "c");
}

static void note_d(struct loop_job *job)
{
	(void)job;
	strcat(order, "d");
}

/* What is deferred comes after the round's jobs, and what that posts is run although nobody wakes the loop. */
static void deferred(void **state)
{
	static struct loop_job c = { .run = note_c }, d = { .run = note_d };

	(void)state;
	assert_false(loop_is_here(loop));
	loop_post(loop, &c);
	loop_post(loop, &d);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(order, "cdba");
	assert_false(loop_is_here(loop));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(posts_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(deferred, setup, teardown),
		cmocka_unit_test_setup_teardown(timers_by_time, setup, teardown),
		cmocka_unit_test_setup_teardown(deleted_stays_silent, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
