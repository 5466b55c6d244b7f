/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inode: objects in memory, and edits of them.
 *
 * Memory is a cache of table inode.  Everything here is under cache->lock.  All fields are changed
 * by the writer thread only, through edits, but for what a WRITE or a fetch changes directly on its
 * own thread: size, mtime, ctime, used, the maps, write_gen, last_write_us (WRITE only on a file
 * whose is_dirty note is committed).
 *
 * An edit is how code that runs on the writer thread (writer.h) changes an inode:
 *
 *	struct inode_edit *e = inode_edit(change, ino, &err);
 *	EDIT(e, mode, 0644);			-- sets e->v.mode and remembers that it was set
 *	...
 * e->v are private values that start as the inode's; what was set is written to cache.db when the
 * change function returns 0, and put into the inode after that; when it fails nothing happens at
 * all.  Asking twice for one inode in one change gives the same edit.  The maps are edited in
 * e->present, e->dirty, e->dirty_next after EDIT_MAPS(e) (which copies them), and since a WRITE may
 * add to the inode's maps meanwhile, only content code (data.c, object.c, apply.c, conflict.c,
 * cml.c) does that, under the rule written at EDIT_MAPS.
 */
#ifndef CACHE_INODE_H
#define CACHE_INODE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/hash.h"
#include "base/list.h"
#include "cache/extent.h"
#include "cache/types.h"
#include "rpcgen/kml_codec.h"

#define CACHE_ROOT 2

struct cache;
struct change;
struct object;

/* In memory a hundred thousand times: the small ones stand together. */
struct inode_values {
	struct kml_oid oid;
	enum file_type type : 8;
	bool is_stale, is_listed, is_dirty;
	uint32_t mode, uid, gid, major, minor;
	uint32_t nlink, links_up;
	uint32_t gen;
	uint64_t parent;
	uint64_t size;
	int64_t atime, mtime, ctime;	/* ns since 1970 */
	uint64_t data_version, attr_version;
	uint64_t data_seq, attr_seq;
	uint64_t listed_at;
	uint64_t keep_size;
	/*
	 * As kept (acl.h); NULL: none.  No field of its own: set by inode_edit_acls(), owned by the inode or, where it
	 * is new, by the edit.
	 */
	const struct acls *acls;
};

/*
 * What every object in memory has.  It is what memory is spent on, so that a cache can have many: what only those have
 * with which something goes on is in 'work'.
 */
struct inode {
	struct hash_node by_ino;
	uint64_t ino;
	uint32_t refs;			/* users now; 0 and not pinned: may be evicted */
	uint32_t pins;			/* changed by a transaction that has not committed */
	struct inode_values v;
	struct extent_map present;
	char *target;			/* of a symlink, NUL-terminated */
	uint64_t used;			/* bytes on disk when last seen; 0: unknown; not in the row */
	struct inode_work *work;	/* its own after inode_wake(), else everybody's, which is const */
	bool is_gone;			/* removed; only references are left */
	bool is_noted;			/* is_dirty is committed: content may be written */
	bool has_names;			/* v.is_listed is committed: the readers' connection has its names */
	bool is_recent : 1;		/* used since the sweep came by (inode.c) */
	bool is_digest_due : 1;		/* in digester.h's queue */
	bool is_guessed : 1;		/* asked for before anybody wanted it, and not read since (ahead.h) */
	uint32_t read_s;		/* its content was read then, since 1970; 0: not since it is in memory (space.h) */
};

/*
 * What goes on with an inode: it is edited, written, fetched, read, or waits to be synced or replayed.  An inode at
 * rest shares one in which nothing goes on, so anybody may look; who wants to change something calls inode_wake() first,
 * with a reference that keeps it awake.
 */
struct inode_work {
	struct inode *inode;
	struct extent_map dirty, dirty_next;
	struct object *object;		/* open content file, counted, or NULL */
	uint8_t verifier[8];
	bool has_verifier;
	/* not on disk */
	struct inode_edit *edit;	/* of the change that runs now; the writer thread's */
	/*
	 * Changes with the content, to a number that no content in this cache has had since its start: what was evicted
	 * meanwhile and is read again has another one as well.
	 */
	uint64_t write_gen;
	uint64_t synced_gen;		/* write_gen up to which the object file was synced since it is awake */
	uint64_t logged_gen;		/* write_gen up to which that or content_log.h made it durable */
	struct extent unsynced;		/* around all that was written since the last change that found, or made it so */
	uint64_t fetched_gen;		/* write_gen when bytes were fetched last */
	bool has_fetched;		/* bytes were fetched that the maps on disk do not have yet */
	uint64_t cut_gen;		/* goes up when the object file gets shorter: reads begin anew */
	uint64_t last_write_us, last_commit_us, last_fetch_us;
	bool has_uncommitted;		/* since the last COMMIT: size and maps on disk are older */
	struct list quiet;		/* in cache->written: is_dirty, waits for 5 s of quiet */
	/* Its STORE record in the replayer's hands (or by one before the start); 0: none. */
	uint64_t taken_seq;
	/*
	 * Content held for a change (inode_edit_maps()): n_writing counts pwrites under way on
	 * other threads, is_held keeps new ones off; those wait in 'held'.  cut_pending: until the
	 * object file has been cut.
	 */
	uint32_t n_writing;
	bool is_held, cut_pending;
	struct list held;		/* cache_op.priv.node */
};

