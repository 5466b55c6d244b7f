/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * model: what a directory that one client alone works in must be, exactly.
 *
 * Objects and names, as POSIX has them.  Object 0 is the directory itself.  No call here fails; what the server would refuse, the
 * caller does not ask for.
 */
#ifndef TESTS_TORTURE_MODEL_H
#define TESTS_TORTURE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/nfs/client.h"
#include "tests/torture/tree.h"

#define MODEL_OBJECTS 200
#define MODEL_NAMES 240
#define MODEL_PER_DIR 8		/* names n0 to n7 */
#define MODEL_NAME_LEN 16

enum model_kind { MODEL_NONE, MODEL_FILE, MODEL_DIR, MODEL_SYMLINK };

struct model_object {
	enum model_kind kind;
	unsigned mode, nlink;		/* nlink: names; of a directory always 1 */
	unsigned char *bytes;		/* owned; of a file */
	size_t size;
	char target[32];
	bool has_mtime;			/* mtime is what somebody set last */
	struct nfstime3 mtime;
	bool is_loose;			/* something was written and not committed */
	bool is_going;			/* a call is out that takes a name from it */
	struct fh fh;			/* as it was given out first: it must go on being good */
	int dir;			/* of a directory: the one above */
};

struct model_name {
	bool is_used;
	int dir, object;
	unsigned number;		/* the name is n%u */
};

struct model {
	struct model_object objects[MODEL_OBJECTS];
	struct model_name names[MODEL_NAMES];
};

void model_begin(struct model *model, const struct fh *root);

/* The name's index, or -1. */
int model_find(const struct model *model, int dir, unsigned number);
/* A new object with that name; its index, or -1: there is no room for more. */
int model_make(struct model *model, int dir, unsigned number, enum model_kind kind, unsigned mode);
/* False: no room. */
bool model_link(struct model *model, int object, int dir, unsigned number);
void model_remove(struct model *model, int name);
/* What had the place before, if anything, loses that name. */
void model_rename(struct model *model, int name, int to_dir, unsigned to_number);
void model_resize(struct model_object *object, size_t size);

bool model_is_empty(const struct model *model, int dir);
bool model_is_below(const struct model *model, int dir, int above);
unsigned model_depth(const struct model *model, int dir);
/* The nth of its directories, counted round; there is at least 0. */
int model_dir(const struct model *model, unsigned nth);
/* The nth name of a file, counted round; -1: there is none. */
int model_file(const struct model *model, unsigned nth);
/* For the trace: n1/n2/n3. */
const char *model_path(const struct model *model, int dir, unsigned number);

/* All of it, with PREFIX for the directory itself, in the form that trees are compared in. */
void model_tree(const struct model *model, const char *prefix, struct tree *tree);

#endif
