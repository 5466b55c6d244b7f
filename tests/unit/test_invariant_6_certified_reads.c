/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invariant 6: what a read gives is one version of upstream's plus our own changes, never a mixture of two versions.
 *
 * First by chance, step by step, against a model of what is to be read at each moment; then with two threads, where
 * every read must be of some one version, and none of an older one than the read before it.
 * IZO_SEED=n runs that one only.
 */
#include "base/page_pipe.h"
#include "tests/unit/apply_model.h"

#include <pthread.h>
#include <sys/wait.h>
#include "cache/internal.h"
#include "cache/reader.h"

#define SIZE_MAX_OF_FILE 20000u
#define WISHES 256

struct wish {
	uint64_t version, offset, len;
	uint64_t given;			/* from the start, or more than that */
};

struct version {
	uint64_t number;
	size_t size;
	unsigned char *data;
};

struct world {
	struct fixture f;		/* reads */
	struct fixture other;		/* everything else, on the same cache */
	struct model *m;
	uint64_t ino;
	unsigned seed;
	/* under lock, where there are two threads */
	pthread_mutex_t lock;
	struct wish wishes[WISHES];
	unsigned n_wishes;
	struct version versions[2048];	/* of upstream's, ascending */
	unsigned n_versions;
	/* what is to be read here now */
	unsigned char view[2 * SIZE_MAX_OF_FILE];
	size_t size;
	bool is_ours;			/* changed here, and not retired */
	bool is_conflict;		/* and there too: it will stay so */
	/* the read that waits */
	bool is_reading;
	uint64_t offset, len;
	unsigned n_read, n_failed;
};

static unsigned pick(struct world *w, unsigned n)
{
	w->seed = w->seed * 1103515245u + 12345;
	return (w->seed >> 8) % n;
}

static bool w_has_link(void *arg)
{
	(void)arg;
	return true;
}

static void w_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)arg;
	(void)ino;
	(void)dir;
	fail();
}

static void w_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	struct world *w = arg;

	(void)oid;
	assert_int_equal(ino, w->ino);
	pthread_mutex_lock(&w->lock);
	assert_true(w->n_wishes < WISHES);
	w->wishes[w->n_wishes++] = (struct wish){ version, offset, len, 0 };
	pthread_mutex_unlock(&w->lock);
}

static const struct fetcher fetcher = { w_has_link, w_list, w_data };

/* ---- upstream ---- */

static struct version *latest(struct world *w)
{
	return &w->versions[w->n_versions - 1];
}

static const struct version *version_of(struct world *w, uint64_t number)
{
	for (unsigned i = w->n_versions; i-- > 0;) {
		if (w->versions[i].number == number)
			return &w->versions[i];
	}
	fail_msg("there is no version %llu", (unsigned long long)number);
	return NULL;
}

/* Takes data. */
static void store(struct world *w, uint64_t client, unsigned char *data, size_t size)
{
	m_store(w->m, client, m_oid(w->m, KML_ROOT, "f"), size);
	assert_true(w->n_versions < ARRAY_SIZE(w->versions));
	w->versions[w->n_versions++] = (struct version){ w->m->position, size, data };
}

static void store_theirs(struct world *w)
{
	size_t size = 1 + pick(w, SIZE_MAX_OF_FILE);
	unsigned char *data = malloc(size);

	assert_non_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = 1 + ((w->m->position + 1) * 89 + i + i / 251) % 251;
	store(w, OTHERS, data, size);
}

/* The version that the cache goes by. */
static uint64_t version_here(struct world *w)
{
	struct inode *inode;
	uint64_t version;
	int err;

	pthread_mutex_lock(&w->f.cache->lock);
	inode = inode_get(w->f.cache, w->ino, &err);
	assert_non_null(inode);
	version = inode->v.data_version;
	inode_put(w->f.cache, inode);
	pthread_mutex_unlock(&w->f.cache->lock);
	return version;
}

/* The journal, or a state that was asked for.  It is not taken in while the file is still being written to here. */
static void pull(struct world *w, bool is_journal)
{
	const struct version *version;

	if (is_journal)
		m_pull(w->m, &w->f);
	else
		(void)m_answer(w->m, &w->f);
	if (w->is_ours)
		return;
	version = version_of(w, version_here(w));
	w->size = version->size;
	memcpy(w->view, version->data, w->size);
}

