/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * thread: named threads with all signals blocked (the main thread takes signals).
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* 0 or -errno.  name is cut to 15 bytes. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg);

/*
 * Tell the kernel that this process writes out other people's dirty pages (PR_SET_IO_FLUSHER), so
 * that memory pressure does not make it wait for itself.  To be called before any thread is made.
 * 0, or -errno where the kernel refuses.
 */
int thread_become_io_flusher(void);

#endif
