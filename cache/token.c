/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cache/cache.h"
#include "cache/db.h"
#include "cache/writer.h"

/*
 * The table is a ring: each call takes the row of the oldest one, so that rows of one time are in one page.  Which row a token
 * may be in is found here, by a part of it: nearly every call comes once, and costs no query.
 *
 * What the table says is right.  A row may be another one than memory thinks, when its transaction was undone.
 */
struct tokens {
	struct db *db;
	int64_t next_id;		/* its row: modulo TOKENS_KEPT */
	uint32_t tags[TOKENS_KEPT];
	uint16_t first[TOKENS_KEPT];		/* by tag: row + 1, 0: none */
	uint16_t next[TOKENS_KEPT];		/* by row: the next one of that tag's list */
};

static uint32_t tag_of(const uint8_t *token)
{
	uint32_t tag;

	memcpy(&tag, token, sizeof(tag));	/* a token is a hash: any part of it is one */
	return tag;
}

static void list_in(struct tokens *tokens, uint32_t row, uint32_t tag)
{
	uint16_t *first = &tokens->first[tag % TOKENS_KEPT];

	tokens->tags[row] = tag;
	tokens->next[row] = *first;
	*first = (uint16_t)(row + 1);
}

/* No list may have it. */
static void list_out(struct tokens *tokens, uint32_t row)
{
	uint16_t *at = &tokens->first[tokens->tags[row] % TOKENS_KEPT];

	while (*at && *at != row + 1)
		at = &tokens->next[*at - 1];
	if (*at)
		*at = tokens->next[row];
}

static int load(struct tokens *tokens)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(tokens->db, &stmt, "SELECT row, id, token FROM drc WHERE row BETWEEN 0 AND ?1", "i", (int64_t)TOKENS_KEPT - 1);
	while (got > 0) {
		struct slice token = db_column(stmt, 2);

		if (token.len == CACHE_TOKEN_LEN)
			list_in(tokens, (uint32_t)sqlite3_column_int64(stmt, 0), tag_of((const uint8_t *)token.data));
		tokens->next_id = MAX(tokens->next_id, sqlite3_column_int64(stmt, 1) + 1);
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
	uint32_t tag;
	int got = 0;

	if (!change->op || !change->op->has_token)
		return 0;
	tag = tag_of(change->op->token);
	for (uint16_t at = tokens->first[tag % TOKENS_KEPT]; at && !got; at = tokens->next[at - 1]) {
		if (tokens->tags[at - 1] != tag)
			continue;
		got = db_query(tokens->db, &stmt, "SELECT ino FROM drc WHERE row = ?1 AND token = ?2", "ib",
			       (int64_t)at - 1, token_of(change));
		if (got <= 0)
			continue;
		change->op->ino = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	return got;
}

int token_store(struct tokens *tokens, struct change *change)
{
	uint32_t row = (uint32_t)(tokens->next_id % TOKENS_KEPT);
	int err;

	if (!change->op || !change->op->has_token)
		return 0;
	err = db_run(tokens->db, "INSERT OR REPLACE INTO drc (row, id, token, ino) VALUES (?1, ?2, ?3, ?4)", "iibi", (int64_t)row,
		     tokens->next_id, token_of(change), (int64_t)change->op->ino);
	if (err)
		return err;
	list_out(tokens, row);
	list_in(tokens, row, tag_of(change->op->token));
	tokens->next_id++;
	return 0;
}
