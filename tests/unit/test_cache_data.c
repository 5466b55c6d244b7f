/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content: read, write, commit, truncate; and what waits for the network, with a scripted one. */
#include "tests/unit/cache_fixture.h"

#include <pthread.h>
#include "cache/internal.h"
#include "cache/dentry.h"
#include "cache/inode.h"
#include "cache/object.h"
#include "cache/writer.h"

#define MIB (1ull << 20)

/* ---- without a network ---- */

static void write_and_read(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL);
	char got[16] = { 0 };
	int err;

	assert_int_equal(f_write(f, ino, 0, "hello"), 0);
	assert_int_equal(f->op.count, 5);
	assert_int_equal(f->op.committed, UNSTABLE);
	assert_true(f->op.wcc[0].before.is_known);
	assert_int_equal(f->op.wcc[0].before.size, 0);
	assert_int_equal(f->op.wcc[0].after.size, 5);
	assert_content(f, ino, "hello");
	assert_int_equal(f_write(f, ino, 3, "LOL"), 0);
	assert_content(f, ino, "helLOL");
	assert_int_equal(f_read(f, ino, 1, got, 3), 0);
	assert_string_equal(got, "elL");
	assert_false(f->op.is_eof);
	assert_int_equal(f_read(f, ino, 6, got, 3), 0);
	assert_int_equal(f->op.count, 0);
	assert_true(f->op.is_eof);
	assert_int_equal(f_read(f, ino, UINT64_MAX - 1, got, 3), 0);
	assert_int_equal(f->op.count, 0);
	assert_int_equal(f_read(f, ROOT, 0, got, 3), -EINVAL);
	assert_int_equal(f_write(f, ino, CACHE_SIZE_MAX, "x"), -EFBIG);
	/* Further than most file systems go; whatever this one says, it goes on. */
	err = f_write(f, ino, 1ull << 62, "x");
	assert_true(!err || err == -EFBIG);
	assert_int_equal(f_truncate(f, ino, 5), 0);
	assert_int_equal(f_write(f, ROOT, 0, "x"), -EINVAL);
}

