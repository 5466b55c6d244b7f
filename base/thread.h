/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * thread: named threads with all signals blocked (the main thread takes signals).
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* 0 or -errno.  name is cut to 15 bytes. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg);
/*
 * Tell a thread to end, and wait until it has.  *is_stopping becomes true, atomically and under the lock, so the thread may look at it either
 * way; and what it waits for with that lock is signalled.
 */
void thread_stop(pthread_t thread, pthread_mutex_t *lock, pthread_cond_t *wake, bool *is_stopping);

/*
 * Tell the kernel that this process writes out other people's dirty pages (PR_SET_IO_FLUSHER), so
 * that memory pressure does not make it wait for itself.  To be called before any thread is made.
 * 0, or -errno where the kernel refuses.
 */
int thread_become_io_flusher(void);

#endif
