/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cml_export: the log, to be written to a file that another machine can replay (rpcgen/kml_file.h).
 *
 * Two ways to it that give the same: of a cache that is open, and of the directory of one that nobody has open, from
 * which is only read.
 *
 * What was exported may be sent by somebody else, so it is frozen as if it had been taken (cml.h): what is written from
 * then on makes other records, with other seqs.  In a directory a file says so, CML_EXPORTED, which is the only thing that is
 * written there.
 *
 * Errors: 0 or -errno.
 */
#ifndef CACHE_CML_EXPORT_H
#define CACHE_CML_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

struct cache;

struct cml_export_head {
	struct kml_file_head head;	/* owned; its tree is "" */
	uint64_t last_seq;		/* records up to here are to be exported */
	uint64_t records, bytes;	/* waiting; for people */
};
void cml_export_head_release(struct cml_export_head *head);

struct cml_exported {
	struct kml_saved saved;		/* owned */
	/* of a store: where its content is */
	uint64_t ino;
	uint32_t gen;			/* of the content file */
	uint64_t write_gen;		/* of an open cache: for cml_export_look() */
};
void cml_exported_release(struct cml_exported *exported);

/* ---- of an open cache; any thread that may block ---- */

/* What no COMMIT followed gets its record; everything up to last_seq is frozen. */
int cml_export_begin(struct cache *cache, struct cml_export_head *ret_head);
/*
 * The records after that seq up to last_seq, at most n, fewer where they have very many ranges: *ret_n of them in ret (0: no more).  Stores of files that are gone
 * are left out; then *ret_skipped is set, and what removed them may be above last_seq.  *ret_after: all up to it have been looked at.
 */
int cml_export_next(struct cache *cache, uint64_t after, uint64_t last_seq, size_t n, struct cml_exported *ret,
		    size_t *ret_n, uint64_t *ret_after, bool *ret_skipped);
/* Was the content written since that record was given?  What was read of it then is not one state of the file. */
bool cml_export_look(struct cache *cache, uint64_t ino, uint64_t write_gen);
/* The highest seq there is now. */
uint64_t cml_export_last(struct cache *cache);

/* ---- of a directory ---- */

/* Holds the highest seq that was exported, as decimal text. */
#define CML_EXPORTED "exported"
/* That number; 0: there is no such file. */
int cml_exported_seq(int dirfd, uint64_t *ret_seq);

struct cml_dead;

/*
 * -EBUSY: a daemon has it.  -ENOENT: there is no cache.  -EUCLEAN, -EPROTO: its database is damaged, is of another format.  *ret_why: one
 * sentence, to be freed.
 */
int cml_dead_open(const char *dir, struct cml_dead **ret_dead, char **ret_why);
void cml_dead_close(struct cml_dead *dead);
int cml_dead_head(struct cml_dead *dead, struct cml_export_head *ret_head);
/*
 * The next record: 1, 0: there is none, -EBADMSG: this one cannot be read (what comes behind it can), other -errno.  Behind those of the log comes one for each file with content that has none
 * yet, with a seq that the cache itself never gives (cache/counter.h).
 */
int cml_dead_next(struct cml_dead *dead, struct cml_exported *ret_exported);
/*
 * All that were given are frozen, durably; before anybody can send them.  -EROFS, ...: the cache cannot be marked.  A daemon
 * that is started on it will not replay, once somebody has sent them.
 */
int cml_dead_mark(struct cml_dead *dead);
/* Bytes of its content.  Beyond what is on the disk zeros; *ret_missing: so is all of it, for the file is not there. */
int cml_dead_read(struct cml_dead *dead, const struct cml_exported *exported, void *data, size_t len, uint64_t offset,
		  bool *ret_missing);

/* ---- for both of them ---- */

struct db;
/*
 * The record that was read is to come behind a DETACH (detach.h): that is put in its place, and it has to be read again, as what comes
 * after that.  after: the number of the record before it.  1, 0: there is none, -errno.
 */
int cml_export_detach(struct db *db, uint64_t after, struct cml_exported *exported);

struct extent_map;
/* saved->rest: what is present of the file and not in the record's ranges. */
int cml_export_rest(struct kml_saved *saved, const struct extent_map *present);

#endif
