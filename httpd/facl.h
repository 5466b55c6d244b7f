/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * facl: access control lists of files, by their extended attributes (linux/posix_acl_xattr.h).
 *
 * In the tables, records and answers a list is as kml.x has it (struct kml_acls in XDR; no bytes: none).
 *
 * Errors: 0 or -errno; -EOPNOTSUPP: the file system has none.  Threads: any.
 */
#ifndef HTTPD_FACL_H
#define HTTPD_FACL_H

#include <stdbool.h>
#include "base/buf.h"
#include "rpcgen/kml_codec.h"

bool facl_supported(int fd);

/*
 * Append those of the name in dirfd to buf, nothing where it has none, or lists too long for a record (that is
 * logged).  name "": of dirfd itself, which may be an O_PATH one.
 */
int facl_read(int dirfd, const char *name, enum kml_type type, struct buf *buf);

/*
 * The file shall have that mode and exactly these lists.  fd may be an O_PATH one.  At no moment has
 * anybody more than before or after.
 */
int facl_set(int fd, enum kml_type type, unsigned mode, struct slice acls);
/* What is made in this directory shall inherit none. */
void facl_no_default(int dirfd);

#endif
