/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/control.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/thread.h"
#include "base/why.h"

#define GROUPS_MAX 1024			/* of a peer; who is in more is in the first of them only */
#define BACKLOG 16
#define READ_SIZE 4096

struct control {
	/* constant after control_start() */
	char *path;
	gid_t group;			/* or CONTROL_NO_GROUP */
	dev_t dev;			/* which file the socket is, so that only our own is removed */
	ino_t ino;
	control_answer_fn *answer;
	void *arg;
	struct loop *loop;
	pthread_t thread;
	bool is_running;

	/* control thread */
	struct loop_fd listener;
	struct list clients;
	size_t n_clients, n_others;	/* others: without CONTROL_ALL */
};

struct client {
	struct control *control;
	enum control_right right;	/* as of when it connected */
	struct list node;
	struct loop_fd lfd;
	struct loop_timer idle;
	struct buf in, out;
	bool has_ended;			/* it sends no more */
};

/* ---- one client ---- */

static void client_free(struct client *client)
{
	struct control *control = client->control;

	loop_timer_cancel(control->loop, &client->idle);
	loop_del(control->loop, &client->lfd);
	(void)close(client->lfd.fd);
	list_del(&client->node);
	control->n_clients--;
	control->n_others -= client->right != CONTROL_ALL;
	buf_release(&client->in);
	buf_release(&client->out);
	free(client);
}

static void client_idle(struct loop_timer *timer)
{
	client_free(container_of(timer, struct client, idle));
}

static json_t *answer_line(const struct client *client, const char *line, size_t len)
{
	struct control *control = client->control;
	json_error_t wrong;
	json_t *request = json_loadb(line, len, 0, &wrong), *answer;

	if (!request || !json_is_object(request)) {
		json_decref(request);
		return json_pack("{s:b, s:s}", "ok", 0, "error",
				 "the request is not a line of JSON");
	}
	answer = control->answer(control->arg, client->right, request);
	json_decref(request);
	return answer;
}

/* Answers each whole line that has come.  0 or -errno: drop the client. */
static int client_answer(struct client *client)
{
	const char *end;

	while (client->in.len && (end = memchr(client->in.data, '\n', client->in.len))) {
		size_t len = (size_t)(end - (const char *)client->in.data);
		json_t *answer = answer_line(client, (const char *)client->in.data, len);
		char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

		json_decref(answer);
		if (!text)
			return -ENOMEM;
		buf_append(&client->out, text, strlen(text));
		buf_append(&client->out, "\n", 1);
		free(text);
		buf_consume(&client->in, len + 1);
	}
	return buf_error(&client->out);
}

/* What was asked is read as far as it goes; -EMSGSIZE: more than a request can be. */
static int client_read(struct client *client)
{
	char data[READ_SIZE];

	while (!client->has_ended) {
		ssize_t n = recv(client->lfd.fd, data, sizeof(data), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0)
			return -errno;
		if (!n)
			client->has_ended = true;
		else if (buf_append(&client->in, data, (size_t)n))
			return buf_error(&client->in);
	}
	return 0;
}

