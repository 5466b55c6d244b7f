/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/watch_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include "base/fault.h"

#ifndef AT_HANDLE_FID
/* Linux 6.5: the handle that events carry, where it is not good for opening */
#define AT_HANDLE_FID 0x200
#endif

#ifndef FAN_MARK_IGNORE_SURV
/* Linux 6.0, and 5.19 */
#define FAN_MARK_IGNORE_SURV 0x440
#define FAN_MARK_EVICTABLE 0x200
#endif

#define EVENTS                                                                                     \
	(FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ATTRIB | FAN_MODIFY |       \
	 FAN_CLOSE_WRITE)
#define HANDLE_HEAD offsetof(struct file_handle, f_handle)

/*
 * The mark is on a whole file system, of which the export may be a small part.  Each event costs whoever made it a few
 * microseconds and wakes us up: so a directory outside is left out after its first one, all that happens in it, until it
 * becomes part of the export, which is when it is entered.
 */
#define IGNORE (EVENTS | FAN_ONDIR | FAN_EVENT_ON_CHILD)

struct fan_source {
	struct watch_source base;
	int root_fd;			/* the tree's */
	pid_t own;
	bool can_ignore, has_ignored;
};

static int fan_enter(struct watch_source *source, int fd, unsigned char ret_key[WATCH_KEY_MAX])
{
	_Alignas(struct file_handle) unsigned char data[HANDLE_HEAD + MAX_HANDLE_SZ];
	struct file_handle *handle = (struct file_handle *)data;
	int mount_id, err;

	err = FAULT("watch.enter");
	if (err)
		return err;
	if (container_of(source, struct fan_source, base)->has_ignored &&
	    fanotify_mark(source->fd, FAN_MARK_REMOVE | FAN_MARK_IGNORE_SURV, IGNORE, fd, NULL) < 0 && errno != ENOENT)
		return -errno;
	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", handle, &mount_id, AT_EMPTY_PATH | AT_HANDLE_FID) < 0) {
		if (errno != EINVAL)
			return -errno;
		handle->handle_bytes = MAX_HANDLE_SZ;
		if (name_to_handle_at(fd, "", handle, &mount_id, AT_EMPTY_PATH) < 0)
			return -errno;
	}
	memcpy(ret_key, data, HANDLE_HEAD + handle->handle_bytes);
	return (int)(HANDLE_HEAD + handle->handle_bytes);
}

static void fan_leave(struct watch_source *source, struct slice key)
{
	(void)source;
	(void)key;
}

/* What happens to the export's own directory is also told as one of the entries of this one. */
static bool is_above_root(const struct fan_source *source, int fd)
{
	struct stat st, above;

	return fstat(fd, &st) < 0 || fstatat(source->root_fd, "..", &above, 0) < 0 ||
	       (st.st_dev == above.st_dev && st.st_ino == above.st_ino);
}

static void fan_ignore(struct watch_source *base, struct slice key)
{
	struct fan_source *source = container_of(base, struct fan_source, base);
	_Alignas(struct file_handle) unsigned char data[WATCH_KEY_MAX];
	int fd;

	if (!source->can_ignore || key.len > sizeof(data))
		return;
	memcpy(data, key.data, key.len);
	fd = open_by_handle_at(source->root_fd, (struct file_handle *)data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		/* It may be gone, or on no mount of ours; without the right to open any, there is nothing to try. */
		source->can_ignore = errno != EPERM;
		return;
	}
	/* Evictable: it does not keep the inode in memory, and goes with it. */
	if (is_above_root(source, fd))
		;	/* to be heard of again */
	else if (fanotify_mark(source->base.fd, FAN_MARK_ADD | FAN_MARK_IGNORE_SURV | FAN_MARK_EVICTABLE, IGNORE, fd,
			       NULL) < 0)
		source->can_ignore = errno != EINVAL;
	else
		source->has_ignored = true;
	close(fd);
}

static void fan_close(struct watch_source *source)
{
	mem_close_fd(&source->fd);
	free(container_of(source, struct fan_source, base));
}

