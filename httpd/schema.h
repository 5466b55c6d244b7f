/* SPDX-License-Identifier: GPL-2.0-or-later */
/* schema: the tables of upstream.db; making them, and refusing what is not ours or newer. */
#ifndef HTTPD_SCHEMA_H
#define HTTPD_SCHEMA_H

#include "httpd/sql.h"

/*
 * Make the tables of a new file, or check those that are there.  path is for the sentence in
 * *ret_why (to be freed; NULL when there was no memory for it).  -EPROTO: a newer
 * format.  -EUCLEAN: not ours, or damaged.
 */
int schema_open(struct sql *sql, const char *path, char **ret_why);

#endif
