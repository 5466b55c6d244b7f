/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/checkpoint.h"

#include <errno.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/db.h"
#include "cache/internal.h"

struct checkpoint {
	pthread_t thread;
	struct db *db;			/* the thread's */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	bool is_wanted, is_stopping;
	uint64_t done;			/* pages of the log that the last one has moved */
};

static void *checkpoint_run(void *arg)
{
	struct checkpoint *checkpoint = arg;
	struct log_gate gate = { 0 };
	unsigned held;

	pthread_mutex_lock(&checkpoint->lock);
	while (!checkpoint->is_stopping) {
		int rc, done = 0, all = 0;

		if (!checkpoint->is_wanted) {
			cond_wait(&checkpoint->wake, &checkpoint->lock, CLOCK_NEVER);
			continue;
		}
		checkpoint->is_wanted = false;
		pthread_mutex_unlock(&checkpoint->lock);
		rc = sqlite3_wal_checkpoint_v2(db_handle(checkpoint->db), "main",
					       SQLITE_CHECKPOINT_PASSIVE, &all, &done);
		/* Nothing is lost when it fails: the log keeps what it has, and grows. */
		if (rc != SQLITE_OK && rc != SQLITE_BUSY && log_gate_open(&gate, 60, &held))
			log_warn(
				"cache: the database's log cannot be moved into it, trying again"
				" later: %s",
				db_message(checkpoint->db));
		log_debug(LOG_CACHE, "checkpoint: pages=%d of=%d", done, all);
		pthread_mutex_lock(&checkpoint->lock);
		checkpoint->done = rc == SQLITE_OK ? (uint64_t)done : 0;
	}
	pthread_mutex_unlock(&checkpoint->lock);
	return NULL;
}

int checkpoint_start(struct cache *cache, const char *db_path)
{
	struct checkpoint *checkpoint;
	int err;

	checkpoint = calloc(1, sizeof(*checkpoint));
	if (!checkpoint)
		return -ENOMEM;
	err = db_open(db_path, DB_CHECKPOINTER, false, &checkpoint->db);
	if (err)
		goto no_db;
	/*
	 * Its commits are none, but it must sync the log before the database takes from it, and the
	 * database after.
	 */
	err = db_exec(checkpoint->db,
		      cache->no_sync ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = NORMAL");
	if (err)
		goto no_cond;
	err = cond_init(&checkpoint->wake);
	if (err)
		goto no_cond;
	(void)pthread_mutex_init(&checkpoint->lock, NULL); /* cannot fail with default attributes */
	err = thread_start(&checkpoint->thread, "izo-checkpoint", checkpoint_run, checkpoint);
	if (err)
		goto no_thread;
	cache->checkpoint = checkpoint;
	return 0;

no_thread:
	pthread_mutex_destroy(&checkpoint->lock);
	pthread_cond_destroy(&checkpoint->wake);
no_cond:
	db_close(checkpoint->db);
no_db:
	free(checkpoint);
	return err;
}

void checkpoint_stop(struct cache *cache)
{
	struct checkpoint *checkpoint = cache->checkpoint;

	if (!checkpoint)
		return;
	thread_stop(checkpoint->thread, &checkpoint->lock, &checkpoint->wake, &checkpoint->is_stopping);
	pthread_mutex_destroy(&checkpoint->lock);
	pthread_cond_destroy(&checkpoint->wake);
	db_close(checkpoint->db);
	free(checkpoint);
	cache->checkpoint = NULL;
}

void checkpoint_poke(struct cache *cache, uint64_t pages, uint64_t page_size)
{
	struct checkpoint *checkpoint = cache->checkpoint;

	if (!checkpoint || pages * page_size < CHECKPOINT_BYTES)
		return;
	pthread_mutex_lock(&checkpoint->lock);
	/*
	 * Under steady writing the log does not begin anew, and is always long: it is what is new in it that
	 * is worth the syncs.
	 */
	if (pages < checkpoint->done)
		checkpoint->done = 0;
	if ((pages - checkpoint->done) * page_size >= CHECKPOINT_BYTES && !checkpoint->is_wanted) {
		checkpoint->is_wanted = true;
		pthread_cond_signal(&checkpoint->wake);
	}
	pthread_mutex_unlock(&checkpoint->lock);
}
