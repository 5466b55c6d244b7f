/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The listing of the upstream's tree, entry after entry, against the names that are here.
 *
 * Parents come before what is in them (docs/PROTOCOL.md 5), so a directory has been taken, or left alone, when its entries come.  What is
 * below one that was left alone, for something of ours has its name, is left alone too: the answer to our record about that name
 * has the directory above listed again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "cache/acl.h"
#include "cache/adopt_state.h"
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/merge.h"

#define PIECE (256u << 10)
#define NS_PER_S 1000000000

/* ---- an object of the upstream's ---- */

/* Its access control lists, as the row has them; they have to be some. */
static int acl_of(const struct kml_object *object, struct slice *ret)
{
	struct acls *acls;
	int err;

	*ret = (struct slice){ NULL, 0 };
	if (object->attr.type == KML_LNK)
		return 0;
	err = acls_decode(kml_extra_get(&object->extra), &acls);
	if (!err && acls)
		*ret = kml_extra_get(&object->extra);
	if (!err)
		free(acls);
	return err;
}

static struct slice target_of(const struct kml_object *object)
{
	return object->attr.type == KML_LNK ? kml_extra_get(&object->extra) : (struct slice){ NULL, 0 };
}

/* A backup may know of whole seconds only. */
static bool is_same_time(int64_t one, int64_t other)
{
	return one == other || (one / NS_PER_S == other / NS_PER_S && (one % NS_PER_S == 0 || other % NS_PER_S == 0));
}

static bool is_like(const struct adopt_inode *inode, const struct kml_object *object)
{
	return inode->size == merge_size_of(object) && is_same_time(inode->mtime, cml_time_ns(object->attr.mtime));
}

static bool is_type(const struct adopt_inode *inode, const struct kml_object *object)
{
	return inode->type == (enum file_type)object->attr.type;
}

static int make(struct adopt *a, const struct kml_object *object, uint64_t parent, uint64_t *ret_ino)
{
	const struct kml_attr *attr = &object->attr;
	uint64_t ino = a->next_ino;
	struct slice acl;
	int err;

	err = acl_of(object, &acl);
	if (err)
		return err;
	err = db_run(a->db,
		     "INSERT INTO inode (ino, oid_origin, oid_number, type, mode, uid, gid, major, minor, nlink, links_up, parent, size,"
		     " atime, mtime, ctime, data_version, attr_version, data_seq, attr_seq, is_stale, is_listed, listed_at, is_dirty, gen,"
		     " keep_size, target, acl) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11, ?12, ?13, ?14, ?15, ?16, ?17,"
		     " 0, 0, 0, ?4 = 2, CASE ?4 WHEN 2 THEN ?18 ELSE 0 END, 0, 0, ?12, ?19, ?20)",
		     "iiiiiiiiiiiiiiiiiibb", (int64_t)ino, (int64_t)object->oid.origin, (int64_t)object->oid.number,
		     (int64_t)attr->type, (int64_t)(attr->mode & 07777), (int64_t)attr->uid, (int64_t)attr->gid, (int64_t)attr->major,
		     (int64_t)attr->minor, (int64_t)attr->nlink, (int64_t)(attr->type == KML_DIR ? parent : 0),
		     (int64_t)merge_size_of(object), cml_time_ns(attr->atime), cml_time_ns(attr->mtime),
		     MIN(cml_time_ns(attr->mtime), a->now), (int64_t)object->data_version, (int64_t)object->attr_version,
		     (int64_t)a->given->position, target_of(object), acl);
	if (err)
		return err;
	a->next_ino++;
	*ret_ino = ino;
	return adopt_set_kind(a, ino, ADOPT_TAKEN);
}

/* Its content is another one, or not known to be the same. */
static int give_up_content(struct adopt *a, uint64_t ino, uint64_t size)
{
	return db_run(a->db, "UPDATE inode SET size = ?2, keep_size = ?2, present = NULL, gen = gen + (gen <> 0) WHERE ino = ?1", "ii",
		      (int64_t)ino, (int64_t)size);
}

