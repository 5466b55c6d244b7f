/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a request's end means; bodies of frames; what a hello may say; URLs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "replicate/hello.h"
#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

/* ---- errno ---- */

static void every_status(void **state)
{
	static const struct {
		long status;
		int err;
	} cases[] = {
		{ 400, -EINVAL }, { 401, -EACCES }, { 403, -EACCES }, { 404, -ENOENT },
		{ 408, -EAGAIN }, { 409, -EBADE }, { 410, -EIDRM }, { 412, -ESTALE },
		{ 413, -EMSGSIZE }, { 416, -ERANGE }, { 429, -EAGAIN }, { 502, -EAGAIN },
		{ 503, -EAGAIN }, { 504, -EAGAIN }, { 507, -ENOSPC },
	};

	(void)state;
	for (long status = -1; status < 1000; status++) {
		int want = status >= 200 && status < 300 ? 0 :
			   status >= 500 && status < 600 ? -EREMOTEIO : -EPROTO;

		for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
			if (cases[i].status == status)
				want = cases[i].err;
		if (http_errno(CURLE_OK, status) != want)
			fail_msg("status %ld: %d", status, http_errno(CURLE_OK, status));
	}
}

static void every_curl_code(void **state)
{
	(void)state;
	for (int code = 0; code < CURL_LAST; code++) {
		int err = http_errno((CURLcode)code, 200);

		if (code == CURLE_OK)
			assert_int_equal(err, 0);
		else if (err >= 0 || err < -4095)
			fail_msg("curl %d (%s): %d", code, curl_easy_strerror((CURLcode)code), err);
		/* whatever came before the break does not make it good */
		assert_int_equal(http_errno((CURLcode)code, 0) == 0, false);
	}
	assert_int_equal(http_errno(CURLE_COULDNT_CONNECT, 0), -ECONNREFUSED);
	assert_int_equal(http_errno(CURLE_COULDNT_RESOLVE_HOST, 0), -EHOSTUNREACH);
	assert_int_equal(http_errno(CURLE_OPERATION_TIMEDOUT, 0), -ETIMEDOUT);
	assert_int_equal(http_errno(CURLE_PARTIAL_FILE, 206), -ECONNRESET);
	assert_int_equal(http_errno(CURLE_GOT_NOTHING, 0), -ECONNRESET);
	assert_int_equal(http_errno(CURLE_PEER_FAILED_VERIFICATION, 0), -EKEYREJECTED);
	assert_int_equal(http_errno(CURLE_WRITE_ERROR, 200), -ECANCELED);
	assert_int_equal(http_errno(CURLE_UNSUPPORTED_PROTOCOL, 0), -EINVAL);
	assert_int_equal(http_errno(CURLE_WEIRD_SERVER_REPLY, 0), -EPROTO);
}

/* One request that is no good is no loss of the link; no answer, or an answer of "later", is. */
static void what_loses_the_link(void **state)
{
	static const int lost[] = { -EHOSTUNREACH, -ECONNREFUSED, -ETIMEDOUT, -ECONNRESET,
				    -EKEYREJECTED, -EPROTO, -EAGAIN, -EIO };
	static const int kept[] = { 0, -EINVAL, -EACCES, -ENOENT, -EBADE, -EIDRM, -ESTALE,
				    -EMSGSIZE, -ERANGE, -ENOSPC, -EREMOTEIO, -ECANCELED, -ENOMEM,
				    -EBADMSG, -ENODATA };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lost); i++)
		assert_true(http_is_lost(lost[i]));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		assert_false(http_is_lost(kept[i]));
}

static void urls(void **state)
{
	static const struct {
		const char *url;
		int err;
		const char *base;
	} cases[] = {
		{ "http://127.0.0.1:8642/", 0, "http://127.0.0.1:8642" },
		{ "http://127.0.0.1:8642", 0, "http://127.0.0.1:8642" },
		{ "https://server.example/a/b//", 0, "https://server.example/a/b" },
		{ "http://[::1]:8642/", 0, "http://[::1]:8642" },
		{ "ftp://server/", -EINVAL, NULL },
		{ "file:///etc/passwd", -EINVAL, NULL },
		{ "server:8642", -EINVAL, NULL },
		{ "", -EINVAL, NULL },
		{ "http://", -EINVAL, NULL },
		{ "http://server/?a=b", -EINVAL, NULL },
		{ "http://server/#a", -EINVAL, NULL },
		{ "http://server:99999/", -EINVAL, NULL },
	};
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http http;
		int err = http_init(&http, loop, cases[i].url);

		if (err != cases[i].err)
			fail_msg("'%s': %d", cases[i].url, err);
		if (err)
			continue;
		assert_string_equal(http.base, cases[i].base);
		http_release(&http);
	}
	loop_free(loop);
}

/* ---- frames ---- */

struct seen {
	char text[64];
	int n, fail_at;
};

