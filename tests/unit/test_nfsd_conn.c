/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Record marking, slow and broken peers, back-pressure. */
#include "tests/unit/fixed.h"
#include "tests/unit/nfsd_fixture.h"
#include "base/log.h"
#include "cache/apply.h"
#include "rpcgen/mount3.h"

#define MANY 1000
#define READS 100
#define DUMPS 400

static void one_call_one_reply(void **state)
{
	int fd = n_connect(*state);

	send_null(fd, 1);
	expect_null(fd, 1);
	close(fd);
}

static void many_calls_in_one_send(void **state)
{
	int fd = n_connect(*state);
	struct call_buf all = nfs_call(0, 0);
	size_t len = 0;

	for (uint32_t xid = 0; xid < MANY; xid++) {
		struct call_buf c = nfs_call(xid, NFSPROC3_NULL);
		size_t one = call_seal(&c);

		memcpy(all.record + len, c.record, one);
		len += one;
		free(c.record);
	}
	n_send(fd, all.record, len);
	free(all.record);
	for (uint32_t xid = 0; xid < MANY; xid++)
		expect_null(fd, xid);
	close(fd);
}

/* Whatever the pieces are that a stream of calls arrives in. */
static const struct piece_case {
	const char *name;
	size_t piece;
} piece_cases[] = {
	{ "a byte at a time", 1 },
	{ "pieces of 3 bytes", 3 },
	{ "pieces of 67 bytes", 67 },
	{ "pieces of 1001 bytes", 1001 },
};

static void stream_in_pieces(void **state)
{
	struct nfsd_fixture *n = *state;
	const struct piece_case *c = n->arg;
	unsigned char stream[4096];
	int fd = n_connect(n), other = n_connect(n);
	size_t len = 0;
	uint32_t calls = 0;

	for (;; calls++) {
		struct call_buf call = nfs_call(calls, NFSPROC3_NULL);
		size_t one = call_seal(&call);

		if (len + one > sizeof(stream)) {
			free(call.record);
			break;
		}
		memcpy(stream + len, call.record, one);
		len += one;
		free(call.record);
	}
	for (size_t at = 0; at < len; at += c->piece) {
		n_send(fd, stream + at, MIN(c->piece, len - at));
		if (at % 512 < c->piece)
			assert_served(other);	/* who is slow holds up nobody */
	}
	for (uint32_t xid = 0; xid < calls; xid++)
		expect_null(fd, xid);
	close(fd);
	close(other);
}

/* One call in fragments of these lengths, the rest in the last one. */
static const struct fragment_case {
	const char *name;
	uint32_t lens[6];
	unsigned n;
} fragment_cases[] = {
	{ "two fragments", { 20 }, 1 },
	{ "fragments of odd lengths", { 1, 3, 7, 2, 5 }, 5 },
	{ "an empty one first", { 0, 20 }, 2 },
	{ "an empty one in the middle", { 20, 0, 8 }, 3 },
	{ "all of it before an empty last one", { UINT32_MAX }, 1 },
};

static void fragments(void **state)
{
	struct nfsd_fixture *n = *state;
	const struct fragment_case *c = n->arg;
	struct call_buf call = nfs_call(7, NFSPROC3_NULL);
	size_t left = call_len(&call) - 4;
	const unsigned char *p = call.record + 4;
	int fd = n_connect(n);
	unsigned char mark[4];

	for (unsigned i = 0; i < c->n; i++) {
		size_t len = MIN((size_t)c->lens[i], left);

		xdr_store_u32(mark, (uint32_t)len);
		n_send(fd, mark, sizeof(mark));
		n_send(fd, p, len);
		p += len;
		left -= len;
	}
	xdr_store_u32(mark, 0x80000000u | (uint32_t)left);
	n_send(fd, mark, sizeof(mark));
	n_send(fd, p, left);
	expect_null(fd, 7);
	assert_served(fd);	/* what follows is in step */
	close(fd);
	free(call.record);
}

