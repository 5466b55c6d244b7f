/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes from upstream: journal entries, objects, reset. */
#include "tests/unit/apply_fixture.h"

/* ---- contact ---- */

static void contact(void **state)
{
	struct test *t = *state;
	struct kml_object *root = &t->m->objects[0];

	assert_int_equal(f_getattr(&t->f, ROOT), 0);
	assert_int_equal(t->f.op.attr.mode, 0751);
	assert_int_equal(t->f.op.attr.uid, 5);
	assert_int_equal(apply_position(t->f.cache), 1);
	assert_int_equal(apply_upstream(t->f.cache, "another", 100, root), -EXDEV);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 1, root), 0);
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 1, root), -ESTALE);
	reopen(t);
	assert_int_equal(apply_position(t->f.cache), 2);
	assert_int_equal(apply_upstream(t->f.cache, "another", 100, root), -EXDEV);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 1, root), -ESTALE);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 2, root), 0);
}

static void assert_mark(struct test *t, uint64_t position, uint64_t value)
{
	struct kml_mark mark;

	apply_mark(t->f.cache, &mark);
	assert_int_equal(mark.position, position);
	assert_int_equal(mark.value, value);
}

/* The last entry's goes with the position. */
static void mark_of_the_last(void **state)
{
	struct test *t = *state;

	assert_mark(t, 0, 0);
	apply_next_mark(t->f.cache, &(struct kml_mark){ 2, 0xfedcba9876543210 });
	assert_mark(t, 0, 0);
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_mark(t, 2, 0xfedcba9876543210);
	/* Nobody has said one: the older one is as true as it was. */
	m_file(t->m, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_mark(t, 2, 0xfedcba9876543210);
	reopen(t);
	assert_mark(t, 2, 0xfedcba9876543210);
	m_file(t->m, KML_ROOT, "h");
	apply_next_mark(t->f.cache, &(struct kml_mark){ t->m->position, 5 });
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_mark(t, 4, 5);
	reopen(t);
	assert_mark(t, 4, 5);
}

static void contact_refuses(void **state)
{
	struct fixture *f = *state;
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .nlink = 2 } };
	struct kml_object other = { .oid = { 0, 2 }, .attr = { .type = KML_DIR, .nlink = 2 } };

	assert_int_equal(apply_upstream(f->cache, "", 1, &root), -EINVAL);
	assert_int_equal(apply_upstream(f->cache, "x", 1, &other), -EINVAL);
	assert_int_equal(apply_upstream(f->cache, "0123456789012345678901234567890123456789", 1, &root), -EINVAL);
	/* Nothing has ever happened there: so the root is known to be empty. */
	assert_int_equal(apply_upstream(f->cache, "x", 0, &root), 0);
	assert_int_equal(f_lookup(f, ROOT, "nothing"), -ENOENT);
}

/* ---- entries ---- */

static void kinds(void **state)
{
	struct test *t = *state;
	struct kml_oid dir;
	char target[CACHE_TARGET_MAX];
	uint64_t ino;

	m_file(t->m, KML_ROOT, "file");
	dir = m_dir(t->m, KML_ROOT, "dir");
	m_make(t->m, OTHERS, KML_LNK, KML_ROOT, "link", KML_NO_OID);
	m_make(t->m, 0, KML_FIFO, KML_ROOT, "fifo", KML_NO_OID);
	m_make(t->m, 0, KML_DIR, dir, "below", KML_NO_OID);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* A directory that is made is known to be empty. */
	assert_int_equal(f_lookup(&t->f, ino_of(&t->f, dir), "nothing"), -ENOENT);
	ino = found(&t->f, ROOT, "link");
	assert_int_equal(f_wait(&t->f, cache_readlink(t->f.cache, f_begin(&t->f), ino, target)), 0);
	assert_int_equal(t->f.op.count, 10);
	assert_memory_equal(target, "some/where", 10);
	reopen(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(&t->f, "cml"), 0);
	no_stale(t);
}