static void commit_lasts(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL);

	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 10"), 0);
	assert_int_equal(f_write(f, ino, 0, "hello"), 0);
	assert_int_equal(query(f, "SELECT size FROM inode WHERE ino > 2"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_int_equal(query(f, "SELECT size FROM inode WHERE ino > 2"), 5);
	assert_int_equal(query(f, "SELECT is_dirty FROM inode WHERE ino > 2"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 10"), 1);
	assert_int_equal(f_commit(f, ino), 0);
	f_reopen(f);
	assert_content(f, ino, "hello");
	/* The first write to a clean file notes the intent before a byte changes. */
	assert_int_equal(f_write(f, ino, 0, "J"), 0);
	assert_int_equal(query(f, "SELECT is_dirty FROM inode WHERE ino > 2"), 1);
	assert_content(f, ino, "Jello");
}

static void stable_write(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL);

	assert_int_equal(f_write_as(f, ino, 0, "hello", 5, FILE_SYNC), 0);
	assert_int_equal(f->op.committed, FILE_SYNC);
	assert_int_equal(f->op.count, 5);
	assert_int_equal(query(f, "SELECT size FROM inode WHERE ino > 2"), 5);
	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 10"), 1);
}

static void holes_are_zeros(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "xy");
	char got[12], want[12] = { 'x', 'y', 0, 0, 0, 0, 0, 0, 0, 0, 'z' };

	assert_int_equal(f_write(f, ino, 10, "z"), 0);
	assert_int_equal(f_read(f, ino, 0, got, 11), 0);
	assert_int_equal(f->op.count, 11);
	assert_memory_equal(got, want, 11);
	/* Cut and grown again: nothing of the old bytes comes back. */
	assert_int_equal(f_truncate(f, ino, 1), 0);
	assert_int_equal(f->op.attr.size, 1);
	assert_int_equal(f_truncate(f, ino, 11), 0);
	memset(want + 1, 0, 10);
	assert_int_equal(f_read(f, ino, 0, got, 11), 0);
	assert_memory_equal(got, want, 11);
	f_reopen(f);
	assert_int_equal(f_read(f, ino, 0, got, 11), 0);
	assert_memory_equal(got, want, 11);
	assert_int_equal(query(f, "SELECT keep_size FROM inode WHERE ino > 2"), 0);
}

static void big_and_sparse(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL), far = 5 * 1024 * MIB;
	char got[4] = { 0 };

	assert_int_equal(f_write(f, ino, far, "end"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_int_equal(f_getattr(f, ino), 0);
	assert_int_equal(f->op.attr.size, far + 3);
	assert_true(f->op.attr.used < MIB);
	assert_int_equal(f_read(f, ino, far, got, 3), 0);
	assert_string_equal(got, "end");
	assert_int_equal(f_read(f, ino, far / 2, got, 3), 0);
	assert_memory_equal(got, "\0\0\0", 3);
}

static void write_takes_suid(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "x");

	assert_int_equal(f_chmod(f, ino, 06777), 0);
	assert_int_equal(f_write(f, ino, 0, "root may"), 0);
	assert_int_equal(f->op.attr.mode, 06777);
	f->cred.uid = 5;
	assert_int_equal(f_write(f, ino, 0, "others not"), 0);
	assert_int_equal(f->op.attr.mode, 0777);
	assert_content(f, ino, "others not");
}

static void verifier_changes_at_start(void **state)
{
	struct fixture *f = *state;
	uint8_t was[8], is[8];

	cache_write_verifier(f->cache, was);
	cache_write_verifier(f->cache, is);
	assert_memory_equal(was, is, 8);
	f_reopen(f);
	cache_write_verifier(f->cache, is);
	assert_memory_not_equal(was, is, 8);
}

/* Five seconds without a write: logged without a COMMIT. */
static void quiet_file_is_committed(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL), until = 0;

	assert_int_equal(f_write(f, ino, 0, "hello"), 0);
	clock_advance(5 * US_PER_S);
	for (until = clock_us() + 5 * US_PER_S; clock_us() < until;) {
		if (query(f, "SELECT is_dirty FROM inode WHERE ino > 2") == 0)
			break;
		usleep(10000);
	}
	assert_int_equal(query(f, "SELECT is_dirty FROM inode WHERE ino > 2"), 0);
	assert_int_equal(query(f, "SELECT size FROM inode WHERE ino > 2"), 5);
	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 10"), 1);
}

static void flush_logs_all(void **state)
{
	struct fixture *f = *state;
	char name[16];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(f_write(f, made(f, ROOT, name, NULL), 0, name), 0);
	}
	assert_int_equal(cml_flush(f->cache), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM cml WHERE op = 10"), 20);
	assert_int_equal(query(f, "SELECT count(*) FROM inode WHERE size = 0"), 1);
}

static void many_open_files(void **state)
{
	struct fixture *f = *state;
	uint64_t inos[600];
	char name[16];

	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		inos[i] = made(f, ROOT, name, name);
	}
	assert_true(f->cache->n_objects_open <= OBJECTS_OPEN_MAX);
	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_content(f, inos[i], name);
	}
}

/* ---- many at once ---- */

#define WRITERS 64
#define BLOCK 1000

struct many {
	struct fixture *f;
	struct cache_op op[WRITERS];
	char data[WRITERS][BLOCK];
	unsigned under_way;
};

static struct many *many;

static void many_done(struct cache_op *op)
{
	assert_int_equal(op->err, 0);
	if (!--many->under_way)
		loop_stop(many->f->loop);
}

static void many_begin(unsigned i)
{
	many->op[i] = (struct cache_op){ .done = many_done, .loop = many->f->loop,
					 .deadline_us = clock_us() + US_PER_S };
}

