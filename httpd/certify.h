/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * certify: may this record be applied to what is there now?  The table of docs/PROTOCOL.md 7, and
 * nothing else: pure, no I/O; the caller gathers the facts.
 */
#ifndef HTTPD_CERTIFY_H
#define HTTPD_CERTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include "rpcgen/kml_codec.h"

enum object_is {
	OBJECT_UNKNOWN = 0,	/* nobody has heard of it */
	OBJECT_GONE,		/* it was here */
	OBJECT_THERE
};

/* zeroed: unknown */
struct certify_object {
	enum object_is is;
	enum kml_type type;
	bool is_empty;		/* of a directory that is there */
	unsigned names;
	uint64_t data_version, attr_version;
	uint64_t data_by, attr_by;	/* the client that changed it last */
};

enum name_holds {
	NAME_FREE = 0,
	NAME_SAME,		/* the record's own object */
	NAME_REPLACED,		/* RENAME: the object that the record says it replaces */
	NAME_OTHER_DIR,		/* some other directory */
	NAME_OTHER		/* something else */
};

struct certify_facts {
	uint64_t client;
	struct certify_object object;	/* the record's */
	/* the directory of the new name; of REMOVE and RMDIR, of the name */
	struct certify_object parent;
	enum name_holds name;		/* in it */
	/* RENAME, where parent and name are the target */
	struct certify_object from;
	enum name_holds from_name;
	struct certify_object replaced;
	bool is_into_itself;		/* a directory below itself */
	bool is_reserved;		/* a name that clients never see */
	bool has_others;		/* DETACH: names that it is not for */
};

/* OK and RENAMED: to be done. */
struct verdict {
	enum kml_status status;
	int error;			/* errno, of REFUSED */
	bool must_revive;		/* the parent is gone and has to come back first */
};

struct verdict certify(const struct kml_record *record, const struct certify_facts *facts);

#endif
