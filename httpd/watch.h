/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch: what local programs do in the export, noticed as it happens.
 *
 * A thread takes events of fanotify where the kernel allows it (our own process's left out), else
 * of inotify, and has reconcile.h look at what they name.  Events are hints: an overflow, or a
 * watch that could not be set, makes it look at everything.  At the start it sets its watches first
 * and then looks at everything once, so that nothing done while the server was down, or meanwhile,
 * is missed.
 *
 * A file that is being written is journalled when it is quiet for a moment or closed, and at the
 * latest every few seconds.
 */
#ifndef HTTPD_WATCH_H
#define HTTPD_WATCH_H

#include <stdbool.h>
#include "httpd/tree.h"

struct watch;

enum watch_kind { WATCH_BEST, WATCH_FANOTIFY, WATCH_INOTIFY };

/* kind other than WATCH_BEST: tests; -ENOTSUP when it is not to be had.  0 or -errno. */
int watch_start(struct tree *tree, enum watch_kind kind, struct watch **ret_watch);
/* Ends the thread, in the middle of a look if need be. */
void watch_stop(struct watch *watch);

/*
 * Wait until everything has been looked at once, or the tree is stopping (tree_stop_waiting()):
 * true when it has.
 */
bool watch_wait_settled(struct watch *watch, uint64_t deadline_us);
/* "fanotify" or "inotify" */
const char *watch_kind_name(const struct watch *watch);

#endif
