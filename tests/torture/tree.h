/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tree: all that is in a directory, as the upstream's disk has it, as a mount shows it, or as a model says; to be compared.
 */
#ifndef TESTS_TORTURE_TREE_H
#define TESTS_TORTURE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/nfs/client.h"

#define TREE_HEAD 64		/* so much of a file's content is kept */

struct tree_entry {
	char *path;		/* owned; "a/b" */
	char type;		/* 'f', 'd', 'l' */
	unsigned mode, nlink;	/* nlink: 0 of directories */
	uint64_t size, hash;	/* of the content, or of the link's text; a directory has none */
	int64_t mtime_ns;	/* TREE_ANY_TIME: whatever it is */
	uint64_t fileid;	/* 0: not known */
	unsigned char head[TREE_HEAD];
};

#define TREE_ANY_TIME INT64_MIN

struct tree {
	struct tree_entry *v;	/* owned; sorted by path */
	size_t n, cap;
};

void tree_release(struct tree *tree);
/* The entry is the tree's; path is copied. */
struct tree_entry *tree_add(struct tree *tree, const char *path);
void tree_set_content(struct tree_entry *entry, const void *bytes, size_t size);
void tree_sort(struct tree *tree);

/* What is in the local directory, without .intermezzo; symbolic links are not followed. */
void tree_scan_local(const char *dir, struct tree *tree);
/* What the client sees.  0, or the NFS status of what could not be read, told in *ret_path (PATH_MAX). */
int tree_scan_nfs(struct client *nfs, struct tree *tree, char *ret_path);

/*
 * True: equal.  Only what is below the prefix "a/" is looked at, or all ("").  says: name for each side, and up to ten differences are
 * told by trace_found(); NULL: nothing is.
 */
bool tree_is_equal(const struct tree *a, const struct tree *b, const char *prefix, const char *const says[2]);

#endif
