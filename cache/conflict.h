/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conflict: what becomes of a record the upstream would not apply as it stood.
 *
 * Keep both: the upstream's version has the name, ours stands beside it.  docs/ARCHITECTURE.md "Conflicts".
 */
#ifndef CACHE_CONFLICT_H
#define CACHE_CONFLICT_H

#include "rpcgen/kml_codec.h"

struct cache;
struct change;

/*
 * Settle one answered record that is not KML_OK, KML_ALREADY or KML_RETRY, inside the change that retires it.
 * ino: the record's object.  Notes it in table conflict unless nobody needs to know (MERGED).
 */
int conflict_settle(struct change *change, uint64_t ino, const struct kml_record *record, const struct kml_answer *answer);

#endif
