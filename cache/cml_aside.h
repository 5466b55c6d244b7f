/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cml_aside: STOREs that stand aside while their contents are sent ahead; for cml_take.c.  cml_aside.c has the rules.
 *
 * All on the writer thread, inside a change.
 */
#ifndef CACHE_CML_ASIDE_H
#define CACHE_CML_ASIDE_H

#include <stdbool.h>
#include <stdint.h>

struct cache;
struct change;
struct cml_taken;
struct cml_wants;

/*
 * The STORE of that number, never taken, goes to the end of the log, with what has to stay behind it: how many records moved; 0: it must
 * stay where it is; or -errno.
 */
int cml_aside_move(struct change *change, uint64_t ino, uint64_t seq);
/* Those from that number on, where only such are left: into taken->aside.  0 or -errno. */
int cml_aside_list(struct change *change, uint64_t seq, const struct cml_wants *wants, struct cml_taken *taken);
/* Is the content that waits of this file large? */
bool cml_aside_is_large(struct cache *cache, uint64_t ino, const struct cml_wants *wants);

#endif
