/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations at random: the upstream ends up with the same tree from a log that is folded (cache/fold.h) as from one that is not. */
#include "tests/unit/fold_fixture.h"

#include "base/log.h"

/* Links to one file, as names of one number. */
static void tree_text(struct upstream *up, char *text, size_t size)
{
	size_t at = 0;
	char path[300];

	text[0] = '\0';
	for (unsigned i = 0; i < UP_NAMES; i++) {
		struct up_name *n = &up->names[i];
		struct up_object *o = n->name[0] ? up_object(up, n->oid) : NULL;
		struct kml_oid dir = n->dir;
		uint64_t sum = 0;

		if (!o)
			continue;
		snprintf(path, sizeof(path), "%s", n->name);
		while (!kml_oid_equal(dir, KML_ROOT)) {
			char below[300];
			struct up_name *above = NULL;

			for (unsigned j = 0; j < UP_NAMES && !above; j++) {
				if (up->names[j].name[0] && kml_oid_equal(up->names[j].oid, dir))
					above = &up->names[j];
			}
			assert_non_null(above);
			snprintf(below, sizeof(below), "%.40s/%.250s", above->name, path);
			memcpy(path, below, sizeof(path));
			dir = above->dir;
		}
		for (uint64_t b = 0; b < o->size; b++)
			sum = sum * 31 + (unsigned char)o->data[b];
		at += snprintf(text + at, size - at, "%s %d %o %u %llu %llx %lld\n", path, (int)o->type, o->mode, o->names,
			       (unsigned long long)o->size, (unsigned long long)sum,
			       o->type == KML_REG && o->mtime.sec < 10000 ? (long long)o->mtime.sec : 0);
		assert_true(at < size);
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_same_tree(struct upstream *a, struct upstream *b)
{
	static char texts[2][100000], *lines[2][UP_NAMES];
	struct upstream *const ups[] = { a, b };
	unsigned n[2] = { 0 };

	for (int i = 0; i < 2; i++) {
		tree_text(ups[i], texts[i], sizeof(texts[i]));
		for (char *line = strtok(texts[i], "\n"); line; line = strtok(NULL, "\n"))
			lines[i][n[i]++] = line;
		qsort(lines[i], n[i], sizeof(lines[i][0]), by_text);
	}
	for (unsigned i = 0; i < MAX(n[0], n[1]); i++) {
		if (i >= n[0] || i >= n[1] || strcmp(lines[0][i], lines[1][i]) != 0)
			fail_msg("folded: %s, plain: %s", i < n[0] ? lines[0][i] : "-", i < n[1] ? lines[1][i] : "-");
	}
}

static void same_tree(void **state)
{
	struct test *t = *state;
	struct upstream *plain_up = up_new();
	struct fixture plain;
	struct cml_totals folded, all;
	uint64_t n_folded = 0, n_all = 0;

	seed_init();
	f_init(&plain);
	plain.config.no_fold = true;
	f_open(&plain);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 60; i++) {
			unsigned long begin = seed;

			random_operation(t->f);
			seed = begin;
			random_operation(&plain);
		}
		assert_int_equal(cml_flush(t->f->cache), 0);
		assert_int_equal(cml_flush(plain.cache), 0);
		cml_totals(t->f->cache, &folded);
		cml_totals(plain.cache, &all);
		n_folded += folded.records;
		n_all += all.records;
		sent(t);
		up_drain(plain_up, plain.cache);
		up_compare(plain_up, &plain);
		assert_same_tree(t->up, plain_up);
	}
	print_message("records: %llu folded, %llu plain\n", (unsigned long long)n_folded, (unsigned long long)n_all);
	assert_true(n_folded < n_all);
	f_close(&plain);
	f_remove_dir(&plain);
	free(plain_up);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same_tree, t_setup, t_teardown),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
