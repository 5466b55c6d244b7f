/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * daemon: the running izo-nfsd: opens everything in order, serves until told to stop, closes in the reverse order.
 *
 * Threads: the main one runs the NFS loop (nfsd/) and all of this; the control thread reads what is
 * marked so.  Each cache and each link has threads of its own.
 */
#ifndef CMD_DAEMON_H
#define CMD_DAEMON_H

#include <pthread.h>
#include "base/loop.h"
#include "cmd/config.h"
#include "cmd/merger.h"
#include "cmd/mounts.h"
#include "cmd/policy.h"
#include "cmd/service.h"

struct cache;
struct control;
struct nfsd;
struct replicate;

struct daemon_tree {
	const struct config_tree *config;
	struct cache *cache;
	struct replicate *replicate;
	struct merger *merger;		/* runs what merges */
	struct policy *policy;		/* NULL: a person decides */
};

struct daemon {
	/* constant while the control thread runs */
	const struct config *config;
	struct daemon_tree *trees;		/* as config->trees, and as many */
	struct nfsd *nfsd;
	uint64_t started_us;
	bool is_io_flusher;			/* the kernel does not make us wait for our own pages */
	bool is_locked;				/* our memory is not swapped out */

	/* main thread */
	struct service service;
	struct loop *loop;
	struct control *control;
	struct loop_fd signals;
	struct loop_timer mounts_timer;
	bool is_stopping;

	/* under lock */
	pthread_mutex_t lock;
	struct mounts mounts;			/* of our exports, as last looked */
};

/* Look which mounts are of our exports now, and complain of those that are not safe.  Any thread. */
void daemon_look_at_mounts(struct daemon *daemon);

/* Serve until SIGTERM or SIGINT.  Gives the program's exit status; what went wrong has been logged. */
int daemon_run(const struct config *config, bool is_foreground);

#endif
