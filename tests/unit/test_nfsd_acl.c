/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access control lists on the wire. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cache/types.h"
#include "nfsd/nfsacl3.h"
#include "nfsd/xdr.h"

#define WORDS_MAX 32

/* What comes, as words; and what is read of it. */
static const struct in_case {
	const char *name;
	uint32_t words[WORDS_MAX];
	unsigned n_words;
	bool is_not_wanted;
	int want;			/* 1: it does not decode */
	uint32_t n;
	struct acl_entry v[6];
} in_cases[] = {
	{ "none", { 0, 0 }, 2, .n = 0 },
	{ "a mode", { 3, 3, 1, 0, 6, 4, 0, 4, 32, 0, 0 }, 11, .n = 3,
	  .v = { { 1, 6, 0 }, { 4, 4, 0 }, { 32, 0, 0 } } },
	{ "a mask that fills up goes", { 4, 4, 1, 7, 6, 4, 8, 4, 16, 0, 4, 32, 0, 0 }, 14, .n = 3,
	  .v = { { 1, 6, 0 }, { 4, 4, 0 }, { 32, 0, 0 } } },
	{ "a mask that says something stays", { 4, 4, 1, 7, 6, 4, 8, 6, 16, 0, 4, 32, 0, 0 }, 14, .n = 4,
	  .v = { { 1, 6, 0 }, { 4, 6, 0 }, { 16, 4, 0 }, { 32, 0, 0 } } },
	{ "names stay", { 5, 5, 1, 7, 6, 2, 1000, 6, 4, 8, 4, 16, 9, 4, 32, 0, 0 }, 17, .n = 5,
	  .v = { { 1, 6, 0 }, { 2, 6, 1000 }, { 4, 4, 0 }, { 16, 4, 0 }, { 32, 0, 0 } } },
	{ "of a default list", { 3, 3, 0x1001, 0, 6, 0x1004, 0, 4, 0x1020, 0, 0 }, 11, .n = 3,
	  .v = { { 1, 6, 0 }, { 4, 4, 0 }, { 32, 0, 0 } } },
	{ "more bits in a mask", { 1, 1, 16, 0, 0xfff7 }, 5, .n = 1, .v = { { 16, 7, 0 } } },
	{ "more bits elsewhere", { 1, 1, 1, 0, 8 }, 5, .want = -EINVAL },
	{ "unknown type", { 1, 1, 64, 0, 4 }, 5, .want = -EINVAL },
	{ "two types at once", { 1, 1, 3, 0, 4 }, 5, .want = -EINVAL },
	{ "not asked for", { 0, 0 }, 2, true },
	{ "not asked for, and there", { 1, 1, 64, 0, 4 }, 5, true },
	{ "not asked for, the count only", { 4, 0 }, 2, true },
	{ "counts differ", { 2, 1, 1, 0, 4 }, 5, .want = 1 },
	{ "too many", { 1025, 1025 }, 2, .want = 1 },
	{ "as many as may be, and not there", { 1024, 1024 }, 2, .want = 1 },
	{ "an entry is missing", { 2, 2, 1, 0, 4 }, 5, .want = 1 },
	{ "half an entry", { 1, 1, 1, 0 }, 4, .want = 1 },
	{ "half a count", { 0 }, 1, .want = 1 },
};

static void what_comes(void **state)
{
	struct acl_entry *v = calloc(ACL_ENTRIES_MAX, sizeof(*v));

	(void)state;
	assert_non_null(v);
	for (size_t i = 0; i < ARRAY_SIZE(in_cases); i++) {
		const struct in_case *c = &in_cases[i];
		/* Ends where the input does, so that the address sanitizer sees a byte too much. */
		unsigned char *bytes = malloc(c->n_words * 4);
		struct xdr_in in = xdr_in_of(bytes, c->n_words * 4);
		struct acl acl = { 99, NULL };
		int got;

		for (unsigned k = 0; k < c->n_words; k++)
			xdr_store_u32(bytes + 4 * k, c->words[k]);
		got = nfsacl3_in_list(&in, !c->is_not_wanted, v, &acl);
		if (!xdr_in_done(&in))
			got = 1;
		if (got != c->want)
			fail_msg("%s: %d", c->name, got);
		if (!got && (acl.n != c->n || memcmp(acl.v, c->v, acl.n * sizeof(*v))))
			fail_msg("%s: other entries", c->name);
		free(bytes);
	}
	free(v);
}

static struct acl_entry list[] = {
	{ ACL_USER_OBJ, 6, 0 }, { ACL_USER, 4, 1000 }, { ACL_GROUP_OBJ, 4, 0 }, { ACL_MASK, 4, 0 },
	{ ACL_OTHER, 0, 0 },
};
static struct acl_entry mode[] = { { ACL_USER_OBJ, 6, 0 }, { ACL_GROUP_OBJ, 5, 0 }, { ACL_OTHER, 1, 0 } };

static const struct out_case {
	const char *name;
	struct acl acl;
	bool is_default, has_entries;
	unsigned n_words;
	uint32_t words[WORDS_MAX];
} out_cases[] = {
	{ "none", { 0, NULL }, false, true, 2, { 0, 0 } },
	{ "a list", { 5, list }, false, true, 17,
	  { 5, 5, 1, 7, 6, 2, 1000, 4, 4, 8, 4, 16, 0, 4, 32, 0, 0 } },
	{ "a default list", { 5, list }, true, true, 17,
	  { 5, 5, 0x1001, 7, 6, 0x1002, 1000, 4, 0x1004, 8, 4, 0x1010, 0, 4, 0x1020, 0, 0 } },
	{ "its length", { 5, list }, false, false, 2, { 5, 0 } },
	{ "a mode, with a mask", { 3, mode }, false, true, 14,
	  { 4, 4, 1, 7, 6, 4, 8, 5, 16, 0, 5, 32, 0, 1 } },
	{ "the length of a mode", { 3, mode }, false, false, 2, { 4, 0 } },
};

static void what_is_sent(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(out_cases); i++) {
		const struct out_case *c = &out_cases[i];
		unsigned char bytes[NFSACL3_LIST(6)];
		struct xdr_out out = xdr_out_of(bytes, NFSACL3_LIST(c->acl.n + 1));

		nfsacl3_out_list(&out, &c->acl, 7, 8, c->is_default, c->has_entries);
		if ((size_t)(out.p - bytes) != 4 * (size_t)c->n_words)
			fail_msg("%s: %zu bytes", c->name, (size_t)(out.p - bytes));
		for (unsigned k = 0; k < c->n_words; k++)
			if (xdr_load_u32(bytes + 4 * k) != c->words[k])
				fail_msg("%s: word %u", c->name, k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes),
		cmocka_unit_test(what_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