/* What is no call ends the connection, and that one only. */
static const struct garbage_case {
	const char *name;
	const char *bytes;
	size_t len;
} garbage_cases[] = {
	{ "a record beyond the limit", "\x80\x20\x00\x00", 4 },
	{ "the longest length there is", "\xff\xff\xff\xff", 4 },
	{ "an empty record", "\x80\x00\x00\x00", 4 },
	{ "a header cut short", "\x80\x00\x00\x08\0\0\0\1\0\0\0\0", 12 },
	{ "a reply", "\x80\x00\x00\x18\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 28 },
	{ "HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35 },
	{ "fragments that sum up beyond the limit", "\x00\x10\x08\x00", 4 },	/* and what is added below */
	{ "a credential longer than allowed",
	  "\x80\x00\x00\x24\0\0\0\1\0\0\0\0\0\0\0\2\0\1\x86\xa3\0\0\0\3\0\0\0\0\0\0\0\1\0\0\1\x91\0\0\0\0", 40 },
};

static void garbage(void **state)
{
	struct nfsd_fixture *n = *state;
	const struct garbage_case *c = n->arg;
	int fd = n_connect(n), other = n_connect(n);

	n_send(fd, c->bytes, c->len);
	if (!(c->bytes[0] & 0x80) && !c->bytes[0]) {
		static const char zeros[0x100800];

		n_send(fd, zeros, sizeof(zeros));
		n_send(fd, c->bytes, c->len);
	}
	n_assert_closed(fd);
	n_assert_stat(n, dropped, 1);
	assert_served(other);
	n_assert_stat(n, connections, 1);
	close(other);
}

static void a_break_in_mid_record(void **state)
{
	struct nfsd_fixture *n = *state;
	struct call_buf call = nfs_call(7, NFSPROC3_NULL);
	size_t len = call_seal(&call), breaks = 0;
	int fd;

	for (size_t part = 1; part < len; part += 5, breaks++) {
		fd = n_connect(n);
		n_send(fd, call.record, part);
		close(fd);
	}
	n_assert_stat(n, accepted, breaks);	/* else there may be none because they are yet to come */
	n_assert_stat(n, connections, 0);
	assert_int_equal(n_stats(n).dropped, 0);	/* it is nobody's fault */
	free(call.record);
	fd = n_connect(n);
	assert_served(fd);
	close(fd);
}

/* ---- long records ---- */

#define IO_MAX (1024u * 1024)

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 31 + i / 4099);
}

static void make_file_of_mode(int fd, const uint8_t *root, uint32_t mode, uint8_t ret_fh[FH_LEN])
{
	struct call_buf c = nfs_call(100, NFSPROC3_CREATE);
	struct reply r;

	xdr_out_opaque(&c.out, root, FH_LEN);
	xdr_out_opaque(&c.out, "file", 4);
	xdr_out_u32(&c.out, UNCHECKED);
	xdr_out_u32(&c.out, true);
	xdr_out_u32(&c.out, mode);
	for (int i = 0; i < 5; i++)
		xdr_out_u32(&c.out, 0);
	call_send(fd, &c);
	r = n_success(fd, 100);
	assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
	assert_int_equal(xdr_in_u32(&r.in), true);
	memcpy(ret_fh, xdr_in_opaque(&r.in, FH_LEN).data, FH_LEN);
	reply_free(&r);
}

static void make_file(int fd, const uint8_t *root, uint8_t ret_fh[FH_LEN])
{
	make_file_of_mode(fd, root, 0644, ret_fh);
}

static struct call_buf write_call_by(uint32_t uid, uint32_t xid, const uint8_t *fh, uint64_t offset,
				     uint32_t len)
{
	struct call_buf c = call_begin(xid, NFS_PROGRAM, NFS_V3, NFSPROC3_WRITE, uid);
	unsigned char *p;

	xdr_out_opaque(&c.out, fh, FH_LEN);
	xdr_out_u64(&c.out, offset);
	xdr_out_u32(&c.out, len);
	xdr_out_u32(&c.out, UNSTABLE);
	xdr_out_u32(&c.out, len);
	p = xdr_out_extend(&c.out, xdr_padded(len));
	for (size_t i = 0; i < len; i++)
		p[i] = pattern((size_t)offset + i);
	return c;
}

