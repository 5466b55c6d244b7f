/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cml: the client's modification log, as the replayer sees it.
 *
 * Appending happens inside cache/, in the transaction of the change itself.  Here records are taken
 * in order, sent by the caller, and retired with the upstream's answers, or given back unsent.
 *
 * A record that was taken is frozen, for it may have been sent; also over a restart.  What happens to its object
 * afterwards makes a new record; the others are folded (fold.h).
 *
 * Threads: one replayer at a time; these calls block for a transaction of the writer, never for the network.
 */
#ifndef CACHE_CML_H
#define CACHE_CML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

struct cache;

struct cml_item {
	struct kml_record record;	/* owned; of a store: content KML_NOWHERE, ranges filled in */
	uint64_t ino;
	int fd;				/* of a store with ranges: the content, to pread(); what is beyond its end is zeros; else -1 */
	uint64_t bytes;			/* of a store: sum of its ranges */
	struct kml_oid replaces;	/* of a store: the object in whose place the log puts this one later, or {0,0} */
	uint64_t write_gen;		/* the cache's */
	/* From a file, and not from a cache: fd has the ranges' bytes one after the other, from there on, and they never change. */
	bool is_packed;
	uint64_t packed_at;
};

struct cml_batch {
	size_t n;
	struct cml_item *items;		/* seq ascending */
	uint64_t next;			/* the cache's: room in items */
};

/*
 * Take the oldest records: at most max_records, and no further than the record with which the
 * content bytes pass max_bytes (the first is always taken).  *ret_batch is NULL when there are none.
 * It may be cut shorter: there is never more than one store of a file in a batch, and descriptors are limited
 * (a quarter of what the process may have).
 * What is out already (another batch, not given back) is not taken again.
 * Errors: -ENOMEM, -EIO (error state; a record that cannot be read), -ENOSPC, -EMFILE.
 */
int cml_take(struct cache *cache, size_t max_records, uint64_t max_bytes, struct cml_batch **ret_batch);

/*
 * The same, and more: a STORE that was never taken and whose content is large stands aside, and lets the others pass, until the caller says
 * that its content is upstream.  So nothing small waits for something large to be sent ahead.  cml_aside.c has the rules.
 */
struct cml_ready {
	uint64_t ino;			/* this one may go */
	uint64_t write_gen;		/* if that is its item's; 0: whatever it is */
	bool is_gone;			/* the answer: there is no STORE of it any more */
};

struct cml_wants {
	size_t max_records;
	uint64_t max_bytes;
	uint64_t min_age_s;
	uint64_t large;			/* bytes: a content of more is large; UINT64_MAX: none is */
	bool may_move;			/* records may be moved in the log: the caller's, who knows how much of that there was */
	bool has_detach;		/* the upstream knows what a DETACH is; one may come besides max_records */
	struct cml_ready *ready;
	size_t n_ready;
};

#define CML_ASIDES 8

struct cml_taken {
	struct cml_batch *batch;	/* NULL: nothing */
	uint64_t young_us;		/* as *ret_young_us */
	size_t n_aside;			/* files whose STOREs stand aside: the first ones */
	uint64_t aside[CML_ASIDES];
	size_t n_moved;			/* records that were moved */
	bool is_held;			/* more would have been, but for may_move */
	bool has_more;			/* more are to be, at once: it was enough for one transaction */
};

int cml_take_wanted(struct cache *cache, struct cml_wants *wants, struct cml_taken *ret_taken);

/*
 * The STORE of that file, never taken, with its content as it is now, to send that ahead: nothing of it is frozen.  -ENOENT: there is none;
 * -EIO, -EMFILE, -ENOMEM.
 */
int cml_aside_look(struct cache *cache, uint64_t ino, struct cml_item **ret_item);
void cml_item_free(struct cml_item *item);

/* Cut a batch in two: the items from 'at' on (0 < at < batch->n) become one of their own, that is out as well.  0 or -ENOMEM. */
int cml_split(struct cml_batch *batch, size_t at, struct cml_batch **ret_rest);

/*
 * The same, but only records that are at least so old, while later changes of their objects can still fold into them:
 * the take ends before the first younger one, for records go in their order.  *ret_young_us: with no batch, how long until that
 * one is of age; 0: there is none.
 */
int cml_take_aged(struct cache *cache, size_t max_records, uint64_t max_bytes, uint64_t min_age_s,
		  struct cml_batch **ret_batch, uint64_t *ret_young_us);

/*
 * The content of a store changed while it was read for sending?  If so: updates record's ranges,
 * size and mtime, and item->bytes, to the present state and gives true: read it again.
 */
bool cml_refresh(struct cache *cache, struct cml_item *item);