/* The inode is that object from now on.  keeps_content: what is here of it stays. */
static int take(struct adopt *a, const struct adopt_inode *inode, const struct kml_object *object, bool keeps_content)
{
	const struct kml_attr *attr = &object->attr;
	struct slice acl;
	int err;

	err = acl_of(object, &acl);
	if (!err)
		err = db_run(a->db,
			     "UPDATE inode SET oid_origin = ?2, oid_number = ?3, mode = ?4, uid = ?5, gid = ?6, major = ?7, minor = ?8,"
			     " nlink = ?9, atime = ?10, mtime = ?11, ctime = max(ctime + 1, ?12), data_version = ?13, attr_version = ?14,"
			     " acl = ?15, is_listed = (type = 2), listed_at = CASE type WHEN 2 THEN ?16 ELSE 0 END, keep_size = size,"
			     " dirty = NULL, dirty_next = NULL, is_dirty = 0 WHERE ino = ?1",
			     "iiiiiiiiiiiiiibi", (int64_t)inode->ino, (int64_t)object->oid.origin, (int64_t)object->oid.number,
			     (int64_t)(attr->mode & 07777), (int64_t)attr->uid, (int64_t)attr->gid, (int64_t)attr->major,
			     (int64_t)attr->minor, (int64_t)attr->nlink, cml_time_ns(attr->atime), cml_time_ns(attr->mtime), a->now,
			     (int64_t)object->data_version, (int64_t)object->attr_version, acl, (int64_t)a->given->position);
	if (!err && inode->type == TYPE_REG && !keeps_content)
		err = give_up_content(a, inode->ino, merge_size_of(object));
	if (!err && inode->type == TYPE_LNK)
		err = db_run(a->db, "UPDATE inode SET target = ?2, size = ?3, keep_size = ?3 WHERE ino = ?1", "ibi", (int64_t)inode->ino,
			     target_of(object), (int64_t)merge_size_of(object));
	return err ? err : adopt_set_kind(a, inode->ino, ADOPT_TAKEN);
}

/* ---- a name ---- */

static int bind_name(struct adopt *a, struct slice name, uint64_t ino, bool is_new)
{
	if (!is_new)
		return db_run(a->db, "UPDATE name SET ino = ?3, seq = -1 WHERE dir = ?1 AND name = ?2", "ibi", (int64_t)a->parent, name,
			      (int64_t)ino);
	return db_run(a->db, "INSERT INTO name (dir, name, ino, cookie, seq) VALUES (?1, ?2, ?3, ?4, -1)", "ibii", (int64_t)a->parent,
		      name, (int64_t)ino, (int64_t)a->next_cookie++);
}

/* The name is that object's, whatever it was.  there: an inode that is it already, 0: none. */
static int bind_object(struct adopt *a, struct slice name, const struct kml_object *object, uint64_t there, bool is_new)
{
	int err = there ? 0 : make(a, object, a->parent, &there);

	return err ? err : bind_name(a, name, there, is_new);
}

/* The clean inode has the name, and the object is another one. */
static int lose(struct adopt *a, const struct adopt_inode *inode, struct slice name)
{
	if (inode->kind != ADOPT_UNDECIDED)
		return 0;
	return inode->type == TYPE_DIR ? adopt_keep_path(a, inode->ino, a->parent, name) : adopt_keep(a, inode, a->parent, name);
}

static bool is_same_link(const struct adopt_inode *inode, const struct kml_object *object)
{
	struct slice target = target_of(object);

	return inode->type == TYPE_LNK && inode->target.len == target.len && !memcmp(inode->target.data, target.data, target.len);
}

/* Ours has the name.  It is sent as a new object, unless the upstream has the very same. */
static int meet_ours(struct adopt *a, const struct adopt_inode *inode, const struct kml_object *object, struct slice name)
{
	bool is_same = is_type(inode, object) &&
		       (inode->type == TYPE_DIR || is_same_link(inode, object) ||
			(inode->type == TYPE_REG && !inode->is_dirty && adopt_is_whole(inode) && is_like(inode, object)));
	int err = 0;

	if (!is_same)
		return 0;
	/* Likely what an answer that was lost was about; should it be something else after all, it is not lost. */
	if (inode->type == TYPE_REG)
		err = adopt_keep(a, inode, a->parent, name);
	if (!err)
		err = take(a, inode, object, false);
	return err ? err : bind_name(a, name, inode->ino, false);
}

