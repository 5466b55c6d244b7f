/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listings of what was known before: what has gone, what has moved, what is ours; and with a full disk. */
#include "tests/unit/listing_fixture.h"

#include <sys/wait.h>

/* ---- what is not in it any more ---- */

static void vanishing(void **state)
{
	struct test *t = *state;
	struct kml_oid d, sub;
	uint64_t f_ino;

	d = m_dir(t->m, KML_ROOT, "d");
	sub = m_dir(t->m, d, "sub");
	m_file(t->m, sub, "x");
	m_file(t->m, d, "f");
	m_link(t->m, OTHERS, m_oid(t->m, d, "f"), KML_ROOT, "also f");
	m_file(t->m, d, "stays");
	assert_int_equal(deep(t, 100), 0);
	f_ino = ino_of(&t->f, m_oid(t->m, d, "f"));
	m_remove(t->m, 0, sub, "x");
	m_remove(t->m, 0, d, "sub");
	m_remove(t->m, 0, d, "f");
	lose_entries(t);
	assert_int_equal(shallow(t, d), 0);
	assert_int_equal(found(&t->f, ROOT, "also f"), f_ino);
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(t, "inode"), 4);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* The listing knows more than has been pulled: what is missing in it may have moved. */
static void moved_ahead(void **state)
{
	struct test *t = *state;
	struct kml_oid a, b, sub;
	uint64_t file, dir, gone, ino;
	struct kml_oid oid;
	bool is_dir;

	a = m_dir(t->m, KML_ROOT, "a");
	b = m_dir(t->m, KML_ROOT, "b");
	m_file(t->m, a, "file");
	m_file(t->m, a, "gone");
	sub = m_dir(t->m, a, "sub");
	m_file(t->m, sub, "deep");
	assert_int_equal(deep(t, 100), 0);
	lose_entries(t);
	file = ino_of(&t->f, m_oid(t->m, a, "file"));
	gone = ino_of(&t->f, m_oid(t->m, a, "gone"));
	dir = ino_of(&t->f, sub);
	m_rename(t->m, OTHERS, a, "file", b, "moved");
	m_rename(t->m, OTHERS, a, "sub", b, "sub");
	m_remove(t->m, OTHERS, a, "gone");
	assert_int_equal(shallow(t, a), 0);
	assert_int_equal(f_getattr(&t->f, file), 0);
	assert_int_equal(f_getattr(&t->f, gone), 0);
	assert_int_not_equal(found(&t->f, dir, "deep"), 0);
	/* Asking at once would tell nothing new. */
	assert_false(apply_next_stale(t->f.cache, &ino, &oid, &is_dir));
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ino_of(&t->f, b), "moved"), file);
	assert_int_equal(f_getattr(&t->f, gone), -ESTALE);
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, file), 0);
	assert_int_equal(f_getattr(&t->f, dir), 0);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* Moved while the journal was lost, from directories that are listed before and after the one it went to. */
