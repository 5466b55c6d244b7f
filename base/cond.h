/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cond: waiting for somebody, but not for ever, by the clock that goes on whatever happens to the time of day. */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>
#include <stdint.h>

/* A condition variable for cond_wait().  0 or -errno. */
int cond_init(pthread_cond_t *cond);
/* Wait until woken or clock_us() is at_us (CLOCK_NEVER: no limit); may wake up early. */
void cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t at_us);

#endif
