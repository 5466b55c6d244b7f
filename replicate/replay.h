/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay: the client's log goes upstream, in batches of which several are on their way (docs/PROTOCOL.md 7, cache/cml.h).
 *
 *	IDLE --a record--> GATHER --50 ms--> RUN --nothing left--> IDLE
 *	                                     | ^
 *	                 a trouble, the link |  \--back-off-- HELD
 *	                     is lost, a stop v                  ^
 *	                                    END ----------------+   (IDLE when the link is gone)
 *
 *	GATHER, HELD	a timer runs: gather(), hold(); on a weak link until the oldest record is of age: ripen()
 *	RUN		batches are taken, each goes its way (sending.h), their answers are retired: advance(); large contents
 *			are sent ahead of their records (aside.h), in GATHER too
 *	END		all that is out is given up, and given back: end(), end_when_quiet()
 *
 * What holds while batches are out, oldest first in 'sendings':
 * (1) They are taken, posted and retired in their order.
 * (2) One is posted behind others that are not retired only to an upstream that lets it wait for these; then it names the last
 *     record of the one before.
 * (3) One that failed, or whose end does not go, has nothing behind it: that is given back at once, and nothing is
 *     taken before all of it is.
 * (4) What is to be done about one that failed is decided when all before it are retired.
 * So the same records with the same seqs are sent, in order, until they are answered; the upstream does them once.
 *
 * Threads: the replicate thread.  What blocks on the disk (records are taken and retired in
 * transactions, with their fsync; contents are read) runs on the worker, one piece at a time.
 */
#ifndef REPLICATE_REPLAY_H
#define REPLICATE_REPLAY_H

#include <stdatomic.h>
#include "replicate/aside.h"
#include "replicate/pace.h"
#include "replicate/sending.h"

#define REPLAY_GATHER_US (50 * US_PER_MS)
/*
 * Of a file that is saved anew and anew, by way of a temporary one, the log has only the last save, which is always young.
 * After so many windows in which nothing was old enough what there is goes.
 */
#define REPLAY_WINDOWS 6
#define REPLAY_BATCHES 6	/* out at a time */
#define REPLAY_BYTES (1u << 20)	/* of content, in one batch; but for its last record */
#define REPLAY_RECORDS 1024	/* in one batch: so that work on it overlaps with that on others */
/*
 * A record that stands aside is moved in the log, some 50 us of the writer's.  Of very many all are, each time that there is something
 * behind them: then it is some twentieth of the time.
 */
#define REPLAY_MOVE_REST_US 1000

enum replay_step { REPLAY_IDLE, REPLAY_GATHER, REPLAY_HELD, REPLAY_RUN, REPLAY_END };

struct replay {
	struct replicate *replicate;
	/* replicate thread */
	bool is_started;
	const char *forbidden;		/* why nothing may be replayed at all, or NULL */
	enum replay_step step;
	bool was_woken;			/* since records were last taken */
	bool is_dry;			/* there were none to be taken, the last time, and nothing is another since that began */
	atomic_bool wants_wake;		/* any thread: the first record from now on is news */
	unsigned tries;			/* holds in a row */
	struct pace pace;		/* of the last take */
	uint64_t young_us;		/* nothing was taken, for it is young: until it is not */
	uint64_t looked_us;		/* when that take began */
	uint64_t young_since_us;	/* so it has been for so long; 0: it is not so */
	size_t max_records;		/* less after the upstream refused a batch as a whole */
	struct stage_losses losses;
	uint64_t hold_us;		/* after END: hold so long; 0: do not */
	struct loop_timer timer;
	struct list sendings;
	size_t n_sendings;
	bool is_deferred;		/* advance() is about to be run */
	struct loop_job job;
	struct aside aside;
	size_t n_moved;			/* records, since it rested for them */
	uint64_t move_us;		/* none is moved before that */
	/* taking; the worker's while is_taking */
	bool is_taking;
	struct cml_wants wants;
	struct cml_ready ready[ASIDE_SLOTS];
	struct cml_taken took;
	int take_err;
	struct list taken;		/* sendings */
	struct work take_work;
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
