/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/patch.h"

#include <blake2.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/rdiff.h"
#include "httpd/content.h"
#include "httpd/signature.h"

#define PIECE (64u << 10)
#define LOOK_PIECES 64		/* between two looks whether anybody still wants it */

/* ---- from three files ---- */

struct patching {
	int old, delta;
	uint64_t delta_at;
};

static ssize_t read_delta(void *arg, void *data, size_t len)
{
	struct patching *patching = arg;
	ssize_t n = fs_pread_full(patching->delta, data, len, patching->delta_at);

	if (n > 0)
		patching->delta_at += (uint64_t)n;
	return n;
}

static ssize_t read_old(void *arg, uint64_t pos, void *data, size_t len)
{
	const struct patching *patching = arg;
	int err = FAULT("patch.read");

	if (pos > INT64_MAX - len)
		return -EBADMSG;	/* behind the end of any file */
	return err ? err : fs_pread_full(patching->old, data, len, pos);
}

static bool is_zeros(const unsigned char *data, size_t len)
{
	return !data[0] && !memcmp(data, data + 1, len - 1);
}

static int put(int to, const unsigned char *data, size_t len, uint64_t at)
{
	int err = FAULT("patch.write");

	if (err || is_zeros(data, len))
		return err;
	return fs_pwrite_all(to, data, len, at);
}

static int pull_all(struct rdiff_job *job, int to, uint64_t size, bool (*is_over)(void *arg), void *arg,
		    unsigned char hash[PATCH_HASH])
{
	unsigned char data[PIECE];
	blake2b_state state;
	uint64_t at = 0;
	size_t n;
	int got, err;

	if (blake2b_init(&state, PATCH_HASH))
		return -EIO;
	for (unsigned i = 0;; i++) {
		if (i % LOOK_PIECES == 0 && is_over(arg))
			return -ECANCELED;
		got = rdiff_pull(job, data, sizeof(data), &n);
		if (got < 0)
			return got;
		if (n > size - at)
			return -EBADMSG;
		err = n ? put(to, data, n, at) : 0;
		if (!err && n && blake2b_update(&state, data, n))
			err = -EIO;
		if (err)
			return err;
		at += n;
		if (got)
			break;
	}
	if (at != size)
		return -EBADMSG;
	if (ftruncate(to, (off_t)size) < 0)	/* behind the last hole */
		return -errno;
	return blake2b_final(&state, hash, PATCH_HASH) ? -EIO : 0;
}

int patch_file(int old, int delta, int to, uint64_t size, bool (*is_over)(void *arg), void *arg,
	       unsigned char ret_hash[PATCH_HASH])
{
	struct patching patching = { .old = old, .delta = delta };
	struct rdiff_job *job;
	int err = rdiff_patch(read_delta, read_old, &patching, &job);

	if (err)
		return err;
	err = pull_all(job, to, size, is_over, arg, ret_hash);
	rdiff_free(job);
	return err;
}

/* ---- the request ---- */

struct patch {
	uint64_t client, size;
	const char *delta, *content;	/* keys */
	unsigned char hash[PATCH_HASH];
	char temporary[KML_KEY_MAX + 64];
};

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hash(const char *text, unsigned char hash[PATCH_HASH])
{
	if (!text || strlen(text) != 2 * PATCH_HASH)
		return -EINVAL;
	for (size_t i = 0; i < PATCH_HASH; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		hash[i] = (unsigned char)(high << 4 | low);
	}
	return 0;
}