/*
 * Find or load.  Under cache->lock.  NULL: *ret_err is -ESTALE (no such inode) or -EIO, -ENOMEM.
 * To be put.
 */
struct inode *inode_get(struct cache *cache, uint64_t ino, int *ret_err);
void inode_put(struct cache *cache, struct inode *inode);
/* If it is in memory, else NULL; not referenced. */
struct inode *inode_find(struct cache *cache, uint64_t ino);
/* Give it work of its own, under the lock; until the last reference is put, and while something goes on.  -ENOMEM. */
int inode_wake(struct cache *cache, struct inode *inode);
/*
 * ino of an oid, 0: not here.  Under cache->lock or on the writer thread (sees the open transaction
 * then).
 */
uint64_t inode_find_oid(struct cache *cache, const struct kml_oid *oid);
void inode_attr(const struct inode *inode, struct attr *ret);

/* ---- on the writer thread, inside a change ---- */

struct inode_edit {
	struct list node;		/* in its change */
	struct inode *inode;		/* referenced */
	struct inode_values v;
	uint32_t set;			/* bit per field, see EDIT */
	bool has_maps;
	struct extent_map present, dirty, dirty_next;
	char *target;			/* new link text, owned; NULL: unchanged */
	bool set_acls;
	struct acls *acls;		/* with set_acls: the new ones, owned */
	bool set_verifier;
	bool has_verifier;		/* with set_verifier: there is one from now on, this one; else none */
	uint8_t verifier[8];
	bool is_new, is_removed;
	/* Set by who puts all content into the row: has_uncommitted ends with it. */
	bool is_committed;
	/* cml.c's: taken_seq becomes this together with the maps. */
	bool set_taken;
	uint64_t taken_seq;
	/* inode.c's */
	struct change *change;
	uint32_t old_gen;
	uint64_t was_size;		/* when the edit was put into the inode */
	int64_t was_mtime;
	bool holds, cuts;
	bool is_durable;		/* the content, when the change is */
	/*
	 * Set before EDIT_MAPS(): the content is given up as a whole, for another generation without any: so none of it has to
	 * be made durable; its file is left to who made the edit.
	 */
	bool drops_content;
};

/* NULL: *ret_err as inode_get().  e->inode stays referenced until the change is over. */
struct inode_edit *inode_edit(struct change *change, uint64_t ino, int *ret_err);
/*
 * A new inode (row inserted at once so that it has its number: e->inode->ino).  v: all values but acls; its
 * oid {0,0}: a fresh one of this client's is taken.
 */
struct inode_edit *inode_make(struct change *change, const struct inode_values *v, int *ret_err);
/*
 * The object is gone: row deleted, object file unlinked after the commit, handles become stale.
 * (Where an edit sets gen, the object file of the generation before is unlinked likewise.)
 */
void inode_drop(struct inode_edit *edit);
/* A fresh oid of this client's. */
int inode_new_oid(struct change *change, struct kml_oid *ret_oid);
/* It is another object from now on; also for what comes after it in this change and looks for objects by oid. */
int inode_set_oid(struct change *change, struct inode_edit *edit, struct kml_oid oid);

/* One bit per field of inode_values, in order; EDIT's argument is the field's name. */
enum inode_field {
	FIELD_oid, FIELD_type, FIELD_mode, FIELD_uid, FIELD_gid, FIELD_major, FIELD_minor,
	FIELD_nlink, FIELD_links_up, FIELD_parent, FIELD_size, FIELD_atime, FIELD_mtime, FIELD_ctime,
	FIELD_data_version, FIELD_attr_version, FIELD_data_seq, FIELD_attr_seq, FIELD_is_stale,
	FIELD_is_listed, FIELD_is_dirty, FIELD_listed_at, FIELD_gen, FIELD_keep_size, INODE_FIELDS,
};
#define EDIT(e, field, value) ((e)->v.field = (value), (e)->set |= 1u << FIELD_##field)

/*
 * Edit the maps too: copies present, dirty, dirty_next of the inode into the edit; they replace the
 * inode's when the change is done.
 * For that no WRITE and no fetch may touch them meanwhile: this takes the inode's content for the
 * change (writes and fetched ranges for it wait, briefly) until the change is done.  -ENOMEM.
 */
