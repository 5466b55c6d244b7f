/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/conflict_where.h"

#include <stdio.h>
#include <string.h>
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/conflict_note.h"
#include "cache/dentry.h"
#include "cache/internal.h"

bool conflict_is_elsewhere(struct cache *cache, const struct conflict_side *side, uint64_t *ret_ino)
{
	struct kml_oid oid = cml_oid_of(&side->record);
	struct name_info info = { 0 };
	bool is_elsewhere;

	pthread_mutex_lock(&cache->lock);
	*ret_ino = inode_find_oid(cache, &oid);
	is_elsewhere = *ret_ino && side->dir && side->len &&
		       name_get(cache, side->dir, (struct slice){ side->name, side->len }, &info) >= 0 && info.ino != *ret_ino;
	pthread_mutex_unlock(&cache->lock);
	return is_elsewhere;
}

void conflict_path(struct cache *cache, const struct conflict_side *side, char *path, size_t size)
{
	struct kml_oid oid = cml_oid_of(&side->record);
	uint64_t ino;

	pthread_mutex_lock(&cache->lock);
	ino = inode_find_oid(cache, &oid);
	if (ino && name_count_of(cache, ino) > 0)
		name_path(cache, ino, path, size);
	else
		(void)snprintf(path, size, "(a file that has no name here)");
	pthread_mutex_unlock(&cache->lock);
}

/* A sentence that grows. */
struct telling {
	struct cache *cache;
	uint64_t dir;		/* names in here are told without their path */
	char *text;
	size_t len, size;
	unsigned n;
};

static void __attribute__((format(printf, 2, 3))) tell(struct telling *t, const char *format, ...)
{
	va_list args;
	int got;

	va_start(args, format);
	got = vsnprintf(t->text + t->len, t->size - t->len, format, args);
	va_end(args);
	if (got > 0)
		t->len = MIN(t->len + (size_t)got, t->size - 1);
}

static int tell_name(void *arg, uint64_t dir, struct slice name, const struct name_info *info)
{
	struct telling *t = arg;
	char path[CML_PATH_MAX];

	(void)info;
	if (name_is_local(name))
		return 0;
	tell(t, "%s", t->n++ ? " and " : "");
	if (dir == t->dir) {
		tell(t, "%.*s", (int)name.len, (const char *)name.data);
	} else {
		name_path_in(t->cache, dir, name, path, sizeof(path));
		tell(t, "%s", path);
	}
	return 0;
}

/* By all the names that it has: one of them is the copy's. */
void conflict_tell_where(struct cache *cache, const struct conflict_side *side, char *what, size_t size)
{
	struct telling t = { .cache = cache, .dir = side->dir, .text = what, .len = strlen(what), .size = size };
	enum kml_op op = side->record.body.op;
	size_t was = t.len;
	uint64_t ino;

	if (side->kind != CONFLICT_UNDONE || (op != KML_REMOVE && op != KML_RMDIR && op != KML_RENAME) ||
	    !conflict_is_elsewhere(cache, side, &ino))
		return;
	tell(&t, "; it is there as ");
	pthread_mutex_lock(&cache->lock);
	(void)name_each_of(cache, ino, tell_name, &t);
	pthread_mutex_unlock(&cache->lock);
	if (!t.n)
		what[was] = '\0';
}
