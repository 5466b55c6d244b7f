/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fetch_fixture: a cache with an upstream in memory, whose content is asked for and given piece by piece.
 *
 * Each byte of the upstream's files tells its version and place, so that a mixture shows.
 */
#ifndef TESTS_FETCH_FIXTURE_H
#define TESTS_FETCH_FIXTURE_H

#include "tests/unit/apply_model.h"

#include "cache/internal.h"
#include "cache/space.h"
#include "tests/unit/until.h"

#define KIB 1024ull
#define MIB (KIB * KIB)

struct wish {
	uint64_t ino, version, offset, len;
	enum fetch_class class;
	bool is_hurried;	/* somebody came to wait for it */
};

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct model *m;
	/* the fetcher's, that other threads may call */
	pthread_mutex_t lock;
	bool has_link, may_guess;
	bool is_dear;			/* nothing is to be hoarded now */
	struct wish wishes[2100];	/* not answered */
	unsigned n_wishes, n_asked;
};

static UNUSED bool t_has_link(void *arg)
{
	return __atomic_load_n(&((struct test *)arg)->has_link, __ATOMIC_RELAXED);
}

static UNUSED void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)arg;
	(void)ino;
	(void)dir;
	fail();
}

static UNUSED void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	struct test *t = arg;

	(void)oid;
	pthread_mutex_lock(&t->lock);
	assert_true(t->n_wishes < ARRAY_SIZE(t->wishes));
	t->wishes[t->n_wishes++] = (struct wish){ ino, version, offset, len, FETCH_ASKED, false };
	t->n_asked++;
	pthread_mutex_unlock(&t->lock);
}

static UNUSED bool t_may_hoard(void *arg)
{
	struct test *t = arg;

	return !__atomic_load_n(&t->is_dear, __ATOMIC_RELAXED);
}

static UNUSED bool t_may_guess(void *arg)
{
	return __atomic_load_n(&((struct test *)arg)->may_guess, __ATOMIC_RELAXED);
}

static UNUSED void t_ahead(void *arg, const struct fetch_range *ranges, size_t n, enum fetch_class class)
{
	struct test *t = arg;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < n; i++) {
		assert_true(t->n_wishes < ARRAY_SIZE(t->wishes));
		t->wishes[t->n_wishes++] = (struct wish){ ranges[i].ino, ranges[i].version, ranges[i].offset, ranges[i].len,
							  class, false };
		t->n_asked++;
	}
	pthread_mutex_unlock(&t->lock);
}

static UNUSED void t_hurry(void *arg, uint64_t ino, uint64_t version, uint64_t offset)
{
	struct test *t = arg;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_wishes; i++)
		if (t->wishes[i].ino == ino && t->wishes[i].version == version && t->wishes[i].offset == offset)
			t->wishes[i].is_hurried = true;
	pthread_mutex_unlock(&t->lock);
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data, t_may_hoard, t_may_guess, t_ahead, t_hurry };

static pid_t main_pid;

/* A child whose test has failed is not to go on with the next one. */
static UNUSED void not_in_child(void)
{
	if (getpid() != main_pid)
		_exit(3);
}

static UNUSED void t_open(struct test *t)
{
	(void)pthread_mutex_init(&t->lock, NULL);
	t->has_link = true;
	t->f.wait_us = patient_s(20) * US_PER_S;
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
}

static UNUSED void t_contact(struct test *t)
{
	t->m = m_new();
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", t->m->position, &t->m->objects[0]), 0);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
}

/* struct cache_config's, of the caches of setup(); less than a second for tests that wait for notes again and again. */
static UNUSED uint64_t gather_us;

static UNUSED int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	not_in_child();
	assert_non_null(t);
	f_init(&t->f);
	t->f.config.gather_us = gather_us;
	t_open(t);
	t_contact(t);
	*state = t;
	return 0;
}

static UNUSED int teardown(void **state)
{
	struct test *t = *state;

	m_free(t->m);
	return f_teardown(state);
}

static UNUSED void t_reopen(struct test *t)
{
	f_close(&t->f);
	t->n_wishes = t->n_asked = 0;
	t_open(t);
}

/* With that limit of content, and what there is counted: until then nothing is fetched that nobody asks for. */
static UNUSED void open_with(struct test *t, uint64_t limit)
{
	struct space_status space;

	f_close(&t->f);
	t->f.config.content_limit = limit;
	t_open(t);
	UNTIL(20, (space_get_status(t->f.cache, &space), space.is_counted));
}

