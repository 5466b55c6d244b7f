/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/sockaddr.h"
#include "base/why.h"
#include "nfsd/internal.h"
#include "nfsd/mount3.h"
#include "nfsd/rpcbind.h"

#define LISTEN_BACKLOG 128
#define ACCEPTS 32		/* per event */
#define ACCEPT_PAUSE_US (1 * US_PER_S)
#define STOP_WAIT_US (5 * US_PER_S)

/* ---- listening ---- */

/*
 * Every kernel has reno.  Over the loopback there is nobody to be considerate of; one that paces (BBR, where the system is set
 * so) waits for a timer after each 64 KiB of a reply.  A connection takes it from its listener; set once it is there, BBR is gone, and
 * the kernel goes on pacing, though not so slowly.
 */
static void no_pacing(int fd, const struct sockaddr_storage *addr)
{
	/* Without it what is served is the same. */
	if (sockaddr_is_loopback(addr))
		(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}

static int listen_on(const char *address, uint16_t port, int *ret_fd, char **ret_why)
{
	struct sockaddr_storage addr = { 0 };
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *info;
	char service[8];
	int err, on = 1, fd;

	(void)snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(address, service, &hints, &info))
		return why_fail(ret_why, -EINVAL, "\"%s\" is not an IP address", address);
	memcpy(&addr, info->ai_addr, info->ai_addrlen);
	fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		no_pacing(fd, &addr);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		err = -errno;
		(void)why_fail(ret_why, err, "cannot listen on %s port %u: %s", address, port, strerror(-err));
		freeaddrinfo(info);
		if (fd >= 0)
			(void)close(fd);	/* never used */
		return err;
	}
	freeaddrinfo(info);
	*ret_fd = fd;
	return 0;
}

static uint16_t port_of(const struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)addr)->sin6_port);
	return ntohs(((const struct sockaddr_in *)addr)->sin_port);
}

