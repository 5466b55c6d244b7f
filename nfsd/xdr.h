/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xdr: reading arguments where they lie, and writing results in place (RFC 4506).
 *
 * Reading: errors stick.  After the first thing that does not fit or is not legal, is_bad is set and
 * everything read is zero or empty, so a chain of reads needs one check at its end: xdr_in_done().
 * Opaque data is not copied: slices point into the input.
 *
 * Writing: the caller has made sure of the room (the procedure table's reply_max); running out of it
 * is our own mistake and asserted.
 *
 * Neither side needs alignment.
 */
#ifndef NFSD_XDR_H
#define NFSD_XDR_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/mem.h"

static inline uint32_t xdr_load_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline void xdr_store_u32(void *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

/* What len bytes of opaque data take, without the length word. */
static inline size_t xdr_padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

/* ---- reading ---- */

struct xdr_in {
	const unsigned char *p, *end;
	bool is_bad;
};

static inline struct xdr_in xdr_in_of(const void *data, size_t len)
{
	const unsigned char *p = data;

	return (struct xdr_in){ p, p + len, false };
}

static inline size_t xdr_in_left(const struct xdr_in *in)
{
	return (size_t)(in->end - in->p);
}

/* All was legal and nothing is left over. */
static inline bool xdr_in_done(const struct xdr_in *in)
{
	return !in->is_bad && in->p == in->end;
}

static inline const unsigned char *xdr_in_take(struct xdr_in *in, size_t len)
{
	const unsigned char *p = in->p;

	if (in->is_bad || xdr_in_left(in) < len) {
		in->is_bad = true;
		return NULL;
	}
	in->p += len;
	return p;
}

static inline uint32_t xdr_in_u32(struct xdr_in *in)
{
	const unsigned char *p = xdr_in_take(in, 4);

	return p ? xdr_load_u32(p) : 0;
}

static inline uint64_t xdr_in_u64(struct xdr_in *in)
{
	uint64_t high = xdr_in_u32(in);

	return high << 32 | xdr_in_u32(in);
}

/* A bool, or the arm of a union with arms below limit; anything else is bad. */
static inline uint32_t xdr_in_enum(struct xdr_in *in, uint32_t limit)
{
	uint32_t v = xdr_in_u32(in);

	if (v < limit)
		return v;
	in->is_bad = true;
	return 0;
}

static inline bool xdr_in_bool(struct xdr_in *in)
{
	return xdr_in_enum(in, 2) != 0;
}

static inline struct slice xdr_in_fixed(struct xdr_in *in, size_t len)
{
	const unsigned char *p = xdr_in_take(in, xdr_padded(len));

	return p ? (struct slice){ p, len } : (struct slice){ NULL, 0 };
}

/* opaque<max> or string<max>. */
static inline struct slice xdr_in_opaque(struct xdr_in *in, size_t max)
{
	uint32_t len = xdr_in_u32(in);

	if (len > max || len > xdr_in_left(in)) {	/* the latter: padding it must not wrap around */
		in->is_bad = true;
		len = 0;
	}
	return xdr_in_fixed(in, len);
}

/* ---- writing ---- */

struct xdr_out {
	unsigned char *p, *end;
};

static inline struct xdr_out xdr_out_of(void *data, size_t cap)
{
	unsigned char *p = data;

	return (struct xdr_out){ p, p + cap };
}

static inline size_t xdr_out_room(const struct xdr_out *out)
{
	return (size_t)(out->end - out->p);
}

static inline void *xdr_out_extend(struct xdr_out *out, size_t len)
{
	unsigned char *p = out->p;

	assert(xdr_out_room(out) >= len);
	out->p += len;
	return p;
}

static inline void xdr_out_u32(struct xdr_out *out, uint32_t v)
{
	xdr_store_u32(xdr_out_extend(out, 4), v);
}

static inline void xdr_out_u64(struct xdr_out *out, uint64_t v)
{
	v = htobe64(v);
	memcpy(xdr_out_extend(out, 8), &v, 8);
}

static inline void xdr_out_fixed(struct xdr_out *out, const void *data, size_t len)
{
	size_t padded = xdr_padded(len);
	unsigned char *p = xdr_out_extend(out, padded);

	if (len)
		memcpy(p, data, len);
	memset(p + len, 0, padded - len);
}

static inline void xdr_out_opaque(struct xdr_out *out, const void *data, size_t len)
{
	xdr_out_u32(out, (uint32_t)len);
	xdr_out_fixed(out, data, len);
}

#endif
