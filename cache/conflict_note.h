/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conflict_note: the conflicts on record, tables conflict and conflict_side (docs/DISK-FORMAT.md). */
#ifndef CACHE_CONFLICT_NOTE_H
#define CACHE_CONFLICT_NOTE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "rpcgen/kml_codec.h"

struct cache;
struct change;
struct inode_edit;

/* In the database: never another number for one of these. */
enum conflict_kind {
	CONFLICT_COPY = 1,	/* ours stands beside the name that theirs has, or that nothing has any more */
	CONFLICT_NEW = 2,	/* theirs is gone, ours is there again as a new object */
	CONFLICT_UNDONE = 3,	/* the record was not done */
	CONFLICT_HERE = 4,	/* ours, an object or a content, is here only: refused */
};

/* All that is told of one. */
struct conflict_note {
	struct change *change;
	enum conflict_kind kind;
	uint64_t ino;				/* ours, or what the record is about; 0: nothing that is here */
	const struct inode_edit *edit;		/* the same, or NULL */
	uint64_t dir;				/* the name in dispute; 0: none */
	struct slice name;
	const struct kml_record *record;
	const struct kml_answer *answer;
};

/* Put it on record, inside the change that settles the record. */
int conflict_note(const struct conflict_note *note, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* One on record.  record is to be released by kml_record_release(). */
struct conflict_side {
	uint64_t id;
	enum conflict_kind kind;
	uint64_t ours, dir;
	uint8_t len;
	char name[255];
	struct kml_record record;
};

/* 1; 0: it is not there, or settled, or from before there was this table; -errno.  Any thread. */
int conflict_side_get(struct cache *cache, uint64_t id, struct conflict_side *ret);
/* It is settled, by this change. */
int conflict_side_remove(struct change *change, uint64_t id);
/* It is settled.  Blocks for a transaction; not on a loop's thread. */
int conflict_side_done(struct cache *cache, uint64_t id);

#endif
