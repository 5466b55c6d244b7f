/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fh: file handles.
 *
 *	byte 0		FH_FORMAT
 *	1..3		zero
 *	4..7		tree, big-endian: cache_tree_id()
 *	8..15		ino, big-endian
 *	16..31		BLAKE2s-128 over bytes 0..15, keyed with cache_handle_key()
 *
 * Nothing volatile is in a handle, and inos are never used again, so it names its object for as long as
 * the cache lives: over rename, restart and remount.  Who holds a handle passes by the directories above the
 * object, hence the MAC: a handle that this server did not give out is refused.
 */
#ifndef NFSD_FH_H
#define NFSD_FH_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"

#define FH_LEN 32
#define FH_FORMAT 1
#define FH_KEY_LEN 32

/* Make the handle of (tree, ino). */
void fh_seal(const uint8_t key[FH_KEY_LEN], uint32_t tree, uint64_t ino, uint8_t ret_fh[FH_LEN]);

/* Which tree's key is to be tried: true when fh is of our form. */
bool fh_tree(struct slice fh, uint32_t *ret_tree);
/* Check the MAC of a handle that fh_tree() was true for.  The time taken does not depend on where it differs. */
bool fh_open(const uint8_t key[FH_KEY_LEN], struct slice fh, uint64_t *ret_ino);

#endif
