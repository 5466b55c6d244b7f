/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * run: a command of the administrator's, run by the shell as some user, for a bounded time.
 *
 * It has a session of its own, no descriptors but /dev/null, a pipe for what it says, and one directory where the caller gives one; no
 * signals ignored or blocked; none of what the kernel grants this process (to write pages out without memory, not to be killed
 * for memory).  When it ends, or its time does, all of its session that is left is killed.
 *
 * Threads: any that may block; SIGCHLD is not needed.
 */
#ifndef BASE_RUN_H
#define BASE_RUN_H

#include <stddef.h>
#include <sys/types.h>

#define RUN_DIR_FD 9		/* the directory, in the command: /proc/self/fd/9/ leads there, whatever is above it */

struct run {
	const char *command;	/* for /bin/sh -c */
	char *const *env;	/* all of its environment; ends in NULL */
	int dirfd;		/* -1: none */
	uid_t uid;		/* as whom, with no other groups; where this process is not root: as itself */
	gid_t gid;
	unsigned limit_s;
	int stop_fd;		/* becomes readable: it is to end now; -1: never */
	char *output;		/* what it says, its beginning, NUL-terminated */
	size_t output_room;	/* at least 1 */
};

/*
 * 0: it has ended, with *ret_status as the shell has it in $?: 128 and the signal's number where one ended it.  -ETIMEDOUT, -ECANCELED: it
 * was ended; -errno: it could not be begun.
 */
int run_command(struct run *run, int *ret_status);

#endif
