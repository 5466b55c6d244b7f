/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * route: which handler answers what; and errors as HTTP statuses.
 */
#ifndef HTTPD_ROUTE_H
#define HTTPD_ROUTE_H

#include "httpd/request.h"

struct route {
	const char *method;	/* GET is for HEAD too */
	const char *pattern;	/* of a path; a star stands for one part, which becomes request->arg[] */
	uint64_t body_max;	/* bytes; a longer body is refused before it is read */
	/* The head is there, the body is to come; may be NULL. */
	int (*begin)(struct request *request);
	/* A piece of the body; NULL: a body is read and dropped. */
	int (*take)(struct request *request, const void *data, size_t len);
	/* All is there. */
	int (*answer)(struct request *request);
};

/* Sets request->route and arg; or gives 404, or 405 with request->allow. */
int route_find(struct request *request, const char *method, const char *path);

/* The status and the sentence that an error (-errno) of a handler is answered with. */
struct http_status {
	int error;
	unsigned status;
	const char *why;
};
const struct http_status *http_status(int err);

#endif
