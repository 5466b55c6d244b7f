/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tree: the large tree that tree.c makes and memory.c asks for: one directory of LARGE files, the rest in directories of EACH. */
#ifndef BENCH_TREE_H
#define BENCH_TREE_H

#include <stdio.h>
#include <sys/param.h>

#define FILES 1000000u
#define LARGE 100000u
#define EACH 1000u
#define DIRS ((FILES - LARGE) / EACH)	/* and the large one, of number DIRS */
#define FILE_SIZE 4096u

static inline void dir_name(unsigned i, char *name, size_t size)
{
	if (i < DIRS)
		(void)snprintf(name, size, "dir-%u", i);
	else
		(void)snprintf(name, size, "large");
}

static inline void file_name(unsigned i, char *name, size_t size)
{
	(void)snprintf(name, size, "a-file-%07u.c", i);
}

static inline unsigned dir_of(unsigned file)
{
	return MIN(file / EACH, DIRS);
}

#endif
