/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limits: what this machine can do at best, to hold the figures of calls.c against.
 *
 *   limits null PORT DEPTH COUNT		NULL calls to a server, by the smallest client there can be
 *   limits echo DEPTH COUNT		the same client and messages, to a thread that only echoes
 *   limits tcp DEPTH COUNT SIZE		SIZE bytes over loopback TCP for each request of 128
 *   limits pread FILE COUNT SIZE		reads of a file that is in memory, in turn
 *   limits write FILE COUNT SIZE		writes into a file of 64 MiB, round and round, and one fdatasync(2), which its time includes
 *   limits commit FILE DEPTH COUNT	the rows of a CREATE, DEPTH of them in each commit of SQLite, synchronous=FULL
 *
 * Prints: how many a second, and the latencies' median and 99th percentile in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/mem.h"
#include "bench/bench.h"
#include "cache/db.h"
#include "cache/schema.h"
#include "cache/token.h"

#define CALL 44		/* a NULL call: record mark, header, no credentials */
#define REPLY 28
#define TCP_CALL 128
#define DEPTH_MAX 1024

static uint64_t *latency_ns, n_latencies;

static uint64_t number(const char *text, uint64_t most)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (!n || *end || n > most)
		die("%s: a number from 1 to %" PRIu64, text, most);
	return n;
}

/* ---- a server's side of the echo: one thread, epoll, several messages per read and per write ---- */

struct server {
	int listen_fd;
	uint32_t call_size, reply_size;
};

static void send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t got = send(fd, data, len, MSG_NOSIGNAL);

		if (got < 0)
			pthread_exit(NULL);	/* the client has ended */
		data += got;
		len -= (size_t)got;
	}
}

/* Whole calls in the buffer are answered; what is left of one moves to the front. */
static size_t answer(const struct server *server, int fd, char *calls, size_t len, char *replies)
{
	size_t at = 0, out = 0;

	for (; len - at >= server->call_size; at += server->call_size, out += server->reply_size)
		memcpy(replies + out, calls + at, REPLY);
	if (out)
		send_all(fd, replies, out);
	memmove(calls, calls + at, len - at);
	return len - at;
}

/* As izo-nfsd has it on the loopback: without pacing, whatever the system is set to. */
static void set_up_socket(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) < 0)
		die("a socket: %s", strerror(errno));
}

static void *serve(void *arg)
{
	static char calls[65536];
	const struct server *server = arg;
	char *replies = calloc(sizeof(calls) / server->call_size + 1, server->reply_size);
	int fd = accept(server->listen_fd, NULL, NULL), epoll_fd = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	size_t len = 0;

	if (!replies || fd < 0 || epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("the server: %s", strerror(errno));
	while (epoll_wait(epoll_fd, &event, 1, -1) >= 0) {
		ssize_t got = recv(fd, calls + len, sizeof(calls) - len, 0);

		if (got <= 0)
			break;
		len = answer(server, fd, calls, len + (size_t)got, replies);
	}
	return NULL;
}

static uint16_t start_server(struct server *server)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	pthread_t thread;

	server->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	if (server->listen_fd >= 0)
		set_up_socket(server->listen_fd);	/* which its connections inherit */
	if (server->listen_fd < 0 || bind(server->listen_fd, (struct sockaddr *)&addr, len) < 0 ||
	    listen(server->listen_fd, 1) < 0 || getsockname(server->listen_fd, (struct sockaddr *)&addr, &len) < 0 ||
	    pthread_create(&thread, NULL, serve, server))
		die("the server: %s", strerror(errno));
	return ntohs(addr.sin_port);
}

/* ---- the client ---- */

static int connect_to(uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0)
		set_up_socket(fd);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("port %u: %s", port, strerror(errno));
	return fd;
}

/* RFC 5531: the xid counts, so that a reply says whose it is; replies may come in any order. */
static void make_call(char *call, uint32_t size, uint32_t xid)
{
	const uint32_t words[] = { 0x80000000u | (size - 4), xid, 0, 2, 100003, 3, 0 };

	memset(call, 0, size);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t word = htonl(words[i]);

		memcpy(call + 4 * i, &word, 4);
	}
}

