/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * merged: a conflict of two contents, to be settled by what a program makes of them.
 *
 * merged_begin() lays out copies, in a directory of their own: mine, theirs, base where one was kept (base.h), and an empty file for the
 * result.  What is written to that becomes the content under the name (merged_take()): an ordinary logged change, certified against
 * the version of theirs that was copied.  The same change removes our copy and takes the conflict off the record; it
 * is refused when either side has changed meanwhile.  Both sides are kept (kept.h) before.
 *
 * The directory is one that nobody else can get to: CACHE/merging/ID.  Who is given a descriptor of it may read what is there, and write to
 * the result, but make and remove nothing.  After a crash merged_clean() removes it.
 *
 * Threads: as settle.h.
 * Errors: 0 or -errno, with one sentence in *ret_why, to be freed.  -EAGAIN: not now: theirs is being changed or fetched, or cannot be
 * had, and some time later it may go; -ENODATA: there is nothing to be merged; anything else: it has failed.
 */
#ifndef CACHE_MERGED_H
#define CACHE_MERGED_H

#include <stdbool.h>
#include <stdint.h>
#include "cache/cml.h"
#include "cache/types.h"

#define MERGED_MAX (64ull << 20)	/* bytes of one side, or of the result */

struct cache;

struct merged {
	/* for the program */
	int dirfd;			/* of base, mine, theirs, result */
	bool has_base;
	uint32_t uid, gid;		/* of our copy */
	char path[CML_PATH_MAX];	/* of the name in dispute, from the tree's root */
	/* merged.c's */
	struct cache *cache;
	uint64_t id, ours, theirs;
	uint64_t version;		/* of theirs */
	struct attr mine;
	int result_fd;
};

/* needs_base: without one it is -ENODATA.  To be ended by merged_end(), if it gives 0. */
int merged_begin(struct cache *cache, uint64_t id, bool needs_base, struct merged *ret, char **ret_why);
int merged_take(struct merged *merged, char **ret_why);
void merged_end(struct merged *merged);

/*
 * The next conflict after that id between contents that was never given to a program: 1 and its id, and the path of the name in dispute;
 * 0; -errno.
 */
int merged_next(struct cache *cache, uint64_t after, uint64_t *ret_id, char ret_path[CML_PATH_MAX]);
/* Put on record what came of it, in a sentence; NULL: take that off, so that it is tried again. */
int merged_note(struct cache *cache, uint64_t id, const char *why);
/* What was left behind goes.  cache_dir: of a cache that is ours. */
void merged_clean(const char *cache_dir);

#endif