static void removing(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");

	m_file(t->m, dir, "g");
	m_pull(t->m, &t->f);
	assert_content(&t->f, ino, "hello");
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_remove(t->m, OTHERS, dir, "g");
	m_remove(t->m, OTHERS, KML_ROOT, "dir");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, ino), -ESTALE);
	assert_int_equal(count(&t->f, "inode"), 1);
	assert_int_equal(count(&t->f, "name"), 0);
	no_stale(t);
}

static void renaming(void **state)
{
	struct test *t = *state;
	struct kml_oid a = m_dir(t->m, KML_ROOT, "a"), b = m_dir(t->m, KML_ROOT, "b"), sub;
	uint64_t ino, over, sub_ino;

	sub = m_dir(t->m, a, "sub");
	m_file(t->m, sub, "deep");
	over = filled(t, b, "there", "old");
	ino = filled(t, a, "f", "hello");
	sub_ino = ino_of(&t->f, sub);
	m_rename(t->m, OTHERS, a, "f", a, "g");
	m_rename(t->m, OTHERS, a, "g", b, "there");
	m_rename(t->m, OTHERS, a, "sub", b, "sub2");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(found(&t->f, ino_of(&t->f, b), "there"), ino);
	assert_content(&t->f, ino, "hello");
	assert_int_equal(f_getattr(&t->f, over), -ESTALE);
	assert_int_equal(f_lookup(&t->f, sub_ino, ".."), 0);
	assert_int_equal(t->f.op.ino, ino_of(&t->f, b));
	/* A directory over an empty one. */
	m_dir(t->m, KML_ROOT, "empty");
	m_rename(t->m, 0, b, "sub2", KML_ROOT, "empty");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(found(&t->f, ROOT, "empty"), sub_ino);
	no_stale(t);
}

static void linking(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");

	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino_of(&t->f, oid), "links_up"), 2);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino_of(&t->f, oid), "links_up"), 1);
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_int_equal(count(&t->f, "inode"), 1);
	no_stale(t);
}

static void attributes(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");
	struct timespec ctime, later;

	assert_int_equal(f_getattr(&t->f, ino), 0);
	ctime = t->f.op.attr.ctime;
	m_chmod(t->m, OTHERS, m_oid(t->m, KML_ROOT, "f"), 0600);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	later = t->f.op.attr.ctime;
	assert_true(later.tv_sec > ctime.tv_sec || (later.tv_sec == ctime.tv_sec && later.tv_nsec > ctime.tv_nsec));
	assert_content(&t->f, ino, "hello");
	/* The same once more changes nothing. */
	assert_int_equal(apply_entries(t->f.cache, t->m->entries, t->m->position, t->m->position), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_memory_equal(&t->f.op.attr.ctime, &later, sizeof(later));
}

static void storing(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello"), version = t->m->position;
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");
	int64_t gen = inode_column(&t->f, ino, "gen");
	char data[10];

	assert_true(gen > 0);
	m_store(t->m, OTHERS, oid, 3);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino, "gen"), gen + 1);
	assert_int_equal(inode_column(&t->f, ino, "keep_size"), 3);
	/* Not here, and no link. */
	assert_int_equal(f_read(&t->f, ino, 0, data, sizeof(data)), -EIO);
	assert_int_equal(apply_content(t->f.cache, ino, version, 0, "old", 3), -ESTALE);
	give(t, ino, t->m->position, "new");
	assert_content(&t->f, ino, "new");
	/* Ours on top of it knows on what. */
	assert_int_equal(f_write(&t->f, ino, 3, "er"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_content(&t->f, ino, "newer");
	assert_int_equal(count(&t->f, "cml"), 1);
}

/* Somebody waits for content while it changes: the new version is fetched. */
static void storing_while_read(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");
	char data[10] = "";
	uint64_t ino, old;

	m_store(t->m, OTHERS, oid, 5);
	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, oid);
	old = t->m->position;
	t->has_link = true;
	assert_int_equal(cache_read(t->f.cache, f_begin(&t->f), ino, 0, data, sizeof(data)), CACHE_WAITS);
	assert_int_equal(t->n_data, 1);
	assert_int_equal(t->data_version, old);
	m_store(t->m, OTHERS, oid, 3);
	t->stop_at_data = 2;
	m_pull(t->m, &t->f);
	while (t->n_data < 2) {
		assert_int_equal(loop_run(t->f.loop), 0);
		assert_false(t->f.is_done);
	}
	assert_int_equal(t->data_version, t->m->position);
	assert_int_equal(apply_content(t->f.cache, ino, old, 0, "hello", 5), -ESTALE);
	apply_content_end(t->f.cache, ino, old, 0, -ESTALE);
	give(t, ino, t->m->position, "new");
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 3);
	assert_memory_equal(data, "new", 3);
}

