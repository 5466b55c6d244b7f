/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/cond.h"

#include "base/clock.h"

int cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int err;

	err = -pthread_condattr_init(&attr);
	if (err)
		return err;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);	/* a clock that exists */
	err = -pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	return err;
}

void cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t at_us)
{
	uint64_t now_us = clock_us(), wait_us;
	struct timespec until;

	if (at_us == CLOCK_NEVER) {
		pthread_cond_wait(cond, lock);
		return;
	}
	if (at_us <= now_us)
		return;
	wait_us = at_us - now_us;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);	/* a clock that exists */
	until.tv_sec += wait_us / US_PER_S;
	until.tv_nsec += wait_us % US_PER_S * 1000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_cond_timedwait(cond, lock, &until);	/* the caller looks why it woke */
}