static struct call_buf write_call(uint32_t xid, const uint8_t *fh, uint64_t offset, uint32_t len)
{
	return write_call_by(0, xid, fh, offset, len);
}

static void expect_written(int fd, uint32_t xid, uint32_t len)
{
	struct reply r = n_success(fd, xid);

	assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
	assert_int_equal(xdr_in_u32(&r.in), true);
	(void)xdr_in_fixed(&r.in, 24);
	assert_int_equal(xdr_in_u32(&r.in), true);
	(void)xdr_in_fixed(&r.in, 84);
	assert_int_equal(xdr_in_u32(&r.in), len);
	assert_int_equal(xdr_in_u32(&r.in), UNSTABLE);
	assert_int_equal(xdr_in_fixed(&r.in, 8).len, 8);
	assert_true(xdr_in_done(&r.in));
	reply_free(&r);
}

static void send_read(int fd, uint32_t xid, const uint8_t *fh, uint64_t offset, uint32_t len)
{
	struct call_buf c = nfs_call(xid, NFSPROC3_READ);

	xdr_out_opaque(&c.out, fh, FH_LEN);
	xdr_out_u64(&c.out, offset);
	xdr_out_u32(&c.out, len);
	call_send(fd, &c);
}

static void check_read(struct reply r, uint64_t offset, uint32_t len)
{
	struct slice data;

	assert_int_equal(r.accept_stat, SUCCESS);
	assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
	assert_int_equal(xdr_in_u32(&r.in), true);
	(void)xdr_in_fixed(&r.in, 84);
	assert_int_equal(xdr_in_u32(&r.in), len);
	(void)xdr_in_bool(&r.in);
	data = xdr_in_opaque(&r.in, IO_MAX);
	assert_int_equal(data.len, len);
	assert_true(xdr_in_done(&r.in));
	for (size_t i = 0; i < len; i++) {
		if (((const unsigned char *)data.data)[i] != pattern((size_t)offset + i))
			fail_msg("byte %zu of the data at %llu differs", i,
				 (unsigned long long)offset);
	}
	reply_free(&r);
}

static void expect_read(int fd, uint32_t xid, uint64_t offset, uint32_t len)
{
	check_read(n_success(fd, xid), offset, len);
}

/* A file of so many times IO_MAX bytes of the pattern. */
static void make_filled(int fd, const uint8_t *dir, uint32_t n, uint8_t ret_fh[FH_LEN])
{
	make_file(fd, dir, ret_fh);
	for (uint32_t i = 0; i < n; i++) {
		struct call_buf c = write_call(i, ret_fh, i * (uint64_t)IO_MAX, IO_MAX);

		call_send(fd, &c);
		expect_written(fd, i, IO_MAX);
	}
}

/* Many together, of lengths of all kinds, in a file of this mode, by this user. */
static void write_and_read_back(struct nfsd_fixture *n, uint32_t mode, uint32_t uid)
{
	static const uint32_t lens[] = {
		IO_MAX, 1, IO_MAX - 1, 65536, 3, 65535, IO_MAX, 40000, IO_MAX, 33000, IO_MAX, 4096, IO_MAX,
	};
	unsigned char *stream = malloc(ARRAY_SIZE(lens) * CALL_BUF_SIZE);
	int fd = n_connect(n);
	uint8_t fh[FH_LEN];
	uint64_t offset = 0;
	size_t len = 0;

	assert_non_null(stream);
	make_file_of_mode(fd, n->root, mode, fh);
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct call_buf c = write_call_by(uid, i, fh, offset, lens[i]);
		size_t one = call_seal(&c);

		memcpy(stream + len, c.record, one);
		len += one;
		free(c.record);
		offset += lens[i];
	}
	n_send(fd, stream, len);
	free(stream);
	/* Those that had to wait are answered later. */
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct reply r = n_reply(fd);

		assert_in_range(r.xid, 0, ARRAY_SIZE(lens) - 1);
		assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
		reply_free(&r);
	}
	offset = 0;
	for (uint32_t i = 0; i < ARRAY_SIZE(lens); i++) {
		send_read(fd, i, fh, offset, lens[i]);
		expect_read(fd, i, offset, lens[i]);
		offset += lens[i];
	}
	close(fd);
}