int inode_edit_maps(struct inode_edit *edit);
#define EDIT_MAPS(e) inode_edit_maps(e)
/*
 * The maps in an edit never speak of bytes that are not on the disk: where writes came since the
 * last sync of the object file and durability is sync (or the change wants_sync), inode_edit_maps() puts them into
 * the content log, or syncs it.  (Who pwrites much calls object_sync() before its change.)
 * It gives -EAGAIN (and sets wants_rerun) when an earlier change of this transaction makes the file
 * shorter: run() passes that on.
 *
 * For code that pwrites on another thread (data.c, apply.c), under the lock: inode_write_begin()
 * gives true, then pwrite without the lock, then the maps are added to and inode_write_end() is
 * called.  False: held; come again later (data.c queues its operation in work->held).
 * A file whose content is written (not fetched) must have is_dirty committed before.
 * The inode is awake.
 */
bool inode_write_begin(struct inode *inode);
void inode_write_end(struct cache *cache, struct inode *inode, bool has_changed);
/* The content is another one now.  Awake. */
void inode_content_changed(struct cache *cache, struct inode *inode);
/*
 * Hold the content: waits for what is being written, new writes wait until inode_hold_end().  The lock is let go
 * meanwhile: look at the inode again.  Not on a loop thread, and nothing may be waited for while it is held.  Awake.
 */
void inode_hold(struct cache *cache, struct inode *inode);
/* New local content goes here: dirty, or dirty_next while the store is taken.  Awake. */
static inline struct extent_map *inode_dirty_map(struct inode *inode)
{
	return inode->work->taken_seq ? &inode->work->dirty_next : &inode->work->dirty;
}

/*
 * The size goes down to, or up from, in this edit: maps, keep_size; the object file is cut after
 * the commit.  Needs EDIT_MAPS.
 */
int inode_edit_size(struct inode_edit *edit, uint64_t size);

/* New access control lists, as kept; taken over.  NULL: none. */
void inode_edit_acls(struct inode_edit *edit, struct acls *acls);

/* Attributes as they will be when the change is done.  Takes the lock. */
void inode_edit_attr(const struct inode_edit *edit, struct attr *ret);
/* Set ctime to the change's time (never back). */
void inode_edit_touch(struct change *change, struct inode_edit *edit);

/*
 * May apply change it?  Nothing of ours on its data (attributes) waits: no seq, no dirty bytes, no
 * write under way.
 * Under the lock or on the writer thread with an edit.
 */
bool inode_data_is_clean(const struct inode *inode);
bool inode_attr_is_clean(const struct inode *inode);

/* ---- for cache.c and the writer ---- */

/* Write what was set to cache.db (inside the transaction). */
int inode_edits_flush(struct change *change);
/* Would what is to be done after the commit take long, as giving a big file back to the file system does? */
bool inode_edits_take_long(struct change *change);
/* Put the edits into the inodes, pinned; under the lock.  Cannot fail. */
void inode_edits_apply(struct change *change);
/* Drop edits; is_applied: pins too, after the transaction's end.  Under the lock. */
void inode_edits_release(struct change *change, bool is_applied);
/*
 * After the commit, without the lock: names can be read from now on; and, when the transaction is_kept for certain, remove and cut
 * object files.
 */
void inode_edits_committed(struct change *change, bool is_kept);
/*
 * The transaction failed: make the touched inodes what the disk says, and drop the edits.  Under
 * the lock.
 */
void inode_edits_revert(struct change *change);
void inode_cache_release(struct cache *cache);

/* ---- between inode.c, inode_work.c and inode_edit.c ---- */

int inode_hash_add(struct cache *cache, uint64_t ino, struct inode **ret_inode);
/*
 * Fill in from the row: 1, 0: there is none, -errno.  What memory knows better than the row
 * (write_gen, ...) stays.
 */
int inode_load(struct cache *cache, struct inode *inode);
void inode_hold_end(struct cache *cache, struct inode *inode);
bool inode_is_awake(const struct inode *inode);
/* Its content is on the disk, or will be as soon as the log is.  Under the lock. */
bool inode_is_durable(const struct inode *inode);
void inode_work_init(struct inode *inode);
/* Nothing goes on that memory alone knows of: what it has may be read again from the row. */
bool inode_is_idle(const struct inode *inode);
/* Where nothing goes on any more: give up the work of its own.  Nobody has a reference. */
void inode_rest(struct cache *cache, struct inode *inode);
void inode_work_free(struct inode *inode);
void inode_values_attr(const struct inode *inode, const struct inode_values *v, struct attr *ret);
void inode_sql_release(struct cache *cache);

#endif
