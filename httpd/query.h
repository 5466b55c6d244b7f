/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query: who this is, the journal, one object (docs/PROTOCOL.md 3 to 5).
 */
#ifndef HTTPD_QUERY_H
#define HTTPD_QUERY_H

#include "httpd/request.h"

int query_hello(struct request *request);
/* May wait for as long as the request says; ends early when the peer leaves or the server stops. */
int query_journal(struct request *request);
int query_object(struct request *request);

/* The row that request->arg[0] names: 0 and *ret_object, which is there; or 400, 404, 410. */
int query_find(struct request *request, struct sql *sql, struct object *ret_object);

#define QUERY_XDR "application/x-izo-kml"
#define QUERY_JSON "application/json"

#endif
