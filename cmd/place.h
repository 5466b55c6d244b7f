/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place: paths as people give them, made into a tree and a path in it. */
#ifndef CMD_PLACE_H
#define CMD_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include "cache/cml.h"

struct daemon;
struct daemon_tree;

struct place {
	const struct daemon_tree *tree;
	char path[CML_PATH_MAX];	/* from its root, "/a/b"; "/" */
};

/*
 * In the command, before it is sent: absolute, and without "." and ".." and empty names; by its text alone, for to look at it may
 * mean to ask the daemon.  -ENAMETOOLONG, -errno.
 */
int place_clean(const char *path, char ret[PATH_MAX]);

/* In the daemon: what stands behind a mount point of ours; false: it is on none. */
bool place_by_mount(struct daemon *daemon, const char *path, struct place *ret);
/* That; or by the export path it begins with; or from the root of 'only', or of the one tree there is.  False: none is meant. */
bool place_find(struct daemon *daemon, const struct daemon_tree *only, const char *path, struct place *ret);

#endif
