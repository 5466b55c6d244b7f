/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * key: the keys of izo-nfsd.conf(5) as a table, and how their values are read.
 */
#ifndef CMD_KEY_H
#define CMD_KEY_H

#include <stddef.h>
#include "base/buf.h"
#include "cmd/config.h"

enum key_kind {
	KIND_PATH,
	KIND_URL,
	KIND_BOOL,
	KIND_COUNT,
	KIND_LISTEN,
	KIND_DURABILITY,
	KIND_TRACE,
	KIND_HOST,
	KIND_GROUP,
	KIND_SQUASH,
	KIND_COMMAND,
	KIND_POLICY,
	KIND_SIZE,
	KIND_FLOOR,
	KIND_HOARD,		/* key_is_list() */
	KIND_LINK,
	KIND_BANDWIDTH,		/* key_is_list() */
	KIND_MERGE,		/* key_is_list() */
	KIND_BASE_LIMIT,
};

struct key {
	const char *name;
	enum key_kind kind;
	size_t offset;		/* in struct config, or in struct config_tree */
	unsigned min, max;	/* of a count */
};

#define KEY_DAEMON_N 16
#define KEY_TREE_N 20
#define KEY_SIZE_MIN (1ull << 20)
#define KEY_FLOOR_MAX 50u		/* per cent */
#define KEY_DEPTH_MAX 1000u
#define KEYS_MAX 32		/* of either section: bits of a mask */
extern const struct key key_daemon[KEY_DAEMON_N];
extern const struct key key_tree[KEY_TREE_N];

/* What the names of trees and hosts are made of; not a dot first. */
#define KEY_NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."

/* By enum nfsd_squash. */
extern const char *const key_squash_names[];
/* What --link takes beside these: as the configuration has it. */
#define LINK_CONFIGURED "configured"
/* By enum link_kind. */
extern const char *const key_link_names[LINK_KINDS];
/* -EINVAL: it is none of them. */
int key_parse_link(const char *value, enum link_kind *ret);
/* "20G", "none" (0); of bytes, at least min.  -EINVAL. */
int key_parse_size(const char *value, uint64_t min, uint64_t *ret);

/* May it stand there any number of times, each adding to the others? */
bool key_is_list(const struct key *key);
const struct key *key_find(const struct key *keys, size_t n, const char *name);
/*
 * Put a value into its field of base, a struct config or config_tree.  -EINVAL: not allowed, nothing is changed;
 * -ENOMEM.
 */
int key_put(const struct key *key, void *base, const char *value);
/* Append what is allowed, as it stands after "allowed: ". */
void key_say_allowed(struct buf *out, const struct key *key);

#endif
