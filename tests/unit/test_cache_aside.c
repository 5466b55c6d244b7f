/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Large contents let small records pass (cml_aside.c): which may, with what, how far; and by chance. */
#include "tests/unit/cml_random.h"

#include "base/log.h"

#define LARGE 100u		/* bytes */
#define AGE_S 60

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct upstream *up;
	struct cml_ready ready[8];
	struct cml_wants wants;
	struct cml_taken taken;		/* of the last take */
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)alarm(100);	/* a take that never ends */
	f_init(&t->f);
	f_open(&t->f);
	t->up = up_new();
	t->wants = (struct cml_wants){ .max_records = 100, .max_bytes = UINT64_MAX, .large = LARGE, .may_move = true, .ready = t->ready };
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	free(t->up);
	return f_teardown(state);
}

/* All that goes now is sent and answered: the names of its operations. */
static const char *goes(struct test *t)
{
	static struct kml_answer answers[400];
	static char text_of[1000];
	struct cml_batch *batch;

	assert_int_equal(cml_take_wanted(t->f.cache, &t->wants, &t->taken), 0);
	batch = t->taken.batch;
	snprintf(text_of, sizeof(text_of), "%s", ops(batch));
	for (size_t i = 0; batch && i < batch->n; i++)
		answers[i] = up_send(t->up, t->f.cache, &batch->items[i]);
	if (batch)
		assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
	t->wants.n_ready = 0;
	return text_of;
}

static void may_go(struct test *t, uint64_t ino, uint64_t write_gen)
{
	t->ready[t->wants.n_ready++] = (struct cml_ready){ .ino = ino, .write_gen = write_gen };
}

static const char *large_text(char with)
{
	static char data[LARGE * 2 + 1];

	memset(data, with, sizeof(data) - 1);
	return data;
}

static uint64_t made_large(struct test *t, uint64_t dir, const char *name)
{
	return made(&t->f, dir, name, large_text(name[0]));
}

/* Its CREATE was sent before anything was written to it. */
static uint64_t made_and_known(struct test *t, uint64_t dir, const char *name)
{
	uint64_t ino = made(&t->f, dir, name, NULL);

	up_drain(t->up, t->f.cache);
	return ino;
}

