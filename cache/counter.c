/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/counter.h"

#include <errno.h>
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/meta.h"

#define AHEAD 4096
#define NUMBER_MAX (1ull << 62)

static const struct {
	const char *key;
	uint64_t first;
} counters[COUNTERS] = {
	[COUNTER_INO] = { "next_ino", 3 },
	[COUNTER_OID] = { "next_oid", 1 },
	[COUNTER_COOKIE] = { "next_cookie", 3 },
	[COUNTER_SEQ] = { "next_seq", 1 },
};

int counters_make(struct db *db)
{
	int err = 0;

	for (unsigned i = 0; i < COUNTERS && !err; i++)
		err = meta_put_int(db, counters[i].key, (int64_t)counters[i].first);
	return err;
}

/* Is there content that no record speaks of? */
static int has_unlogged(struct db *db)
{
	sqlite3_stmt *stmt;
	int got = db_query(db, &stmt, "SELECT 1 FROM inode WHERE is_dirty <> 0 LIMIT 1", "");

	if (got > 0)
		db_done(stmt);
	return got;
}

int counters_load(struct cache *cache)
{
	int has_aside = has_unlogged(cache->write_db);

	if (has_aside < 0)
		return has_aside;
	for (unsigned i = 0; i < COUNTERS; i++) {
		int64_t value = 0;
		int got = meta_get_int(cache->write_db, counters[i].key, &value);

		if (got < 0)
			return got;
		if (!got || value < (int64_t)counters[i].first)
			return -EUCLEAN;
		cache->counters[i] = (struct counter_state){ .next = value, .bound = value };
	}
	if (has_aside)
		cache->counters[COUNTER_SEQ].next += COUNTER_SEQS_ASIDE;
	return 0;
}

uint64_t counter_take(struct cache *cache, enum counter which)
{
	return cache->counters[which].next++;
}

void counter_pass(struct cache *cache, enum counter which, uint64_t number)
{
	struct counter_state *state = &cache->counters[which];

	/* An upstream may say anything; no cache has given out so many. */
	if (number < NUMBER_MAX && number >= state->next)
		state->next = number + 1;
}

int counters_store(struct cache *cache)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		const struct counter_state *state = &cache->counters[i];
		int err;

		if (state->next <= state->bound)
			continue;
		err = meta_put_int(cache->write_db, counters[i].key, (int64_t)(state->next + AHEAD));
		if (err)
			return err;
	}
	return 0;
}

void counters_committed(struct cache *cache)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		struct counter_state *state = &cache->counters[i];

		if (state->next > state->bound)
			state->bound = state->next + AHEAD;
	}
}
