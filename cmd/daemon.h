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
struct cache_adopt;
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

	unsigned opened;			/* how often the trees have been opened, this time too */
	struct cache_adopt *adopts;		/* one a tree, for the next opening, or of this one; the control thread's */
	bool is_reopen_posted;			/* the control thread's */

	/* main thread */
	struct service service;
	struct loop *loop;
	struct control *control;
	struct loop_fd signals;
	struct loop_timer mounts_timer;
	bool is_stopping;			/* atomic */
	bool is_reopening;			/* stopping, to be opened again */
	struct loop_job reopen_job;
	int listen_fd;				/* the service manager's, or -1 */
	uint16_t port;				/* the one that was served on before; 0: none */

	/* under lock */
	pthread_mutex_t lock;
	struct mounts mounts;			/* of our exports, as last looked */
};

/* Look which mounts are of our exports now, and complain of those that are not safe.  Any thread. */
void daemon_look_at_mounts(struct daemon *daemon);

/* Any thread. */
bool daemon_is_stopping(const struct daemon *daemon);
/*
 * Close all trees, and open them again, that one with what it is to adopt, whose descriptor is taken over.  Mounts see what they see of a
 * restart.  The control thread; what it answers now still goes.
 */
void daemon_reopen(struct daemon *daemon, const struct daemon_tree *tree, const struct cache_adopt *adopt);

/* Serve until SIGTERM or SIGINT.  Gives the program's exit status; what went wrong has been logged. */
int daemon_run(const struct config *config, bool is_foreground);

#endif