static void many_wait(void)
{
	if (many->under_way)
		assert_int_equal(loop_run(many->f->loop), 0);
	assert_int_equal(many->under_way, 0);
}

/* Blocks of one file, backwards, with commits and truncations of its tail between them. */
static void writes_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL);
	struct attr_change tail = { .set = SET_SIZE, .size = WRITERS * BLOCK };
	static char got[WRITERS * BLOCK];

	many = calloc(1, sizeof(*many));
	many->f = f;
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < WRITERS; i++) {
			int r;

			memset(many->data[i], 'a' + (i + round) % 26, BLOCK);
			many_begin(i);
			if (i % 16 == 7)
				r = cache_commit(f->cache, &many->op[i], ino);
			else if (i % 16 == 11)
				r = cache_setattr(f->cache, &many->op[i], ino, &tail, NULL);
			else
				r = cache_write(f->cache, &many->op[i], ino,
						(WRITERS - 1 - i) * BLOCK, many->data[i], BLOCK,
						i % 8 == 3 ? FILE_SYNC : UNSTABLE);
			assert_true(r >= 0);
			many->under_way += r == CACHE_WAITS;
		}
		many_wait();
	}
	assert_int_equal(f_commit(f, ino), 0);
	f_reopen(f);
	assert_int_equal(f_read(f, ino, 0, got, sizeof(got)), 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		if (i % 16 == 7 || i % 16 == 11)
			continue;
		assert_memory_equal(got + (WRITERS - 1 - i) * BLOCK, many->data[i], BLOCK);
	}
	free(many);
}

/* ---- a network ---- */

static struct net {
	bool is_linked;
	unsigned lists, datas;
	uint64_t ino, version, offset, len;	/* of the last wish */
} net;

static bool net_has_link(void *arg)
{
	(void)arg;
	return net.is_linked;
}

static void net_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)arg;
	(void)dir;
	net.lists++;
	net.ino = ino;
}

static void net_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version,
		     uint64_t offset, uint64_t len)
{
	(void)arg;
	(void)oid;
	net.datas++;
	net.ino = ino;
	net.version = version;
	net.offset = offset;
	net.len = len;
}

static const struct fetcher fetcher = { net_has_link, net_list, net_data };

static int net_setup(void **state)
{
	int err = f_setup(state);
	struct fixture *f = *state;

	memset(&net, 0, sizeof(net));
	net.is_linked = true;
	cache_set_fetcher(f->cache, &fetcher, NULL);
	return err;
}

/*
 * What apply would do: a file that upstream has, nothing of it here; a directory that is not
 * listed.
 */
struct upstream_object {
	enum file_type type;
	uint64_t size, ino;
};

static int make_upstream_run(struct change *change)
{
	struct upstream_object *object = change->arg;
	struct inode_values v = {
		.oid = { 0, 100 + object->type },
		.type = object->type,
		.mode = 0777,
		.nlink = 1,
		.links_up = 1,
		.size = object->size,
		.data_version = 7,
		.attr_version = 7,
		.keep_size = object->size,
		.parent = object->type == TYPE_DIR ? ROOT : 0,
		.gen = object->type == TYPE_REG,
	};
	struct inode_edit *edit;
	int err;

	edit = inode_make(change, &v, &err);
	if (!edit)
		return err;
	object->ino = edit->inode->ino;
	return name_bind(change, ROOT, text(object->type == TYPE_DIR ? "dir" : "file"), object->ino,
			 0);
}

static uint64_t upstream_file(struct fixture *f, uint64_t size)
{
	struct upstream_object object = { TYPE_REG, size, 0 };

	assert_int_equal(writer_call(f->cache, make_upstream_run, &object), 0);
	return object.ino;
}

static uint64_t upstream_dir(struct fixture *f)
{
	struct upstream_object object = { TYPE_DIR, 0, 0 };

	assert_int_equal(writer_call(f->cache, make_upstream_run, &object), 0);
	return object.ino;
}

