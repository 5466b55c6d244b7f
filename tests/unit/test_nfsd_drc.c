/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "nfsd/drc.h"

#define MAX_DONE 4

/* The cache never looks into a call. */
static char some_call, other_call;
#define SOME_CALL ((struct rpc_call *)&some_call)
#define OTHER_CALL ((struct rpc_call *)&other_call)

static int setup(void **state)
{
	static struct drc drc;

	assert_int_equal(drc_init(&drc, MAX_DONE), 0);
	*state = &drc;
	return 0;
}

static int teardown(void **state)
{
	drc_release(*state);
	return 0;
}

static const uint8_t *key_of(unsigned i)
{
	static uint8_t key[DRC_KEY_LEN];

	memset(key, 0, sizeof(key));
	memcpy(key + 8, &i, sizeof(i));	/* the first bytes, which are hashed by, are equal */
	return key;
}

static void done(struct drc *drc, unsigned i)
{
	char reply[16];
	int len = snprintf(reply, sizeof(reply), "reply %u", i);

	drc_finish(drc, drc_begin(drc, key_of(i), SOME_CALL), reply, (size_t)len);
}

static void assert_reply(struct drc *drc, unsigned i)
{
	struct drc_entry *entry = drc_find(drc, key_of(i));
	char want[16];
	int len = snprintf(want, sizeof(want), "reply %u", i);

	assert_non_null(entry);
	assert_null(entry->call);
	assert_int_equal(entry->len, len);
	assert_memory_equal(entry->reply, want, len);
}

static void running_then_done(void **state)
{
	struct drc *drc = *state;
	struct drc_entry *entry;

	assert_null(drc_find(drc, key_of(1)));
	entry = drc_begin(drc, key_of(1), SOME_CALL);
	assert_ptr_equal(drc_find(drc, key_of(1)), entry);
	assert_ptr_equal(entry->call, SOME_CALL);
	assert_null(drc_find(drc, key_of(2)));
	drc_finish(drc, entry, "reply 1", 7);
	assert_reply(drc, 1);
}

static void equal_hashes_are_kept_apart(void **state)
{
	struct drc *drc = *state;
	struct drc_entry *a = drc_begin(drc, key_of(1), SOME_CALL);
	struct drc_entry *b = drc_begin(drc, key_of(2), OTHER_CALL);

	assert_ptr_equal(drc_find(drc, key_of(1))->call, SOME_CALL);
	assert_ptr_equal(drc_find(drc, key_of(2))->call, OTHER_CALL);
	drc_finish(drc, b, "reply 2", 7);
	drc_finish(drc, a, "reply 1", 7);
	assert_reply(drc, 1);
	assert_reply(drc, 2);
}

static void the_oldest_is_dropped(void **state)
{
	struct drc *drc = *state;

	for (unsigned i = 0; i < 3 * MAX_DONE; i++)
		done(drc, i);
	for (unsigned i = 0; i < 2 * MAX_DONE; i++)
		assert_null(drc_find(drc, key_of(i)));
	for (unsigned i = 2 * MAX_DONE; i < 3 * MAX_DONE; i++)
		assert_reply(drc, i);
	assert_int_equal(drc->n_done, MAX_DONE);
}

/* However many calls end meanwhile: dropped, a retransmission would be carried out beside it. */
static void one_that_runs_is_not_dropped(void **state)
{
	struct drc *drc = *state;
	struct drc_entry *entry = drc_begin(drc, key_of(1000), SOME_CALL);

	for (unsigned i = 0; i < 3 * MAX_DONE; i++)
		done(drc, i);
	assert_ptr_equal(drc_find(drc, key_of(1000)), entry);
	drc_finish(drc, entry, "reply 1000", 10);
	assert_reply(drc, 1000);
}

static void forgotten_as_if_never_begun(void **state)
{
	struct drc *drc = *state;

	drc_forget(drc, drc_begin(drc, key_of(1), SOME_CALL));
	assert_null(drc_find(drc, key_of(1)));
	assert_int_equal(drc->n_done, 0);
	done(drc, 1);
	assert_reply(drc, 1);
}

static void the_longest_reply_fits(void **state)
{
	struct drc *drc = *state;
	unsigned char reply[DRC_REPLY_MAX];

	memset(reply, 0xa5, sizeof(reply));
	drc_finish(drc, drc_begin(drc, key_of(1), SOME_CALL), reply, sizeof(reply));
	assert_int_equal(drc_find(drc, key_of(1))->len, sizeof(reply));
	assert_memory_equal(drc_find(drc, key_of(1))->reply, reply, sizeof(reply));
}

static void every_bit_of_a_call_counts(void **state)
{
	unsigned char head[24] = "head", args[40] = "arguments";
	const struct slice parts[] = { { head, sizeof(head) }, { args, sizeof(args) } };
	uint8_t key[DRC_KEY_LEN], other[DRC_KEY_LEN];

	(void)state;
	drc_key(parts, ARRAY_SIZE(parts), key);
	for (size_t bit = 0; bit < 8 * (sizeof(head) + sizeof(args)); bit++) {
		unsigned char *byte = bit < 8 * sizeof(head) ? &head[bit / 8] :
							       &args[bit / 8 - sizeof(head)];

		*byte ^= 1u << bit % 8;
		drc_key(parts, ARRAY_SIZE(parts), other);
		assert_memory_not_equal(key, other, sizeof(key));
		*byte ^= 1u << bit % 8;
	}
	drc_key(parts, ARRAY_SIZE(parts), other);
	assert_memory_equal(key, other, sizeof(key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(running_then_done, setup, teardown),
		cmocka_unit_test_setup_teardown(equal_hashes_are_kept_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(the_oldest_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_runs_is_not_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(forgotten_as_if_never_begun, setup, teardown),
		cmocka_unit_test_setup_teardown(the_longest_reply_fits, setup, teardown),
		cmocka_unit_test(every_bit_of_a_call_counts),
	};

	return cmocka_run_group_tests_name("drc", tests, NULL, NULL);
}
