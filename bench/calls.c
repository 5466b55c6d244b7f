/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * calls: how fast does an NFSv3 server answer one kind of call?
 *
 *   calls PORT MOUNT_PORT EXPORT DIR CALL CONNECTIONS DEPTH COUNT [SIZE]
 *
 * CONNECTIONS with DEPTH calls under way on each, COUNT of them in all, in DIR, which is made in the export when it is
 * missing.  What the calls need is made before the clock starts.  SIZE: of a READ or WRITE (and 64 MiB is the file).
 * Prints: calls a second, and the latencies' median and 99th percentile in microseconds.  A WRITE's clock includes
 * the COMMIT at its end.
 *
 * Calls: null getattr lookup access readlink fsstat read write create mkdir remove rename setattr link symlink; readdirplus
 * (whose COUNT is the number of entries in the directory; calls a second are entries a second); unpack (COUNT
 * files of SIZE, each by CREATE, WRITE, SETATTR, COMMIT; files a second).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include "bench/bench.h"

#define NAME_SIZE 32
#define CONNECTIONS_MAX 16
#define CALLS_MAX 1024

struct fh {
	uint32_t len;
	char data[64];
};

struct call {
	struct bench *bench;
	struct rpc_context *rpc;	/* by this connection */
	uint64_t start_ns;
	uint64_t index;
	char name[NAME_SIZE], to[NAME_SIZE];
	unsigned step;		/* of an unpack */
	struct fh fh;
};

struct bench {
	struct nfs_context *nfs[CONNECTIONS_MAX];
	unsigned n_connections;
	struct rpc_context *rpc;	/* for single calls: the first connection's */
	const struct kind *kind;
	struct fh dir, file;
	struct call *calls;
	uint64_t count, sent, done, depth, size;
	uint64_t *latency_ns;
	char *data;
	/* one call that is waited for */
	bool is_over;
	struct fh *into;
	/* READDIRPLUS */
	uint64_t cookie, entries;
	char verifier[NFS3_COOKIEVERFSIZE];
	bool is_eof;
	const char *path;
};

struct kind {
	const char *name;
	int (*send)(struct bench *bench, struct call *call);
	void (*prepare)(struct bench *bench);
	/* An answer came: 1 when another call of the same piece of work was sent, 0 when it is done. */
	int (*next)(struct bench *bench, struct call *call, void *data);
};

static nfs_fh3 arg_fh(struct fh *fh)
{
	return (nfs_fh3){ .data = { .data_len = fh->len, .data_val = fh->data } };
}

static void keep_fh(struct fh *fh, const nfs_fh3 *from)
{
	if (from->data.data_len > sizeof(fh->data))
		die("a handle of %u bytes", from->data.data_len);
	fh->len = from->data.data_len;
	memcpy(fh->data, from->data.data_val, fh->len);
}

static void serve(struct rpc_context *rpc, int revents)
{
	if (rpc_service(rpc, revents) < 0)
		die("the connection is lost: %s", rpc_get_error(rpc));
}

static void serve_once(struct rpc_context **rpcs, unsigned n)
{
	struct pollfd pfds[CONNECTIONS_MAX];

	for (unsigned i = 0; i < n; i++)
		pfds[i] = (struct pollfd){ .fd = rpc_get_fd(rpcs[i]), .events = (short)rpc_which_events(rpcs[i]) };
	if (poll(pfds, n, 30000) <= 0)
		die("no answer for 30 s");
	for (unsigned i = 0; i < n; i++)
		if (pfds[i].revents)
			serve(rpcs[i], pfds[i].revents);
}

/* Every result begins with its status. */
static void check(struct rpc_context *rpc, int status, void *data, const char *what)
{
	if (status != RPC_STATUS_SUCCESS)
		die("%s: %s", what, rpc_get_error(rpc));
	if (data && *(nfsstat3 *)data)
		die("%s: %s", what, nfsstat3_to_str(*(nfsstat3 *)data));
}

/* ---- the measured calls ---- */

static void send_more(struct bench *b, struct call *call);

static void came(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct call *call = arg;
	struct bench *b = call->bench;

	check(rpc, status, strcmp(b->kind->name, "null") ? data : NULL, b->kind->name);
	if (b->kind->next && b->kind->next(b, call, data))
		return;
	b->latency_ns[b->done++] = now_ns() - call->start_ns;
	send_more(b, call);
}

