/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wal_vfs: SQLite's log, written a transaction at a time.
 *
 * SQLite writes each page of a transaction to its log by two calls, one for the frame's header and one for the page; a
 * small change has a dozen pages, and most of its time was those calls.  This VFS lies over the system's own and gathers
 * what goes to the log of a connection, until the frame that ends the transaction (or until it is asked for, by a read or a
 * sync): that frame's write returns when all of it has been written, or with the error.
 */
#ifndef CACHE_WAL_VFS_H
#define CACHE_WAL_VFS_H

/* The system's VFS that every connection to cache.db uses, under this one or alone. */
#define WAL_VFS_SYSTEM "unix-excl"

/* The name to open a connection with, the only one that writes; WAL_VFS_SYSTEM when it could not be registered. */
const char *wal_vfs(void);

#endif
