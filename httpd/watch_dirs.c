/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/watch_dirs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct watched {
	struct hash_node by_id, by_key;
	struct list node;
	int64_t id;
	struct file_id file;
	uint32_t round;
	size_t key_len;
	unsigned char key[];
};

int watch_dirs_init(struct watch_dirs *dirs)
{
	int err;

	memset(dirs, 0, sizeof(*dirs));
	list_init(&dirs->all);
	err = hash_init(&dirs->by_id);
	return err ? err : hash_init(&dirs->by_key);
}

static void forget(struct watch_dirs *dirs, struct watched *watched)
{
	hash_remove(&dirs->by_id, &watched->by_id);
	hash_remove(&dirs->by_key, &watched->by_key);
	list_del(&watched->node);
	free(watched);
}

void watch_dirs_release(struct watch_dirs *dirs)
{
	struct watched *watched;

	if (!dirs->all.next)
		return;
	while ((watched = list_first(&dirs->all, struct watched, node)))
		forget(dirs, watched);
	if (dirs->by_id.bucket)
		hash_release(&dirs->by_id);
	if (dirs->by_key.bucket)
		hash_release(&dirs->by_key);
}

static struct watched *find_key(const struct watch_dirs *dirs, struct slice key)
{
	struct hash_node *node = hash_first(&dirs->by_key, hash_bytes(key.data, key.len, 0));

	for (; node; node = hash_next(node)) {
		struct watched *watched = container_of(node, struct watched, by_key);

		if (watched->key_len == key.len && !memcmp(watched->key, key.data, key.len))
			return watched;
	}
	return NULL;
}

static struct watched *find_id(const struct watch_dirs *dirs, int64_t id)
{
	struct hash_node *node = hash_first(&dirs->by_id, hash_u64((uint64_t)id));

	for (; node; node = hash_next(node)) {
		struct watched *watched = container_of(node, struct watched, by_id);

		if (watched->id == id)
			return watched;
	}
	return NULL;
}

int watch_dirs_add(struct watch_dirs *dirs, int64_t id, struct file_id file, struct slice key)
{
	struct watched *watched = find_key(dirs, key), *before = find_id(dirs, id);

	if (before && before != watched)
		forget(dirs, before);	/* the row has another file now */
	if (watched && watched->id != id) {
		forget(dirs, watched);
		watched = NULL;
	}
	if (!watched) {
		watched = malloc(sizeof(*watched) + key.len);
		if (!watched)
			return -ENOMEM;
		memset(watched, 0, sizeof(*watched));
		watched->id = id;
		watched->key_len = key.len;
		memcpy(watched->key, key.data, key.len);
		hash_insert(&dirs->by_id, &watched->by_id, hash_u64((uint64_t)id));
		hash_insert(&dirs->by_key, &watched->by_key, hash_bytes(key.data, key.len, 0));
		list_append(&dirs->all, &watched->node);
	}
	watched->file = file;
	watched->round = dirs->round;
	return 0;
}

int64_t watch_dirs_find(const struct watch_dirs *dirs, struct slice key)
{
	const struct watched *watched = find_key(dirs, key);

	return watched ? watched->id : 0;
}

bool watch_dirs_has(const struct watch_dirs *dirs, int64_t id, struct file_id file)
{
	const struct watched *watched = find_id(dirs, id);

	return watched && file_id_equal(watched->file, file);
}

void watch_dirs_remove(struct watch_dirs *dirs, struct slice key)
{
	struct watched *watched = find_key(dirs, key);

	if (watched)
		forget(dirs, watched);
}

void watch_dirs_sweep(struct watch_dirs *dirs, struct watch_source *source)
{
	struct watched *watched, *next;

	list_each_safe(watched, next, &dirs->all, node) {
		if (watched->round == dirs->round)
			continue;
		source->kind->leave(source, (struct slice){ watched->key, watched->key_len });
		forget(dirs, watched);
	}
	dirs->round++;
}
