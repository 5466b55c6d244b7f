/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * meta: table meta by connection, for opening a cache; inside a change use meta_set_*() of
 * internal.h.
 *
 * The getters give 1, 0 when it is not set, or -errno; -EUCLEAN: not of the length it must have.
 */
#ifndef CACHE_META_H
#define CACHE_META_H

#include <stddef.h>
#include <stdint.h>

struct db;

int meta_put_int(struct db *db, const char *key, int64_t value);
int meta_put_blob(struct db *db, const char *key, const void *data, size_t len);
int meta_get_blob(struct db *db, const char *key, void *ret_data, size_t len);
int meta_get_text(struct db *db, const char *key, char *ret_text, size_t size);

#endif
