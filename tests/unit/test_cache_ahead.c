/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is asked for before anybody reads it: small files in the order of a walk, and what comes next of large ones. */
#include "tests/unit/fetch_fixture.h"

#include "cache/ahead.h"
#include "cache/readahead.h"

#define SIZE 1000

static int setup_guessing(void **state)
{
	int err = setup(state);

	if (!err)
		((struct test *)*state)->may_guess = true;
	return err;
}

/* ---- a tree ---- */

static struct kml_oid dir_in(struct test *t, struct kml_oid dir, const char *name)
{
	return m_dir(t->m, dir, name);
}

/* n files of that size, named from 'first' on. */
static void files_in(struct test *t, struct kml_oid dir, unsigned first, unsigned n, uint64_t size)
{
	char name[16];

	for (unsigned i = first; i < first + n; i++) {
		snprintf(name, sizeof(name), "f%03u", i);
		m_store(t->m, OTHERS, m_file(t->m, dir, name), size);
	}
}

/* All that was made is known here. */
static void tree_known(struct test *t)
{
	m_pull(t->m, &t->f);
	for (unsigned i = 0; i < t->m->n_objects; i++) {
		struct kml_object *o = &t->m->objects[i];

		if (o->attr.type == KML_DIR)
			assert_int_equal(m_list(t->m, &t->f, o->oid, ino_of(&t->f, o->oid)), 0);
	}
}

static uint64_t ino_in(struct test *t, struct kml_oid dir, unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "f%03u", i);
	return ino_of(&t->f, m_oid(t->m, dir, name));
}

/* ---- what was asked for ---- */

/* Its place among the wishes that nobody waits for and that are not answered; -1: none. */
static int guess_of(struct test *t, uint64_t ino)
{
	int at = -1, n = 0;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_wishes && at < 0; i++) {
		if (t->wishes[i].class != FETCH_GUESS)
			continue;
		if (t->wishes[i].ino == ino)
			at = n;
		n++;
	}
	pthread_mutex_unlock(&t->lock);
	return at;
}

static uint64_t guessed_bytes(struct test *t)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_wishes; i++)
		bytes += t->wishes[i].class == FETCH_GUESS ? t->wishes[i].len : 0;
	pthread_mutex_unlock(&t->lock);
	return bytes;
}

/* The wish for that file, taken; its class is FETCH_CLASSES if there is none. */
static struct wish take_of(struct test *t, uint64_t ino)
{
	struct wish wish = { .class = FETCH_CLASSES };

	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < t->n_wishes; i++) {
		if (t->wishes[i].ino != ino)
			continue;
		wish = t->wishes[i];
		memmove(&t->wishes[i], &t->wishes[i + 1], (--t->n_wishes - i) * sizeof(wish));
		break;
	}
	pthread_mutex_unlock(&t->lock);
	return wish;
}

static void serve_one(struct test *t, uint64_t ino)
{
	struct wish wish = take_of(t, ino);
	int err;

	assert_int_not_equal(wish.class, FETCH_CLASSES);
	err = give_part(t, &wish, 0, wish.len);
	end(t, &wish, err);
}

/* Read it, with only its own wish served. */
static void read_one(struct test *t, uint64_t ino)
{
	int result = read_begin(t, ino, 0, SIZE);

	if (result == CACHE_WAITS) {
		serve_one(t, ino);
		result = f_wait(&t->f, result);
	}
	assert_int_equal(result, 0);
	assert_int_equal(t->f.op.count, SIZE);
}

static void looked_at(struct test *t)
{
	UNTIL(20, ahead_is_idle(t->f.cache));
}

/* ---- a directory ---- */

static void one_file_is_no_reason(void **state)
{
	struct test *t = *state;
	struct kml_oid top = dir_in(t, KML_ROOT, "top"), dir = dir_in(t, top, "dir");
	struct wish failed;

	files_in(t, dir, 0, 10, SIZE);
	tree_known(t);
	/* However often it is tried. */
	assert_int_equal(read_begin(t, ino_in(t, dir, 3), 0, SIZE), CACHE_WAITS);
	failed = take_of(t, ino_in(t, dir, 3));
	end(t, &failed, -EIO);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	read_one(t, ino_in(t, dir, 3));
	read_one(t, ino_in(t, dir, 3));
	looked_at(t);
	assert_int_equal(wishes(t), 0);
}