static int client_write(struct client *client)
{
	while (client->out.len) {
		ssize_t n = send(client->lfd.fd, client->out.data, client->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buf_consume(&client->out, (size_t)n);
	}
	return 0;
}

static void client_ready(struct loop_fd *lfd, uint32_t events)
{
	struct client *client = container_of(lfd, struct client, lfd);
	struct control *control = client->control;
	int err = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		err = client_read(client);
	if (!err)
		err = client_write(client);
	/* While it takes no answers it gets no more of them. */
	if (!err && !client->out.len)
		err = client_answer(client);
	if (!err)
		err = client_write(client);
	if (!err && client->has_ended && !client->out.len)
		err = -EPIPE;
	if (!err)
		err = loop_mod(control->loop, lfd, client->out.len ? EPOLLOUT : EPOLLIN);
	if (err) {
		client_free(client);
		return;
	}
	loop_timer_set(control->loop, &client->idle, clock_us() + CONTROL_IDLE_S * US_PER_S);
}

/* ---- the listener ---- */

static bool is_in_group(int fd, const struct ucred *peer, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);

	if (group == CONTROL_NO_GROUP)
		return false;
	if (peer->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;	/* before Linux 4.13, or there are too many: then the first one decides */
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

static enum control_right right_of(const struct control *control, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return CONTROL_LOOK;
	if (peer.uid == 0 || peer.uid == geteuid())
		return CONTROL_ALL;
	return is_in_group(fd, &peer, control->group) ? CONTROL_LIST : CONTROL_LOOK;
}

/* The oldest one makes room, if it may: for root rather another's than one of his own. */
static void make_room(struct control *control, enum control_right right)
{
	struct client *client;

	if (control->n_clients < CONTROL_CLIENTS_MAX)
		return;
	list_each(client, &control->clients, node) {
		if (client->right != CONTROL_ALL || (right == CONTROL_ALL && !control->n_others)) {
			client_free(client);
			return;
		}
	}
}

static int client_new(struct control *control, int fd, enum control_right right)
{
	struct client *client = calloc(1, sizeof(*client));
	int err;

	if (!client)
		return -ENOMEM;
	client->control = control;
	client->right = right;
	client->lfd = (struct loop_fd){ .fd = fd, .ready = client_ready };
	client->idle.fire = client_idle;
	buf_init(&client->in, CONTROL_REQUEST_MAX);
	buf_init(&client->out, 0);
	err = loop_add(control->loop, &client->lfd, EPOLLIN);
	if (err) {
		free(client);
		return err;
	}
	loop_timer_set(control->loop, &client->idle, clock_us() + CONTROL_IDLE_S * US_PER_S);
	list_append(&control->clients, &client->node);
	control->n_clients++;
	control->n_others += right != CONTROL_ALL;
	return 0;
}

static void accept_ready(struct loop_fd *lfd, uint32_t events)
{
	static struct log_gate gate;
	struct control *control = container_of(lfd, struct control, listener);
	int fd = accept4(lfd->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	enum control_right right;
	unsigned held;

	(void)events;
	if (fd < 0)
		return;		/* it went away again */
	right = right_of(control, fd);
	make_room(control, right);
	if (control->n_clients == CONTROL_CLIENTS_MAX || client_new(control, fd, right) < 0) {
		(void)close(fd);
		if (log_gate_open(&gate, 10, &held))
			log_warn("control: a connection was refused: held_back=%u", held);
	}
}

static void *control_run(void *arg)
{
	struct control *control = arg;
	int err = loop_run(control->loop);

	if (err)
		log_error("control: --status and its like get no answers until a restart: %s",
			  strerror(-err));
	return NULL;
}

/* ---- life ---- */

static int fill_address(struct sockaddr_un *addr, const char *path, char **ret_why)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		return why_fail(ret_why, -ENAMETOOLONG, "the control socket's path %s is too long; allowed: %zu bytes", path,
				sizeof(addr->sun_path) - 1);
	(void)strcpy(addr->sun_path, path);
	return 0;
}

/* Removes the socket of a daemon that is gone.  -EADDRINUSE: one answers; -ENOTSOCK. */
static int remove_stale(const char *path, const struct sockaddr_un *addr, char **ret_why)
{
	AUTO_CLOSE int fd = -1;
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return why_fail(ret_why, -ENOTSOCK, "%s is in the way and is not a socket; move it away or set control", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: its backlog is full, so somebody has it open. */
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN) {
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);	/* pid 0: unknown */
		return why_fail(ret_why, -EADDRINUSE,
				"a daemon is running already and answers at %s: pid=%d; stop it first, or set "
				"control, listen and cache of this one to others",
				path, (int)peer.pid);
	}
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int control_listen(struct control *control, char **ret_why)
{
	struct sockaddr_un addr;
	struct stat st;
	mode_t before;
	int err;

	err = fill_address(&addr, control->path, ret_why);
	if (!err)
		err = remove_stale(control->path, &addr, ret_why);
	if (err)
		return err;
	control->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->listener.fd < 0)
		return -errno;
	/* Everybody may connect: right_of() looks at who it is.  There are no other threads yet. */
	before = umask(0111);
	err = bind(control->listener.fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	(void)umask(before);
	if (err)
		return err;
	if (listen(control->listener.fd, BACKLOG) < 0 || lstat(control->path, &st) < 0)
		return -errno;
	control->dev = st.st_dev;
	control->ino = st.st_ino;
	return 0;
}

int control_new(const char *path, gid_t group, struct control **ret_control, char **ret_why)
{
	struct control *control = calloc(1, sizeof(*control));
	int err = -ENOMEM;

	*ret_why = NULL;
	if (!control)
		return -ENOMEM;
	list_init(&control->clients);
	control->listener = (struct loop_fd){ .fd = -1, .ready = accept_ready };
	control->group = group;
	control->path = strdup(path);
	if (control->path)
		err = loop_new(&control->loop);
	if (!err)
		err = control_listen(control, ret_why);
	if (!err)
		err = loop_add(control->loop, &control->listener, EPOLLIN);
	if (err) {
		if (!*ret_why)
			(void)why_fail(ret_why, err, "the control socket %s cannot be made: %s", path, strerror(-err));
		control_free(control);
		return err;
	}
	*ret_control = control;
	return 0;
}

int control_start(struct control *control, control_answer_fn *answer, void *arg)
{
	int err;

	control->answer = answer;
	control->arg = arg;
	err = thread_start(&control->thread, "control", control_run, control);
	control->is_running = !err;
	return err;
}

void control_free(struct control *control)
{
	struct client *client;
	struct stat st;

	if (!control)
		return;
	if (control->is_running) {
		loop_stop(control->loop);
		(void)pthread_join(control->thread, NULL);	/* ours, and joined once */
	}
	while ((client = list_first(&control->clients, struct client, node)))
		client_free(client);
	if (control->listener.fd >= 0) {
		if (control->ino && lstat(control->path, &st) == 0 && st.st_dev == control->dev &&
		    st.st_ino == control->ino)
			(void)unlink(control->path);	/* a socket that stays is taken for stale */
		(void)close(control->listener.fd);
	}
	loop_free(control->loop);
	free(control->path);
	free(control);
}
