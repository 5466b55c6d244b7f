/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prepare: what prepare.c, which makes all that a segment needs in stage/, has from prepare_make.c and prepare_content.c, record by record. */
#ifndef HTTPD_PREPARE_H
#define HTTPD_PREPARE_H

#include "httpd/segment.h"

#define SET_ALL (KML_SET_MODE | KML_SET_UID | KML_SET_GID | KML_SET_ATIME | KML_SET_MTIME)

/* ---- prepare.c ---- */

/* Will it be another time?  EDQUOT is none: one user who has used up what is his would hold up everybody's log. */
bool prepare_is_transient(int err);

/* ---- prepare_make.c ---- */

/* What record i makes, other than a file.  0 or -errno, then nothing of it is there. */
int prepare_node(struct segment *segment, uint32_t i);
/* The file that record i, a CREATE, makes.  *ret_has_content: that of the next record is in it. */
int prepare_file(struct segment *segment, uint32_t i, bool *ret_has_content);

/* ---- prepare_content.c ---- */

/*
 * The ranges' bytes, into a file: first cut to keep and extended to the record's size.
 * What the record lacks shows before the file is touched.
 */
int prepare_put_ranges(struct segment *segment, const struct kml_store *store, uint64_t keep, int to);
/*
 * What the store makes of the object as it is, as stage/NAME, for record i.  -EAGAIN: the object is not what the tables say, and is to be
 * looked at; after any error the caller does prepare_undo().
 */
int prepare_content(struct segment *segment, uint32_t i, const struct object *object, const struct kml_store *store, const char *name);
/* The object is made by an earlier record of this segment: the content of record i goes right into that file. */
int prepare_fill_created(struct segment *segment, uint32_t i, uint32_t create);

#endif
