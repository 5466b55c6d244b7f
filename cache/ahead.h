/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ahead: small files that are likely to be read next are asked for before anybody reads them.
 *
 * Who reads the second absent file of a directory is likely to read the others: they are asked for in the order of the
 * directory's listing, from the one that was read on, and then from the start.  Who goes on to another directory beside, in, or
 * above the one where he was, walks through the tree, as "grep -r" does: then the directories that come next in its walk are asked
 * for too.
 *
 *	nothing --first read--> one file --second read in the directory--> its directory --read in the next one--> a walk
 *	                                     note_read()                      fill()             follow()          next_dir()
 *
 * At most a window of bytes is asked for and not read.  It doubles each time that half of it has been read, and halves, or
 * begins anew, where what is read had not been asked for; what was asked for and stays unread is the most that a wrong
 * guess costs.  Nothing is asked for where something would have to be evicted for it, or where the fetcher says no.
 *
 * Threads: one of its own, which reads cache.db on a connection of its own; ahead_note_read() from any.
 */
#ifndef CACHE_AHEAD_H
#define CACHE_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#define AHEAD_SMALL (128ull << 10)	/* larger files are no matter of this */
#define AHEAD_MIN (256ull << 10)	/* the first window */
#define AHEAD_MAX (8ull << 20)

struct cache;
struct inode;

int ahead_start(struct cache *cache, const char *db_path);
void ahead_stop(struct cache *cache);

/* The content of this one is read; is_miss: it is not here and had not been asked for.  Under cache->lock (and park's). */
void ahead_note_read(struct cache *cache, struct inode *inode, bool is_miss);
/* All that was noted has been looked at. */
bool ahead_is_idle(struct cache *cache);

#endif
