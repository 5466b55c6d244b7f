/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reader: threads that wait for the disk in the place of an event loop.
 *
 * A READ whose bytes are in the system's page cache is carried out where it came in; any other would stop all
 * calls for as long as the disk takes.
 */
#ifndef CACHE_READER_H
#define CACHE_READER_H

#include <stdbool.h>

struct cache;
struct cache_op;
struct inode;
struct object;

/*
 * Read op->count bytes at op->priv.num[2] of the object into op->priv.extra; then the operation ends, or begins anew when the
 * file was cut meanwhile.  Takes over both references, of inode and object.  Under cache->lock.  CACHE_WAITS, or -ENOMEM: the
 * references stay the caller's.
 */
int reader_read(struct cache *cache, struct cache_op *op, struct inode *inode, struct object *object);

/* Does anything wait for the disk?  Whatever does not any more has been handed to its loop.  Any thread. */
bool reader_is_busy(struct cache *cache);

int reader_start(struct cache *cache);
/* Ends the threads once nothing waits. */
void reader_stop(struct cache *cache);

#endif