static int fan_open(struct tree *tree, struct watch_source **ret_source)
{
	struct fan_source *source = calloc(1, sizeof(*source));
	unsigned char key[WATCH_KEY_MAX];

	if (!source)
		return -ENOMEM;
	source->base.kind = &watch_fanotify;
	source->own = getpid();
	source->root_fd = tree->root_fd;
	source->can_ignore = true;
	/*
	 * The mark is on a whole file system, of which the export may be a small part: a limit of
	 * the queue would be reached by what is none of our business.  Reading is quick, so it
	 * stays short.
	 */
	source->base.fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK |
						FAN_UNLIMITED_QUEUE | FAN_REPORT_DFID_NAME,
					O_RDONLY | O_CLOEXEC | O_LARGEFILE);
	/*
	 * EXDEV, ENODEV, EOPNOTSUPP: a file system whose events name no directory; EPERM, EINVAL:
	 * not for us, too old
	 */
	if (source->base.fd < 0 ||
	    fanotify_mark(source->base.fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, EVENTS | FAN_ONDIR,
			  tree->root_fd, NULL) < 0 ||
	    fan_enter(&source->base, tree->root_fd, key) < 0) {
		fan_close(&source->base);
		return -ENOTSUP;
	}
	*ret_source = &source->base;
	return 0;
}

static unsigned events_of(uint64_t mask)
{
	unsigned events = 0;

	if (mask & (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ATTRIB))
		events |= EVENT_NAME;
	if (mask & FAN_MODIFY)
		events |= EVENT_WRITTEN;
	if (mask & FAN_CLOSE_WRITE)
		events |= EVENT_CLOSED;
	return events;
}

/*
 * What we do ourselves is in the tables already; only a directory that we made has to be entered
 * yet.
 */
static bool is_own(const struct fan_source *source, const struct fanotify_event_metadata *event)
{
	return event->pid == source->own &&
	       !(event->mask & FAN_ONDIR && event->mask & (FAN_CREATE | FAN_MOVED_TO));
}

/* at, end: the event's further parts. */
static void tell(const struct fanotify_event_metadata *event, const char *at, const char *end,
		 void (*fn)(void *arg, struct slice key, const char *name, unsigned events),
		 void *arg)
{
	const struct fanotify_event_info_fid *fid;
	const struct file_handle *handle;
	size_t len;

	for (; at + sizeof(fid->hdr) <= end; at += fid->hdr.len) {
		fid = (const struct fanotify_event_info_fid *)at;
		if (fid->hdr.len < sizeof(fid->hdr) || at + fid->hdr.len > end)
			return;
		if (fid->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME &&
		    fid->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID)
			continue;
		handle = (const struct file_handle *)fid->handle;
		len = HANDLE_HEAD + handle->handle_bytes;
		fn(arg, (struct slice){ handle, len },
		   fid->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID ? "."
								  : (const char *)handle + len,
		   events_of(event->mask));
	}
}

static int fan_read(struct watch_source *base,
		    void (*fn)(void *arg, struct slice key, const char *name, unsigned events),
		    void *arg)
{
	struct fan_source *source = container_of(base, struct fan_source, base);
	_Alignas(struct fanotify_event_metadata) char data[16384];
	struct fanotify_event_metadata event;
	ssize_t len;
	int err = 0;

	len = read(base->fd, data, sizeof(data));
	if (len < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (char *at = data, *end = data + len; at + sizeof(event) <= end; at += event.event_len) {
		/* Only every fourth byte begins an event; its fields want every eighth. */
		memcpy(&event, at, sizeof(event));
		if (event.vers != FANOTIFY_METADATA_VERSION || event.event_len < sizeof(event) ||
		    at + event.event_len > end)
			return -EPROTO;
		if (event.mask & FAN_Q_OVERFLOW)
			err = -EOVERFLOW;
		else if (!is_own(source, &event))
			tell(&event, at + event.metadata_len, at + event.event_len, fn, arg);
	}
	return err;
}

const struct watch_source_kind watch_fanotify = {
	.name = "fanotify",
	.open = fan_open,
	.close = fan_close,
	.enter = fan_enter,
	.leave = fan_leave,
	.ignore = fan_ignore,
	.read = fan_read,
};