/* A clean one of the same type has the name. */
static int meet_clean(struct adopt *a, const struct adopt_inode *inode, const struct kml_object *object, struct slice name)
{
	bool is_same = inode->type == TYPE_REG ? adopt_is_whole(inode) && is_like(inode, object) :
		       inode->type == TYPE_LNK ? is_same_link(inode, object) : true;
	int err = is_same ? 0 : adopt_keep(a, inode, a->parent, name);

	if (!err)
		err = take(a, inode, object, is_same);
	return err ? err : bind_name(a, name, inode->ino, false);
}

/* Something has the name; there: an inode that is the object already, under another name, or 0. */
static int meet(struct adopt *a, const struct adopt_inode *inode, const struct kml_object *object, uint64_t there, struct slice name)
{
	bool may_be_it = !there && (inode->kind == ADOPT_UNDECIDED || inode->kind == ADOPT_NEEDED) && is_type(inode, object);
	int err;

	if (inode->ino == there)
		return bind_name(a, name, there, false);
	if (inode->kind == ADOPT_OURS)
		return there ? 0 : meet_ours(a, inode, object, name);
	if (may_be_it)
		return meet_clean(a, inode, object, name);
	if (inode->kind == ADOPT_NEEDED)
		return 0;
	err = lose(a, inode, name);
	return err ? err : bind_object(a, name, object, there, false);
}

static int take_entry(struct adopt *a, const struct kml_listed *entry)
{
	const struct kml_object *object = &entry->object;
	struct slice name = kml_name_get(&entry->name);
	struct adopt_inode inode;
	uint64_t here, there;
	int err = 0, got;

	if (!kml_oid_equal(entry->parent, a->parent_oid)) {
		a->parent_oid = entry->parent;
		err = adopt_find_oid(a, entry->parent, &a->parent);
	}
	if (err || !a->parent || (object->attr.type != KML_DIR && name_is_local(name)))
		return err;
	err = adopt_find_oid(a, object->oid, &there);
	if (!err)
		err = adopt_find_name(a, a->parent, name, &here);
	if (err)
		return err;
	/* A directory has one place. */
	if (there && object->attr.type == KML_DIR)
		return -EBADMSG;
	if (!here)
		return bind_object(a, name, object, there, true);
	got = adopt_inode_get(a, here, &inode);
	if (got <= 0)
		return got ? got : bind_object(a, name, object, there, false);
	err = meet(a, &inode, object, there, name);
	adopt_inode_release(&inode);
	return err;
}

/* The line of the root itself. */
static int take_root(struct adopt *a, const struct kml_listed *entry)
{
	struct adopt_inode root;
	int err, got;

	if (!kml_oid_equal(entry->object.oid, KML_ROOT) || entry->object.attr.type != KML_DIR || !kml_oid_is_none(entry->parent))
		return -EBADMSG;
	got = adopt_inode_get(a, CACHE_ROOT, &root);
	if (got <= 0)
		return got ? got : -EUCLEAN;
	err = take(a, &root, &entry->object, true);
	adopt_inode_release(&root);
	return err;
}

/* ---- frames ---- */

struct listing {
	struct adopt *adopt;
	uint64_t n;		/* frames so far */
};

static int frame_came(void *arg, struct slice body)
{
	struct listing *listing = arg;
	struct kml_listed entry;
	int err = kml_listed_decode(body.data, body.len, &entry);

	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	err = listing->n ? take_entry(listing->adopt, &entry) : take_root(listing->adopt, &entry);
	kml_listed_release(&entry);
	listing->n++;
	return err;
}

int adopt_list(struct adopt *a)
{
	AUTO_FREE char *piece = malloc(PIECE);
	struct listing listing = { .adopt = a };
	struct frames frames;
	uint64_t offset = 0;
	int err = piece ? 0 : -ENOMEM;

	frames_init(&frames);
	while (!err && !frames.is_ended) {
		ssize_t len = fs_pread_full(a->given->listing_fd, piece, PIECE, offset);

		if (len <= 0) {
			err = len ? (int)len : -EBADMSG;
			break;
		}
		offset += (uint64_t)len;
		err = frames_feed(&frames, piece, (size_t)len, frame_came, &listing);
	}
	frames_release(&frames);
	return err ? err : listing.n ? 0 : -EBADMSG;
}
