/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content from upstream: ranges, versions, around what is ours; what is left of it after a crash.
 *
 * Each byte of the upstream's files tells its version and place, so that a mixture shows.
 */
#include "tests/unit/apply_model.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "cache/internal.h"
#include "cache/merge.h"
#include "cache/writer.h"

#define KIB 1024ull
#define MIB (KIB * KIB)

struct wish {
	uint64_t ino, version, offset, len;
};

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct model *m;
	/* the fetcher's */
	bool has_link;
	struct wish wishes[64];		/* not answered */
	unsigned n_wishes, n_asked;
};

static bool t_has_link(void *arg)
{
	return ((struct test *)arg)->has_link;
}

static void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)arg;
	(void)ino;
	(void)dir;
	fail();
}

static void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	struct test *t = arg;

	(void)oid;
	assert_true(t->n_wishes < ARRAY_SIZE(t->wishes));
	t->wishes[t->n_wishes++] = (struct wish){ ino, version, offset, len };
	t->n_asked++;
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data };

static pid_t main_pid;

/* A child whose test has failed is not to go on with the next one. */
static void not_in_child(void)
{
	if (getpid() != main_pid)
		_exit(3);
}

static void t_open(struct test *t)
{
	t->has_link = true;
	t->f.wait_us = 20 * US_PER_S;
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
}

static void t_contact(struct test *t)
{
	t->m = m_new();
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", t->m->position, &t->m->objects[0]), 0);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	not_in_child();
	assert_non_null(t);
	f_init(&t->f);
	t_open(t);
	t_contact(t);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	m_free(t->m);
	return f_teardown(state);
}

static void t_reopen(struct test *t)
{
	f_close(&t->f);
	t->n_wishes = t->n_asked = 0;
	t_open(t);
}

/* ---- the upstream's bytes ---- */

static unsigned char byte_of(uint64_t version, uint64_t offset)
{
	return 1 + (version * 89 + offset + offset / 251) % 251;
}

static void fill(unsigned char *data, uint64_t version, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = byte_of(version, offset + i);
}

/* A file of upstream's, pulled. */
static uint64_t file(struct test *t, const char *name, uint64_t size)
{
	struct kml_oid oid = m_file(t->m, KML_ROOT, name);

	m_store(t->m, OTHERS, oid, size);
	m_pull(t->m, &t->f);
	return ino_of(&t->f, oid);
}

/* Others write all of it anew; not pulled. */
static uint64_t store(struct test *t, const char *name, uint64_t size)
{
	m_store(t->m, OTHERS, m_oid(t->m, KML_ROOT, name), size);
	return t->m->position;
}

static int give_part(struct test *t, const struct wish *wish, uint64_t offset, uint64_t len)
{
	unsigned char *data = malloc(len);
	int err;

	assert_non_null(data);
	fill(data, wish->version, offset, len);
	err = apply_content(t->f.cache, wish->ino, wish->version, offset, data, len);
	free(data);
	return err;
}

static void end(struct test *t, const struct wish *wish, int err)
{
	apply_content_end(t->f.cache, wish->ino, wish->version, wish->offset, err);
}

/* The oldest wish. */
static struct wish take_wish(struct test *t)
{
	struct wish wish = t->wishes[0];

	assert_true(t->n_wishes > 0);
	memmove(t->wishes, t->wishes + 1, --t->n_wishes * sizeof(wish));
	return wish;
}