static void moved_in_a_tree(void **state)
{
	struct test *t = *state;
	struct kml_oid a, b, sub[2];
	uint64_t file[2], dir[2], gone;

	a = m_dir(t->m, KML_ROOT, "a");
	b = m_dir(t->m, KML_ROOT, "b");
	m_file(t->m, a, "a file");
	m_file(t->m, b, "b file");
	m_file(t->m, b, "gone");
	sub[0] = m_dir(t->m, a, "a sub");
	sub[1] = m_dir(t->m, b, "b sub");
	m_file(t->m, sub[0], "deep");
	m_file(t->m, sub[1], "deep");
	assert_int_equal(deep(t, 100), 0);
	file[0] = ino_of(&t->f, m_oid(t->m, a, "a file"));
	file[1] = ino_of(&t->f, m_oid(t->m, b, "b file"));
	gone = ino_of(&t->f, m_oid(t->m, b, "gone"));
	dir[0] = ino_of(&t->f, sub[0]);
	dir[1] = ino_of(&t->f, sub[1]);
	m_rename(t->m, OTHERS, a, "a file", b, "was in a");
	m_rename(t->m, OTHERS, b, "b file", a, "was in b");
	m_rename(t->m, OTHERS, a, "a sub", b, "was in a too");
	m_rename(t->m, OTHERS, b, "b sub", a, "was in b too");
	m_remove(t->m, OTHERS, b, "gone");
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_int_equal(deep(t, 3), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(f_getattr(&t->f, file[i]), 0);
		assert_int_not_equal(found(&t->f, dir[i], "deep"), 0);
	}
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(found(&t->f, ino_of(&t->f, b), "was in a"), file[0]);
	assert_int_equal(found(&t->f, ino_of(&t->f, a), "was in b too"), dir[1]);
	assert_int_equal(f_getattr(&t->f, gone), -ESTALE);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* After a reset the whole tree's listing compares all of it: not each directory is asked for once more. */
static void tree_after_reset(void **state)
{
	struct test *t = *state;

	grow_tree(t->m);
	assert_int_equal(deep(t, 100), 0);
	m_file(t->m, m_oid(t->m, KML_ROOT, "a"), "new");
	m_chmod(t->m, OTHERS, m_oid(t->m, KML_ROOT, "link"), 0600);
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_int_equal(count(t, "inode WHERE is_stale"), 9);
	assert_int_equal(deep(t, 100), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* But the one whose entries were the last of a piece, lest the rest does not come. */
	assert_int_equal(count(t, "inode WHERE is_stale"), 1);
	answer_all(t);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
}

/* ---- around what is ours ---- */

static void retire(struct test *t)
{
	struct kml_answer answers[64] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(t->f.cache, ARRAY_SIZE(answers), UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	for (size_t i = 0; i < batch->n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
}

static void ours_stays(void **state)
{
	struct test *t = *state;
	uint64_t new, renamed, written, dir;
	struct kml_oid d;

	m_file(t->m, KML_ROOT, "removed");
	m_file(t->m, KML_ROOT, "old name");
	m_file(t->m, KML_ROOT, "written");
	d = m_dir(t->m, KML_ROOT, "dir");
	assert_int_equal(deep(t, 100), 0);
	lose_entries(t);
	assert_int_equal(f_remove(&t->f, ROOT, "removed"), 0);
	assert_int_equal(f_rename(&t->f, ROOT, "old name", ROOT, "new name"), 0);
	renamed = found(&t->f, ROOT, "new name");
	new = made(&t->f, ROOT, "new", "mine");
	written = found(&t->f, ROOT, "written");
	assert_int_equal(f_write(&t->f, written, 0, "also mine"), 0);
	dir = ino_of(&t->f, d);
	made(&t->f, dir, "in dir", "mine too");
	/* Others do away with what we work on, and make what we have made. */
	m_remove(t->m, OTHERS, KML_ROOT, "written");
	m_remove(t->m, OTHERS, KML_ROOT, "dir");
	m_file(t->m, KML_ROOT, "new");
	lose_entries(t);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "removed"), -ENOENT);
	assert_int_equal(f_lookup(&t->f, ROOT, "old name"), -ENOENT);
	assert_int_equal(found(&t->f, ROOT, "new name"), renamed);
	assert_int_equal(found(&t->f, ROOT, "new"), new);
	assert_content(&t->f, new, "mine");
	assert_int_equal(found(&t->f, ROOT, "written"), written);
	assert_content(&t->f, written, "also mine");
	assert_int_not_equal(found(&t->f, found(&t->f, ROOT, "dir"), "in dir"), 0);
	assert_int_equal(f_commit(&t->f, written), 0);
	assert_int_equal(count(t, "cml"), 7);
	/* And it is looked at again once they are settled. */
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	assert_false(m_answer(t->m, &t->f));
	while (count(t, "cml"))
		retire(t);
	assert_true(m_answer(t->m, &t->f));
}

/* Done away with here while its listing is on the way, or while it comes. */
static void removed_here(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;
	uint64_t ino[2];

	for (int i = 0; i < 2; i++) {
		struct kml_oid d = m_dir(t->m, KML_ROOT, i ? "d1" : "d0");

		assert_int_equal(shallow(t, KML_ROOT), 0);
		assert_int_equal(shallow(t, d), 0);
		lose_entries(t);
		ino[i] = ino_of(&t->f, d);
		m_file(t->m, d, "a");
		m_file(t->m, d, "b");
		m_snapshot(t->m, d, &l);
		listing = begin(t, ino[i], &l, false);
		if (i) {	/* with what has come of it */
			assert_int_equal(apply_listing_add(listing, l.v, 2), 0);
			assert_int_equal(f_remove(&t->f, ino[i], "a"), 0);
		}
		assert_int_equal(f_rmdir(&t->f, ROOT, i ? "d1" : "d0"), 0);
		assert_int_equal(apply_listing_add(listing, l.v + 2 * i, l.n - 2 * i), 0);
		assert_int_equal(apply_listing_end(listing, 0), 0);
		assert_int_equal(f_getattr(&t->f, ino[i]), -ESTALE);
		lines_free(&l);
	}
	/* What had no place to be put was not kept. */
	assert_int_equal(count(t, "inode"), 1);
}

/* ---- a change is run twice ---- */

/*
 * The disk is full at the nth commit: the reserve is given up, and all the changes of that transaction are run again.
 * In a process of its own, for a fault point's rules are read at its first hit.
 */
static int full_at(unsigned nth)
{
	struct test t = { 0 };
	char fault[64];
	int64_t names;

	snprintf(fault, sizeof(fault), "writer.commit:%u:ENOSPC", nth);
	setenv("IZO_FAULT", fault, 1);
	t_open(&t);
	grow_tree(t.m);
	assert_int_equal(deep(&t, 3), 0);
	m_remove(t.m, OTHERS, m_oid(t.m, KML_ROOT, "a"), "file");
	m_remove(t.m, OTHERS, KML_ROOT, "empty first");
	assert_int_equal(apply_reset(t.f.cache, t.m->position), 0);
	assert_int_equal(shallow(&t, KML_ROOT), 0);
	assert_int_equal(deep(&t, 2), 0);
	answer_all(&t);
	m_compare(t.m, &t.f, KML_ROOT, ROOT);
	assert_int_equal(count(&t, "inode WHERE is_stale"), 0);
	names = count(&t, "name WHERE ino > 0");
	assert_int_equal(names, 11);
	assert_int_equal(count(&t, "inode"), 11);
	m_free(t.m);
	f_close(&t.f);
	f_remove_dir(&t.f);
	return 0;
}

/* The first of all tests: no fault point has been passed yet in this process, and it has one thread. */
static void run_twice(void **state)
{
	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	for (unsigned nth = 3; nth <= 24; nth++) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			_exit(full_at(nth));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status)
			fail_msg("the disk was full at commit %u", nth);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_twice),
		T(vanishing),
		T(moved_ahead),
		T(moved_in_a_tree),
		T(tree_after_reset),
		T(ours_stays),
		T(removed_here),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
