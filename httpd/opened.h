/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opened: an object's file, open, and known to hold a certain version of the data (content.h (1), (2)).
 *
 * Threads: each belongs to one; calls block for the disk, and opened_open() for the watch to have looked.
 */
#ifndef HTTPD_OPENED_H
#define HTTPD_OPENED_H

#include "httpd/files.h"
#include "httpd/tree.h"

struct opened {
	/* the caller's */
	struct tree *tree;
	int fd;			/* -1 before and after */
	/* as it is open */
	struct object object;
	struct file_stat was;	/* the file when it was that version */
};

/* The row of a regular file that is meant: 0 and *ret_object, else what the call gives that has it looked for. */
typedef int opened_find(void *arg, struct sql *sql, struct object *ret_object);

/*
 * Open it by one of its names.  0: it is as its row says, for certain; -EAGAIN: it is not, or is too fresh to tell, and
 * has to be looked at; or what find gave, or -errno.
 */
int opened_once(struct opened *opened, opened_find *find, void *arg);
/* The same, and has it looked at, some times; waits.  -EAGAIN: it is being changed all the time. */
int opened_open(struct opened *opened, opened_find *find, void *arg);
/* What was read since is of that version: 0; -EAGAIN: it is not; -errno: nobody can say. */
int opened_still_same(struct opened *opened);
void opened_close(struct opened *opened);

#endif