static void serve_all(struct test *t)
{
	while (t->n_wishes) {
		struct wish wish = take_wish(t);
		int err = 0;

		for (uint64_t at = 0; at < wish.len && !err; at += 256 * KIB)
			err = give_part(t, &wish, wish.offset + at, MIN(256 * KIB, wish.len - at));
		end(t, &wish, err);
	}
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

/* Whatever was posted has run. */
static void run_posted(struct test *t)
{
	struct stop_job stop = { { .run = stop_run }, t->f.loop };

	loop_post(t->f.loop, &stop.job);
	assert_int_equal(loop_run(t->f.loop), 0);
}

static unsigned char got[16 * MIB];

static int read_begin(struct test *t, uint64_t ino, uint64_t offset, uint32_t len)
{
	memset(got, 0, MIN(len, sizeof(got)));
	return cache_read(t->f.cache, f_begin(&t->f), ino, offset, got, len);
}

/* The upstream answers whatever is asked, as long as it takes. */
static int read_served(struct test *t, uint64_t ino, uint64_t offset, uint32_t len)
{
	int result = read_begin(t, ino, offset, len);

	while (result == CACHE_WAITS && !t->f.is_done) {
		serve_all(t);
		run_posted(t);
	}
	return result == CACHE_WAITS ? t->f.op.err : result;
}

static void assert_bytes(const unsigned char *data, uint64_t version, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != byte_of(version, offset + i))
			fail_msg("byte %llu is not of version %llu", (unsigned long long)(offset + i),
				 (unsigned long long)version);
	}
}

static void assert_read(struct test *t, uint64_t ino, uint64_t version, uint64_t offset, uint32_t len)
{
	assert_int_equal(read_served(t, ino, offset, len), 0);
	assert_int_equal(t->f.op.count, len);
	assert_bytes(got, version, offset, len);
}

/* ---- ranges ---- */

static void ranges(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 10 * MIB), version = t->m->position;
	struct wish wish;

	/* In its middle: one piece, and the reader goes on as soon as his bytes are there. */
	assert_int_equal(read_begin(t, ino, 5 * MIB + 100, 1000), CACHE_WAITS);
	assert_int_equal(t->n_asked, 1);
	wish = take_wish(t);
	assert_int_equal(wish.version, version);
	assert_true(wish.offset <= 5 * MIB + 100 && wish.offset + wish.len >= 5 * MIB + 1100);
	assert_true(wish.len <= MIB);
	assert_int_equal(give_part(t, &wish, wish.offset, 50), 0);
	run_posted(t);
	assert_false(t->f.is_done);
	assert_int_equal(give_part(t, &wish, 5 * MIB + 50, 2000), 0);
	run_posted(t);
	if (!t->f.is_done)	/* what lies between was asked for as well */
		assert_int_equal(give_part(t, &wish, wish.offset, 100 * KIB), 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 1000);
	assert_bytes(got, version, 5 * MIB + 100, 1000);
	end(t, &wish, 0);
	/* What is here is not asked for again; what is not, is. */
	t->n_asked = 0;
	assert_int_equal(read_begin(t, ino, 5 * MIB + 200, 100), 0);
	assert_int_equal(t->n_asked, 0);
	assert_read(t, ino, version, 3 * MIB - 10, 20);
	assert_true(t->n_asked >= 2);
	assert_read(t, ino, version, 9 * MIB, MIB);
	assert_true(t->f.op.is_eof);
	for (uint64_t at = 0; at < 10 * MIB; at += MIB)
		assert_read(t, ino, version, at, MIB);
	t->n_asked = 0;
	assert_read(t, ino, version, 0, 10 * MIB);
	assert_int_equal(t->n_asked, 0);
}

/* A failing piece is the failure of those who need it. */
static void one_piece_fails(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 10 * MIB), version = t->m->position;
	struct wish near, far;

	assert_int_equal(read_begin(t, ino, 2 * MIB, 100), CACHE_WAITS);
	near = take_wish(t);
	/* Of somebody who waits for nothing that is near. */
	far = (struct wish){ ino, version, 8 * MIB, MIB };
	end(t, &far, -EIO);
	run_posted(t);
	assert_false(t->f.is_done);
	end(t, &near, -EIO);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	/* The next one asks anew. */
	t->n_asked = 0;
	assert_read(t, ino, version, 2 * MIB, 100);
	assert_int_equal(t->n_asked, 1);
}

static void pieces_in_any_order(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 100 * KIB), version = t->m->position;
	static const unsigned order[] = { 7, 3, 3, 9, 0, 8, 1, 2, 6, 5, 4, 4 };
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 100 * KIB), CACHE_WAITS);
	wish = take_wish(t);
	assert_int_equal(wish.len, 100 * KIB);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		assert_int_equal(give_part(t, &wish, order[i] * 10 * KIB, 10 * KIB), 0);
	/* More than there is, and nothing at all. */
	assert_int_equal(give_part(t, &wish, 90 * KIB, 20 * KIB), 0);
	assert_int_equal(give_part(t, &wish, 200 * KIB, 10), 0);
	end(t, &wish, 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 100 * KIB);
	assert_bytes(got, version, 0, 100 * KIB);
}