static void format_address(const struct sockaddr_storage *addr, char *ret_text, socklen_t size)
{
	const void *host = addr->ss_family == AF_INET6 ?
		(const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr :
		(const void *)&((const struct sockaddr_in *)addr)->sin_addr;

	if (!inet_ntop(addr->ss_family, host, ret_text, size))
		(void)snprintf(ret_text, size, "?");
}

static void refuse(struct nfsd *nfsd, int fd, const char *peer, uint16_t port, const char *why)
{
	unsigned held;

	(void)close(fd);
	stat_add(&nfsd->stats.refused, 1);
	if (log_gate_open(&nfsd->refused_gate, 10, &held))
		log_warn("nfsd: connection refused, %s: peer=%s port=%u held_back=%u", why, peer,
			 port, held);
}

/*
 * Only root can use a port below 1024, so the kernel's client can and a program of another user cannot: what AUTH_SYS
 * claims is believed from there alone.
 */
static void accept_one(struct nfsd *nfsd, int fd, const struct sockaddr_storage *addr)
{
	uint16_t port = port_of(addr);
	char peer[INET6_ADDRSTRLEN];
	int on = 1;

	format_address(addr, peer, sizeof(peer));
	if (port >= IPPORT_RESERVED && !nfsd->allow_unprivileged_ports) {
		refuse(nfsd, fd, peer, port, "its port is not a privileged one");
		return;
	}
	if (nfsd->n_conns >= nfsd->max_connections) {
		refuse(nfsd, fd, peer, port, "there are too many");
		return;
	}
	/* None of these makes a difference to what is served. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	no_pacing(fd, addr);	/* of a listener for any address */
	if (conn_new(nfsd, fd, peer) < 0)
		stat_add(&nfsd->stats.refused, 1);
	else
		stat_add(&nfsd->stats.accepted, 1);
}

static void accept_ready(struct loop_fd *lfd, uint32_t events)
{
	struct nfsd *nfsd = container_of(lfd, struct nfsd, listener);

	(void)events;
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		int fd = accept4(lfd->fd, (struct sockaddr *)&addr, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			accept_one(nfsd, fd, &addr);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* The event stays; without a pause the loop would spin on it. */
			log_warn("nfsd: cannot accept connections, trying again in 1 s: %s",
				 strerror(errno));
			if (loop_mod(nfsd->loop, lfd, 0) == 0)
				loop_timer_set(nfsd->loop, &nfsd->accept_again,
					       clock_us() + ACCEPT_PAUSE_US);
			return;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		/* Anything else is about that one connection. */
	}
}

static void accept_resume(struct loop_timer *timer)
{
	struct nfsd *nfsd = container_of(timer, struct nfsd, accept_again);

	if (loop_mod(nfsd->loop, &nfsd->listener, EPOLLIN) < 0)
		loop_timer_set(nfsd->loop, timer, clock_us() + ACCEPT_PAUSE_US);
}

/* ---- each round of the loop ---- */

static void flush_all(struct nfsd *nfsd)
{
	struct conn *conn;

	while ((conn = list_first(&nfsd->to_flush, struct conn, flush_node)) != NULL)
		conn_flush(conn);
}

static bool has_unsent(const struct nfsd *nfsd)
{
	const struct conn *conn;

	list_each(conn, &nfsd->conns, node)
		if (conn->tx_len)
			return true;
	return false;
}

static void stop_check(struct nfsd *nfsd)
{
	if (nfsd->is_told || nfsd->n_calls || nfsd->rpcbind || has_unsent(nfsd))
		return;
	nfsd->is_told = true;
	loop_timer_cancel(nfsd->loop, &nfsd->stop_timer);
	nfsd->stopped(nfsd->stopped_arg);
}

/* Calls, or connections with calls, that wait for room; a server that stops reads no more of them. */
static bool has_waiting(const struct nfsd *nfsd)
{
	return !list_is_empty(&nfsd->deferred) || (!nfsd->is_stopping && !list_is_empty(&nfsd->blocked));
}

static void nothing(struct loop_job *job)
{
	(void)job;
}

static void server_idle(void *arg)
{
	struct nfsd *nfsd = arg;
	struct conn *conn, *next;

	flush_all(nfsd);
	if (has_waiting(nfsd)) {
		uint64_t before = nfsd->n_sendings;

		rpc_run_deferred(nfsd);
		list_each_safe(conn, next, &nfsd->blocked, blocked_node)
			conn_resume(conn);
		flush_all(nfsd);
		/* What has left since they were looked at has made room for those still here; no event will tell them. */
		if (has_waiting(nfsd) && nfsd->n_sendings != before)
			loop_post(nfsd->loop, &nfsd->one_more_round);
	}
	if (nfsd->is_stopping)
		stop_check(nfsd);
}

/* ---- life ---- */

static int tree_init(struct tree *tree, const struct nfsd_export *export, char **ret_why)
{
	size_t len = strlen(export->path);

	if (export->path[0] != '/')
		return why_fail(ret_why, -EINVAL, "the export \"%s\" is not an absolute path", export->path);
	while (len > 1 && export->path[len - 1] == '/')
		len--;
	tree->path = strndup(export->path, len);
	if (!tree->path)
		return -ENOMEM;
	tree->cache = export->cache;
	tree->id = cache_tree_id(export->cache);
	tree->root = cache_root(export->cache);
	cache_handle_key(export->cache, tree->key);
	tree->is_read_only = export->is_read_only;
	tree->callers = (struct cred_map){
		.squash = export->squash,
		.anon_uid = export->anon_uid ? export->anon_uid : CRED_NOBODY,
		.anon_gid = export->anon_gid ? export->anon_gid : CRED_NOBODY,
	};
	return 0;
}

static int trees_init(struct nfsd *nfsd, const struct nfsd_config *config, char **ret_why)
{
	nfsd->trees = calloc(config->n_exports, sizeof(nfsd->trees[0]));
	if (!nfsd->trees)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_exports; i++) {
		int err = tree_init(&nfsd->trees[i], &config->exports[i], ret_why);

		if (err)
			return err;
		nfsd->n_trees++;
		for (size_t k = 0; k < i; k++) {
			if (!strcmp(nfsd->trees[k].path, nfsd->trees[i].path))
				return why_fail(ret_why, -EEXIST, "two trees are exported as %s", nfsd->trees[i].path);
			if (nfsd->trees[k].id == nfsd->trees[i].id)
				return why_fail(ret_why, -EEXIST, "%s and %s have the same cache, or copies of one", nfsd->trees[k].path,
						nfsd->trees[i].path);
		}
	}
	return 0;
}

static void stop_timeout(struct loop_timer *timer);
static void rpcbind_gone(struct loop_job *job);

static int nfsd_init(struct nfsd *nfsd, struct loop *loop, const struct nfsd_config *config)
{
	nfsd->loop = loop;
	nfsd->allow_unprivileged_ports = config->allow_unprivileged_ports;
	nfsd->lookup_wait_us = config->lookup_wait_us ? config->lookup_wait_us : 2 * US_PER_S;
	nfsd->read_wait_us = config->read_wait_us ? config->read_wait_us : 30 * US_PER_S;
	nfsd->max_connections = config->max_connections ? config->max_connections : 256;
	nfsd->max_calls = config->max_calls ? config->max_calls : 4096;
	nfsd->max_calls_all = config->max_calls_all ? config->max_calls_all : 16384;
	nfsd->max_read_memory = config->max_read_memory ? config->max_read_memory :
							  64u * 1024 * 1024;
	nfsd->slow_call_us = config->slow_call_us;
	nfsd->listener = (struct loop_fd){ .fd = -1, .ready = accept_ready };
	nfsd->accept_again.fire = accept_resume;
	nfsd->stop_timer.fire = stop_timeout;
	nfsd->stop_job.run = rpcbind_gone;
	list_init(&nfsd->conns);
	list_init(&nfsd->to_flush);
	list_init(&nfsd->blocked);
	nfsd->one_more_round.run = nothing;
	list_init(&nfsd->free_calls);
	list_init(&nfsd->deferred);
	block_pool_init(&nfsd->pool);
	page_pipe_pool_init(&nfsd->pipes);
	stats_init(&nfsd->stats);
	return drc_init(&nfsd->drc, DRC_DEFAULT_MAX);
}

