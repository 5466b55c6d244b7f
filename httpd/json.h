/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json: objects, entries and listings for people with curl (and jq).
 *
 * JSON is UTF-8, names are bytes: a name that is not UTF-8 has "name_hex" beside it, and '?' for each odd byte.
 * Errors: -ENOMEM; NULL from those that give a value (to be passed on: jansson's functions take it as an error).
 */
#ifndef HTTPD_JSON_H
#define HTTPD_JSON_H

#include <jansson.h>
#include "base/buf.h"
#include "rpcgen/kml_codec.h"

json_t *json_of_object(const struct kml_object *object);
json_t *json_of_listed(const struct kml_listed *listed);
json_t *json_of_entry(const struct kml_entry *entry);

/* Append the text, on one line without its end; takes over json. */
int json_write(struct buf *buf, json_t *json);

#endif
