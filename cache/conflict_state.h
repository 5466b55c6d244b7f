/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conflict_state: what those share that settle one record that was not done; conflict.c has who settles which. */
#ifndef CACHE_CONFLICT_STATE_H
#define CACHE_CONFLICT_STATE_H

#include <stdint.h>
#include "cache/conflict_note.h"
#include "cache/types.h"

/* One record to be settled. */
struct conflict {
	struct change *change;
	uint64_t ino;
	struct inode_edit *edit;	/* the object; NULL: gone, or another one by now */
	const struct kml_record *record;
	const struct kml_answer *answer;
};

/* ---- conflict.c ---- */

/* Put it on record.  dir, name: the name in dispute; dir 0: none. */
int conflict_say(const struct conflict *c, enum conflict_kind kind, uint64_t dir, struct slice name, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* The record is not done. */
int conflict_drop(const struct conflict *c);

/* ---- conflict_renew.c ---- */

/* The names of an inode that upstream knows, or will. */
struct known {
	uint64_t dir, seq;
	uint8_t len;
	char name[CACHE_NAME_MAX];
};

struct known_names {
	struct known *v;		/* to be freed, after an error too */
	unsigned n, n_local;
};

static inline struct slice known_name(const struct known *known)
{
	return (struct slice){ known->name, known->len };
}

/* Those of c->ino; names is all zeros before. */
int conflict_known_names(const struct conflict *c, struct known_names *names);
/*
 * A new object with the one name that is given, to be bound by the caller with *ret_seq.  heir: the
 * inode that upstream's object has now, 0: none.  1: parts of its content were not here.
 */
int conflict_renew(const struct conflict *c, const struct inode_edit *dir, struct slice name, unsigned n_local, uint64_t heir,
		   uint64_t *ret_seq);

/* ---- conflict_split.c, conflict_place.c ---- */

int conflict_split(struct conflict *c);
int conflict_in_place(struct conflict *c);

#endif
