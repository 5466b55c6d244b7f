/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * intake: what clients send: batches of records, and contents ahead of them (docs/PROTOCOL.md 7 and 8).
 */
#ifndef HTTPD_INTAKE_H
#define HTTPD_INTAKE_H

#include "httpd/request.h"

#define REPLAY_MAX (64u << 20)	/* bytes of one batch */

/* A body of XDR, into request->body, of at most so many bytes; 415 when it says to be anything else. */
int intake_begin(struct request *request, size_t max);

int replay_begin(struct request *request);
int replay_take(struct request *request, const void *data, size_t len);
int replay_answer(struct request *request);

int stage_begin(struct request *request);
int stage_take(struct request *request, const void *data, size_t len);
int stage_put(struct request *request);
int stage_get(struct request *request);
int stage_delete(struct request *request);

#endif
