/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * server: HTTP for one tree, by GNU libmicrohttpd.
 *
 * Each connection has a thread of its own: a handler may wait for the disk, the tree's lock or the journal, and
 * a slow peer holds up nobody else.  What peers can use up is bounded: connections, headers, memory for
 * bodies (request.h), time without a byte.
 *
 * No TLS and no passwords yet: whoever reaches the port may read and change everything.
 */
#ifndef HTTPD_SERVER_H
#define HTTPD_SERVER_H

#include <sys/socket.h>
#include "httpd/tree.h"

struct server;

/*
 * Listen and serve; from then on peers get answers.  Port 0: any free one.  On failure *ret_why is a
 * sentence for people (or NULL), to be freed.
 */
int server_start(struct tree *tree, const struct sockaddr *addr, socklen_t len, struct server **ret_server, char **ret_why);
/* "http://127.0.0.1:8642/" */
const char *server_url(const struct server *server);
/*
 * No new connections; who waits for the journal is answered; what is being applied is finished; all else is broken
 * off.  Makes the tree stop waiting (tree_stop_waiting()).  Frees.
 */
void server_stop(struct server *server);

#endif
