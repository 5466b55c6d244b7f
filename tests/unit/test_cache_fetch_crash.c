/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fetched content, crashes and failing disks: what is said to be here afterwards is here, and right.
 *
 * Each in a process of its own, for a fault point's rules are read at its first hit.
 */
#include "tests/unit/fetch_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "cache/merge.h"
#include "cache/writer.h"

#define FILES 12
#define SIZE 3000

/* Everything of the daemon's life that fetched content goes through; 0: all of it worked. */
static int fetch_some(struct test *t, bool must_work)
{
	char name[20];
	int err = 0;

	for (unsigned i = 0; i < FILES; i++) {
		uint64_t ino;

		snprintf(name, sizeof(name), "f%u", i);
		ino = found(&t->f, ROOT, name);
		err = read_served(t, ino, 0, SIZE);
		if (err && must_work)
			return err;
		if (!err && i == 2)
			err = f_write(&t->f, ino, 100, "ours");
		if (!err && i == 2)
			err = f_commit(&t->f, ino);
		if (!err && i == 3)
			err = f_truncate(&t->f, ino, 50);
	}
	return err;
}

/* Files by position: the i-th was stored at 3 + 2 * i. */
static void make_files(struct test *t)
{
	char name[20];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		file(t, name, SIZE);
	}
}

static int in_child(struct test *t, const char *fault, int (*fn)(struct test *t))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setenv("IZO_FAULT", fault, 1);
		_exit(fn(t));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Each byte that is said to be here is right; gives how many are. */
static uint64_t check_present(struct test *t)
{
	uint64_t n = 0;
	char name[20];

	t->has_link = false;
	for (unsigned i = 0; i < FILES; i++) {
		uint64_t ino, size;

		snprintf(name, sizeof(name), "f%u", i);
		ino = found(&t->f, ROOT, name);
		size = t->f.op.attr.size;
		for (uint64_t at = 0; at < size; at += 50) {
			if (read_begin(t, ino, at, 50))
				continue;
			n++;
			if (i == 2 && at == 100)
				assert_memory_equal(got, "ours", 4);
			else
				assert_bytes(got, 3 + 2 * i, at, 50);
		}
	}
	return n;
}

static char crash_dir[64];

static void open_crash_dir(struct test *t)
{
	snprintf(t->f.dir, sizeof(t->f.dir), "%s", crash_dir);
	t->f.config.dir = t->f.dir;
	t->f.config.no_sync = false;
	t_open(t);
}

static int crash_child(struct test *t)
{
	open_crash_dir(t);
	if (fetch_some(t, true))
		return 2;
	f_close(&t->f);
	return 0;
}

static const char *const crash_points[] = {
	"content.pwrite", "fetched.sync", "object.sync", "writer.change", "writer.commit", "writer.committed",
};

static void crash_anywhere(void **state)
{
	unsigned n_crashes = 0;
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	not_in_child();
	for (size_t p = 0; p < ARRAY_SIZE(crash_points); p++) {
		for (unsigned nth = 1; nth < 60; nth += 1 + nth / 3) {
			struct test t = { 0 };
			char fault[64];
			uint64_t n;
			int status;

			/* Each time a cache that knows the files, made by a process of its own. */
			f_init(&t.f);
			snprintf(crash_dir, sizeof(crash_dir), "%s", t.f.dir);
			fflush(NULL);
			if (!fork()) {
				open_crash_dir(&t);
				t_contact(&t);
				make_files(&t);
				f_close(&t.f);
				_exit(0);
			}
			assert_true(wait(&status) > 0);
			assert_int_equal(status, 0);
			snprintf(fault, sizeof(fault), "%s:%u:kill", crash_points[p], nth);
			status = in_child(&t, fault, crash_child);
			assert_true(WIFEXITED(status) ? !WEXITSTATUS(status) : WTERMSIG(status) == SIGKILL);
			fflush(NULL);
			if (!fork()) {
				open_crash_dir(&t);
				n = check_present(&t);
				f_close(&t.f);
				_exit(n > 200 ? 255 : n);
			}
			assert_true(wait(&status) > 0);
			assert_true(WIFEXITED(status));
			n = WEXITSTATUS(status);
			least = MIN(least, n);
			most = MAX(most, n);
			f_remove_dir(&t.f);
			if (n == 255)	/* nothing happened: so often the point is not passed */
				break;
			n_crashes++;
		}
	}
	assert_true(n_crashes > 10);
	print_message("# %u crashes, between %llu and %llu pieces left\n", n_crashes, (unsigned long long)least,
		      (unsigned long long)most);
}

