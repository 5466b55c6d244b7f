/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signature: sums of the blocks of a file, for who wants to send its new content as a difference (docs/PROTOCOL.md 8).
 *
 * Made while it is sent, of one version as content.h has it.  Reading whole files is work: so many at once, signatures and
 * patches together, and no more.
 */
#ifndef HTTPD_SIGNATURE_H
#define HTTPD_SIGNATURE_H

#include "httpd/request.h"

#define SIGNATURES_MAX 4

int signature_answer(struct request *request);

/* Be one of SIGNATURES_MAX: 0, then signature_leave(); or 503. */
int signature_enter(struct request *request);
void signature_leave(struct request_shared *shared);

#endif
