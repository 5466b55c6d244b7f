/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conflict_name: what the copies of ours are called that stand beside what the upstream has. */
#ifndef CACHE_CONFLICT_NAME_H
#define CACHE_CONFLICT_NAME_H

#include <stdint.h>
#include "base/mem.h"

struct change;

/* NAME.conflict-HOST-DATE[-N] as PROTOCOL 7 writes it, cut to 255 bytes; n 0 or 1: no suffix. */
int conflict_name(struct slice name, const char *host, int64_t time_s, unsigned n, char ret_name[256]);
/* The first of these, by our host, that is free in that directory. */
int conflict_free_name(struct change *change, uint64_t dir, struct slice name, int64_t time_s, char ret_name[256]);

#endif
