/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acts: what clients took away by name, by REMOVE or by RENAME over it, and what that was in truth.
 *
 * Who takes a content away looks at it first, and these calls have no guard as SETATTR has: another content may come to his cache between the
 * look and the act, and it is that one which goes.  Nobody can be asked which it was when it was done; but the upstream's journal says in the end
 * of which version the content was that a record took away, and the record's time says in which act it was made.
 *
 * So a content that is missing is excused by the journal only: its version was taken away by a record made between the beginning and the end of an act, and
 * what was looked at in that act is another content.
 */
#ifndef TESTS_TORTURE_ACTS_H
#define TESTS_TORTURE_ACTS_H

#include <jansson.h>
#include <stdint.h>

/* Before looking: what act_end() wants. */
int64_t act_begin(void);
/* It was done, or nobody knows.  seen: what was looked at. */
void act_end(int c, int64_t began_ns, unsigned seen);

/* In the end: contents that are missing and were taken away so are superseded.  journal: an array, all of it. */
void acts_explain(const json_t *journal);

#endif