static void long_records(void **state)
{
	write_and_read_back(*state, 0644, 0);
}

/* A WRITE that ends setuid waits for a transaction, and goes on using its arguments. */
static void arguments_are_kept_while_calls_wait(void **state)
{
	write_and_read_back(*state, 06777, 1000);
}

static void a_long_record_in_fragments(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);
	uint8_t fh[FH_LEN];
	struct call_buf c;
	const unsigned char *p;
	size_t left;

	make_file(fd, n->root, fh);
	c = write_call(8, fh, 0, IO_MAX);
	p = c.record + 4;
	left = call_len(&c) - 4;
	for (size_t len = 1; left; len = len * 3 + 1) {
		size_t part = MIN(len, left);
		unsigned char mark[4];

		xdr_store_u32(mark, (part == left ? 0x80000000u : 0) | (uint32_t)part);
		n_send(fd, mark, sizeof(mark));
		n_send(fd, p, part);
		p += part;
		left -= part;
	}
	free(c.record);
	expect_written(fd, 8, IO_MAX);
	send_read(fd, 9, fh, 0, IO_MAX);
	expect_read(fd, 9, 0, IO_MAX);
	close(fd);
}

/* The server's end of a connection: it is in this process. */
static int server_end(int fd)
{
	struct sockaddr_in own, peer;
	socklen_t len = sizeof(own);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	for (int other = 0; other < 1024; other++) {
		len = sizeof(peer);
		if (getpeername(other, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
		    peer.sin_port == own.sin_port)
			return other;
	}
	fail_msg("the server has no such connection");
	return -1;
}

/* The socket that the server listens on, likewise. */
static int listener_of(int fd)
{
	struct sockaddr_in peer, own;
	socklen_t len = sizeof(peer);

	assert_int_equal(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
	for (int other = 0; other < 1024; other++) {
		int is_listener = 0;

		len = sizeof(is_listener);
		if (getsockopt(other, SOL_SOCKET, SO_ACCEPTCONN, &is_listener, &len) || !is_listener)
			continue;
		len = sizeof(own);
		if (getsockname(other, (struct sockaddr *)&own, &len) == 0 && own.sin_port == peer.sin_port)
			return other;
	}
	fail_msg("the server does not listen");
	return -1;
}

/* Whatever the system is set to. */
static void replies_are_not_paced(void **state)
{
	int fd = n_connect(*state), ends[2];

	assert_served(fd);
	ends[0] = server_end(fd);
	ends[1] = listener_of(fd);
	/* From the listener: one that begins with BBR goes on to be paced, whatever it is set to. */
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		char name[16] = "";
		socklen_t len = sizeof(name);

		assert_int_equal(getsockopt(ends[i], IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
		assert_string_equal(name, "reno");
	}
	close(fd);
}

/* Half a long record and no more: the others are served; the rest may come at any time. */
static void a_peer_that_stops_in_a_record(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n), other = n_connect(n);
	uint8_t fh[FH_LEN];
	struct call_buf c;
	size_t len;

	make_file(fd, n->root, fh);
	c = write_call(8, fh, 0, IO_MAX);
	len = call_seal(&c);
	n_send(fd, c.record, len / 2);
	for (uint32_t xid = 0; xid < 10; xid++) {
		struct call_buf more = write_call(xid, fh, IO_MAX, IO_MAX);

		call_send(other, &more);
		expect_written(other, xid, IO_MAX);
	}
	n_send(fd, c.record + len / 2, len - len / 2);
	free(c.record);
	expect_written(fd, 8, IO_MAX);
	close(fd);
	close(other);
}

/* Who does not take replies is not listened to any more, and costs little; the others are served. */
static void a_peer_that_takes_no_replies(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n), other = n_connect(n);
	uint8_t fh[FH_LEN];
	uint64_t calls;

	make_filled(fd, n->root, 1, fh);
	for (uint32_t xid = 0; xid < READS; xid++)
		send_read(fd, xid, fh, 0, IO_MAX);
	for (int i = 0; i < 100; i++)
		assert_served(other);
	send_read(other, 5, fh, 0, IO_MAX);
	expect_read(other, 5, 0, IO_MAX);
	calls = n_stats(n).proc[NFSPROC3_READ].calls;
	assert_in_range(calls, 2, 32);	/* what the kernel takes and 2 MiB */
	assert_in_range(n_stats(n).pauses, 1, 1000);
	clock_advance(9 * US_PER_S);

	/* As soon as they are taken it goes on. */
	for (uint32_t xid = 0; xid < READS; xid++)
		expect_read(fd, xid, 0, IO_MAX);
	assert_served(fd);
	/* How long it took him is told apart from what we needed. */
	assert_true(n_stats(n).proc[NFSPROC3_READ].where_us[NFSD_SEND] >= 9 * US_PER_S);
	close(fd);
	close(other);
}

/* Mount the export by a name as long as may be, which is another for each n. */
static void mount_long(int fd, uint32_t n)
{
	struct call_buf c = call_begin(n, MOUNT_PROGRAM, MOUNT_V3, MOUNTPROC3_MNT, 0);
	char path[MNTPATHLEN];
	struct reply r;

	memset(path, '/', sizeof(path));
	memcpy(path, "/imports", 8);
	xdr_out_opaque(&c.out, path, sizeof(path) - n);
	call_send(fd, &c);
	r = n_success(fd, n);
	assert_int_equal(xdr_in_u32(&r.in), MNT3_OK);
	reply_free(&r);
}

/*
 * Far more replies than may wait for one peer, of calls that came all at once: when those that wait have been sent it goes
 * on, though nothing more comes.
 */
static void short_calls_with_long_replies(void **state)
{
	int fd = n_connect(*state);
	struct call_buf all = call_begin(0, MOUNT_PROGRAM, MOUNT_V3, MOUNTPROC3_DUMP, 0);
	size_t one = call_seal(&all), dump = 0;

	for (uint32_t n = 0; n < 64; n++)
		mount_long(fd, n);
	for (uint32_t xid = 1; xid < DUMPS; xid++) {
		memcpy(all.record + xid * one, all.record, one);
		xdr_store_u32(all.record + xid * one + 4, xid);
	}
	n_send(fd, all.record, DUMPS * one);
	free(all.record);
	for (uint32_t xid = 0; xid < DUMPS; xid++) {
		struct reply r = n_success(fd, xid);

		assert_true(r.len > 60000 && (!dump || r.len == dump));
		dump = r.len;
		reply_free(&r);
	}
	assert_served(fd);
	close(fd);
}

static void set_size(int fd, uint32_t xid, const uint8_t *fh, uint64_t size)
{
	struct call_buf c = nfs_call(xid, NFSPROC3_SETATTR);
	struct reply r;

	xdr_out_opaque(&c.out, fh, FH_LEN);
	for (int i = 0; i < 3; i++)
		xdr_out_u32(&c.out, false);	/* mode, uid, gid */
	xdr_out_u32(&c.out, true);
	xdr_out_u64(&c.out, size);
	for (int i = 0; i < 3; i++)
		xdr_out_u32(&c.out, 0);		/* times, guard */
	call_send(fd, &c);
	r = n_success(fd, xid);
	assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
	reply_free(&r);
}

static void wait_for_reads(struct nfsd_fixture *n, uint64_t at_least)
{
	n_wait_until(n_stats(n).proc[NFSPROC3_READ].calls >= at_least);
	assert_true(n_stats(n).proc[NFSPROC3_READ].calls >= at_least);
}

/* What was read stays that, and as long as was said, though the file is cut before the peer takes it. */
static void a_file_is_cut_while_its_data_waits(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n), other = n_connect(n);
	uint8_t fh[FH_LEN];
	uint64_t calls;

	make_filled(fd, n->root, 8, fh);
	for (uint32_t xid = 0; xid < 8; xid++)
		send_read(fd, xid, fh, xid * (uint64_t)IO_MAX, IO_MAX - 1);
	wait_for_reads(n, 1);
	calls = n_stats(n).proc[NFSPROC3_READ].calls;	/* those are of before; others may be */
	set_size(other, 5, fh, 0);
	for (uint32_t xid = 0; xid < 8; xid++) {
		struct reply r = n_success(fd, xid);

		if (xid < calls) {
			check_read(r, xid * (uint64_t)IO_MAX, IO_MAX - 1);
			continue;
		}
		assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
		reply_free(&r);
	}
	assert_served(fd);
	close(fd);
	close(other);
}

