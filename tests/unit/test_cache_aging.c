/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records that are taken when they are of age (cml_take_aged()), and fold until then. */
#include "tests/unit/cml_random.h"

#include "base/log.h"

#define AGE_S 60
#define YEAR_US (365 * 86400 * US_PER_S)

/* What is taken of that age: names of operations; *ret_young_s: how long until more is. */
static const char *aged(struct fixture *f, struct upstream *up, uint64_t age_s, uint64_t *ret_young_s)
{
	struct kml_answer answers[100];
	static char text_of[1000];
	struct cml_batch *batch;
	uint64_t young_us = 12345;

	assert_int_equal(cml_take_aged(f->cache, 100, UINT64_MAX, age_s, &batch, &young_us), 0);
	snprintf(text_of, sizeof(text_of), "%s", ops(batch));
	assert_true(!batch || !young_us);
	if (batch) {
		for (size_t i = 0; i < batch->n; i++)
			answers[i] = up_send(up, f->cache, &batch->items[i]);
		assert_int_equal(cml_retire(f->cache, batch, answers, batch->n), 0);
	}
	*ret_young_s = (young_us + US_PER_S - 1) / US_PER_S;
	return text_of;
}

/* What is left at least of the window of what was made since then, in s: the machine may be slow. */
static uint64_t left_of(uint64_t from_us)
{
	uint64_t spent_s = (clock_us() - from_us) / US_PER_S + 1;

	return AGE_S - MIN(spent_s, AGE_S);
}

static void young_ones_stay(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t young_s, from_us;

	assert_string_equal(aged(f, up, AGE_S, &young_s), "");
	assert_int_equal(young_s, 0);
	from_us = clock_us();
	made(f, ROOT, "a", "old");
	assert_string_equal(aged(f, up, AGE_S, &young_s), "");
	assert_in_range(young_s, left_of(from_us), AGE_S);
	clock_advance(40 * US_PER_S);
	made(f, ROOT, "b", "young");
	assert_string_equal(aged(f, up, AGE_S, &young_s), "");
	assert_in_range(young_s, left_of(from_us), 20);
	clock_advance(20 * US_PER_S);
	assert_string_equal(aged(f, up, AGE_S, &young_s), "CREATE STORE ");
	assert_up(up, "a", "old");
	assert_null(up_at(up, "b"));
	/* asked for, it goes whatever its age */
	assert_string_equal(aged(f, up, 0, &young_s), "CREATE STORE ");
	assert_string_equal(aged(f, up, 0, &young_s), "");
	assert_int_equal(young_s, 0);
	up_compare(up, f);
	free(up);
}

/* The point of it: what is made and removed again, or saved again, within the window costs the link nothing. */
static void young_ones_fold(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino, young_s;

	for (int i = 0; i < 10; i++) {
		made(f, ROOT, "lock", "x");
		ino = made(f, ROOT, "new", "draft");
		assert_int_equal(f_rename(f, ROOT, "new", ROOT, "thesis"), 0);
		assert_int_equal(f_remove(f, ROOT, "lock"), 0);
		clock_advance(5 * US_PER_S);
		assert_string_equal(aged(f, up, AGE_S, &young_s), "");
	}
	assert_int_equal(f_write(f, ino, 0, "final"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	clock_advance(AGE_S * US_PER_S);
	assert_string_equal(aged(f, up, AGE_S, &young_s), "CREATE STORE ");
	assert_up(up, "thesis", "final");
	assert_int_equal(up->n_odd, 0);
	free(up);
}

/* A file that is saved all the time goes all the same, once in each window: a store has the age of its first write. */
static void saved_all_the_time(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t ino = made(f, ROOT, "a", "0"), young_s;
	unsigned sent = 0;

	for (int s = 0; s < 10 * AGE_S; s += 5) {
		assert_int_equal(f_write(f, ino, 0, "1"), 0);
		assert_int_equal(f_commit(f, ino), 0);
		clock_advance(5 * US_PER_S);
		sent += *aged(f, up, AGE_S, &young_s) != '\0';
	}
	assert_in_range(sent, 8, 10);
	free(up);
}

/* What may have been sent cannot fold any more: it does not wait again. */
static void sent_ones_go(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t young_s;

	made(f, ROOT, "a", "a");
	cml_give_back(f->cache, take(f, 100, UINT64_MAX));
	made(f, ROOT, "b", "b");
	assert_string_equal(aged(f, up, AGE_S, &young_s), "CREATE STORE ");
	assert_up(up, "a", "a");
	assert_string_equal(aged(f, up, AGE_S, &young_s), "");
	free(up);
}

/* A clock that was set back by a year makes nobody wait a year. */
static void clock_set_back(void **state)
{
	struct fixture *f = *state;
	struct upstream *up = up_new();
	uint64_t young_s;

	f_close(f);
	clock_advance(YEAR_US);
	f_open(f);
	made(f, ROOT, "a", "a");
	f_close(f);
	clock_advance(-YEAR_US);
	f_open(f);
	assert_string_equal(aged(f, up, AGE_S, &young_s), "CREATE STORE ");
	free(up);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(young_ones_stay),
		TEST(young_ones_fold),
		TEST(saved_all_the_time),
		TEST(sent_ones_go),
		TEST(clock_set_back),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
