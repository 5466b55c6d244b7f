/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config: what izo-nfsd is to do: /etc/izo-nfsd.conf (izo-nfsd.conf(5)) and the options that override it.
 *
 * Every mistake is reported, not the first one alone: each is a line "FILE:LINE: what, and what is
 * allowed" in a buffer of the caller's.  A file with a mistake is refused as a whole.
 *
 * Order: config_init(), config_load(), then options put their values with config_set() and
 * config_set_tree(), then config_check() fills in the one default tree and looks at all together.
 */
#ifndef CMD_CONFIG_H
#define CMD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "cache/settle.h"
#include "cache/types.h"
#include "nfsd/server.h"
#include "replicate/bandwidth.h"
#include "replicate/replicate.h"

#define CONFIG_PATH "/etc/izo-nfsd.conf"
#define CONFIG_CONTROL "/run/izo-nfsd.sock"
#define CONFIG_TREES_MAX 64

/* What is to stay free on the cache's disk; with both the smaller counts.  0: not said. */
struct config_floor {
	uint64_t bytes;
	unsigned percent;
};

struct config_hoard {
	char *path;			/* from the tree's root; owned */
	uint32_t depth, priority;	/* as in cache/hoard.h */
};

struct config_hoards {
	struct config_hoard *v;		/* owned */
	size_t n;
};

/* What merges two contents of a name, "merge = PATTERN COMMAND". */
struct config_merge {
	char *pattern;			/* as base_pattern_matches() takes it; owned */
	char *command;			/* for the shell; owned */
};

struct config_merges {
	struct config_merge *v;		/* owned; the first that matches */
	size_t n;
};

struct config_limits {
	struct bandwidth *v;		/* owned */
	size_t n;
};

/* All strings are owned. */
struct config_tree {
	char *name;
	char *upstream;			/* URL */
	char *cache;			/* the cache directory */
	char *export;			/* as mount names it */
	char *host;			/* for names of conflict copies; NULL: this machine's */
	bool is_read_only;
	enum nfsd_squash squash;
	enum settle_policy conflicts;
	unsigned anon_uid, anon_gid;	/* 0: nfsd's own default */
	bool has_durability;		/* else the daemon's */
	enum durability durability;
	bool keeps_records;		/* the log is not folded */
	uint64_t cache_limit;		/* bytes of content; 0: any amount */
	struct config_floor disk_floor;
	struct config_hoards hoards;
	struct config_merges merges;
	unsigned merge_time_s;		/* for one of these commands */
	uint64_t base_limit;		/* of a content that is kept for them; 0: none is */
	enum link_kind link;
	unsigned aging_window_s;
	struct config_limits limits;	/* of the link's bandwidth */
	unsigned line;			/* where its section begins; 0: not from a file */
};

struct config {
	char *listen_addr;		/* numeric */
	uint16_t port;
	bool rpcbind;
	bool allow_unprivileged_ports;
	bool allow_remote;
	enum durability durability;
	char *control;			/* the control socket */
	char *pid_file;			/* NULL: none but what the service asks for */
	gid_t control_group;		/* whose members may list all; CONTROL_NO_GROUP: nobody's */
	char *debug;			/* log_trace()'s names; NULL: nothing */
	char *diff;			/* what --diff runs; NULL: diff(1) */
	unsigned slow_call_ms;		/* 0: no call is slow */
	unsigned lookup_wait_s, read_wait_s;	/* 0: nfsd's own default */
	unsigned max_connections, max_calls, max_calls_all;	/* 0: nfsd's own default */

	struct config_tree *trees;	/* owned */
	size_t n_trees;

	char *path;			/* the file that was read, for messages; NULL: none */
};

int config_init(struct config *config);		/* the defaults; -ENOMEM */
void config_release(struct config *config);

/*
 * Read a file.  0; -EINVAL: there are mistakes, each a line in errors; -errno: cannot be read, one
 * line in errors.  Where it need not exist, a missing file is as good as an empty one.
 */
int config_load(struct config *config, const char *path, bool must_exist, struct buf *errors);

/*
 * Put one value of [daemon], or of the one tree there is (made when there is none), as an option does.
 * who: the option, for the line in errors.  -EINVAL: not allowed.
 */
int config_set(struct config *config, const char *key, const char *value, const char *who,
	       struct buf *errors);
int config_set_tree(struct config *config, const char *key, const char *value, const char *who,
		    struct buf *errors);

/* Complete the trees and look at them together.  -EINVAL: see errors. */
int config_check(struct config *config, struct buf *errors);

/* Is the path that one, or below it?  Both as key.c takes paths. */
bool config_is_below(const char *path, const char *top);

/* The tree of that name, or NULL. */
const struct config_tree *config_tree(const struct config *config, const char *name);

#endif
