/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fetch: what the cache wishes from upstream (cache/fetcher.h), several wishes at once.
 *
 * Wishes come from any thread into queues, one for each class; the replicate thread serves them, FETCH_SLOTS requests at a
 * time: of a class in the order in which they came, and of a class that can wait only while so many slots are free that
 * one that cannot never has to (slots_for[] in fetch.c).  Small files that nobody waits for yet go many in one request.
 * Each wish is answered once: by what comes, or with -EIO when the link goes or the program ends.
 */
#ifndef REPLICATE_FETCH_H
#define REPLICATE_FETCH_H

#include <pthread.h>
#include <stdatomic.h>
#include "cache/fetcher.h"
#include "replicate/content.h"
#include "replicate/contents.h"
#include "replicate/listing.h"

#define FETCH_SLOTS 12

struct replicate;
struct wish;

enum fetch_kind { FETCH_NOTHING, FETCH_LISTING, FETCH_CONTENT, FETCH_CONTENTS };

struct fetch_slot {
	struct fetch *fetch;
	enum fetch_kind kind;		/* what goes on; FETCH_NOTHING: the slot is free */
	struct wish *wishes[CONTENTS_MOST];	/* owned */
	size_t n;			/* 1, but of FETCH_CONTENTS */
	unsigned tries;			/* of a listing that was overtaken */
	struct loop_timer again;
	struct listing listing;
	struct content content;
	struct contents contents;
};

struct fetch {
	struct replicate *replicate;
	atomic_bool takes_wishes;	/* there is a link, or the first try to get one has not ended */
	/* replicate thread */
	bool has_link;
	bool has_contents;		/* this upstream knows requests for many files */
	struct list waiting[FETCH_CLASSES];	/* struct wish */
	struct fetch_slot slots[FETCH_SLOTS];

	pthread_mutex_t
		lock; /* held for moments, with nothing else taken under it but the loop's */
	/* under lock */
	struct list come;		/* struct wish, not seen by the thread yet */
	bool is_job_posted;
	struct loop_job job;
};

/* Plugs itself into the cache; no wish is accepted before fetch_expect() or fetch_start(). */
void fetch_init(struct fetch *fetch, struct replicate *replicate);
/* No more wishes may come (no thread, no operations).  Answers those that are left. */
void fetch_release(struct fetch *fetch);

/*
 * A link is being tried for the first time since the program started, or since the user wants one: wishes wait for
 * how it ends, so that a mount at boot does not begin with errors.  Ends with fetch_start() or fetch_stop().
 */
void fetch_expect(struct fetch *fetch);
void fetch_start(struct fetch *fetch);
/* Answers everything with -EIO. */
void fetch_stop(struct fetch *fetch);

#endif
