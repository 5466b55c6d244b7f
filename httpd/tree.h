/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tree: the exported directory and its state in .intermezzo/: lock, transactions, open directories,
 * readers.
 *
 * One change of the tree happens at a time, under tree->lock: a part of a batch (apply.h), or a
 * look at what local programs did (reconcile.h).  Its tables change in one transaction; when that
 * is committed the journal's new entries are published, and whoever waits for them wakes up.
 * Readers have connections of their own and see what is committed, without the lock.
 *
 * Lock order: tree->lock, then tree->publish_lock or tree->readers_lock.
 */
#ifndef HTTPD_TREE_H
#define HTTPD_TREE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/hash.h"
#include "httpd/object.h"

#define STATE_DIR ".intermezzo"
#define TREE_ID_TEXT 37		/* a UUID */
#define TREE_READERS 16		/* idle connections that are kept */
/* Bytes that are to be free for a batch to be begun, besides its own size. */
#define TREE_ROOM_MIN (4u << 20)

struct reserve;

struct tree {
	/* constant after open */
	char *path;
	int root_fd, state_fd, stage_fd, trash_fd, lock_fd;
	struct reserve *reserve;	/* room for removals on a full disk */
	uint64_t dev;		/* what is mounted below the export is not part of it */
	bool has_acls;		/* its file system has access control lists */
	char id[TREE_ID_TEXT];
	char host[KML_HOST_MAX + 1];

	pthread_mutex_t lock;
	/* under lock */
	struct sql *sql;
	uint64_t position;	/* of the last entry written, in the running transaction too */
	struct hash_table dirs;	/* open directories by id, until tree_unlock() */
	bool needs_redo;	/* a batch is half done: apply_redo() before anything else */
	int broken;		/* -errno: what is on disk is not known; a restart finds out */
	const struct reconcile_hooks *watching;	/* of the watch that runs; NULL: none does */

	pthread_mutex_t publish_lock;
	pthread_cond_t publish_cond;
	/* under publish_lock */
	uint64_t published;	/* the last position that is committed */
	uint64_t commits;	/* so many have been; an entry need not come of one */
	uint64_t oldest;
	bool is_stopping;

	pthread_mutex_t readers_lock;
	struct sql *readers[TREE_READERS];	/* under readers_lock; idle ones */
	size_t n_readers;
};

/*
 * Open the export at path, making its state when it has none.  On failure *ret_why is a sentence
 * for people (or NULL), to be freed.  -EBUSY: another server has it.  -EPROTO: its state is of a
 * newer format.
 */
int tree_open(const char *path, struct tree **ret_tree, char **ret_why);
void tree_close(struct tree *tree);

/* Only the mutex; who is going to change something takes apply_lock() instead. */
void tree_lock(struct tree *tree);
/* Also closes the open directories. */
void tree_unlock(struct tree *tree);

/* With the lock held.  A commit that fails has rolled back; -EIO then breaks the tree. */
int tree_begin(struct tree *tree);
int tree_commit(struct tree *tree);
void tree_rollback(struct tree *tree);
/* Around many questions that change nothing: each by itself takes and gives back the database's locks. */
int tree_read_begin(struct tree *tree);
void tree_read_end(struct tree *tree);

/* ---- directories (tree_dir.c) ---- */

/*
 * With the lock held: a directory's descriptor, good until tree_unlock(), tree_trim_dirs() or
 * tree_forget_dir(). -ESTALE, -ENOENT, -ENOTDIR, -ELOOP, -EXDEV: what stands there is not that
 * directory any more.
 */
int tree_dir(struct tree *tree, int64_t id);
/* Close some when many are open: between two pieces of work. */
void tree_trim_dirs(struct tree *tree);
void tree_forget_dir(struct tree *tree, int64_t id);
/* All: an open directory may have been moved or removed since, and does not show it. */
void tree_forget_dirs(struct tree *tree);
/* The same without the lock, by a reader's tables; the descriptor is the caller's. */
int tree_open_dir(struct tree *tree, struct sql *sql, int64_t id);

/* ---- readers ---- */

/* A connection with a snapshot of all that is committed; to be put back in any case. */
int tree_reader_get(struct tree *tree, struct sql **ret_sql);
void tree_reader_put(struct tree *tree, struct sql *sql);

/* ---- waiting (tree_wait.c) ---- */

/* The position that is published, once it is above from or the time is over or the server stops. */
uint64_t tree_wait(struct tree *tree, uint64_t from, uint64_t deadline_us);
/* So many transactions have been committed; and wait until it is another number than 'seen', or likewise. */
uint64_t tree_commits(struct tree *tree);
void tree_wait_commit(struct tree *tree, uint64_t seen, uint64_t deadline_us);
void tree_stop_waiting(struct tree *tree);
bool tree_is_stopping(struct tree *tree);
uint64_t tree_oldest(struct tree *tree);

/* ---- room ---- */

/* -ENOSPC when less than so many bytes are free below the export. */
int tree_has_room(struct tree *tree, uint64_t bytes);
/* The same for a content of which so much is still to be staged: beside it there is to be room for the record that it is for. */
int tree_has_room_to_stage(struct tree *tree, uint64_t bytes);

#endif