static void send_more(struct bench *b, struct call *call)
{
	if (b->sent == b->count)
		return;
	call->index = b->sent++;
	(void)snprintf(call->name, sizeof(call->name), "f%" PRIu64, call->index);
	(void)snprintf(call->to, sizeof(call->to), "%c%" PRIu64, b->kind->name[0] == 'r' ? 'g' : 'n', call->index);
	call->step = 0;
	call->start_ns = now_ns();
	if (b->kind->send(b, call))
		die("%s cannot be sent: %s", b->kind->name, rpc_get_error(call->rpc));
}

static void run_all(struct bench *b)
{
	struct rpc_context *rpcs[CONNECTIONS_MAX];

	for (unsigned i = 0; i < b->n_connections; i++)
		rpcs[i] = nfs_get_rpc_context(b->nfs[i]);
	for (uint64_t i = 0; i < b->depth * b->n_connections; i++) {
		b->calls[i].bench = b;
		b->calls[i].rpc = rpcs[i % b->n_connections];
		send_more(b, &b->calls[i]);
	}
	while (b->done < b->count)
		serve_once(rpcs, b->n_connections);
}

static int send_null(struct bench *b, struct call *call)
{
	(void)b;
	return rpc_nfs3_null_async(call->rpc, came, call);
}

static int send_getattr(struct bench *b, struct call *call)
{
	GETATTR3args args = { .object = arg_fh(&b->file) };

	return rpc_nfs3_getattr_async(call->rpc, came, &args, call);
}

static int send_lookup(struct bench *b, struct call *call)
{
	LOOKUP3args args = { .what = { .dir = arg_fh(&b->dir), .name = (char *)"file" } };

	return rpc_nfs3_lookup_async(call->rpc, came, &args, call);
}

static int send_access(struct bench *b, struct call *call)
{
	ACCESS3args args = { .object = arg_fh(&b->file), .access = 0x1f };

	return rpc_nfs3_access_async(call->rpc, came, &args, call);
}

static int send_readlink(struct bench *b, struct call *call)
{
	READLINK3args args = { .symlink = arg_fh(&b->file) };

	return rpc_nfs3_readlink_async(call->rpc, came, &args, call);
}

static int send_fsstat(struct bench *b, struct call *call)
{
	FSSTAT3args args = { .fsroot = arg_fh(&b->dir) };

	return rpc_nfs3_fsstat_async(call->rpc, came, &args, call);
}

static int send_read(struct bench *b, struct call *call)
{
	READ3args args = {
		.file = arg_fh(&b->file), .offset = call->index * b->size % LARGE_FILE, .count = (count3)b->size,
	};

	return rpc_nfs3_read_async(call->rpc, came, &args, call);
}

static int send_write(struct bench *b, struct call *call)
{
	WRITE3args args = {
		.file = arg_fh(&b->file), .offset = call->index * b->size % LARGE_FILE, .count = (count3)b->size,
		.stable = UNSTABLE, .data = { .data_len = (u_int)b->size, .data_val = b->data },
	};

	return rpc_nfs3_write_async(call->rpc, came, &args, call);
}

static int send_create(struct bench *b, struct call *call)
{
	CREATE3args args = {
		.where = { .dir = arg_fh(&b->dir), .name = call->name },
		.how = { .mode = UNCHECKED },
	};

	args.how.createhow3_u.obj_attributes.mode.set_it = 1;
	args.how.createhow3_u.obj_attributes.mode.set_mode3_u.mode = 0644;
	return rpc_nfs3_create_async(call->rpc, came, &args, call);
}

/* A small file, as tar makes it: CREATE, WRITE, SETATTR of its time, COMMIT. */
static int next_unpack(struct bench *b, struct call *call, void *data)
{
	int err;

	if (call->step == 0) {
		WRITE3args args = { .count = (count3)b->size, .stable = UNSTABLE,
				    .data = { .data_len = (u_int)b->size, .data_val = b->data } };

		keep_fh(&call->fh, &((CREATE3res *)data)->CREATE3res_u.resok.obj.post_op_fh3_u.handle);
		args.file = arg_fh(&call->fh);
		err = rpc_nfs3_write_async(call->rpc, came, &args, call);
	} else if (call->step == 1) {
		SETATTR3args args = { .object = arg_fh(&call->fh) };

		args.new_attributes.mtime.set_it = SET_TO_CLIENT_TIME;
		args.new_attributes.mtime.set_mtime_u.mtime.seconds = 1700000000;
		err = rpc_nfs3_setattr_async(call->rpc, came, &args, call);
	} else if (call->step == 2) {
		COMMIT3args args = { .file = arg_fh(&call->fh) };

		err = rpc_nfs3_commit_async(call->rpc, came, &args, call);
	} else {
		return 0;
	}
	if (err)
		die("a call of an unpack cannot be sent: %s", rpc_get_error(call->rpc));
	call->step++;
	return 1;
}

