/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aside: large contents that are sent ahead while their STOREs stand aside in the log (cache/cml.h, cml_take_wanted()).
 *
 *	FREE --aside_offer()--> LOOK --> STAGE --> READY --aside_taken()--> FREE
 *	  ^                       |        |         |
 *	  |  there is none        |        |         +--- it was written to since: LOOK
 *	  +-----------------------+        v
 *	                          ^      LATER	a trouble, or it does not keep still: again after a while
 *	                          +--------+
 *
 * A content that is being written does not keep still.  After ASIDE_TRIES it is READY all the same: then its STORE is taken as it
 * stands, and stage.h makes a copy.
 *
 * Threads: the replicate thread; what blocks on the disk runs on the worker.
 */
#ifndef REPLICATE_ASIDE_H
#define REPLICATE_ASIDE_H

#include "cache/cml.h"
#include "replicate/stage.h"

#define ASIDE_SLOTS 3
#define ASIDE_TRIES 3
#define ASIDE_STILL_US (5 * US_PER_S)	/* a file that was being written is looked at again */

struct replicate;

enum aside_step { ASIDE_FREE, ASIDE_LOOK, ASIDE_STAGE, ASIDE_READY, ASIDE_LATER };

struct aside_slot {
	struct aside *aside;
	enum aside_step step;
	uint64_t ino;
	uint64_t write_gen;		/* READY: what is upstream; 0: it goes whatever it is */
	unsigned busy;			/* times that it did not keep still */
	unsigned tries;			/* troubles in a row */
	uint64_t until_us;		/* LATER */
	char trouble[160];		/* why it is not sent; "": it is */
	bool is_stopped;		/* aside_stop() */
	struct cml_item *item;		/* owned; LOOK: the worker's */
	struct stage stage;
	int work_err;
	struct work work;
};

struct aside {
	struct replicate *replicate;
	void (*moved)(struct aside *aside);
	struct aside_slot slots[ASIDE_SLOTS];
	struct loop_timer timer;
};

/* moved() is called when what aside_ready() or aside_is_busy() says may be another. */
void aside_init(struct aside *aside, struct replicate *replicate, void (*moved)(struct aside *aside));
/* When it is not busy. */
void aside_release(struct aside *aside);

/* Which may go, for the next take: how many. */
size_t aside_ready(const struct aside *aside, struct cml_ready ret_ready[ASIDE_SLOTS]);
/*
 * What that take found: whose STOREs stand aside, and which of those that might go are gone.  Contents are sent as far as there
 * are slots, at most so many at a time.
 */
void aside_found(struct aside *aside, const struct cml_wants *wants, const struct cml_taken *taken, size_t most);
/* Its STORE was taken.  True: the content is upstream, if nobody has written to it since. */
bool aside_taken(struct aside *aside, uint64_t ino);

/* Is something under way, or to be tried again?  READY is not. */
bool aside_is_busy(const struct aside *aside);
/* Why one of them is not sent; NULL: nothing is wrong. */
const char *aside_trouble(const struct aside *aside);
/* Give up what is under way; moved() when it is not busy any more.  What is there already stays READY. */
void aside_stop(struct aside *aside);

#endif