/* The same of one READ, whose data are the file's pages. */
static void a_file_is_cut_while_its_pages_wait(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n), other = n_connect(n);
	uint8_t fh[FH_LEN];

	make_filled(other, n->root, 1, fh);
	send_read(fd, 1, fh, 0, IO_MAX);
	wait_for_reads(n, 1);
	set_size(other, 5, fh, 0);
	expect_read(fd, 1, 0, IO_MAX);
	assert_served(fd);
	close(fd);
	close(other);
}

static unsigned open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* It leaves nothing behind. */
static void a_peer_goes_while_its_data_waits(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n), other = n_connect(n);
	uint64_t calls = 0;
	uint8_t fh[FH_LEN];
	unsigned files;

	make_filled(other, n->root, 1, fh);
	files = open_files();
	for (int i = 0; i < 100; i++) {
		for (uint32_t xid = 0; xid < 10; xid++)
			send_read(fd, xid, fh, 0, IO_MAX);
		wait_for_reads(n, calls + 1);
		close(fd);
		fd = n_connect(n);
		assert_served(fd);
		calls = n_stats(n).proc[NFSPROC3_READ].calls;
	}
	assert_true(open_files() < files + 50);
	send_read(fd, 1, fh, 0, IO_MAX);
	expect_read(fd, 1, 0, IO_MAX);
	close(fd);
	close(other);
}

