/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adopt_state: what adopt*.c share: one adoption, and temporary tables of the write connection.
 *
 *	adopt_ino	what becomes of an inode: enum adopt_kind; no row: not decided, so it goes in the end
 *	adopt_undone	records of the old log that are no part of what is sent anew, with their names' directories
 *	adopt_path	where a directory was that has lost its name to something else
 *
 * While the listing is gone through, name.seq is ADOPT_SEEN of a name that is in it, else 0.
 */
#ifndef CACHE_ADOPT_STATE_H
#define CACHE_ADOPT_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "cache/extent.h"
#include "cache/types.h"
#include "rpcgen/kml_codec.h"

struct cache;
struct cache_adopt;
struct db;

#define ADOPT_SEEN (-1)
/* Names of open files that were removed, as dentry.h's name_is_local(), but for odd names of that very form. */
#define ADOPT_IS_LOCAL "(length(name) = 28 AND substr(name, 1, 4) = x'2e6e6673')"

enum adopt_kind {
	ADOPT_UNDECIDED = 0,
	ADOPT_OURS = 1,		/* to be sent */
	ADOPT_TAKEN = 2,	/* it is one of the upstream's */
	ADOPT_NEEDED = 3,	/* a directory above something of ours: taken, if it is there, else ours */
};

struct adopt {
	struct cache *cache;
	struct db *db;
	const struct cache_adopt *given;
	uint64_t client;		/* the new one */
	int64_t now;			/* ns since 1970 */
	/* the next ones to give out */
	uint64_t next_ino, next_oid, next_cookie, next_seq;
	uint64_t frozen;		/* the last seq before these */

	/* the directory whose entries come */
	struct kml_oid parent_oid;
	uint64_t parent;

	/* adopt_keep.c's; id 0: nothing is kept yet */
	uint64_t kept_id;
	int kept_fd, files_fd;
	char kept_name[32];
	uint64_t kept, kept_bytes;

	uint64_t sent, undone;
};

/* An inode's row, as far as it matters here.  To be released. */
struct adopt_inode {
	uint64_t ino;
	enum file_type type;
	enum adopt_kind kind;
	uint32_t mode, uid, gid, major, minor, gen;
	uint64_t size;
	int64_t atime, mtime;
	bool is_dirty;			/* by the note of an unclean end */
	struct kml_oid oid;
	struct extent_map present;
	struct buf target, acl;		/* as in the row */
};

/* 1, 0: there is none, -errno. */
int adopt_inode_get(struct adopt *a, uint64_t ino, struct adopt_inode *ret);
void adopt_inode_release(struct adopt_inode *inode);
/* All of its content is here. */
bool adopt_is_whole(const struct adopt_inode *inode);
int adopt_set_kind(struct adopt *a, uint64_t ino, enum adopt_kind kind);
/* What the name stands for, and the inode of an oid; 0: nothing.  0 or -errno. */
int adopt_find_name(struct adopt *a, uint64_t dir, struct slice name, uint64_t *ret_ino);
int adopt_find_oid(struct adopt *a, struct kml_oid oid, uint64_t *ret_ino);

/* ---- adopt_list.c ---- */

/* Go through the listing. */
int adopt_list(struct adopt *a);

/* ---- adopt_keep.c ---- */

/* What it has is to be kept, as what stood at that name; where it has nothing that is whole, nothing happens. */
int adopt_keep(struct adopt *a, const struct adopt_inode *inode, uint64_t dir, struct slice name);
/* A directory loses its name; what is in it is yet to be looked at. */
int adopt_keep_path(struct adopt *a, uint64_t ino, uint64_t dir, struct slice name);
/* All of it is on the disk and counts, or goes. */
int adopt_keep_end(struct adopt *a);
void adopt_keep_undo(struct adopt *a);
/* The path of the name, without a slash in front; 0, -ENAMETOOLONG, -errno. */
int adopt_path(struct adopt *a, uint64_t dir, struct slice name, char *ret_path, size_t size);

/* ---- adopt_log.c ---- */

/* Before the old log goes: note what of it is not sent anew. */
int adopt_log_read(struct adopt *a);
/* A new log, of all that is ours. */
int adopt_log_write(struct adopt *a);
/* What was noted goes on record as far as it makes a difference. */
int adopt_log_undone(struct adopt *a);

#endif
