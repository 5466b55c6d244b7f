/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listings from upstream.
 *
 * What arrives is what stands below "asked", breadth first: the entries of one directory follow each other, and the
 * directories come in the order in which their own lines did (docs/PROTOCOL.md 5).  So the directories
 * are a queue: when entries of the k-th come, those before it are over; the empty ones have no line.
 *
 * (1) A directory becomes listed in the change that takes in the last of its entries: nobody sees half of one.
 * (2) A listing may be used for a directory when nothing that was pulled since concerns its names: when its position
 *     is at least listed_at, which goes up with each such entry, and which a directory that becomes known
 *     starts with at the position that has been pulled so far.
 * (3) A change may be run twice (writer.h): it works on a copy of the state, which is kept when it has been committed.
 * (4) A directory that was stale stays so on disk until all of it is in: a listing that breaks off must not be the last.
 * (5) A name that is not in the listing may be that of something that moved.  Whether it did is known when what
 *     happened up to the listing has been pulled, and, of a whole tree, when all of it is in; until
 *     then what would be left without a name keeps it, for with it would go its content and its handles.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "cache/apply.h"
#include "cache/dentry.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/stale.h"
#include "cache/writer.h"

#define STEPS_PER_CHANGE 1024	/* entries, and ends of directories: others want the writer too */

struct listed_dir {
	struct kml_oid oid;
	uint64_t ino;		/* 0: not wanted */
};

/* A name that was in the listing of a directory that had names before. */
struct seen {
	struct hash_node node;
	uint64_t dir;
	size_t len;
	char name[];
};

struct state {
	size_t n_dirs;		/* of the queue */
	size_t current;		/* in it: whose entries come */
	bool has_begun;		/* the current one's entries have been looked at before */
	bool is_used;		/* the current one is taken in */
	bool had_names;		/* before; those that are not seen will vanish */
	bool was_stale;
	bool was_overtaken;	/* some directory was not taken in, keeps (2) */
	bool has_own;		/* the line of what was asked for has come */
	struct kml_object own;	/* that line, without what it points to */
	size_t at;		/* in the entries that are given: the next one */
};

struct apply_listing {
	struct cache *cache;
	uint64_t ino, position;
	bool is_deep;
	struct listed_dir *dirs;	/* the queue */
	size_t cap;
	struct state state;
	struct hash_table seen;
	/* of the change that runs */
	struct state next;
	const struct kml_listed *entries;
	size_t n;
	bool is_last;
};

/* ---- names seen ---- */

static struct seen *seen_find(struct apply_listing *l, uint64_t dir, struct slice name)
{
	uint64_t hash = hash_bytes(name.data, name.len, hash_u64(dir));

	for (struct hash_node *n = hash_first(&l->seen, hash); n; n = hash_next(n)) {
		struct seen *seen = container_of(n, struct seen, node);

		if (seen->dir == dir && seen->len == name.len &&
		    !memcmp(seen->name, name.data, name.len))
			return seen;
	}
	return NULL;
}

static int seen_add(struct apply_listing *l, uint64_t dir, struct slice name)
{
	struct seen *seen;

	if (seen_find(l, dir, name))	/* the change is run again */
		return 0;
	seen = malloc(sizeof(*seen) + name.len);
	if (!seen)
		return -ENOMEM;
	seen->dir = dir;
	seen->len = name.len;
	memcpy(seen->name, name.data, name.len);
	hash_insert(&l->seen, &seen->node, hash_bytes(name.data, name.len, hash_u64(dir)));
	return 0;
}

static void seen_free(struct hash_node *node, void *arg)
{
	(void)arg;
	free(container_of(node, struct seen, node));
}

/* ---- one directory, inside the change ---- */

static int dir_push(struct apply_listing *l, struct kml_oid oid, uint64_t ino)
{
	if (l->next.n_dirs == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct listed_dir *dirs = realloc(l->dirs, cap * sizeof(*dirs));

		if (!dirs)
			return -ENOMEM;
		l->dirs = dirs;
		l->cap = cap;
	}
	l->dirs[l->next.n_dirs++] = (struct listed_dir){ oid, ino };
	return 0;
}

