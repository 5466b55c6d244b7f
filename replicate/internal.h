/* SPDX-License-Identifier: GPL-2.0-or-later */
/* internal: one link's parts, and what they ask of replicate.c. */
#ifndef REPLICATE_INTERNAL_H
#define REPLICATE_INTERNAL_H

#include <pthread.h>
#include "base/worker.h"
#include "replicate/background.h"
#include "replicate/fetch.h"
#include "replicate/hello.h"
#include "replicate/http.h"
#include "replicate/link.h"
#include "replicate/pull.h"
#include "replicate/quality.h"
#include "replicate/replay.h"
#include "replicate/replicate.h"
#include "rpcgen/kml_codec.h"

/* The root's number in every cache (docs/DISK-FORMAT.md). */
#define ROOT_INO 2

/* What other threads ask of this one; bits. */
enum replicate_command {
	COMMAND_FOLLOW	= 1 << 0,	/* the user's word, which is in the cache */
	COMMAND_KICK	= 1 << 1,
	COMMAND_WAKE	= 1 << 2,	/* a record was appended */
	COMMAND_STOP	= 1 << 3,
	COMMAND_ASK	= 1 << 4,	/* with one of the first two: by somebody who wants everything sent now */
	COMMAND_KIND	= 1 << 5	/* what the user says of the link */
};

struct replicate {
	/* constant */
	struct cache *cache;
	uint64_t client;
	char host[KML_HOST_MAX + 1];
	struct loop *loop;
	struct worker *worker;
	pthread_t thread;

	/* replicate thread */
	struct http http;
	struct probe probe;
	struct loop_timer probe_timer;
	enum link_state state;
	unsigned tries; /* probes that failed, or links that did not hold, in a row */
	uint64_t connected_us;
	bool was_useful; /* this link: records were acknowledged, or the journal came */
	bool is_stopping;
	bool was_accepted;		/* once since start */
	bool was_relisted;		/* since start, for a log that must not be replayed */
	struct pull pull;
	struct fetch fetch;
	struct background background;
	struct replay replay;
	struct quality quality;

	pthread_mutex_t lock;
	/* under lock */
	struct replicate_status status;
	uint64_t since_us, probe_at_us;
	unsigned commands;
	bool is_command_posted;
	struct loop_job command_job;
};

/* Something happened to the link; why: half a sentence for people, or NULL. */
void replicate_event(struct replicate *r, enum link_event event, const char *why);
/* A request of that error: loses the link when that is what it means; true then. */
bool replicate_lost_by(struct replicate *r, int err, const char *why);
/* Ask the upstream who it is and where it stands. */
void replicate_probe(struct replicate *r);
/* Why the log does not drain though there is a link; NULL: nothing holds it. */
void replicate_hold(struct replicate *r, const char *why);
/* Why it waits by intention; NULL: it does not. */
void replicate_note_waits(struct replicate *r, const char *why);
/* What the meter says, and the limits that hold now. */
void replicate_note_meter(struct replicate *r);
void replicate_note_limits(struct replicate *r, uint64_t up, uint64_t down);
/* The pace is another one: look at everything that waited because of it. */
void replicate_go_on(struct replicate *r);
void replicate_note_position(struct replicate *r, uint64_t position);
void replicate_note_replay(struct replicate *r, bool is_replaying, uint64_t records,
			   uint64_t bytes);
void replicate_note_fetched(struct replicate *r, uint64_t bytes);
/* The replayer has nothing under way. */
void replicate_replay_is_idle(struct replicate *r);
/* A number for back-offs. */
uint32_t replicate_random(void);

#endif