static bool is_failed(struct test *t)
{
	struct cache_status status;

	cache_status(t->f.cache, &status);
	return status.is_failed;
}

/* A sync that failed is not believed: no row may speak of those bytes. */
static int sync_fails(struct test *t)
{
	f_init(&t->f);
	t->f.config.no_sync = false;
	t->f.config.gather_us = 5 * US_PER_MS;
	t_open(t);
	t_contact(t);
	make_files(t);
	assert_int_equal(read_served(t, found(&t->f, ROOT, "f0"), 0, SIZE), 0);
	while (!is_failed(t)) {		/* the sync comes a little later */
		assert_true(clock_us() < t->f.op.deadline_us);
		usleep(1000);
	}
	assert_bytes(got, 3, 0, SIZE);
	/* Reads go on. */
	assert_int_equal(read_begin(t, found(&t->f, ROOT, "f0"), 0, SIZE), 0);
	f_close(&t->f);
	assert_int_equal(count(t, "inode WHERE length(present) > 0"), 0);
	t_open(t);
	assert_read(t, found(&t->f, ROOT, "f0"), 3, 0, SIZE);
	f_close(&t->f);
	assert_int_equal(count(t, "inode WHERE length(present) > 0"), 1);
	f_remove_dir(&t->f);
	return 0;
}

/* What is begun now is not to be served, so its deadline may come soon. */
static void fails_soon(struct test *t)
{
	t->f.wait_us = US_PER_S;
}

static int disk_full(struct test *t)
{
	struct wish wish;
	uint64_t ino;

	f_init(&t->f);
	t_open(t);
	t_contact(t);
	ino = file(t, "f", 2000);
	fails_soon(t);
	assert_int_equal(read_begin(t, ino, 0, 2000), CACHE_WAITS);
	t->f.wait_us = 20 * US_PER_S;
	wish = take_wish(t);
	assert_int_equal(give_part(t, &wish, 0, 1000), 0);
	assert_int_equal(give_part(t, &wish, 1000, 1000), -ENOSPC);
	end(t, &wish, -ENOSPC);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	t->has_link = false;
	assert_int_equal(read_begin(t, ino, 0, 1000), 0);
	assert_bytes(got, wish.version, 0, 1000);
	assert_int_equal(read_begin(t, ino, 1000, 1), -EIO);
	/* It is no failure of the cache. */
	assert_false(is_failed(t));
	assert_int_equal(f_write(&t->f, ino, 1500, "ours"), 0);
	t->has_link = true;
	assert_int_equal(read_served(t, ino, 0, 2000), 0);
	assert_bytes(got, wish.version, 0, 1500);
	assert_memory_equal(got + 1500, "ours", 4);
	f_close(&t->f);
	f_remove_dir(&t->f);
	return 0;
}

/* The transaction that brought the new version fails while its bytes are being put into the file. */

struct block {
	struct change change;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool is_running, may_go;
	struct kml_object *object;	/* NULL: blocks */
	uint64_t position;
	int done;			/* how often */
};

