/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/param.h>
#include <zstd.h>
#include <zstd_errors.h>

#define LEVEL 1			/* a gigabit a second on one slow core */
#define WINDOW_LOG 21
#define SAMPLES 4u
#define SAMPLE (16u << 10)
#define LEAST 512u		/* below that headers weigh more */

_Static_assert(1u << WINDOW_LOG == COMPRESS_WINDOW, "one limit");

/* ---- packing ---- */

bool compress_pays(const void *data, size_t len)
{
	const unsigned char *from = data;
	size_t sample = MIN(len, (size_t)SAMPLE), in = 0, out = 0;
	unsigned char *to;

	if (len < LEAST)
		return false;
	to = malloc(ZSTD_compressBound(sample));
	if (!to)
		return false;
	for (unsigned i = 0; i < SAMPLES; i++) {
		size_t at = (len - sample) / (SAMPLES - 1) * i;
		size_t n = ZSTD_compress(to, ZSTD_compressBound(sample), from + at, sample, LEVEL);

		in += sample;
		out += ZSTD_isError(n) ? sample : n;
	}
	free(to);
	return out < in - in / 8;
}

static int pack(ZSTD_CCtx *context, struct buf *to, const void *data, size_t len)
{
	size_t start = to->len, bound = ZSTD_compressBound(len), n;
	void *room;

	if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, WINDOW_LOG)))
		return -ENOMEM;
	room = buf_extend(to, bound);
	if (!room)
		return buf_error(to);
	n = ZSTD_compress2(context, room, bound, data, len);
	to->len = start + (ZSTD_isError(n) ? 0 : n);
	/* There is room: nothing else can go wrong. */
	return ZSTD_isError(n) ? -ENOMEM : 0;
}

int compress_append(struct buf *to, const void *data, size_t len)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	int err = context ? pack(context, to, data, len) : -ENOMEM;

	(void)ZSTD_freeCCtx(context);
	return err;
}

/* ---- unpacking ---- */

struct unpack {
	ZSTD_DCtx *context;
	bool is_inside;		/* a frame */
	size_t out_size;
	unsigned char out[];
};

int unpack_new(struct unpack **ret_unpack)
{
	size_t out_size = ZSTD_DStreamOutSize();
	struct unpack *unpack = malloc(sizeof(*unpack) + out_size);

	if (!unpack)
		return -ENOMEM;
	unpack->is_inside = false;
	unpack->out_size = out_size;
	unpack->context = ZSTD_createDCtx();
	if (!unpack->context ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(unpack->context, ZSTD_d_windowLogMax, WINDOW_LOG))) {
		unpack_free(unpack);
		return -ENOMEM;
	}
	*ret_unpack = unpack;
	return 0;
}

void unpack_free(struct unpack *unpack)
{
	if (!unpack)
		return;
	(void)ZSTD_freeDCtx(unpack->context);
	free(unpack);
}

int unpack_feed(struct unpack *unpack, const void *data, size_t len,
		int (*sink)(void *arg, const void *data, size_t len), void *arg)
{
	ZSTD_inBuffer in = { data, len, 0 };
	ZSTD_outBuffer out;

	/* A full output may mean that there is more where it came from, with no more input. */
	do {
		size_t left;
		int err;

		out = (ZSTD_outBuffer){ unpack->out, unpack->out_size, 0 };
		if (in.pos == in.size && !unpack->is_inside)
			return 0;
		left = ZSTD_decompressStream(unpack->context, &out, &in);
		if (ZSTD_isError(left))
			return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
		unpack->is_inside = left != 0;
		err = out.pos ? sink(arg, unpack->out, out.pos) : 0;
		if (err)
			return err;
	} while (in.pos < in.size || out.pos == out.size);
	return 0;
}

int unpack_end(const struct unpack *unpack)
{
	return unpack->is_inside ? -EBADMSG : 0;
}
