/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch_dirs: the directories that events come from, by the key that events carry and by their row
 * (private to watch*.c).
 *
 * A directory that is not found any more stays until all were looked at anew: watch_dirs_sweep().
 * Threads: under the watch's lock.
 */
#ifndef HTTPD_WATCH_DIRS_H
#define HTTPD_WATCH_DIRS_H

#include "base/hash.h"
#include "base/list.h"
#include "httpd/watch_source.h"

struct watch_dirs {
	struct hash_table by_id, by_key;
	struct list all;
	uint32_t round;		/* of looking at everything */
};

int watch_dirs_init(struct watch_dirs *dirs);
void watch_dirs_release(struct watch_dirs *dirs);

/* -ENOMEM */
int watch_dirs_add(struct watch_dirs *dirs, int64_t id, struct file_id file, struct slice key);
/* Its row, or 0. */
int64_t watch_dirs_find(const struct watch_dirs *dirs, struct slice key);
bool watch_dirs_has(const struct watch_dirs *dirs, int64_t id, struct file_id file);
void watch_dirs_remove(struct watch_dirs *dirs, struct slice key);
/* All that were not added since the last call are left, and forgotten. */
void watch_dirs_sweep(struct watch_dirs *dirs, struct watch_source *source);

#endif
