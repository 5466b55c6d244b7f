/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * request: one HTTP request from its head to its answer, and what handlers do with it.
 *
 * A handler gives
 *	0	it has answered (request_answer...());
 *	> 0	that HTTP status, with the sentence that request_refuse() noted;
 *	< 0	-errno, which http_status() (route.h) turns into a status and a sentence.
 *
 * Threads: a request belongs to its connection's thread.
 */
#ifndef HTTPD_REQUEST_H
#define HTTPD_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/compress.h"
#include "httpd/tree.h"
#include "httpd/upload.h"

#define REQUEST_ARGS 2
#define REQUEST_ARG_MAX 80	/* bytes of a part of a path, with its NUL */

/* What all requests of one server share. */
struct request_shared {
	struct tree *tree;
	pthread_mutex_t lock;
	/* under lock */
	uint64_t reserved;	/* bytes of bodies held in memory */
	unsigned polls;		/* connections that wait for the journal */
	unsigned signatures;	/* files being signed or patched */
	unsigned turns;		/* that wait for their turn (turn.h) */
	unsigned active;	/* requests that are not answered to the end */
	pthread_cond_t idle;	/* active has become 0 */
};

struct request {
	struct request_shared *shared;
	struct tree *tree;
	struct MHD_Connection *connection;
	const struct route *route;	/* NULL: none of the table fits */
	char arg[REQUEST_ARGS][REQUEST_ARG_MAX];	/* what stands for the pattern's stars */
	char allow[64];		/* 405: the methods that would do */
	int error;		/* what a handler gave while the body was still to come */
	const char *why;	/* for people, with a status of 400 and up */
	unsigned retry_after_s;	/* 0: not said */
	struct MHD_Response *response;	/* the answer, once there is one */
	unsigned status;
	uint64_t dropped;	/* bytes of a body that nobody wants */
	uint64_t reserved;	/* its part of shared->reserved */
	struct unpack *unpack;	/* its body is packed */
	/* replay */
	struct buf body;
	/* stage */
	struct upload *upload;
};

struct request *request_new(struct request_shared *shared, struct MHD_Connection *connection);
void request_free(struct request *request);

/* ---- what it asks ---- */

/* The value of ?name=, or NULL. */
const char *request_param(struct request *request, const char *name);
const char *request_header(struct request *request, const char *name);
/* A decimal number up to max: 0 when it is absent or good (absent: *ret stays), else 400. */
int request_number(struct request *request, const char *name, uint64_t max, uint64_t *io_value);
/* 16 lower-case hex digits, not 0.  0 or -EINVAL. */
int request_parse_client(const char *text, uint64_t *ret_client);
bool request_wants_json(struct request *request);
/* The peer has hung up (or will send nothing more). */
bool request_is_left(struct request *request);

/*
 * Count so many bytes of memory in all as this request's, or refuse it for now (503): what all peers together make
 * the server hold is bounded.
 */
int request_reserve(struct request *request, uint64_t bytes);

/* Be one of 'most' at shared->COUNTER; false: there are enough.  Then request_leave(), once. */
bool request_enter(struct request_shared *shared, unsigned *counter, unsigned most);
void request_leave(struct request_shared *shared, unsigned *counter);

/* Its body may be packed: look at its head before any of it is taken.  0, 415, -ENOMEM. */
int request_begin_body(struct request *request);
/* The next bytes of the body as they came: sink gets them as they are meant.  -EBADMSG, -ENOMEM, and what sink gives. */
int request_take_body(struct request *request, const void *data, size_t len,
		      int (*sink)(void *request, const void *data, size_t len));
/* All of it has come.  -EBADMSG: it is cut short. */
int request_end_body(const struct request *request);

/* ---- what it gets ---- */

/* why must live for ever; gives status. */
int request_refuse(struct request *request, unsigned status, const char *why);

/* Headers of the answer are added to request->response, which each of the following sets. */
int request_answer_empty(struct request *request, unsigned status);
int request_answer_text(struct request *request, unsigned status, const char *text);
/* Takes the bytes out of buf. */
int request_answer_buf(struct request *request, unsigned status, const char *type, struct buf *buf);
/* size MHD_SIZE_UNKNOWN: until read says so.  free_arg is called in any case. */
int request_answer_stream(struct request *request, unsigned status, const char *type, uint64_t size, size_t block,
			  MHD_ContentReaderCallback read, void *arg, void (*free_arg)(void *arg));
int request_add_header(struct request *request, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