static void the_second_one_is(void **state)
{
	struct test *t = *state;
	struct kml_oid top = dir_in(t, KML_ROOT, "top"), dir = dir_in(t, top, "dir"), beside = dir_in(t, top, "beside");
	uint64_t own;

	files_in(t, dir, 0, 10, SIZE);
	files_in(t, dir, 10, 1, AHEAD_SMALL + 1);
	files_in(t, dir, 11, 1, AHEAD_SMALL);
	files_in(t, dir, 12, 1, 0);
	files_in(t, beside, 0, 3, SIZE);
	tree_known(t);
	own = made(&t->f, ino_of(&t->f, dir), "own", "ours");
	read_one(t, ino_in(t, dir, 4));
	read_one(t, ino_in(t, dir, 6));
	/* From there on in the directory's order, then from its start: what is small and not here. */
	UNTIL(20, guess_of(t, ino_in(t, dir, 5)) >= 0);
	assert_int_equal(guess_of(t, ino_in(t, dir, 7)), 0);
	assert_int_equal(guess_of(t, ino_in(t, dir, 8)), 1);
	assert_int_equal(guess_of(t, ino_in(t, dir, 9)), 2);
	assert_int_equal(guess_of(t, ino_in(t, dir, 11)), 3);
	assert_int_equal(guess_of(t, ino_in(t, dir, 0)), 4);
	assert_int_equal(guess_of(t, ino_in(t, dir, 5)), 8);
	looked_at(t);
	assert_int_equal(wishes(t), 9);
	assert_int_equal(guess_of(t, own), -1);
	/* Each is read when it has come; none of them is asked for again. */
	t->n_asked = 0;
	serve_all(t);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(read_begin(t, ino_in(t, dir, i), 0, SIZE), 0);
	assert_int_equal(t->n_asked, 0);
}

static void only_where_it_may_be(void **state)
{
	struct test *t = *state;
	struct kml_oid top = dir_in(t, KML_ROOT, "top"), dir = dir_in(t, top, "dir");

	files_in(t, dir, 0, 10, SIZE);
	tree_known(t);
	t->may_guess = false;
	for (unsigned i = 0; i < 4; i++)
		read_one(t, ino_in(t, dir, i));
	looked_at(t);
	assert_int_equal(wishes(t), 0);
}

static void not_at_the_price_of_others(void **state)
{
	struct test *t = *state;
	struct kml_oid top, dirs[2];
	uint64_t inos[14];
	char name[8];

	open_with(t, 16 * MIB);
	t->may_guess = true;
	top = dir_in(t, KML_ROOT, "top");
	for (unsigned i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "dir%u", i);
		dirs[i] = dir_in(t, top, name);
		files_in(t, dirs[i], 0, 10, SIZE);
	}
	tree_known(t);
	for (unsigned i = 0; i < ARRAY_SIZE(inos); i++) {
		snprintf(name, sizeof(name), "big%u", i);
		inos[i] = file(t, name, MIB);
		assert_int_equal(read_served(t, inos[i], 0, MIB), 0);
	}
	/* Above 15 MiB something would be evicted: there is room for these, */
	read_one(t, ino_in(t, dirs[0], 0));
	read_one(t, ino_in(t, dirs[0], 1));
	looked_at(t);
	assert_int_equal(wishes(t), 8);
	serve_all(t);
	/* and for these not any more. */
	assert_int_equal(read_served(t, file(t, "last", 800 * KIB), 0, 800 * KIB), 0);
	read_one(t, ino_in(t, dirs[1], 0));
	read_one(t, ino_in(t, dirs[1], 1));
	looked_at(t);
	assert_int_equal(wishes(t), 0);
}

/* ---- a walk ---- */

