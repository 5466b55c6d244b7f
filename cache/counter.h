/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * counter: numbers that are given out once and never again, over crashes too.
 *
 * The database knows a bound that no number given out has reached; it is moved up by many at a time, in the transaction of
 * the change that reaches it, so that few transactions write it.  After a restart counting goes on from the bound: numbers
 * are skipped, and none comes twice.
 */
#ifndef CACHE_COUNTER_H
#define CACHE_COUNTER_H

#include <stdint.h>

struct cache;
struct db;

enum counter {
	COUNTER_INO,		/* of inodes; from 2, the root's */
	COUNTER_OID,		/* of objects made here */
	COUNTER_COOKIE,		/* of names in READDIR; from 3: 1 and 2 are "." and ".." */
	COUNTER_SEQ,		/* of records in the log; from 1 */
	COUNTERS,
};

/*
 * A log that is exported from the directory of a cache (cml_export.h) gives seqs of its own to what has been written and has no
 * record: from the bound on, so many at most.  Where there is such content, counting goes on behind them.
 */
#define COUNTER_SEQS_ASIDE (1u << 20)

/* Of an empty database, in a transaction of the caller's: their first values.  0 or -errno. */
int counters_make(struct db *db);
/* 0; -EUCLEAN: one is missing or of no possible value; or another -errno. */
int counters_load(struct cache *cache);
/* The next number.  Writer, in a change. */
uint64_t counter_take(struct cache *cache, enum counter which);
/* Writer, in a change: that number has been given out, by a later state of this cache than this one. */
void counter_pass(struct cache *cache, enum counter which, uint64_t number);
/* Writer, before COMMIT: put new bounds into the database where they were reached. */
int counters_store(struct cache *cache);
/* Writer, after that COMMIT. */
void counters_committed(struct cache *cache);

#endif
