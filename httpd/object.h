/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * object: the rows of upstream.db: objects, their names, other words for them.
 *
 * An object keeps its row for ever: a removed one with gone set, so that a late record about it
 * gets the right answer and a directory can come back.  id is the row; oid is what clients call it.
 *
 * Calls that look something up give 1: found, 0: there is none, or -errno. Threads: as the
 * connection they are given.
 */
#ifndef HTTPD_OBJECT_H
#define HTTPD_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include "httpd/files.h"
#include "httpd/sql.h"
#include "rpcgen/kml_codec.h"

#define ROOT_ID 1	/* the row of KML_ROOT */

struct object {
	int64_t id;			/* 0: not in the tables yet */
	struct kml_oid oid;		/* none: object_insert() gives it {0,id} */
	struct kml_attr attr;		/* nlink: names; of a directory 2 and its directories */
	uint64_t data_version, attr_version;
	uint64_t data_by, attr_by;	/* the client that changed it last; 0: a local program */
	uint64_t gone;			/* the position at which it was removed; 0: it is there */
	int64_t was_dir;		/* of a directory that is gone: where it was */
	/*
	 * The file as last seen; with attr's size and mtime what tells whether somebody changed it.
	 */
	struct file_id file;
	int64_t ctime;			/* ns; 0: not known, look closely */
	uint32_t file_nlink;
	/* seen so soon after its mtime that a later write may not show */
	bool is_racy;
	bool has_acls;			/* object_acls() has them; read only */
};

struct name {
	size_t len;			/* 0: none */
	char text[KML_NAME_MAX + 1];	/* NUL-terminated */
};

struct name_row {
	int64_t dir;
	struct name name;
	int64_t object;
	uint64_t by;			/* the client that gave the name; 0: a local program */
	/*
	 * The name that client wanted, when it got another (RENAMED); with by 0: the one it had,
	 * before reconcile parked it.
	 */
	struct name wanted;
};

static inline struct slice name_slice(const struct name *name)
{
	return (struct slice){ name->text, name->len };
}

void name_set(struct name *name, struct slice value);	/* value.len <= KML_NAME_MAX */
bool name_equal(const struct name *a, const struct name *b);

int object_by_id(struct sql *sql, int64_t id, struct object *ret_object);
/* Follows other words (object_alias()). */
int object_by_oid(struct sql *sql, struct kml_oid oid, struct object *ret_object);
/* One that is there and was last seen as that file. */
int object_by_file(struct sql *sql, struct file_id id, struct object *ret_object);
/* Sets object->id, and oid when there is none. target: of a symlink. */
int object_insert(struct sql *sql, struct object *object, struct slice target);
int object_update(struct sql *sql, const struct object *object);
/* Its access control lists (kml_acls in XDR) are appended to buf; nothing: it has none.  0 or -errno. */
int object_acls(struct sql *sql, const struct object *object, struct buf *buf);
/* Also sets object->has_acls.  0 or -errno. */
int object_set_acls(struct sql *sql, struct object *object, struct slice acls);
/* Where a removed directory had been. */
int object_set_was(struct sql *sql, int64_t id, int64_t dir, struct slice name);
int object_was_name(struct sql *sql, int64_t id, struct name *ret_name);
/* From now on oid is another word for that object. */
int object_alias(struct sql *sql, struct kml_oid oid, int64_t id);
/* The object as clients see it; for kml_object_release(). */
int object_to_kml(struct sql *sql, const struct object *object, struct kml_object *ret_kml);

int name_get(struct sql *sql, int64_t dir, struct slice name, struct name_row *ret_row);
/* A name that this client wanted for the object in dir, and got another. */
int name_get_wanted(struct sql *sql, int64_t dir, struct slice wanted, int64_t object, uint64_t by,
		    struct name_row *ret_row);
/* wanted.len 0: it got what it wanted. */
int name_insert(struct sql *sql, int64_t dir, struct slice name, int64_t object, uint64_t by,
		struct slice wanted);
int name_delete(struct sql *sql, int64_t dir, struct slice name);
/* One of the object's names. */
int name_of(struct sql *sql, int64_t object, struct name_row *ret_row);
/* All names of an object; *ret_rows is the caller's to free.  0 or -errno. */
int names_of(struct sql *sql, int64_t object, struct name_row **ret_rows, size_t *ret_n);
/* Names in a directory, sorted by bytes: at most max of those above 'after'.  0 or -errno. */
int names_after(struct sql *sql, int64_t dir, struct slice after, struct name_row *rows, size_t max,
		size_t *ret_n);
/* 1: there is a name in the directory; 0: it is empty; or -errno. */
int names_any_in(struct sql *sql, int64_t dir);

#endif