static void write_large(struct test *t, uint64_t ino)
{
	assert_int_equal(f_write(&t->f, ino, 0, large_text('L')), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
}

static void ends_well(struct test *t)
{
	up_drain(t->up, t->f.cache);
	up_compare(t->up, &t->f);
	assert_int_equal(t->up->n_odd, 0);
	assert_int_equal(query(&t->f, "SELECT count(*) FROM name WHERE seq OR NOT ino"), 0);
	assert_int_equal(query(&t->f, "SELECT count(*) FROM inode WHERE data_seq OR attr_seq"), 0);
}

/* ---- one passes ---- */

static void small_ones_pass(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video");
	struct cml_item *item;

	made(&t->f, ROOT, "thesis", "text");
	assert_log(&t->f, "CREATE STORE CREATE STORE ");
	assert_string_equal(goes(t), "CREATE CREATE STORE ");
	assert_up(t->up, "thesis", "text");
	assert_up(t->up, "video", "");
	assert_int_equal(t->taken.n_moved, 1);
	assert_int_equal(t->taken.n_aside, 1);
	assert_int_equal(t->taken.aside[0], ino);
	/* It stays where it is while there is nothing else. */
	assert_string_equal(goes(t), "");
	assert_int_equal(t->taken.n_moved, 0);
	assert_int_equal(t->taken.n_aside, 1);
	/* Nothing of it is frozen, and it is what will be sent. */
	assert_int_equal(cml_aside_look(t->f.cache, ino, &item), 0);
	assert_int_equal(item->record.body.op, KML_STORE);
	assert_int_equal(item->bytes, 2 * LARGE);
	assert_int_equal(item->record.body.kml_body_u.store.size, 2 * LARGE);
	assert_int_equal(item->record.body.kml_body_u.store.keep_size, 0);
	assert_true(item->fd >= 0);
	may_go(t, ino, item->write_gen);
	assert_string_equal(goes(t), "STORE ");
	assert_up(t->up, "video", large_text('v'));
	cml_item_free(item);
	assert_int_equal(cml_aside_look(t->f.cache, ino, &item), -ENOENT);
	ends_well(t);
}

/* What is upstream is not what it is now. */
static void written_meanwhile(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video"), write_gen;

	assert_string_equal(goes(t), "CREATE ");
	write_gen = write_gen_of(&t->f, ino);
	assert_int_equal(f_write(&t->f, ino, 5, "more"), 0);
	may_go(t, ino, write_gen);
	assert_string_equal(goes(t), "");
	assert_int_equal(t->taken.n_aside, 1);
	/* Unless it has to go as it is. */
	may_go(t, ino, 0);
	assert_string_equal(goes(t), "STORE ");
	ends_well(t);
}

static void what_was_cut_is_small(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video");

	assert_string_equal(goes(t), "CREATE ");
	assert_int_equal(f_truncate(&t->f, ino, 10), 0);
	assert_string_equal(goes(t), "STORE ");
	ends_well(t);
}

static void removed_meanwhile(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video");

	assert_string_equal(goes(t), "CREATE ");
	may_go(t, ino, write_gen_of(&t->f, ino));
	assert_int_equal(f_remove(&t->f, ROOT, "video"), 0);
	assert_string_equal(goes(t), "REMOVE ");
	assert_true(t->ready[0].is_gone);
	ends_well(t);
}

/* What may have been sent stays where it is, over a restart too. */
static void never_what_was_taken(void **state)
{
	struct test *t = *state;

	for (int i = 0; i < 2; i++) {
		(void)made_large(t, ROOT, i ? "w" : "v");
		cml_give_back(t->f.cache, take(&t->f, 100, UINT64_MAX));
		made(&t->f, ROOT, i ? "b" : "a", "text");
		if (i)
			f_reopen(&t->f);
		assert_string_equal(goes(t), "CREATE STORE CREATE STORE ");
		assert_int_equal(t->taken.n_moved, 0);
	}
	ends_well(t);
}

static void over_a_restart(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video");

	made(&t->f, ROOT, "a", "text");
	assert_string_equal(goes(t), "CREATE CREATE STORE ");
	f_reopen(&t->f);
	made(&t->f, ROOT, "b", "text");
	assert_string_equal(goes(t), "CREATE STORE ");
	assert_int_equal(t->taken.aside[0], ino);
	may_go(t, ino, write_gen_of(&t->f, ino));
	assert_string_equal(goes(t), "STORE ");
	ends_well(t);
}

/* ---- what goes with it, and what keeps it ---- */

/* A download: nobody upstream is to see the name with nothing in it, nor to lose what was there. */
static void the_rename_waits_too(void **state)
{
	struct test *t = *state;
	uint64_t ino;

	made(&t->f, ROOT, "thesis", "old");
	ino = made_and_known(t, ROOT, "part");
	write_large(t, ino);
	assert_int_equal(f_rename(&t->f, ROOT, "part", ROOT, "thesis"), 0);
	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	made(&t->f, ROOT, "note", "text");
	assert_log(&t->f, "STORE RENAME SETATTR CREATE STORE ");
	assert_string_equal(goes(t), "CREATE STORE ");
	assert_log(&t->f, "STORE RENAME SETATTR ");
	assert_int_equal(t->taken.n_moved, 3);
	assert_up(t->up, "thesis", "old");
	assert_up(t->up, "part", "");
	/* They go on being what they were: the marks that say their numbers are right. */
	assert_int_equal(f_rename(&t->f, ROOT, "thesis", ROOT, "book"), 0);
	assert_int_equal(f_chmod(&t->f, ino, 0640), 0);
	may_go(t, ino, write_gen_of(&t->f, ino));
	assert_string_equal(goes(t), "STORE RENAME RENAME SETATTR ");
	assert_up(t->up, "book", large_text('L'));
	ends_well(t);
}

/* A record behind the STORE that something depends on, or that cannot be told. */
static const struct keeps {
	const char *name;
	const char *log;
} keeps[] = {
	{ "its old name is used again", "STORE RENAME CREATE CREATE " },
	{ "it is renamed twice", "STORE RENAME RENAME CREATE " },
	{ "the directory's time is set", "STORE RENAME SETATTR CREATE " },
	{ "the directory it was in goes", "STORE RENAME RMDIR CREATE " },
	{ "what it replaced has another name", "STORE RENAME CREATE " },
	{ "it is linked, and another replaces its first name", "STORE LINK RENAME CREATE " },
	{ "more than it pays to move", NULL },
};

static void keep(struct test *t, size_t i)
{
	struct fixture *f = &t->f;
	uint64_t dir, ino, other;

	if (i == 1 || !keeps[i].log)
		f_keep_records(f);
	dir = made_dir(f, ROOT, "d");
	other = made(f, ROOT, "other", NULL);
	assert_int_equal(f_link(f, other, dir, "other"), 0);
	ino = made_and_known(t, dir, "f");
	if (i == 3) {
		assert_int_equal(f_remove(f, dir, "other"), 0);
		up_drain(t->up, f->cache);
	}
	write_large(t, ino);
	switch (i) {
	case 0:
		assert_int_equal(f_rename(f, dir, "f", ROOT, "g"), 0);
		made(f, dir, "f", NULL);
		break;
	case 1:
		assert_int_equal(f_rename(f, dir, "f", dir, "g"), 0);
		assert_int_equal(f_rename(f, dir, "g", dir, "h"), 0);
		break;
	case 2:
		assert_int_equal(f_rename(f, dir, "f", ROOT, "g"), 0);
		assert_int_equal(f_utimes(f, dir, 77), 0);
		break;
	case 3:
		assert_int_equal(f_rename(f, dir, "f", ROOT, "g"), 0);
		assert_int_equal(f_rmdir(f, ROOT, "d"), 0);
		break;
	case 4:
		assert_int_equal(f_rename(f, dir, "f", ROOT, "other"), 0);
		break;
	case 5:
		assert_int_equal(f_link(f, ino, ROOT, "g"), 0);
		assert_int_equal(f_rename(f, ROOT, "other", dir, "f"), 0);
		break;
	default:
		for (unsigned n = 0; n < 20; n++)
			assert_int_equal(f_chmod(f, ino, 0600 + n), 0);
	}
	made(f, ROOT, "last", NULL);
}

static void stays_in_its_place(void **state)
{
	teardown(state);
	for (size_t i = 0; i < ARRAY_SIZE(keeps); i++) {
		struct test *t;

		print_message("%s\n", keeps[i].name);
		setup(state);
		t = *state;
		keep(t, i);
		if (keeps[i].log)
			assert_string_equal(goes(t), keeps[i].log);
		else
			assert_int_equal(strncmp(goes(t), "STORE SETATTR ", 14), 0);
		assert_int_equal(t->taken.n_moved, 0);
		ends_well(t);
		teardown(state);
	}
	setup(state);
}

/* ---- how far ---- */

/* One whose content is there passes those whose content is not. */
static void the_ready_one_passes(void **state)
{
	struct test *t = *state;
	uint64_t slow = made_large(t, ROOT, "slow"), quick = made_large(t, ROOT, "quick");

	assert_string_equal(goes(t), "CREATE CREATE ");
	assert_int_equal(t->taken.n_aside, 2);
	assert_int_equal(t->taken.aside[0], slow);
	may_go(t, quick, write_gen_of(&t->f, quick));
	assert_string_equal(goes(t), "STORE ");
	assert_up(t->up, "quick", large_text('q'));
	assert_up(t->up, "slow", "");
	ends_well(t);
}

/* However much comes behind it: once it may go, what is before it by then goes, and it. */
static void its_turn_comes(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video");
	char name[20];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "a%u", i);
		made(&t->f, ROOT, name, "x");
		(void)goes(t);
		made(&t->f, ROOT, strcat(name, "b"), "x");
	}
	may_go(t, ino, write_gen_of(&t->f, ino));
	t->wants.max_records = 4;
	(void)goes(t);
	for (unsigned i = 0; i < 2; i++) {
		may_go(t, ino, write_gen_of(&t->f, ino));
		(void)goes(t);
	}
	assert_up(t->up, "video", large_text('v'));
	ends_well(t);
}

