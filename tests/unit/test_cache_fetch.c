/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content from upstream: ranges, versions, around what is ours, and when nothing comes. */
#include "tests/unit/fetch_fixture.h"

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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
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
