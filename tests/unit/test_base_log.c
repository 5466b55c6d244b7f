/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is traced, and how many lines pass a gate. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/fixed.h"

static const struct trace_case {
	const char *names;
	int err;
	const char *want;		/* as told afterwards; before it "cml" was traced */
} trace_cases[] = {
	{ "rpc", 0, "rpc" },
	{ "fetch,rpc,,link", 0, "rpc,link,fetch" },
	{ "all", 0, "all" },
	{ "rpc,nfs,cache,cml,link,replay,pull,fetch,http,apply,watch", 0, "all" },
	{ "none", 0, "none" },
	{ "", 0, "none" },
	{ "rpc,none,nfs", 0, "nfs" },
	{ "rpc,dance", -EINVAL, "cml" },
	{ "rp", -EINVAL, "cml" },
	{ "rpcx", -EINVAL, "cml" },
};

static void trace(void **state)
{
	const struct trace_case *c = *state;
	char text[LOG_TRACE_TEXT];

	assert_int_equal(log_trace("cml"), 0);
	assert_int_equal(log_trace_check(c->names), c->err);
	assert_string_equal(log_trace_text(text), "cml");	/* to check changes nothing */
	assert_int_equal(log_trace(c->names), c->err);
	assert_string_equal(log_trace_text(text), c->want);
}

static int looked;

static int look(void)
{
	return ++looked;
}

static void what_is_not_traced_is_not_evaluated(void **state)
{
	(void)state;
	assert_int_equal(log_trace("rpc"), 0);
	log_debug(LOG_CML, "%d", look());
	assert_int_equal(looked, 0);
	assert_true(log_is_traced(LOG_RPC));
	assert_false(log_is_traced(LOG_CML));
}

/* n in an interval; the first of the next one tells how many were held back. */
static void a_gate_for_several(void **state)
{
	struct log_gate gate = { 0 };
	unsigned held;

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 10; i++) {
			held = 99;
			assert_true(log_gate_open_n(&gate, 60, 10, &held));
			assert_int_equal(held, round && !i ? 7 : 0);
		}
		for (unsigned i = 0; i < 7; i++)
			assert_false(log_gate_open_n(&gate, 60, 10, &held));
		clock_advance(60 * US_PER_S);
	}
}

static void a_gate_for_one(void **state)
{
	struct log_gate gate = { 0 };
	unsigned held = 99;

	(void)state;
	assert_true(log_gate_open(&gate, 10, &held));
	assert_int_equal(held, 0);
	assert_false(log_gate_open(&gate, 10, &held));
	assert_false(log_gate_open(&gate, 10, &held));
	clock_advance(10 * US_PER_S);
	assert_true(log_gate_open(&gate, 10, &held));
	assert_int_equal(held, 2);
}

int main(void)
{
	struct CMUnitTest tests[32] = {
		cmocka_unit_test(what_is_not_traced_is_not_evaluated),
		cmocka_unit_test(a_gate_for_several),
		cmocka_unit_test(a_gate_for_one),
	};
	size_t n = fixed_tests(tests);

	for (size_t i = 0; i < ARRAY_SIZE(trace_cases); i++)
		tests[n++] = (struct CMUnitTest){ trace_cases[i].names, trace, NULL, NULL, (void *)&trace_cases[i] };
	return _cmocka_run_group_tests("log", tests, n, NULL, NULL);
}
