/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is kept in memory: how much of it an inode takes, that there are no more than the limit, and who is not
 * evicted.
 */
#include "tests/unit/cache_fixture.h"

#include <malloc.h>
#include "cache/apply.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/writer.h"

#define FEW 64			/* in memory, where more come by */
#define BYTES_MAX 400		/* of an inode with its name, and where its content is */
#define NAME "a-name-of-24-chars-%05u"

/* The allocators of the sanitizers tell nothing of what is allocated; and all of it takes long with them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FILES 2000u
#else
#define CAN_COUNT
#define FILES 20000u
#endif

/* ---- a large directory, all of whose files are here ---- */

static struct kml_time when = { .sec = 1000000 };

static struct kml_object root_object(void)
{
	return (struct kml_object){ .oid = KML_ROOT, .data_version = 1, .attr_version = 1,
		.attr = { .type = KML_DIR, .mode = 0755, .nlink = 2, .atime = when, .mtime = when } };
}

static void list_files(struct fixture *f)
{
	struct kml_listed *entries = calloc(FILES + 1, sizeof(*entries));
	struct kml_object root = root_object();
	struct apply_listing *listing;
	char name[32];

	assert_non_null(entries);
	assert_int_equal(apply_upstream(f->cache, "upstream-1", 1, &root), 0);
	entries[0] = (struct kml_listed){ .object = root };
	for (unsigned i = 1; i <= FILES; i++) {
		struct kml_listed *e = &entries[i];

		e->parent = KML_ROOT;
		e->object = (struct kml_object){ .oid = { 0, i + 1 }, .data_version = 1, .attr_version = 1 };
		e->object.attr = (struct kml_attr){ .type = KML_REG, .mode = 0644, .nlink = 1, .size = 100,
						    .atime = when, .mtime = when };
		snprintf(name, sizeof(name), NAME, i - 1);
		assert_int_equal(kml_name_set(&e->name, text(name)), 0);
	}
	assert_int_equal(apply_listing_begin(f->cache, ROOT, 1, true, &listing), 0);
	assert_int_equal(apply_listing_add(listing, entries, FILES + 1), 0);
	assert_int_equal(apply_listing_end(listing, 0), 0);
	for (unsigned i = 0; i <= FILES; i++)
		kml_listed_release(&entries[i]);
	free(entries);
}

static int setup(void **state)
{
	assert_int_equal(f_setup(state), 0);
	list_files(*state);
	f_reopen(*state);
	return 0;
}

static uint64_t look_up(struct fixture *f, unsigned i)
{
	char name[32];
	uint64_t ino;

	snprintf(name, sizeof(name), NAME, i);
	ino = found(f, ROOT, name);
	assert_true(ino);
	return ino;
}

static void look_up_all(struct fixture *f)
{
	for (unsigned i = 0; i < FILES; i++)
		look_up(f, i);
}

/* The inode, if it is in memory. */
static struct inode *in_memory(struct fixture *f, uint64_t ino)
{
	for (struct hash_node *n = hash_first(&f->cache->inodes, hash_u64(ino)); n; n = hash_next(n)) {
		struct inode *inode = container_of(n, struct inode, by_ino);

		if (inode->ino == ino)
			return inode;
	}
	return NULL;
}

/* ---- how much ---- */

#ifdef CAN_COUNT
static void bytes_of_an_inode(void **state)
{
	struct fixture *f = *state;
	uint64_t max = f->cache->max_inodes;
	struct mallinfo2 before, after;
	size_t bytes;

	/* All that is read from the database stays in its connection's page cache: fill that first. */
	query(f, "UPDATE inode SET gen = 1, present = x'00000000000000000000000000000064' WHERE type = 1 RETURNING 1");
	f->cache->max_inodes = FEW;
	look_up_all(f);
	before = mallinfo2();
	f->cache->max_inodes = max;
	look_up_all(f);
	after = mallinfo2();
	assert_true(f->cache->n_inodes > FILES);
	assert_true(f->cache->n_dentries >= FILES);
	assert_int_equal(in_memory(f, look_up(f, 7))->present.n, 1);
	bytes = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / (FILES - FEW);
	print_message("%zu bytes for each, with its name, slots and allocation\n", bytes);
	assert_in_range(bytes, sizeof(struct inode), BYTES_MAX);
}
#endif

/* ---- how many ---- */

static void limit_is_kept(void **state)
{
	struct fixture *f = *state;

	f->cache->max_inodes = FEW;
	for (unsigned i = 0; i < FILES; i++) {
		look_up(f, i);
		assert_true(f->cache->n_inodes <= FEW);
		assert_true(f->cache->n_dentries <= 2 * FEW);
	}
	assert_int_equal(f->cache->inodes.n, f->cache->n_inodes);
	assert_int_equal(f->cache->dentries.n, f->cache->n_dentries);
}

/* While others are used once, and many more of them than there is room for. */
static void what_is_used_stays(void **state)
{
	struct fixture *f = *state;
	uint64_t often = look_up(f, 0), once = look_up(f, 1);
	const struct inode *inode = in_memory(f, often);

	f->cache->max_inodes = FEW;
	for (unsigned i = 2; i < FILES; i++) {
		look_up(f, i);
		assert_int_equal(f_getattr(f, often), 0);
		assert_ptr_equal(in_memory(f, often), inode);
	}
	assert_null(in_memory(f, once));
}

