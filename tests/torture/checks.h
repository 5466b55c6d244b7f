/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * checks: what must be so at the end of a round, when all links are good again.
 *
 *  1. Within CHECKS_CONVERGE_S every log is empty, every client has taken in all of the journal, and the exported directory and all
 *     mounts are equal: names, types, modes, link counts, contents, times.
 *  2. What each client did in its own part is there, exactly (model.h), and nobody was in conflict with himself there.
 *  3. The rule of the ledger (ledger.h) for what all change.
 *  4. Each conflict copy is on a client's record of conflicts, unless it was settled.
 *  5. No record of a client is twice in the upstream's journal.
 *  6. Each cache, its daemon stopped, is sound.
 */
#ifndef TESTS_TORTURE_CHECKS_H
#define TESTS_TORTURE_CHECKS_H

#include "tests/torture/chance.h"

#define CHECKS_CONVERGE_S 60

void checks_run(void);
/* Settle some of the conflicts, one way or the other; then all of the above again. */
void checks_settle(struct chance *chance);

#endif
