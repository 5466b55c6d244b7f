/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http_internal: what the files http*.c have of each other. */
#ifndef REPLICATE_HTTP_INTERNAL_H
#define REPLICATE_HTTP_INTERNAL_H

#include "replicate/http.h"

/* http_errno.c: of an answer; as http_errno(). */
int http_status_errno(long status);

/* http_socket.c: have curl's sockets and timer watched by the loop. */
void http_socket_setup(struct http *http);
/* For CURLOPT_SOCKOPTFUNCTION. */
int http_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose);

/* http_flow.c: begin, now or when it may.  Not 0: no memory. */
int http_flow_start(struct http_request *request);
/* For CURLOPT_READFUNCTION and CURLOPT_SEEKFUNCTION. */
size_t http_body_goes(char *to, size_t size, size_t n, void *arg);
int http_body_seek(void *arg, curl_off_t offset, int origin);
/* May so many bytes of its answer come now?  If not it is paused. */
bool http_body_may_come(struct http_request *request, size_t n);
/* It ended well: what it tells of the link. */
void http_measure(struct http_request *request);
/* It ended, however. */
void http_flow_end(struct http_request *request);
void http_flow_setup(struct http *http);

/* http.c: what has ended since curl was last called. */
void http_look_for_ended(struct http *http);

#endif
