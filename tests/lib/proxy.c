/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * proxy: a link between two programs that can be made slow, or bad, while they run.
 *
 *   proxy --listen ADDR:PORT --to ADDR:PORT [--delay-ms N] [--rate KBITS] [--control FIFO]
 *
 * Forwards TCP connections; port 0 is any free one.  Prints "serving on ADDR:PORT".  FIFO is made here; each line
 * written to it is a command, answered on the standard output, when it is in force, by "done N: COMMAND" (N counts
 * from 1), or "bad N: COMMAND".
 *
 *   delay MS        Every byte arrives MS later, each way, and the first ones of a connection by one round trip more,
 *                   which its handshake would have taken.  A delay, no limit: what is sent at a rate arrives at that rate, to
 *                   within half a millisecond.  Holds in every mode.
 *   rate KBITS      Each way all connections together get so many thousand bits a second, shared about equally among those
 *                   that send; 0: no limit.  A sender is held back as by a line with a queue of a tenth of a second.  With a
 *                   delay, bytes leave at this rate and arrive that much later.
 *   count           Answered with "connections=N requests=N up=BYTES down=BYTES hits=N" behind it: forwarded since the
 *                   start, and how many requests a mode has been applied to.
 *   [once] MODE [for TEXT]
 *                   What happens from now on to requests (HTTP/1.1, one after the other in a connection) with TEXT in
 *                   their first line, or to all of them, those under way too.  "once": to the first such one, then it is "pass".
 *
 *   pass            nothing
 *   stall           nothing is read any more, either way; with the next mode it goes on, as after a break of the line
 *   blackhole       what comes is swallowed; nothing comes back
 *   refuse          nobody listens; connections are reset
 *   reset           connections are accepted, and reset at once (never "for" only some)
 *   cut-request N   after N bytes of the request both sides are reset; "cut-request N fin": closed
 *   cut-answer N    likewise, of the answer
 *   drop-answer     the request arrives whole, the answer is lost: a reset at its first byte
 *   500  404  garbage  garbage-body  html  empty
 *                   The request is answered here: with that status; with bytes that are not HTTP; with status 200 and
 *                   random bytes; with status 200 and a page, as at a hotel; not at all, but closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/list.h"
#include "base/loop.h"

#define CHUNK (64u << 10)
#define QUEUE_MAX (64u << 20)	/* on the way in one direction: 25 ms at over 2 GB/s */
#define LINE_QUEUE_US (100 * US_PER_MS)	/* at a rate: so much of a connection waits for the line */
#define LINE_CHUNK_MIN 1460u
#define LINE_RCVBUF (64 << 10)	/* what the kernel holds besides is to be little */
#define LINE_MAX_LEN 256
#define RANDOM_LEN 3000u

enum mode_kind {
	PASS, STALL, BLACKHOLE, REFUSE, RESET, CUT_REQUEST, CUT_ANSWER, DROP_ANSWER,
	SAY_500, SAY_404, SAY_GARBAGE, SAY_GARBAGE_BODY, SAY_HTML, SAY_EMPTY
};

static const struct mode_name {
	const char *name;
	bool has_number;
} modes[] = {
	[PASS] = { "pass", false },
	[STALL] = { "stall", false },
	[BLACKHOLE] = { "blackhole", false },
	[REFUSE] = { "refuse", false },
	[RESET] = { "reset", false },
	[CUT_REQUEST] = { "cut-request", true },
	[CUT_ANSWER] = { "cut-answer", true },
	[DROP_ANSWER] = { "drop-answer", false },
	[SAY_500] = { "500", false },
	[SAY_404] = { "404", false },
	[SAY_GARBAGE] = { "garbage", false },
	[SAY_GARBAGE_BODY] = { "garbage-body", false },
	[SAY_HTML] = { "html", false },
	[SAY_EMPTY] = { "empty", false },
};

struct mode {
	enum mode_kind kind;
	uint64_t n;
	bool is_fin, is_once;
	char text[LINE_MAX_LEN];	/* "": all requests */
};

struct chunk {
	struct list node;
	uint64_t due_us;
	size_t len, done;
	unsigned char bytes[];
};

struct side {
	struct loop_fd lfd;
	struct conn *conn;
	bool is_in_loop, is_connecting;
};

/* One direction. */
struct pipe {
	struct conn *conn;
	struct side *from, *to;
	struct list chunks;
	size_t queued;
	bool is_ended;			/* nothing more comes in */
	bool is_shut;			/* and that has been passed on */
	struct loop_timer timer;	/* for the first chunk */
};

