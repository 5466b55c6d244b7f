/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash: intrusive chained hash table that grows by doubling; and the hash functions to use with it.
 *
 * The table stores nodes, not keys: a lookup walks hash_first()/hash_next(), which give the nodes
 * of exactly that hash value, and the caller compares keys.
 *
 * Threads: none of its own.  Errors: hash_init() may give -ENOMEM; inserting never fails (a table
 * that cannot grow stays as it is and gets slower).
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

struct hash_node {
	struct hash_node *next;
	uint64_t value;
};

struct hash_table {
	struct hash_node **bucket;
	size_t mask;	/* buckets - 1 */
	size_t n;
};

int hash_init(struct hash_table *table);
void hash_release(struct hash_table *table);	/* the nodes are the caller's */

void hash_insert(struct hash_table *table, struct hash_node *node, uint64_t value);
void hash_remove(struct hash_table *table, struct hash_node *node);

/* The first (next) node of this hash value, or NULL. */
struct hash_node *hash_first(const struct hash_table *table, uint64_t value);
struct hash_node *hash_next(const struct hash_node *node);

/*
 * Call fn for nodes from *io_hand on (0 at first), round the table, until it gives false, or 'n' were seen, or all
 * were.  fn may remove the node it is given.  A chain is always seen to its end.
 */
void hash_sweep(struct hash_table *table, size_t *io_hand, size_t n,
		bool (*fn)(struct hash_node *node, void *arg), void *arg);

/* Call fn for every node; fn may free it.  The table is empty afterwards. */
void hash_drain(struct hash_table *table, void (*fn)(struct hash_node *node, void *arg), void *arg);

uint64_t hash_u64(uint64_t x);
/* seed takes a running value, so that several parts can be hashed in turn. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

#endif
