/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One entry of the upstream's journal into the cache.
 *
 * (1) What is known here of the objects it touched is brought up to date, from the states that come with it.
 * (2) Names: where both a new and an old one are meant, the new one comes first, so that the object is never
 *     without.  A directory is concerned when the entry is later than listed_at, which then becomes its
 *     position.  In a directory that is not listed only what is known here matters.
 * (3) Objects that are gone go, with names that somehow are left.
 *
 * What cannot be made sense of makes the directory stale.  An entry of our own is in the cache already; but
 * others' entries before it may have put back what no version protects.
 */
#include <errno.h>
#include "cache/apply_state.h"
#include "cache/cml_state.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/stale.h"
#include "cache/writer.h"

/* A name that the entry is about. */
struct spot {
	uint64_t dir;			/* 0: not concerned */
	bool is_listed;
	struct slice name;
};

struct work {
	struct change *change;
	const struct kml_entry *entry;
	struct spot spots[2];
	unsigned n_spots;
};

static const struct kml_object *state_of(const struct kml_entry *entry, struct kml_oid oid)
{
	for (u_int i = 0; i < entry->after.after_len; i++) {
		if (kml_oid_equal(entry->after.after_val[i].oid, oid))
			return &entry->after.after_val[i];
	}
	return NULL;
}

/* ---- which names ---- */

static int spot_find(struct work *w, const struct cml_place *place, struct spot *spot)
{
	struct inode_edit *dir;
	uint64_t ino;
	int err = 0;

	/* Our own records may know a directory by the oid that it had before it was MERGED. */
	ino = w->entry->client == w->change->cache->client_id ?
		      cml_find_oid(w->change->cache, place->dir) :
		      inode_find_oid(w->change->cache, &place->dir);
	spot->name = place->name;
	if (!ino)
		return 0;
	dir = inode_edit(w->change, ino, &err);
	if (!dir)
		return err == -ESTALE ? 0 : err;
	if (dir->v.type != TYPE_DIR || w->entry->position <= dir->v.listed_at)
		return 0;
	spot->dir = ino;
	spot->is_listed = dir->v.is_listed;
	return 0;
}

static int spots_find(struct work *w)
{
	struct cml_place places[2];
	int err = 0;

	w->n_spots = cml_places_of(&w->entry->record, places);
	for (unsigned i = 0; i < w->n_spots && !err; i++)
		err = spot_find(w, &places[i], &w->spots[i]);
	return err;
}

/* Listings before this entry are too old now for the directories. */
static int spots_seen(struct work *w)
{
	for (unsigned i = 0; i < w->n_spots; i++) {
		struct inode_edit *dir;
		int err = 0;

		if (!w->spots[i].dir)
			continue;
		dir = inode_edit(w->change, w->spots[i].dir, &err);
		if (dir)
			EDIT(dir, listed_at, MAX(dir->v.listed_at, w->entry->position));
		else if (err != -ESTALE)
			return err;
	}
	return 0;
}

/* ---- names ---- */

/* 1: the name means something here. */
static int has_row(struct work *w, const struct spot *spot)
{
	struct cache *cache = w->change->cache;
	struct name_info info;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, spot->dir, spot->name, &info);
	pthread_mutex_unlock(&cache->lock);
	return got;
}

/* The object, made when it is not known here; 0: its state did not come along, or it is gone. */
static int find_or_make(struct work *w, struct kml_oid oid, uint64_t *ret_ino)
{
	const struct kml_object *object = state_of(w->entry, oid);
	bool is_mkdir = w->entry->record.body.op == KML_MKDIR;
	struct change *change = w->change;
	struct inode_edit *edit;
	int err;

	*ret_ino = inode_find_oid(change->cache, &oid);
	if (*ret_ino || !object)
		return 0;
	err = merge_object(change, object, w->entry->position, ret_ino);
	if (err || !*ret_ino || !is_mkdir)
		return err;
	/* It is empty: so this is all of it. */
	edit = inode_edit(change, *ret_ino, &err);
	if (!edit)
		return err;
	EDIT(edit, is_listed, true);
	EDIT(edit, listed_at, w->entry->position);
	return 0;
}

static int name_came(struct work *w, const struct spot *spot, struct kml_oid oid)
{
	uint64_t ino;
	int err, got;

	if (!spot->dir)
		return 0;
	if (!spot->is_listed && !inode_find_oid(w->change->cache, &oid)) {
		got = has_row(w, spot);
		if (got <= 0)
			return got;
	}
	err = find_or_make(w, oid, &ino);
	if (err)
		return err;
	return ino ? merge_bind(w->change, spot->dir, spot->name, ino) :
		     stale_ask(w->change, spot->dir);
}

static int name_went(struct work *w, const struct spot *spot, struct kml_oid oid)
{
	uint64_t ino = inode_find_oid(w->change->cache, &oid);
	int got;

	if (!spot->dir)
		return 0;
	if (ino)
		return merge_unbind(w->change, spot->dir, spot->name, ino);
	/* The name of something that is not known here, while it stands for something that is? */
	got = has_row(w, spot);
	return got > 0 ? stale_ask(w->change, spot->dir) : got;
}

static int names_merge(struct work *w)
{
	const struct kml_record *record = &w->entry->record;
	struct kml_oid oid = cml_oid_of(record);
	int err;

	switch (record->body.op) {
	case KML_CREATE:
	case KML_MKDIR:
	case KML_SYMLINK:
	case KML_MKNOD:
	case KML_LINK:
		return name_came(w, &w->spots[0], oid);
	case KML_REMOVE:
	case KML_RMDIR:
		return name_went(w, &w->spots[0], oid);
	case KML_RENAME:
		err = name_came(w, &w->spots[1], oid);
		return err ? err : name_went(w, &w->spots[0], oid);
	case KML_SETATTR:
	case KML_STORE:
	case KML_SETACL:
	case KML_DETACH:
		break;
	}
	return 0;
}

/* ---- objects ---- */

static int objects_update(struct work *w)
{
	for (u_int i = 0; i < w->entry->after.after_len; i++) {
		const struct kml_object *object = &w->entry->after.after_val[i];
		uint64_t ino;
		int err;

		if (!inode_find_oid(w->change->cache, &object->oid))
			continue;
		err = merge_object(w->change, object, w->entry->position, &ino);
		if (err)
			return err;
	}
	return 0;
}

static int objects_go(struct work *w)
{
	for (u_int i = 0; i < w->entry->after.after_len; i++) {
		const struct kml_object *object = &w->entry->after.after_val[i];
		uint64_t ino;
		int err;

		if (object->attr.nlink)
			continue;
		ino = inode_find_oid(w->change->cache, &object->oid);
		err = ino ? merge_gone(w->change, ino) : 0;
		if (err)
			return err;
	}
	return 0;
}

static int own_entry(struct work *w)
{
	int err = 0;

	for (u_int i = 0; i < w->entry->after.after_len && !err; i++)
		err = merge_own(w->change, &w->entry->after.after_val[i], w->entry->position);
	return err;
}

int apply_entry(struct change *change, const struct kml_entry *entry)
{
	struct work w = { .change = change, .entry = entry };
	int err;

	err = spots_find(&w);
	if (!err && entry->client == change->cache->client_id) {
		err = own_entry(&w);
		return err ? err : spots_seen(&w);
	}
	if (!err)
		err = objects_update(&w);
	if (!err)
		err = names_merge(&w);
	if (!err)
		err = objects_go(&w);
	return err ? err : spots_seen(&w);
}