/* A part of what somebody waits for comes, perhaps late; or the upstream says that this is all, or that it has another. */
static void serve(struct world *w, unsigned i)
{
	struct wish *wish = &w->wishes[i], was = *wish;
	const struct version *version = version_of(w, wish->version);
	uint64_t from = pick(w, 3) ? wish->given : pick(w, wish->len);
	uint64_t n = MIN(1 + pick(w, 6000), wish->len - from);
	int err = 0;

	if (n)
		err = apply_content(w->f.cache, w->ino, wish->version, wish->offset + from,
				    version->data + wish->offset + from, n);
	assert_true(!err || err == -ESTALE);
	if (!err && from <= wish->given)
		wish->given = MAX(wish->given, from + n);
	if (!err && wish->given < wish->len && latest(w)->number == wish->version && pick(w, 20))
		return;
	if (!err && wish->given < wish->len)
		err = latest(w)->number == wish->version ? -EIO : -ESTALE;
	*wish = w->wishes[--w->n_wishes];
	apply_content_end(w->f.cache, w->ino, was.version, was.offset, err);
}

/* ---- reading ---- */

struct stop_job {
	struct loop_job job;
	struct loop *loop;
};

static void stop_run(struct loop_job *job)
{
	loop_stop(container_of(job, struct stop_job, job)->loop);
}

static unsigned char got[2 * SIZE_MAX_OF_FILE];

static void check_read(struct world *w, int err)
{
	uint64_t end = MIN(w->offset + w->len, w->size), want = end > w->offset ? end - w->offset : 0;

	w->is_reading = false;
	w->n_read++;
	if (err == -EIO) {
		w->n_failed++;
		return;
	}
	assert_int_equal(err, 0);
	assert_int_equal(w->f.op.count, want);
	for (size_t i = 0; i < want; i++) {
		if (got[i] != w->view[w->offset + i])
			fail_msg("byte %llu of %zu is not what it should be", (unsigned long long)(w->offset + i),
				 w->size);
	}
}

/* What has been posted to the reader's loop runs; a read that waits for the disk ends before anything else is done. */
static void read_on(struct world *w)
{
	bool is_busy;

	do {
		struct stop_job stop = { { .run = stop_run }, w->f.loop };

		is_busy = reader_is_busy(w->f.cache);
		loop_post(w->f.loop, &stop.job);
		assert_int_equal(loop_run(w->f.loop), 0);
	} while ((is_busy || reader_is_busy(w->f.cache)) && w->is_reading && !w->f.is_done);
	if (w->is_reading && w->f.is_done)
		check_read(w, w->f.op.err);
}

static void read_some(struct world *w)
{
	int result;

	if (w->is_reading)
		return;
	w->offset = pick(w, SIZE_MAX_OF_FILE);
	w->len = 1 + pick(w, SIZE_MAX_OF_FILE);
	/* Where upstream has replaced what ours is built on nothing more will come. */
	w->f.wait_us = w->is_conflict ? 20 * US_PER_MS : 60 * US_PER_S;
	w->is_reading = true;
	result = cache_read(w->f.cache, f_begin(&w->f), w->ino, w->offset, got, w->len);
	if (result != CACHE_WAITS)
		check_read(w, result);
}

/* ---- ours ---- */

static void becomes_ours(struct world *w)
{
	/* Done on a version that is not the last one any more. */
	if (!w->is_ours && latest(w)->number > version_here(w))
		w->is_conflict = true;
	w->is_ours = true;
}

static void write_some(struct world *w)
{
	uint64_t offset = pick(w, w->size + 200);
	uint32_t len = 1 + pick(w, 3000);
	char data[3000];

	memset(data, pick(w, 256), sizeof(data));
	becomes_ours(w);
	assert_int_equal(f_write_as(&w->other, w->ino, offset, data, len, pick(w, 3) ? UNSTABLE : FILE_SYNC), 0);
	if (offset > w->size)
		memset(w->view + w->size, 0, offset - w->size);
	memcpy(w->view + offset, data, len);
	w->size = MAX(w->size, offset + len);
}

static void cut_some(struct world *w)
{
	uint64_t size = pick(w, SIZE_MAX_OF_FILE);

	becomes_ours(w);
	assert_int_equal(f_truncate(&w->other, w->ino, size), 0);
	if (size > w->size)
		memset(w->view + w->size, 0, size - w->size);
	w->size = size;
}

/* What the upstream makes of a store. */
static void store_ours(struct world *w, const struct cml_item *item)
{
	const struct kml_store *s = &item->record.body.kml_body_u.store;
	size_t kept = MIN(s->keep_size, latest(w)->size);
	unsigned char *data = calloc(1, s->size + 1);

	assert_non_null(data);
	memcpy(data, latest(w)->data, MIN(kept, s->size));
	for (u_int i = 0; i < s->ranges.ranges_len; i++) {
		const struct kml_range *range = &s->ranges.ranges_val[i];

		assert_true(range->offset + range->length <= s->size);
		assert_true(pread(item->fd, data + range->offset, range->length, range->offset) >= 0);
	}
	store(w, cml_client_id(w->f.cache), data, s->size);
}

