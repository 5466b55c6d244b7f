/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How full a tree's cache is, and what is hoarded, as JSON. */
#include <string.h>
#include "cache/hoard.h"
#include "cache/space.h"
#include "cmd/daemon.h"
#include "cmd/status.h"

static json_int_t number(uint64_t n)
{
	return (json_int_t)n;
}

json_t *status_space_json(const struct daemon_tree *tree)
{
	struct space_status space;

	space_get_status(tree->cache, &space);
	return json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:s}",
			 "limit_bytes", number(space.limit_bytes), "floor_bytes", number(space.floor_bytes),
			 "used_bytes", space.is_counted ? json_integer(number(space.used_bytes)) : json_null(),
			 "avail_bytes", number(space.avail_bytes), "dirty_bytes", number(space.dirty_bytes),
			 "hoarded_bytes", number(space.hoarded_bytes), "evicted_files", number(space.evicted_files),
			 "evicted_bytes", number(space.evicted_bytes), "full", space.full);
}

json_t *status_hoard_json(const struct daemon_tree *tree)
{
	struct hoard_status hoard;

	hoard_get_status(tree->cache, &hoard);
	return json_pack("{s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "entries", number(hoard.entries), "known", hoard.is_known, "walking", hoard.is_walking,
			 "fetching", hoard.is_fetching, "files", number(hoard.files), "bytes", number(hoard.bytes),
			 "missing_files", number(hoard.missing_files), "missing_bytes", number(hoard.missing_bytes),
			 "unlisted", number(hoard.unlisted), "absent", number(hoard.absent),
			 "no_room_bytes", number(hoard.no_room_bytes), "fetched_bytes", number(hoard.fetched_bytes));
}

struct listing {
	json_t *array;
	const char *tree;
};

static void add_entry(void *arg, const struct hoard_entry *entry)
{
	struct listing *listing = arg;

	(void)json_array_append_new(listing->array,		/* or it is missing */
		json_pack("{s:s, s:o, s:o, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "tree", listing->tree,
			  "path", status_text(entry->path),
			  "depth", entry->depth == HOARD_ALL ? json_null() : json_integer(number(entry->depth)),
			  "priority", number(entry->priority), "configured", entry->is_configured, "there", entry->is_there,
			  "files", number(entry->files), "bytes", number(entry->bytes),
			  "missing_files", number(entry->missing_files), "missing_bytes", number(entry->missing_bytes),
			  "unlisted", number(entry->unlisted)));
}

json_t *status_hoard_list_json(const struct daemon *daemon, const struct daemon_tree *only)
{
	struct listing listing = { .array = json_array() };

	for (size_t i = 0; listing.array && i < daemon->config->n_trees; i++) {
		const struct daemon_tree *tree = &daemon->trees[i];

		if (only && only != tree)
			continue;
		listing.tree = tree->config->name;
		if (hoard_list(tree->cache, add_entry, &listing)) {
			json_decref(listing.array);
			return NULL;
		}
	}
	return listing.array;
}