/* ---- the upstream's bytes ---- */

static UNUSED unsigned char byte_of(uint64_t version, uint64_t offset)
{
	return 1 + (version * 89 + offset + offset / 251) % 251;
}

static UNUSED void fill(unsigned char *data, uint64_t version, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = byte_of(version, offset + i);
}

/* A file of upstream's, pulled. */
static UNUSED uint64_t file(struct test *t, const char *name, uint64_t size)
{
	struct kml_oid oid = m_file(t->m, KML_ROOT, name);

	m_store(t->m, OTHERS, oid, size);
	m_pull(t->m, &t->f);
	return ino_of(&t->f, oid);
}

/* Others write all of it anew; not pulled. */
static UNUSED uint64_t store(struct test *t, const char *name, uint64_t size)
{
	m_store(t->m, OTHERS, m_oid(t->m, KML_ROOT, name), size);
	return t->m->position;
}

static UNUSED int give_part(struct test *t, const struct wish *wish, uint64_t offset, uint64_t len)
{
	unsigned char *data = malloc(len);
	int err;

	assert_non_null(data);
	fill(data, wish->version, offset, len);
	err = apply_content(t->f.cache, wish->ino, wish->version, offset, data, len);
	free(data);
	return err;
}

static UNUSED void end(struct test *t, const struct wish *wish, int err)
{
	apply_content_end(t->f.cache, wish->ino, wish->version, wish->offset, err);
}

static UNUSED unsigned wishes(struct test *t)
{
	unsigned n;

	pthread_mutex_lock(&t->lock);
	n = t->n_wishes;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* The oldest wish. */
static UNUSED struct wish take_wish(struct test *t)
{
	struct wish wish;

	pthread_mutex_lock(&t->lock);
	wish = t->wishes[0];
	assert_true(t->n_wishes > 0);
	memmove(t->wishes, t->wishes + 1, --t->n_wishes * sizeof(wish));
	pthread_mutex_unlock(&t->lock);
	return wish;
}

static UNUSED void serve_all(struct test *t)
{
	while (wishes(t)) {
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

static UNUSED void stop_run(struct loop_job *job)
{
	loop_stop(container_of(job, struct stop_job, job)->loop);
}

/* Whatever was posted has run. */
static UNUSED void run_posted(struct test *t)
{
	struct stop_job stop = { { .run = stop_run }, t->f.loop };

	loop_post(t->f.loop, &stop.job);
	assert_int_equal(loop_run(t->f.loop), 0);
}

static UNUSED unsigned char got[16 * MIB];

static UNUSED int read_begin(struct test *t, uint64_t ino, uint64_t offset, uint32_t len)
{
	memset(got, 0, MIN(len, sizeof(got)));
	return cache_read(t->f.cache, f_begin(&t->f), ino, offset, got, len);
}

/* The upstream answers whatever is asked, as long as it takes. */
static UNUSED int read_served(struct test *t, uint64_t ino, uint64_t offset, uint32_t len)
{
	int result = read_begin(t, ino, offset, len);

	while (result == CACHE_WAITS && !t->f.is_done) {
		serve_all(t);
		run_posted(t);
	}
	return result == CACHE_WAITS ? t->f.op.err : result;
}

static UNUSED void assert_bytes(const unsigned char *data, uint64_t version, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != byte_of(version, offset + i))
			fail_msg("byte %llu is not of version %llu", (unsigned long long)(offset + i),
				 (unsigned long long)version);
	}
}

static UNUSED void assert_read(struct test *t, uint64_t ino, uint64_t version, uint64_t offset, uint32_t len)
{
	assert_int_equal(read_served(t, ino, offset, len), 0);
	assert_int_equal(t->f.op.count, len);
	assert_bytes(got, version, offset, len);
}

static UNUSED int64_t count(struct test *t, const char *where)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", where);
	return query(&t->f, sql);
}

#define OURS 1000ull		/* byte_of() that version is what we write; replayed, it becomes that version */

static UNUSED void write_ours(struct test *t, uint64_t ino, uint64_t offset, uint32_t len, bool is_committed)
{
	unsigned char *data = malloc(len);

	assert_non_null(data);
	fill(data, OURS, offset, len);
	assert_int_equal(f_write_as(&t->f, ino, offset, data, len, UNSTABLE), 0);
	if (is_committed)
		assert_int_equal(f_commit(&t->f, ino), 0);
	free(data);
}

#endif
