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
#include <stdlib.h>
#include <string.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/reserve.h"
#include "cache/apply.h"
#include "cache/fetched.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/space.h"
#include "cache/writer.h"

struct arrival {
	uint64_t ino, version, offset, end;
	uint32_t gen;		/* that it is for; 0: not known */
	bool must_settle;
	const void *data;
	struct extent_map gaps;
	int err;
};

/* Under the lock, or on the writer thread. */
static bool is_wanted(const struct inode *inode, const struct arrival *arrival)
{
	return !inode->is_gone && inode->v.type == TYPE_REG && arrival->version &&
	       inode->v.data_version == arrival->version &&
	       (!arrival->gen || inode->v.gen == arrival->gen);
}

struct arrivals {
	struct arrival *v;
	size_t n;
};

/*
 * Keeps (4): when this has committed, so has all that made the file what it is here.  A file that had no bytes gets
 * its first object file.
 */
static int settle(struct change *change, struct arrival *arrival)
{
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

/* Those that are not settled are out of date: they keep gen 0. */
static int settle_run(struct change *change)
{
	struct arrivals *arrivals = change->arg;
	int err = 0;

	for (size_t i = 0; i < arrivals->n && !err; i++) {
		if (!arrivals->v[i].must_settle)
			continue;
		err = settle(change, &arrivals->v[i]);
		if (err == -ESTALE)
			err = 0;
	}
	return err;
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

/* Under the lock.  What has been committed already needs no transaction. */
static void look(struct cache *cache, struct arrival *arrival)
{
	struct inode *inode = inode_get(cache, arrival->ino, &arrival->err);

	if (!inode)
		return;
	if (!is_wanted(inode, arrival))
		arrival->err = -ESTALE;
	else if (inode->v.gen && !inode->pins)
		arrival->gen = inode->v.gen;
	else
		arrival->must_settle = true;
	inode_put(cache, inode);
}

/* Under the lock, which is let go for the bytes. */
static int take(struct cache *cache, struct arrival *arrival)
{
	struct inode *inode;
	int err;

	if (!arrival->gen)
		return -ESTALE;
	inode = inode_get(cache, arrival->ino, &err);
	if (!inode)
		return err;
	err = inode_wake(cache, inode);
	if (!err) {
		inode_hold(cache, inode);
		err = take_bytes(cache, inode, arrival);
		inode_hold_end(cache, inode);
	}
	inode_put(cache, inode);
	return err;
}

static void take_all(struct cache *cache, struct arrivals *arrivals)
{
	bool must_settle = false;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < arrivals->n; i++) {
		look(cache, &arrivals->v[i]);
		must_settle |= arrivals->v[i].must_settle;
	}
	pthread_mutex_unlock(&cache->lock);
	if (must_settle)
		err = writer_call(cache, settle_run, arrivals);
	pthread_mutex_lock(&cache->lock);
	for (size_t i = 0; i < arrivals->n; i++) {
		struct arrival *arrival = &arrivals->v[i];

		if (!arrival->err && arrival->must_settle)
			arrival->err = err;
		if (!arrival->err)
			arrival->err = take(cache, arrival);
	}
	pthread_mutex_unlock(&cache->lock);
}

/* What is to be done when the lock has been let go. */
static void taken(struct cache *cache, struct arrival *arrival)
{
	int err = arrival->err;

	extent_release(&arrival->gaps);
	if (!err)
		park_wake_content(cache, arrival->ino, 0);
	else if (err != -ESTALE && err != -ENOSPC && err != -ENOMEM)
		log_error("cache: fetched content could not be kept: ino=%llu: %s",
			  (unsigned long long)arrival->ino, strerror(-err));
}

int apply_content(struct cache *cache, uint64_t ino, uint64_t version, uint64_t offset,
		  const void *data, size_t len)
{
	struct arrival arrival = {
		.ino = ino, .version = version, .offset = offset, .end = offset + len, .data = data,
	};
	struct arrivals arrivals = { &arrival, 1 };

	if (reserve_is_tight(cache->reserve))
		return -ENOSPC;
	take_all(cache, &arrivals);
	taken(cache, &arrival);
	if (!arrival.err)
		space_poke(cache);
	return arrival.err;
}

void apply_contents(struct cache *cache, struct apply_whole *contents, size_t n)
{
	struct arrivals arrivals = { calloc(n, sizeof(*arrivals.v)), n };
	int err = !arrivals.v ? -ENOMEM : reserve_is_tight(cache->reserve) ? -ENOSPC : 0;

	for (size_t i = 0; i < n && !err; i++)
		arrivals.v[i] = (struct arrival){ .ino = contents[i].ino, .version = contents[i].version,
						  .end = contents[i].len, .data = contents[i].data };
	if (!err)
		take_all(cache, &arrivals);
	for (size_t i = 0; i < n; i++) {
		if (!err)
			taken(cache, &arrivals.v[i]);
		contents[i].err = err ? err : arrivals.v[i].err;
	}
	free(arrivals.v);
	if (!err)
		space_poke(cache);
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
