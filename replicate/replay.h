/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay: the client's log goes upstream, batch by batch (docs/PROTOCOL.md 7, cache/cml.h).
 *
 *	IDLE --a record--> GATHER --50 ms--> TAKE --> STAGE --> READ --> POST --> RETIRE --> TAKE ... IDLE
 *	                      ^               |         |        |        |
 *	                   HELD <-------- GIVE_BACK <---+--------+--------+   (IDLE when the link is gone)
 *
 *	GATHER, HELD	a timer runs: gather(), hold(); on a weak link until the oldest record is of age: ripen()
 *	TAKE		the worker takes records: take(), taken()
 *	STAGE		large contents go ahead, one after the other: stage_next()
 *	READ		the worker reads small contents, makes the body: read_batch(), batch_read()
 *	POST		the request: post(), answered()
 *	RETIRE		the worker has the cache take in the answers: retire(), retired()
 *	GIVE_BACK	the worker gives the records back: give_back(), given_back()
 *
 * The same records with the same seqs are sent until they are answered; the upstream does them
 * once.
 *
 * Threads: the replicate thread.  What blocks on the disk (records are taken and retired in
 * transactions, with their fsync; contents are read) runs on the worker, one piece at a time.
 */
#ifndef REPLICATE_REPLAY_H
#define REPLICATE_REPLAY_H

#include <stdatomic.h>
#include "replicate/batch.h"
#include "replicate/pace.h"
#include "replicate/stage.h"

#define REPLAY_GATHER_US (50 * US_PER_MS)
/*
 * Of a file that is saved anew and anew, by way of a temporary one, the log has only the last save, which is always young.
 * After so many windows in which nothing was old enough what there is goes.
 */
#define REPLAY_WINDOWS 6

struct replicate;

enum replay_step { REPLAY_IDLE, REPLAY_GATHER, REPLAY_HELD, REPLAY_TAKE, REPLAY_STAGE, REPLAY_READ,
		   REPLAY_POST, REPLAY_RETIRE, REPLAY_GIVE_BACK };

struct replay {
	struct replicate *replicate;
	/* replicate thread; what a piece of work uses is the worker's while it runs */
	bool is_started;
	const char *forbidden;		/* why nothing may be replayed at all, or NULL */
	enum replay_step step;
	bool must_stop;			/* the worker is busy with what is not wanted any more */
	bool was_woken;			/* meanwhile */
	atomic_bool wants_wake;		/* any thread: the first record from now on is news */
	unsigned tries;			/* holds in a row */
	struct pace pace;		/* of the present take */
	uint64_t young_us;		/* nothing was taken, for it is young: until it is not */
	uint64_t young_since_us;	/* so it has been for so long; 0: it is not so */
	size_t max_records;		/* less after the upstream refused a batch as a whole */
	uint64_t hold_us;		/* after giving back: hold so long; 0: do not */
	struct loop_timer timer;
	struct batch *batch;
	size_t at;			/* of the batch: being staged */
	struct stage stage;
	struct http_request request;
	struct kml_answers answers;
	int work_err;
	struct work work;
};

void replay_init(struct replay *replay, struct replicate *replicate);
/* Only when it is idle. */
void replay_release(struct replay *replay);

/* forbidden: a constant sentence why nothing is to be replayed, or NULL. */
void replay_start(struct replay *replay, const char *forbidden);
/*
 * Give up what is under way; replicate_replay_is_idle() is called when that is done, at once if
 * it is.
 */
void replay_stop(struct replay *replay);
/* The link's pace is another one: look at the log anew, unless something is under way. */
void replay_go_on(struct replay *replay);
/* A record was appended. */
void replay_wake(struct replay *replay);
/* Do not wait any longer for more records or for a back-off. */
void replay_now(struct replay *replay);

#endif