/*
 * Take in the upstream's answers and drop those records; frees the batch.  Conflicts are settled here
 * (conflict.h).  answers[i] belongs to items[i]; n_answers may be less than batch->n, the
 * rest is given back.  KML_RETRY answers count as not answered.
 */
int cml_retire(struct cache *cache, struct cml_batch *batch, const struct kml_answer *answers,
	       size_t n_answers);
/* Not sent, or nobody knows: the records stay, frozen; frees the batch. */
void cml_give_back(struct cache *cache, struct cml_batch *batch);

struct cml_totals {
	uint64_t records;		/* waiting, taken ones too */
	uint64_t bytes;			/* of content in them */
	uint64_t last_seq;		/* the highest ever given */
	uint64_t frozen_seq;		/* what is above it nobody has sent, here or from a file (cml_export.h) */
	uint64_t oldest_s;		/* age of the oldest record; 0: none */
	uint64_t conflicts;		/* settled so far and not yet looked at */
};
void cml_totals(struct cache *cache, struct cml_totals *ret);

/* fn is called (any thread, locks held: only set a flag and wake somebody) when a record is appended. */
void cml_set_wakeup(struct cache *cache, void (*fn)(void *arg), void *arg);

/* Make records for unstable data that no COMMIT followed; 0 when all of it is in the log.  For --sync. */
int cml_flush(struct cache *cache);

/* ---- what replay and status need to know of this cache ---- */

/* This machine's name, for the names of conflict copies that are made here; before the first answer.  Default: gethostname(). */
void cml_set_host(struct cache *cache, const char *host);

uint64_t cml_client_id(struct cache *cache);	/* random, not 0, made with the cache */
/* All answers up to this seq are taken in. */
uint64_t cml_acked(struct cache *cache);

/* Sticky "offline" of the user's; durable when the call returns. */
bool cml_is_offline(struct cache *cache);
int cml_set_offline(struct cache *cache, bool is_offline);

/* The same of what the user said of the link: a number that means something to the caller, 0: nothing. */
unsigned cml_link_word(struct cache *cache);
int cml_set_link_word(struct cache *cache, unsigned word);

struct cache_status {
	struct cml_totals cml;
	uint64_t position;		/* journal position reached */
	char upstream_id[40];		/* "" before the first contact */
	uint64_t inodes, objects;	/* in cache.db; content files */
	uint64_t content_bytes;		/* on disk */
	bool is_failed;			/* error state */
	char failure[256];		/* why, and what to do */
};
void cache_status(struct cache *cache, struct cache_status *ret);

#define CML_PATH_MAX 4096

struct cml_conflict {
	uint64_t id;
	int64_t when_s;
	char path[CML_PATH_MAX];	/* where ours is now, or what was not done to it */
	char what[1024];		/* one sentence, and where it is now if that is not said by path */
	char merge[256];		/* why the command that merges did not settle it (merged.h); "": none was tried */
};
/* Calls fn for each conflict on record, oldest first; after that they count as looked at.  0 or -errno. */
int cml_conflicts(struct cache *cache, void (*fn)(void *arg, const struct cml_conflict *conflict), void *arg);

/* Where a record is on its way. */
enum cml_stage {
	CML_WAITS,			/* it was never sent: later changes may still fold into it */
	CML_STANDS_ASIDE,		/* the same; its content is to be upstream before it goes, and others pass it */
	CML_IS_FIXED,			/* it may have been sent, and nobody knows whether it was carried out */
	CML_IS_OUT,			/* it is with the replay */
};

/* A record, for people. */
struct cml_entry {
	uint64_t seq;
	enum kml_op op;
	enum cml_stage stage;
	int64_t when_s;			/* since 1970 */
	uint32_t uid;			/* whose program did it */
	uint64_t bytes;			/* of content that goes with it */
	uint32_t set;			/* of a SETATTR: KML_SET_* */
	char path[CML_PATH_MAX];	/* whose name it is about, or where the object is now */
	char to[CML_PATH_MAX];		/* of a RENAME: the new name; of a SYMLINK: its text; else "" */
};

/*
 * Calls fn for at most 'most' records above seq 'after', in their order.  0, or -errno, -EUCLEAN: one does not decode.
 * Records that come or go meanwhile are seen or not.
 */
int cml_list(struct cache *cache, uint64_t after, unsigned most, void (*fn)(void *arg, const struct cml_entry *entry), void *arg);

/* For `--offline` without a daemon: marks the cache in dir.  -EBUSY: a daemon has it; -ENOENT: no cache there. */
int cml_mark_offline(const char *dir, bool is_offline, char **ret_why);

#endif
