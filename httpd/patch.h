/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * patch: content that was sent ahead as a difference from what is here becomes content that was sent ahead (docs/PROTOCOL.md 8).
 *
 * A store that names it then finds the whole of it, whatever has become meanwhile of the version it was made from: certifying,
 * applying and conflicts know nothing of differences.  It is there whole and durable, and has the hash that the client
 * says, or not at all.
 */
#ifndef HTTPD_PATCH_H
#define HTTPD_PATCH_H

#include "httpd/request.h"

#define PATCH_HASH 32	/* bytes of BLAKE2b */

int patch_answer(struct request *request);

/*
 * Put together what delta, a librsync delta, makes of the old file, into the empty file to: size bytes, whose hash is
 * *ret_hash.  What is zeros is left a hole.  is_over(arg): give up.
 * -EBADMSG: that is no delta, or not one that gives so many bytes; -ECANCELED: it was given up.
 */
int patch_file(int old, int delta, int to, uint64_t size, bool (*is_over)(void *arg), void *arg,
	       unsigned char ret_hash[PATCH_HASH]);

#endif
