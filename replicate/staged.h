/* SPDX-License-Identifier: GPL-2.0-or-later */
/* staged: what requests about staged content have in common (docs/PROTOCOL.md 8). */
#ifndef REPLICATE_STAGED_H
#define REPLICATE_STAGED_H

#include "cache/cml.h"
#include "replicate/http.h"

/* What its keys begin with: the same for a store however often, and in whatever place, it is taken. */
uint64_t staged_number(const struct cml_item *item);
/* The path of that client's key; query: "" or from its '?' on. */
void staged_path(struct http_request *request, uint64_t client, const char *key, const char *query);
/* What GET says is there.  0 or -EBADMSG. */
int staged_size(const struct buf *answer, uint64_t *ret_size);

#endif