struct conn {
	struct list node;
	struct side client, server;
	struct pipe up, down;
	uint64_t accepted_us;
	/* the request under way */
	char line[LINE_MAX_LEN];
	uint64_t request_bytes, answer_bytes;	/* since it began, or since the mode did */
	bool has_request, is_answering, is_head_whole;
	unsigned head_ends;		/* of "\r\n\r\n", so many have been seen */
	struct mode hit;		/* what is done to it */
	bool is_answered_here;
	bool is_dead;
};

static struct loop *loop;
static struct addrinfo *listen_addr, *to_addr;
static struct loop_fd listener = { .fd = -1 }, control = { .fd = -1 };
static struct list conns, dead;
static struct mode mode;
static uint64_t delay_us;
static uint64_t rate;			/* bytes a second; 0: no limit */
static struct line { uint64_t free_us; } up_line, down_line;	/* until then it is taken */
static unsigned n_commands;
static char command[LINE_MAX_LEN];
static size_t command_len;
static struct { uint64_t connections, requests, up, down, hits; } counts;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fputs("proxy: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* ---- a connection's end ---- */

static void drop_chunks(struct pipe *pipe)
{
	struct chunk *chunk, *next;

	list_each_safe(chunk, next, &pipe->chunks, node) {
		list_del(&chunk->node);
		free(chunk);
	}
	pipe->queued = 0;
	loop_timer_cancel(loop, &pipe->timer);
}

static void side_close(struct side *side, bool is_reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (side->lfd.fd < 0)
		return;
	if (side->is_in_loop)
		loop_del(loop, &side->lfd);
	side->is_in_loop = false;
	if (is_reset)
		(void)setsockopt(side->lfd.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)close(side->lfd.fd);
	side->lfd.fd = -1;
}

/* The struct goes before the loop sleeps again: callers up the stack may still look at it. */
static void conn_kill(struct conn *conn, bool is_reset)
{
	if (conn->is_dead)
		return;
	conn->is_dead = true;
	drop_chunks(&conn->up);
	drop_chunks(&conn->down);
	side_close(&conn->client, is_reset);
	side_close(&conn->server, is_reset);
	list_del(&conn->node);
	list_append(&dead, &conn->node);
}

static void free_dead(void *arg)
{
	struct conn *conn, *next;

	(void)arg;
	list_each_safe(conn, next, &dead, node) {
		list_del(&conn->node);
		free(conn);
	}
}

/* ---- bytes on their way ---- */

/* Most bytes on the way in one direction of a connection. */
static size_t queue_max(void)
{
	uint64_t most = rate * (delay_us + LINE_QUEUE_US) / US_PER_S;

	return rate ? (size_t)MIN(MAX(most, 2 * (uint64_t)LINE_CHUNK_MIN), (uint64_t)QUEUE_MAX) : QUEUE_MAX;
}

/* So much at once: at a rate little, so that connections take turns. */
static size_t chunk_max(void)
{
	return rate ? (size_t)MIN(MAX(rate / 100, (uint64_t)LINE_CHUNK_MIN), (uint64_t)CHUNK) : CHUNK;
}

/* When the last of len bytes has left, the first of which could leave at from_us. */
static uint64_t line_take(struct line *line, uint64_t from_us, size_t len)
{
	if (!rate)
		return from_us;
	line->free_us = MAX(line->free_us, from_us) + len * US_PER_S / rate;
	return line->free_us;
}

static bool is_due(const struct pipe *pipe)
{
	struct chunk *chunk = list_first(&pipe->chunks, struct chunk, node);

	return chunk && chunk->due_us <= clock_us();
}

static uint32_t wanted(const struct pipe *in, const struct pipe *out, bool is_stalled)
{
	uint32_t events = 0;

	if (!in->is_ended && in->queued < queue_max() && !is_stalled)
		events |= EPOLLIN;
	if (out->to->is_connecting || is_due(out))
		events |= EPOLLOUT;
	return events;
}

static void watch(struct conn *conn)
{
	bool is_stalled = conn->hit.kind == STALL;

	if (conn->is_dead)
		return;
	if (conn->client.is_in_loop)
		(void)loop_mod(loop, &conn->client.lfd, wanted(&conn->up, &conn->down, is_stalled));
	if (conn->server.is_in_loop)
		(void)loop_mod(loop, &conn->server.lfd, wanted(&conn->down, &conn->up, is_stalled));
}

static void pipe_flush(struct pipe *pipe)
{
	struct conn *conn = pipe->conn;
	struct chunk *chunk;

	if (pipe->to->is_connecting || conn->is_dead)
		return;
	while ((chunk = list_first(&pipe->chunks, struct chunk, node)) && is_due(pipe)) {
		ssize_t n = send(pipe->to->lfd.fd, chunk->bytes + chunk->done,
				 chunk->len - chunk->done, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			conn_kill(conn, true);
			return;
		}
		*(pipe == &conn->up ? &counts.up : &counts.down) += (uint64_t)n;
		pipe->queued -= (size_t)n;
		chunk->done += (size_t)n;
		if (chunk->done == chunk->len) {
			list_del(&chunk->node);
			free(chunk);
		}
	}
	if (chunk && !is_due(pipe))
		loop_timer_set(loop, &pipe->timer, chunk->due_us);
	if (!chunk && pipe->is_ended && !pipe->is_shut) {
		pipe->is_shut = true;
		(void)shutdown(pipe->to->lfd.fd, SHUT_WR);	/* it is gone: as good */
	}
	if (conn->up.is_shut && conn->down.is_shut)
		conn_kill(conn, false);
}

static void timer_fired(struct loop_timer *timer)
{
	struct pipe *pipe = container_of(timer, struct pipe, timer);

	pipe_flush(pipe);
	watch(pipe->conn);
}

static void pipe_put(struct pipe *pipe, const void *bytes, size_t len)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + len);
	uint64_t from_us = clock_us();

	if (!chunk)
		die("no memory");
	/* Before the handshake is over nobody could have sent anything. */
	from_us = MAX(from_us, pipe->conn->accepted_us + 2 * delay_us);
	from_us = line_take(pipe == &pipe->conn->up ? &up_line : &down_line, from_us, len);
	chunk->due_us = from_us + delay_us;
	/* The loop's timers come up to a millisecond late. */
	if (delay_us || rate)
		chunk->due_us -= US_PER_MS / 2;
	chunk->len = len;
	chunk->done = 0;
	memcpy(chunk->bytes, bytes, len);
	list_append(&pipe->chunks, &chunk->node);
	pipe->queued += len;
}

