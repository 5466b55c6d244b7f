/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * listener: the NFS port's socket, kept by the service manager while the daemon is restarted.
 *
 * The kernel's client connects again as soon as its connection breaks.  With a socket that outlives the daemon
 * it waits for the next one to answer; with none it is refused and comes back only after a pause.
 */
#ifndef CMD_LISTENER_H
#define CMD_LISTENER_H

#include "cmd/config.h"

/*
 * The socket that the service manager gave, when it is for the address wanted; else one made here, if there is a
 * manager to keep it.  Gives a listening descriptor, or -1: the server is to make its own.
 */
int listener_take(const struct config *config);

#endif
