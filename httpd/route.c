/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/route.h"

#include <errno.h>
#include <string.h>
#include "httpd/content.h"
#include "httpd/contents.h"
#include "httpd/intake.h"
#include "httpd/listing.h"
#include "httpd/patch.h"
#include "httpd/query.h"
#include "httpd/signature.h"

/* docs/PROTOCOL.md 3 to 8 */
static const struct route routes[] = {
	{ "GET",    "/izo/v1/hello",     0,          NULL,         NULL,        query_hello },
	{ "GET",    "/izo/v1/journal",   0,          NULL,         NULL,        query_journal },
	{ "GET",    "/izo/v1/object/*",  0,          NULL,         NULL,        query_object },
	{ "GET",    "/izo/v1/list/*",    0,          NULL,         NULL,        listing_answer },
	{ "GET",    "/izo/v1/content/*", 0,          NULL,         NULL,        content_answer },
	{ "POST",   "/izo/v1/contents",  CONTENTS_MAX, contents_begin, replay_take, contents_answer },
	{ "POST",   "/izo/v1/replay",    REPLAY_MAX, replay_begin, replay_take, replay_answer },
	{ "POST",   "/izo/v1/replay/*",  REPLAY_MAX, replay_begin, replay_take, replay_answer },
	{ "PUT",    "/izo/v1/stage/*/*", INT64_MAX,  stage_begin,  stage_take,  stage_put },
	{ "GET",    "/izo/v1/stage/*/*", 0,          NULL,         NULL,        stage_get },
	{ "DELETE", "/izo/v1/stage/*/*", 0,          NULL,         NULL,        stage_delete },
	{ "GET",    "/izo/v1/signature/*", 0,        NULL,         NULL,        signature_answer },
	{ "POST",   "/izo/v1/patch/*",   0,          NULL,         NULL,        patch_answer },
};

static bool matches(const char *pattern, const char *path, char arg[REQUEST_ARGS][REQUEST_ARG_MAX])
{
	size_t n = 0;

	while (*pattern && *pattern != '*') {
		if (*pattern++ != *path++)
			return false;
	}
	if (!*pattern)
		return !*path;
	for (; *pattern == '*'; n++) {
		size_t len = strcspn(path, "/");

		if (!len || len >= REQUEST_ARG_MAX)
			return false;
		memcpy(arg[n], path, len);
		arg[n][len] = '\0';
		path += len;
		pattern++;
		if (*pattern != *path)
			return false;
		if (!*pattern)
			return true;
		pattern++;
		path++;
	}
	return false;
}

/* The methods of a path, from the rows that have it. */
static void list_methods(const char *pattern, struct request *request)
{
	struct buf buf;

	buf_init(&buf, sizeof(request->allow) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (!strcmp(routes[i].pattern, pattern))
			buf_printf(&buf, "%s%s%s", buf.len ? ", " : "", routes[i].method,
				   strcmp(routes[i].method, "GET") ? "" : ", HEAD");
	}
	memcpy(request->allow, buf.data, buf.len);
	request->allow[buf.len] = '\0';
	buf_release(&buf);
}

int route_find(struct request *request, const char *method, const char *path)
{
	const char *known = NULL;

	if (!strcmp(method, "HEAD"))
		method = "GET";
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (!matches(routes[i].pattern, path, request->arg))
			continue;
		known = routes[i].pattern;
		if (strcmp(routes[i].method, method))
			continue;
		request->route = &routes[i];
		return 0;
	}
	if (known) {
		list_methods(known, request);
		return request_refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED,
				      "this method does not work here");
	}
	if (!strncmp(path, "/izo/v", 6) && strncmp(path, "/izo/v1/", 8))
		return request_refuse(request, MHD_HTTP_NOT_FOUND,
				      "this server speaks version 1 of the izo protocol");
	return request_refuse(request, MHD_HTTP_NOT_FOUND,
			      "nothing here; /izo/v1/hello tells who this is");
}

const struct http_status *http_status(int err)
{
	static const struct http_status other = { 0, 500, "the server failed; its log says why" };
	static const struct http_status statuses[] = {
		{ -EBADMSG,         400, "malformed" },
		{ -EPROTONOSUPPORT, 400, "a record format or an operation that this server does not know: it is the older side" },
		{ -EINVAL,          400, "the parts do not fit together" },
		{ -ENOENT,          404, "there is none" },
		{ -ESTALE,          409, "another has taken over" },
		{ -ERANGE,          409, "the offset is above the size" },
		{ -EMSGSIZE,        413, "too large" },
		{ -EFBIG,           413, "too large for the server's file system" },
		{ -ENOMEM,          503, "the server is short of memory; try again" },
		{ -EBUSY,           503, "the server is busy; try again" },
		{ -EAGAIN,          503, "it is being changed; try again" },
		{ -EINTR,           503, "the server stops; try again" },
		{ -ESHUTDOWN,       503, "the server stops; try again" },
		{ -EMFILE,          503, "the server has too many files open; try again" },
		{ -ENFILE,          503, "the server has too many files open; try again" },
		{ -ENOSPC,          507, "the server's disk is full" },
		{ -EDQUOT,          507, "the server's disk quota is used up" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].error == err)
			return &statuses[i];
	return &other;
}