static int send_mkdir(struct bench *b, struct call *call)
{
	MKDIR3args args = { .where = { .dir = arg_fh(&b->dir), .name = call->name } };

	args.attributes.mode.set_it = 1;
	args.attributes.mode.set_mode3_u.mode = 0755;
	return rpc_nfs3_mkdir_async(call->rpc, came, &args, call);
}

static int send_remove(struct bench *b, struct call *call)
{
	REMOVE3args args = { .object = { .dir = arg_fh(&b->dir), .name = call->name } };

	return rpc_nfs3_remove_async(call->rpc, came, &args, call);
}

static int send_rename(struct bench *b, struct call *call)
{
	RENAME3args args = {
		.from = { .dir = arg_fh(&b->dir), .name = call->name }, .to = { .dir = arg_fh(&b->dir), .name = call->to },
	};

	return rpc_nfs3_rename_async(call->rpc, came, &args, call);
}

static int send_setattr(struct bench *b, struct call *call)
{
	SETATTR3args args = { .object = arg_fh(&b->file) };

	args.new_attributes.mode.set_it = 1;
	args.new_attributes.mode.set_mode3_u.mode = 0600 + call->index % 64;
	return rpc_nfs3_setattr_async(call->rpc, came, &args, call);
}

static int send_link(struct bench *b, struct call *call)
{
	LINK3args args = { .file = arg_fh(&b->file), .link = { .dir = arg_fh(&b->dir), .name = call->to } };

	return rpc_nfs3_link_async(call->rpc, came, &args, call);
}

static int send_symlink(struct bench *b, struct call *call)
{
	SYMLINK3args args = { .where = { .dir = arg_fh(&b->dir), .name = call->to } };

	args.symlink.symlink_data = (char *)"somewhere/else";
	return rpc_nfs3_symlink_async(call->rpc, came, &args, call);
}

/* ---- single calls, before and after ---- */

static void over(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct bench *b = arg;

	check(rpc, status, data, "a single call");
	b->is_over = true;
}

static void looked_up(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct bench *b = arg;

	over(rpc, status, data, arg);
	keep_fh(b->into, &((LOOKUP3res *)data)->LOOKUP3res_u.resok.object);
}

static void wait_over(struct bench *b, int sent)
{
	if (sent)
		die("a call cannot be sent: %s", rpc_get_error(b->rpc));
	b->is_over = false;
	while (!b->is_over)
		serve_once(&b->rpc, 1);
}

static void lookup(struct bench *b, struct fh *dir, const char *name, struct fh *into)
{
	LOOKUP3args args = { .what = { .dir = arg_fh(dir), .name = (char *)name } };

	b->into = into;
	wait_over(b, rpc_nfs3_lookup_async(b->rpc, looked_up, &args, b));
}

static void commit(struct bench *b)
{
	COMMIT3args args = { .file = arg_fh(&b->file) };

	wait_over(b, rpc_nfs3_commit_async(b->rpc, over, &args, b));
}

static void path_in(const struct bench *b, const char *name, char *path, size_t size)
{
	(void)snprintf(path, size, "/%s/%s", b->path, name);
}

static void make_file(struct bench *b)
{
	char path[256];
	struct nfsfh *fh;

	path_in(b, "file", path, sizeof(path));
	if (nfs_creat(b->nfs[0], path, 0644, &fh) || nfs_close(b->nfs[0], fh))
		die("creat %s: %s", path, nfs_get_error(b->nfs[0]));
	lookup(b, &b->dir, "file", &b->file);
}

/* What was read or written is large: rounds of it would fill the disk. */
static void drop_file(struct bench *b)
{
	char path[256];

	path_in(b, "file", path, sizeof(path));
	if (nfs_unlink(b->nfs[0], path))
		die("unlink %s: %s", path, nfs_get_error(b->nfs[0]));
}