/* ---- versions ---- */

static void version_changes_between(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 8 * MIB), old = t->m->position, new;
	struct wish wish;

	/* One read over two pieces, of which the first has come. */
	assert_int_equal(read_begin(t, ino, 3 * MIB - 100, 200), CACHE_WAITS);
	wish = take_wish(t);
	while (t->n_wishes)
		(void)take_wish(t);
	assert_int_equal(give_part(t, &wish, wish.offset, wish.len), 0);
	end(t, &wish, 0);
	new = store(t, "f", 7 * MIB);
	m_pull(t->m, &t->f);
	run_posted(t);
	assert_false(t->f.is_done);
	/* What is still on its way comes too late. */
	assert_int_equal(give_part(t, &wish, 3 * MIB, MIB), -ESTALE);
	wish.offset = 3 * MIB;
	end(t, &wish, -ESTALE);
	run_posted(t);
	while (!t->f.is_done) {
		serve_all(t);
		run_posted(t);
	}
	assert_int_equal(t->f.op.err, 0);
	assert_bytes(got, new, 3 * MIB - 100, 200);
	assert_int_not_equal(old, new);
	assert_read(t, ino, new, 0, 7 * MIB);
	assert_true(t->f.op.is_eof);
}

/* The upstream does not have it any more, and we do not know of the new one yet. */
static void version_not_known_yet(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), new;
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	new = store(t, "f", 900);
	wish = take_wish(t);
	end(t, &wish, -ESTALE);
	run_posted(t);
	assert_false(t->f.is_done);
	assert_int_equal(t->n_wishes, 0);
	m_pull(t->m, &t->f);
	run_posted(t);
	assert_int_equal(t->n_wishes, 1);
	assert_int_equal(t->wishes[0].version, new);
	serve_all(t);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 900);
	assert_bytes(got, new, 0, 900);
	/* It is known by the time the answer comes. */
	store(t, "f", 800);
	m_pull(t->m, &t->f);
	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	new = store(t, "f", 700);
	m_pull(t->m, &t->f);
	end(t, &wish, -ESTALE);
	run_posted(t);
	serve_all(t);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 700);
	assert_bytes(got, new, 0, 700);
}

static void gone_while_waiting(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000);
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -ESTALE);
	assert_int_equal(give_part(t, &wish, 0, 1000), -ESTALE);
	end(t, &wish, -ESTALE);
}

/* ---- what is ours ---- */

