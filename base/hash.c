/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/hash.h"

#include <errno.h>
#include <string.h>

#define FIRST_BUCKETS 64

int hash_init(struct hash_table *table)
{
	table->bucket = calloc(FIRST_BUCKETS, sizeof(*table->bucket));
	if (!table->bucket)
		return -ENOMEM;
	table->mask = FIRST_BUCKETS - 1;
	table->n = 0;
	return 0;
}

void hash_release(struct hash_table *table)
{
	free(table->bucket);
	memset(table, 0, sizeof(*table));
}

static void hash_grow(struct hash_table *table)
{
	size_t buckets = (table->mask + 1) * 2;
	struct hash_node **grown = calloc(buckets, sizeof(*grown));

	if (!grown)
		return;		/* longer chains are slower, not wrong */
	for (size_t i = 0; i <= table->mask; i++) {
		struct hash_node *node = table->bucket[i], *next;

		for (; node; node = next) {
			size_t to = node->value & (buckets - 1);

			next = node->next;
			node->next = grown[to];
			grown[to] = node;
		}
	}
	free(table->bucket);
	table->bucket = grown;
	table->mask = buckets - 1;
}

void hash_insert(struct hash_table *table, struct hash_node *node, uint64_t value)
{
	struct hash_node **head;

	if (table->n > table->mask)
		hash_grow(table);
	head = &table->bucket[value & table->mask];
	node->value = value;
	node->next = *head;
	*head = node;
	table->n++;
}

void hash_remove(struct hash_table *table, struct hash_node *node)
{
	struct hash_node **link = &table->bucket[node->value & table->mask];

	while (*link && *link != node)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = node->next;
	node->next = NULL;
	table->n--;
}

static struct hash_node *same_value(struct hash_node *node, uint64_t value)
{
	while (node && node->value != value)
		node = node->next;
	return node;
}

struct hash_node *hash_first(const struct hash_table *table, uint64_t value)
{
	return same_value(table->bucket[value & table->mask], value);
}

struct hash_node *hash_next(const struct hash_node *node)
{
	return same_value(node->next, node->value);
}

void hash_sweep(struct hash_table *table, size_t *io_hand, size_t n,
		bool (*fn)(struct hash_node *node, void *arg), void *arg)
{
	bool goes_on = true;
	size_t seen = 0;

	for (size_t i = 0; i <= table->mask && seen < n && goes_on; i++) {
		struct hash_node *node = table->bucket[(*io_hand)++ & table->mask], *next;

		for (; node; node = next) {
			next = node->next;
			goes_on &= fn(node, arg);
			seen++;
		}
	}
}

void hash_drain(struct hash_table *table, void (*fn)(struct hash_node *node, void *arg), void *arg)
{
	for (size_t i = 0; table->bucket && i <= table->mask; i++) {
		struct hash_node *node = table->bucket[i], *next;

		table->bucket[i] = NULL;
		for (; node; node = next) {
			next = node->next;
			table->n--;
			fn(node, arg);
		}
	}
}

/* The finaliser of SplitMix64 (public domain): every input bit reaches every output bit. */
uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* FNV-1a over the bytes, then mixed: names are short, and no attacker gains by slow look-ups of his own names. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = seed ^ 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return hash_u64(h);
}