/* The memory for replies with data is limited, and the limit delays calls only. */
static void replies_wait_for_memory(void **state)
{
	struct nfsd_fixture *n = *state;
	int fds[8];
	uint8_t fh[FH_LEN];

	n->config.max_read_memory = 1;	/* one at a time */
	n_start(n);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = n_connect(n);
	make_filled(fds[0], n->root, 1, fh);
	for (uint32_t xid = 0; xid < 20; xid++)
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			send_read(fds[i], xid, fh, xid * 1000, IO_MAX - 20000);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		uint32_t seen = 0;

		/* Those that had to wait may be overtaken. */
		for (int k = 0; k < 20; k++) {
			struct reply r = n_reply(fds[i]);

			assert_in_range(r.xid, 0, 19);
			assert_false(seen & 1u << r.xid);
			seen |= 1u << r.xid;
			check_read(r, r.xid * 1000, IO_MAX - 20000);
		}
		close(fds[i]);
	}
	assert_in_range(n_stats(n).put_off, 1, 160);
	assert_true(n_stats(n).proc[NFSPROC3_READ].where_us[NFSD_QUEUE] > 0);
}

/* ---- calls that wait ---- */

/* An upstream that says nothing, until it is lost. */
static bool has_link;

static bool silent_has_link(void *arg)
{
	(void)arg;
	return __atomic_load_n(&has_link, __ATOMIC_RELAXED);
}

static void silent_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)arg, (void)ino, (void)dir;
}

static void silent_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset,
			uint64_t len)
{
	(void)arg, (void)ino, (void)oid, (void)version, (void)offset, (void)len;
}