static int server_listen(struct nfsd *nfsd, const struct nfsd_config *config, int listen_fd,
			 char **ret_why)
{
	const char *address = config->listen_addr ? config->listen_addr : "127.0.0.1";
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int err;

	if (listen_fd < 0) {
		err = listen_on(address, config->port, &listen_fd, ret_why);
		if (err)
			return err;
	}
	nfsd->listener.fd = listen_fd;
	/* One that was passed in may block. */
	if (getsockname(listen_fd, (struct sockaddr *)&addr, &len) < 0 ||
	    fcntl(listen_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (addr.ss_family != AF_INET && addr.ss_family != AF_INET6)
		return why_fail(ret_why, -EAFNOSUPPORT, "the socket passed in is not a TCP socket");
	nfsd->port = port_of(&addr);
	err = loop_add(nfsd->loop, &nfsd->listener, EPOLLIN);
	if (err) {
		(void)close(listen_fd);
		nfsd->listener.fd = -1;
		return err;
	}
	if (!config->no_rpcbind && rpcbind_start(&addr, &nfsd->rpcbind) < 0)
		log_warn(
			"rpcbind: not registered, no thread for it; mounts need port= and mountport=");
	return 0;
}

static void stop_listening(struct nfsd *nfsd)
{
	loop_timer_cancel(nfsd->loop, &nfsd->accept_again);
	if (nfsd->listener.fd < 0)
		return;
	loop_del(nfsd->loop, &nfsd->listener);
	(void)close(nfsd->listener.fd);
	nfsd->listener.fd = -1;
}

int nfsd_start(struct loop *loop, const struct nfsd_config *config, int listen_fd,
	       struct nfsd **ret_nfsd, char **ret_why)
{
	struct nfsd *nfsd = calloc(1, sizeof(*nfsd));
	int err;

	if (ret_why)
		*ret_why = NULL;
	if (!nfsd)
		return -ENOMEM;
	err = nfsd_init(nfsd, loop, config);
	if (!err)
		err = trees_init(nfsd, config, ret_why);
	if (!err)
		err = server_listen(nfsd, config, listen_fd, ret_why);
	if (err) {
		if (ret_why && !*ret_why)
			(void)why_fail(ret_why, err, "%s", strerror(-err));
		nfsd_free(nfsd);
		return err;
	}
	loop_set_idle(loop, server_idle, nfsd);
	*ret_nfsd = nfsd;
	return 0;
}

uint16_t nfsd_port(const struct nfsd *nfsd)
{
	return nfsd->port;
}

static void drop_connections(struct nfsd *nfsd)
{
	struct conn *conn;

	while ((conn = list_first(&nfsd->conns, struct conn, node)) != NULL)
		conn_kill(conn);
}

/* Who has not taken his replies by now will not.  stop_check() comes with this round's end. */
static void stop_timeout(struct loop_timer *timer)
{
	struct nfsd *nfsd = container_of(timer, struct nfsd, stop_timer);

	drop_connections(nfsd);
	rpcbind_free(nfsd->rpcbind);
	nfsd->rpcbind = NULL;
}

static void rpcbind_gone(struct loop_job *job)
{
	struct nfsd *nfsd = container_of(job, struct nfsd, stop_job);

	rpcbind_free(nfsd->rpcbind);
	nfsd->rpcbind = NULL;
}

void nfsd_stop(struct nfsd *nfsd, void (*stopped)(void *arg), void *arg)
{
	struct conn *conn, *next;

	if (nfsd->is_stopping)
		return;
	nfsd->is_stopping = true;
	nfsd->stopped = stopped;
	nfsd->stopped_arg = arg;
	stop_listening(nfsd);
	list_each_safe(conn, next, &nfsd->conns, node)
		conn_stop_reading(conn);
	/* Also what makes the loop turn once more when nothing else does. */
	loop_timer_set(nfsd->loop, &nfsd->stop_timer, clock_us() + STOP_WAIT_US);
	if (nfsd->rpcbind)
		rpcbind_stop(nfsd->rpcbind, nfsd->loop, &nfsd->stop_job);
	else
		loop_post(nfsd->loop, &nfsd->stop_job);
}

void nfsd_free(struct nfsd *nfsd)
{
	if (!nfsd)
		return;
	loop_set_idle(nfsd->loop, NULL, NULL);
	loop_timer_cancel(nfsd->loop, &nfsd->stop_timer);
	stop_listening(nfsd);
	drop_connections(nfsd);
	rpcbind_free(nfsd->rpcbind);
	rpc_release_calls(nfsd);
	drc_release(&nfsd->drc);
	block_pool_release(&nfsd->pool);
	page_pipe_pool_release(&nfsd->pipes);
	mount3_list_release(&nfsd->mounts);
	for (size_t i = 0; i < nfsd->n_trees; i++)
		free(nfsd->trees[i].path);
	free(nfsd->trees);
	free(nfsd);
}