static void make_symlink(struct bench *b)
{
	char path[256];

	path_in(b, "file", path, sizeof(path));
	if (nfs_symlink(b->nfs[0], "somewhere/else", path))
		die("symlink %s: %s", path, nfs_get_error(b->nfs[0]));
	lookup(b, &b->dir, "file", &b->file);
}

static const struct kind *kind_of(const char *name);

/* Another kind of call, not measured. */
static void run_kind(struct bench *b, const char *kind, uint64_t count, uint64_t depth)
{
	const struct kind *was = b->kind;
	uint64_t was_count = b->count, was_depth = b->depth;

	b->kind = kind_of(kind);
	b->count = count;
	b->depth = depth;
	b->sent = b->done = 0;
	run_all(b);
	b->kind = was;
	b->count = was_count;
	b->depth = was_depth;
	b->sent = b->done = 0;
}

static void fill_file(struct bench *b)
{
	uint64_t size = b->size;

	make_file(b);
	b->size = 1u << 20;
	run_kind(b, "write", LARGE_FILE / b->size, 8);
	commit(b);
	b->size = size;
}

static void make_files(struct bench *b)
{
	run_kind(b, "create", b->count, 16);
}

/* ---- READDIRPLUS ---- */

static void listed(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct bench *b = arg;
	READDIRPLUS3resok *ok = &((READDIRPLUS3res *)data)->READDIRPLUS3res_u.resok;

	over(rpc, status, data, arg);
	memcpy(b->verifier, ok->cookieverf, sizeof(b->verifier));
	for (entryplus3 *entry = ok->reply.entries; entry; entry = entry->nextentry) {
		b->cookie = entry->cookie;
		b->entries++;
	}
	b->is_eof = ok->reply.eof;
}

static void list_all(struct bench *b)
{
	while (!b->is_eof) {
		READDIRPLUS3args args = {
			.dir = arg_fh(&b->dir), .cookie = b->cookie, .dircount = 128 << 10, .maxcount = 128 << 10,
		};
		uint64_t start_ns = now_ns();

		memcpy(args.cookieverf, b->verifier, sizeof(b->verifier));
		wait_over(b, rpc_nfs3_readdirplus_async(b->rpc, listed, &args, b));
		b->latency_ns[b->done++] = now_ns() - start_ns;
	}
	if (b->entries < b->count)
		die("%" PRIu64 " entries listed of %" PRIu64, b->entries, b->count);
}

static const struct kind kinds[] = {
	{ .name = "null", .send = send_null },
	{ .name = "getattr", .send = send_getattr, .prepare = make_file },
	{ .name = "lookup", .send = send_lookup, .prepare = make_file },
	{ .name = "access", .send = send_access, .prepare = make_file },
	{ .name = "readlink", .send = send_readlink, .prepare = make_symlink },
	{ .name = "fsstat", .send = send_fsstat },
	{ .name = "read", .send = send_read, .prepare = fill_file },
	{ .name = "write", .send = send_write, .prepare = make_file },
	{ .name = "create", .send = send_create },
	{ .name = "unpack", .send = send_create, .next = next_unpack },
	{ .name = "mkdir", .send = send_mkdir },
	{ .name = "remove", .send = send_remove, .prepare = make_files },
	{ .name = "rename", .send = send_rename, .prepare = make_files },
	{ .name = "setattr", .send = send_setattr, .prepare = make_file },
	{ .name = "link", .send = send_link, .prepare = make_file },
	{ .name = "symlink", .send = send_symlink },
	{ .name = "readdirplus", .prepare = make_files },
};

static const struct kind *kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	die("no such call: %s", name);
}

/* ---- */

static void mounted(struct rpc_context *rpc, int status, void *data, void *arg)
{
	const mountres3 *result = data;
	struct bench *b = arg;

	if (status != RPC_STATUS_SUCCESS || result->fhs_status != MNT3_OK)
		die("MNT: %s", rpc_get_error(rpc));
	b->into->len = result->mountres3_u.mountinfo.fhandle.fhandle3_len;
	if (b->into->len > sizeof(b->into->data))
		die("a handle of %u bytes", b->into->len);
	memcpy(b->into->data, result->mountres3_u.mountinfo.fhandle.fhandle3_val, b->into->len);
	b->is_over = true;
}

