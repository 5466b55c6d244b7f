/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * journal: the history of the tree, one entry per change, positions from 1 by 1 (docs/PROTOCOL.md
 * 4).
 *
 * Entries are written inside the tree's transaction and seen by nobody before it is committed.
 */
#ifndef HTTPD_JOURNAL_H
#define HTTPD_JOURNAL_H

#include "base/buf.h"
#include "httpd/tree.h"

#define JOURNAL_MAX 10000		/* entries in one answer */
#define JOURNAL_BYTES (16u << 20)	/* of entries in one answer, about */
#define JOURNAL_KEPT 1000000		/* entries; older ones are forgotten */

/* The position that the next entry will have: the version of what it changes. */
static inline uint64_t journal_next(const struct tree *tree)
{
	return tree->position + 1;
}

/*
 * Add an entry; the objects (rows, up to KML_AFTER_MAX, 0 is skipped, so is a repeated one) are as
 * the entry leaves them in the tables.  A store's content is left out.  client 0: a local program;
 * its record's seq is 0.
 */
int journal_append(struct tree *tree, uint64_t client, const struct kml_record *record,
		   const int64_t *objects, size_t n);

/*
 * Frames of the entries above from, at most max, without the ending frame.  *ret_last: the last
 * one's position, or from.
 */
int journal_read(struct sql *sql, uint64_t from, unsigned max, struct buf *buf, uint64_t *ret_last);
/* The entry's mark: 1, 0: it is not there (any more), -errno. */
int journal_mark(struct sql *sql, uint64_t position, struct kml_mark *ret_mark);
/* Forget what is older than JOURNAL_KEPT entries; in a transaction of its own, under the lock. */
int journal_prune(struct tree *tree, uint64_t keep);

#endif
