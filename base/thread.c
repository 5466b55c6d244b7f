/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57	/* Linux 5.6 */
#endif

int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg)
{
	sigset_t all, before;
	pthread_t thread;
	char cut[16];
	int err;

	/* A thread starts with its maker's mask: so no signal can slip in before it blocks them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return -err;
	snprintf(cut, sizeof(cut), "%s", name);
	(void)pthread_setname_np(thread, cut);	/* only for people who look */
	*ret_thread = thread;
	return 0;
}

void thread_stop(pthread_t thread, pthread_mutex_t *lock, pthread_cond_t *wake, bool *is_stopping)
{
	pthread_mutex_lock(lock);
	__atomic_store_n(is_stopping, true, __ATOMIC_RELAXED);
	pthread_cond_signal(wake);
	pthread_mutex_unlock(lock);
	pthread_join(thread, NULL);
}

int thread_become_io_flusher(void)
{
	return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? -errno : 0;
}
