/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adopt: the cache goes on with another upstream, or with another state of its own, because the user said so.
 *
 * What is known of the old one, oids, versions, positions, what was acknowledged, means nothing there, so all of it is compared by
 * names with a listing of the whole tree as it is now:
 *
 *	clean, and there by that name	it is that object from now on; whole content that has its size and mtime stays, other content is
 *					stale, and kept (below) where it is whole
 *	clean, and not there		it goes; whole content, which may be the only copy, is kept
 *	changed or made here		it is sent as a new object under its name: where that is taken, the upstream puts it beside
 *	removals, renames, links, attributes that waited	not done where that would make a difference: each is a conflict on record
 *
 * Kept is what kept.h lists: one directory with all of it, by path.  Nothing that is in the cache is lost.  The cache has another
 * client id from then on: what was sent under the old one, and by whom, does not matter any more.
 *
 * All in one transaction of cache_open(), before anything has been read from the database: handles and what programs have open live
 * on as over a restart.  An error, or a crash, leaves the cache as it was.
 */
#ifndef CACHE_ADOPT_H
#define CACHE_ADOPT_H

struct cache;
struct cache_adopt;

/* The write connection is open, no thread runs.  0; -EBADMSG: the listing is none; -errno. */
int adopt_upstream(struct cache *cache, const struct cache_adopt *given);

#endif
