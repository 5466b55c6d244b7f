/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/watch_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include "base/fault.h"

#define EVENTS                                                                                     \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_MODIFY |             \
	 IN_CLOSE_WRITE)
/* An unlinked file that is still written to is nobody's business. */
#define FLAGS (IN_ONLYDIR | IN_EXCL_UNLINK)

static int in_open(struct tree *tree, struct watch_source **ret_source)
{
	struct watch_source *source = calloc(1, sizeof(*source));

	(void)tree;
	if (!source)
		return -ENOMEM;
	source->kind = &watch_inotify;
	source->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (source->fd < 0) {
		int err = errno == ENOSYS ? -ENOTSUP : -errno;

		free(source);
		return err;
	}
	*ret_source = source;
	return 0;
}

static void in_close(struct watch_source *source)
{
	mem_close_fd(&source->fd);
	free(source);
}

static int in_enter(struct watch_source *source, int fd, unsigned char ret_key[WATCH_KEY_MAX])
{
	char path[40];
	int wd;

	wd = FAULT("watch.enter");
	if (wd)
		return wd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(source->fd, path, EVENTS | FLAGS);
	if (wd < 0)
		return -errno;
	memcpy(ret_key, &wd, sizeof(wd));
	return sizeof(wd);
}

static void in_leave(struct watch_source *source, struct slice key)
{
	int wd;

	memcpy(&wd, key.data, sizeof(wd));
	/* EINVAL: the directory is gone, and the watch with it */
	(void)inotify_rm_watch(source->fd, wd);
}

static unsigned events_of(uint32_t mask)
{
	unsigned events = 0;

	if (mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB))
		events |= EVENT_NAME;
	if (mask & IN_MODIFY)
		events |= EVENT_WRITTEN;
	if (mask & IN_CLOSE_WRITE)
		events |= EVENT_CLOSED;
	if (mask & IN_IGNORED)
		events |= EVENT_ENDED;
	return events;
}

static int in_read(struct watch_source *source,
		   void (*fn)(void *arg, struct slice key, const char *name, unsigned events),
		   void *arg)
{
	_Alignas(struct inotify_event) char data[16384];
	const struct inotify_event *event;
	ssize_t len;
	int err = 0;

	len = read(source->fd, data, sizeof(data));
	if (len < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (char *at = data; at < data + len; at += sizeof(*event) + event->len) {
		event = (const struct inotify_event *)at;
		if (event->mask & IN_Q_OVERFLOW)
			err = -EOVERFLOW;
		else
			fn(arg, (struct slice){ &event->wd, sizeof(event->wd) },
			   event->len ? event->name : ".", events_of(event->mask));
	}
	return err;
}

const struct watch_source_kind watch_inotify = {
	.name = "inotify",
	.open = in_open,
	.close = in_close,
	.enter = in_enter,
	.leave = in_leave,
	.read = in_read,
};