static void unknown_objects(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), hidden, in_hidden, known;
	uint64_t ino, known_ino;

	/* A directory that is not listed here: moved in from where nothing is known. */
	hidden = m_dir(t->m, dir, "hidden");
	in_hidden = m_file(t->m, hidden, "in");
	known = m_file(t->m, dir, "known");
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	/* Taken in at first contact with it; nothing of 'dir' but itself is known. */
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	assert_int_equal(count(&t->f, "inode"), 2);
	m_chmod(t->m, OTHERS, in_hidden, 0600);
	m_store(t->m, OTHERS, in_hidden, 10);
	m_file(t->m, hidden, "more");
	m_pull(t->m, &t->f);
	assert_int_equal(count(&t->f, "inode"), 2);
	/* One comes to where it can be seen. */
	m_rename(t->m, OTHERS, dir, "known", KML_ROOT, "seen");
	m_rename(t->m, OTHERS, dir, "hidden", KML_ROOT, "hidden");
	m_pull(t->m, &t->f);
	known_ino = found(&t->f, ROOT, "seen");
	assert_int_equal(known_ino, ino_of(&t->f, known));
	ino = found(&t->f, ROOT, "hidden");
	assert_int_equal(ino, ino_of(&t->f, hidden));
	/* Its names are not. */
	assert_int_equal(f_lookup(&t->f, ino, "in"), -EIO);
	/* What is known keeps its inode where it goes out of sight, and comes back. */
	m_rename(t->m, OTHERS, KML_ROOT, "seen", hidden, "away");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "seen"), 0);
	assert_int_equal(found(&t->f, ino, "away"), known_ino);
	m_rename(t->m, OTHERS, hidden, "away", KML_ROOT, "back");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "back"), known_ino);
	assert_int_equal(m_list(t->m, &t->f, hidden, ino), 0);
	assert_int_equal(m_list(t->m, &t->f, dir, ino_of(&t->f, dir)), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	no_stale(t);
}

static void older_than_listing(void **state)
{
	struct test *t = *state;
	uint64_t was = t->m->position;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");

	m_chmod(t->m, OTHERS, oid, 0600);
	m_rename(t->m, OTHERS, KML_ROOT, "f", KML_ROOT, "g");
	m_store(t->m, OTHERS, oid, 7);
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	oid = m_file(t->m, KML_ROOT, "f");
	m_chmod(t->m, OTHERS, oid, 0640);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* What led to that is not shown once more. */
	while (was < t->m->position) {
		m_pull_to(t->m, &t->f, ++was);
		m_compare(t->m, &t->f, KML_ROOT, ROOT);
	}
	no_stale(t);
}