static void replay(struct world *w)
{
	struct kml_answer answers[16] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_flush(w->f.cache), 0);
	assert_int_equal(cml_take(w->f.cache, ARRAY_SIZE(answers), UINT64_MAX, &batch), 0);
	if (!batch)
		return;
	for (size_t i = 0; i < batch->n; i++) {
		struct cml_item *item = &batch->items[i];

		if (item->record.body.op == KML_STORE)
			store_ours(w, item);
		answers[i] = (struct kml_answer){ .seq = item->record.seq,
						  .made_version = item->record.body.op == KML_STORE ?
									  w->m->position : 0 };
	}
	/* While the answer is on its way. */
	for (unsigned i = pick(w, 4); i && w->n_wishes; i--)
		serve(w, pick(w, w->n_wishes));
	assert_int_equal(cml_retire(w->f.cache, batch, answers, batch->n), 0);
	/* What waited for the version before asks for this one. */
	read_on(w);
}

/* All that is here has gone there. */
static void settle(struct world *w)
{
	if (!w->is_ours || w->is_conflict)
		return;
	while (query(&w->f, "SELECT count(*) FROM cml") || query(&w->f, "SELECT count(*) FROM inode WHERE is_dirty")) {
		assert_int_equal(f_commit(&w->other, w->ino), 0);
		replay(w);
		if (!query(&w->f, "SELECT count(*) FROM cml"))
			break;
	}
	assert_int_equal(latest(w)->size, w->size);
	assert_memory_equal(latest(w)->data, w->view, w->size);
	w->is_ours = false;
}

/* ---- by chance ---- */

static void world_open(struct world *w)
{
	assert_int_equal(loop_new(&w->other.loop), 0);
	f_open(&w->f);
	cache_set_fetcher(w->f.cache, &fetcher, w);
	w->other.cache = w->f.cache;
	w->other.wait_us = 60 * US_PER_S;
}

static void world_close(struct world *w)
{
	f_close(&w->f);
	loop_free(w->other.loop);
	w->n_wishes = 0;
	w->is_reading = false;
}

static struct world *world_new(unsigned seed)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->seed = seed;
	assert_int_equal(pthread_mutex_init(&w->lock, NULL), 0);
	f_init(&w->f);
	world_open(w);
	w->m = m_new();
	assert_int_equal(apply_upstream(w->f.cache, "upstream-1", w->m->position, &w->m->objects[0]), 0);
	assert_int_equal(m_list(w->m, &w->f, KML_ROOT, ROOT), 0);
	m_file(w->m, KML_ROOT, "f");
	store_theirs(w);
	m_pull(w->m, &w->f);
	w->ino = found(&w->f, ROOT, "f");
	pull(w, true);
	return w;
}