static size_t send_calls(int fd, char *calls, uint32_t call_size, uint64_t n, uint64_t first, uint64_t *start_ns)
{
	for (uint64_t i = 0; i < n; i++) {
		make_call(calls + i * call_size, call_size, (uint32_t)(first + i));
		start_ns[(first + i) % DEPTH_MAX] = now_ns();
	}
	for (size_t at = 0, len = n * call_size; at < len;) {
		ssize_t got = send(fd, calls + at, len - at, MSG_NOSIGNAL);

		if (got <= 0)
			die("send: %s", strerror(errno));
		at += (size_t)got;
	}
	return n;
}

static void run_calls(int fd, uint32_t call_size, uint32_t reply_size, uint64_t depth, uint64_t count)
{
	size_t room = MAX(reply_size, 65536u), len = 0;
	char calls[DEPTH_MAX * TCP_CALL], *replies = malloc(room);
	uint64_t start_ns[DEPTH_MAX], sent = 0, done = 0;

	if (!replies)
		die("no memory");
	while (done < count) {
		ssize_t got;
		size_t at = 0;

		sent += send_calls(fd, calls, call_size, MIN(done + depth, count) - sent, sent, start_ns);
		got = recv(fd, replies + len, room - len, 0);
		if (got <= 0)
			die("recv: %s", got ? strerror(errno) : "the server has ended");
		for (len += (size_t)got; len - at >= reply_size; at += reply_size) {
			uint32_t xid;

			memcpy(&xid, replies + at + 4, sizeof(xid));
			latency_ns[done++] = now_ns() - start_ns[ntohl(xid) % DEPTH_MAX];
		}
		memmove(replies, replies + at, len - at);
		len -= at;
	}
	free(replies);
}

/* ---- the disk ---- */

static void run_pread(const char *path, uint64_t count, uint64_t size)
{
	char *data = malloc(size);
	int fd = open(path, O_RDONLY);
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END), at = 0;

	if (!data || fd < 0 || end < (off_t)size)
		die("%s: %s", path, fd < 0 ? strerror(errno) : "too small");
	for (uint64_t i = 0; i < count; i++) {
		uint64_t start = now_ns();

		if (pread(fd, data, size, at) != (ssize_t)size)
			die("%s: %s", path, strerror(errno));
		latency_ns[i] = now_ns() - start;
		at += (off_t)size;
		at = at + (off_t)size > end ? 0 : at;
	}
	close(fd);
	free(data);
}

static void run_write(const char *path, uint64_t count, uint64_t size)
{
	char *data = calloc(1, size);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (!data || fd < 0)
		die("%s: %s", path, strerror(errno));
	for (uint64_t i = 0; i < count; i++) {
		uint64_t start = now_ns();

		if (pwrite(fd, data, size, (off_t)(i * size % LARGE_FILE)) != (ssize_t)size)
			die("%s: %s", path, strerror(errno));
		latency_ns[i] = now_ns() - start;
	}
	if (fdatasync(fd) || close(fd))
		die("%s: %s", path, strerror(errno));
	free(data);
}

static void must(struct db *db, int err)
{
	if (err < 0)
		die("SQLite: %s", db_message(db));
}

/* What cache/writer.c writes for a CREATE in a directory. */
static void create_rows(struct db *db, uint64_t n)
{
	unsigned char token[16] = { 0 }, record[150] = { 0 };
	char name[32];
	struct slice name_slice = { name, (size_t)snprintf(name, sizeof(name), "file-%" PRIu64, n) };
	int64_t i = (int64_t)n, ino = i + 1;	/* the first one is the directory */

	memcpy(token, &n, sizeof(n));
	must(db, db_run(db, "INSERT INTO inode (ino, oid_origin, oid_number, type, mode, uid, gid, major, minor, nlink, links_up, parent,"
			    " size, atime, mtime, ctime, data_version, attr_version, data_seq, attr_seq, is_stale, is_listed,"
			    " listed_at, is_dirty, gen, keep_size) VALUES (?3, 7, ?1, 1, 420, 0, 0, 0, 0, 1, 1, 2, 0, ?2, ?2, ?2,"
			    " 0, 0, ?1, ?1, 0, 0, 0, 1, 1, 0)", "iii", i, (int64_t)now_ns(), ino));
	must(db, db_run(db, "INSERT INTO cml (seq, op, ino, time, record) VALUES (?1, 1, ?2, ?3, ?4)", "iiib", i, ino,
			(int64_t)now_ns(), (struct slice){ record, sizeof(record) }));
	must(db, db_run(db, "INSERT INTO name (dir, name, ino, cookie, seq) VALUES (2, ?1, ?2, ?3, ?3)", "bii", name_slice, ino, i + 2));
	must(db, db_run(db, "UPDATE inode SET mtime = ?1, ctime = ?1 WHERE ino = 2", "i", (int64_t)now_ns()));
	must(db, db_run(db, "INSERT OR REPLACE INTO drc (row, id, token, ino) VALUES (?1, ?2, ?3, ?4)", "iibi", i % TOKENS_KEPT, i,
			(struct slice){ token, sizeof(token) }, ino));
}

