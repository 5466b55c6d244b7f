/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forward: mtimes of directories in which names came and went that the log has folded away (fold.h).
 *
 * Such a directory is noted, and is told the upstream by one record, SETATTR of KML_SET_FORWARD, when all that is in the log has
 * been taken: so a day's temporary files cost the log nothing, and each of their directories one short record in the end.
 */
#ifndef CACHE_FORWARD_H
#define CACHE_FORWARD_H

#include <stdint.h>

struct cache;
struct change;

/* Inside the change that sets its mtime.  0 or -errno.  Wakes the replayer. */
int forward_note(struct change *change, uint64_t dir);
/* Is its mtime to be sent, or on its way?  1, 0, -errno.  Inside a change. */
int forward_waits(struct change *change, uint64_t dir);
/* Append the records, at most so many.  Inside a change; gives how many there were, or -errno. */
int forward_append(struct change *change, unsigned most);

#endif