static void world_free(struct world *w)
{
	world_close(w);
	f_remove_dir(&w->f);
	for (unsigned i = 0; i < w->n_versions; i++)
		free(w->versions[i].data);
	m_free(w->m);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void step(struct world *w)
{
	switch (pick(w, 16)) {
	case 0:
		if (!w->is_ours || !pick(w, 20)) {
			store_theirs(w);
			w->is_conflict |= w->is_ours;
		}
		break;
	case 1:
		pull(w, pick(w, 3));
		break;
	case 2:
		if (!pick(w, 2))
			write_some(w);
		break;
	case 3:
		if (!pick(w, 6))
			cut_some(w);
		break;
	case 4:
		assert_int_equal(f_commit(&w->other, w->ino), 0);
		break;
	case 5:
		settle(w);
		break;
	case 6:
		if (!pick(w, 8)) {
			world_close(w);
			world_open(w);
		}
		break;
	case 7:
	case 8:
	case 9:
		read_some(w);
		break;
	default:
		if (w->n_wishes)
			serve(w, pick(w, w->n_wishes));
	}
	read_on(w);
}

static void random_run(unsigned seed, unsigned steps)
{
	struct world *w = world_new(seed);
	unsigned n_read = 0;

	print_message("# IZO_SEED=%u\n", seed);
	for (unsigned i = 0; i < steps && w->n_versions < 1000; i++) {
		/* A conflict ends here; to settle it is another test's. */
		if (w->is_conflict && !pick(w, 30)) {
			n_read += w->n_read;
			world_free(w);
			w = world_new(seed += 1000);
		}
		step(w);
	}
	settle(w);
	assert_true(n_read + w->n_read > 0);
	world_free(w);
}

static bool is_from_disk;

static void by_chance(void **state)
{
	const char *seed = getenv("IZO_SEED");

	(void)state;
	if (seed) {
		random_run(atoi(seed), 1500);
		return;
	}
	for (unsigned i = 1; i <= (is_from_disk ? 2 : 8); i++)
		random_run(i, 1500);
}

/* ---- two threads ---- */

#define VERSIONS 200

struct server {
	struct world *w;
	_Atomic bool may_stop;
};

/* The replicator's: new versions, and what is asked for. */
static void *server_run(void *arg)
{
	struct server *server = arg;
	struct world *w = server->w;
	unsigned rounds = 0;

	while (!server->may_stop) {
		struct wish wish = { 0 };

		pthread_mutex_lock(&w->lock);
		if (w->n_wishes)
			wish = w->wishes[--w->n_wishes];
		if (++rounds % 8 == 0 && w->n_versions < VERSIONS)
			store_theirs(w);
		pthread_mutex_unlock(&w->lock);
		if (wish.len) {
			const struct version *version = version_of(w, wish.version);
			int err = 0;

			for (uint64_t at = 0; at < wish.len && !err; at += 3000)
				err = apply_content(w->f.cache, w->ino, wish.version, wish.offset + at,
						    version->data + wish.offset + at, MIN(3000, wish.len - at));
			apply_content_end(w->f.cache, w->ino, wish.version, wish.offset, err);
		}
		if (rounds % 8 == 0)
			m_pull(w->m, &w->f);
		if (!wish.len)
			usleep(200);	/* as the network does */
	}
	return NULL;
}

/* Could the bytes be of that version? */
static bool is_of(const struct version *version, uint64_t offset, uint64_t len, uint64_t n)
{
	uint64_t end = MIN(offset + len, version->size);

	return n == (end > offset ? end - offset : 0) && !memcmp(got, version->data + offset, n);
}

static void two_threads(void **state)
{
	struct world *w = world_new(1);
	struct server server = { .w = w };
	/* As many reads as it takes: the other thread may get no turn for a while. */
	uint64_t deadline_us = clock_us() + 60 * US_PER_S;
	unsigned last = 0, seed = 7, n_versions = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, server_run, &server), 0);
	for (unsigned i = 0; n_versions < VERSIONS && (i < 4000 || (!last && clock_us() < deadline_us)); i++) {
		uint64_t offset, len;
		unsigned v;
		int err;

		seed = seed * 1103515245u + 12345;
		offset = (seed >> 8) % (SIZE_MAX_OF_FILE / 2);
		len = 1 + (seed >> 4) % SIZE_MAX_OF_FILE;
		w->f.wait_us = 60 * US_PER_S;
		err = f_wait(&w->f, cache_read(w->f.cache, f_begin(&w->f), w->ino, offset, got, len));
		assert_int_equal(err, 0);
		pthread_mutex_lock(&w->lock);
		n_versions = w->n_versions;
		for (v = last; v < n_versions && !is_of(&w->versions[v], offset, len, w->f.op.count); v++)
			;
		pthread_mutex_unlock(&w->lock);
		if (v == n_versions)
			fail_msg("read %u is a mixture, or older than the one before", i);
		last = v;
	}
	assert_true(last > 0);
	server.may_stop = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	world_free(w);
}

static void waits_for_no_disk(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "hello");
	int err;

	err = cache_read(f->cache, f_begin(f), ino, 0, got, 5);
	if (is_from_disk)
		assert_int_equal(err, CACHE_WAITS);
	assert_int_equal(f_wait(f, err), 0);
	assert_memory_equal(got, "hello", 5);
}

/* The disk is slow: the file is cut before its bytes are read, after it was found out which there are. */
static void cut_while_read(void **state)
{
	struct fixture *f = *state, other = *f;
	uint64_t ino = made(f, ROOT, "a", "hello");
	int err;

	assert_int_equal(loop_new(&other.loop), 0);
	err = cache_read(f->cache, f_begin(f), ino, 0, got, 5);
	assert_int_equal(err, CACHE_WAITS);
	assert_int_equal(f_truncate(&other, ino, 0), 0);
	assert_int_equal(f_wait(f, err), 0);
	/* All of before, should it have been read by then, or what there is now. */
	assert_true(f->op.is_eof);
	if (f->op.count) {
		assert_int_equal(f->op.count, 5);
		assert_memory_equal(got, "hello", 5);
	}
	loop_free(other.loop);
}

/* ---- pages in place of a copy ---- */

#define LARGE (2 * PAGE_PIPE_WORTH)