/* Serve a cache that knows of a directory "dir", and nothing of what is in it. */
static void start_waiting(struct nfsd_fixture *n, uint8_t ret_dir[FH_LEN])
{
	static const struct fetcher fetcher = { silent_has_link, silent_list, silent_data };
	static char name[] = "dir";
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .mode = 0755, .nlink = 3 } };
	struct kml_listed lines[2] = { { .object = root },
				       { .parent = KML_ROOT, .name = { 3, name }, .object = root } };
	struct apply_listing *listing;

	has_link = true;
	cache_set_fetcher(n->f.cache, &fetcher, NULL);
	lines[1].object.oid.number = 2;
	assert_int_equal(apply_upstream(n->f.cache, "upstream", 3, &root), 0);
	assert_int_equal(apply_listing_begin(n->f.cache, ROOT, 3, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, lines, 2), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	n_fh(n, found(&n->f, ROOT, "dir"), ret_dir);
	n->config.lookup_wait_us = 60 * US_PER_S;	/* much longer than a test takes */
	n_start(n);
}

static void lose_link(struct nfsd_fixture *n)
{
	__atomic_store_n(&has_link, false, __ATOMIC_RELAXED);
	cache_link_lost(n->f.cache);
}

#define WAITERS 10

static void send_lookups(int fd, const uint8_t *dir)
{
	for (uint32_t xid = 0; xid < WAITERS; xid++) {
		struct call_buf c = nfs_call(xid, NFSPROC3_LOOKUP);

		xdr_out_opaque(&c.out, dir, FH_LEN);
		xdr_out_opaque(&c.out, "name", 4);
		call_send(fd, &c);
	}
}

/* Each is answered once, with an error that is true; none was put off with JUKEBOX. */
static void expect_lookups(int fd)
{
	uint32_t seen = 0;

	for (int i = 0; i < WAITERS; i++) {
		struct reply r = n_reply(fd);

		assert_in_range(r.xid, 0, WAITERS - 1);
		assert_false(seen & 1u << r.xid);
		seen |= 1u << r.xid;
		assert_int_equal(r.accept_stat, SUCCESS);
		assert_int_equal(xdr_in_u32(&r.in), NFS3ERR_IO);
		reply_free(&r);
	}
	assert_served(fd);
}

/* After so many rounds of the loop what had been sent before would have been read. */
static void assert_under_way(struct nfsd_fixture *n, int other, unsigned calls)
{
	n_assert_stat(n, calls_under_way, calls);
	for (int i = 0; i < 100; i++)
		assert_served(other);
	assert_int_equal(n_stats(n).calls_under_way, calls);
}

static void calls_beyond_the_limit_wait_in_the_socket(void **state)
{
	struct nfsd_fixture *n = *state;
	uint8_t dir[FH_LEN];
	int fd, other;

	n->config.max_calls = 3;
	start_waiting(n, dir);
	fd = n_connect(n);
	other = n_connect(n);
	send_lookups(fd, dir);
	assert_under_way(n, other, 3);
	lose_link(n);
	expect_lookups(fd);
	close(fd);
	close(other);
}

/* What one peer uses up leaves each other one a call at a time. */
static void calls_of_all_connections_are_limited(void **state)
{
	struct nfsd_fixture *n = *state;
	uint8_t dir[FH_LEN];
	int fds[3], other;

	n->config.max_calls = 4;
	n->config.max_calls_all = 5;
	start_waiting(n, dir);
	other = n_connect(n);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = n_connect(n);
		send_lookups(fds[i], dir);
		assert_under_way(n, other, 4 + i);
	}
	lose_link(n);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		expect_lookups(fds[i]);
		close(fds[i]);
	}
	close(other);
}

/* Calls that wait for a peer that is gone end all the same, and no connection is left of it. */
static void a_peer_goes_while_its_calls_wait(void **state)
{
	struct nfsd_fixture *n = *state;
	uint8_t dir[FH_LEN];
	int fd, other;

	start_waiting(n, dir);
	fd = n_connect(n);
	other = n_connect(n);
	send_lookups(fd, dir);
	n_assert_stat(n, calls_under_way, WAITERS);
	close(fd);
	n_assert_stat(n, connections, 1);
	assert_served(other);
	lose_link(n);
	n_assert_stat(n, calls_under_way, 0);
	assert_served(other);
	close(other);
}

/* ---- who may connect ---- */

