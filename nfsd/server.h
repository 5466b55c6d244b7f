/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * server: the NFS front end as the program sees it: start it on a loop, read its figures, stop it.
 *
 * NFS v3, MOUNT v3 and NFSACL v3 are served over TCP on one port, on one loop.  What the exports name (caches,
 * paths) is borrowed and must outlive the server.
 *
 * Threads: all calls on the loop's thread, or before loop_run(); nfsd_get_stats() from any thread.
 * The server takes loop_set_idle() of that loop for itself.
 * Errors: 0 or -errno.
 */
#ifndef NFSD_SERVER_H
#define NFSD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nfsd/stats.h"

struct cache;
struct loop;
struct nfsd;

/* Whom callers are taken for; the words are those of exports(5). */
enum nfsd_squash {
	NFSD_SQUASH_NONE,		/* for who they say they are: root is root */
	NFSD_SQUASH_ROOT,		/* root, and the group root, for the anonymous ones */
	NFSD_SQUASH_ALL,		/* everybody for the anonymous one, who has no other groups */
};

struct nfsd_export {
	const char *path;		/* as mount names it: absolute, "/imports" */
	struct cache *cache;
	bool is_read_only;		/* changes get NFS3ERR_ROFS */
	enum nfsd_squash squash;
	uint32_t anon_uid, anon_gid;	/* who squash makes of them, and who does not say who he is; 0: 65534 */
};

/* Zero in a limit or a wait means the default named beside it. */
struct nfsd_config {
	const char *listen_addr;	/* numeric, IPv4 or IPv6; NULL: 127.0.0.1 */
	uint16_t port;			/* 0: any free one, see nfsd_port() */
	bool allow_unprivileged_ports;	/* tests only: any local user could then claim any uid */
	bool no_rpcbind;		/* do not register */

	const struct nfsd_export *exports;
	size_t n_exports;

	uint64_t lookup_wait_us;	/* 2 s: longest wait for metadata that is not here */
	uint64_t read_wait_us;		/* 30 s: for content that is not here */
	unsigned max_connections;	/* 256 */
	unsigned max_calls;		/* 4096: under way per connection; above it the socket is not read */
	unsigned max_calls_all;		/* 16384: of all; above it each connection may have one */
	size_t max_read_memory;		/* 64 MiB: of replies to READ; calls beyond wait their turn */
	uint64_t slow_call_us;		/* a call that takes so long gets a line in the log; here 0 means never */
};

/*
 * Listen and serve.  listen_fd: a listening socket from the service manager, taken over; or -1.
 * *ret_why (may be NULL) gets one sentence for the user, to be freed.
 */
int nfsd_start(struct loop *loop, const struct nfsd_config *config, int listen_fd,
	       struct nfsd **ret_nfsd, char **ret_why);

/* The port served. */
uint16_t nfsd_port(const struct nfsd *nfsd);

/*
 * Stop: no new connection, no new call; what is under way is finished and answered, and rpcbind is told
 * to forget us.  stopped() is called on the loop, once, never from within nfsd_stop().  It comes when no operation
 * is left in any cache (each ends at its own deadline at the latest); peers that do not take their
 * replies are dropped after 5 s.  After stopped() has been called: nfsd_free().
 */
void nfsd_stop(struct nfsd *nfsd, void (*stopped)(void *arg), void *arg);
/* Either after stopped(), or when loop_run() was never entered. */
void nfsd_free(struct nfsd *nfsd);

/* Figures, for --status (stats.h). */
void nfsd_get_stats(const struct nfsd *nfsd, struct nfsd_stats *ret);

#endif