/* ---- who is not evicted ---- */

static void written_stays(void **state)
{
	struct fixture *f = *state;
	uint64_t inos[2 * FEW];
	char name[16];

	f->cache->max_inodes = FEW;
	for (unsigned i = 0; i < ARRAY_SIZE(inos); i++) {
		snprintf(name, sizeof(name), "w%u", i);
		inos[i] = made(f, ROOT, name, NULL);
		assert_int_equal(f_write(f, inos[i], 0, name), 0);
	}
	look_up_all(f);
	for (unsigned i = 0; i < ARRAY_SIZE(inos); i++) {
		assert_non_null(in_memory(f, inos[i]));
		snprintf(name, sizeof(name), "w%u", i);
		assert_content(f, inos[i], name);
	}
	f_reopen(f);
	for (unsigned i = 0; i < ARRAY_SIZE(inos); i++) {
		snprintf(name, sizeof(name), "w%u", i);
		assert_content(f, inos[i], name);
	}
}

static void referenced_stays(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = look_up(f, 0);
	struct inode *inode;
	int err;

	pthread_mutex_lock(&f->cache->lock);
	inode = inode_get(f->cache, ino, &err);
	pthread_mutex_unlock(&f->cache->lock);
	assert_non_null(inode);
	f->cache->max_inodes = FEW;
	look_up_all(f);
	assert_ptr_equal(in_memory(f, ino), inode);
	pthread_mutex_lock(&f->cache->lock);
	inode_put(f->cache, inode);
	pthread_mutex_unlock(&f->cache->lock);
	look_up_all(f);
	assert_null(in_memory(f, ino));
}

/* Of a transaction: the first change waits until all are there, so that they share it. */
struct shared {
	struct fixture *f;
	struct change change[3];
	pthread_mutex_t gate;
	uint64_t ino;
	bool was_there;
	unsigned pins;
};

static int wait_run(struct change *change)
{
	struct shared *shared = change->arg;

	pthread_mutex_lock(&shared->gate);
	pthread_mutex_unlock(&shared->gate);
	return 0;
}

static int edit_run(struct change *change)
{
	struct shared *shared = change->arg;
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, shared->ino, &err);
	if (!edit)
		return err;
	EDIT(edit, mode, 0600);
	return 0;
}

/* After that one, and before the commit: many others come by. */
static int others_run(struct change *change)
{
	struct shared *shared = change->arg;
	struct cache *cache = change->cache;
	const struct inode *inode;

	pthread_mutex_lock(&cache->lock);
	for (uint64_t ino = ROOT + 1; ino < ROOT + FILES; ino++) {
		int err;

		if (ino != shared->ino)
			inode_put(cache, inode_get(cache, ino, &err));
	}
	inode = in_memory(shared->f, shared->ino);
	shared->was_there = inode && inode->v.mode == 0600;
	shared->pins = inode ? inode->pins : 0;
	pthread_mutex_unlock(&cache->lock);
	return 0;
}

static void over(struct change *change, int err)
{
	(void)change;
	assert_int_equal(err, 0);
}

static void pinned_stays(void **state)
{
	static int (*const runs[])(struct change *) = { wait_run, edit_run, others_run };
	struct fixture *f = *state;
	struct shared shared = { .f = f, .ino = look_up(f, 0) };

	f->cache->max_inodes = FEW;
	pthread_mutex_init(&shared.gate, NULL);
	pthread_mutex_lock(&shared.gate);
	for (unsigned i = 0; i < ARRAY_SIZE(runs); i++) {
		shared.change[i] = (struct change){ .run = runs[i], .done = over, .arg = &shared };
		writer_submit(f->cache, &shared.change[i]);
	}
	pthread_mutex_unlock(&shared.gate);
	assert_int_equal(writer_call(f->cache, wait_run, &shared), 0);
	pthread_mutex_destroy(&shared.gate);
	assert_int_equal(shared.pins, 1);
	assert_true(shared.was_there);
	assert_int_equal(f_getattr(f, shared.ino), 0);
	assert_int_equal(f->op.attr.mode, 0600);
	look_up_all(f);
	assert_null(in_memory(f, shared.ino));
}

/* ---- evicted, and what was known of it ---- */

static void quiet(struct fixture *f, uint64_t ino)
{
	while (query(f, "SELECT count(*) FROM inode WHERE is_dirty"))
		clock_advance(6 * US_PER_S);
	look_up_all(f);
	assert_null(in_memory(f, ino));
}

/* Who sends a file and looks at it again must see that it was written to, though memory had forgotten it before. */
static void written_after_eviction(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "sent", "first");
	struct cml_batch *batch;

	f->cache->max_inodes = FEW;
	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 2);
	quiet(f, ino);
	/* As many writes as before it was taken. */
	assert_int_equal(f_write(f, ino, 0, "other"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_true(cml_refresh(f->cache, &batch->items[1]));
	assert_false(cml_refresh(f->cache, &batch->items[1]));
	cml_give_back(f->cache, batch);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, f_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef CAN_COUNT
		T(bytes_of_an_inode),
#endif
		T(limit_is_kept),
		T(what_is_used_stays),
		T(written_stays),
		T(referenced_stays),
		T(pinned_stays),
		T(written_after_eviction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
