/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * step: what step.c shares with facts.c (what the tables say), disk.c and swap.c (what is done to files) and
 * finish.c.
 *
 * Private to these.  Under the tree's lock, in its transaction.
 */
#ifndef HTTPD_STEP_H
#define HTTPD_STEP_H

#include "httpd/segment.h"

/* ---- facts.c ---- */

/* What a record is about, as the tables have it.  id 0: there is none. */
struct facts {
	struct object object, parent, from, replaced;
	struct name_row at;		/* what the wanted name holds; object 0: nothing */
	bool is_aside;			/* RENAME: what it replaces is at another name, for the wanted one was taken */
	struct name_row source;		/* the name to be taken away */
	bool has_source;
};

/* make: the record's, or NULL when it makes nothing.  0 or -errno. */
int facts_gather(struct segment *segment, const struct kml_body *body, const struct kml_make *make,
		 struct facts *f, struct certify_facts *c);
/* A name beside 'wanted' that the tables do not have. */
int facts_free_name(struct segment *segment, const struct kml_record *record, int64_t dir,
		    struct slice wanted, struct name *ret_name);

/* ---- swap.c: nothing that somebody has put there just then is overwritten or removed ---- */

/*
 * The name is moved to the trash, and stays there.  -ESTALE: it was not what the tables say, and is back; -EINPROGRESS: it is not known
 * which.
 */
int swap_take_away(struct segment *segment, uint64_t seq, const struct object *object, const struct name_row *row);
/* After a crash: it had been moved to the trash, perhaps.  1: it is what was to go; 0: it was not, or is back; or -EINPROGRESS. */
int swap_was_taken_away(struct segment *segment, uint64_t seq, const struct object *object, const struct name_row *row);
/* f->source, in 'from', comes to 'name' in 'to', where f->replaced is, which goes.  As disk_rename(). */
int swap_rename_over(struct segment *segment, uint64_t seq, const struct facts *f, int from, int to, const char *name);
/* After a crash, for a rename: what it has taken away already, is removed.  0, or -EINPROGRESS. */
int swap_finish_remove(struct segment *segment, uint64_t seq, const struct facts *f);
/* After a crash 'to' has the object: the rest.  0 or -EINPROGRESS. */
int swap_finish_over(struct segment *segment, uint64_t seq, const struct facts *f, int from);
/* What is in stage/ by that name, plan's file, takes the place of the object's under one name.  As disk_store(). */
int swap_store_at(struct segment *segment, const char *staged, const struct object *object, const struct name_row *row, struct plan *plan);
/* After a crash: what has come out from under a name, and is neither plan's file nor the object's, gets a name again. */
int swap_keep_what_came_out(struct segment *segment, const char *staged, const struct object *object, const struct name_row *row,
			    const struct plan *plan);

/* ---- disk.c ---- */

/* How a step is to be done. */
enum how {
	HOW_DO,
	HOW_MAYBE,	/* a crash may have come after it: look first */
	HOW_DONE	/* nothing on disk */
};

enum how disk_how(const struct segment *segment, uint32_t i);
/* What an error of a step means: STEP_SURPRISE, STEP_RETRY, or the (negative) error for REFUSED. */
int disk_classify(int err);
bool disk_is_file(const struct file_stat *st, const struct object *object);
/* And its content, as far as size and mtime tell; not ctime, which a rename changes. */
bool disk_is_as_known(const struct file_stat *st, const struct object *object);

/*
 * One step each: 0, or -errno for disk_classify() with nothing done; -EINPROGRESS: it is done by half, or that is not known.
 */
int disk_place(struct segment *segment, uint64_t seq, int64_t dir, const char *name, enum how how);
int disk_link(struct segment *segment, const struct object *object, int64_t dir, const char *name,
	      enum how how);
int disk_remove(struct segment *segment, uint64_t seq, const struct object *object,
		const struct name_row *row, enum how how);
int disk_rmdir(struct segment *segment, const struct object *object, const struct name_row *row,
	       enum how how);
int disk_rename(struct segment *segment, uint64_t seq, const struct facts *f, int64_t dir, const char *name,
		bool is_over, enum how how);
/* rows: the names that get what was staged, n of them; they are put into another order. */
int disk_store(struct segment *segment, uint64_t seq, const struct object *object, struct name_row *rows, size_t n,
	       struct plan *plan, enum how how);
/* object->attr becomes what the file then has. */
int disk_setattr(struct segment *segment, struct object *object, const struct kml_attr *attr,
		 unsigned set);
/* acls: kml_acls in XDR; with object->attr.mode, which becomes what the file then has. */
int disk_setacl(struct segment *segment, struct object *object, struct slice acls);
/* dir->file becomes that of the directory that is made. */
int disk_revive(struct segment *segment, struct object *dir, int64_t parent, const char *name,
		enum how how);

#endif
