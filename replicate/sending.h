/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sending: one batch's way to the upstream and its answers' way back (docs/PROTOCOL.md 7).
 *
 *	STAGE --> READ --> READY --sending_post()--> POST --> ANSWERED --sending_retire()--> RETIRE --> RETIRED
 *	  |         |                                  |
 *	  +---------+-----------> FAILED <-------------+        any --sending_drop()--> GIVE_BACK --> OVER
 *
 *	STAGE		its large content goes ahead: stage_next()
 *	READ		the worker reads small contents, makes the body: read_batch()
 *	READY		it waits until it may be sent
 *	POST		the request: answered()
 *	ANSWERED	it waits until those before it are retired
 *	RETIRE		the worker has the cache take in the answers: run_retire()
 *	RETIRED		what was not settled is given back; the batch is gone
 *	FAILED		err and the sentence say why; the records are still taken
 *	GIVE_BACK	the worker gives the records back: run_give_back()
 *	OVER		nothing is left of it
 *
 * Threads: the replicate thread.  What blocks on the disk runs on its worker.
 */
#ifndef REPLICATE_SENDING_H
#define REPLICATE_SENDING_H

#include "replicate/batch.h"
#include "replicate/stage.h"

struct replicate;

enum sending_step { SENDING_NEW, SENDING_STAGE, SENDING_READ, SENDING_READY, SENDING_POST, SENDING_ANSWERED,
		    SENDING_RETIRE, SENDING_RETIRED, SENDING_FAILED, SENDING_GIVE_BACK, SENDING_OVER };

struct sending {
	/* the caller's */
	struct list node;
	bool was_ahead;			/* its large content was sent while the record stood aside (aside.h) */

	/* results */
	enum sending_step step;
	struct batch *batch;		/* owned, and its 'taken', until RETIRED or OVER */
	uint64_t last_seq;		/* READY: of the last record that goes */
	bool is_cut;			/* READY: its end does not go, nor may anything behind it before it is retired */
	size_t n_settled;		/* RETIRED */
	uint64_t bytes_settled;
	int retry_error;		/* RETIRED: errno why the upstream left the rest; -1: it did not say; 0: it took all */
	uint64_t position;
	bool is_dropped;		/* sending_drop() was called */
	bool is_posted;
	uint64_t after;			/* with that */
	/* FAILED; err also RETIRED: the cache could not take in the answers */
	int err;
	bool is_local;			/* it is not the upstream's, nor the link's */
	const char *what;		/* a constant, the start of a sentence for people */
	const char *trouble;		/* its end, or NULL; lives as long as this */

	/* the module's */
	struct replicate *replicate;
	void (*moved)(struct sending *sending);
	bool may_pack;			/* the upstream takes packed bodies */
	bool is_working;		/* the worker has it, or the stage's part of it */
	size_t at;			/* of the batch: being staged */
	struct stage stage;
	struct http_request request;
	struct kml_answers answers;
	int work_err;
	struct work work;
};

/*
 * moved() is called when there is another step, also before the function that leads to it returns.  taken is the caller's until
 * this gives 0.  -ENOMEM.  Any thread.
 */
int sending_new(struct replicate *replicate, struct cml_batch *taken, void (*moved)(struct sending *sending),
		struct sending **ret_sending);
/* RETIRED or OVER. */
void sending_free(struct sending *sending);

void sending_start(struct sending *sending);
/* What any stage of this link needs, but for item, done, and what kind it is. */
void sending_fill_stage(struct replicate *replicate, struct stage *stage);
/* READY.  after: the last seq of the batch that was sent before it and is not retired; 0: none. */
void sending_post(struct sending *sending, uint64_t after);
/* ANSWERED, and nothing before it is left. */
void sending_retire(struct sending *sending);
/* Posted, and not failed. */
bool sending_is_under_way(const struct sending *sending);
/* Give up, and give the records back.  It ends OVER, or RETIRED where that was under way.  Once more is fine. */
void sending_drop(struct sending *sending);

#endif
