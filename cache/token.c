/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/token.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "cache/cache.h"
#include "cache/db.h"
#include "cache/writer.h"

#define AGE_TOKENS 4096		/* stored before a new age begins */
#define AGES 8			/* that many of them are kept, the last one included */
#define FILTER_BITS (1u << 18)

/*
 * Nearly every call comes once.  A Bloom filter for each age says of those that they are not in the table, which saves a query;
 * of one in a hundred it does not know (of more in the first age, whose filter has all that a start finds).
 */
struct filter {
	uint64_t bits[FILTER_BITS / 64];
};

struct tokens {
	struct db *db;
	struct filter filters[AGES];
	int64_t ended[AGES];		/* seconds since 1970; 0: it has not */
	unsigned age, n_stored;		/* the present one, and how many came in it */
};

static void filter_bits(const uint8_t *token, uint32_t ret_bits[2])
{
	memcpy(ret_bits, token, 2 * sizeof(*ret_bits));	/* a token is a hash: any part of it is one */
	ret_bits[0] %= FILTER_BITS;
	ret_bits[1] %= FILTER_BITS;
}

static void filter_add(struct filter *filter, const uint8_t *token)
{
	uint32_t bits[2];

	filter_bits(token, bits);
	for (int i = 0; i < 2; i++)
		filter->bits[bits[i] / 64] |= 1ull << bits[i] % 64;
}

static bool may_be_there(const struct tokens *tokens, const uint8_t *token)
{
	uint32_t bits[2];

	filter_bits(token, bits);
	for (int i = 0; i < AGES; i++) {
		const uint64_t *words = tokens->filters[i].bits;

		if (words[bits[0] / 64] >> bits[0] % 64 & words[bits[1] / 64] >> bits[1] % 64 & 1)
			return true;
	}
	return false;
}

static int load(struct tokens *tokens)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(tokens->db, &stmt, "SELECT token FROM drc", "");
	while (got > 0) {
		struct slice token = db_column(stmt, 0);

		if (token.len == CACHE_TOKEN_LEN)
			filter_add(&tokens->filters[0], token.data);
		got = db_next(stmt);
	}
	return got;
}

struct tokens *tokens_new(struct db *db, int *ret_err)
{
	struct tokens *tokens = calloc(1, sizeof(*tokens));

	*ret_err = -ENOMEM;
	if (!tokens)
		return NULL;
	tokens->db = db;
	*ret_err = load(tokens);
	if (!*ret_err)
		return tokens;
	free(tokens);
	return NULL;
}

void tokens_free(struct tokens *tokens)
{
	free(tokens);
}

static struct slice token_of(const struct change *change)
{
	return (struct slice){ change->op->token, CACHE_TOKEN_LEN };
}

int token_find(struct tokens *tokens, struct change *change)
{
	sqlite3_stmt *stmt;
	int got;

	if (!change->op || !change->op->has_token || !may_be_there(tokens, change->op->token))
		return 0;
	got = db_query(tokens->db, &stmt, "SELECT ino FROM drc WHERE token = ?1", "b", token_of(change));
	if (got > 0) {
		change->op->ino = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	return got;
}

int token_store(struct tokens *tokens, struct change *change)
{
	unsigned next = (tokens->age + 1) % AGES;
	int64_t now_s = clock_wall().tv_sec;
	int err;

	if (!change->op || !change->op->has_token)
		return 0;
	err = db_run(tokens->db, "INSERT OR REPLACE INTO drc (token, ino, at) VALUES (?1, ?2, ?3)", "bii", token_of(change),
		     (int64_t)change->op->ino, now_s);
	if (err)
		return err;
	filter_add(&tokens->filters[tokens->age], change->op->token);
	if (++tokens->n_stored < AGE_TOKENS)
		return 0;
	/* A new age, in the place of the oldest one, which is forgotten. */
	if (tokens->ended[next])
		err = db_run(tokens->db, "DELETE FROM drc WHERE at < ?1", "i", tokens->ended[next]);
	memset(&tokens->filters[next], 0, sizeof(tokens->filters[next]));
	tokens->ended[tokens->age] = now_s;
	tokens->age = next;
	tokens->n_stored = 0;
	return err;
}
