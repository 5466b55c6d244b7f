/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listing_fixture: a cache with an upstream in memory, whose directories are listed by one, or as trees, in pieces. */
#ifndef TESTS_LISTING_FIXTURE_H
#define TESTS_LISTING_FIXTURE_H

#include "tests/unit/apply_model.h"

#include "cache/internal.h"

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct model *m;
	/* the fetcher's */
	bool has_link;
	unsigned n_lists;
};

static UNUSED bool t_has_link(void *arg)
{
	return ((struct test *)arg)->has_link;
}

static UNUSED void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)ino;
	(void)dir;
	((struct test *)arg)->n_lists++;
}

static UNUSED void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	(void)arg;
	(void)ino;
	(void)oid;
	(void)version;
	(void)offset;
	(void)len;
	fail();
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data };

static pid_t main_pid;

static UNUSED void t_open(struct test *t)
{
	f_init(&t->f);
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
	t->m = m_new();
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", t->m->position, &t->m->objects[0]), 0);
}

/* First contact; nothing is listed. */
static UNUSED int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	if (getpid() != main_pid)	/* a child whose test has failed is not to go on with the next one */
		_exit(3);
	assert_non_null(t);
	t_open(t);
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
	f_reopen(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
}

static UNUSED int64_t count(struct test *t, const char *where)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", where);
	return query(&t->f, sql);
}

/* What happened upstream will never be told by the journal. */
static UNUSED void lose_entries(struct test *t)
{
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
}

/* ---- listings ---- */

static UNUSED void lines_free(struct m_listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		kml_listed_release(&l->v[i]);
	free(l->v);
	*l = (struct m_listing){ 0 };
}

/* A whole tree, breadth first. */
static UNUSED void deep_snapshot(struct model *m, struct kml_oid dir, struct m_listing *l)
{
	struct kml_oid queue[600];
	unsigned n = 0;

	*l = (struct m_listing){ .position = m->position };
	m_listing_add(l, KML_NO_OID, "", m_object_of(m, dir));
	queue[n++] = dir;
	for (unsigned at = 0; at < n; at++) {
		for (unsigned i = 0; i < m->n_names; i++) {
			const struct m_name *name = &m->names[i];

			if (!kml_oid_equal(name->dir, queue[at]) || kml_oid_is_none(name->oid))
				continue;
			m_listing_add(l, queue[at], name->name, m_object_of(m, name->oid));
			if (m_object_of(m, name->oid)->attr.type != KML_DIR)
				continue;
			assert_true(n < ARRAY_SIZE(queue));
			queue[n++] = name->oid;
		}
	}
}

static UNUSED struct apply_listing *begin(struct test *t, uint64_t ino, const struct m_listing *l, bool is_deep)
{
	struct apply_listing *listing;

	assert_int_equal(apply_listing_begin(t->f.cache, ino, l->position, is_deep, &listing), 0);
	return listing;
}

/* So many lines at a time. */
static UNUSED int deliver(struct test *t, uint64_t ino, struct m_listing *l, bool is_deep, size_t piece)
{
	struct apply_listing *listing = begin(t, ino, l, is_deep);
	int err = 0;

	for (size_t at = 0; at < l->n && !err; at += piece)
		err = apply_listing_add(listing, l->v + at, MIN(piece, l->n - at));
	err = apply_listing_end(listing, err);
	lines_free(l);
	return err;
}

static UNUSED int deep(struct test *t, size_t piece)
{
	struct m_listing l;

	deep_snapshot(t->m, KML_ROOT, &l);
	return deliver(t, ROOT, &l, true, piece);
}

static UNUSED int shallow(struct test *t, struct kml_oid dir)
{
	return m_list(t->m, &t->f, dir, ino_of(&t->f, dir));
}

static UNUSED void answer_all(struct test *t)
{
	unsigned n = 0;

	while (m_answer(t->m, &t->f))
		assert_true(n++ < 100);
}

/* ---- somebody waits ---- */


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
	struct stop_job stop_job = { { .run = stop_run }, t->f.loop };

	loop_post(t->f.loop, &stop_job.job);
	assert_int_equal(loop_run(t->f.loop), 0);
}

static UNUSED void lookup_waits(struct test *t, uint64_t dir, const char *name)
{
	t->has_link = true;
	assert_int_equal(cache_lookup(t->f.cache, f_begin(&t->f), dir, text(name)), CACHE_WAITS);
	run_posted(t);
	assert_false(t->f.is_done);
	t->has_link = false;
}

static UNUSED bool count_name(void *arg, const struct cache_dirent *entry)
{
	(void)entry;
	++*(int *)arg;
	return true;
}

/* How many, with "." and "..", or -errno. */
static UNUSED int list_names(struct test *t, uint64_t dir)
{
	int n = 0, err;

	err = f_wait(&t->f, cache_readdir(t->f.cache, f_begin(&t->f), dir, 0, false, count_name, &n));
	return err ? err : n;
}

/* Every kind, hard links in two directories, empty directories, at every depth. */
static UNUSED void grow_tree(struct model *m)
{
	struct kml_oid a, b, deep_dir, file;

	m_dir(m, KML_ROOT, "empty first");
	a = m_dir(m, KML_ROOT, "a");
	b = m_dir(m, KML_ROOT, "b");
	m_make(m, 0, KML_LNK, KML_ROOT, "link", KML_NO_OID);
	m_dir(m, KML_ROOT, "empty last");
	file = m_file(m, a, "file");
	m_store(m, OTHERS, file, 12345);
	m_link(m, OTHERS, file, b, "same file");
	m_dir(m, a, "empty");
	deep_dir = m_dir(m, b, "deep");
	m_make(m, 0, KML_FIFO, deep_dir, "fifo", KML_NO_OID);
	deep_dir = m_dir(m, deep_dir, "deeper");
	m_link(m, OTHERS, file, deep_dir, "still the same");
	m_dir(m, deep_dir, "empty at the end");
}

#endif