static void no_link_no_wait(void **state)
{
	struct fixture *f = *state;
	uint64_t file = upstream_file(f, 10), dir = upstream_dir(f);
	char got[10];

	net.is_linked = false;
	assert_int_equal(f_read(f, file, 0, got, 10), -EIO);
	assert_int_equal(f_lookup(f, dir, "x"), -EIO);
	assert_int_equal(f_create(f, dir, "x", 0644), -EIO);
	assert_int_equal(f_remove(f, dir, "x"), -EIO);
	assert_int_equal(f_rename(f, ROOT, "file", dir, "x"), -EIO);
	assert_int_equal(f_rmdir(f, ROOT, "dir"), -EIO);
	assert_int_equal(f_lookup(f, ROOT, "dir"), 0);
	assert_int_equal(net.lists + net.datas, 0);
	cache_set_fetcher(f->cache, NULL, NULL);
	assert_int_equal(f_read(f, file, 0, got, 10), -EIO);
}

static void deadline_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	uint64_t file = upstream_file(f, 10), dir = upstream_dir(f), begun;
	char got[10];

	f->wait_us = 50 * US_PER_MS;
	begun = clock_us();
	assert_int_equal(f_read(f, file, 0, got, 10), -EIO);
	assert_true(clock_us() - begun >= f->wait_us);
	assert_int_equal(f_lookup(f, dir, "x"), -EIO);
	/* Asked once, however many come. */
	assert_int_equal(f_lookup(f, dir, "y"), -EIO);
	assert_int_equal(f_read(f, file, 5, got, 5), -EIO);
	assert_int_equal(net.lists, 1);
	assert_int_equal(net.datas, 1);
	assert_int_equal(net.version, 7);
}

/* What comes while somebody waits, on another thread. */
struct arrival {
	struct fixture *f;
	uint64_t ino;
	int err;
	int (*run)(struct change *change);
	pthread_t thread;
};

static int arrive_data_run(struct change *change)
{
	struct arrival *arrival = change->arg;
	struct inode_edit *edit;
	struct object *object;
	int err;

	edit = inode_edit(change, arrival->ino, &err);
	if (!edit)
		return err;
	err = EDIT_MAPS(edit);
	if (err)
		return err;
	pthread_mutex_lock(&change->cache->lock);
	object = object_get(change->cache, edit->inode, true, &err);
	if (object)
		assert_int_equal(pwrite(object->fd, "0123456789", 10, 0), 10);
	object_put(change->cache, object);
	pthread_mutex_unlock(&change->cache->lock);
	return object ? extent_add(&edit->present, 0, 10) : err;
}

static int arrive_list_run(struct change *change)
{
	struct arrival *arrival = change->arg;
	struct inode_edit *edit;
	int err;

	edit = inode_edit(change, arrival->ino, &err);
	if (!edit)
		return err;
	EDIT(edit, is_listed, true);
	return 0;
}

static void *arrive(void *arg)
{
	struct arrival *arrival = arg;
	struct cache *cache = arrival->f->cache;

	usleep(20000);	/* so that somebody waits: sooner would pass as well */
	if (arrival->run)
		assert_int_equal(writer_call(cache, arrival->run, arrival), 0);
	if (arrival->run == arrive_list_run || arrival->err == -ENOTDIR)
		park_wake_listing(cache, arrival->ino, arrival->err);
	else if (arrival->err == -ENOLINK)
		cache_link_lost(cache);
	else
		park_content_done(cache, arrival->ino, 7, 0, arrival->err);
	return NULL;
}

static struct arrival *arrive_later(struct fixture *f, uint64_t ino,
				    int (*run)(struct change *change), int err)
{
	static struct arrival arrival;

	arrival = (struct arrival){ .f = f, .ino = ino, .run = run, .err = err };
	assert_int_equal(pthread_create(&arrival.thread, NULL, arrive, &arrival), 0);
	return &arrival;
}