/* ---- what is done to a request ---- */

static void put_text(struct conn *conn, const char *head)
{
	pipe_put(&conn->down, head, strlen(head));
}

static void put_random(struct conn *conn)
{
	static uint64_t random = 88172645463325252u;
	unsigned char bytes[RANDOM_LEN];

	for (size_t i = 0; i < sizeof(bytes); i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (unsigned char)(random >> 56);
	}
	pipe_put(&conn->down, bytes, sizeof(bytes));
}

/* Say what the mode wants said; what else the client sends is of no interest. */
static void answer_here(struct conn *conn)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
	char head[400];

	conn->is_answered_here = true;
	drop_chunks(&conn->up);
	drop_chunks(&conn->down);
	side_close(&conn->server, true);
	switch (conn->hit.kind) {
	case SAY_500:
		put_text(conn, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n"
			 "Content-Type: text/plain\r\nContent-Length: 12\r\n\r\nout of luck\n");
		break;
	case SAY_404:
		put_text(conn, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n"
			 "Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nnot found\n");
		break;
	case SAY_GARBAGE:
		put_random(conn);
		break;
	case SAY_GARBAGE_BODY:
		(void)snprintf(head, sizeof(head), "%sContent-Length: %u\r\n\r\n", ok, RANDOM_LEN);
		put_text(conn, head);
		put_random(conn);
		break;
	case SAY_HTML:
		(void)snprintf(head, sizeof(head), "%sContent-Type: text/html\r\nContent-Length: 66\r\n\r\n%s", ok,
			       "<html><body><h1>Welcome</h1>Please accept our terms.</body></html>");
		put_text(conn, head);
		break;
	default:
		break;
	}
	conn->down.is_ended = true;
	pipe_flush(&conn->down);
}

static bool is_said_here(enum mode_kind kind)
{
	return kind >= SAY_500;
}

static void cut(struct conn *conn)
{
	/* What came before the cut has arrived. */
	pipe_flush(&conn->up);
	pipe_flush(&conn->down);
	conn_kill(conn, !conn->hit.is_fin);
}

