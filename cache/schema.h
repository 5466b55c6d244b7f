/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * schema: the tables of docs/DISK-FORMAT.md, made, checked, and later migrated.
 */
#ifndef CACHE_SCHEMA_H
#define CACHE_SCHEMA_H

#include <stdbool.h>

struct db;

/*
 * Make the tables in an empty file, or check those that are there.  *ret_is_new: they were made
 * now.
 * -EPROTO: a newer format.  -EUCLEAN: damaged, or not a cache.  *ret_why: a sentence for these, to
 * be freed.
 */
int schema_open(struct db *db, const char *path, bool *ret_is_new, char **ret_why);

/* As it is: a database of the present format, with all of its tables.  -EPROTO: of another one; else likewise. */
int schema_look(struct db *db, const char *path, char **ret_why);

#endif