static int block_run(struct change *change)
{
	struct block *b = change->arg;
	uint64_t ino;

	if (b->object)
		return merge_object(change, b->object, b->position, &ino);
	pthread_mutex_lock(&b->lock);
	b->is_running = true;
	pthread_cond_signal(&b->moved);
	while (!b->may_go)
		pthread_cond_wait(&b->moved, &b->lock);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static void block_done(struct change *change, int err)
{
	struct block *b = change->arg;

	(void)err;
	pthread_mutex_lock(&b->lock);
	b->done++;
	pthread_cond_signal(&b->moved);
	pthread_mutex_unlock(&b->lock);
}

static void block_submit(struct test *t, struct block *b)
{
	b->change = (struct change){ .run = block_run, .done = block_done, .arg = b };
	assert_int_equal(pthread_mutex_init(&b->lock, NULL), 0);
	assert_int_equal(pthread_cond_init(&b->moved, NULL), 0);
	writer_submit(t->f.cache, &b->change);
}

static void block_wait(struct block *b, bool for_done)
{
	pthread_mutex_lock(&b->lock);
	while (for_done ? !b->done : !b->is_running)
		pthread_cond_wait(&b->moved, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

static void block_go(struct block *b)
{
	pthread_mutex_lock(&b->lock);
	b->may_go = true;
	pthread_cond_signal(&b->moved);
	pthread_mutex_unlock(&b->lock);
}

struct giving {
	struct test *t;
	struct wish wish;
	int err;
};

static void *give_run(void *arg)
{
	struct giving *g = arg;

	g->err = give_part(g->t, &g->wish, g->wish.offset, g->wish.len);
	return NULL;
}

static int taken_back(struct test *t)
{
	struct block first = { 0 }, merge = { 0 }, second = { 0 };
	struct giving g = { .t = t };
	uint64_t ino, old;
	pthread_t thread;

	f_init(&t->f);
	t_open(t);
	t_contact(t);
	ino = file(t, "f", 2000);
	old = t->m->position;
	t->f.wait_us = 5 * US_PER_S;	/* what has come is noted before that, in one of the commits that are counted */
	assert_int_equal(read_begin(t, ino, 0, 2000), CACHE_WAITS);
	t->f.wait_us = 20 * US_PER_S;
	g.wish = take_wish(t);
	assert_int_equal(give_part(t, &g.wish, 0, 1000), 0);
	end(t, &g.wish, -EIO);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	/* Two changes in one transaction: the merge, and one that waits until the bytes are on their way. */
	block_submit(t, &first);
	block_wait(&first, false);
	store(t, "f", 1800);
	merge.object = m_object_of(t->m, m_oid(t->m, KML_ROOT, "f"));
	merge.position = t->m->position;
	block_submit(t, &merge);
	block_submit(t, &second);
	block_go(&first);
	block_wait(&second, false);
	g.wish = (struct wish){ ino, t->m->position, 0, 1800 };
	assert_int_equal(pthread_create(&thread, NULL, give_run, &g), 0);
	usleep(30000);		/* it is in the middle of it for 100 ms, or waits for the transaction */
	block_go(&second);
	block_wait(&merge, true);
	block_wait(&second, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* It was in the transaction that failed, or came after it. */
	assert_true(g.err == -ESTALE || g.err == -ENOSPC);
	/* All is as it was before: nothing of the new one shows, and the rest of the old one can come. */
	t->has_link = false;
	if (!read_begin(t, ino, 0, 2000))
		assert_bytes(got, old, 0, 2000);
	t->has_link = true;
	assert_read(t, ino, old, 0, 2000);
	m_pull(t->m, &t->f);
	assert_read(t, ino, g.wish.version, 0, 1800);
	f_close(&t->f);
	f_remove_dir(&t->f);
	return 0;
}

static const struct {
	const char *name, *fault;
	int (*fn)(struct test *t);
} failures[] = {
	{ "a sync fails", "object.sync:1:EIO", sync_fails },
	{ "the disk is full", "content.pwrite:2:ENOSPC", disk_full },
	{ "a transaction is taken back", "content.pwrite:2:slow,writer.commit:7:ENOSPC,writer.commit:8:ENOSPC", taken_back },
};

static void failing(void **state)
{
	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		struct test t = { 0 };

		if (in_child(&t, failures[i].fault, failures[i].fn))
			fail_msg("%s", failures[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failing),
		cmocka_unit_test(crash_anywhere),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