static void written_meanwhile(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;
	struct cml_batch *batch;
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	cache_link_lost(t->f.cache);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	/* The wish is still under way. */
	assert_int_equal(give_part(t, &wish, 0, 105), 0);
	assert_int_equal(f_write(&t->f, ino, 100, "LOCAL LOCA"), 0);
	assert_int_equal(give_part(t, &wish, 103, 500), 0);
	assert_int_equal(f_write(&t->f, ino, 598, "LOCAL"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_int_equal(give_part(t, &wish, 590, 410), 0);
	end(t, &wish, 0);
	assert_int_equal(read_begin(t, ino, 0, 2000), 0);
	assert_int_equal(t->f.op.count, 1000);
	assert_memory_equal(got + 100, "LOCAL LOCA", 10);
	assert_memory_equal(got + 598, "LOCAL", 5);
	assert_bytes(got, version, 0, 100);
	assert_bytes(got + 110, version, 110, 488);
	assert_bytes(got + 603, version, 603, 397);
	/* Only that goes upstream. */
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 1);
	assert_int_equal(batch->items[0].bytes, 15);
	assert_int_equal(batch->items[0].record.body.kml_body_u.store.ranges.ranges_len, 2);
	assert_int_equal(batch->items[0].record.body.kml_body_u.store.data_base, version);
	cml_give_back(t->f.cache, batch);
	t_reopen(t);
	assert_int_equal(read_begin(t, ino, 0, 2000), 0);
	assert_memory_equal(got + 100, "LOCAL LOCA", 10);
	assert_bytes(got + 603, version, 603, 397);
}

static void cut_meanwhile(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;
	unsigned char zeros[500] = { 0 };
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	cache_link_lost(t->f.cache);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	assert_int_equal(give_part(t, &wish, 200, 300), 0);
	assert_int_equal(f_truncate(&t->f, ino, 300), 0);
	assert_int_equal(give_part(t, &wish, 250, 250), 0);
	assert_int_equal(f_truncate(&t->f, ino, 800), 0);
	/* What was cut off does not come back. */
	assert_int_equal(give_part(t, &wish, 0, 1000), 0);
	end(t, &wish, 0);
	assert_int_equal(read_begin(t, ino, 0, 2000), 0);
	assert_int_equal(t->f.op.count, 800);
	assert_bytes(got, version, 0, 300);
	assert_memory_equal(got + 300, zeros, 500);
	t_reopen(t);
	assert_int_equal(read_begin(t, ino, 0, 2000), 0);
	assert_bytes(got, version, 0, 300);
	assert_memory_equal(got + 300, zeros, 500);
}

/* Cut while somebody waits for it: he gets what there is. */
static void cut_while_waiting(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;
	struct fixture other = t->f;	/* operations of its own on the same cache */
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	assert_int_equal(loop_new(&other.loop), 0);
	assert_int_equal(f_truncate(&other, ino, 300), 0);
	loop_free(other.loop);
	assert_int_equal(give_part(t, &wish, 0, 1000), 0);
	end(t, &wish, 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 300);
	assert_bytes(got, version, 0, 300);
}

/* Our store was applied: what we wait for has another number from then on, and the same bytes. */
static void stored_while_waiting(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position, new;
	struct kml_answer answer = { 0 };
	struct cml_batch *batch;
	struct wish wish;

	assert_int_equal(f_write(&t->f, ino, 0, "ours"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 1);
	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	assert_int_equal(wish.version, version);
	m_store(t->m, cml_client_id(t->f.cache), m_oid(t->m, KML_ROOT, "f"), 1000);
	new = t->m->position;
	end(t, &wish, -ESTALE);
	run_posted(t);
	assert_false(t->f.is_done);
	answer = (struct kml_answer){ .seq = batch->items[0].record.seq, .made_version = new };
	assert_int_equal(cml_retire(t->f.cache, batch, &answer, 1), 0);
	run_posted(t);
	/* Nobody waits for his deadline. */
	assert_int_equal(t->n_wishes, 1);
	wish = take_wish(t);
	assert_int_equal(wish.version, new);
	assert_int_equal(give_part(t, &wish, 0, 1000), 0);
	end(t, &wish, 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_memory_equal(got, "ours", 4);
	assert_bytes(got + 4, new, 4, 996);
}

/* ---- nobody waits for ever ---- */

static void late(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;
	struct wish wish;

	t->f.wait_us = 20 * US_PER_MS;
	assert_int_equal(f_wait(&t->f, read_begin(t, ino, 0, 1000)), -EIO);
	assert_true(clock_us() >= t->f.op.deadline_us);
	/* It has been asked for; the next one waits for the same. */
	assert_int_equal(f_wait(&t->f, read_begin(t, ino, 500, 1000)), -EIO);
	assert_int_equal(t->n_asked, 1);
	wish = take_wish(t);
	assert_int_equal(give_part(t, &wish, 0, 1000), 0);
	end(t, &wish, 0);
	assert_int_equal(read_begin(t, ino, 0, 1000), 0);
	assert_bytes(got, version, 0, 1000);
}

static void link_lost(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000), version = t->m->position;
	struct wish wish;

	assert_int_equal(read_begin(t, ino, 0, 1000), CACHE_WAITS);
	wish = take_wish(t);
	assert_int_equal(give_part(t, &wish, 0, 600), 0);
	t->has_link = false;
	cache_link_lost(t->f.cache);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	end(t, &wish, -EIO);
	/* What has come can be read; what has not is an error at once. */
	assert_int_equal(read_begin(t, ino, 0, 600), 0);
	assert_bytes(got, version, 0, 600);
	assert_int_equal(read_begin(t, ino, 600, 1), -EIO);
	assert_int_equal(t->n_asked, 1);
	t->has_link = true;
	assert_read(t, ino, version, 0, 1000);
}

static void asked_once_for_many(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 1000);

	for (unsigned i = 0; i < 20; i++) {
		t->f.wait_us = US_PER_MS;
		assert_int_equal(f_wait(&t->f, read_begin(t, ino, i * 50, 50)), -EIO);
	}
	assert_int_equal(t->n_asked, 1);
}

/* ---- what is here stays here ---- */

static void lasts(void **state)
{
	struct test *t = *state;
	uint64_t small = file(t, "small", 1000), small_version = t->m->position;
	uint64_t large = file(t, "large", 9 * MIB), large_version = t->m->position;
	uint64_t changed = file(t, "changed", 1000), none = file(t, "none", 1000);

	assert_read(t, small, small_version, 0, 1000);
	assert_read(t, large, large_version, 6 * MIB, 10);
	assert_int_equal(read_served(t, changed, 0, 1000), 0);
	store(t, "changed", 500);
	m_pull(t->m, &t->f);
	t_reopen(t);
	t->has_link = false;
	assert_read(t, small, small_version, 0, 1000);
	assert_read(t, large, large_version, 6 * MIB, 10);
	assert_int_equal(read_begin(t, large, 5 * MIB - 1, 10), -EIO);
	assert_int_equal(read_begin(t, changed, 0, 1000), -EIO);
	assert_int_equal(read_begin(t, none, 0, 1000), -EIO);
}

static int64_t count(struct test *t, const char *where)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", where);
	return query(&t->f, sql);
}

