/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * link: the states of the link and what leads from one to the next, as a table without side
 * effects.
 *
 * docs/ARCHITECTURE.md "The link" has the diagram.  replicate.c does what the table says.
 */
#ifndef REPLICATE_LINK_H
#define REPLICATE_LINK_H

#include <stdint.h>
#include "base/clock.h"
#include "replicate/replicate.h"

#define LINK_STATES (LINK_CONNECTED + 1)

enum link_event {
	LINK_USER_OFFLINE, /* --offline, or marked so at the start */
	LINK_USER_ONLINE,  /* --online */
	LINK_KICK,	   /* --sync: now, please */
	LINK_TIMER,	   /* the back-off is over */
	LINK_ACCEPTED,	   /* a probe found our upstream */
	LINK_ACCEPTED_WEAK, /* the same, over a link that is weak as far as is known */
	LINK_FAILED,	   /* a probe found nobody, or somebody in trouble */
	LINK_REFUSED, /* somebody answers, but must not be talked to: not an izo-httpd, not our tree
		       */
	LINK_LOST,    /* a request failed in a way that says: there is nobody */
	LINK_SLOW,    /* it is measured, or said, to be weak now */
	LINK_FAST,    /* the reverse */
	LINK_EVENTS
};

/* What to do on the way; in this order. */
enum link_action {
	LINK_DO_ABORT = 1 << 0,	    /* give up what is under way, tell the cache */
	LINK_DO_PROBE = 1 << 1,	    /* ask for the upstream's identity, unless that is under way */
	LINK_DO_WAIT = 1 << 2,	    /* probe after a back-off */
	LINK_DO_WAIT_LONG = 1 << 3, /* the same, and soon would be no use */
	LINK_DO_START = 1 << 4,	    /* pull, fetch, replay */
	LINK_DO_REPLAY = 1 << 5,    /* replay without waiting */
	LINK_DO_PACE = 1 << 6	    /* go on at the new state's pace (pace.h) */
};

struct link_step {
	enum link_state state;
	unsigned actions;	/* enum link_action */
};

struct link_step link_next(enum link_state state, enum link_event event);

const char *link_event_name(enum link_event event);

#define LINK_BACKOFF_MIN_US (1 * US_PER_S)
#define LINK_BACKOFF_MAX_US (60 * US_PER_S)
/*
 * A link that held so long, or that was of use, was a good one: the next back-off begins from the
 * shortest.
 */
#define LINK_STEADY_US (10 * US_PER_S)
/* Tries to begin with where only a person can mend it. */
#define LINK_TRIES_LONG 4

/*
 * How long to wait after 'tries' failures (0: the first), between the bounds above.  random: any
 * number; half of the time is left to it, so that many clients of an upstream that was away do
 * not all come at once.
 */
uint64_t link_backoff_us(unsigned tries, uint32_t random);

#endif
