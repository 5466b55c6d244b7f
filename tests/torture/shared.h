/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shared: the work of all clients, and of local programs, in the part that everybody changes.
 *
 * A few names in a few directories, which also come, go, and move.  What a client does is what a program would do on what its
 * mount shows: so it may be refused (no such file, exists, not empty), and it may meet what others do.  What is written, and what is replaced
 * or removed by whom, is in the ledger (ledger.h), which has the rule for the end.
 *
 * Whoever is about to replace or remove something looks first what it is.  Writing over it then is guarded by its ctime; nothing guards
 * a removal or a rename, so while entries of the journal could arrive, what is upstream just before and just after counts as seen too.
 */
#ifndef TESTS_TORTURE_SHARED_H
#define TESTS_TORTURE_SHARED_H

#include "tests/torture/chance.h"
#include "tests/torture/tree.h"

#define SHARED_LOCAL 9		/* writer of what local programs write */

/* In the exported directory, before anybody serves it. */
void shared_begin(const char *export);
void shared_step(int c, struct chance *chance);
/* A program on the server, in the exported directory itself. */
void shared_local_step(struct chance *chance);

#endif
