/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mounts: which mounts of this machine are of our own exports, and whether they are safe.
 *
 * A mount of ours with remote locking hangs every program that locks a file on it, for ever: no lock
 * server stands behind it, and the kernel's own takes the place one would need.
 * And nothing the daemon needs (cache, config, sockets) may lie on one: it would wait for itself.
 *
 * /proc/self/mountinfo is the only thing read: looking at a mount itself may wait for its server, us.
 */
#ifndef CMD_MOUNTS_H
#define CMD_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOUNTS_INFO "/proc/self/mountinfo"

struct mount {
	char *point;		/* where, as a path */
	char *export;		/* what, the path behind "HOST:" */
	bool is_local_lock;	/* locks stay on this machine, as they must */
};

struct mounts {
	struct mount *v;	/* owned */
	size_t n;
};

/*
 * Find the NFS mounts, from this machine and that port, of something at or below one of the exports.
 * info: MOUNTS_INFO, or what tests put in its place.  0 or -errno; mounts is to be released in any case.
 */
int mounts_find(struct mounts *mounts, const char *info, uint16_t port, const char *const *exports,
		size_t n_exports);
void mounts_release(struct mounts *mounts);

/*
 * Is the path on one of these mounts, or would it be?  Follows symlinks without ever touching the mount
 * itself.  Gives that mount, or NULL.
 */
const struct mount *mounts_holding(const struct mounts *mounts, const char *path);

#endif