static int frame(void *arg, struct slice body)
{
	struct seen *seen = arg;

	if (++seen->n == seen->fail_at)
		return -EIO;
	strncat(seen->text, body.data, body.len);
	strcat(seen->text, "|");
	return 0;
}

static const char three[] = "\0\0\0\2ab\0\0\0\1c\0\0\0\3def\0\0\0";

/* However it is cut into pieces. */
static void frames_in_pieces(void **state)
{
	size_t len = sizeof(three);	/* the string's NUL is the end frame's last byte */

	(void)state;
	for (size_t a = 0; a <= len; a++) {
		for (size_t b = a; b <= len; b++) {
			struct frames frames;
			struct seen seen = { 0 };

			frames_init(&frames);
			assert_int_equal(frames_feed(&frames, three, a, frame, &seen), 0);
			assert_int_equal(frames_feed(&frames, three + a, b - a, frame, &seen), 0);
			assert_int_equal(frames.is_ended, b == len);
			assert_int_equal(frames_feed(&frames, three + b, len - b, frame, &seen), 0);
			assert_true(frames.is_ended);
			assert_string_equal(seen.text, "ab|c|def|");
			frames_release(&frames);
		}
	}
}

static void frames_that_are_none(void **state)
{
	struct frames frames;
	struct seen seen = { .fail_at = 2 };

	(void)state;
	frames_init(&frames);
	assert_int_equal(frames_feed(&frames, "<html>", 6, frame, &seen), -EBADMSG);
	frames_release(&frames);
	frames_init(&frames);
	assert_int_equal(frames_feed(&frames, "\0\0\0\0x", 5, frame, &seen), -EBADMSG);
	frames_release(&frames);
	frames_init(&frames);
	assert_int_equal(frames_feed(&frames, three, sizeof(three), frame, &seen), -EIO);
	assert_false(frames.is_ended);
	frames_release(&frames);
}

/* ---- hello ---- */

static void hellos(void **state)
{
	static const struct {
		const char *json;
		int err;
	} cases[] = {
		{ "{\"izo\":1,\"id\":\"u\",\"position\":5,\"oldest\":2,\"last_seq\":7,\"host\":"
		  "\"h\"}",
		  0 },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":0,\"oldest\":1}", 0 },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":0,\"oldest\":1,\"new\":[1]}", 0 },
		{ "", -EPROTO },
		{ "<html></html>", -EPROTO },
		{ "[]", -EPROTO },
		{ "{}", -EPROTO },
		{ "{\"izo\":2,\"id\":\"u\",\"position\":0,\"oldest\":1}", -EPROTO },
		{ "{\"izo\":\"1\",\"id\":\"u\",\"position\":0,\"oldest\":1}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"\",\"position\":0,\"oldest\":1}", -EPROTO },
		{ "{\"izo\":1,\"id\":7,\"position\":0,\"oldest\":1}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"0123456789012345678901234567890123456789\",\"position\":0,"
		  "\"oldest\":1}",
		  -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"oldest\":1}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":-1,\"oldest\":1}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":1.5,\"oldest\":1}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":0,\"oldest\":1,\"last_seq\":\"x\"}",
		  -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":5,\"oldest\":1,\"mark\":\"00000000000000ff\",\"known_mark\":\"fedcba9876543210\"}", 0 },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":5,\"oldest\":1,\"mark\":255}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":5,\"oldest\":1,\"mark\":\"ff\"}", -EPROTO },
		{ "{\"izo\":1,\"id\":\"u\",\"position\":5,\"oldest\":1,\"known_mark\":\"00000000000000fg\"}", -EPROTO },
	};
	struct hello hello;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (hello_parse(cases[i].json, strlen(cases[i].json), 3, &hello, &why) != cases[i].err)
			fail_msg("%s", cases[i].json);
	assert_int_equal(hello_parse(cases[0].json, strlen(cases[0].json), 3, &hello, &why), 0);
	assert_string_equal(hello.id, "u");
	assert_int_equal(hello.position, 5);
	assert_int_equal(hello.oldest, 2);
	assert_int_equal(hello.last_seq, 7);
	assert_int_equal(hello.mark.position, 0);
	assert_int_equal(hello.known_mark.position, 0);
	assert_int_equal(hello_parse(cases[16].json, strlen(cases[16].json), 3, &hello, &why), 0);
	assert_int_equal(hello.mark.position, 5);
	assert_int_equal(hello.mark.value, 255);
	assert_int_equal(hello.known_mark.position, 3);
	assert_int_equal(hello.known_mark.value, 0xfedcba9876543210);
	assert_int_equal(hello_parse(NULL, 0, 3, &hello, &why), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status),
		cmocka_unit_test(every_curl_code),
		cmocka_unit_test(what_loses_the_link),
		cmocka_unit_test(urls),
		cmocka_unit_test(frames_in_pieces),
		cmocka_unit_test(frames_that_are_none),
		cmocka_unit_test(hellos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
