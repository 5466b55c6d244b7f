/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http: requests to one upstream: libcurl's multi interface on a loop.
 *
 * A request lives in the caller's struct.  After http_start() gave 0 it is the module's until
 * done() is called, once, or http_cancel() took it back.  head() and sink() see the answer as it
 * comes, and only one with a status of 2xx; they must not start or cancel requests, done() may.
 *
 * Threads: the loop's.  Errors: http_errno() has all that a request can end in.
 */
#ifndef REPLICATE_HTTP_H
#define REPLICATE_HTTP_H

#include <curl/curl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "replicate/flow.h"
#include "replicate/meter.h"

#define HTTP_CONNECT_S 5
#define HTTP_STALL_S 15		/* no byte either way for so long */

struct http {
	/* constant */
	struct loop *loop;
	char *base;			/* the upstream's URL without the last slash; owned */
	bool is_loopback;
	/* called with each request that ended by itself, before its done(); or NULL */
	void (*ended)(struct http *http, bool is_failure);
	/* called when one has ended, after its done(), and the meter may know more; or NULL */
	void (*measured)(struct http *http);
	/* loop thread */
	CURLM *multi;
	struct loop_timer timer;
	struct list requests;
	struct flow flow;
	struct meter meter;
	struct loop_timer flow_timer;
	uint64_t moved[FLOW_WAYS];	/* bytes of bodies, ever */
	bool says_protocol;		/* the upstream's answers say whose they are: its hello did, as those of an older izo-httpd do not */
};

#define HTTP_WAIT SSIZE_MAX
#define HTTP_LEN_UNKNOWN UINT64_MAX

struct http_request {
	/* the caller's, before http_start() */
	const char *method;		/* "GET", "POST", "PUT", "DELETE" */
	char path[320];			/* from "/izo/v1/..." on, with the query */
	char range[48];			/* "A-B", or "" */
	char if_match[24];		/* the version, or "" */
	const char *content_type;	/* of the body, or NULL */
	const char *encoding;		/* of the body: Content-Encoding, or NULL */
	const void *body;		/* borrowed until the end */
	size_t body_len;
	/*
	 * In the place of body, of a PUT: gives the next bytes, as many as there are, at most max; 0: that was all;
	 * HTTP_WAIT: there are none yet, and http_more() will be called; -errno ends the request.  What was given cannot be had again.
	 */
	ssize_t (*source)(struct http_request *request, void *to, size_t max);
	uint64_t source_len;		/* HTTP_LEN_UNKNOWN: not said */
	unsigned stall_s;		/* 0: HTTP_STALL_S */
	enum flow_class class;		/* whether somebody waits for it */
	bool is_quick;			/* what it asks for is answered at once: it tells the round trip */
	size_t answer_limit;		/* without sink: most bytes of answer; 0: 64 KiB */
	/* 0, or anything else, which ends the request with it */
	int (*head)(struct http_request *request);
	int (*sink)(struct http_request *request, const void *data, size_t len);
	/* last; the request may be started again in it */
	void (*done)(struct http_request *request, int err);

	/* the answer */
	long status;			/* 0: none came */
	bool has_position, has_etag, has_range;
	uint64_t position;		/* Izo-Position */
	uint64_t etag;
	uint64_t range_from;		/* Content-Range: its first byte */
	struct buf answer; /* without sink: the body; of an error, the start of its text */
	char trouble[160];		/* done() with err: what happened, for people */

	/* the module's */
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct list node;
	char error[CURL_ERROR_SIZE];
	int sink_err;			/* or what source gave */
	bool is_head_seen;
	bool is_source_waiting;
	size_t body_at;			/* so much of the body has gone */
	bool is_held, has_begun;	/* curl does not have it yet; flow.h knows of it */
	bool was_paused;
	unsigned paused;		/* bits 1 << enum flow_way */
	uint64_t waits_since_us;	/* 0: it does not */
	uint64_t first_us[FLOW_WAYS];	/* when its body began to move; 0: not yet */
	uint64_t moved_before[FLOW_WAYS];	/* of http->moved then */
	bool is_izo;			/* Izo-Protocol: the answer is an izo-httpd's */
	bool has_work;			/* Server-Timing: how long the server worked */
	uint64_t work_us;
};

/* url: "http://..." or "https://...".  -EINVAL: not a URL of ours. */
int http_init(struct http *http, struct loop *loop, const char *url);
/* No request may be under way. */
void http_release(struct http *http);

/* -ENOMEM: done() is not called. */
int http_start(struct http *http, struct http_request *request);
/* Its source has bytes again, or is at its end. */
void http_more(struct http_request *request);
/* Take back; done() is not called.  One that is not under way is left alone. */
void http_cancel(struct http_request *request);
bool http_is_active(const struct http_request *request);
/* Limits for all requests together, and the share of what nobody waits for: as in flow.h. */
void http_limit(struct http *http, enum flow_way way, uint64_t rate);
void http_set_share(struct http *http, unsigned share);
/* Free what the last answer left.  Not while it is under way. */
void http_request_release(struct http_request *request);

/*
 * What a request's end means.  code: curl's; status: HTTP's, 0 when none came.
 *	0 2xx | -EINVAL 400 | -EACCES 401, 403 | -ENOENT 404 | -EBADE 409 | -EIDRM 410 |
 *	-ESTALE 412 | -EMSGSIZE 413 | -ERANGE 416 | -EAGAIN 408, 429, 502, 503, 504 |
 *	-ENOSPC 507 | -EREMOTEIO other 5xx | -EPROTO any other status
 * and of curl:
 *	-EHOSTUNREACH no such host | -ECONNREFUSED nobody listens | -ETIMEDOUT |
 *	-ECONNRESET it broke off | -EKEYREJECTED TLS says no | -EPROTO not HTTP |
 *	-ECANCELED a callback of ours stopped it | -EINVAL a URL that cannot be | -ENOMEM |
 *	-EIO anything else
 */
int http_errno(CURLcode code, long status);
/* Does that error say that there is no link (rather than that this one request is no good)? */
bool http_is_lost(int err);

#endif
