/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/why.h"

#define READ_SIZE 65536

struct ctl {
	int fd;
	struct buf in;
};

int ctl_open(const char *path, struct ctl **ret_ctl, char **ret_why)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ctl *ctl;
	int err;

	*ret_why = NULL;
	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(addr.sun_path))
		return why_fail(ret_why, -ENAMETOOLONG, "the control socket's path %s is too long", path);
	(void)strcpy(addr.sun_path, path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = errno == ENOENT ? -ECONNREFUSED : -errno;
		if (err == -ECONNREFUSED)
			return why_fail(ret_why, err, "no daemon is running: nothing answers at %s", path);
		if (err == -EACCES || err == -EPERM)
			return why_fail(ret_why, err, "the daemon's control socket cannot be reached by this user: %s: %s", path, strerror(-err));
		return why_fail(ret_why, err, "%s: %s", path, strerror(-err));
	}
	ctl = malloc(sizeof(*ctl));
	if (!ctl)
		return -ENOMEM;
	ctl->fd = fd;
	fd = -1;
	buf_init(&ctl->in, 0);
	*ret_ctl = ctl;
	return 0;
}

void ctl_close(struct ctl *ctl)
{
	if (!ctl)
		return;
	(void)close(ctl->fd);	/* answers have been read */
	buf_release(&ctl->in);
	free(ctl);
}

/* 0 when fd is ready before deadline_us, or -ETIMEDOUT. */
static int wait_ready(int fd, short events, uint64_t deadline_us)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = clock_us();
		int n;

		if (now >= deadline_us)
			return -ETIMEDOUT;
		n = poll(&pfd, 1, (int)((deadline_us - now) / US_PER_MS + 1));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_line(struct ctl *ctl, const char *text, size_t len, uint64_t deadline_us)
{
	while (len) {
		ssize_t n = send(ctl->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int err;

		if (n >= 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -EPIPE;
		err = wait_ready(ctl->fd, POLLOUT, deadline_us);
		if (err)
			return err;
	}
	return 0;
}

/* One whole line stands at the front of ctl->in afterwards; *ret_len is its length without the newline. */
static int receive_line(struct ctl *ctl, uint64_t deadline_us, size_t *ret_len)
{
	size_t looked = 0;

	for (;;) {
		const char *end = ctl->in.len > looked ?
			memchr(ctl->in.data + looked, '\n', ctl->in.len - looked) : NULL;
		ssize_t n;
		void *room;
		int err;

		if (end) {
			*ret_len = (size_t)(end - (const char *)ctl->in.data);
			return 0;
		}
		looked = ctl->in.len;
		err = wait_ready(ctl->fd, POLLIN, deadline_us);
		if (err)
			return err;
		room = buf_extend(&ctl->in, READ_SIZE);
		if (!room)
			return buf_error(&ctl->in);
		n = recv(ctl->fd, room, READ_SIZE, MSG_DONTWAIT);
		ctl->in.len = looked + (n > 0 ? (size_t)n : 0);
		if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
			return -EPIPE;
	}
}

static int take_answer(struct ctl *ctl, size_t len, json_t **ret_answer, char **ret_why)
{
	json_error_t wrong;
	json_t *answer = json_loadb((const char *)ctl->in.data, len, 0, &wrong);
	const char *error;

	buf_consume(&ctl->in, len + 1);
	if (!json_is_object(answer)) {
		json_decref(answer);
		return why_fail(ret_why, -EPROTO, "the daemon's answer is not understood; is it of another version?");
	}
	if (!json_is_true(json_object_get(answer, "ok"))) {
		error = json_string_value(json_object_get(answer, "error"));
		(void)why_fail(ret_why, -EREMOTEIO, "%s", error ? error : "the daemon refused without a reason");
		json_decref(answer);
		return -EREMOTEIO;
	}
	*ret_answer = answer;
	return 0;
}

int ctl_ask(struct ctl *ctl, json_t *request, unsigned wait_s, json_t **ret_answer, char **ret_why)
{
	uint64_t deadline_us = clock_us() + wait_s * US_PER_S;
	AUTO_FREE char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = 0;
	int err;

	*ret_why = NULL;
	json_decref(request);
	if (!text)
		return -ENOMEM;
	err = send_line(ctl, text, strlen(text), deadline_us);
	if (!err)
		err = send_line(ctl, "\n", 1, deadline_us);
	if (!err)
		err = receive_line(ctl, deadline_us, &len);
	if (!err)
		return take_answer(ctl, len, ret_answer, ret_why);
	if (err == -ETIMEDOUT)
		return why_fail(ret_why, err, "the daemon has not answered for %u s; it is starting, or its disk is slow", wait_s);
	if (err == -EPIPE)
		return why_fail(ret_why, err, "the daemon went away, or too many others are asking it");
	return err;
}
