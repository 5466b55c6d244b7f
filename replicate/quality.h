/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * quality: what the link is like, and what follows from that: the states weak and connected, the pace of what goes by
 * itself, the limits of the hour.
 *
 * What is seen of the requests that there are is measured (meter.h).  A weak link over which nothing goes would stay weak
 * for ever, so it is asked now and then, with one small request (sound()).
 *
 * Threads: the replicate thread, but for quality_may_hoard().
 */
#ifndef REPLICATE_QUALITY_H
#define REPLICATE_QUALITY_H

#include <stdatomic.h>
#include "replicate/bandwidth.h"
#include "replicate/http.h"
#include "replicate/pace.h"

#define QUALITY_SOUND_US (15 * US_PER_S)

struct replicate;

struct quality {
	struct replicate *replicate;
	/* constant after quality_init() */
	enum link_kind configured;
	uint64_t window_s;
	struct bandwidth *limits;	/* owned */
	size_t n_limits;
	/* replicate thread */
	enum link_kind kind;
	bool is_asked;			/* everything is to be sent, by somebody's word */
	uint64_t piece;			/* bytes of the next piece of a large file */
	uint64_t sounded_us;
	struct loop_timer timer;
	struct http_request sounding;
	/* any thread */
	atomic_bool may_hoard;
};

/* -ENOMEM. */
int quality_init(struct quality *quality, struct replicate *replicate, const struct replicate_config *config);
void quality_release(struct quality *quality);

/* Is it weak, by what is said of it or else measured?  *ret_why: half a sentence for people, of QUALITY_TEXT bytes. */
#define QUALITY_TEXT 160
bool quality_is_weak(const struct quality *quality, char *ret_why);
struct pace quality_pace(const struct quality *quality);

/* Somebody wants everything to be sent now; until there is nothing more, or no link. */
void quality_ask(struct quality *quality);
void quality_asked_is_done(struct quality *quality);
/* The user's word of the link, which is in the cache, or else the configuration's. */
void quality_follow_user(struct quality *quality);
/* The link is there, or it is in another state than before: go by it. */
void quality_follow(struct quality *quality);
/* It is gone. */
void quality_lost(struct quality *quality);

/* For http.h: something was measured. */
void quality_measured(struct http *http);

#endif