static void goes_on_to_the_next_directories(void **state)
{
	struct test *t = *state;
	struct kml_oid top = dir_in(t, KML_ROOT, "top"), a = dir_in(t, top, "a"), b = dir_in(t, top, "b"),
		       c = dir_in(t, b, "c"), d = dir_in(t, top, "d"), away = dir_in(t, KML_ROOT, "other");

	files_in(t, a, 0, 3, SIZE);
	files_in(t, b, 0, 3, SIZE);
	files_in(t, c, 0, 2, SIZE);
	files_in(t, d, 0, 2, SIZE);
	files_in(t, away, 0, 2, SIZE);
	tree_known(t);
	read_one(t, ino_in(t, a, 0));
	read_one(t, ino_in(t, a, 1));
	UNTIL(20, guess_of(t, ino_in(t, a, 2)) >= 0);
	looked_at(t);
	assert_int_equal(wishes(t), 1);
	serve_one(t, ino_in(t, a, 2));
	read_one(t, ino_in(t, a, 2));
	/* The first file of the next one says that it is a walk: what is below it, then what is beside it. */
	read_one(t, ino_in(t, b, 0));
	UNTIL(20, guess_of(t, ino_in(t, d, 1)) >= 0);
	assert_int_equal(guess_of(t, ino_in(t, b, 1)), 0);
	assert_int_equal(guess_of(t, ino_in(t, b, 2)), 1);
	assert_int_equal(guess_of(t, ino_in(t, c, 0)), 2);
	assert_int_equal(guess_of(t, ino_in(t, c, 1)), 3);
	assert_int_equal(guess_of(t, ino_in(t, d, 0)), 4);
	assert_int_equal(guess_of(t, ino_in(t, d, 1)), 5);
	looked_at(t);
	assert_int_equal(guess_of(t, ino_in(t, away, 0)), -1);
	/* And out of it. */
	serve_all(t);
	read_one(t, ino_in(t, d, 0));
	read_one(t, ino_in(t, away, 0));
	UNTIL(20, guess_of(t, ino_in(t, away, 1)) >= 0);
}

/* So much is asked for and not read; more the longer what was asked for is what is read. */
static void the_window_grows(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = dir_in(t, KML_ROOT, "dir");
	uint64_t before, most = 0;

	files_in(t, dir, 0, 200, 16 * KIB);
	tree_known(t);
	read_one(t, ino_in(t, dir, 0));
	read_one(t, ino_in(t, dir, 1));
	UNTIL(20, guessed_bytes(t) >= AHEAD_MIN);
	looked_at(t);
	before = guessed_bytes(t);
	assert_in_range(before, AHEAD_MIN, AHEAD_MIN + 16 * KIB);
	for (unsigned i = 2; i < 40; i++) {
		if (guess_of(t, ino_in(t, dir, i)) >= 0)
			serve_one(t, ino_in(t, dir, i));
		read_one(t, ino_in(t, dir, i));
		looked_at(t);
		most = MAX(most, guessed_bytes(t));
	}
	assert_true(most > 2 * AHEAD_MIN);
	assert_true(most <= AHEAD_MAX);
}

/* What is not read is not followed by more, wherever else is read. */
static void wrong_guesses_end(void **state)
{
	struct test *t = *state;
	struct kml_oid dirs[6], top = dir_in(t, KML_ROOT, "top");
	char name[8];

	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		dirs[i] = dir_in(t, top, name);
		files_in(t, dirs[i], 0, 30, 32 * KIB);
	}
	tree_known(t);
	read_one(t, ino_in(t, dirs[0], 0));
	for (unsigned i = 0; i < 6; i++)
		read_one(t, ino_in(t, dirs[(i * 5) % 6], 20));
	looked_at(t);
	assert_in_range(guessed_bytes(t), 1, AHEAD_MIN + 32 * KIB);
}

/* ---- what may happen to a guess ---- */

/* Two have been read, so that the others of ten are asked for. */
static struct kml_oid guessed_dir(struct test *t)
{
	struct kml_oid top = dir_in(t, KML_ROOT, "top"), dir = dir_in(t, top, "dir");