static void not_made_sense_of(void **state)
{
	struct test *t = *state;
	uint64_t ino, other;
	struct m_name *n;

	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	ino = found(&t->f, ROOT, "f");
	/* The entries between are lost, as from a journal that was tampered with. */
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_file(t->m, KML_ROOT, "f");
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	n = m_find(t->m, KML_ROOT, "f");
	assert_int_equal(ino_of(&t->f, n->oid), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "f"), ino);
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	assert_true(m_answer(t->m, &t->f));
	assert_false(m_answer(t->m, &t->f));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* A name that is taken: the new one has it. */
	m_file(t->m, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	other = found(&t->f, ROOT, "g");
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	m_file(t->m, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_not_equal(found(&t->f, ROOT, "g"), other);
}

static void many(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	char name[20];

	for (unsigned i = 0; i < 1300; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		m_file(t->m, dir, name);
	}
	m_pull(t->m, &t->f);
	assert_int_equal(count(&t->f, "inode"), 1302);
	/* It is replaced by a file, and all that is known is the listing: 1300 names go, in steps. */
	for (unsigned i = 0; i < 1300; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		m_remove(t->m, 0, dir, name);
	}
	m_remove(t->m, 0, KML_ROOT, "dir");
	m_file(t->m, KML_ROOT, "dir");
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_true(m_answer(t->m, &t->f));
	assert_false(m_answer(t->m, &t->f));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(&t->f, "inode"), 2);
	assert_int_equal(count(&t->f, "name"), 1);
}

/* ---- when it goes wrong ---- */

/* The first of all tests, for a point of failure is steered by what the environment says at its first hit. */
static void failing(void **state)
{
	struct test t = { 0 };
	struct fixture *f = &t.f;
	struct kml_oid dir;

	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	assert_int_equal(setenv("IZO_FAULT", "apply.upstream:1:EIO,apply.entries:2:EIO,apply.reset:1:EIO,"
				"merge.sweep:1:EIO", 1), 0);
	f_init(f);
	f_open(f);
	t.m = m_new();
	assert_int_equal(apply_upstream(f->cache, "upstream-1", 1, &t.m->objects[0]), -EIO);
	assert_int_equal(apply_position(f->cache), 0);
	assert_int_equal(apply_upstream(f->cache, "upstream-2", 1, &t.m->objects[0]), 0);
	assert_int_equal(m_list(t.m, f, KML_ROOT, ROOT), 0);
	dir = m_dir(t.m, KML_ROOT, "dir");
	m_pull(t.m, f);
	/* Nothing of it is there, and it can be done again. */
	m_file(t.m, KML_ROOT, "f");
	m_file(t.m, dir, "g");
	assert_int_equal(apply_entries(f->cache, t.m->entries + 2, 2, 4), -EIO);
	assert_int_equal(apply_position(f->cache), 2);
	assert_int_equal(found(f, ROOT, "f"), 0);
	m_pull(t.m, f);
	m_compare(t.m, f, KML_ROOT, ROOT);
	assert_int_equal(apply_reset(f->cache, 4), -EIO);
	assert_false(m_answer(t.m, f));
	assert_int_equal(apply_reset(f->cache, 4), 0);
	while (m_answer(t.m, f))
		;
	/* A directory that is half gone when the daemon ends. */
	m_remove(t.m, OTHERS, dir, "g");
	m_remove(t.m, OTHERS, KML_ROOT, "dir");
	assert_int_equal(apply_entries(f->cache, NULL, 0, t.m->position), 0);
	assert_int_equal(m_list(t.m, f, KML_ROOT, ROOT), -EIO);
	assert_int_not_equal(found(f, ROOT, "dir"), 0);
	reopen(&t);
	while (m_answer(t.m, f))
		;
	m_compare(t.m, f, KML_ROOT, ROOT);
	assert_int_equal(count(f, "inode"), 2);
	assert_int_equal(count(f, "name"), 1);
	m_free(t.m);
	f_close(f);
	f_remove_dir(f);
	assert_int_equal(unsetenv("IZO_FAULT"), 0);
}

