/* SPDX-License-Identifier: GPL-2.0-or-later */
/* apply_fixture: a cache that has met its upstream, the model in memory, and the root listed; its questions are counted. */
#ifndef TESTS_APPLY_FIXTURE_H
#define TESTS_APPLY_FIXTURE_H

#include "tests/unit/apply_model.h"

#include "cache/cml.h"
#include "cache/inode.h"

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct model *m;
	/* the fetcher's */
	bool has_link;
	uint64_t list_ino, data_version, data_offset;
	unsigned n_lists, n_data, stop_at_data;
};

static UNUSED bool t_has_link(void *arg)
{
	return ((struct test *)arg)->has_link;
}

static UNUSED void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	struct test *t = arg;

	(void)dir;
	t->list_ino = ino;
	t->n_lists++;
}

static UNUSED void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	struct test *t = arg;

	(void)ino;
	(void)oid;
	(void)len;
	t->data_version = version;
	t->data_offset = offset;
	if (++t->n_data == t->stop_at_data)
		loop_stop(t->f.loop);
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data };

/* First contact, and the root listed. */
static UNUSED int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	f_init(&t->f);
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
	t->m = m_new();
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", t->m->position, &t->m->objects[0]), 0);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	*state = t;
	return 0;
}

static UNUSED int teardown(void **state)
{
	struct test *t = *state;

	m_free(t->m);
	return f_teardown(state);
}

static UNUSED void reopen(struct test *t)
{
	f_reopen(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
}

static UNUSED int64_t count(struct fixture *f, const char *where)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", where);
	return query(f, sql);
}

/* All records are answered with "done", as of this position. */
static UNUSED void retire(struct test *t, uint64_t version)
{
	struct kml_answer answers[64] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(t->f.cache, ARRAY_SIZE(answers), UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	for (size_t i = 0; i < batch->n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .made_version = version };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
}

/* Bytes of a file, as they come from upstream. */
static UNUSED void give(struct test *t, uint64_t ino, uint64_t version, const char *data)
{
	assert_int_equal(apply_content(t->f.cache, ino, version, 0, data, strlen(data)), 0);
	apply_content_end(t->f.cache, ino, version, 0, 0);
}

/* A file of upstream's, pulled, with content that has come. */
static UNUSED uint64_t filled(struct test *t, struct kml_oid dir, const char *name, const char *data)
{
	struct kml_oid oid = m_file(t->m, dir, name);

	m_store(t->m, OTHERS, oid, strlen(data));
	m_pull(t->m, &t->f);
	give(t, ino_of(&t->f, oid), t->m->position, data);
	return ino_of(&t->f, oid);
}

static UNUSED void no_stale(struct test *t)
{
	assert_int_equal(count(&t->f, "inode WHERE is_stale"), 0);
}

static UNUSED int64_t mtime_of(struct test *t, uint64_t ino)
{
	assert_int_equal(f_getattr(&t->f, ino), 0);
	return (int64_t)t->f.op.attr.mtime.tv_sec * 1000000000 + t->f.op.attr.mtime.tv_nsec;
}

#endif
