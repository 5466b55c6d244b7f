/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/rdiff.h"

#include <errno.h>
#include <librsync.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

#define MAGIC RS_RK_BLAKE2_SIG_MAGIC
#define STRONG_LEN 16	/* of BLAKE2b; what a collision costs is a patch that is found to be wrong */
#define SUM_LEN (4 + STRONG_LEN)
#define HEAD_LEN 12	/* magic, block, STRONG_LEN: 4 bytes each, big-endian */

#define INPUT (256u << 10)

struct rdiff_job {
	rs_job_t *rs;
	rs_signature_t *sums;		/* of a delta */
	rdiff_input *input;
	ssize_t (*old)(void *arg, uint64_t pos, void *data, size_t len);	/* of a patch */
	void *arg;
	int old_err;
	bool is_end;			/* of the input */
	size_t in_at, in_len;		/* of in: what librsync has not taken yet */
	unsigned char in[INPUT];
};

/* ---- librsync's words, in ours ---- */

static void log_line(rs_loglevel level, char const *msg)
{
	(void)level;
	log_debug(LOG_HTTP, "librsync: %.*s", (int)strcspn(msg, "\n"), msg);
}

/* What a peer has sent wrong is no line on the standard error. */
static void quieten(void)
{
	rs_trace_to(log_line);
}

static int to_errno(rs_result result)
{
	switch (result) {
	case RS_DONE:
		return 1;
	case RS_BLOCKED:
		return 0;
	case RS_MEM_ERROR:
		return -ENOMEM;
	case RS_IO_ERROR:
		return -EIO;
	default:
		return -EBADMSG;
	}
}

static int job_new(rdiff_input *input, void *arg, struct rdiff_job **ret_job)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct rdiff_job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	(void)pthread_once(&once, quieten);	/* cannot fail */
	job->input = input;
	job->arg = arg;
	*ret_job = job;
	return 0;
}

/* ---- blocks ---- */

/*
 * A signature of a file of S bytes costs 20 S / B bytes on the link, with blocks of B, and each place that was changed about
 * 2 B of delta more than what was changed.  With B = sqrt(S) / 2 that is 40 sqrt(S) and sqrt(S): 1.3 MB and 32 KiB for 1 GiB,
 * which changes in 40 places balance; 330 KB and 8 KiB for 64 MiB; 41 KB and 1 KiB for 1 MiB.
 */
unsigned rdiff_block(uint64_t size)
{
	unsigned block = RDIFF_BLOCK_MIN;

	while (block < RDIFF_BLOCK_MAX && 4ull * block * block < size)
		block *= 2;
	return block;
}

bool rdiff_is_block(uint64_t block, uint64_t size)
{
	return block >= RDIFF_BLOCK_MIN && block <= RDIFF_BLOCK_MAX && !(block & (block - 1)) &&
	       size / block < RDIFF_BLOCKS_MAX;
}

uint64_t rdiff_signature_len(uint64_t size, unsigned block)
{
	return HEAD_LEN + SUM_LEN * (size / block + (size % block != 0));
}

/* ---- the jobs ---- */

int rdiff_sign(unsigned block, rdiff_input *old, void *arg, struct rdiff_job **ret_job)
{
	struct rdiff_job *job;
	int err = job_new(old, arg, &job);

	if (err)
		return err;
	job->rs = rs_sig_begin(block, STRONG_LEN, MAGIC);
	*ret_job = job;
	return 0;
}

