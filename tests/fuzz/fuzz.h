/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz: what the targets in this folder have in common.
 *
 * A target is one file with LLVMFuzzerTestOneInput(), which must come to the same for the same input, as far as what it
 * keeps from one input to the next (a cache, an export) allows.  Where random bytes would not get far it splices in
 * what nobody can guess: handles, sequence numbers, lengths.  Each file says how its input is laid out.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"

#define UNUSED __attribute__((unused))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What holds whatever the input is; where it does not, the input is kept and reported. */
#define MUST(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)

/* ---- the input: what is asked for beyond its end is zero, or empty ---- */

struct input {
	const uint8_t *p, *end;
};

static inline struct input input_of(const uint8_t *data, size_t size)
{
	return (struct input){ data, data + size };
}

static UNUSED size_t input_left(const struct input *in)
{
	return (size_t)(in->end - in->p);
}

static UNUSED uint8_t input_u8(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static UNUSED uint32_t input_u16(struct input *in)
{
	uint32_t high = input_u8(in);

	return high << 8 | input_u8(in);
}

static UNUSED struct slice input_bytes(struct input *in, size_t len)
{
	struct slice bytes = { in->p, MIN(len, input_left(in)) };

	in->p += bytes.len;
	return bytes;
}

static UNUSED struct slice input_rest(struct input *in)
{
	return input_bytes(in, input_left(in));
}

/* A copy in memory of its own, so that one byte read too far is noticed. */
static UNUSED void *input_copy(struct slice bytes)
{
	char *copy = malloc(bytes.len);

	MUST(copy || !bytes.len);
	if (bytes.len)
		memcpy(copy, bytes.data, bytes.len);
	return copy;
}

/* The same with a NUL behind it. */
static UNUSED char *input_text(struct slice bytes)
{
	char *text = malloc(bytes.len + 1);

	MUST(text);
	if (bytes.len)
		memcpy(text, bytes.data, bytes.len);
	text[bytes.len] = '\0';
	return text;
}

/* ---- waiting ---- */

#define PATIENCE_MS 50000	/* a loaded machine may be slow */

/* Until one of the events comes, which it must; those that came. */
static UNUSED short await(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int n;

	do
		n = poll(&pfd, 1, PATIENCE_MS);
	while (n < 0 && errno == EINTR);	/* libFuzzer's alarm */
	MUST(n > 0);
	return pfd.revents;
}

/* ---- a directory for what is kept ---- */

static char fuzz_dir[64];

static UNUSED void fuzz_dir_remove(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf '%s'", fuzz_dir);
	if (fuzz_dir[0] && system(command))
		fprintf(stderr, "%s is left\n", fuzz_dir);
	fuzz_dir[0] = '\0';
}

/* A new one in $TMPDIR; removed at a normal exit, after a crash it is left. */
static UNUSED const char *fuzz_dir_make(void)
{
	static bool is_registered;
	const char *tmp = getenv("TMPDIR");

	snprintf(fuzz_dir, sizeof(fuzz_dir), "%s/izo-fuzz-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	MUST(mkdtemp(fuzz_dir));
	if (!is_registered)
		(void)atexit(fuzz_dir_remove);	/* else it is left */
	is_registered = true;
	return fuzz_dir;
}

#endif