static int parse(struct request *request, struct patch *patch)
{
	const char *client = request_param(request, "client");

	*patch = (struct patch){ .delta = request_param(request, "delta"),
				 .content = request_param(request, "content") };
	if (!client || request_parse_client(client, &patch->client))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "client is not 16 lower-case hex digits (and not 0)");
	if (!patch->delta || !patch->content || !upload_key_is_good(patch->delta) ||
	    !upload_key_is_good(patch->content) || !strcmp(patch->delta, patch->content))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "delta and content are not two keys, 1 to 64 of A-Z a-z 0-9 _ - each");
	if (parse_hash(request_param(request, "blake2b"), patch->hash))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST, "blake2b is not 64 lower-case hex digits");
	if (!request_param(request, "size"))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST, "size is missing");
	/* Browsers send this header to other sites only after asking, as with the Content-Type of a batch. */
	if (!request_header(request, MHD_HTTP_HEADER_IF_MATCH))
		return request_refuse(request, MHD_HTTP_BAD_REQUEST,
				      "If-Match must say of which version it is a difference");
	return request_number(request, "size", INT64_MAX, &patch->size);
}

static int refuse_version(struct request *request)
{
	return request_refuse(request, MHD_HTTP_PRECONDITION_FAILED, "it has another version by now");
}

static bool is_unwanted(void *arg)
{
	struct request *request = arg;

	return tree_is_stopping(request->tree) || request_is_left(request);
}

/* From the old version to the file 'to', synced; with the right hash. */
static int make_content(struct request *request, const struct patch *patch, struct opened *opened, int delta,
			int to)
{
	unsigned char hash[PATCH_HASH];
	int err = patch_file(opened->fd, delta, to, patch->size, is_unwanted, request, hash);

	if (!err && memcmp(hash, patch->hash, sizeof(hash)))
		err = -EBADMSG;
	if (err == -EBADMSG && opened_still_same(opened))
		return refuse_version(request);
	if (err == -EBADMSG)
		return request_refuse(request, MHD_HTTP_BAD_REQUEST, "the delta does not make that content");
	if (err)
		return err == -ECANCELED ? -ESHUTDOWN : err;
	err = FAULT("patch.sync");
	if (!err && fdatasync(to) < 0)
		err = -errno;
	return err;
}

static int apply(struct request *request, const struct patch *patch, struct opened *opened)
{
	struct tree *tree = request->tree;
	char name[KML_KEY_MAX + 32];
	AUTO_CLOSE int delta = -1;
	AUTO_CLOSE int to = -1;
	int err;

	upload_seal(tree, patch->client, patch->delta, name);
	delta = openat(tree->stage_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (delta < 0)
		return -errno;
	err = tree_has_room_to_stage(tree, patch->size);
	if (err)
		return err;
	to = openat(tree->stage_fd, patch->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	err = make_content(request, patch, opened, delta, to);
	if (!err)
		err = FAULT("patch.place");
	if (!err)
		err = upload_place(tree, patch->client, patch->content, patch->temporary);
	if (err)
		(void)unlinkat(tree->stage_fd, patch->temporary, 0);	/* at the next start then */
	return err;
}

static int find_and_apply(struct request *request, struct patch *patch)
{
	struct opened opened;
	int err;

	err = content_open(request, &opened);
	if (err)
		return err;
	/* Two requests for the same content, of which the first is being given up, must not meet in one file. */
	snprintf(patch->temporary, sizeof(patch->temporary), "patch-%016llx-%s-%llx", (unsigned long long)patch->client,
		 patch->content, (unsigned long long)(uintptr_t)request);
	if (!content_has_tag(request_header(request, MHD_HTTP_HEADER_IF_MATCH), opened.object.data_version))
		err = refuse_version(request);
	else
		err = apply(request, patch, &opened);
	opened_close(&opened);
	return err;
}

int patch_answer(struct request *request)
{
	struct patch patch;
	int err;

	err = parse(request, &patch);
	if (!err)
		err = signature_enter(request);
	if (err)
		return err;
	err = find_and_apply(request, &patch);
	signature_leave(request->shared);
	/* Used, or of no use: it is a difference from something else. */
	if (err >= 0)
		(void)upload_delete(request->tree, patch.client, patch.delta);	/* it expires, then */
	log_debug(LOG_HTTP, "patch: client=%016llx delta=%s content=%s size=%llu err=%d",
		  (unsigned long long)patch.client, patch.delta, patch.content, (unsigned long long)patch.size, err);
	return err ? err : request_answer_empty(request, MHD_HTTP_NO_CONTENT);
}