static uint32_t u32be(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What it says of itself decides how much memory librsync takes: nothing but what was asked for gets there. */
static bool is_as_asked(const unsigned char *signature, size_t len, unsigned block)
{
	return len > HEAD_LEN && u32be(signature) == MAGIC && u32be(signature + 4) == block &&
	       u32be(signature + 8) == STRONG_LEN && (len - HEAD_LEN) % SUM_LEN == 0 &&
	       (len - HEAD_LEN) / SUM_LEN <= RDIFF_BLOCKS_MAX;
}

static int load(struct rdiff_job *job, const void *signature, size_t len)
{
	rs_buffers_t io = { .next_in = (char *)signature, .avail_in = len, .eof_in = 1 };
	rs_job_t *rs = rs_loadsig_begin(&job->sums);
	rs_result result = rs_job_iter(rs, &io);

	(void)rs_job_free(rs);	/* it tells nothing */
	if (result != RS_DONE)
		return result == RS_MEM_ERROR ? -ENOMEM : -EBADMSG;
	result = rs_build_hash_table(job->sums);
	return result == RS_DONE ? 0 : -ENOMEM;
}

int rdiff_delta(const void *signature, size_t len, unsigned block, rdiff_input *new, void *arg,
		struct rdiff_job **ret_job)
{
	struct rdiff_job *job;
	int err;

	if (!is_as_asked(signature, len, block))
		return -EBADMSG;
	err = job_new(new, arg, &job);
	if (err)
		return err;
	err = load(job, signature, len);
	if (err) {
		rdiff_free(job);
		return err;
	}
	job->rs = rs_delta_begin(job->sums);
	*ret_job = job;
	return 0;
}

static rs_result copy(void *arg, rs_long_t pos, size_t *len, void **data)
{
	struct rdiff_job *job = arg;
	ssize_t n = job->old(job->arg, (uint64_t)pos, *data, *len);

	if (n < 0) {
		job->old_err = (int)n;
		return RS_IO_ERROR;
	}
	*len = (size_t)n;
	return n ? RS_DONE : RS_INPUT_ENDED;
}

int rdiff_patch(rdiff_input *delta, ssize_t (*old)(void *arg, uint64_t pos, void *data, size_t len), void *arg,
		struct rdiff_job **ret_job)
{
	struct rdiff_job *job;
	int err = job_new(delta, arg, &job);

	if (err)
		return err;
	job->old = old;
	job->rs = rs_patch_begin(copy, job);
	*ret_job = job;
	return 0;
}

/* ---- pulling ---- */

static int take_input(struct rdiff_job *job)
{
	ssize_t n;

	memmove(job->in, job->in + job->in_at, job->in_len);
	job->in_at = 0;
	if (job->in_len == INPUT)
		return -EBADMSG;	/* it takes nothing, whatever there is */
	n = job->input(job->arg, job->in + job->in_len, INPUT - job->in_len);
	if (n < 0)
		return (int)n;
	job->in_len += (size_t)n;
	job->is_end = !n;
	return 0;
}

static int run(struct rdiff_job *job, rs_buffers_t *rs)
{
	rs_result result;

	rs->next_in = (char *)job->in + job->in_at;
	rs->avail_in = job->in_len;
	rs->eof_in = job->is_end;
	result = rs_job_iter(job->rs, rs);
	job->in_at = (size_t)((unsigned char *)rs->next_in - job->in);
	job->in_len = rs->avail_in;
	return result == RS_IO_ERROR && job->old_err ? job->old_err : to_errno(result);
}

int rdiff_pull(struct rdiff_job *job, void *data, size_t max, size_t *ret_n)
{
	rs_buffers_t rs = { .next_out = data, .avail_out = max };
	int got = 0;

	for (;;) {
		if (!job->in_len && !job->is_end)
			got = take_input(job);
		if (!got)
			got = run(job, &rs);
		if (got || !rs.avail_out)
			break;
		/* There is room: so it waits for input. */
		got = job->is_end ? -EBADMSG : take_input(job);
		if (got)
			break;
	}
	*ret_n = max - rs.avail_out;
	return got;
}

void rdiff_free(struct rdiff_job *job)
{
	if (!job)
		return;
	if (job->rs)
		(void)rs_job_free(job->rs);	/* it tells nothing */
	if (job->sums)
		rs_free_sumset(job->sums);
	free(job);
}
