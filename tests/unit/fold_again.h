/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fold_again: what the upstream has already, and is made anew or replaced here. */
#ifndef TESTS_FOLD_AGAIN_H
#define TESTS_FOLD_AGAIN_H

#include "tests/unit/fold_fixture.h"

#include "base/log.h"

/* One that the upstream has. */
static UNUSED uint64_t known(struct test *t, const char *name, const char *content)
{
	uint64_t ino = made(t->f, ROOT, name, content);

	assert_int_equal(f_chmod(t->f, ino, 0644), 0);
	sent(t);
	return ino;
}

/* With that mode, and that owner. */
static UNUSED uint64_t made_as(struct test *t, const char *name, unsigned mode, uint32_t uid, const char *content)
{
	uint64_t ino;

	t->f->cred.uid = uid;
	assert_int_equal(f_create(t->f, ROOT, name, mode), 0);
	ino = t->f->op.ino;
	t->f->cred.uid = 0;
	assert_int_equal(f_write(t->f, ino, 0, content), 0);
	assert_int_equal(f_commit(t->f, ino), 0);
	return ino;
}

static UNUSED uint64_t made_anew(struct test *t, const char *name, const char *content)
{
	assert_int_equal(f_remove(t->f, ROOT, name), 0);
	return made_as(t, name, 0644, 0, content);
}

/* The first record is a store of all of that object, done on that version. */
static UNUSED void assert_store_of(struct test *t, struct kml_oid oid, uint64_t version)
{
	struct cml_batch *batch = take(t->f, 1, UINT64_MAX);
	const struct kml_store *store;

	assert_string_equal(ops(batch), "STORE ");
	store = &batch->items[0].record.body.kml_body_u.store;
	assert_true(kml_oid_equal(store->oid, oid));
	assert_int_equal(store->data_base, version);
	assert_int_equal(store->keep_size, 0);
	cml_give_back(t->f->cache, batch);
}

static UNUSED int64_t of_inode(struct test *t, uint64_t ino, const char *column)
{
	char sql[100];

	snprintf(sql, sizeof(sql), "SELECT %s FROM inode WHERE ino = %llu", column, (unsigned long long)ino);
	return query(t->f, sql);
}

#endif
