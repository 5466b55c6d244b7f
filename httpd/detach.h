/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * detach: which of a file's names a DETACH is for (docs/PROTOCOL.md 7).
 *
 * A client that has put another file in the place of one, and says so as a store, knew of one name of it.  That is what the record
 * says.  Other names may have come meanwhile, by a snapshot of links or another client; these are to keep the old file.  Names that this
 * client has given itself are its own: it made them after that.
 */
#ifndef HTTPD_DETACH_H
#define HTTPD_DETACH_H

#include "httpd/object.h"

struct detach_names {
	struct name_row *rows;		/* owned: first those that the record is for, then the others */
	size_t n_kept, n;
};

/*
 * n == n_kept: there are no others.  Does the name that the record says hold something else by now, and none of them is the client's, then
 * it is for one in the same directory, or for any.  0 or -errno; to be released in either case.
 */
int detach_names_get(struct sql *sql, const struct object *object, uint64_t client, const struct kml_detach *detach,
		     struct detach_names *ret_names);
void detach_names_release(struct detach_names *names);	/* n and n_kept stay */

#endif