static void run_commit(const char *path, uint64_t depth, uint64_t count)
{
	struct db *db;
	char *why = NULL;
	bool is_new;

	/* Not as DB_WRITER: SQLite as it is, without wal_vfs.h. */
	close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
	if (db_open(path, DB_CHECKPOINTER, false, &db))
		die("%s: cannot be opened", path);
	if (schema_open(db, path, &is_new, &why) || !is_new)
		die("%s: %s", path, why ? why : "is there already");
	must(db, db_exec(db, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000"));
	for (uint64_t n = 0; n < count;) {
		uint64_t start = now_ns(), first = n;

		must(db, db_exec(db, "BEGIN IMMEDIATE"));
		for (; n < count && n < first + depth; n++)
			create_rows(db, n + 1);
		must(db, db_exec(db, "COMMIT"));
		for (uint64_t i = first; i < n; i++)
			latency_ns[i] = now_ns() - start;
	}
	db_close(db);
}

/* ---- */

static void room_for(const char *count)
{
	n_latencies = number(count, 100000000);
	latency_ns = calloc(n_latencies, sizeof(*latency_ns));
	if (!latency_ns)
		die("no memory");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct server server = { .call_size = CALL, .reply_size = REPLY };
	uint64_t start_ns, depth;

	if (!strcmp(what, "null") && argc == 5) {
		depth = number(argv[3], DEPTH_MAX);
		room_for(argv[4]);
		int fd = connect_to((uint16_t)number(argv[2], 65535));

		start_ns = now_ns();
		run_calls(fd, CALL, REPLY, depth, n_latencies);
	} else if ((!strcmp(what, "echo") && argc == 4) || (!strcmp(what, "tcp") && argc == 5)) {
		depth = number(argv[2], DEPTH_MAX);
		room_for(argv[3]);
		if (argc == 5) {
			server.call_size = TCP_CALL;
			server.reply_size = (uint32_t)number(argv[4], 1u << 20);
		}
		int fd = connect_to(start_server(&server));

		start_ns = now_ns();
		run_calls(fd, server.call_size, server.reply_size, depth, n_latencies);
	} else if (!strcmp(what, "pread") && argc == 5) {
		room_for(argv[3]);
		start_ns = now_ns();
		run_pread(argv[2], n_latencies, number(argv[4], 1u << 20));
	} else if (!strcmp(what, "write") && argc == 5) {
		room_for(argv[3]);
		start_ns = now_ns();
		run_write(argv[2], n_latencies, number(argv[4], 1u << 20));
	} else if (!strcmp(what, "commit") && argc == 5) {
		depth = number(argv[3], DEPTH_MAX);
		room_for(argv[4]);
		start_ns = now_ns();
		run_commit(argv[2], depth, n_latencies);
	} else {
		die("usage: limits null PORT DEPTH COUNT | echo DEPTH COUNT | tcp DEPTH COUNT SIZE | pread FILE COUNT SIZE |"
		    " write FILE COUNT SIZE | commit FILE DEPTH COUNT");
	}
	uint64_t took_ns = now_ns() - start_ns;

	print_rate(n_latencies, took_ns, latency_ns, n_latencies);
	return 0;
}
