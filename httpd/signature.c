/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/signature.h"

#include <errno.h>
#include <string.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/rdiff.h"
#include "httpd/content.h"

#define PIECE (16u << 10)	/* of the signature, that of some 13 MB with blocks of 16 KiB */

struct signing {
	struct request_shared *shared;
	struct opened opened;
	struct rdiff_job *job;
	uint64_t at;		/* of the file: read so far */
};

/* ---- how many at once ---- */

int signature_enter(struct request *request)
{
	if (request_enter(request->shared, &request->shared->signatures, SIGNATURES_MAX))
		return 0;
	request->retry_after_s = 2;
	return request_refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE,
			      "too many files are being compared; try again in a moment");
}

void signature_leave(struct request_shared *shared)
{
	request_leave(shared, &shared->signatures);
}

/* ---- sending ---- */

static ssize_t read_file(void *arg, void *data, size_t len)
{
	struct signing *signing = arg;
	ssize_t n;
	int err = FAULT("signature.read");

	if (!err && tree_is_stopping(signing->opened.tree))
		err = -ESHUTDOWN;
	n = err ? err : fs_pread_full(signing->opened.fd, data, len, signing->at);
	if (n < 0)
		return n;
	err = opened_still_same(&signing->opened);
	if (err)
		return err == -EAGAIN ? -ESTALE : err;
	signing->at += (uint64_t)n;
	return n;
}

static ssize_t signing_read(void *arg, uint64_t pos, char *to, size_t max)
{
	struct signing *signing = arg;
	size_t n;
	int got = rdiff_pull(signing->job, to, max, &n);

	(void)pos;	/* it comes in order */
	if (got >= 0 && n)
		return (ssize_t)n;
	if (got != -ESTALE && got != -ESHUTDOWN)
		log_warn("signature broken off: object=%lld offset=%llu: %s",
			 (long long)signing->opened.object.id, (unsigned long long)signing->at, strerror(-got));
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static void signing_free(void *arg)
{
	struct signing *signing = arg;

	rdiff_free(signing->job);
	opened_close(&signing->opened);
	signature_leave(signing->shared);
	free(signing);
}

/* Takes over signing. */
static int send_signature(struct request *request, struct signing *signing, unsigned block)
{
	uint64_t version = signing->opened.object.data_version;
	int err;

	err = rdiff_sign(block, read_file, signing, &signing->job);
	if (err) {
		signing_free(signing);
		return err;
	}
	err = request_answer_stream(request, MHD_HTTP_OK, "application/octet-stream",
				    rdiff_signature_len(signing->opened.was.attr.size, block), PIECE,
				    signing_read, signing, signing_free);
	if (!err)
		err = request_add_header(request, MHD_HTTP_HEADER_ETAG, "\"%llu\"", (unsigned long long)version);
	return err;
}

int signature_answer(struct request *request)
{
	struct signing *signing;
	uint64_t block = 0;
	int err;

	err = request_number(request, "block", RDIFF_BLOCK_MAX, &block);
	if (!err)
		err = signature_enter(request);
	if (err)
		return err;
	signing = calloc(1, sizeof(*signing));
	if (!signing) {
		signature_leave(request->shared);
		return -ENOMEM;
	}
	signing->shared = request->shared;
	err = content_open(request, &signing->opened);
	if (!err && !rdiff_is_block(block, signing->opened.was.attr.size))
		err = request_refuse(request, MHD_HTTP_BAD_REQUEST,
				     "block must be a power of two, 512 to 1048576, and not too small for the file");
	if (!err)
		return send_signature(request, signing, (unsigned)block);
	signing_free(signing);
	return err;
}
