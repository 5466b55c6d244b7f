/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * private: the work of one client in a directory of its own, where everything is known exactly.
 *
 * Whatever the link and the upstream do, every call here must succeed, for all that it needs is in the cache.  A call without an answer,
 * because the daemon was killed, is looked after when it runs again: what may be done twice is done again, and for the rest its
 * name is looked for; so the model does not depend on when the daemon died, and the next steps do not either.
 * What was written and not committed is written again, as NFS clients do.
 */
#ifndef TESTS_TORTURE_PRIVATE_H
#define TESTS_TORTURE_PRIVATE_H

#include "tests/torture/chance.h"
#include "tests/torture/tree.h"

/* The directory "pC" in the export is there and empty. */
void private_begin(int c);
void private_step(int c, struct chance *chance);
/* The daemon was killed and runs again. */
void private_recovered(int c);
/* Everything that was written has been committed by the daemon itself. */
void private_committed(int c);
/* "pC/...": what must be there. */
void private_tree(int c, struct tree *tree);

#endif