static void data_arrives(void **state)
{
	struct fixture *f = *state;
	uint64_t file = upstream_file(f, 10);
	struct arrival *arrival = arrive_later(f, file, arrive_data_run, 0);
	char got[11] = { 0 };

	assert_int_equal(f_read(f, file, 2, got, 10), 0);
	assert_string_equal(got, "23456789");
	assert_true(f->op.is_eof);
	pthread_join(arrival->thread, NULL);
	assert_int_equal(f_read(f, file, 0, got, 10), 0);
	assert_int_equal(net.datas, 1);
}

static void data_fails(void **state)
{
	struct fixture *f = *state;
	uint64_t file = upstream_file(f, 10);
	struct arrival *arrival = arrive_later(f, file, NULL, -EHOSTUNREACH);
	char got[11];

	assert_int_equal(f_read(f, file, 2, got, 10), -EIO);
	pthread_join(arrival->thread, NULL);
	arrival = arrive_later(f, file, NULL, -ENOLINK);
	assert_int_equal(f_read(f, file, 2, got, 10), -EIO);
	pthread_join(arrival->thread, NULL);
	assert_int_equal(net.datas, 2);
}

static void listing_arrives(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = upstream_dir(f);
	struct arrival *arrival = arrive_later(f, dir, arrive_list_run, 0);

	assert_int_equal(f_create(f, dir, "x", 0644), 0);
	pthread_join(arrival->thread, NULL);
	assert_int_equal(f_lookup(f, dir, "y"), -ENOENT);
	assert_int_equal(net.lists, 1);
}

static void removing_waits_for_the_listing(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = upstream_dir(f);
	struct arrival *arrival = arrive_later(f, dir, NULL, -ENOTDIR);

	assert_int_equal(f_rmdir(f, ROOT, "dir"), -EIO);
	pthread_join(arrival->thread, NULL);
	arrival = arrive_later(f, dir, arrive_list_run, 0);
	assert_int_equal(f_rmdir(f, ROOT, "dir"), 0);
	pthread_join(arrival->thread, NULL);
}

/* Of big files the blocks that are read, here and there, are asked for; what was written here is not. */
static void what_is_asked_for(void **state)
{
	struct fixture *f = *state;
	uint64_t file = upstream_file(f, 100 * MIB);
	char got[10];

	f->wait_us = 1;
	assert_int_equal(f_read(f, file, 50 * MIB + 5, got, 10), -EIO);
	assert_int_equal(net.datas, 1);
	assert_int_equal(net.offset, 50 * MIB);
	assert_int_equal(net.len, 64 << 10);
	assert_int_equal(f_read(f, file, 60 * MIB - 5, got, 10), -EIO);
	assert_int_equal(net.datas, 3);
	f->wait_us = US_PER_S;
	assert_int_equal(f_write(f, file, 70 * MIB, "0123456789"), 0);
	assert_int_equal(f_read(f, file, 70 * MIB, got, 10), 0);
	assert_int_equal(net.datas, 3);
	/* Beyond what upstream has there is nothing to ask for. */
	assert_int_equal(f_truncate(f, file, 200 * MIB), 0);
	assert_int_equal(f_read(f, file, 150 * MIB, got, 10), 0);
	assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0\0", 10);
	assert_int_equal(net.datas, 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
#define N(name) cmocka_unit_test_setup_teardown(name, net_setup, f_teardown)
	const struct CMUnitTest tests[] = {
		T(write_and_read),
		T(commit_lasts),
		T(stable_write),
		T(holes_are_zeros),
		T(big_and_sparse),
		T(write_takes_suid),
		T(verifier_changes_at_start),
		T(quiet_file_is_committed),
		T(flush_logs_all),
		T(many_open_files),
		T(writes_at_once),
		N(no_link_no_wait),
		N(deadline_ends_the_wait),
		N(data_arrives),
		N(data_fails),
		N(listing_arrives),
		N(removing_waits_for_the_listing),
		N(what_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
