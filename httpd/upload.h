/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * upload: contents that clients send ahead, .intermezzo/stage/up-CLIENT-KEY (docs/PROTOCOL.md 8).
 *
 * A key has at most one writer: a new PUT takes over from one that hangs, and so does the store
 * that uses the file; the older one then gets -ESTALE from its next write.
 *
 * Threads: any.
 */
#ifndef HTTPD_UPLOAD_H
#define HTTPD_UPLOAD_H

#include "httpd/tree.h"

#define UPLOAD_KEPT_S (7 * 86400)

struct upload;

/* Cut the file to offset (-ERANGE: it is shorter) and be its writer. */
int upload_open(struct tree *tree, uint64_t client, const char *key, uint64_t offset,
		struct upload **ret_upload);
int upload_write(struct upload *upload, const void *data, size_t len);
/* Make all durable. */
int upload_sync(struct upload *upload);
/* Ends being its writer; what was written stays. */
void upload_close(struct upload *upload);

/* -ENOENT: there is none. */
int upload_size(struct tree *tree, uint64_t client, const char *key, uint64_t *ret_size);
int upload_delete(struct tree *tree, uint64_t client, const char *key);

/* The file's name in stage_fd; from now on nobody writes to it. */
void upload_seal(struct tree *tree, uint64_t client, const char *key,
		 char ret_name[KML_KEY_MAX + 32]);
/* The file 'from' of stage_fd, which is synced, becomes what was sent under that key; durable. */
int upload_place(struct tree *tree, uint64_t client, const char *key, const char *from);
/* Remove those older than UPLOAD_KEPT_S. */
void upload_expire(struct tree *tree);

bool upload_key_is_good(const char *key);

#endif