/* The mode, or the request, is a new one. */
static void judge(struct conn *conn)
{
	conn->hit = (struct mode){ .kind = PASS };
	conn->request_bytes = conn->answer_bytes = 0;
	if (mode.kind == PASS || (mode.text[0] && !strstr(conn->line, mode.text)))
		return;
	/* The last one of a connection that is kept: most likely it is answered. */
	if (mode.is_once && conn->is_answering)
		return;
	conn->hit = mode;
	counts.hits++;
	if (mode.is_once)
		mode = (struct mode){ .kind = PASS };
}

/* Where another request begins, since no client of ours sends one before it has the last one's answer. */
static bool is_begin(const struct conn *conn, const char *bytes, size_t len)
{
	static const char *const methods[] = { "GET ", "POST ", "PUT ", "DELETE ", "HEAD " };

	if (!conn->has_request)
		return true;
	if (!conn->is_answering)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (len >= strlen(methods[i]) && !memcmp(bytes, methods[i], strlen(methods[i])))
			return true;
	return false;
}

static void note_head(struct conn *conn, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len && !conn->is_head_whole; i++) {
		if (bytes[i] == (conn->head_ends % 2 ? '\n' : '\r'))
			conn->head_ends++;
		else
			conn->head_ends = bytes[i] == '\r';
		conn->is_head_whole = conn->head_ends == 4;
	}
}

static void request_came(struct conn *conn, const char *bytes, size_t len)
{
	uint64_t left;

	if (conn->is_answered_here)
		return;
	if (is_begin(conn, bytes, len)) {
		size_t n = 0;

		while (n < len && n + 1 < sizeof(conn->line) && bytes[n] != '\r')
			n++;
		memcpy(conn->line, bytes, n);
		conn->line[n] = '\0';
		conn->has_request = true;
		conn->is_answering = conn->is_head_whole = false;
		conn->head_ends = 0;
		counts.requests++;
		judge(conn);
	}
	note_head(conn, bytes, len);
	if (conn->hit.kind == BLACKHOLE)
		return;
	if (is_said_here(conn->hit.kind)) {
		if (conn->is_head_whole)
			answer_here(conn);
		return;
	}
	left = conn->hit.n - MIN(conn->request_bytes, conn->hit.n);
	conn->request_bytes += len;
	if (conn->hit.kind == CUT_REQUEST && len >= left) {
		if (left)
			pipe_put(&conn->up, bytes, left);
		cut(conn);
		return;
	}
	pipe_put(&conn->up, bytes, len);
}

static void answer_came(struct conn *conn, const char *bytes, size_t len)
{
	uint64_t left = conn->hit.n - MIN(conn->answer_bytes, conn->hit.n);

	conn->is_answering = true;
	conn->answer_bytes += len;
	if (conn->hit.kind == BLACKHOLE)
		return;
	if (conn->hit.kind == DROP_ANSWER) {
		/* "100 Continue" is what makes the client send the request. */
		if (len > 12 && !memcmp(bytes, "HTTP/1.1 100", 12)) {
			conn->is_answering = false;
			pipe_put(&conn->down, bytes, len);
			return;
		}
		conn_kill(conn, true);
		return;
	}
	if (conn->hit.kind == CUT_ANSWER && len >= left) {
		if (left)
			pipe_put(&conn->down, bytes, left);
		cut(conn);
		return;
	}
	pipe_put(&conn->down, bytes, len);
}

/* ---- events ---- */

static void pipe_fill(struct pipe *pipe)
{
	struct conn *conn = pipe->conn;
	char bytes[CHUNK];
	ssize_t n;

	if (pipe->is_ended && !(pipe == &conn->up && conn->is_answered_here))
		return;
	n = recv(pipe->from->lfd.fd, bytes, chunk_max(), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		conn_kill(conn, true);
	} else if (n == 0) {
		pipe->is_ended = true;
		/* With the server's side gone there is nobody to tell. */
		if (pipe == &conn->up && conn->is_answered_here)
			pipe->is_shut = true;
	} else if (pipe == &conn->up) {
		request_came(conn, bytes, (size_t)n);
	} else {
		answer_came(conn, bytes, (size_t)n);
	}
}

static void side_ready(struct loop_fd *lfd, uint32_t events)
{
	struct side *side = container_of(lfd, struct side, lfd);
	struct conn *conn = side->conn;
	struct pipe *in = side == &conn->client ? &conn->up : &conn->down;
	struct pipe *out = in == &conn->up ? &conn->down : &conn->up;
	int err = 0;
	socklen_t len = sizeof(err);

	if (side->is_connecting) {
		(void)getsockopt(lfd->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err) {
			conn_kill(conn, true);
			return;
		}
		side->is_connecting = false;
	} else if (events & EPOLLIN || (events & (EPOLLERR | EPOLLHUP) && !in->is_ended)) {
		pipe_fill(in);
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		/* It would be told again and again; who writes to it will notice. */
		loop_del(loop, lfd);
		side->is_in_loop = false;
	}
	pipe_flush(out);
	pipe_flush(in);
	watch(conn);
}