static void make_large(struct fixture *f, uint64_t *ret_ino)
{
	char *data = malloc(LARGE);

	assert_non_null(data);
	memset(data, 'x', LARGE);
	*ret_ino = made(f, ROOT, "large", NULL);
	assert_int_equal(f_write_as(f, *ret_ino, 0, data, LARGE, UNSTABLE), 0);
	assert_int_equal(f_commit(f, *ret_ino), 0);
	free(data);
}

struct cutter {
	struct fixture f;
	uint64_t ino;
};

static void *cut_soon(void *arg)
{
	struct cutter *cutter = arg;

	usleep(30000);
	assert_int_equal(f_truncate(&cutter->f, cutter->ino, 0), 0);
	return NULL;
}

/* The file is cut while its pages are taken, after it was found out which there are. */
static void cut_while_piped(void **state)
{
	struct fixture *f = *state;
	struct page_pipe_pool pool;
	char *data = malloc(LARGE);
	struct cutter cutter;
	struct cache_op *op;
	pthread_t thread;
	uint64_t ino;

	assert_non_null(data);
	make_large(f, &ino);
	page_pipe_pool_init(&pool);
	cutter = (struct cutter){ *f, ino };
	assert_int_equal(loop_new(&cutter.f.loop), 0);
	assert_int_equal(pthread_create(&thread, NULL, cut_soon, &cutter), 0);
	op = f_begin(f);
	op->pages = page_pipe_get(&pool);
	assert_non_null(op->pages);
	assert_int_equal(f_wait(f, cache_read(f->cache, op, ino, 0, data, LARGE)), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* All of it, should it have been taken by then, or what there is now. */
	assert_true(op->count == 0 || op->count == LARGE);
	assert_int_equal(op->pages->len, op->count);
	page_pipe_put(op->pages);
	page_pipe_pool_release(&pool);
	loop_free(cutter.f.loop);
	free(data);
}

static void pages_in_place_of_a_copy(void **state)
{
	struct fixture *f = *state;
	struct page_pipe_pool pool;
	char *data = calloc(1, LARGE);
	struct cache_op *op;
	uint64_t ino;

	assert_non_null(data);
	make_large(f, &ino);
	page_pipe_pool_init(&pool);
	op = f_begin(f);
	op->pages = page_pipe_get(&pool);
	assert_non_null(op->pages);
	/* More than there is: as far as it goes. */
	assert_int_equal(f_wait(f, cache_read(f->cache, op, ino, LARGE / 4, data, LARGE)), 0);
	assert_int_equal(op->count, LARGE - LARGE / 4);
	assert_true(op->is_eof);
	if (is_from_disk) {
		assert_int_equal(op->pages->len, 0);
		assert_int_equal(data[0], 'x');
		assert_int_equal(data[op->count - 1], 'x');
	} else {
		assert_int_equal(op->pages->len, op->count);
		assert_int_equal(data[0], 0);
	}
	page_pipe_put(op->pages);
	page_pipe_pool_release(&pool);
	free(data);
}

static int all(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_chance),
		cmocka_unit_test(two_threads),
		cmocka_unit_test_setup_teardown(waits_for_no_disk, f_setup, f_teardown),
		cmocka_unit_test_setup_teardown(pages_in_place_of_a_copy, f_setup, f_teardown),
	};

	return cmocka_run_group_tests_name(is_from_disk ? "from the disk" : "from memory", tests, NULL, NULL);
}

static int slow(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cut_while_read, f_setup, f_teardown),
	};

	return cmocka_run_group_tests_name("from a slow disk", tests, NULL, NULL);
}

static int slow_pages(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cut_while_piped, f_setup, f_teardown),
	};

	return cmocka_run_group_tests_name("slow pages", tests, NULL, NULL);
}

/* In a process of its own, for which faults have not been read yet.  Gives its status. */
static int with_fault(const char *fault, int (*run)(void))
{
	int status = 0;
	pid_t child;

	(void)fflush(stdout);
	child = fork();
	if (!child) {
		is_from_disk = true;
		(void)setenv("IZO_FAULT", fault, 1);
		exit(run());
	}
	return child < 0 || waitpid(child, &status, 0) < 0 ? 1 : status;
}

/* Once with the content in the page cache, and once with none of it there: then other threads read (cache/reader.c). */
int main(void)
{
	int failed = with_fault("fs.pread_now:0:EAGAIN,page_pipe.fill:0:EAGAIN", all);

	failed |= with_fault("fs.pread_now:0:EAGAIN,fs.pread:0:slow", slow);
	failed |= with_fault("page_pipe.fill:0:slow", slow_pages);
	failed |= all();
	return failed != 0;
}
