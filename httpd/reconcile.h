/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reconcile: what did local programs do?  Directories are compared with the tables; each difference
 * becomes a change of client 0.
 *
 * In two passes: first what is there (new names, renames, contents, attributes) everywhere that is
 * to be looked at, then what is missing: a name that went away may have come up elsewhere, and is a
 * rename then.  Also where was looked already, or is not going to be: so before the second pass the
 * names are looked at that events have told of meanwhile.
 *
 * Numbers in the code:
 *  (1) A file is known again by its inode number and birth time, whatever its name.
 *  (2) Content is taken as changed when size, mtime or, with no other reason to see, ctime are not
 *      as recorded; or when it was recorded so soon after its mtime that a write since then may not
 *      show ("racy").
 *  (3) What apply did is recorded as it then is on disk, so it is no difference.
 *
 * Threads: any; reconcile_names() and reconcile_all() take the tree's lock, for about
 * RECONCILE_HOLD_US at a time.
 */
#ifndef HTTPD_RECONCILE_H
#define HTTPD_RECONCILE_H

#include "httpd/tree.h"

#define RECONCILE_HOLD_US 50000
/* What happened so long ago has made its events: a rename is seen at its one end before it is told of. */
#define RECONCILE_EVENTS_US 50000

/*
 * Something to look at: a name in a directory; or with name.len 0 all of the directory (not what is
 * below it); or with the name "." the directory's own attributes.
 */
struct reconcile_item {
	int64_t dir;
	struct name name;
	uint64_t since_us;	/* what made it worth a look has happened by then (clock_us()) */
};

struct reconcile_hooks {
	/* A directory is about to be read (not each time that only a name in it is looked at). */
	void (*enter)(void *arg, int64_t dir, int fd);
	/*
	 * Has it been, as that file?  A directory that was made by apply has not: it is read once,
	 * and what is below it.
	 */
	bool (*is_entered)(void *arg, int64_t dir, struct file_id file);
	/*
	 * The names that events have told of by now and are yet to be looked at, which stay so; *ret_items is to be freed.
	 * -EOVERFLOW: it is not known any more, and everything is going to be looked at.
	 */
	int (*told)(void *arg, struct reconcile_item **ret_items, size_t *ret_n);
	/* To be looked at again in a moment: it may be changing. */
	void (*again)(void *arg, const struct reconcile_item *item);
	/* true: give up now, with -EINTR. */
	bool (*is_stopping)(void *arg);
	void *arg;
};

/* hooks may be NULL, so may each of them.  *ret_changes: journal entries made. */
int reconcile_names(struct tree *tree, const struct reconcile_item *items, size_t n,
		    const struct reconcile_hooks *hooks, uint64_t *ret_changes);
int reconcile_all(struct tree *tree, const struct reconcile_hooks *hooks, uint64_t *ret_changes);

/* The same as reconcile_names(), for who has the lock; in a transaction of its own; told() is the watch's. */
int reconcile_locked(struct tree *tree, const struct reconcile_item *items, size_t n);

#endif
