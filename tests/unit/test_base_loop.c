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

#include "base/awake.h"
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

/* ---- staying awake ---- */

static void awake_while_it_pays(void **state)
{
	struct awake awake = { 0 };

	(void)state;
	assert_int_equal(awake_us(&awake), 0);
	for (unsigned i = 0; i < AWAKE_AFTER; i++) {
		assert_int_equal(awake_us(&awake), 0);
		awake_came(&awake, AWAKE_US - 1, false);
	}
	assert_int_equal(awake_us(&awake), AWAKE_US);
	awake_came(&awake, 0, false);
	assert_int_equal(awake_us(&awake), AWAKE_US);
	awake_came(&awake, AWAKE_US, true);		/* within its own waking: the next one may well be sooner */
	assert_int_equal(awake_us(&awake), AWAKE_US);
	awake_came(&awake, AWAKE_US + AWAKE_WAKING_US, true);		/* looked for in vain */
	assert_int_equal(awake_us(&awake), 0);
	awake_came(&awake, AWAKE_US, false);
	assert_int_equal(awake.soon, AWAKE_AFTER / 4);
	for (unsigned i = AWAKE_AFTER / 4; i < AWAKE_AFTER; i++) {
		assert_int_equal(awake_us(&awake), 0);
		awake_came(&awake, AWAKE_US + AWAKE_WAKING_US - 1, true);	/* that of the client, and its own */
	}
	assert_int_equal(awake_us(&awake), AWAKE_US);
	for (unsigned i = 0; i < 4; i++)	/* calls are rare */
		awake_came(&awake, 1000000, true);
	assert_int_equal(awake.soon, 0);
}

#define PINGS 2000

static int there[2], back[2];	/* pipes */
static unsigned pongs;
static struct loop_timer in_the_end;

static void *pinger(void *arg)
{
	char byte = 'p';

	(void)arg;
	for (unsigned i = 0; i < PINGS; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			abort();
	return NULL;
}

static void note_and_stop(struct loop_job *job)
{
	(void)job;
	loop_stop(loop);
}

static void *post_late(void *arg)
{
	static struct loop_job late = { .run = note_and_stop };

	(void)arg;
	usleep(1000);	/* it sleeps by now */
	loop_post(loop, &late);
	return NULL;
}

static void post_when_due(struct loop_timer *timer)
{
	pthread_t thread;

	(void)timer;
	assert_int_equal(thread_start(&thread, "late", post_late, NULL), 0);
	assert_int_equal(pthread_detach(thread), 0);
}

static void pong(struct loop_fd *lfd, uint32_t events)
{
	char byte;

	(void)events;
	assert_int_equal(read(lfd->fd, &byte, 1), 1);
	assert_int_equal(write(back[1], &byte, 1), 1);
	if (++pongs == PINGS)
		loop_timer_set(loop, &in_the_end, clock_us() + US_PER_MS);
}

/* Events that come close after each other, a timer that is due while it looks, a job that comes when it sleeps again: all of them. */
static void stays_awake(void **state)
{
	struct loop_fd fd = { .ready = pong };
	pthread_t thread;

	(void)state;
	assert_int_equal(pipe(there), 0);
	assert_int_equal(pipe(back), 0);
	fd.fd = there[0];
	in_the_end.fire = post_when_due;
	loop_stay_awake(loop);
	assert_int_equal(loop_add(loop, &fd, EPOLLIN), 0);
	assert_int_equal(thread_start(&thread, "pinger", pinger, NULL), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(pongs, PINGS);
	for (int i = 0; i < 2; i++) {
		(void)close(there[i]);
		(void)close(back[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(posts_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(deferred, setup, teardown),
		cmocka_unit_test_setup_teardown(timers_by_time, setup, teardown),
		cmocka_unit_test_setup_teardown(deleted_stays_silent, setup, teardown),
		cmocka_unit_test(awake_while_it_pays),
		cmocka_unit_test_setup_teardown(stays_awake, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
