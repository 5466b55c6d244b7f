/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check_state: what check*.c share. */
#ifndef CACHE_CHECK_STATE_H
#define CACHE_CHECK_STATE_H

#include "base/buf.h"
#include "cache/check.h"
#include "cache/db.h"

#define CHECK_ROOM 4096

struct check {
	const struct check_config *config;
	struct check_result result;
	int dirfd, lock_fd;
	char *path;			/* of cache.db */
	struct db *db;			/* to read from, and with 'repair' in a transaction */
	bool is_closed;			/* the last daemon ended properly */
	unsigned told;			/* of the kind that is being looked for */
};

/*
 * Damage was found.  With 'repair' it is about to be mended: the caller does so when this gives true.  After CHECK_TELL_MAX of
 * a kind (check_begin()) they are counted only.
 */
#define CHECK_TELL_MAX 50
bool check_found(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Damage that cannot be mended. */
void check_lost(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
void check_note(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Another kind of damage is looked for; what of the last one was not told is counted out. */
void check_begin(struct check *check);

/* The path of an inode, for people; into text, which it gives. */
const char *check_path(struct check *check, uint64_t ino, char text[CHECK_ROOM]);

/*
 * Run a statement for each number in the list (uint64_t each), as its ?1.  A list is gathered while a query is gone
 * through, for what is done changes its tables.
 */
int check_each(struct check *check, struct buf *list, const char *sql);
int check_add(struct buf *list, uint64_t number);

/* Move a content file to lost+found.  0; -ENOENT: it is not there. */
int check_keep_content(struct check *check, uint64_t ino, uint32_t gen);
/* Write these bytes to a file there. */
int check_keep_bytes(struct check *check, const char *name, struct slice bytes);

/* ---- the parts ---- */

int check_meta(struct check *check);
int check_inodes(struct check *check);
int check_names(struct check *check);
int check_log(struct check *check);
int check_content(struct check *check);
int check_digests(struct check *check);
int check_bases(struct check *check);
/* check_links.c: link counts; what is on record of conflicts. */
int check_links(struct check *check);
int check_conflicts(struct check *check);
/*
 * SQLite says that it is damaged: what can be read of it goes into a new one, which takes its place.  -EUCLEAN, -EIO: not even who the
 * cache is.
 */
int check_salvage(struct check *check);
/* Then: every content goes to lost+found, and there is no database any more.  check_anew_say() only tells that. */
int check_anew(struct check *check);
int check_anew_say(struct check *check);
bool check_has_content(struct check *check);

/* ---- between them ---- */

/* Each content file; fn gives 0 to go on. */
int check_each_content(struct check *check, int (*fn)(struct check *check, uint64_t ino, uint32_t gen, void *arg), void *arg);
/* The database, and its log, as they are, get a name that is free beside their own. */
int check_put_away(struct check *check);

#endif
