/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * token: which calls were carried out, over restarts: the duplicate request cache's part that is on the disk (table drc).
 *
 * A change that was asked for by a call that is not idempotent stores the call's token, and what it gave, in its own
 * transaction.  Sent again after a crash the call gets that result and is not carried out once more.
 *
 * Threads: the writer.
 */
#ifndef CACHE_TOKEN_H
#define CACHE_TOKEN_H

#define TOKENS_KEPT 32768	/* the last calls; docs/DISK-FORMAT.md */

struct change;
struct db;
struct tokens;

/* NULL: *ret_err. */
struct tokens *tokens_new(struct db *db, int *ret_err);
void tokens_free(struct tokens *tokens);	/* NULL is fine */

/* 1: the change's call was carried out before, and op->ino is what it gave; 0: it was not; -errno.  Takes no room on the disk. */
int token_find(struct tokens *tokens, struct change *change);
/* It is carried out now: into the open transaction. */
int token_store(struct tokens *tokens, struct change *change);

#endif