/* ---- asking again ---- */

static void given_out_once(void **state)
{
	struct test *t = *state;
	struct kml_oid oid, got;
	uint64_t ino, asked;
	bool is_dir;

	ino = filled(t, KML_ROOT, "f", "hello");
	oid = m_oid(t->m, KML_ROOT, "f");
	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	m_chmod(t->m, OTHERS, oid, 0640);
	m_pull(t->m, &t->f);
	assert_false(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	retire(t, 0);
	assert_true(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	assert_int_equal(asked, ino);
	assert_true(kml_oid_equal(got, oid));
	assert_false(is_dir);
	assert_false(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	/* Marked again while the answer is on its way: that answer may be too old. */
	assert_int_equal(f_chmod(&t->f, ino, 0601), 0);
	m_chmod(t->m, OTHERS, oid, 0641);
	m_pull(t->m, &t->f);
	retire(t, 0);
	assert_int_equal(apply_object(t->f.cache, &oid, m_object_of(t->m, oid), t->m->position), 0);
	assert_int_equal(inode_column(&t->f, ino, "is_stale"), 1);
	assert_true(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	assert_int_equal(apply_object(t->f.cache, &oid, m_object_of(t->m, oid), t->m->position), 0);
	no_stale(t);
	assert_false(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* Gone there, and nobody knew. */
	assert_int_equal(apply_object(t->f.cache, &oid, NULL, t->m->position), 0);
	assert_int_equal(count(&t->f, "inode"), 1);
	assert_int_equal(apply_object(t->f.cache, &oid, NULL, t->m->position), 0);
}

static void reset(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), oid, own;
	struct m_listing before;
	uint64_t ino, same, mine;

	ino = filled(t, dir, "changed", "hello");
	same = filled(t, dir, "same", "hello");
	filled(t, dir, "gone", "hello");
	mine = made(&t->f, ino_of(&t->f, dir), "mine", "bytes");
	oid = m_oid(t->m, dir, "changed");
	m_snapshot(t->m, dir, &before);
	m_store(t->m, OTHERS, oid, 3);
	m_remove(t->m, OTHERS, dir, "gone");
	m_file(t->m, dir, "new");
	m_dir(t->m, KML_ROOT, "more");
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_int_equal(apply_position(t->f.cache), t->m->position);
	/* Until it is known better, all goes on as before. */
	assert_content(&t->f, ino, "hello");
	assert_content(&t->f, same, "hello");
	assert_int_equal(m_deliver(&t->f, ino_of(&t->f, dir), &before), -EAGAIN);
	reopen(t);
	assert_int_equal(apply_position(t->f.cache), t->m->position);
	assert_true(m_answer(t->m, &t->f));
	own = (struct kml_oid){ inode_column(&t->f, mine, "oid_origin"), inode_column(&t->f, mine, "oid_number") };
	t->m->now += 3600 * 1000000000ll;
	m_make(t->m, cml_client_id(t->f.cache), KML_REG, dir, "mine", own);
	m_store(t->m, cml_client_id(t->f.cache), own, 5);
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	while (m_answer(t->m, &t->f))
		;
	assert_content(&t->f, same, "hello");
	assert_content(&t->f, mine, "bytes");
	m_object_of(t->m, own)->attr.mtime = m_time(mtime_of(t, mine));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	give(t, ino, m_object_of(t->m, oid)->data_version, "new");
	assert_content(&t->f, ino, "new");
	no_stale(t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failing),
		T(contact),
		T(mark_of_the_last),
		cmocka_unit_test_setup_teardown(contact_refuses, f_setup, f_teardown),
		T(kinds),
		T(removing),
		T(renaming),
		T(linking),
		T(attributes),
		T(storing),
		T(storing_while_read),
		T(unknown_objects),
		T(older_than_listing),
		T(not_made_sense_of),
		T(many),
		T(given_out_once),
		T(reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
