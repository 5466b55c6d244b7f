/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signature, delta, patch: the new file comes out whatever the edits and the sizes of the pieces; the delta is
 * about as large as what is new; what is no signature or no delta ends in an error.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/rdiff.h"

#define ROOM (3u << 20)

struct bytes {
	unsigned char *v;
	size_t len;
};

/* An input in pieces, with pauses. */
struct source {
	struct bytes bytes;
	size_t at, piece;
	unsigned asked;
	bool has_pauses;
	struct bytes old;	/* of a patch */
	int old_err;
};

static ssize_t next(void *arg, void *data, size_t len)
{
	struct source *source = arg;
	size_t n = MIN(MIN(len, source->piece), source->bytes.len - source->at);

	if (source->has_pauses && source->asked++ % 2)
		return -EAGAIN;
	if (n)
		memcpy(data, source->bytes.v + source->at, n);
	source->at += n;
	return (ssize_t)n;
}

static ssize_t old_at(void *arg, uint64_t pos, void *data, size_t len)
{
	const struct source *source = arg;

	if (source->old_err)
		return source->old_err;
	if (pos >= source->old.len)
		return 0;
	len = MIN(len, source->old.len - pos);
	memcpy(data, source->old.v + pos, len);
	return (ssize_t)len;
}

/* All that it makes, up to ROOM: as rdiff_pull(). */
static int pull(struct rdiff_job *job, size_t piece, struct bytes *ret)
{
	size_t n;
	int got;

	*ret = (struct bytes){ .v = malloc(ROOM) };
	do {
		got = rdiff_pull(job, ret->v + ret->len, MIN(piece, ROOM - ret->len), &n);
		if (got >= 0 || got == -EAGAIN)
			ret->len += n;
	} while ((!got || got == -EAGAIN) && ret->len < ROOM);
	rdiff_free(job);
	return got;
}

static struct bytes sign(struct bytes old, unsigned block)
{
	struct source source = { .bytes = old, .piece = ROOM };
	struct rdiff_job *job;
	struct bytes signature;

	assert_int_equal(rdiff_sign(block, next, &source, &job), 0);
	assert_int_equal(pull(job, ROOM, &signature), 1);
	return signature;
}

static struct bytes delta_of(struct bytes old, struct bytes new, unsigned block)
{
	struct source source = { .bytes = new, .piece = ROOM };
	struct bytes signature = sign(old, block), delta;
	struct rdiff_job *job;

	assert_int_equal(rdiff_delta(signature.v, signature.len, block, next, &source, &job), 0);
	free(signature.v);
	assert_int_equal(pull(job, ROOM, &delta), 1);
	return delta;
}

static struct bytes random_bytes(size_t len)
{
	struct bytes bytes = { calloc(1, len + 1), len };
	uint64_t x = 88172645463325252ull;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes.v[i] = (unsigned char)x;
	}
	return bytes;
}

/* ---- what comes out ---- */

/* new: old with 'cut' bytes at 'at' replaced by 'put' others. */
static const struct edit {
	const char *name;
	size_t old, at, cut, put;
	size_t piece, delta_max;
	bool has_pauses;
} edits[] = {
	{ "the same", 1000000, 0, 0, 0, 1 << 20, 40, false },
	{ "overwritten in the middle", 1000000, 500000, 10000, 10000, 1 << 20, 11200, false },
	{ "inserted at the start", 1000000, 0, 0, 10000, 1 << 20, 11200, false },
	{ "one byte inserted", 1000000, 1, 0, 1, 1 << 20, 700, false },
	{ "removed from the middle", 1000000, 300001, 99999, 0, 1 << 20, 1200, false },
	{ "cut off", 1000000, 700000, 300000, 0, 1 << 20, 700, false },
	{ "appended", 1000000, 1000000, 0, 5000, 1 << 20, 6200, false },
	{ "all of it is other", 100000, 0, 100000, 100000, 1 << 20, 100100, false },
	{ "in small pieces, with pauses", 300000, 1000, 7, 5000, 1000, 6000, true },
	{ "in pieces of one byte", 20000, 1000, 0, 10, 1, 1300, true },
	{ "to nothing", 100000, 0, 100000, 0, 1 << 20, 10, false },
	{ "from what is smaller than a block", 100, 50, 0, 100000, 1 << 20, 101000, false },
};

