/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * merge: upstream's objects and names into the cache's, as far as nothing of ours waits on them.
 *
 * What is marked (data_seq, attr_seq, dirty bytes, name.seq) is left alone: the object or directory gets
 * is_stale instead (stale.h) and is asked for again.  Older states than the one here (by version) are ignored.
 * Names that are local (name_is_local()) are none of upstream's business: asked to bind or unbind one, nothing happens.
 * Where one thing cannot be put in (a name of ours is there, a directory that is not empty yet, a circle) the call
 * gives 0 and the directory is marked.
 *
 * Threads: all but merge_finish() run on the writer thread, inside a change.  What has to be done once it is committed
 * (waking of who waits for content or a listing, sweeping) is arranged for by these functions.
 * Errors: 0 or -errno (SQL, memory; -EAGAIN of EDIT_MAPS): the change's run() passes it on.
 */
#ifndef CACHE_MERGE_H
#define CACHE_MERGE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "rpcgen/kml_codec.h"

struct cache;
struct change;
struct inode_edit;

/* The size that its inode has: a file's, a symlink's text's, else 0. */
uint64_t merge_size_of(const struct kml_object *object);

/*
 * Find the object by its oid, or make an inode for it (no names yet: merge_bind() follows), and bring
 * attributes, data version, link text up to date.  Clean content of another version is given up: GEN goes up.
 * object->attr.nlink 0 (it is gone there): nothing is made nor changed; *ret_ino is 0 when it is not here.
 * position: of that state.  A new directory's listed_at is that, or what has been pulled if that is later: journal
 * entries up to there were not looked at for it.
 */
int merge_object(struct change *change, const struct kml_object *object, uint64_t position, uint64_t *ret_ino);

/*
 * Our own change, as upstream had it then: what no version tells (nlink, a directory's mtime), and only if nothing of ours
 * waits on it.  position: of its entry.
 */
int merge_own(struct change *change, const struct kml_object *object, uint64_t position);

/*
 * The name stands for that object.  What it stood for before loses it, as by merge_unbind().  A directory has
 * one name: it loses the one before.  An object that ends up with no name at all is dropped.
 */
int merge_bind(struct change *change, uint64_t dir, struct slice name, uint64_t ino);

/*
 * The name is gone.  ino: only if it stands for that one, else the directory is marked; 0: whatever it stands for.
 * A file that has no other name is dropped with its content; but if it has bytes of ours that upstream does not have,
 * the name stays and the directory is marked.  A directory goes once all in it is gone: by merge_finish(),
 * together with it; what is ours in it keeps it, and it stays marked.
 */
int merge_unbind(struct change *change, uint64_t dir, struct slice name, uint64_t ino);

/* The object is gone upstream: all its names go, as by merge_unbind(). */
int merge_gone(struct change *change, uint64_t ino);

/*
 * All names of the directory are here as of position: sets is_listed, listed_at, nlink.  Who waits for the
 * listing is woken once it is committed.  is_stale: see stale_answered(), before anything else of that listing.
 */
int merge_listed(struct change *change, uint64_t dir, uint64_t position);

/*
 * The directory's mtime is what upstream has, with nothing of ours on its way that makes it later: records of ours that came
 * to nothing have set ours only.  For a whole listing of that position, which is not overtaken, at its end.
 */
int merge_dir_mtime(struct change *change, const struct kml_object *object, uint64_t position);

/*
 * Is a listing of that position too old for the directory's names?  It must have seen all that was pulled about them, and
 * all that our own retired records did: names that a record has made or taken away are clean once it is retired, long
 * before its journal entry is pulled.
 */
bool merge_is_overtaken(struct cache *cache, const struct inode_edit *dir, uint64_t position);
/* A record of ours about a name in that directory, or about a name of that file, was retired; it is journal entry 'version'. */
void merge_own_name(struct cache *cache, uint64_t ino, uint64_t version);
/* The last such entry that is not pulled yet; 0: there is none since the start. */
uint64_t merge_own_version(struct cache *cache, uint64_t ino);
/* The last of any of our records that was retired before the start; which objects these were about is forgotten. */
uint64_t merge_own_before_start(struct cache *cache);
/* The directory has another inode: what is known of our own records about its names holds for that. */
void merge_own_moved(struct cache *cache, uint64_t from_dir, uint64_t to_dir);

/*
 * After a change in which any of the above ran has ended, on the thread that called writer_call(): what was left for
 * changes of their own, bounded ones.
 */
int merge_finish(struct cache *cache);

/* ---- between merge*.c, and for conflict.c ---- */

/* The object's access control lists are those. */
int merge_acls(struct inode_edit *edit, const struct kml_object *object);

/*
 * A change of ours of its attributes came to nothing: upstream's are taken, though it be of the version that is known here.
 * object: as it was when that was answered, or NULL; where it is of no use, the next one to come is taken.
 */
int merge_attrs_again(struct change *change, struct inode_edit *edit, const struct kml_object *object);
/* Does the object have bytes that upstream does not have? */
bool merge_has_our_data(const struct inode_edit *edit);
/* The object goes, with what waits in the log for nobody else; it has no names. */
int merge_drop(struct change *change, struct inode_edit *edit);
/* The same for a directory without names in it; its own name goes too. */
int merge_drop_dir(struct change *change, struct inode_edit *edit);
/* The directory is to be emptied, and to go, by merge_finish(). */
int merge_sweep_later(struct change *change, uint64_t dir);

/* ---- for apply.c ---- */

struct merge;
/* own_before: see merge_own_before_start(). */
int merge_new(uint64_t own_before, struct merge **ret_merge);
void merge_free(struct merge *merge);

#endif
