/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <blake2.h>
#include <errno.h>
#include <string.h>
#include "nfsd/drc.h"

int drc_init(struct drc *drc, size_t max)
{
	list_init(&drc->done);
	list_init(&drc->free);
	drc->n_done = 0;
	drc->max = max;
	return hash_init(&drc->table);
}

static void free_list(struct list *head)
{
	struct drc_entry *entry;

	while ((entry = list_first(head, struct drc_entry, node)) != NULL) {
		list_del(&entry->node);
		free(entry);
	}
}

void drc_release(struct drc *drc)
{
	struct drc_entry *entry, *next;

	list_each_safe(entry, next, &drc->done, node)
		hash_remove(&drc->table, &entry->hash);
	assert(drc->table.n == 0);	/* else a call is still under way */
	free_list(&drc->done);
	free_list(&drc->free);
	drc->n_done = 0;
	hash_release(&drc->table);
}

void drc_key(const struct slice *parts, size_t n, uint8_t ret_key[DRC_KEY_LEN])
{
	blake2s_state state;
	int err = blake2s_init(&state, DRC_KEY_LEN);

	for (size_t i = 0; i < n; i++)
		err |= blake2s_update(&state, parts[i].data, parts[i].len);
	err |= blake2s_final(&state, ret_key, DRC_KEY_LEN);
	assert(!err);	/* it fails for lengths that are out of range only */
}

/* The key is a good hash already. */
static uint64_t key_hash(const uint8_t *key)
{
	uint64_t value;

	memcpy(&value, key, sizeof(value));
	return value;
}

struct drc_entry *drc_find(struct drc *drc, const uint8_t key[DRC_KEY_LEN])
{
	struct hash_node *node = hash_first(&drc->table, key_hash(key));

	for (; node; node = hash_next(node)) {
		struct drc_entry *entry = container_of(node, struct drc_entry, hash);

		if (!memcmp(entry->key, key, DRC_KEY_LEN))
			return entry;
	}
	return NULL;
}

struct drc_entry *drc_begin(struct drc *drc, const uint8_t key[DRC_KEY_LEN], struct rpc_call *call)
{
	struct drc_entry *entry = list_first(&drc->free, struct drc_entry, node);

	if (!entry) {
		entry = malloc(sizeof(*entry));
		if (!entry)
			return NULL;
		entry->node = (struct list){ NULL, NULL };
	}
	list_del(&entry->node);
	memcpy(entry->key, key, DRC_KEY_LEN);
	entry->call = call;
	entry->len = 0;
	hash_insert(&drc->table, &entry->hash, key_hash(key));
	return entry;
}

void drc_forget(struct drc *drc, struct drc_entry *entry)
{
	hash_remove(&drc->table, &entry->hash);
	entry->call = NULL;
	list_prepend(&drc->free, &entry->node);
}

void drc_finish(struct drc *drc, struct drc_entry *entry, const void *reply, size_t len)
{
	assert(len <= DRC_REPLY_MAX);
	memcpy(entry->reply, reply, len);
	entry->len = (uint32_t)len;
	entry->call = NULL;
	list_append(&drc->done, &entry->node);
	if (++drc->n_done <= drc->max)
		return;
	entry = list_first(&drc->done, struct drc_entry, node);
	list_del(&entry->node);
	drc->n_done--;
	drc_forget(drc, entry);
}
