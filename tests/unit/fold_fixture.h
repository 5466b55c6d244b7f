/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fold_fixture: a cache that folds its log, and an upstream in memory. */
#ifndef TESTS_FOLD_FIXTURE_H
#define TESTS_FOLD_FIXTURE_H

#include "tests/unit/cml_random.h"

#define ALL 100, UINT64_MAX
#define LOCAL ".nfs000000000000000000000001"

struct test {
	struct fixture *f;
	struct upstream *up;
};

static UNUSED int t_setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->up = up_new();
	*state = t;
	return f_setup((void **)&t->f);
}

static UNUSED int t_teardown(void **state)
{
	struct test *t = *state;
	int failed = f_teardown((void **)&t->f);

	free(t->up);
	free(t);
	return failed;
}

/* All of it has been sent, and answered. */
static UNUSED void sent(struct test *t)
{
	assert_int_equal(cml_flush(t->f->cache), 0);
	up_drain(t->up, t->f->cache);
	assert_log(t->f, "");
	up_compare(t->up, t->f);
	assert_int_equal(t->up->n_odd, 0);
	assert_int_equal(query(t->f, "SELECT count(*) FROM name WHERE seq OR NOT ino"), 0);
	assert_int_equal(query(t->f, "SELECT count(*) FROM inode WHERE data_seq OR attr_seq OR length(dirty) OR length(dirty_next)"), 0);
}

/* What is in the log now may have been sent. */
static UNUSED void frozen(struct test *t)
{
	cml_give_back(t->f->cache, take(t->f, ALL));
}

static UNUSED struct kml_oid oid_of(struct test *t, const char *path)
{
	struct up_object *o = up_at(t->up, path);

	assert_non_null(o);
	return o->oid;
}

/* Written under another name, then put in its place. */
static UNUSED uint64_t saved(struct test *t, const char *name, const char *content)
{
	uint64_t ino = made(t->f, ROOT, "temp", content);

	assert_int_equal(f_rename(t->f, ROOT, "temp", ROOT, name), 0);
	return ino;
}

#endif