static void side_open(struct conn *conn, struct side *side, int fd)
{
	int one = 1, size = LINE_RCVBUF;

	side->conn = conn;
	side->lfd = (struct loop_fd){ .fd = fd, .ready = side_ready };
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (rate)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (loop_add(loop, &side->lfd, 0))
		die("epoll: %s", strerror(errno));
	side->is_in_loop = true;
}

static void pipe_init(struct pipe *pipe, struct conn *conn, struct side *from, struct side *to)
{
	pipe->conn = conn;
	pipe->from = from;
	pipe->to = to;
	pipe->timer.fire = timer_fired;
	list_init(&pipe->chunks);
}

static void accepted(struct loop_fd *lfd, uint32_t events)
{
	int fd = accept4(lfd->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), to;
	struct conn *conn;

	(void)events;
	if (fd < 0)
		return;		/* it has gone already */
	conn = calloc(1, sizeof(*conn));
	to = socket(to_addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!conn || to < 0)
		die("no memory, or no descriptors");
	counts.connections++;
	conn->accepted_us = clock_us();
	list_append(&conns, &conn->node);
	pipe_init(&conn->up, conn, &conn->client, &conn->server);
	pipe_init(&conn->down, conn, &conn->server, &conn->client);
	side_open(conn, &conn->client, fd);
	side_open(conn, &conn->server, to);
	conn->server.is_connecting = true;
	if (mode.kind == RESET || (connect(to, to_addr->ai_addr, to_addr->ai_addrlen) < 0 && errno != EINPROGRESS)) {
		conn_kill(conn, true);
		return;
	}
	if (mode.kind == STALL && !mode.text[0])
		conn->hit = mode;
	watch(conn);
}

static void listen_begin(void)
{
	int fd = socket(listen_addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (listener.fd >= 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, listen_addr->ai_addr, listen_addr->ai_addrlen) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, listen_addr->ai_addr, &listen_addr->ai_addrlen) < 0)
		die("listen: %s", strerror(errno));
	listener = (struct loop_fd){ .fd = fd, .ready = accepted };
	if (loop_add(loop, &listener, EPOLLIN))
		die("epoll: %s", strerror(errno));
}

static void listen_end(void)
{
	if (listener.fd < 0)
		return;
	loop_del(loop, &listener);
	(void)close(listener.fd);
	listener.fd = -1;
}

/* ---- commands ---- */

static void mode_enter(void)
{
	struct conn *conn, *next;
	bool is_all = mode.kind == REFUSE || mode.kind == RESET;

	if (mode.kind == REFUSE)
		listen_end();
	else
		listen_begin();
	list_each_safe(conn, next, &conns, node) {
		/* What was swallowed is missing for ever. */
		if (is_all || conn->hit.kind == BLACKHOLE) {
			conn_kill(conn, true);
			continue;
		}
		if (conn->has_request && !conn->is_answered_here)
			judge(conn);
		else
			conn->hit = (struct mode){ .kind = mode.kind == STALL && !mode.text[0] ? STALL : PASS };
		if (is_said_here(conn->hit.kind) && conn->is_head_whole && !conn->is_answering)
			answer_here(conn);
		watch(conn);
	}
}

static bool parse_mode(char *line, struct mode *ret_mode)
{
	struct mode new = { .kind = PASS };
	char *text = strstr(line, " for "), *save = NULL, *word;
	size_t i;

	if (text) {
		*text = '\0';
		(void)snprintf(new.text, sizeof(new.text), "%s", text + 5);
	}
	word = strtok_r(line, " ", &save);
	if (word && !strcmp(word, "once")) {
		new.is_once = true;
		word = strtok_r(NULL, " ", &save);
	}
	for (i = 0; word && i < ARRAY_SIZE(modes) && strcmp(word, modes[i].name); i++)
		;
	if (!word || i == ARRAY_SIZE(modes))
		return false;
	new.kind = (enum mode_kind)i;
	if (modes[i].has_number) {
		char *end;

		word = strtok_r(NULL, " ", &save);
		if (!word)
			return false;
		new.n = strtoull(word, &end, 10);
		word = strtok_r(NULL, " ", &save);
		new.is_fin = word && !strcmp(word, "fin");
		if (*end || (word && !new.is_fin))
			return false;
	} else if (strtok_r(NULL, " ", &save)) {
		return false;
	}
	*ret_mode = new;
	return true;
}

