/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch_source: where events come from: fanotify or inotify (private to watch*.c).
 *
 * A source names a directory by a key, bytes that its events carry: a file handle (fanotify) or a
 * watch's number (inotify).  watch_dirs.h knows which directory a key stands for.
 *
 * Threads: all but open() and close() is called under the watch's lock.
 */
#ifndef HTTPD_WATCH_SOURCE_H
#define HTTPD_WATCH_SOURCE_H

#include <stdbool.h>
#include "base/mem.h"
#include "httpd/tree.h"

#define WATCH_KEY_MAX 144

enum watch_event {
	EVENT_NAME = 1,		/* a name came, went, or has other attributes */
	EVENT_WRITTEN = 2,	/* content is being written */
	EVENT_CLOSED = 4,	/* who could write has closed it */
	EVENT_ENDED = 8		/* the key stands for nothing any more */
};

struct watch_source {
	const struct watch_source_kind *kind;
	int fd;			/* to be polled for reading */
};

struct watch_source_kind {
	const char *name;
	/* -ENOTSUP: not on this system, for this user, or on this file system. */
	int (*open)(struct tree *tree, struct watch_source **ret_source);
	void (*close)(struct watch_source *source);
	/*
	 * From now on there are events of what happens in the directory; the length of its key, or
	 * -errno.
	 */
	int (*enter)(struct watch_source *source, int fd, unsigned char ret_key[WATCH_KEY_MAX]);
	void (*leave)(struct watch_source *source, struct slice key);
	/*
	 * An event came from a directory that was not entered, and whatever it holds is none of our business until it
	 * is: events of it may be left out.  NULL: only directories that were entered have events.
	 */
	void (*ignore)(struct watch_source *source, struct slice key);
	/*
	 * Read some of what is there and call fn for each event; name is "." for the directory
	 * itself.  Does not block. -EOVERFLOW: some were lost.
	 */
	int (*read)(struct watch_source *source,
		    void (*fn)(void *arg, struct slice key, const char *name, unsigned events),
		    void *arg);
};

extern const struct watch_source_kind watch_fanotify, watch_inotify;

#endif