static void round_trip(void **state)
{
	const struct edit *e = *state;
	struct bytes old = random_bytes(e->old), new = random_bytes(e->old - e->cut + e->put), got;
	struct source source = { .piece = e->piece, .has_pauses = e->has_pauses, .old = old };
	unsigned block = rdiff_block(new.len);
	struct bytes signature, delta;
	struct rdiff_job *job;

	memcpy(new.v, old.v, e->at);
	for (size_t i = 0; i < e->put; i++)
		new.v[e->at + i] ^= (unsigned char)(0x55 + i / 7);
	memcpy(new.v + e->at + e->put, old.v + e->at + e->cut, e->old - e->at - e->cut);

	source.bytes = old;
	assert_int_equal(rdiff_sign(block, next, &source, &job), 0);
	assert_int_equal(pull(job, e->piece, &signature), 1);
	assert_int_equal(signature.len, rdiff_signature_len(old.len, block));
	source.bytes = new;
	source.at = 0;
	assert_int_equal(rdiff_delta(signature.v, signature.len, block, next, &source, &job), 0);
	free(signature.v);
	assert_int_equal(pull(job, e->piece, &delta), 1);
	assert_true(delta.len <= e->delta_max);
	source.bytes = delta;
	source.at = 0;
	assert_int_equal(rdiff_patch(next, old_at, &source, &job), 0);
	assert_int_equal(pull(job, e->piece, &got), 1);
	assert_int_equal(got.len, new.len);
	assert_memory_equal(got.v, new.v, new.len);
	free(got.v);
	free(delta.v);
	free(new.v);
	free(old.v);
}

/* ---- blocks ---- */

static void blocks(void **state)
{
	static const struct { uint64_t size; unsigned want; } cases[] = {
		{ 0, 512 }, { 1 << 20, 512 }, { (1 << 20) + 1, 1024 }, { 64ull << 20, 4096 }, { 1ull << 30, 16384 },
		{ 1ull << 50, 1 << 20 }, { UINT64_MAX, 1 << 20 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(rdiff_block(cases[i].size), cases[i].want);
	assert_true(rdiff_is_block(512, 0));
	assert_true(rdiff_is_block(1 << 20, 1ull << 39));
	assert_false(rdiff_is_block(0, 100));
	assert_false(rdiff_is_block(256, 100));
	assert_false(rdiff_is_block(1000, 100));
	assert_false(rdiff_is_block(1 << 21, 100));
	assert_false(rdiff_is_block(512, 512ull << 20));
	assert_true(rdiff_is_block(512, (512ull << 20) - 1));
}

/* ---- what is none ---- */

static int load(const struct bytes *signature, size_t len, unsigned block)
{
	struct source source = { .piece = 1 };
	struct rdiff_job *job = NULL;
	unsigned char *copy = malloc(len ? len : 1);	/* of its own, so that reading beyond it shows */
	int err;

	memcpy(copy, signature->v, len);
	err = rdiff_delta(copy, len, block, next, &source, &job);
	rdiff_free(job);
	free(copy);
	return err;
}

static void no_signature(void **state)
{
	struct bytes old = random_bytes(10000), signature = sign(old, 1024);

	(void)state;
	assert_int_equal(load(&signature, signature.len, 1024), 0);
	assert_int_equal(load(&signature, signature.len, 2048), -EBADMSG);
	for (size_t len = 0; len < signature.len; len++)
		if (len <= 12 || (len - 12) % 20)
			assert_int_equal(load(&signature, len, 1024), -EBADMSG);
	/* each bit of its head says something */
	for (size_t bit = 0; bit < 12 * 8; bit++) {
		signature.v[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(load(&signature, signature.len, 1024), -EBADMSG);
		signature.v[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	free(signature.v);
	free(old.v);
}

static int patch(struct bytes old, struct bytes delta, size_t len, int old_err)
{
	struct source source = { .bytes = { malloc(len ? len : 1), len }, .piece = 100, .old = old, .old_err = old_err };
	struct rdiff_job *job;
	struct bytes got;
	int result;

	memcpy(source.bytes.v, delta.v, len);
	assert_int_equal(rdiff_patch(next, old_at, &source, &job), 0);
	result = pull(job, 5000, &got);
	free(got.v);
	free(source.bytes.v);
	return result;
}

static void no_delta(void **state)
{
	struct bytes old = random_bytes(20000), new = random_bytes(20000), delta;

	(void)state;
	memset(new.v + 7000, 'x', 3000);
	delta = delta_of(old, new, 512);
	assert_int_equal(patch(old, delta, delta.len, 0), 1);
	for (size_t len = 0; len < delta.len; len++)
		assert_int_equal(patch(old, delta, len, 0), -EBADMSG);
	assert_int_equal(patch(old, delta, delta.len, -EIO), -EIO);
	assert_int_equal(patch(old, delta, delta.len, -ESTALE), -ESTALE);
	/* made from a longer file than there is */
	assert_int_equal(patch((struct bytes){ old.v, 15000 }, delta, delta.len, 0), -EBADMSG);
	assert_int_equal(patch(old, new, new.len, 0), -EBADMSG);
	free(delta.v);
	free(new.v);
	free(old.v);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(edits) + 3] = {
		cmocka_unit_test(blocks),
		cmocka_unit_test(no_signature),
		cmocka_unit_test(no_delta),
	};

	for (size_t i = 0; i < ARRAY_SIZE(edits); i++)
		tests[3 + i] = (struct CMUnitTest){ .name = edits[i].name, .test_func = round_trip,
						    .initial_state = (void *)(uintptr_t)&edits[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
