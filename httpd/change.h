/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * change: what one change of the tree does to the tables, and its journal entry.
 *
 * The same for a client's record (apply) and for what a local program did (reconcile).  Nothing
 * here touches a file.  Under the tree's lock, inside its transaction.  Errors: 0 or -errno, then
 * roll back.
 */
#ifndef HTTPD_CHANGE_H
#define HTTPD_CHANGE_H

#include "httpd/tree.h"

struct change_by {
	/* 0: a local program; then the directories' times are what was seen, not set here */
	uint64_t client;
	uint64_t seq;
	struct kml_time time;
	unsigned uid;
};

/* By a local program, now. */
struct change_by change_by_local(void);

/*
 * A new object (attr, file, ctime, file_nlink, oid or none are set) and its name.  Sets the rest of
 * it.  acls: kml_acls in XDR, no bytes for none.
 */
int change_make(struct tree *tree, const struct change_by *by, struct object *object, int64_t dir,
		struct slice name, struct slice wanted, struct slice target, struct slice acls);
int change_link(struct tree *tree, const struct change_by *by, struct object *object, int64_t dir,
		struct slice name, struct slice wanted);
/* Take a name away; with its last one the object is gone.  A directory must be empty. */
int change_unlink(struct tree *tree, const struct change_by *by, struct object *object,
		  const struct name_row *row);
/* replaced: what to_name was until now, or NULL. */
int change_rename(struct tree *tree, const struct change_by *by, struct object *object,
		  const struct name_row *from, int64_t to_dir, struct slice to_name,
		  struct slice wanted, struct object *replaced);
/* object->attr holds the new values of what set (KML_SET_*) says. */
int change_setattr(struct tree *tree, const struct change_by *by, struct object *object,
		   unsigned set);
/* object->attr.mode is the new mode; acls as above. */
int change_setacl(struct tree *tree, const struct change_by *by, struct object *object,
		  struct slice acls);
/*
 * A directory's mtime has gone on for names in it that nobody saw.  No new version: that would put whoever changes
 * its mode or owner meanwhile into conflict, over nothing.
 */
int change_dir_time(struct tree *tree, const struct change_by *by, const struct object *dir);
/*
 * object->attr holds the new size and mtime; store: the client's record, or NULL: all may be
 * different.
 */
int change_store(struct tree *tree, const struct change_by *by, struct object *object,
		 const struct kml_store *store);
/*
 * These names of a file are another object's from now on: one that is the file as it is, *ret_other, made by this.  The entries are made
 * as a local program's: whoever knew the file by one of these names, that client too, has to hear of it.
 */
int change_detach(struct tree *tree, const struct change_by *by, struct object *object, const struct name_row *rows, size_t n,
		  struct object *ret_other);
/*
 * A removed directory comes back.  The entry is made as a local program's, so that the client whose
 * record needed it hears of it too.
 */
int change_revive(struct tree *tree, const struct change_by *by, struct object *object, int64_t dir,
		  struct slice name, struct slice wanted);

#endif
