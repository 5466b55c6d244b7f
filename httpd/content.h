/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * content: a file's bytes, of one version in each answer (docs/PROTOCOL.md 6).
 *
 * Numbers in the code:
 *  (1) Before the first byte the file must be as its row says, and not so fresh that a later write might not show;
 *      else it is looked at (reconcile.h) first, which gives it its version.
 *  (2) After each piece is read, and before it is sent, the file must still be as it was; when it is
 *      not, but the row knows the new state as the same version (a rename, a chmod), that is good too.  Else the
 *      connection is broken off, so that nobody takes what has come for the whole.
 *
 * What stays: bytes changed through a shared mapping show only when the kernel gives the file its new time, which is
 * at the first such write after each time that it was written out.
 */
#ifndef HTTPD_CONTENT_H
#define HTTPD_CONTENT_H

#include "httpd/opened.h"
#include "httpd/request.h"

/*
 * (1) of the object that request->arg[0] names; to be closed, whatever that gave.  -EAGAIN: it is being changed; or as
 * handlers give.
 */
int content_open(struct request *request, struct opened *ret_opened);

int content_answer(struct request *request);

/*
 * What "Range: ..." asks of a file of that size.  1: [*ret_start, *ret_start + *ret_len), not empty; 0: all of it
 * (no range, several, or not one of bytes: RFC 9110 14.2 has these ignored); -ERANGE: nothing there.
 */
int content_range(const char *text, uint64_t size, uint64_t *ret_start, uint64_t *ret_len);

/* Does a list of entity tags ("*", or "5", "7") hold that version's?  Weak ones never do. */
bool content_has_tag(const char *list, uint64_t version);

#endif
