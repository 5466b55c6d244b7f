/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RENAME or LINK answered GONE: what it was done to becomes a new object in place, under the name that the record gave it, if there is
 * anything to make one of.
 */
#include "cache/conflict_state.h"

#include <stdlib.h>
#include <string.h>
#include "cache/cml_state.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/nameop.h"
#include "cache/stale.h"
#include "cache/writer.h"

/* A name that we gave it since, or another one that is gone with it. */
static int place_other(struct conflict *c, const struct known *known)
{
	struct change *change = c->change;
	struct inode_edit *dir;
	uint64_t seq;
	int err;

	if (!known->seq) {
		err = name_unbind(change, known->dir, known_name(known), 0);
		return err ? err : stale_ask(change, known->dir);
	}
	dir = inode_edit(change, known->dir, &err);
	if (!dir)
		return err;
	err = nameop_log_link(change, c->edit, dir, known_name(known), &seq);
	if (!err)
		err = name_bind(change, known->dir, known_name(known), c->ino, seq);
	if (!err)
		EDIT(c->edit, nlink, c->edit->v.nlink + 1);
	return err;
}

/* The name that the record gave it, or any that we gave it. */
static const struct known *place_first(const struct conflict *c, const struct known_names *names)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(c->record, places);
	const struct known *first = &names->v[0];

	for (unsigned i = 0; i < names->n; i++) {
		const struct known *known = &names->v[i];

		if (n && known->dir == cml_find_oid(c->change->cache, places[n - 1].dir) &&
		    known->len == places[n - 1].name.len && !memcmp(known->name, places[n - 1].name.data, known->len))
			return known;
		if (known->seq && !first->seq)
			first = known;
	}
	return first;
}

static int place_names(struct conflict *c, const struct known_names *names)
{
	const struct known *known = place_first(c, names);
	struct change *change = c->change;
	struct inode_edit *dir;
	struct kml_oid oid;
	uint64_t seq;
	int err, got;

	dir = inode_edit(change, known->dir, &err);
	if (!dir)
		return err;
	err = inode_new_oid(change, &oid);
	if (!err)
		err = inode_set_oid(change, c->edit, oid);
	if (err)
		return err;
	got = conflict_renew(c, dir, known_name(known), names->n_local, 0, &seq);
	if (got < 0)
		return got;
	err = name_bind(change, known->dir, known_name(known), c->ino, seq);
	for (unsigned i = 0; i < names->n && !err; i++)
		if (&names->v[i] != known)
			err = place_other(c, &names->v[i]);
	if (err)
		return err;
	return conflict_say(c, CONFLICT_NEW, 0, (struct slice){ NULL, 0 }, "%s at the server, %s here: it is kept as a new one",
			    c->answer->status == KML_GONE ? "removed" : "never made",
			    c->record->body.op == KML_LINK ? "linked" : "renamed");
}

/* Is there anything to make a new object of? */
static int can_renew(const struct conflict *c)
{
	struct extent gap;
	int err;

	if (!c->edit || !c->edit->v.links_up || c->edit->v.type == TYPE_DIR)
		return 0;
	if (c->edit->v.type != TYPE_REG)
		return 1;
	err = EDIT_MAPS(c->edit);
	if (err)
		return err;
	/* What was written to it counts, what was only read does not, unless it is whole. */
	return c->edit->dirty.n || c->edit->dirty_next.n ||
	       !extent_first_gap(&c->edit->present, 0, c->edit->v.size, &gap);
}

int conflict_in_place(struct conflict *c)
{
	struct known_names names = { 0 };
	struct cml_place places[2];
	uint64_t store;
	int got;

	/* Where a STORE follows, that one settles it. */
	got = cml_last_of(c->change, c->ino, KML_STORE, &store);
	if (got)
		return MIN(got, 0);
	got = can_renew(c);
	if (got <= 0)
		return got ? got : conflict_drop(c);
	for (unsigned i = 0, n = cml_places_of(c->record, places); i < n; i++) {
		uint64_t dir = cml_find_oid(c->change->cache, places[i].dir);

		got = dir ? name_retire(c->change, dir, places[i].name, c->record->seq) : 0;
		if (got)
			return got;
	}
	got = conflict_known_names(c, &names);
	if (!got)
		got = names.n ? place_names(c, &names) : conflict_drop(c);
	free(names.v);
	return got;
}
