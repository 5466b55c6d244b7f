/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * export: --export-log: the log of a tree with its contents into a file (rpcgen/kml_file.h, docs/LOG-FILE.md).
 *
 * Where the records come from: the running daemon (export_live.c), or the cache's directory when there is none
 * (export_dead.c).  Contents are read from the cache's files here, in this process: the daemon only says which, and whether
 * they kept still.
 */
#ifndef CMD_EXPORT_H
#define CMD_EXPORT_H

#include <stdbool.h>
#include "cache/cml_export.h"
#include "cmd/command.h"

struct export_source {
	/* *ret_why: a sentence, to be freed */
	int (*begin)(struct export_source *source, struct cml_export_head *ret_head, char **ret_why);
	/* The next record: 1, 0: there are no more, -EBADMSG: one is not readable, the next may be, other -errno. */
	int (*next)(struct export_source *source, struct cml_exported *ret_exported, char **ret_why);
	/* Content of the last record.  -ESTALE: the file was removed or replaced meanwhile. */
	int (*read)(struct export_source *source, const struct cml_exported *exported, void *data, size_t len, uint64_t offset);
	/*
	 * All of its content has been read.  0: as one state of the file.  1: it was written meanwhile, and *io_exported is the record anew.
	 * -ESTALE: it is gone, and so is the record.
	 */
	int (*look)(struct export_source *source, struct cml_exported *io_exported, char **ret_why);
	/* All has been read, and the file is about to become one that somebody can send.  May be NULL. */
	int (*mark)(struct export_source *source);
	void (*free)(struct export_source *source);
};

/* NULL: out of memory.  tree: its name, borrowed; ctl: borrowed. */
struct export_source *export_live(struct ctl *ctl, const char *tree);
/* dir: of the cache. */
int export_dead(const char *dir, struct export_source **ret_source, char **ret_why);

#endif