/* More files than memory holds: none is forgotten before it is noted. */
static void more_than_memory(void **state)
{
	struct test *t = *state;
	uint64_t inos[40], versions[40];
	char name[20];

	t->f.cache->max_inodes = 8;
	for (unsigned i = 0; i < ARRAY_SIZE(inos); i++) {
		snprintf(name, sizeof(name), "f%u", i);
		inos[i] = file(t, name, 100 + i);
		versions[i] = t->m->position;
	}
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(inos); i++)
			assert_read(t, inos[i], versions[i], 0, 100 + i);
	}
	assert_int_equal(t->n_asked, ARRAY_SIZE(inos));
	t_reopen(t);
	t->has_link = false;
	for (unsigned i = 0; i < ARRAY_SIZE(inos); i++)
		assert_read(t, inos[i], versions[i], 0, 100 + i);
	assert_int_equal(count(t, "inode WHERE length(present) > 0"), ARRAY_SIZE(inos));
}

/* ---- crashes and failing disks: in processes of their own, for a fault point's rules are read at its first hit ---- */

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
		f_init(&t->f);
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
	t->f.config.no_sync = false;
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

static int disk_full(struct test *t)
{
	struct wish wish;
	uint64_t ino;

	t_open(t);
	t_contact(t);
	ino = file(t, "f", 2000);
	assert_int_equal(read_begin(t, ino, 0, 2000), CACHE_WAITS);
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

	t_open(t);
	t_contact(t);
	ino = file(t, "f", 2000);
	old = t->m->position;
	assert_int_equal(read_begin(t, ino, 0, 2000), CACHE_WAITS);
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
	{ "a transaction is taken back", "content.pwrite:2:slow,writer.commit:6:ENOSPC,writer.commit:7:ENOSPC", taken_back },
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: no fault point has been passed yet in this process, and it has one thread. */
		cmocka_unit_test(failing),
		cmocka_unit_test(crash_anywhere),
		T(ranges),
		T(one_piece_fails),
		T(pieces_in_any_order),
		T(version_changes_between),
		T(version_not_known_yet),
		T(gone_while_waiting),
		T(written_meanwhile),
		T(cut_meanwhile),
		T(cut_while_waiting),
		T(stored_while_waiting),
		T(late),
		T(link_lost),
		T(asked_once_for_many),
		T(lasts),
		T(more_than_memory),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
