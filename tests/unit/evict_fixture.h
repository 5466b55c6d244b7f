/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evict_fixture: files that are here and clean, and an eviction at the moment that the test wants.
 *
 * What must not depend on a thread calls evict() itself.
 */
#ifndef TESTS_EVICT_FIXTURE_H
#define TESTS_EVICT_FIXTURE_H

#include "tests/unit/fetch_fixture.h"

#include "cache/evict.h"

#define ALL UINT64_MAX

static const bool not_stopping;

/* As the thread would, but now and by this one. */
static UNUSED struct evict evict_now(struct test *t, uint64_t need, uint32_t priority)
{
	struct evict evict_args = { .cache = t->f.cache, .need = need, .priority = priority, .is_stopping = &not_stopping };
	char path[128];

	snprintf(path, sizeof(path), "%s/cache.db", t->f.dir);
	assert_int_equal(db_open(path, DB_READER, false, &evict_args.db), 0);
	assert_int_equal(evict(&evict_args), 0);
	db_close(evict_args.db);
	return evict_args;
}

static UNUSED bool is_noted(struct test *t, uint64_t ino)
{
	struct inode *inode;
	bool is;
	int err;

	pthread_mutex_lock(&t->f.cache->lock);
	inode = inode_get(t->f.cache, ino, &err);
	assert_non_null(inode);
	is = !inode->work->has_fetched && !inode->work->has_uncommitted;
	inode_put(t->f.cache, inode);
	pthread_mutex_unlock(&t->f.cache->lock);
	return is;
}

/* What was fetched is noted on the disk a moment later. */
static UNUSED void wait_noted(struct test *t, uint64_t ino)
{
	uint64_t until_us = clock_us() + 20 * US_PER_S;

	while (!is_noted(t, ino)) {
		assert_true(clock_us() < until_us);
		usleep(1000);
	}
}

static UNUSED uint64_t fetched(struct test *t, const char *name, uint64_t size)
{
	uint64_t ino = file(t, name, size), version = t->m->position;

	assert_read(t, ino, version, 0, size);
	return ino;
}

/* A file of upstream's that is here as a whole, and clean. */
static UNUSED uint64_t here(struct test *t, const char *name, uint64_t size)
{
	uint64_t ino = fetched(t, name, size);

	wait_noted(t, ino);
	return ino;
}

static UNUSED bool is_here(struct test *t, uint64_t ino)
{
	struct inode *inode;
	struct extent gap;
	bool is;
	int err;

	pthread_mutex_lock(&t->f.cache->lock);
	inode = inode_get(t->f.cache, ino, &err);
	assert_non_null(inode);
	is = !extent_first_gap(&inode->present, 0, 100, &gap);
	inode_put(t->f.cache, inode);
	pthread_mutex_unlock(&t->f.cache->lock);
	return is;
}

/* It is, and these bytes are of that version. */
static UNUSED void assert_here(struct test *t, uint64_t ino, uint64_t version, uint32_t len)
{
	t->has_link = false;
	assert_int_equal(read_begin(t, ino, 0, len), 0);
	assert_bytes(got, version, 0, len);
	t->has_link = true;
}

/* The upstream takes all that waits (status KML_OK), or says that. */
static UNUSED void replay(struct test *t, enum kml_status status)
{
	struct cml_batch *batch;

	for (;;) {
		struct kml_answer answers[64] = { 0 };

		assert_int_equal(cml_take(t->f.cache, 64, UINT64_MAX, &batch), 0);
		if (!batch)
			return;
		for (size_t i = 0; i < batch->n; i++)
			answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .status = status,
							  .made_version = status == KML_OK ? OURS : 0, .error = EPERM };
		assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
	}
}

#endif
