/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rdiff: deltas as a client may send them, put together by httpd/patch.h, and signatures as an upstream may, from which a
 * delta is made.  Whatever they are, what comes out is no larger than was said, and a delta made from them can be
 * put together, or not, but does no harm.
 *
 *	u8 kind		0: a delta; 1: a signature; 2: a signature behind a good head
 *	u16 size	of what is to come out of the delta; of the new file
 *	rest		the delta, the signature
 */
#include <sys/mman.h>
#include "base/fs.h"
#include "base/rdiff.h"
#include "httpd/patch.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rdiff_old.h"

#define BLOCK 512

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	MUST(fd >= 0 && !fs_pwrite_all(fd, data, len, 0));
	return fd;
}

static const unsigned char *old_bytes(void)
{
	static unsigned char old[RDIFF_OLD];

	for (size_t i = 0; !old[0] && i < RDIFF_OLD; i++)
		old[i] = rdiff_old_byte(i);
	return old;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void put_together(struct slice delta, uint64_t size)
{
	int old = file_of(old_bytes(), RDIFF_OLD), from = file_of(delta.data, delta.len), to = file_of("", 0);
	unsigned char hash[PATCH_HASH];
	off_t end;
	int err;

	err = patch_file(old, from, to, size, never, NULL, hash);
	MUST(err == 0 || err == -EBADMSG);
	end = lseek(to, 0, SEEK_END);
	MUST(end >= 0 && (uint64_t)end <= size && (err || (uint64_t)end == size));
	close(old);
	close(from);
	close(to);
}

struct source {
	size_t at, len;
};

static ssize_t next(void *arg, void *data, size_t len)
{
	struct source *source = arg;

	len = MIN(len, source->len - source->at);
	if (len)
		memcpy(data, old_bytes() + source->at, len);
	source->at += len;
	return (ssize_t)len;
}

static void compare(struct slice signature, size_t size)
{
	AUTO_FREE void *copy = input_copy(signature);
	struct source source = { .len = MIN(size, (size_t)RDIFF_OLD) };
	unsigned char delta[2 * RDIFF_OLD];
	struct rdiff_job *job;
	size_t n = 0;
	int got = rdiff_delta(copy, signature.len, BLOCK, next, &source, &job);

	MUST(got == 0 || got == -EBADMSG);
	if (got)
		return;
	got = rdiff_pull(job, delta, sizeof(delta), &n);
	rdiff_free(job);
	MUST(got == 1 || got == -EBADMSG);
	if (got == 1)
		put_together((struct slice){ delta, n }, source.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned char head[12] = { 0x72, 0x73, 0x01, 0x47, 0, 0, BLOCK >> 8, 0, 0, 0, 0, 16 };
	struct input in = input_of(data, size);
	unsigned kind = input_u8(&in) % 3;
	size_t n = input_u16(&in);
	struct slice rest = input_rest(&in);
	unsigned char signature[8192];

	if (kind == 0) {
		put_together(rest, n);
	} else if (kind == 1) {
		compare(rest, n);
	} else {
		memcpy(signature, head, sizeof(head));
		rest.len = MIN(rest.len, sizeof(signature) - sizeof(head)) / 20 * 20;
		if (rest.len)
			memcpy(signature + sizeof(head), rest.data, rest.len);
		compare((struct slice){ signature, sizeof(head) + rest.len }, n);
	}
	return 0;
}
