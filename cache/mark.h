/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mark: the marks of names, which say what record of ours about them waits (name.seq).
 *
 * The records about one name are a chain: its mark is the last, and each row of the log says which one was the mark before it.
 * On the writer thread, inside a change.  0 or -errno.
 */
#ifndef CACHE_MARK_H
#define CACHE_MARK_H

#include <stdint.h>
#include "base/mem.h"

struct change;

/* 0: it has none, or is not there. */
int mark_get(struct change *change, uint64_t dir, struct slice name, uint64_t *ret_seq);
/* The mark that a name gets back: 0 if that record is answered by now, for then it has left none. */
int mark_alive(struct change *change, uint64_t seq, uint64_t *ret_seq);
/* Of a name that is there, or a tombstone: that goes with mark 0. */
int mark_put(struct change *change, uint64_t dir, struct slice name, uint64_t seq);

#endif
