/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apply: what came from upstream goes into the cache here.
 *
 * What this client has changed and not yet replayed is never touched: such names and objects are
 * skipped and marked stale, and are asked for again once their records are retired (apply_next_stale()).
 *
 * Threads: the replicate thread.  Calls block for a transaction of the writer, never for the network.
 */
#ifndef CACHE_APPLY_H
#define CACHE_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

struct cache;

/*
 * Tie the cache to its upstream at first contact, or check that it is the same one.
 * root: the upstream's root object, KML_ROOT; of no account after the first contact.  -EXDEV: this cache belongs to another upstream.
 * -ESTALE: position_there is below the position reached here, so the upstream was put back to an older state.
 */
int apply_upstream(struct cache *cache, const char *upstream_id, uint64_t position_there,
		   const struct kml_object *root);

/* Has it been tied to one?  Then apply_upstream() needs no root. */
bool apply_has_upstream(struct cache *cache);
/* Its identity, "" before the first contact, and apply_position(). */
void apply_known(struct cache *cache, char ret_id[40], uint64_t *ret_position);

/* Does the upstream's file system have access control lists (its hello says it)?  Kept for when there is no link. */
int apply_has_acls(struct cache *cache, bool has_acls);

/* The journal position up to which everything has been taken in. */
uint64_t apply_position(struct cache *cache);

/*
 * The mark of the journal's entry at the position that is reached, or of one before it: position 0, when none is known.  By it an
 * upstream is recognised that was put back and has since gone on past that position.
 */
void apply_mark(struct cache *cache, struct kml_mark *ret_mark);
/* Said before the call that reaches this position, which then keeps it. */
void apply_next_mark(struct cache *cache, const struct kml_mark *mark);

/* Are the names in every directory here? */
bool apply_tree_is_listed(struct cache *cache);

/*
 * Take in journal entries, ascending, all in one transaction with the new position.
 * Entries of this very client are skipped.  position: reached after them (>= the last entry's).
 */
int apply_entries(struct cache *cache, const struct kml_entry *entries, size_t n, uint64_t position);
/* The journal no longer reaches back: mark everything listed as stale, then go on from position. */
int apply_reset(struct cache *cache, uint64_t position);

/*
 * A listing arrives.  begin, then entries (any number of calls, parents before children), then end.
 * It may be of one directory or of a whole subtree: is_deep.  position: of the upstream when it was made.
 * end: err 0 when complete: names that were not in it vanish (unless this client has them in its
 * log, or what they stand for may have moved: then the directory is asked for again); -errno: a directory that was
 * not listed is not, one that was stale is still, whoever waits gets -EIO.  Frees the listing.
 * -EAGAIN from end: it was older than what has been pulled meanwhile; ask again (whoever waits goes on waiting).
 * ino: as in fetcher->list(), or of the root for a deep one.
 */
struct apply_listing;
int apply_listing_begin(struct cache *cache, uint64_t ino, uint64_t position, bool is_deep,
			struct apply_listing **ret_listing);
int apply_listing_add(struct apply_listing *listing, const struct kml_listed *entries, size_t n);
int apply_listing_end(struct apply_listing *listing, int err);
/* Answer a fetcher->list() wish that never got as far as begin. */
void apply_listing_failed(struct cache *cache, uint64_t ino, int err);

/*
 * Bytes of a data version arrived.  -ESTALE: the cache wants another version by now; stop.
 * -ENOSPC: no room; stop.
 */
int apply_content(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		  const void *data, size_t len);
/*
 * The wish of fetcher->data() or ahead() is over; err 0: all its bytes were given, or, of ahead(), it is left to who needs them
 * to ask for them.
 */
void apply_content_end(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset, int err);

/* A whole content of a data version; err: what apply_content() would give for it. */
struct apply_whole {
	uint64_t ino, version;
	const void *data;
	size_t len;
	int err;
};
/* Take in many of them, with one transaction for all that need one.  Their wishes are not over yet. */
void apply_contents(struct cache *cache, struct apply_whole *contents, size_t n);

/*
 * An object's state (answer to apply_next_stale()); NULL object: it is gone there.  position: of the upstream when it was like
 * that; 0: it does not say.
 */
int apply_object(struct cache *cache, const struct kml_oid *oid, const struct kml_object *object, uint64_t position);
/*
 * Something to be asked for again, if any: true and its oid; *ret_is_dir: list it (apply_listing_*,
 * with *ret_ino), else get the object (apply_object).  Each is given out once until answered.
 */
bool apply_next_stale(struct cache *cache, uint64_t *ret_ino, struct kml_oid *ret_oid, bool *ret_is_dir);

#endif