static void so_many_at_a_time(void **state)
{
	struct test *t = *state;
	uint64_t inos[300];
	size_t moved = 0;
	char name[20];

	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		inos[i] = made(&t->f, ROOT, name, NULL);
	}
	up_drain(t->up, t->f.cache);
	for (unsigned i = 0; i < 300; i++)
		write_large(t, inos[i]);
	made(&t->f, ROOT, "last", "x");
	t->wants.may_move = false;
	assert_string_equal(goes(t), "");
	assert_true(t->taken.is_held);
	assert_int_equal(t->taken.n_moved, 0);
	t->wants.may_move = true;
	do {
		(void)goes(t);
		assert_true(t->taken.n_moved <= 256);
		assert_false(t->taken.is_held);
		moved += t->taken.n_moved;
	} while (t->taken.has_more || t->taken.batch);
	assert_up(t->up, "last", "x");
	/* Once round, and no more: there is nothing else. */
	assert_int_equal(moved, 300);
	assert_int_equal(t->taken.n_aside, CML_ASIDES);
	assert_string_equal(goes(t), "");
	assert_int_equal(t->taken.n_moved, 0);
	ends_well(t);
}

/* Behind it is only what is too young: it need not pass, and what it stands before is told. */
static void not_for_young_ones(void **state)
{
	struct test *t = *state;
	uint64_t ino = made_large(t, ROOT, "video");

	t->wants.min_age_s = AGE_S;
	clock_advance((AGE_S + 1) * US_PER_S);
	made(&t->f, ROOT, "young", "x");
	assert_string_equal(goes(t), "CREATE ");
	assert_string_equal(goes(t), "");
	assert_int_equal(t->taken.n_moved, 0);
	assert_int_equal(t->taken.n_aside, 1);
	assert_in_range(t->taken.young_us, 1, AGE_S * US_PER_S);
	may_go(t, ino, write_gen_of(&t->f, ino));
	assert_string_equal(goes(t), "STORE ");
	clock_advance((AGE_S + 1) * US_PER_S);
	(void)made_large(t, ROOT, "other");
	clock_advance((AGE_S + 1) * US_PER_S);
	assert_string_equal(goes(t), "CREATE STORE CREATE ");
	ends_well(t);
}