	files_in(t, dir, 0, 10, SIZE);
	tree_known(t);
	read_one(t, ino_in(t, dir, 0));
	read_one(t, ino_in(t, dir, 1));
	UNTIL(20, guess_of(t, ino_in(t, dir, 9)) >= 0);
	looked_at(t);
	return dir;
}

static void somebody_waits_for_it(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = guessed_dir(t);
	uint64_t ino = ino_in(t, dir, 5);
	struct wish wish;

	t->n_asked = 0;
	assert_int_equal(read_begin(t, ino, 0, SIZE), CACHE_WAITS);
	assert_int_equal(t->n_asked, 0);
	wish = take_of(t, ino);
	assert_true(wish.is_hurried);
	/* It is not to be had with the others: then it is asked for anew, by who needs it. */
	end(t, &wish, 0);
	run_posted(t);
	assert_false(t->f.is_done);
	wish = take_of(t, ino);
	assert_int_equal(wish.class, FETCH_ASKED);
	assert_int_equal(give_part(t, &wish, 0, SIZE), 0);
	end(t, &wish, 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_bytes(got, wish.version, 0, SIZE);
}

static void the_link_is_lost(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = guessed_dir(t);
	uint64_t ino = ino_in(t, dir, 5);

	assert_int_equal(read_begin(t, ino, 0, SIZE), CACHE_WAITS);
	__atomic_store_n(&t->has_link, false, __ATOMIC_RELAXED);
	while (wishes(t)) {
		struct wish wish = take_wish(t);

		end(t, &wish, -EIO);
	}
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	assert_int_equal(read_begin(t, ino_in(t, dir, 6), 0, SIZE), -EIO);
	/* With a new one all of it is asked for again. */
	__atomic_store_n(&t->has_link, true, __ATOMIC_RELAXED);
	for (unsigned i = 2; i < 10; i++)
		assert_int_equal(read_served(t, ino_in(t, dir, i), 0, SIZE), 0);
}

static struct apply_whole whole_of(struct test *t, uint64_t ino, unsigned char *data)
{
	struct wish wish = take_of(t, ino);

	assert_int_equal(wish.class, FETCH_GUESS);
	fill(data, wish.version, 0, wish.len);
	return (struct apply_whole){ .ino = ino, .version = wish.version, .data = data, .len = wish.len };
}

static void many_come_at_once(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = guessed_dir(t), changed = m_oid(t->m, dir, "f003");
	struct apply_whole wholes[6];
	static unsigned char data[6][SIZE];
	uint64_t inos[6], version;
	char bytes[SIZE + 1];

	for (unsigned i = 0; i < 6; i++) {
		inos[i] = ino_in(t, dir, 2 + i);
		wholes[i] = whole_of(t, inos[i], data[i]);
	}
	/* Meanwhile upstream has another version of one, one is gone, one was written to here, and one never was. */
	m_store(t->m, OTHERS, changed, 500);
	version = t->m->position;
	m_remove(t->m, OTHERS, dir, "f004");
	m_pull(t->m, &t->f);
	assert_int_equal(f_write(&t->f, inos[3], 10, "ours"), 0);
	wholes[4].ino = 99999;
	apply_contents(t->f.cache, wholes, 6);
	assert_int_equal(wholes[0].err, 0);
	assert_int_equal(wholes[1].err, -ESTALE);
	assert_int_equal(wholes[2].err, -ESTALE);
	assert_int_equal(wholes[3].err, 0);
	assert_int_equal(wholes[4].err, -ESTALE);
	assert_int_equal(wholes[5].err, 0);
	for (unsigned i = 0; i < 6; i++)
		apply_content_end(t->f.cache, inos[i], wholes[i].version, 0, wholes[i].err);
	t->n_asked = 0;
	assert_int_equal(read_begin(t, inos[0], 0, SIZE), 0);
	assert_bytes(got, wholes[0].version, 0, SIZE);
	assert_int_equal(read_begin(t, inos[5], 0, SIZE), 0);
	assert_bytes(got, wholes[5].version, 0, SIZE);
	assert_int_equal(read_begin(t, inos[3], 0, SIZE), 0);
	memcpy(bytes, got, SIZE);
	fill(got, wholes[3].version, 0, SIZE);
	memcpy(got + 10, "ours", 4);
	assert_memory_equal(bytes, got, SIZE);
	assert_int_equal(t->n_asked, 0);
	assert_read(t, inos[1], version, 0, 500);
}

/* Of none of them there was a content file before. */
static void many_come_unasked(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = dir_in(t, KML_ROOT, "dir");
	struct apply_whole wholes[5];
	static unsigned char data[5][SIZE];

	files_in(t, dir, 0, 5, SIZE);
	tree_known(t);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t ino = ino_in(t, dir, i), version = (uint64_t)inode_column(&t->f, ino, "data_version");

		fill(data[i], version, 0, SIZE);
		wholes[i] = (struct apply_whole){ .ino = ino, .version = version, .data = data[i], .len = SIZE };
	}
	wholes[2].version++;
	apply_contents(t->f.cache, wholes, 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(wholes[i].err, i == 2 ? -ESTALE : 0);
		if (i == 2)
			continue;
		assert_int_equal(read_begin(t, wholes[i].ino, 0, SIZE), 0);
		assert_bytes(got, wholes[i].version, 0, SIZE);
	}
}