static int dir_begin(struct apply_listing *l, struct change *change)
{
	struct listed_dir *dir = &l->dirs[l->next.current];
	struct inode_edit *edit;
	int got;

	l->next.has_begun = true;
	l->next.is_used = l->next.had_names = false;
	if (!dir->ino)
		return 0;
	edit = inode_edit(change, dir->ino, &got);
	if (!edit)
		return got == -ESTALE ? 0 : got;	/* removed here meanwhile */
	if (edit->v.type != TYPE_DIR)
		return 0;
	if (merge_is_overtaken(change->cache, edit, l->position)) {
		l->next.was_overtaken = true;
		return edit->v.is_listed ? stale_ask(change, dir->ino) : 0;
	}
	got = name_any_in(change->cache, dir->ino);
	if (got < 0)
		return got;
	l->next.is_used = true;
	l->next.had_names = got;
	l->next.was_stale = edit->v.is_stale;
	/* What cannot be taken in below makes it so again; so does breaking_off(). */
	return l->is_deep ? stale_answered(change, dir->ino) : 0;
}

/* The change ends while entries of a directory are still to come: keeps (4). */
static int breaking_off(struct apply_listing *l, struct change *change)
{
	struct inode_edit *edit;
	int err = 0;

	if (!l->is_deep || !l->next.has_begun || !l->next.is_used || !l->next.was_stale)
		return 0;
	edit = inode_edit(change, l->dirs[l->next.current].ino, &err);
	if (edit)
		EDIT(edit, is_stale, true);
	return err == -ESTALE ? 0 : err;
}

struct vanish {
	struct apply_listing *listing;
	struct change *change;
	uint64_t dir;
	bool may_have_moved;
};

static int vanish_name(void *arg, struct slice name, const struct name_info *info)
{
	struct vanish *vanish = arg;
	int64_t names;

	if (!info->ino || info->seq || name_is_local(name) ||
	    seen_find(vanish->listing, vanish->dir, name))
		return 0;
	names = vanish->may_have_moved ? name_count_of(vanish->change->cache, info->ino) : 0;
	if (names < 0)
		return names;
	if (names == 1)		/* keeps (5) */
		return stale_ask_after(vanish->change, vanish->dir, vanish->listing->position);
	return merge_unbind(vanish->change, vanish->dir, name, info->ino);
}

/* All entries of the current one have come: keeps (1). */
static int dir_end(struct apply_listing *l, struct change *change)
{
	uint64_t ino = l->dirs[l->next.current].ino;
	struct vanish vanish = {
		l, change, ino, l->is_deep || l->position > apply_position(change->cache),
	};
	int err = 0;

	if (!l->next.has_begun)
		err = dir_begin(l, change);
	l->next.has_begun = false;
	l->next.current++;
	if (err || !l->next.is_used)
		return err;
	if (!l->is_deep)
		err = stale_answered(change, ino);
	if (!err && l->next.had_names)
		err = name_each_in(change->cache, ino, vanish_name, &vanish);
	if (!err && !l->is_deep)
		err = merge_dir_mtime(change, &l->next.own, l->position);
	return err ? err : merge_listed(change, ino, l->position);
}

static int entry_take(struct apply_listing *l, struct change *change, const struct kml_listed *entry)
{
	uint64_t dir = l->dirs[l->next.current].ino, ino = 0;
	struct slice name = kml_name_get(&entry->name);
	bool is_dir = entry->object.attr.type == KML_DIR;
	int err = 0;

	if (!l->next.has_begun)
		err = dir_begin(l, change);
	if (!err && l->next.is_used)
		err = merge_object(change, &entry->object, l->position, &ino);
	if (!err && l->next.is_used && l->next.had_names)
		err = seen_add(l, dir, name);
	if (!err && l->next.is_used)
		err = merge_bind(change, dir, name, ino);
	/* What is in it may be news all the same. */
	if (!l->next.is_used)
		ino = inode_find_oid(change->cache, &entry->object.oid);
	if (!err && is_dir && l->is_deep)
		err = dir_push(l, entry->object.oid, ino);
	return err;
}

/* The line of what was asked for. */
static int own_take(struct apply_listing *l, struct change *change, const struct kml_listed *entry)
{
	const struct kml_object *object = &entry->object;
	int err = 0;

	if (!kml_oid_is_none(entry->parent) || entry->name.kml_name_len ||
	    object->attr.type != KML_DIR)
		return -EBADMSG;
	if (inode_find_oid(change->cache, &object->oid) == l->ino) {
		uint64_t ino;

		err = merge_object(change, object, l->position, &ino);
	} else if (inode_edit(change, l->ino, &err)) {
		return -EBADMSG;	/* of another directory */
	} else if (err == -ESTALE) {
		err = 0;		/* removed here meanwhile */
	}
	l->next.has_own = true;
	l->next.own = (struct kml_object){
		.oid = object->oid, .attr = object->attr, .attr_version = object->attr_version,
	};
	return err ? err : dir_push(l, object->oid, l->ino);
}

