/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/contents.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "cache/apply.h"

static void release_came(struct contents *contents)
{
	for (size_t i = 0; i < contents->n_came; i++)
		kml_given_release(&contents->came[i].given);
	contents->n_came = 0;
}

static void drop(struct contents *contents)
{
	release_came(contents);
	frames_release(&contents->frames);
	buf_release(&contents->body);
}

/* What has come goes to the cache.  -ENOSPC: more is of no use; -ECANCELED: the cache is not able to. */
static int give(struct contents *contents)
{
	struct apply_whole wholes[CONTENTS_MOST];
	int result = FAULT("contents.apply") ? -ECANCELED : 0;

	if (!contents->n_came || result)
		return result;
	for (size_t i = 0; i < contents->n_came; i++) {
		const struct kml_given *given = &contents->came[i].given;

		wholes[i] = (struct apply_whole){ .ino = contents->wishes[contents->came[i].i].ino, .version = given->data_version,
						  .data = given->bytes.bytes_val, .len = given->bytes.bytes_len };
	}
	apply_contents(contents->cache, wholes, contents->n_came);
	for (size_t i = 0; i < contents->n_came; i++) {
		const struct apply_whole *whole = &wholes[i];

		if (whole->err && whole->err != -ESTALE) {
			result = whole->err == -ENOSPC ? -ENOSPC : -ECANCELED;
			continue;
		}
		contents->given += whole->err ? 0 : whole->len;
		contents->is_answered[contents->came[i].i] = true;
		apply_content_end(contents->cache, whole->ino, whole->version, 0, whole->err);
	}
	release_came(contents);
	return result;
}

static bool is_for(const struct kml_given *given, const struct fetch_range *wish)
{
	return kml_oid_equal(given->oid, wish->oid) && given->data_version == wish->version;
}

static int frame_came(void *arg, struct slice body)
{
	struct contents *contents = arg;
	struct contents_came *came = &contents->came[contents->n_came];
	size_t i = contents->next;
	int err;

	if (i == contents->n)
		return -EBADMSG;	/* more than was asked for */
	err = kml_given_decode(body.data, body.len, &came->given);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	while (i < contents->n && !is_for(&came->given, &contents->wishes[i]))
		i++;
	if (i == contents->n || came->given.bytes.bytes_len != contents->wishes[i].len) {
		kml_given_release(&came->given);
		return -EBADMSG;	/* what was not asked for */
	}
	came->i = i;
	contents->next = i + 1;
	contents->n_came++;
	return 0;
}

static int bytes_came(struct http_request *request, const void *data, size_t len)
{
	struct contents *contents = container_of(request, struct contents, request);
	int err = frames_feed(&contents->frames, data, len, frame_came, contents);
	int give_err = give(contents);

	return err ? err : give_err;
}

static void ended(struct http_request *request, int err)
{
	struct contents *contents = container_of(request, struct contents, request);

	if (!err && !contents->frames.is_ended)
		err = -ECONNRESET;
	/* There is somebody, so this is no loss of the link: what is left is asked for again, or left alone. */
	if (err == -ECONNRESET && request->status >= 200 && request->status < 300)
		err = -ENODATA;
	contents->is_unknown = err && (request->status == 404 || request->status == 405);
	log_debug(LOG_FETCH, "fetch: contents of %zu files: bytes=%" PRIu64 " err=%d", contents->n, contents->given, err);
	drop(contents);
	contents->done(contents, err);
}

static int encode_wishes(struct contents *contents)
{
	struct kml_wish list[CONTENTS_MOST];
	struct kml_wishes wishes = { { (u_int)contents->n, list } };

	for (size_t i = 0; i < contents->n; i++)
		list[i] = (struct kml_wish){ contents->wishes[i].oid, contents->wishes[i].version };
	return kml_wishes_encode(&contents->body, &wishes);
}

int contents_start(struct contents *contents)
{
	struct http_request *request = &contents->request;
	int err;

	memset(contents->is_answered, 0, sizeof(contents->is_answered));
	contents->given = 0;
	contents->is_unknown = false;
	contents->n_came = contents->next = 0;
	frames_init(&contents->frames);
	buf_init(&contents->body, 0);
	err = encode_wishes(contents);
	request->method = "POST";
	request->content_type = "application/x-izo-kml";
	request->body = contents->body.data;
	request->body_len = contents->body.len;
	request->sink = bytes_came;
	request->done = ended;
	snprintf(request->path, sizeof(request->path), "/izo/v1/contents");
	if (!err)
		err = http_start(contents->http, request);
	if (err)
		drop(contents);
	return err ? -ENOMEM : 0;
}

void contents_cancel(struct contents *contents)
{
	http_cancel(&contents->request);
	drop(contents);
}

void contents_release(struct contents *contents)
{
	drop(contents);
	http_request_release(&contents->request);
}
