/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfsd_fixture: a server on a thread of its own over a cache that has no upstream, and a client that
 * puts records together by hand, so that it can get them wrong.
 *
 * The server runs while the test does; n.config may be changed before n_start().  Client sockets give up after
 * 20 s.
 */
#ifndef TESTS_NFSD_FIXTURE_H
#define TESTS_NFSD_FIXTURE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <rpc/rpc.h>
#include <sys/socket.h>
#include "base/thread.h"
#include "nfsd/fh.h"
#include "nfsd/server.h"
#include "nfsd/xdr.h"
#include "rpcgen/nfs3.h"
#include "tests/unit/cache_fixture.h"

struct nfsd_fixture {
	struct fixture f;
	struct nfsd_export export;
	struct nfsd_config config;
	struct nfsd *nfsd;
	pthread_t thread;
	struct loop_job stop_job;
	bool is_running;
	uint8_t root[FH_LEN];
	const void *arg;	/* the case, of tests that have several */
};

static UNUSED void *n_run(void *arg)
{
	struct nfsd_fixture *n = arg;

	(void)loop_run(n->f.loop);
	return NULL;
}

static UNUSED void n_stopped(void *arg)
{
	struct nfsd_fixture *n = arg;

	loop_stop(n->f.loop);
}

static UNUSED void n_stop_run(struct loop_job *job)
{
	struct nfsd_fixture *n = container_of(job, struct nfsd_fixture, stop_job);

	nfsd_stop(n->nfsd, n_stopped, n);
}

static UNUSED void n_fh(struct nfsd_fixture *n, uint64_t ino, uint8_t ret_fh[FH_LEN])
{
	uint8_t key[FH_KEY_LEN];

	cache_handle_key(n->f.cache, key);
	fh_seal(key, cache_tree_id(n->f.cache), ino, ret_fh);
}

/* Serve; the cache is open. */
static UNUSED void n_start(struct nfsd_fixture *n)
{
	char *why = NULL;
	int err;

	n->export = (struct nfsd_export){ .path = "/imports", .cache = n->f.cache,
					  .is_read_only = n->export.is_read_only };
	n->config.exports = &n->export;
	n->config.n_exports = 1;
	n->config.no_rpcbind = true;
	err = nfsd_start(n->f.loop, &n->config, -1, &n->nfsd, &why);
	if (err)
		print_error("nfsd_start: %s\n", why);
	assert_int_equal(err, 0);
	n_fh(n, cache_root(n->f.cache), n->root);
	assert_int_equal(thread_start(&n->thread, "nfsd", n_run, n), 0);
	n->is_running = true;
}

static UNUSED void n_stop(struct nfsd_fixture *n)
{
	if (!n->is_running)
		return;
	n->stop_job.run = n_stop_run;
	loop_post(n->f.loop, &n->stop_job);
	pthread_join(n->thread, NULL);
	nfsd_free(n->nfsd);
	n->nfsd = NULL;
	n->is_running = false;
}

/* As a restart of the program would do it. */
static UNUSED void n_restart(struct nfsd_fixture *n)
{
	n_stop(n);
	f_reopen(&n->f);
	n_start(n);
}

static UNUSED int n_setup_stopped(void **state)
{
	struct nfsd_fixture *n = calloc(1, sizeof(*n));

	assert_non_null(n);
	f_init(&n->f);
	f_open(&n->f);
	n->config.allow_unprivileged_ports = true;
	*state = n;
	return 0;
}

static UNUSED int n_setup(void **state)
{
	(void)n_setup_stopped(state);
	n_start(*state);
	return 0;
}

static UNUSED int n_teardown(void **state)
{
	struct nfsd_fixture *n = *state;

	n_stop(n);
	f_close(&n->f);
	f_remove_dir(&n->f);
	free(n);
	return 0;
}

static UNUSED struct nfsd_stats n_stats(struct nfsd_fixture *n)
{
	struct nfsd_stats stats;

	nfsd_get_stats(n->nfsd, &stats);
	return stats;
}

/* Wait until a figure is what it should be: it changes on the server's thread. */
#define n_wait_until(condition) \
	do { \
		uint64_t until_us = clock_us() + 20 * US_PER_S; \
		while (!(condition) && clock_us() < until_us) \
			usleep(1000); \
	} while (0)
#define n_assert_stat(n, member, want) \
	do { \
		n_wait_until(n_stats(n).member == (uint64_t)(want)); \
		assert_int_equal(n_stats(n).member, want); \
	} while (0)

/* ---- connections ---- */

static UNUSED int n_connect(struct nfsd_fixture *n)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(nfsd_port(n->nfsd)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { 20, 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static UNUSED void n_send(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t got = send(fd, p, len, MSG_NOSIGNAL);

		assert_true(got > 0);
		p += got;
		len -= (size_t)got;
	}
}

/* False: the peer has closed the connection before the first byte. */
static UNUSED bool n_recv(int fd, void *data, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t got = recv(fd, (char *)data + have, len - have, 0);

		if (got <= 0 && !have && (got == 0 || errno == ECONNRESET))
			return false;
		assert_true(got > 0);
		have += (size_t)got;
	}
	return true;
}