/* Keeps (2) for a directory whose entries come in several changes. */
static int dir_go_on(struct apply_listing *l, struct change *change)
{
	struct inode_edit *edit;
	uint64_t ino;
	int err;

	if (!l->next.has_begun || !l->next.is_used)
		return 0;
	ino = l->dirs[l->next.current].ino;
	edit = inode_edit(change, ino, &err);
	if (!edit && err != -ESTALE)
		return err;
	if (edit && !merge_is_overtaken(change->cache, edit, l->position))
		return 0;
	l->next.is_used = false;
	l->next.was_overtaken |= edit != NULL;
	return stale_ask(change, ino);
}

/* The next entry, or, where that is of a later directory or there is none, the end of the current one. */
static int step(struct apply_listing *l, struct change *change)
{
	const struct kml_listed *entry = l->next.at < l->n ? &l->entries[l->next.at] : NULL;

	if (entry && !l->next.has_own) {
		l->next.at++;
		return own_take(l, change, entry);
	}
	/* No line of its own at all; or entries of no directory. */
	if (l->next.current == l->next.n_dirs)
		return -EBADMSG;
	if (!entry || !kml_oid_equal(l->dirs[l->next.current].oid, entry->parent))
		return dir_end(l, change);
	l->next.at++;
	return entry_take(l, change, entry);
}

static bool is_taken(const struct apply_listing *l, const struct state *state)
{
	return state->at == l->n &&
	       (!l->is_last || (state->has_own && state->current == state->n_dirs));
}

static int take_run(struct change *change)
{
	struct apply_listing *l = change->arg;
	int err;

	l->next = l->state;	/* keeps (3) */
	err = dir_go_on(l, change);
	for (unsigned i = 0; !err && i < STEPS_PER_CHANGE && !is_taken(l, &l->next); i++)
		err = step(l, change);
	if (!err)
		err = FAULT("listing.take");
	return err ? err : breaking_off(l, change);
}

/* Forget the names of directories that are over.  What has come of the current one began in this very piece. */
static int seen_trim(struct apply_listing *l)
{
	const struct listed_dir *dir = &l->dirs[l->state.current];
	int err = 0;

	hash_drain(&l->seen, seen_free, NULL);
	if (l->state.current == l->state.n_dirs || !l->state.had_names)
		return 0;
	for (size_t i = 0; !err && i < l->state.at; i++)
		if (kml_oid_equal(l->entries[i].parent, dir->oid))
			err = seen_add(l, dir->ino, kml_name_get(&l->entries[i].name));
	return err;
}

static int take(struct apply_listing *l, const struct kml_listed *entries, size_t n, bool is_last)
{
	int err = 0;

	l->entries = entries;
	l->n = n;
	l->is_last = is_last;
	l->state.at = 0;
	while (!err && !is_taken(l, &l->state)) {
		size_t was = l->state.current;

		err = writer_call(l->cache, take_run, l);
		if (err)
			return err;
		l->state = l->next;
		if (l->state.current != was)
			err = seen_trim(l);
	}
	return err ? err : merge_finish(l->cache);
}

/* ---- the calls ---- */

int apply_listing_begin(struct cache *cache, uint64_t ino, uint64_t position, bool is_deep,
			struct apply_listing **ret_listing)
{
	struct apply_listing *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	err = hash_init(&l->seen);
	if (err) {
		free(l);
		return err;
	}
	/* From here on it counts when something makes the directory stale again. */
	if (!is_deep)
		err = stale_asked(cache, ino);
	if (err) {
		hash_release(&l->seen);
		free(l);
		return err;
	}
	l->cache = cache;
	l->ino = ino;
	l->position = position;
	l->is_deep = is_deep;
	*ret_listing = l;
	return 0;
}

int apply_listing_add(struct apply_listing *listing, const struct kml_listed *entries, size_t n)
{
	return n ? take(listing, entries, n, false) : 0;
}

int apply_listing_end(struct apply_listing *listing, int err)
{
	struct cache *cache = listing->cache;
	uint64_t ino = listing->ino;
	bool is_deep = listing->is_deep;

	if (!err)
		err = take(listing, NULL, 0, true);
	if (!err && listing->state.was_overtaken)
		err = -EAGAIN;
	hash_drain(&listing->seen, seen_free, NULL);
	hash_release(&listing->seen);
	free(listing->dirs);
	free(listing);
	/* A deep one nobody has asked for: who waits for a directory has asked for it by itself. */
	if (!is_deep && err != -EAGAIN)
		apply_listing_failed(cache, ino, err);
	return err;
}

void apply_listing_failed(struct cache *cache, uint64_t ino, int err)
{
	stale_done(cache, ino);
	park_wake_listing(cache, ino, err);
}
