/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rdiff: the difference between two files that are not in one place: librsync's three steps.
 *
 *	sign	where the old file is: a signature of it, sums of its blocks
 *	delta	where the new one is: from the signature and the new file, what makes the one from the other
 *	patch	where the old one is: from it and the delta, the new file
 *
 * Each is a job that takes bytes and gives bytes; memory is bounded by the block, and of a delta by the signature.  What
 * comes from the network is looked at here: a signature must be of the kind that was asked for before librsync sees
 * it, a delta that is none ends in -EBADMSG.  A patch that worked is not yet the right file, for a block's sum may be
 * that of another: who wants to know compares a hash of all of it.
 *
 * Threads: a job belongs to one at a time.  Errors: 0 or -errno.
 */
#ifndef BASE_RDIFF_H
#define BASE_RDIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RDIFF_BLOCK_MIN (1u << 9)
#define RDIFF_BLOCK_MAX (1u << 20)
#define RDIFF_BLOCKS_MAX (1u << 20)	/* in one signature: 20 MiB of it */

struct rdiff_job;

/*
 * A job's input: the next bytes, up to len, into data; their number, 0: it is over, or -errno, which rdiff_pull() then gives.
 * -EAGAIN: not now; the next rdiff_pull() asks again.
 */
typedef ssize_t rdiff_input(void *arg, void *data, size_t len);

/* The block size for a file of that size: a power of two. */
unsigned rdiff_block(uint64_t size);
/* Is that a block size for a file of that size: a power of two, and not too many blocks? */
bool rdiff_is_block(uint64_t block, uint64_t size);
/* Bytes of a signature. */
uint64_t rdiff_signature_len(uint64_t size, unsigned block);

/* From the old file, its signature. */
int rdiff_sign(unsigned block, rdiff_input *old, void *arg, struct rdiff_job **ret_job);
/*
 * From the new file, the delta.  -EBADMSG: that is no signature with such blocks.  The signature is not needed any more
 * then.
 */
int rdiff_delta(const void *signature, size_t len, unsigned block, rdiff_input *new, void *arg,
		struct rdiff_job **ret_job);
/*
 * From the delta, the new file.  old: bytes of the old file at pos, as many as there are up to len, into data; their
 * number, or -errno, which rdiff_pull() then gives.
 */
int rdiff_patch(rdiff_input *delta, ssize_t (*old)(void *arg, uint64_t pos, void *data, size_t len), void *arg,
		struct rdiff_job **ret_job);

/*
 * The next *ret_n bytes of what the job makes: max of them, unless it ends.  1: these were the last; 0: there is more;
 * -EAGAIN: not now (there may be some); other -errno: the job is good for nothing any more.
 */
int rdiff_pull(struct rdiff_job *job, void *data, size_t max, size_t *ret_n);
void rdiff_free(struct rdiff_job *job);

#endif