static void unprivileged_ports_are_refused(void **state)
{
	struct nfsd_fixture *n = *state;
	struct sockaddr_in from = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   to;
	int fd;

	n->config.allow_unprivileged_ports = false;
	n_start(n);
	fd = n_connect(n);
	n_assert_closed(fd);
	n_assert_stat(n, refused, 1);
	assert_int_equal(n_stats(n).accepted, 0);

	to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(nfsd_port(n->nfsd)),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bindresvport(fd, &from) < 0) {
		print_message("not root: that privileged ports are served is not tried\n");
	} else {
		assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
		assert_served(fd);
	}
	close(fd);
}

static void more_connections_than_allowed(void **state)
{
	struct nfsd_fixture *n = *state;
	int fds[3], fd;

	n->config.max_connections = ARRAY_SIZE(fds);
	n_start(n);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = n_connect(n);
		assert_served(fds[i]);
	}
	n_assert_closed(n_connect(n));
	close(fds[0]);
	n_assert_stat(n, connections, ARRAY_SIZE(fds) - 1);
	fd = n_connect(n);
	assert_served(fd);
	close(fd);
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

/* ---- the end ---- */

static void stopping_answers_what_is_under_way(void **state)
{
	struct nfsd_fixture *n = *state;
	int fd = n_connect(n);
	uint8_t fh[FH_LEN];
	struct reply r;

	make_file(fd, n->root, fh);
	n_assert_stat(n, calls_under_way, 0);
	{
		struct call_buf c = nfs_call(9, NFSPROC3_MKDIR);

		xdr_out_opaque(&c.out, n->root, FH_LEN);
		xdr_out_opaque(&c.out, "dir", 3);
		for (int i = 0; i < 6; i++)
			xdr_out_u32(&c.out, 0);
		call_send(fd, &c);
	}
	n_assert_stat(n, proc[NFSPROC3_MKDIR].calls + n_stats(n).calls_under_way, 1);
	n_stop(n);
	r = n_success(fd, 9);
	assert_int_equal(xdr_in_u32(&r.in), NFS3_OK);
	reply_free(&r);
	n_assert_closed(fd);
}

/* ---- */

#define TEST(f) cmocka_unit_test_setup_teardown(f, n_setup, n_teardown)
#define TEST_STOPPED(f) cmocka_unit_test_setup_teardown(f, n_setup_stopped, n_teardown)

static int setup_case(void **state)
{
	void *arg = *state;

	(void)n_setup(state);
	((struct nfsd_fixture *)*state)->arg = arg;
	return 0;
}

#define CASES(cases, function) \
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) \
		tests[n++] = (struct CMUnitTest){ cases[i].name, function, setup_case, n_teardown, \
						  (void *)&cases[i] }

int main(void)
{
	struct CMUnitTest tests[64] = {
		TEST(one_call_one_reply),
		TEST(many_calls_in_one_send),
		TEST(a_break_in_mid_record),
		TEST(long_records),
		TEST(arguments_are_kept_while_calls_wait),
		TEST(a_long_record_in_fragments),
		TEST(replies_are_not_paced),
		TEST(a_peer_that_stops_in_a_record),
		TEST(a_peer_that_takes_no_replies),
		TEST(short_calls_with_long_replies),
		TEST(a_file_is_cut_while_its_data_waits),
		TEST(a_file_is_cut_while_its_pages_wait),
		TEST(a_peer_goes_while_its_data_waits),
		TEST_STOPPED(calls_beyond_the_limit_wait_in_the_socket),
		TEST_STOPPED(calls_of_all_connections_are_limited),
		TEST_STOPPED(a_peer_goes_while_its_calls_wait),
		TEST_STOPPED(replies_wait_for_memory),
		TEST_STOPPED(unprivileged_ports_are_refused),
		TEST_STOPPED(more_connections_than_allowed),
		TEST(stopping_answers_what_is_under_way),
	};
	size_t n = fixed_tests(tests);

	log_set_level(LOG_LEVEL_ERROR);
	CASES(piece_cases, stream_in_pieces);
	CASES(fragment_cases, fragments);
	CASES(garbage_cases, garbage);
	return _cmocka_run_group_tests("conn", tests, n, NULL, NULL);
}
