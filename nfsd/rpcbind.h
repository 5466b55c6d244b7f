/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rpcbind: tell the machine's rpcbind where NFS, MOUNT and NFSACL are served.
 *
 * A thread of its own does it, since rpcbind may be missing, slow or hung, and nothing here may wait for
 * it.  It tries again every minute: rpcbind may start after us, or be restarted and have forgotten.  What others
 * have registered is left alone, and only what was registered here is taken back.
 */
#ifndef NFSD_RPCBIND_H
#define NFSD_RPCBIND_H

#include "base/loop.h"

struct rpcbind;
struct sockaddr_storage;

/* addr: what is listened on, with the port.  0 or -errno. */
int rpcbind_start(const struct sockaddr_storage *addr, struct rpcbind **ret_rpcbind);
/* Unregister, then post job to loop.  May take as long as rpcbind likes. */
void rpcbind_stop(struct rpcbind *rpcbind, struct loop *loop, struct loop_job *job);
/* Let go; a thread that still waits for rpcbind is left to itself, and job is not posted any more. */
void rpcbind_free(struct rpcbind *rpcbind);

#endif