/* The times of directories, which are sent when there is nothing else in the log. */
static void times_of_directories_pass(void **state)
{
	struct test *t = *state;
	uint64_t dir = made_dir(&t->f, ROOT, "d");

	up_drain(t->up, t->f.cache);
	(void)made_large(t, ROOT, "video");
	made(&t->f, dir, "a", "x");
	assert_int_equal(f_remove(&t->f, dir, "a"), 0);
	assert_string_equal(goes(t), "CREATE SETATTR ");
	ends_well(t);
}

static void list_stage(void *arg, const struct cml_entry *entry)
{
	unsigned *n = arg;

	n[entry->stage]++;
	assert_int_equal(entry->stage == CML_STANDS_ASIDE, entry->op == KML_STORE && entry->bytes > LARGE);
}

static void shown_to_people(void **state)
{
	struct test *t = *state;
	unsigned n[CML_IS_OUT + 1] = { 0 };

	(void)made_large(t, ROOT, "video");
	made(&t->f, ROOT, "a", "x");
	t->wants.max_records = 2;
	assert_string_equal(goes(t), "CREATE CREATE ");
	assert_int_equal(cml_list(t->f.cache, 0, 100, list_stage, n), 0);
	assert_int_equal(n[CML_STANDS_ASIDE], 1);
	assert_int_equal(n[CML_WAITS], 1);
	f_reopen(&t->f);
	assert_string_equal(goes(t), "STORE ");
	memset(n, 0, sizeof(n));
	assert_int_equal(cml_list(t->f.cache, 0, 100, list_stage, n), 0);
	assert_int_equal(n[CML_STANDS_ASIDE], 1);
	ends_well(t);
}

/* ---- by chance: the same tree upstream as here, whatever passed what; test_cache_cml has it with answers lost, and killed ---- */

static void by_chance(void **state)
{
	struct test *t = *state;
	unsigned n_moved = 0;

	seed_init();
	for (unsigned round = 0; round < 40; round++) {
		t->wants.large = rnd(300);
		for (unsigned i = 0; i < 60; i++) {
			random_operation(&t->f);
			if (rnd(10))
				continue;
			t->wants.max_records = 1 + rnd(10);
			for (size_t k = 0; k < t->taken.n_aside && rnd(3); k++)
				may_go(t, t->taken.aside[k], rnd(2) ? write_gen_of(&t->f, t->taken.aside[k]) : 0);
			(void)goes(t);
			n_moved += t->taken.n_moved;
		}
		assert_int_equal(cml_flush(t->f.cache), 0);
		ends_well(t);
	}
	print_message("%u records stood aside\n", n_moved);
	assert_true(n_moved > 40);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(small_ones_pass),
		TEST(written_meanwhile),
		TEST(what_was_cut_is_small),
		TEST(removed_meanwhile),
		TEST(never_what_was_taken),
		TEST(over_a_restart),
		TEST(the_rename_waits_too),
		TEST(stays_in_its_place),
		TEST(the_ready_one_passes),
		TEST(its_turn_comes),
		TEST(so_many_at_a_time),
		TEST(not_for_young_ones),
		TEST(times_of_directories_pass),
		TEST(shown_to_people),
		TEST(by_chance),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
