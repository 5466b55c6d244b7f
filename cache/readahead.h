/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * readahead: how far ahead of who reads a large file its content is asked for.
 *
 * NFS has no open files, so who reads on is known by where he reads: a READ that is near where one ended before goes on from
 * there.  Near, because a client has several under way, which come in any order.  Who reads on gets a window, which grows
 * each time that he has used half of it, so that what comes keeps the link full; who reads here and there gets none.
 *
 * Threads: under a lock of the caller's.  Nothing here fails.
 */
#ifndef CACHE_READAHEAD_H
#define CACHE_READAHEAD_H

#include <stdint.h>

#define READAHEAD_MIN (256ull << 10)	/* the first window, or twice the READ if that is more */
#define READAHEAD_FAST (4ull << 20)	/* up to this it grows fourfold, from there on twofold */
#define READAHEAD_MAX (16ull << 20)
#define READAHEAD_NEAR (1ull << 20)
#define READAHEAD_READERS 32

struct readahead {
	uint64_t next;		/* where the reader is: the end of the furthest READ */
	uint64_t asked;		/* so far it has been asked for */
	uint64_t window;	/* 0: does not read on */
};

/* A READ of [start, end), start < end: up to where content is to be asked for now; end: no further than that. */
uint64_t readahead_step(struct readahead *ra, uint64_t start, uint64_t end);

/* Whose READs come; zeroed. */
struct readahead_readers {
	struct readahead_reader {
		uint64_t ino;		/* 0: free */
		uint64_t used;		/* greater: later */
		struct readahead ra;
	} v[READAHEAD_READERS];
	uint64_t clock;
};

/* readahead_step() of the reader that this READ is by. */
uint64_t readahead_read(struct readahead_readers *readers, uint64_t ino, uint64_t start, uint64_t end);

#endif
