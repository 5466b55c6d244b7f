/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/detach.h"

#include <stdlib.h>
#include <string.h>

static void swap(struct name_row *a, struct name_row *b)
{
	struct name_row row = *a;

	*a = *b;
	*b = row;
}

static bool is_named(const struct name_row *row, int64_t dir, struct slice name)
{
	return row->dir == dir && row->name.len == name.len && !memcmp(row->name.text, name.data, name.len);
}

/* None of them is the client's: the one that stands where the lost name was, most likely. */
static void keep_one(struct detach_names *names, int64_t dir)
{
	for (size_t i = 0; i < names->n && !names->n_kept; i++) {
		if (names->rows[i].dir == dir)
			swap(&names->rows[i], &names->rows[names->n_kept++]);
	}
	names->n_kept = MAX(names->n_kept, 1u);
}

int detach_names_get(struct sql *sql, const struct object *object, uint64_t client, const struct kml_detach *detach,
		     struct detach_names *ret_names)
{
	struct detach_names names = { 0 };
	struct object dir;
	int got;

	*ret_names = names;
	got = object_by_oid(sql, detach->parent, &dir);
	if (got >= 0)
		got = names_of(sql, object->id, &names.rows, &names.n);
	if (got)
		return got;
	for (size_t i = 0; i < names.n; i++) {
		const struct name_row *row = &names.rows[i];

		if (row->by == client || is_named(row, dir.id, kml_name_get(&detach->name)))
			swap(&names.rows[i], &names.rows[names.n_kept++]);
	}
	if (!names.n_kept && names.n)
		keep_one(&names, dir.id);
	*ret_names = names;
	return 0;
}

void detach_names_release(struct detach_names *names)
{
	free(names->rows);
	names->rows = NULL;
}