static UNUSED void n_assert_closed(int fd)
{
	char byte;

	assert_false(n_recv(fd, &byte, 1));
	close(fd);
}

/* ---- calls ---- */

struct call_buf {
	struct xdr_out out;
	unsigned char *record;		/* with its mark */
};

#define CALL_BUF_SIZE (1200u * 1024)

/* The mark and the header of a call by AUTH_SYS of uid and gid. */
static UNUSED struct call_buf call_begin(uint32_t xid, uint32_t program, uint32_t version,
					 uint32_t proc, uint32_t uid)
{
	struct call_buf c;

	c.record = malloc(CALL_BUF_SIZE);
	assert_non_null(c.record);
	c.out = xdr_out_of(c.record, CALL_BUF_SIZE);
	xdr_out_u32(&c.out, 0);		/* the mark, later */
	xdr_out_u32(&c.out, xid);
	xdr_out_u32(&c.out, CALL);
	xdr_out_u32(&c.out, RPC_MSG_VERSION);
	xdr_out_u32(&c.out, program);
	xdr_out_u32(&c.out, version);
	xdr_out_u32(&c.out, proc);
	xdr_out_u32(&c.out, AUTH_SYS);
	xdr_out_u32(&c.out, 5 * 4 + 4);
	xdr_out_u32(&c.out, 0);		/* stamp */
	xdr_out_opaque(&c.out, "test", 4);
	xdr_out_u32(&c.out, uid);
	xdr_out_u32(&c.out, uid);
	xdr_out_u32(&c.out, 0);		/* no groups */
	xdr_out_u32(&c.out, AUTH_NONE);
	xdr_out_u32(&c.out, 0);
	return c;
}

static UNUSED struct call_buf nfs_call(uint32_t xid, uint32_t proc)
{
	return call_begin(xid, NFS_PROGRAM, NFS_V3, proc, 0);
}

static UNUSED size_t call_len(const struct call_buf *c)
{
	return (size_t)(c->out.p - c->record);
}

/* Set the mark for one fragment; gives the record's length with it. */
static UNUSED size_t call_seal(struct call_buf *c)
{
	xdr_store_u32(c->record, 0x80000000u | (uint32_t)(call_len(c) - 4));
	return call_len(c);
}

static UNUSED void call_send(int fd, struct call_buf *c)
{
	n_send(fd, c->record, call_seal(c));
	free(c->record);
}

static UNUSED void send_null(int fd, uint32_t xid)
{
	struct call_buf c = nfs_call(xid, NFSPROC3_NULL);

	call_send(fd, &c);
}

/* ---- replies ---- */

struct reply {
	unsigned char *data;		/* the record */
	size_t len;
	struct xdr_in in;		/* behind the header */
	uint32_t xid, reply_stat, accept_stat;
};

static UNUSED void reply_free(struct reply *r)
{
	free(r->data);
	r->data = NULL;
}

static UNUSED struct reply n_reply(int fd)
{
	struct reply r = { 0 };
	unsigned char mark[4];

	assert_true(n_recv(fd, mark, sizeof(mark)));
	assert_true(mark[0] & 0x80);	/* the server sends single fragments */
	r.len = xdr_load_u32(mark) & 0x7fffffff;
	assert_in_range(r.len, 8, CALL_BUF_SIZE);
	r.data = malloc(r.len);
	assert_non_null(r.data);
	assert_true(n_recv(fd, r.data, r.len));
	r.in = xdr_in_of(r.data, r.len);
	r.xid = xdr_in_u32(&r.in);
	assert_int_equal(xdr_in_u32(&r.in), REPLY);
	r.reply_stat = xdr_in_u32(&r.in);
	if (r.reply_stat != MSG_ACCEPTED)
		return r;
	assert_int_equal(xdr_in_u32(&r.in), AUTH_NONE);
	assert_int_equal(xdr_in_u32(&r.in), 0);
	r.accept_stat = xdr_in_u32(&r.in);
	return r;
}

/* A reply with results; its NFS status is left to be read. */
static UNUSED struct reply n_success(int fd, uint32_t xid)
{
	struct reply r = n_reply(fd);

	assert_int_equal(r.xid, xid);
	assert_int_equal(r.reply_stat, MSG_ACCEPTED);
	assert_int_equal(r.accept_stat, SUCCESS);
	return r;
}

static UNUSED void expect_null(int fd, uint32_t xid)
{
	struct reply r = n_success(fd, xid);

	assert_true(xdr_in_done(&r.in));
	reply_free(&r);
}

/* Is the connection served? */
static UNUSED void assert_served(int fd)
{
	send_null(fd, 0x5e5e5e5e);
	expect_null(fd, 0x5e5e5e5e);
}

#endif