/* libnfs keeps the root's handle to itself: ask for it once more. */
static void get_root(struct bench *b, int port, char *export, struct fh *root)
{
	struct rpc_context *rpc = b->rpc;

	b->rpc = rpc_init_context();
	if (!b->rpc)
		die("no memory");
	wait_over(b, rpc_connect_port_async(b->rpc, "127.0.0.1", port, MOUNT_PROGRAM, MOUNT_V3, over, b));
	b->into = root;
	wait_over(b, rpc_mount3_mnt_async(b->rpc, mounted, export, b));
	rpc_destroy_context(b->rpc);
	b->rpc = rpc;
}

static struct nfs_context *mount_at(char **argv)
{
	struct nfs_context *nfs = nfs_init_context();
	struct nfs_url *url;
	char text[512];

	if (!nfs)
		die("no memory");
	(void)snprintf(text, sizeof(text), "nfs://127.0.0.1%s?version=3&nfsport=%s&mountport=%s", argv[3], argv[1], argv[2]);
	url = nfs_parse_url_dir(nfs, text);
	if (!url || nfs_mount(nfs, url->server, url->path))
		die("%s: %s", text, nfs_get_error(nfs));
	nfs_destroy_url(url);
	return nfs;
}

static void connect_to(struct bench *b, char **argv)
{
	struct fh root = { 0 };
	char path[256];

	for (unsigned i = 0; i < b->n_connections; i++)
		b->nfs[i] = mount_at(argv);
	b->rpc = nfs_get_rpc_context(b->nfs[0]);
	b->path = argv[4];
	(void)snprintf(path, sizeof(path), "/%s", b->path);
	if (nfs_mkdir2(b->nfs[0], path, 0755) && !strstr(nfs_get_error(b->nfs[0]), "EXIST"))
		die("mkdir %s: %s", path, nfs_get_error(b->nfs[0]));
	get_root(b, atoi(argv[2]), argv[3], &root);
	lookup(b, &root, b->path, &b->dir);
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	uint64_t start_ns, took_ns;
	bool is_listing;

	if (argc < 9)
		die("usage: calls PORT MOUNT_PORT EXPORT DIR CALL CONNECTIONS DEPTH COUNT [SIZE]");
	(void)signal(SIGPIPE, SIG_IGN);
	/* libnfs has a buffer for each answer: with new pages each time, their faults would be most of what is measured. */
	if (!mallopt(M_MMAP_THRESHOLD, 32 << 20) || !mallopt(M_TRIM_THRESHOLD, 1 << 30))
		die("malloc takes no advice");
	b.kind = kind_of(argv[5]);
	b.n_connections = (unsigned)strtoul(argv[6], NULL, 10);
	b.depth = strtoull(argv[7], NULL, 10);
	b.count = strtoull(argv[8], NULL, 10);
	b.size = argc > 9 ? strtoull(argv[9], NULL, 10) : 4096;
	if (!b.n_connections || b.n_connections > CONNECTIONS_MAX || !b.depth || b.depth > CALLS_MAX / CONNECTIONS_MAX || !b.count ||
	    !b.size || b.size > 1u << 20)
		die("CONNECTIONS is 1 to %d, DEPTH 1 to %d, COUNT at least 1, SIZE at most 1048576", CONNECTIONS_MAX,
		    CALLS_MAX / CONNECTIONS_MAX);
	b.calls = calloc(CALLS_MAX, sizeof(*b.calls));
	b.latency_ns = calloc(b.count + LARGE_FILE / (1u << 20), sizeof(*b.latency_ns));
	b.data = malloc(1u << 20);
	if (!b.calls || !b.latency_ns || !b.data)
		die("no memory");
	for (size_t i = 0; i < 1u << 20; i++)
		b.data[i] = (char)(i * 131 >> 3);
	connect_to(&b, argv);
	if (b.kind->prepare)
		b.kind->prepare(&b);
	is_listing = !b.kind->send;
	start_ns = now_ns();
	if (is_listing)
		list_all(&b);
	else
		run_all(&b);
	if (b.kind->send == send_write)
		commit(&b);
	took_ns = now_ns() - start_ns;
	print_rate(is_listing ? b.entries : b.count, took_ns, b.latency_ns, b.done);
	if (b.kind->send == send_read || b.kind->send == send_write)
		drop_file(&b);
	for (unsigned i = 0; i < b.n_connections; i++)
		nfs_destroy_context(b.nfs[i]);
	return 0;
}
