/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * doubt: is who answers what this cache knows as its upstream?  (docs/PROTOCOL.md 3)
 *
 * Where it is not, nothing is sent, nor with some of them taken in, until the user has said something: he brings the right one back, or
 * accepts this one (accept.h).
 */
#ifndef REPLICATE_DOUBT_H
#define REPLICATE_DOUBT_H

#include "replicate/hello.h"
#include "replicate/replicate.h"

struct cache;

void doubt_look(struct cache *cache, const struct hello *hello, struct replicate_doubt *ret);

/* Why the log of a cache in that doubt is not sent, a sentence for people, though the upstream is talked to; NULL: for no such reason. */
const char *doubt_holds(enum doubt_kind kind);

#endif
