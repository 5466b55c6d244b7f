/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cml_state: the log's state in memory, for the files cml*.c and conflict.c.
 *
 * What is on the disk: table cml, one row a record.  A record up to frozen_seq may have been sent, so
 * its row is never folded into another, nor moved.  Of a STORE that was not taken yet the row is a mark only;
 * when it is first taken its keep_size and data_base are written into it (docs/ARCHITECTURE.md "One STORE per file").
 */
#ifndef CACHE_CML_STATE_H
#define CACHE_CML_STATE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/hash.h"
#include "rpcgen/kml_codec.h"

struct cache;
struct change;
struct cml_batch;
struct cml_item;
struct inode;
struct inode_edit;

/* keep_size in the row of a STORE that was never taken. */
#define CML_NOT_TAKEN UINT64_MAX

struct cml {
	/* writer thread; others read it atomically */
	uint64_t last_seq;		/* of a record, the highest */
	uint64_t last_other;		/* the same, but for those that have stood aside (cml_aside.c) */
	/* changed by the writer thread, under cache->lock */
	uint64_t frozen_seq;
	uint64_t records, acked;
	/* under cache->lock */
	uint64_t out_seq;		/* the last record of the batches that are out */
	struct hash_table waiting;	/* struct waiting: bytes of each file with a STORE */
	uint64_t waiting_bytes;
	char host[KML_HOST_MAX + 1];
	void (*wakeup)(void *arg);
	void *wakeup_arg;
};

/* What waits of this file's content: dirty and dirty_next.  bytes 0: nothing any more. */
void cml_count_bytes(struct cache *cache, uint64_t ino, uint64_t bytes);
/* When the change commits, so many records more (or fewer). */
int cml_count_records(struct change *change, int64_t more);

/* Under the lock. */
uint64_t cml_bytes_of(const struct cml *cml, uint64_t ino);
/* Its STORE stands aside, or not any more; for people.  Is known under the lock. */
void cml_set_aside(struct cache *cache, uint64_t ino, bool is_aside);
bool cml_is_aside(const struct cml *cml, uint64_t ino);

void cml_batch_free(struct cml_batch *batch);
/* What is in it; to be filled again. */
void cml_item_clear(struct cml_item *item);
/*
 * The content of a STORE whose keep_size is set, as it is now; keep_size: as of cml_fill_store().  -EFBIG, -EMFILE, -ENFILE, ...: it cannot
 * be had.
 */
int cml_item_fill(struct change *change, struct inode_edit *edit, uint64_t keep_size, struct cml_item *item);
/* The first time that a STORE (whose keep_size is CML_NOT_TAKEN) is taken; cml_take.c tells what has to be done then. */
int cml_freeze_store(struct change *change, struct inode_edit *edit, struct kml_record *record);
/*
 * What is to be sent of the file as it is now, into a STORE whose keep_size is set.  keep_size: the lowest size since it was
 * taken.  Under the lock.  -EFBIG: it is in too many pieces.
 */
int cml_fill_store(const struct inode *inode, uint64_t keep_size, struct kml_record *record, uint64_t *ret_bytes);
void cml_sync_content(struct cache *cache, uint64_t ino);

/* Is there a record about this object?  1, 0, -errno.  On the writer thread, or under the lock. */
int cml_speaks_of(struct cache *cache, uint64_t ino);
/* The last row of this op for the object: 1 and its seq, 0, -errno. */
int cml_last_of(struct change *change, uint64_t ino, enum kml_op op, uint64_t *ret_seq);
/* The record in that column of the row a query stands on, of which no more is wanted: 1, -EUCLEAN, -ENOMEM. */
int cml_row_record(sqlite3_stmt *stmt, int column, struct kml_record *ret_record);
/* Another record in the row of its number. */
int cml_row_update(struct change *change, const struct kml_record *record);
/* The same where that is about one other name, whose mark before it is to be 'was'. */
int cml_row_replace(struct change *change, const struct kml_record *record, uint64_t was);

struct kml_time cml_time(int64_t ns);
/* ns since 1970; a time that these cannot hold becomes the last or first they can. */
int64_t cml_time_ns(struct kml_time time);

/*
 * Directories that were MERGED have another oid than records in the log say.  The inode of an oid, 0: none.
 * On the writer thread, or under the lock.
 */
uint64_t cml_find_oid(struct cache *cache, struct kml_oid oid);
int cml_alias_add(struct change *change, struct kml_oid oid, struct kml_oid is);
/* The log is empty: nothing speaks of them any more. */
int cml_alias_clear(struct change *change);

/* May a DETACH have to go before it (detach.h)?  Then it has two numbers: its own, and before that the DETACH's. */
static inline bool cml_may_detach(enum kml_op op)
{
	return op == KML_STORE || op == KML_SETATTR || op == KML_SETACL;
}
/* The number for a new record, or for one that moves to the end of the log. */
uint64_t cml_next_seq(struct cache *cache, enum kml_op op);

/* The object a record is about, and the directories and names it touches (1 or 2). */
struct kml_oid cml_oid_of(const struct kml_record *record);
const struct kml_make *cml_make_of(const struct kml_record *record);
/* Of an object that is there: a SETATTR or SETACL; but not a FORWARD, which is about a directory's names. */
bool cml_sets_attributes(const struct kml_record *record);
struct cml_place {
	struct kml_oid dir;
	struct slice name;
};
unsigned cml_places_of(const struct kml_record *record, struct cml_place ret_places[2]);
/*
 * For people: the path of the directory as it is now, and the name in it; cut at its end, if it does not fit.  Of a directory that
 * is gone, 'gone' stands for its path.  As cml_find_oid().
 */
void cml_place_path(struct cache *cache, const struct cml_place *place, const char *gone, char *ret_path, size_t size);

/* What a record is about, likewise: a name of its own, or where its object is. */
void cml_record_path(struct cache *cache, uint64_t ino, const struct kml_record *record, char *ret_path, size_t size);

#endif
