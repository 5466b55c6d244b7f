/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tree: make a cache with a large tree in it (tree.h), offline, as a listing brings it; for memory.c.
 *
 *   tree CACHE
 */
#include <string.h>
#include <time.h>
#include "bench/bench.h"
#include "bench/tree.h"
#include "cache/apply.h"
#include "cache/cache.h"
#include "cache/cml.h"

#define AT_ONCE 1000		/* entries given to the cache */

struct fill {
	struct apply_listing *listing;
	struct kml_listed entries[AT_ONCE];
	size_t n;
	struct kml_time now;
};

static void give(struct fill *fill)
{
	int err = apply_listing_add(fill->listing, fill->entries, fill->n);

	if (err)
		die("the listing is not taken: %s", strerror(-err));
	for (size_t i = 0; i < fill->n; i++)
		kml_listed_release(&fill->entries[i]);
	fill->n = 0;
}

static struct kml_object object(const struct fill *fill, struct kml_oid oid, enum kml_type type)
{
	return (struct kml_object){
		.oid = oid, .data_version = 1, .attr_version = 1,
		.attr = { .type = type, .mode = type == KML_DIR ? 0755 : 0644, .nlink = type == KML_DIR ? 2 : 1,
			  .size = type == KML_DIR ? 0 : FILE_SIZE, .atime = fill->now, .mtime = fill->now },
	};
}

static void add(struct fill *fill, struct kml_oid parent, const char *name, struct kml_oid oid, enum kml_type type)
{
	struct kml_listed *e = &fill->entries[fill->n++];

	*e = (struct kml_listed){ .parent = parent, .object = object(fill, oid, type) };
	if (kml_name_set(&e->name, (struct slice){ name, strlen(name) }))
		die("no memory");
	if (fill->n == AT_ONCE)
		give(fill);
}

static struct kml_oid dir_oid(unsigned i)
{
	return (struct kml_oid){ 0, 2 + i };
}

static void fill_cache(char *dir)
{
	struct cache_config config = { .dir = dir, .no_sync = true };
	static struct fill fill;
	struct kml_object root;
	struct cache *cache;
	char *why, name[32];
	int err;

	fill.now = (struct kml_time){ time(NULL), 0 };
	root = object(&fill, KML_ROOT, KML_DIR);
	root.attr.nlink += DIRS + 1;
	err = cache_open(&config, &cache, &why);
	if (err)
		die("%s", why ? why : strerror(-err));
	err = apply_upstream(cache, "bench", 1, &root);
	if (!err)
		err = apply_listing_begin(cache, cache_root(cache), 1, true, &fill.listing);
	if (err)
		die("%s: %s", dir, strerror(-err));
	fill.entries[fill.n++] = (struct kml_listed){ .object = root };
	for (unsigned i = 0; i <= DIRS; i++) {
		dir_name(i, name, sizeof(name));
		add(&fill, KML_ROOT, name, dir_oid(i), KML_DIR);
	}
	for (unsigned i = 0; i < FILES; i++) {
		file_name(i, name, sizeof(name));
		add(&fill, dir_oid(dir_of(i)), name, (struct kml_oid){ 0, 2 + DIRS + 1 + i }, KML_REG);
	}
	give(&fill);
	err = apply_listing_end(fill.listing, 0);
	if (!err)
		err = cml_set_offline(cache, true);
	if (err)
		die("%s: %s", dir, strerror(-err));
	cache_close(cache);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		die("usage: tree CACHE");
	fill_cache(argv[1]);
	return 0;
}