/* What is on its way keeps its times. */
static void rate_set(uint64_t kbits)
{
	struct conn *conn;

	rate = kbits * 1000 / 8;
	up_line.free_us = down_line.free_us = 0;
	list_each(conn, &conns, node)
		watch(conn);
}

static void run_command(char *line)
{
	char whole[LINE_MAX_LEN], *end;
	bool is_good = true;

	(void)snprintf(whole, sizeof(whole), "%s", line);
	n_commands++;
	if (!strcmp(line, "count")) {
		(void)printf("done %u: count connections=%" PRIu64 " requests=%" PRIu64 " up=%" PRIu64 " down=%" PRIu64
			     " hits=%" PRIu64 "\n", n_commands, counts.connections, counts.requests, counts.up,
			     counts.down, counts.hits);
		return;
	}
	if (!strncmp(line, "delay ", 6)) {
		uint64_t ms = strtoull(line + 6, &end, 10);

		is_good = line[6] && !*end;
		if (is_good)
			delay_us = ms * US_PER_MS;
	} else if (!strncmp(line, "rate ", 5)) {
		uint64_t kbits = strtoull(line + 5, &end, 10);

		is_good = line[5] && !*end;
		if (is_good)
			rate_set(kbits);
	} else {
		is_good = parse_mode(line, &mode);
		if (is_good)
			mode_enter();
	}
	(void)printf("%s %u: %s\n", is_good ? "done" : "bad", n_commands, whole);
}

static void control_ready(struct loop_fd *lfd, uint32_t events)
{
	char bytes[LINE_MAX_LEN];
	ssize_t n = read(lfd->fd, bytes, sizeof(bytes));

	(void)events;
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] != '\n') {
			if (command_len + 1 < sizeof(command))
				command[command_len++] = bytes[i];
			continue;
		}
		command[command_len] = '\0';
		command_len = 0;
		run_command(command);
	}
}

static void control_open(const char *path)
{
	if (mkfifo(path, 0600) < 0 && errno != EEXIST)
		die("%s: %s", path, strerror(errno));
	/* For writing too: so it never ends. */
	control = (struct loop_fd){ .fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), .ready = control_ready };
	if (control.fd < 0 || loop_add(loop, &control, EPOLLIN))
		die("%s: %s", path, strerror(errno));
}

/* ---- start ---- */

static struct addrinfo *resolve(const char *text)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *found;
	char host[LINE_MAX_LEN];
	char *colon;

	(void)snprintf(host, sizeof(host), "%s", text);
	colon = strrchr(host, ':');
	if (!colon)
		die("not ADDR:PORT: %s", text);
	*colon = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found))
		die("not ADDR:PORT: %s", text);
	return found;
}

static void say_where(void)
{
	char host[100], port[20];

	if (getnameinfo(listen_addr->ai_addr, listen_addr->ai_addrlen, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		die("the address cannot be shown");
	(void)printf("serving on %s:%s\n", host, port);
}

int main(int argc, char **argv)
{
	const char *fifo = NULL;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--listen"))
			listen_addr = resolve(argv[i + 1]);
		else if (!strcmp(argv[i], "--to"))
			to_addr = resolve(argv[i + 1]);
		else if (!strcmp(argv[i], "--delay-ms"))
			delay_us = strtoull(argv[i + 1], NULL, 10) * US_PER_MS;
		else if (!strcmp(argv[i], "--rate"))
			rate = strtoull(argv[i + 1], NULL, 10) * 1000 / 8;
		else if (!strcmp(argv[i], "--control"))
			fifo = argv[i + 1];
		else
			die("unknown option %s", argv[i]);
	}
	if (!listen_addr || !to_addr || argc % 2 == 0)
		die("usage: proxy --listen ADDR:PORT --to ADDR:PORT [--delay-ms N] [--rate KBITS] [--control FIFO]");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	list_init(&conns);
	list_init(&dead);
	if (loop_new(&loop))
		die("no loop");
	loop_set_idle(loop, free_dead, NULL);
	if (fifo)
		control_open(fifo);
	listen_begin();
	say_where();
	return loop_run(loop) ? 1 : 0;
}
