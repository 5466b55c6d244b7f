/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content that was fetched.
 *
 * (1) Bytes are taken only while the inode still wants that version, and only where it has none: what is
 *     present, ours or fetched before, stays.
 * (2) The content is held from looking at the map to adding to it, so that no WRITE comes between; WRITEs
 *     wait for a copy into the page cache, not for the network.
 * (3) Maps with fetched bytes are written only after those were synced (fetched.h).
 * (4) Version and GEN are those of a transaction that has committed: one that fails takes both back, and what had
 *     been put into its object file would then be taken for bytes of the version before.
 */
#include <errno.h>
#include <string.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "cache/apply.h"
#include "cache/fetched.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/reserve.h"
#include "cache/space.h"
#include "cache/writer.h"

struct arrival {
	uint64_t ino, version, offset, end;
	uint32_t gen;
	const void *data;
	struct extent_map gaps;
};

/* Under the lock, or on the writer thread. */
static bool is_wanted(const struct inode *inode, const struct arrival *arrival)
{
	return !inode->is_gone && inode->v.type == TYPE_REG && arrival->version &&
	       inode->v.data_version == arrival->version &&
	       (!arrival->gen || inode->v.gen == arrival->gen);
}

/*
 * Keeps (4): when this has committed, so has all that made the file what it is here.  A file that had no bytes gets
 * its first object file.
 */
static int settle_run(struct change *change)
{
	struct arrival *arrival = change->arg;
	struct inode_edit *edit;
	int err;

	arrival->gen = 0;
	edit = inode_edit(change, arrival->ino, &err);
	if (!edit)
		return err;
	if (!is_wanted(edit->inode, arrival))
		return -ESTALE;
	if (!edit->v.gen)
		EDIT(edit, gen, 1);
	arrival->gen = edit->v.gen;
	return 0;
}

static int find_gaps(struct inode *inode, struct arrival *arrival)
{
	uint64_t end = MIN(arrival->end, inode->v.size);
	struct extent gap = { 0, arrival->offset };
	int err = 0;

	while (!err && gap.end < end && extent_first_gap(&inode->present, gap.end, end, &gap))
		err = extent_add(&arrival->gaps, gap.start, gap.end);
	return err ? err : extent_reserve(&inode->present, arrival->gaps.n + 1);
}

static int put_bytes(struct object *object, const struct arrival *arrival)
{
	int err = FAULT("content.pwrite");

	for (uint32_t i = 0; !err && i < arrival->gaps.n; i++) {
		struct extent gap = arrival->gaps.v[i];

		err = fs_pwrite_all(object->fd,
				    (const char *)arrival->data + (gap.start - arrival->offset),
				    gap.end - gap.start, gap.start);
	}
	return err;
}

/* Under the lock, with the content held; the lock is let go for the bytes. */
static int take_bytes(struct cache *cache, struct inode *inode, struct arrival *arrival)
{
	struct object *object;
	uint64_t used;
	int err;

	if (!is_wanted(inode, arrival))
		return -ESTALE;
	err = find_gaps(inode, arrival);
	if (err || !arrival->gaps.n)
		return err;
	object = object_get(cache, inode, true, &err);
	if (!object)
		return err;
	pthread_mutex_unlock(&cache->lock);
	err = put_bytes(object, arrival);
	used = object_used(cache, object);
	pthread_mutex_lock(&cache->lock);
	object_put(cache, object);
	for (uint32_t i = 0; !err && i < arrival->gaps.n; i++)
		err = extent_add(&inode->present, arrival->gaps.v[i].start, arrival->gaps.v[i].end);
	if (err)
		return err;
	inode->used = used;
	inode_content_changed(cache, inode);
	fetched_add(cache, inode);
	return 0;
}

static int take(struct cache *cache, struct inode *inode, struct arrival *arrival)
{
	int err;

	if (!is_wanted(inode, arrival))
		return -ESTALE;
	if (inode->v.gen && !inode->pins) {
		arrival->gen = inode->v.gen;
	} else {
		pthread_mutex_unlock(&cache->lock);
		err = writer_call(cache, settle_run, arrival);
		pthread_mutex_lock(&cache->lock);
		if (err)
			return err;
	}
	err = inode_wake(cache, inode);
	if (err)
		return err;
	inode_hold(cache, inode);
	err = take_bytes(cache, inode, arrival);
	inode_hold_end(cache, inode);
	return err;
}

int apply_content(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		  const void *data, size_t len)
{
	struct arrival arrival = {
		.ino = ino, .version = version, .offset = offset, .end = offset + len, .data = data,
	};
	struct inode *inode;
	int err;

	if (reserve_is_tight(cache))
		return -ENOSPC;
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &err);
	if (inode) {
		err = take(cache, inode, &arrival);
		inode_put(cache, inode);
	}
	pthread_mutex_unlock(&cache->lock);
	extent_release(&arrival.gaps);
	if (!err) {
		park_wake_content(cache, ino, 0);
		space_poke(cache);
	} else if (err != -ESTALE && err != -ENOSPC && err != -ENOMEM) {
		log_error("cache: fetched content could not be kept: ino=%llu: %s",
			  (unsigned long long)ino, strerror(-err));
	}
	return err;
}

void apply_content_end(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset, int err)
{
	struct inode *inode;
	bool has_moved_on;
	int ignored;

	park_content_done(cache, ino, version, offset, err);
	if (err != -ESTALE)
		return;
	/*
	 * Whoever waits goes on waiting for the version that is there now.  If the cache has heard of it already,
	 * nobody else is going to wake them.
	 */
	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, ino, &ignored);
	has_moved_on = !inode || inode->v.data_version != version;
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	if (has_moved_on)
		park_wake_content(cache, ino, 0);
}