/* What came is there after a restart; which of it, the row says when it is on the disk. */
static void what_came_stays(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = guessed_dir(t);
	struct apply_whole wholes[8];
	static unsigned char data[8][SIZE];

	for (unsigned i = 0; i < 8; i++)
		wholes[i] = whole_of(t, ino_in(t, dir, 2 + i), data[i]);
	apply_contents(t->f.cache, wholes, 8);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(wholes[i].err, 0);
		apply_content_end(t->f.cache, wholes[i].ino, wholes[i].version, 0, 0);
	}
	t_reopen(t);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(read_begin(t, wholes[i].ino, 0, SIZE), 0);
		assert_bytes(got, wholes[i].version, 0, SIZE);
	}
	assert_int_equal(t->n_asked, 0);
}

/* ---- large files ---- */

static void reading_on(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 64 * MIB), version = t->m->position;
	uint64_t most = 0;

	for (uint64_t at = 0; at < 64 * MIB; at += MIB) {
		int result = read_begin(t, ino, at, MIB);

		/* Once it is under way there is no READ that has to wait, and none that does not ask for what comes. */
		if (at >= 8 * MIB)
			assert_int_equal(result, 0);
		most = MAX(most, guessed_bytes(t));
		while (result == CACHE_WAITS && !t->f.is_done) {
			serve_all(t);
			run_posted(t);
		}
		serve_all(t);
		assert_bytes(got, version, at, MIB);
	}
	assert_true(most >= 8 * MIB);
	assert_true(most <= READAHEAD_MAX);
	assert_true(t->n_asked <= 64 + 8);	/* each piece once */
}

static void here_and_there(void **state)
{
	struct test *t = *state;
	uint64_t ino = file(t, "f", 64 * MIB), version = t->m->position;

	for (uint64_t i = 0; i < 20; i++)
		assert_read(t, ino, version, (10 + i * 7 % 20 * 2) * MIB + 100, 1000);
	assert_int_equal(t->n_asked, 20);
	assert_true(inode_column(&t->f, ino, "size") == 64 * MIB);
	/* Without leave nothing is read ahead. */
	t->may_guess = false;
	t->n_asked = 0;
	for (uint64_t at = 0; at < 4 * MIB; at += 64 * KIB)
		assert_read(t, ino, version, at, 64 * KIB);
	assert_int_equal(t->n_asked, 64);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_guessing, teardown)
	const struct CMUnitTest tests[] = {
		T(one_file_is_no_reason),
		T(the_second_one_is),
		T(only_where_it_may_be),
		T(not_at_the_price_of_others),
		T(goes_on_to_the_next_directories),
		T(the_window_grows),
		T(wrong_guesses_end),
		T(somebody_waits_for_it),
		T(the_link_is_lost),
		T(many_come_at_once),
		T(many_come_unasked),
		T(what_came_stays),
		T(reading_on),
		T(here_and_there),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
