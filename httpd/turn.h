/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * turn: a batch that was sent behind others of its client waits until those have been applied (docs/PROTOCOL.md 7).
 *
 * It waits without the tree's lock, on its connection's thread, with its body in memory (which request_reserve() counts).
 */
#ifndef HTTPD_TURN_H
#define HTTPD_TURN_H

#include "httpd/request.h"

/* The highest seq of that client that is applied, as the connection sees it; 0: none. */
int turn_last_seq(struct sql *sql, uint64_t client, uint64_t *ret_seq);

/*
 * Wait until that is at least 'after'.  As a handler: 0, or 412: it did not come to that, because what is before it failed, came
 * to nothing, or takes too long, or too many wait already; or -ESHUTDOWN, or what reading the tables gives.
 */
int turn_wait(struct request *request, uint64_t client, uint64_t after);

#endif
