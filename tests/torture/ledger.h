/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ledger: every content that anybody wrote into the part that all change, and what has become of it as far as those know who did
 * something to it.
 *
 * A content fills its file with copies of one block, which has its number and its length: so a file says by itself whose it
 * is, and whether it is whole, half there, or a mixture.
 *
 * THE RULE.  A content whose writer was told that it is written (ledger_acknowledged()) must be found in the end: in some file of the
 * tree, under whatever name, conflict copies included, or in what --kept lists; unless somebody who had seen this content, no
 * older one, in the file that he wrote to, removed or renamed another over, did so (ledger_superseded()).  Who had seen an
 * older one has not superseded it, be he first or last: that is a conflict, and both stay.
 *   A change that may or may not have been done, for it was not answered, counts as done for what it supersedes, and not as
 * done for what it writes.
 *   And every file is one content, whole, that somebody has written.
 */
#ifndef TESTS_TORTURE_LEDGER_H
#define TESTS_TORTURE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>

#define LEDGER_BLOCK 32
#define LEDGER_NONE 0		/* no content */

/* A new content of so many blocks by that client; its number. */
unsigned ledger_new(int by, unsigned blocks);
size_t ledger_size(unsigned content);
/* The bytes: ledger_size() of them, to be freed. */
char *ledger_bytes(unsigned content);
int ledger_writer(unsigned content);

void ledger_acknowledged(unsigned content);
/* by: who, for the trace.  LEDGER_NONE: nothing happens. */
void ledger_superseded(unsigned content, int by, const char *how);
/* It is at that path, too, from now on: written there, linked or renamed to it. */
void ledger_placed(unsigned content, const char *path);
/*
 * Somebody has removed what was at that path, or renamed another over it, and cannot be sure what that was: whatever others have brought
 * there last.
 */
void ledger_superseded_at(const char *path, int by, const char *how);

/*
 * What the first bytes of a file say: a content, or LEDGER_NONE for an empty file.  Rubbish ends the program; where says what it was.
 * ledger_is_piece(): whether these are the first bytes of it.
 */
unsigned ledger_read(const void *bytes, size_t len, const char *where);
bool ledger_is_piece(unsigned content, const void *bytes, size_t len);

/* In the end: that one is found, whole. */
void ledger_found(unsigned content);
/* Those that should have been found and were not, told by trace_found(); their number. */
unsigned ledger_missing(void);
/* For another look. */
void ledger_forget_found(void);

#endif
